//! What is played.

mod cgroup_v2;

use anyhow::{bail, ensure};
use throwaway_vm_guest::{CGROUP_V2, Line};

use crate::init::say;

/// Plays the scenario of this name.
pub(crate) fn play(name: &str) -> anyhow::Result<()> {
    match name {
        CGROUP_V2 => cgroup_v2::play(),
        _ => bail!("the guest knows no scenario {name:?}"),
    }
}

/// Says what is being done.
fn step(what: &str) {
    say(&Line::Step(what.to_owned()));
}

/// Refuses a value that is too far from what was expected: an emulated machine is never exact.
fn near(what: &str, value: f64, expected: f64, tolerance: f64) -> anyhow::Result<()> {
    ensure!(
        (value - expected).abs() <= tolerance,
        "{what} is {value}, not {expected} ± {tolerance}"
    );
    Ok(())
}
