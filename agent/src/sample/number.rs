//! Numbers in the kernel's text files.

/// The whole of the text as a decimal number; `None` for anything else, too large ones included.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The file's only number, as in `memory.current`.
pub(super) fn only(text: &[u8]) -> Option<u64> {
    decimal(text.trim_ascii())
}

/// The number after this key in a file of `key number` lines, as in `memory.stat`.
pub(super) fn keyed(text: &[u8], key: &[u8]) -> Option<u64> {
    text.split(|&b| b == b'\n').find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(b" ")?;
        decimal(value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_are_numbers() {
        for (text, want) in [
            (&b"0"[..], Some(0)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"99999999999999999999999", None),
            (b"", None),
            (b"-1", None),
            (b"+1", None),
            (b"1 ", None),
            (b"1.5", None),
            (b"max", None),
            (b"\xff", None),
        ] {
            assert_eq!(decimal(text), want, "{:?}", String::from_utf8_lossy(text));
        }
        assert_eq!(only(b" 17\n"), Some(17));
        assert_eq!(only(b"17\n18\n"), None);
        assert_eq!(only(b"\n"), None);
    }

    #[test]
    fn a_key_is_matched_as_a_whole() {
        let stat = b"cache 1\ninactive_file 20\ntotal_inactive_file 300\nbroken x\nlast 4";
        assert_eq!(keyed(stat, b"inactive_file"), Some(20));
        assert_eq!(keyed(stat, b"total_inactive_file"), Some(300));
        assert_eq!(keyed(stat, b"inactive"), None);
        assert_eq!(keyed(stat, b"file"), None);
        assert_eq!(keyed(stat, b"broken"), None);
        assert_eq!(keyed(stat, b"last"), Some(4));
        assert_eq!(keyed(b"", b"last"), None);
    }
}
