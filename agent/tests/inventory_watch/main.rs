//! The inventory against a scripted API server: which requests go out, and what comes of answers,
//! events and failures.

#[path = "../api_server/mod.rs"]
mod api_server;

mod changes;
mod crowd;
mod hostile;
mod lookups;
mod objects;
mod outages;
mod requests;
mod watching;
