//! Which replica acts.

mod claim;
mod elect;

pub(crate) use claim::{Claim, NotLeading, claim};
pub(crate) use elect::{Elector, identity, jitter};
