//! What the active replica writes: where it is, how it is reached, and whom to trust.

mod bundle;
mod endpoints;
mod kept;
mod proxied;
pub mod reach;

use std::{future::Future, sync::Arc, time::Duration};

use scope_leader::{Claim, NotLeading};

use crate::metrics::Metrics;
pub use bundle::Bundle;
pub use endpoints::{Address, Endpoints};
pub use proxied::Proxied;
pub use reach::Reach;

/// A write takes milliseconds; what takes longer is tried again.
const WRITE: Duration = Duration::from_secs(3);

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another replica does it.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// The API server said no.
    #[error(transparent)]
    Refused(#[from] kube::Error),
    /// It said nothing.
    #[error("the API server did not answer in time")]
    Late,
}

/// Writes while this replica leads, and not a moment longer.
#[derive(Clone)]
pub struct Writes {
    claim: Claim,
    metrics: Arc<Metrics>,
}

impl Writes {
    /// By this claim.
    pub fn new(claim: Claim, metrics: Arc<Metrics>) -> Self {
        Self { claim, metrics }
    }

    /// Whether there is anything to be written by this replica.
    pub fn may(&self) -> bool {
        self.claim.is_held()
    }

    /// The claim itself.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Carries a write out.
    pub async fn write<T>(
        &self,
        write: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let limit = self.claim.left()?.min(WRITE);
        let written = match tokio::time::timeout(limit, write).await {
            Ok(written) => written.map_err(WriteError::Refused),
            Err(_) => Err(WriteError::Late),
        };
        self.metrics.wrote(match &written {
            Ok(_) => "done",
            Err(WriteError::Refused(_)) => "refused",
            Err(_) => "late",
        });
        written
    }
}
