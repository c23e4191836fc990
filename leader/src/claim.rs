//! The right to write, as a time that ends.
//!
//! Whoever holds the Lease may act until the Lease would expire, less a margin, by its own monotonic
//! clock. The claim follows the Lease as it is observed, not what the elector believes, and is asked
//! right before each write, whose own timeout may not outlast it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::sync::watch;

/// Given up before the Lease ends: the time that a write may be on its way, and that clocks may
/// tick differently.
const MARGIN: Duration = Duration::from_secs(2);

/// Until when the Lease as observed gives its `holder` the right to write. `wall` and `now` are the
/// same moment on two clocks.
pub(crate) fn deadline(
    lease: Option<&LeaseSpec>,
    holder: &str,
    wall: Timestamp,
    now: Instant,
) -> Option<Instant> {
    let lease = lease?;
    if lease.holder_identity.as_deref() != Some(holder) {
        return None;
    }
    let renewed = lease.renew_time.as_ref()?.0;
    let duration = Duration::from_secs(u64::try_from(lease.lease_duration_seconds?).ok()?);
    let age = wall.duration_since(renewed);
    let left = match Duration::try_from(age) {
        Ok(age) => duration.checked_sub(age)?,
        // Renewed in the future: the clock was set back. Never more than the Lease's length.
        Err(_) => duration,
    };
    let usable = left.checked_sub(MARGIN)?;
    (!usable.is_zero()).then(|| now + usable)
}

/// This process does not lead.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("this replica does not lead")]
pub struct NotLeading;

/// The claim of this process, to be asked before each write.
#[derive(Clone, Debug)]
pub struct Claim {
    deadline: watch::Receiver<Option<Instant>>,
    term: watch::Receiver<Term>,
}

/// A term of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// 0 before the first.
    number: u64,
    began: Option<Instant>,
}

/// Where the claim is written; there is one.
#[derive(Debug)]
pub struct ClaimWriter {
    deadline: watch::Sender<Option<Instant>>,
    term: watch::Sender<Term>,
}

/// A claim that nobody holds yet.
pub fn claim() -> (ClaimWriter, Claim) {
    let (deadline, deadline_seen) = watch::channel(None);
    let (term, term_seen) = watch::channel(Term::default());
    (
        ClaimWriter { deadline, term },
        Claim {
            deadline: deadline_seen,
            term: term_seen,
        },
    )
}

impl ClaimWriter {
    /// Takes the newest observation over. Returns whether a term began with it.
    pub fn set(&self, deadline: Option<Instant>, now: Instant) -> bool {
        let before = self.deadline.send_replace(deadline);
        let led = before.is_some_and(|before| before > now);
        let begins = deadline.is_some() && !led;
        if begins {
            self.term.send_modify(|term| {
                term.number += 1;
                term.began = Some(now);
            });
        }
        begins
    }
}

impl Claim {
    /// How long this process may write from now on.
    pub fn left(&self) -> Result<Duration, NotLeading> {
        let deadline = (*self.deadline.borrow()).ok_or(NotLeading)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(NotLeading)
        } else {
            Ok(left)
        }
    }

    /// Whether the claim has ended by time alone: the Lease was not renewed, and nobody else was seen to hold
    /// it since.
    pub fn has_lapsed(&self) -> bool {
        let deadline = *self.deadline.borrow();
        deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Whether this process may write now.
    pub fn is_held(&self) -> bool {
        self.left().is_ok()
    }

    /// The number of the newest term of this process; 0 before the first.
    pub fn term(&self) -> u64 {
        self.term.borrow().number
    }

    /// How long the newest term of this process has lasted; nothing before the first.
    pub fn leads_for(&self) -> Duration {
        let began = self.term.borrow().began;
        began.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Changes whenever a term of this process begins.
    pub fn terms(&self) -> watch::Receiver<Term> {
        self.term.clone()
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn wall() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    fn lease(holder: Option<&str>, age_seconds: i64, duration: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            renew_time: Some(MicroTime(wall() - age_seconds.seconds())),
            lease_duration_seconds: Some(duration),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn the_claim_ends_before_the_lease() {
        let now = Instant::now();
        let seconds = |lease: &LeaseSpec| {
            deadline(Some(lease), "me", wall(), now).map(|deadline| (deadline - now).as_secs())
        };
        for (what, lease, wanted) in [
            ("just renewed", lease(Some("me"), 0, 15), Some(13)),
            ("renewed a while ago", lease(Some("me"), 10, 15), Some(3)),
            ("in the margin", lease(Some("me"), 13, 15), None),
            ("expired", lease(Some("me"), 20, 15), None),
            ("another's", lease(Some("you"), 0, 15), None),
            ("nobody's", lease(None, 0, 15), None),
            ("clock set back", lease(Some("me"), -3600, 15), Some(13)),
            ("clock set forward", lease(Some("me"), 3600, 15), None),
            ("nonsense", lease(Some("me"), 0, -1), None),
        ] {
            assert_eq!(seconds(&lease), wanted, "{what}");
        }
        assert_eq!(deadline(None, "me", wall(), now), None, "deleted");
        assert_eq!(
            deadline(Some(&LeaseSpec::default()), "me", wall(), now),
            None,
            "empty"
        );
        let no_time = LeaseSpec {
            renew_time: None,
            ..lease(Some("me"), 0, 15)
        };
        assert_eq!(deadline(Some(&no_time), "me", wall(), now), None);
    }

    #[test]
    fn a_term_begins_once_and_again_after_a_gap() {
        let (writer, claim) = claim();
        let terms = claim.terms();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert!(!claim.is_held());
        assert!(writer.set(Some(now + 5 * second), now));
        assert!(claim.is_held());
        assert!(
            !writer.set(Some(now + 10 * second), now + second),
            "renewed in time"
        );
        assert!(
            writer.set(Some(now + 30 * second), now + 20 * second),
            "renewed too late"
        );
        assert!(!writer.set(None, now + 21 * second), "lost");
        assert_eq!(claim.left(), Err(NotLeading));
        assert!(
            writer.set(Some(now + 40 * second), now + 22 * second),
            "won again"
        );
        assert_eq!((terms.borrow().number, claim.term()), (3, 3));
    }

    #[test]
    fn a_claim_expires_by_itself() {
        let (writer, claim) = claim();
        let now = Instant::now();
        assert!(!claim.has_lapsed(), "never held");
        writer.set(Some(now), now);
        assert_eq!(claim.left(), Err(NotLeading));
        assert!(claim.has_lapsed(), "not renewed");
        writer.set(None, now);
        assert!(!claim.has_lapsed(), "another's");
        writer.set(Some(now + Duration::from_secs(60)), now);
        assert!(!claim.has_lapsed(), "held");
        writer.set(Some(now + Duration::from_secs(60)), now);
        assert!(claim.left().unwrap() > Duration::from_secs(50));
    }
}
