//! The node agent: reads its node, attributes what it sees to pods and containers, and reports it
//! to Weave Scope.
//!
//! Data flows one way: [`sample`] (with [`inventory`]) → [`attribution`] → [`collect`] → bytes →
//! sockets ([`serve`]). A click flows the other way: socket → [`control`] → `ScopeAction`.

pub mod attribution;
pub mod bpf;
pub mod catalogue;
pub mod check;
pub mod cli;
pub mod collect;
mod collectors;
pub mod container_control;
pub mod control;
pub mod exit;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http_rates;
pub mod inventory;
pub mod kubernetes;
pub mod print;
pub mod report_table;
pub mod sample;
pub mod serve;
pub mod served_table;
mod text_table;
pub mod totals;
pub mod traffic;
pub mod volumes;

pub use collectors::Collectors;
