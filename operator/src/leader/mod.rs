//! Which replica acts.

mod claim;
mod elect;

#[cfg(test)]
pub(crate) use claim::ClaimWriter;
pub(crate) use claim::{Claim, NotLeading, claim};
pub(crate) use elect::{Elector, identity, jitter};
