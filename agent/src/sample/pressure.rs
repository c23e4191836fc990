//! Pressure stall information: `/proc/pressure/*` and `*.pressure` of v2 cgroups.

use super::Stall;
use super::number::decimal;

/// Reads `some avg10=… total=123` and, where there is one, the line of `full`.
pub(super) fn parse(text: &[u8]) -> Option<Stall> {
    let total = |kind: &[u8]| {
        let mut lines = text.split(|&b| b == b'\n');
        let line = lines.find_map(|line| line.strip_prefix(kind)?.strip_prefix(b" "))?;
        let value = line
            .split(|&b| b == b' ')
            .find_map(|word| word.strip_prefix(b"total="));
        Some(value.and_then(|value| decimal(value.trim_ascii())))
    };
    Some(Stall {
        some: total(b"some")??,
        full: match total(b"full") {
            Some(value) => Some(value?),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn totals_are_taken() {
        let text = b"some avg10=1.50 avg60=0.10 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=45\n";
        assert_eq!(
            parse(text),
            Some(Stall {
                some: 123,
                full: Some(45)
            })
        );
        // Before Linux 5.13 the file of the CPU had no second line.
        assert_eq!(
            parse(b"some avg10=0.00 total=7\n"),
            Some(Stall {
                some: 7,
                full: None
            })
        );
    }

    #[test]
    fn other_text_is_refused() {
        for bad in [
            "",
            "some",
            "some avg10=0.00\n",
            "some total=x\n",
            "full total=1\n",
            "some total=1\nfull total=-1\n",
            "some total=1\nfull avg10=0.00\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
