//! Competing for the Lease, and watching who has it.
//!
//! `kube-lease-manager` acquires, renews and releases. What it believes is a hint only: the right to
//! write is the [`Claim`](super::Claim), which follows the Lease as it is observed. Whenever the two
//! disagree the manager is thrown away and a new one starts from what the cluster says.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Client;
use kube_lease_manager::{LeaseCreateMode, LeaseManager, LeaseManagerBuilder, LeaseParams};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::claim::{self, ClaimWriter};

/// Giving the Lease up at the end may take this long; after that it runs out by itself.
const RELEASE: Duration = Duration::from_secs(4);
/// Failures in a row after which the manager is made anew.
const MAX_FAILURES: u32 = 3;

/// The name under which this process holds the Lease: its pod and something that a restart of the
/// same pod does not repeat.
pub fn identity(pod: &str) -> String {
    format!("{pod}_{:08x}", random() as u32)
}

/// A number that other processes do not have. (The standard library seeds its maps from the system.)
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Up to `limit`, different in every process.
pub fn jitter(limit: Duration) -> Duration {
    limit.mul_f64((random() % 1000) as f64 / 1000.0)
}

/// How long a Lease lasts, and when it is renewed.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// After so many seconds without a renewal it is free. The claim ends 2 s before.
    pub duration_seconds: u64,
    /// Renewed this long before its end, which is the time that is left for retries.
    pub grace_seconds: u64,
}

/// Who is told what happens to the Lease.
pub trait Witness: Send + Sync {
    /// The Lease was received.
    fn lease_seen(&self);
    /// This process leads from now on.
    fn term_began(&self);
}

/// Competes for one Lease.
pub struct Elector {
    /// Where the Lease is.
    pub namespace: String,
    /// Its name. It must exist.
    pub lease_name: String,
    /// The name under which this process holds it; see [`identity`].
    pub identity: String,
    /// Its times.
    pub timing: Timing,
    /// For the Lease alone, and without repetitions of its own.
    pub client: Client,
    /// Who is told.
    pub witness: Arc<dyn Witness>,
}

impl Elector {
    /// Runs until `stop`, then gives the Lease up. Whoever writes must have stopped before. `leases` is the
    /// Lease each time it changes, or nothing when it is gone.
    pub async fn run(
        self,
        leases: impl Stream<Item = Option<Lease>>,
        claim: ClaimWriter,
        stop: CancellationToken,
    ) {
        let again = Notify::new();
        tokio::select! {
            () = self.observe(leases, &claim, &again) => {}
            () = self.compete(&again, &stop) => {}
        }
        claim.set(None, Instant::now());
    }

    /// Follows the Lease and writes the claim. Ends only if the watch does.
    async fn observe(
        &self,
        leases: impl Stream<Item = Option<Lease>>,
        claim: &ClaimWriter,
        again: &Notify,
    ) {
        let mut leases = pin!(leases);
        let mut before: Option<String> = None;
        while let Some(lease) = leases.next().await {
            self.witness.lease_seen();
            let spec: Option<LeaseSpec> = lease.and_then(|lease| lease.spec);
            let (wall, now) = (Timestamp::now(), Instant::now());
            let deadline = claim::deadline(spec.as_ref(), &self.identity, wall, now);
            if claim.set(deadline, now) {
                self.witness.term_began();
                tracing::info!(identity = self.identity, "this replica leads");
            }
            let holder = spec
                .and_then(|spec| spec.holder_identity)
                .filter(|name| !name.is_empty());
            if holder != before {
                tracing::info!(
                    holder = holder.as_deref().unwrap_or("nobody"),
                    "the lease changed hands"
                );
                // Given up: the manager would sleep until the end that it saw before. Lost: it
                // would renew what is not ours any more.
                if holder.is_none() || before.as_deref() == Some(&*self.identity) {
                    again.notify_one();
                }
                before = holder;
            }
        }
    }

    /// Runs one manager after the other.
    async fn compete(&self, again: &Notify, stop: &CancellationToken) {
        loop {
            let manager = tokio::select! {
                () = stop.cancelled() => return,
                manager = self.manager() => Arc::new(manager),
            };
            tokio::select! {
                () = stop.cancelled() => return self.release(manager).await,
                () = again.notified() => {}
                () = drive(&manager) => {}
            }
            // So that several standbys do not all reach for a free Lease in the same moment.
            tokio::time::sleep(jitter(Duration::from_millis(300))).await;
        }
    }

    /// A new manager; tried until the Lease can be read.
    async fn manager(&self) -> LeaseManager {
        let mut told = false;
        loop {
            let params = LeaseParams::new(
                &self.identity,
                self.timing.duration_seconds,
                self.timing.grace_seconds,
            );
            let built = LeaseManagerBuilder::new(self.client.clone(), &self.lease_name)
                .with_namespace(&self.namespace)
                .with_parameters(params)
                .with_create_mode(LeaseCreateMode::UseExistent)
                .build()
                .await;
            match built {
                Ok(manager) => return manager,
                Err(error) if told => tracing::debug!("the lease cannot be read: {error}"),
                Err(error) => {
                    let Self {
                        namespace,
                        lease_name,
                        ..
                    } = self;
                    tracing::warn!(
                        "the lease {lease_name} in the namespace {namespace} cannot be read: {error}. If it \
                         is missing, install the chart again, which ships it"
                    );
                    told = true;
                }
            }
            tokio::time::sleep(Duration::from_secs(1) + jitter(Duration::from_secs(1))).await;
        }
    }

    /// Gives the Lease up, so that another replica need not wait for its end.
    async fn release(&self, manager: Arc<LeaseManager>) {
        // In a task of its own: a release that panics is one that did not happen.
        let release = tokio::spawn(async move { manager.release().await });
        match tokio::time::timeout(RELEASE, release).await {
            Ok(Ok(Ok(()))) => tracing::info!("the lease is given up"),
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the lease was not given up and runs out"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not given up and runs out"),
            Err(_) => tracing::warn!("the lease was not given up in time and runs out"),
        }
    }
}

/// Lets the manager acquire and renew. Returns when it should be replaced.
async fn drive(manager: &LeaseManager) {
    let mut failures = 0;
    while failures < MAX_FAILURES {
        match manager.changed().await {
            Ok(_) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, failures, "the lease could not be read or renewed");
                tokio::time::sleep(Duration::from_millis(500) + jitter(Duration::from_millis(500)))
                    .await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_one_pod_are_told_apart() {
        let (one, two) = (
            identity("scope-operator-abc"),
            identity("scope-operator-abc"),
        );
        assert!(one.starts_with("scope-operator-abc_"));
        assert_ne!(one, two);
    }

    #[test]
    fn jitter_stays_in_its_limit() {
        for _ in 0..100 {
            assert!(jitter(Duration::from_millis(10)) < Duration::from_millis(10));
        }
    }
}
