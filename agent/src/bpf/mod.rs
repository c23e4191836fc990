//! What the kernel counts for the agent, by BPF programs of its own.
//!
//! The programs are C in `agent/bpf/`; `cargo xtask bpf` compiles them, and what it makes lies beside
//! them and goes into the agent's binary. Programs are loaded one by one (`kernel`), and each that the
//! kernel does not take is told with the reason ([`refused`]). Another program, such as one that
//! lists tasks, is another object beside [`http`], loaded by the same means.
//!
//! Whatever is read arrives as plain values ([`http::HttpReading`]), so that everything after it is
//! pure and knows nothing of BPF.
//!
//! # What it needs
//!
//! - Linux 5.11 or newer, whose structures can be read from `/sys/kernel/btf/vmlinux`
//!   (`CONFIG_DEBUG_INFO_BTF`). Whether a kernel is new enough is found out by loading, not by its
//!   version, since distributions change that.
//! - The capabilities `BPF` and `PERFMON`, or `SYS_ADMIN` in their place; a seccomp profile that lets
//!   `bpf()` through, as the default ones of container runtimes do for `BPF`; no lockdown for confidentiality.
//! - The host's pid namespace, so that the pids are those that the agent reads.
//! - No mount: neither bpffs nor tracefs nor headers of the kernel.
//!
//! Programs of these kinds cannot be detached from outside: they stay until the agent lets go of them, and
//! end with it however it ends.

pub mod http;
mod kernel;
pub mod refused;

pub use refused::{Refused, Skipped, Why};
