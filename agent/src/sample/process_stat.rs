//! `/proc/<pid>/stat`.

use super::ProcessName;
use super::number::decimal;

/// The part of a process's `stat` that the agent needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// What the process calls itself.
    pub(super) name: ProcessName,
    /// Whether it is a thread of the kernel.
    pub(super) kernel: bool,
    /// User and system time of all its threads, those that ended included, in clock ticks.
    pub(super) cpu_ticks: u64,
    /// Number of threads.
    pub(super) threads: u32,
    /// When it started, in clock ticks since boot.
    pub(super) start: u64,
    /// Resident pages.
    pub(super) rss_pages: u64,
    /// Time that the first thread waited for block I/O, in clock ticks.
    pub(super) block_delay_ticks: u64,
}

/// `PF_KTHREAD` of the kernel's `sched.h`, unchanged since 2.6.27.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Reads a `stat` line. The name stands in parentheses and may itself contain any of `) (` and
/// blanks, so it ends at the last parenthesis of the line.
pub(super) fn parse(line: &[u8]) -> Option<ProcessStat> {
    let open = line.iter().position(|&b| b == b'(')?;
    let close = line.iter().rposition(|&b| b == b')')?;
    let name = line.get(open + 1..close)?;

    // Fields are numbered as in proc(5), where the name is field 2.
    let mut fields = Fields {
        rest: line[close + 1..].trim_ascii(),
        next: 3,
    };
    let flags = decimal(fields.at(9)?)?;
    let user = decimal(fields.at(14)?)?;
    let system = decimal(fields.at(15)?)?;
    let threads = decimal(fields.at(20)?)?;
    let start = decimal(fields.at(22)?)?;
    let rss = fields.at(24)?;
    // The kernel's approximate counters can be below zero for an instant.
    let rss_pages = if rss.first() == Some(&b'-') {
        0
    } else {
        decimal(rss)?
    };

    // Last among the fields that every kernel since 2.6.18 has.
    let block_delay_ticks = fields.at(42).and_then(decimal).unwrap_or(0);

    Some(ProcessStat {
        name: ProcessName::new(name),
        kernel: flags & KERNEL_THREAD != 0,
        cpu_ticks: user.saturating_add(system),
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        start,
        rss_pages,
        block_delay_ticks,
    })
}

/// Walks over blank-separated fields without touching those in between.
struct Fields<'a> {
    rest: &'a [u8],
    /// Number of the field that `rest` begins with.
    next: usize,
}

impl<'a> Fields<'a> {
    /// The field of this number. Must be asked in ascending order.
    fn at(&mut self, number: usize) -> Option<&'a [u8]> {
        loop {
            let end = self
                .rest
                .iter()
                .position(|&b| b == b' ')
                .unwrap_or(self.rest.len());
            let (field, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            self.next += 1;
            if self.next > number {
                return (!field.is_empty()).then_some(field);
            }
            if rest.is_empty() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAIL: &str = "S 1 2 2 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 5 0 12345 1000000 250 \
                        18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 9 0 0";

    fn line(name: &str, tail: &str) -> Vec<u8> {
        format!("77 ({name}) {tail}\n").into_bytes()
    }

    #[test]
    fn takes_the_fields_it_needs() {
        let stat = parse(&line("sh", TAIL)).unwrap();
        assert_eq!(
            stat,
            ProcessStat {
                name: ProcessName::new(b"sh"),
                kernel: false,
                cpu_ticks: 100,
                threads: 5,
                start: 12345,
                rss_pages: 250,
                block_delay_ticks: 9,
            }
        );
    }

    #[test]
    fn a_name_may_be_anything() {
        for name in [
            "",
            "a) b (c",
            ") S 1 2",
            "((((",
            "))))",
            "a b",
            "fünf",
            "\u{1b}[2J",
            "x\ny",
        ] {
            let stat = parse(&line(name, TAIL)).unwrap_or_else(|| panic!("{name:?}"));
            assert_eq!(stat.name, ProcessName::new(name.as_bytes()), "{name:?}");
            assert_eq!((stat.start, stat.threads), (12345, 5), "{name:?}");
        }
    }

    #[test]
    fn kernel_threads_are_told_by_their_flag() {
        let tail = TAIL.replace("4194560", "2129984");
        assert!(parse(&line("kworker/0:1", &tail)).unwrap().kernel);
    }

    #[test]
    fn huge_and_negative_values_do_not_wrap() {
        let max = u64::MAX.to_string();
        let tail = TAIL
            .replace(" 70 30 ", &format!(" {max} {max} "))
            .replace(" 5 0 ", " 9999999999 0 ");
        let stat = parse(&line("x", &tail)).unwrap();
        assert_eq!((stat.cpu_ticks, stat.threads), (u64::MAX, u32::MAX));
        assert_eq!(
            parse(&line("x", &TAIL.replace(" 250 ", " -3 ")))
                .unwrap()
                .rss_pages,
            0
        );
        assert_eq!(
            parse(&line("x", &TAIL.replace(" 250 ", " 18446744073709551616 "))),
            None
        );
    }

    #[test]
    fn a_malformed_line_is_refused() {
        for bad in [
            "",
            "77",
            "77 sh S 1",
            "77 (sh",
            "77 sh) S 1 2",
            ")(",
            "77 (sh)",
            "77 (sh) S 1 2 2 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 5 0 12345 1000000",
            "77 (sh) S 1 2 2 0 -1 x 100 0 0 0 70 30 0 0 20 0 5 0 12345 1000000 250",
            "77 (sh) S 1 2 2 0 -1 0 100 0 0 0 70 -30 0 0 20 0 5 0 12345 1000000 250",
            "77 (sh) S  1 2 2 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 5 0 12345 1000000 250",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_line_panics(name: String, tail in "[ 0-9a-z()-]{0,200}") {
            let _ = parse(&line(&name, &tail));
        }
    }
}
