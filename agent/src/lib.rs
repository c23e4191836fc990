//! The node agent: reads its node, attributes what it sees to pods and containers, and reports it
//! to Weave Scope.
//!
//! Data flows one way: [`sample`] (with [`inventory`]) → [`attribution`] → [`collect`] → bytes →
//! sockets.

pub mod attribution;
pub mod collect;
pub mod inventory;
pub mod report_table;
pub mod sample;
