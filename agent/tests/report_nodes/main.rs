//! The report and the table, from samples of a made node.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

#[path = "../made_node/mod.rs"]
mod made_node;

mod containers;
mod controllers;
mod host;
mod http;
mod images;
mod kubernetes;
mod podless;
mod reported;
mod served;
mod services;
mod table;
mod whole;
