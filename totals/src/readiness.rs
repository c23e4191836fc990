//! Whether this replica is fit to serve: it knows the cluster, has a certificate, and hears of the Lease.
//! Leading has nothing to do with it; otherwise a rolling update would never end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    census::watch::{self, Shared},
    tls::Certificates,
};

/// A Lease that nobody renewed for so long (it is renewed every 4 s) means that this replica hears nothing, or
/// that no replica leads.
const DEAF_AFTER: Duration = Duration::from_secs(60);

/// What readiness is made of.
pub struct Readiness {
    census: Shared,
    certificates: Arc<Certificates>,
    lease_seen: Mutex<Option<Instant>>,
}

impl Readiness {
    /// Of these.
    pub fn new(census: Shared, certificates: Arc<Certificates>) -> Self {
        Self {
            census,
            certificates,
            lease_seen: Mutex::new(None),
        }
    }

    /// The Lease was received.
    pub fn lease_seen(&self) {
        let mut seen = self
            .lease_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *seen = Some(Instant::now());
    }

    /// Nothing if this replica is ready, else what it waits for.
    pub fn missing(&self, now: Instant) -> Option<String> {
        if !watch::lock(&self.census).is_filled() {
            return Some("the first lists of pods and their owners are not there yet".into());
        }
        if !self.certificates.is_there() {
            return Some("there is no certificate yet".into());
        }
        let seen = *self
            .lease_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = seen else {
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
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::tls::keyring::{Keyring, Lives};

    #[test]
    fn ready_when_all_is_there_and_the_lease_lives() {
        let census = Shared::default();
        let certificates = Arc::new(Certificates::default());
        let readiness = Readiness::new(Arc::clone(&census), Arc::clone(&certificates));
        let missing = || readiness.missing(Instant::now()).unwrap_or_default();
        assert!(missing().contains("pods"));
        {
            let mut census = watch::lock(&census);
            census.pods.complete();
            census.replica_sets.complete();
            census.jobs.complete();
            census.nodes.complete();
        }
        assert!(missing().contains("certificate"));
        let lives = Lives {
            authority: SignedDuration::from_hours(2),
            certificate: SignedDuration::from_hours(1),
        };
        let now = Timestamp::now();
        let keyring = Keyring::default().renewed(lives, now).unwrap().unwrap();
        let issued = keyring.signer(lives, now).unwrap();
        let issued = issued.issue(&["a".into()], lives, now).unwrap();
        certificates.set(issued.chain, issued.key).unwrap();
        assert!(missing().contains("lease"));
        readiness.lease_seen();
        assert_eq!(missing(), "");
        let later = Instant::now() + DEAF_AFTER + Duration::from_secs(1);
        assert!(readiness.missing(later).unwrap().contains("renewed"));
    }
}
