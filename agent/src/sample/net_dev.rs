//! `/proc/<pid>/net/dev`: the interfaces of a process's network namespace.

use super::number::decimal;

/// Bytes over all interfaces but the loopback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NetDev {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// Reads the table. Its two lines of headings are known by their bars.
pub(super) fn parse(text: &[u8]) -> Option<NetDev> {
    let mut sum = NetDev::default();
    let mut headings = 0;
    for line in text
        .split(|&b| b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|l| !l.is_empty())
    {
        if line.contains(&b'|') {
            headings += 1;
            continue;
        }
        let colon = line.iter().position(|&b| b == b':')?;
        let (name, rest) = (&line[..colon], &line[colon + 1..]);
        if name == b"lo" {
            continue;
        }
        let mut columns = rest
            .split(u8::is_ascii_whitespace)
            .filter(|c| !c.is_empty());
        // Eight columns for each direction, the bytes first.
        sum.received = sum.received.saturating_add(decimal(columns.next()?)?);
        sum.sent = sum.sent.saturating_add(decimal(columns.nth(7)?)?);
    }
    (headings > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

    #[test]
    fn sums_all_but_the_loopback() {
        let text = format!(
            "{HEAD}    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n\
             longname0:3 1 0 0 0 0 0 0 4 1 0 0 0 0 0 0\n"
        );
        assert_eq!(
            parse(text.as_bytes()),
            Some(NetDev {
                received: 103,
                sent: 24
            })
        );
    }

    #[test]
    fn a_namespace_without_interfaces_has_used_nothing() {
        assert_eq!(parse(HEAD.as_bytes()), Some(NetDev::default()));
    }

    #[test]
    fn huge_counters_do_not_wrap() {
        let max = u64::MAX;
        let text = format!(
            "{HEAD} a: {max} 0 0 0 0 0 0 0 {max} 0 0 0 0 0 0 0\n b: {max} 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0\n"
        );
        assert_eq!(
            parse(text.as_bytes()),
            Some(NetDev {
                received: max,
                sent: max
            })
        );
    }

    #[test]
    fn a_malformed_table_is_refused() {
        for bad in [
            String::new(),
            " eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n".into(),
            format!("{HEAD} eth0 1 2 3\n"),
            format!("{HEAD} eth0: 1 2 3 4 5 6 7 8\n"),
            format!("{HEAD} eth0: x 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"),
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
        fn no_table_panics(tail in "([a-z0-9]{0,9}:?[ 0-9]{0,60}\n){0,5}") {
            let _ = parse(format!("{HEAD}{tail}").as_bytes());
        }
    }
}
