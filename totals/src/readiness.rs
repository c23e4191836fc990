//! Whether this replica is fit to serve: it knows the cluster, has a certificate, and hears of the Lease.
//! Leading has nothing to do with it; otherwise a rolling update would never end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use scope_leader::Heard;

use crate::{
    census::watch::{self, Shared},
    tls::Certificates,
};

/// What readiness is made of.
pub struct Readiness {
    census: Shared,
    certificates: Arc<Certificates>,
    lease: Mutex<Heard>,
}

impl Readiness {
    /// Of these.
    pub fn new(census: Shared, certificates: Arc<Certificates>) -> Self {
        Self {
            census,
            certificates,
            lease: Mutex::default(),
        }
    }

    /// The Lease was received.
    pub fn lease_seen(&self) {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.heard(Instant::now());
    }

    /// Nothing if this replica is ready, else what it waits for.
    pub fn missing(&self, now: Instant) -> Option<String> {
        if !watch::lock(&self.census).is_filled() {
            return Some("the first lists of pods and their owners are not there yet".into());
        }
        if !self.certificates.is_there() {
            return Some("there is no certificate yet".into());
        }
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.missing(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let later = Instant::now() + Duration::from_secs(61);
        assert!(readiness.missing(later).unwrap().contains("renewed"));
    }
}
