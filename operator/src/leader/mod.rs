//! Which replica acts.

mod claim;
mod elect;

pub(crate) use claim::{Claim, NotLeading};
pub(crate) use elect::{Elector, identity};
