//! Which replica acts.

mod claim;
mod elect;
mod heard;

pub use claim::{Claim, ClaimWriter, NotLeading, Term, claim};
pub use elect::{Elector, Timing, Witness, identity, jitter};
pub use heard::Heard;
