//! What is played.

mod cgroup_v2;
mod http;
mod traffic;

use anyhow::bail;
use throwaway_vm_guest::{CGROUP_V2, HTTP, Line, TRAFFIC};

use crate::init::say;

/// Plays the scenario of this name.
pub(crate) fn play(name: &str) -> anyhow::Result<()> {
    match name {
        CGROUP_V2 => cgroup_v2::play(),
        HTTP => http::play(),
        TRAFFIC => traffic::play(),
        _ => bail!("the guest knows no scenario {name:?}"),
    }
}

/// Says what is being done.
fn step(what: &str) {
    say(&Line::Step(what.to_owned()));
}
