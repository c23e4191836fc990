//! `/proc/stat` and `/proc/meminfo`: the machine as a whole.

use super::number::decimal;

/// Ticks that the CPUs were busy since boot, and how many CPUs are online. Waiting for I/O is
/// idle; what the hypervisor took was not used here.
pub(super) fn parse_stat(text: &[u8]) -> Option<(u64, u32)> {
    let mut busy = None;
    let mut cpus = 0u32;
    for line in text.split(|&b| b == b'\n') {
        let Some(rest) = line.strip_prefix(b"cpu") else {
            // The lines of the CPUs come first, and those behind them can be long.
            break;
        };
        let mut columns = rest
            .split(u8::is_ascii_whitespace)
            .filter(|c| !c.is_empty());
        if rest.first() == Some(&b' ') {
            // user nice system idle iowait irq softirq …; the time of guests is in user and nice.
            let ticks = columns.map(decimal).take(7).collect::<Option<Vec<u64>>>()?;
            let &[user, nice, system, _idle, _iowait, irq, softirq] = &ticks[..] else {
                return None;
            };
            busy = Some(
                [nice, system, irq, softirq]
                    .into_iter()
                    .fold(user, u64::saturating_add),
            );
        } else {
            decimal(columns.next()?)?;
            cpus = cpus.saturating_add(1);
        }
    }
    Some((busy?, cpus)).filter(|&(_, cpus)| cpus > 0)
}

/// Bytes in total and available.
pub(super) fn parse_meminfo(text: &[u8]) -> Option<(u64, Option<u64>)> {
    let kib = |key: &[u8]| {
        text.split(|&b| b == b'\n').find_map(|line| {
            let value = line.strip_prefix(key)?.trim_ascii().strip_suffix(b"kB")?;
            decimal(value.trim_ascii())?.checked_mul(1024)
        })
    };
    // MemAvailable exists since Linux 3.14.
    Some((
        kib(b"MemTotal:").filter(|&total| total > 0)?,
        kib(b"MemAvailable:"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn busy_is_what_was_computed() {
        let text = b"cpu  10 2 30 1000 500 4 5 60 7 8\ncpu0 5 1 15 500 250 2 2 30 3 4\n\
            cpu1 5 1 15 500 250 2 3 30 4 4\nintr 99 1 2\nctxt 5\n";
        assert_eq!(parse_stat(text), Some((51, 2)));
    }

    #[test]
    fn other_text_is_refused() {
        for bad in [
            &b""[..],
            b"intr 1\ncpu  1 2 3 4 5 6 7\ncpu0 1\n",
            b"cpu  1 2 3 4 5 6 7\n",
            b"cpu  1 2 3 4 5 6\ncpu0 1 2\n",
            b"cpu  1 2 3 x 5 6 7\ncpu0 1 2\n",
            b"cpu0 1 2 3 4 5 6 7\n",
            b"cpu  1 2 3 4 5 6 7\ncpux 1 2\n",
        ] {
            assert_eq!(parse_stat(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
        let max = u64::MAX;
        let text = format!("cpu  {max} {max} 1 1 1 1 1\ncpu0 1 1 1 1 1 1 1\n");
        assert_eq!(parse_stat(text.as_bytes()), Some((max, 1)));
    }

    #[test]
    fn memory_is_in_bytes() {
        let text = b"MemTotal:       24683116 kB\nMemFree:  1 kB\nMemAvailable:   24131004 kB\n";
        assert_eq!(
            parse_meminfo(text),
            Some((24683116 << 10, Some(24131004 << 10)))
        );
        assert_eq!(parse_meminfo(b"MemTotal: 1 kB\n"), Some((1024, None)));
        for bad in [
            &b""[..],
            b"MemTotal: 0 kB",
            b"MemTotal: 5",
            b"MemTotal: x kB",
            b"MemTotal: 18446744073709551615 kB",
        ] {
            assert_eq!(parse_meminfo(bad), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse_stat(&bytes);
            let _ = parse_meminfo(&bytes);
        }

        #[test]
        fn no_lines_panic(text in "(cpu[0-9]{0,2}( [0-9]{0,22}){0,12}\n|MemTotal: [0-9]{0,22} kB\n){0,6}") {
            let _ = parse_stat(text.as_bytes());
            let _ = parse_meminfo(text.as_bytes());
        }
    }
}
