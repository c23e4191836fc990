//! What every process of ours does that serves a cluster as a whole: it reads its command line, logs, hears
//! signals, talks to the API server, runs in parts, answers the kubelet and scrapers, and ends with one line and
//! a code. Nothing here knows what such a process is for.

pub mod cli;
pub mod clients;
pub mod exit;
pub mod http;
pub mod kind;
pub mod logging;
pub mod metrics;
pub mod parts;
pub mod signals;
pub mod watches;
pub mod words;
