//! What controllers and Services use in the whole cluster: this node's part of the sums goes to the service
//! `scope-totals`, and the totals come back.
//!
//! When the [exchange](talk()) wants it, the sampler's thread adds up what was just measured
//! ([`sums()`]). Both sides meet at the [`TotalsBoard`] only, where the totals stand that came back, which pods
//! belong to which Services, and the controllers without pods, where this agent is to draw them.

mod board;
mod connection;
mod conversation;
mod credentials;
mod error;
mod health;
mod podless;
mod services;
mod standing;
mod sums;
mod talk;
mod top;

pub use board::{Measured, Totals, TotalsBoard};
pub use connection::{Dialled, Stream, dial};
pub use error::ExchangeError;
pub use health::{Present, health};
pub use podless::podless_topology;
pub use standing::Standing;
pub use sums::{Sums, object, sums};
pub use talk::{TalkSettings, talk};
pub use top::found;
