//! Which replica acts.

mod claim;
mod elect;

pub use claim::{Claim, ClaimWriter, NotLeading, Term, claim};
pub use elect::{Elector, Timing, Witness, identity, jitter};
