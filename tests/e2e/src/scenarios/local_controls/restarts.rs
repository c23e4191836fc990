//! Containers that are restarted.

use super::*;

/// The container's ID and restarts, once they changed.
fn await_restart(world: &World, old: &Container) -> anyhow::Result<()> {
    await_some(&format!("another container in {}", old.pod), SOON, || {
        let pod = world
            .kubectl
            .json(&["get", "pod", &old.pod, "-n", &old.namespace])?;
        let status = &pod["status"]["containerStatuses"][0];
        let other = status["containerID"]
            .as_str()
            .is_some_and(|id| !id.contains(&old.id));
        let restarted =
            other && status["restartCount"] == 1 && status["state"]["running"].is_object();
        Ok(if restarted {
            Ok(())
        } else {
            Err(status.to_string())
        })
    })
}

pub(super) fn restarted(world: &mut World) -> anyhow::Result<()> {
    let quick = container(world, NAMESPACE, "quick")?;
    let heeds = click(world, &quick.node_id(), "restartContainer", &[])?;
    // Done, or not yet when the answer had to leave.
    ensure!(
        heeds.http == 200 || heeds.body.contains("accepted: "),
        "{}",
        heeds.body
    );
    await_restart(world, &quick)?;
    await_record(world, &quick, "RestartContainer", "after SIGTERM")?;

    // Of another user than the agent's; the first process of a namespace has no default action.
    let deaf = container(world, NAMESPACE, "deaf")?;
    let began = Instant::now();
    refused(
        &click(world, &deaf.node_id(), "restartContainer", &[])?,
        "accepted: ",
    )?;
    await_restart(world, &deaf)?;
    ensure!(
        began.elapsed() >= Duration::from_secs(2),
        "killed after {:?}, before its grace period",
        began.elapsed()
    );
    await_record(world, &deaf, "RestartContainer", "got SIGKILL")
}
