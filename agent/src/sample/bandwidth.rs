//! The CPU limit of a cgroup and how often it was held back by it.

use super::number::{decimal, keyed, only};
use super::{CpuLimit, Throttling};

/// Reads the periods out of `cpu.stat`, whose lines are the same in v1 and v2.
pub(super) fn parse_throttling(cpu_stat: &[u8]) -> Option<Throttling> {
    Some(Throttling {
        periods: keyed(cpu_stat, b"nr_periods")?,
        throttled: keyed(cpu_stat, b"nr_throttled")?,
    })
}

/// Reads `cpu.max` of v2: the quota or `max`, and the period.
pub(super) fn parse_max(text: &[u8]) -> Option<Option<CpuLimit>> {
    let mut words = text.trim_ascii().split(|&b| b == b' ');
    let quota = words.next()?;
    let period = decimal(words.next()?)?;
    if quota == b"max" {
        return Some(None);
    }
    limit(decimal(quota)?, period).map(Some)
}

/// Reads `cpu.cfs_quota_us` of v1, where -1 is no limit.
pub(super) fn parse_quota(text: &[u8]) -> Option<Option<u64>> {
    match text.trim_ascii() {
        b"-1" => Some(None),
        number => Some(Some(only(number)?)),
    }
}

/// The limit of so many microseconds in each period.
pub(super) fn limit(quota: u64, period: u64) -> Option<CpuLimit> {
    (quota > 0 && period > 0).then_some(CpuLimit { quota, period })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let half = Some(CpuLimit {
            quota: 50_000,
            period: 100_000,
        });
        assert_eq!(parse_max(b"50000 100000\n"), Some(half));
        assert_eq!(parse_max(b"max 100000\n"), Some(None));
        for bad in [
            &b""[..],
            b"max",
            b"50000",
            b"x 100000",
            b"0 100000",
            b"5 0",
            b"-1 100000",
        ] {
            assert_eq!(parse_max(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(parse_quota(b"-1\n"), Some(None));
        assert_eq!(parse_quota(b"50000\n"), Some(Some(50_000)));
        assert_eq!(parse_quota(b"-2\n"), None);
        assert_eq!(parse_quota(b"\n"), None);
    }

    #[test]
    fn throttling() {
        let v1 = b"nr_periods 10\nnr_throttled 3\nthrottled_time 5\n";
        let v2 = b"usage_usec 1\nuser_usec 1\nsystem_usec 0\nnr_periods 10\nnr_throttled 3\nthrottled_usec 5\n";
        let want = Some(Throttling {
            periods: 10,
            throttled: 3,
        });
        assert_eq!(parse_throttling(v1), want);
        assert_eq!(parse_throttling(v2), want);
        assert_eq!(parse_throttling(b"usage_usec 1\n"), None);
    }
}
