//! `scope-totals`: adds up what the agents of all nodes report by controller. See [`scope_totals_wire`] for
//! what they tell each other.

pub mod census;
pub mod cli;
pub mod exchange;
pub mod fleet;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod pace;
pub mod publish;
pub mod rates;
pub mod readiness;
pub mod rounds;
pub mod run;
pub mod serve;
pub mod time;
pub mod tls;
pub mod top;
pub mod trust;
