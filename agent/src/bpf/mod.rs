//! What the kernel counts for the agent, by BPF programs of its own.
//!
//! Whatever is read there arrives as plain values ([`http::HttpReading`]), so that everything after
//! it is pure and knows nothing of BPF.

pub mod http;
