//! What is around agents and `scope-totals` when one of them is measured: an API server in memory, and the
//! service as it is shipped.

pub mod api;
pub mod service;
