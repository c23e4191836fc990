//! The agent on a machine with pods, without asking Kubernetes for any of them.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::progress::await_some;
use crate::truth;
use crate::world::World;

/// The runtime takes some seconds to clear a pod away that Kubernetes has forgotten.
const LIMIT: Duration = Duration::from_secs(30);

/// `report --standalone` lists the containers of the pods, and not what the runtime keeps for each pod
/// beside them. The nodes' processes are this machine's, so it sees those of all nodes.
pub(super) fn same_containers(world: &mut World) -> anyhow::Result<()> {
    let node = world.nodes().into_iter().next().context("a node")?;
    // The program from the image, which is one static file.
    let program = format!("/proc/{}/exe", world.agent_pid(&node)?);
    // Containers of pods that were just removed from Kubernetes end on their own time.
    let mut listed = 0;
    await_some("the containers of the pods", LIMIT, || {
        let told = told_by(&program)?;
        let pods = truth::pods(&world.kubectl)?;
        let want: BTreeSet<String> = pods
            .iter()
            .flat_map(|pod| pod.containers.keys())
            .map(|id| format!("{id};<container>"))
            .collect();
        listed = told.len();
        Ok(match told == want {
            true => Ok(()),
            false => Err(format!("{told:?}, want {want:?}")),
        })
    })?;
    eprintln!("    {listed} containers");
    Ok(())
}

/// The containers of pods that the program lists.
fn told_by(program: &str) -> anyhow::Result<BTreeSet<String>> {
    let output = Command::new(program)
        .args(["report", "--standalone", "--output", "json"])
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let of_pods = |node: &&Value| node["parents"]["pod"].is_array();
    let containers = report["Container"]["nodes"].as_object();
    Ok(containers
        .context("containers")?
        .values()
        .filter(of_pods)
        .filter_map(|node| node["id"].as_str())
        .map(str::to_owned)
        .collect())
}
