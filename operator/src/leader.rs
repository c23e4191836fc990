//! Which replica acts.

use std::sync::Arc;

#[cfg(test)]
pub(crate) use scope_leader::ClaimWriter;
pub(crate) use scope_leader::{Claim, Elector, Heard, NotLeading, claim, identity, jitter};
use scope_leader::{Timing, Witness};

use crate::{metrics::Metrics, readiness::Readiness};

/// Renewed every 5 s, with 10 s left for retries.
pub(crate) const TIMING: Timing = Timing {
    duration_seconds: 15,
    grace_seconds: 10,
};

/// Who is told of the Lease.
pub(crate) struct Told {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
}

impl Witness for Told {
    fn lease_seen(&self) {
        self.readiness.lease_seen();
    }

    fn term_began(&self) {
        self.metrics.term_began();
    }
}
