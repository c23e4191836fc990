//! What is played.

mod cgroup_v2;
mod http;
mod http_bench;
mod traffic;

use anyhow::bail;
use throwaway_vm_guest::{CGROUP_V2, HTTP, HTTP_BENCH, Line, TRAFFIC};

use crate::init::say;

/// Plays the scenario of this name, which one is told more about.
pub(crate) fn play(name: &str, told: &[&str]) -> anyhow::Result<()> {
    match (name, told) {
        (CGROUP_V2, []) => cgroup_v2::play(),
        (HTTP, []) => http::play(),
        (HTTP_BENCH, [rounds, seconds]) => http_bench::play(rounds, seconds),
        (TRAFFIC, []) => traffic::play(),
        _ => bail!("the guest knows no scenario {name:?} with {told:?}"),
    }
}

/// Says what is being done.
fn step(what: &str) {
    say(&Line::Step(what.to_owned()));
}
