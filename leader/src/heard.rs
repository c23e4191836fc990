//! Whether this replica hears of the Lease.

use std::time::{Duration, Instant};

/// A Lease that nobody renewed for so long (it is renewed every few seconds) means that this replica hears
/// nothing, or that no replica leads. Either way what it knows of the cluster cannot be trusted.
const DEAF_AFTER: Duration = Duration::from_secs(60);

/// When the Lease was received last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard(Option<Instant>);

impl Heard {
    /// It was received.
    pub fn heard(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// Nothing if it is heard of, else what is wrong.
    pub fn missing(&self, now: Instant) -> Option<String> {
        let Some(seen) = self.0 else {
            return Some("the lease was not seen yet".into());
        };
        let age = now.saturating_duration_since(seen);
        (age > DEAF_AFTER).then(|| {
            format!(
                "the lease was not seen to be renewed for {} s",
                age.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_not_renewed_is_missed() {
        let mut lease = Heard::default();
        let now = Instant::now();
        let missing = |lease: Heard, after| lease.missing(now + Duration::from_secs(after));
        assert_eq!(missing(lease, 0).unwrap(), "the lease was not seen yet");
        lease.heard(now);
        assert_eq!(missing(lease, 60), None);
        assert_eq!(
            missing(lease, 61).unwrap(),
            "the lease was not seen to be renewed for 61 s"
        );
        lease.heard(now + Duration::from_secs(61));
        assert_eq!(missing(lease, 61), None);
    }
}
