//! Containers that are frozen, and thawed whatever happens to the agent.

use super::*;

pub(super) fn frozen_and_thawed(world: &mut World) -> anyhow::Result<()> {
    let quick = container(world, NAMESPACE, "quick")?;
    await_latest(world, &quick, "active_controls", |controls| {
        controls.contains("~freezeContainer")
            && controls.contains("~restartContainer")
            && !controls.contains("~thawContainer")
    })?;
    done(&click(world, &quick.node_id(), "freezeContainer", &[])?)?;
    ensure!(is_frozen(&quick.id)?, "the kernel has not frozen it");
    await_record(world, &quick, "FreezeContainer", "is frozen for 10 min")?;
    await_latest(world, &quick, "docker_container_state", |state| {
        state == "paused"
    })?;
    await_latest(world, &quick, "active_controls", |controls| {
        controls.contains("~thawContainer") && !controls.contains("~freezeContainer")
    })?;
    let again = click(
        world,
        &quick.node_id(),
        "freezeContainer",
        &[("duration", "9s")],
    )?;
    refused(&again, "is frozen already")?;
    refused(
        &click(world, &quick.node_id(), "restartContainer", &[])?,
        "thaw it first",
    )?;
    done(&click(world, &quick.node_id(), "thawContainer", &[])?)?;
    ensure!(!is_frozen(&quick.id)?, "the kernel has not thawed it");
    await_record(world, &quick, "ThawContainer", "is thawed")?;
    await_latest(world, &quick, "docker_container_state", |state| {
        state == "running"
    })?;
    refused(
        &click(world, &quick.node_id(), "thawContainer", &[("x", "y")])?,
        "has no argument",
    )
}

pub(super) fn thaws_whatever_happens(world: &mut World) -> anyhow::Result<()> {
    let deaf = container(world, NAMESPACE, "deaf")?;
    // By itself.
    done(&click(
        world,
        &deaf.node_id(),
        "freezeContainer",
        &[("duration", "3s")],
    )?)?;
    ensure!(is_frozen(&deaf.id)?, "not frozen");
    await_frozen("the end of its three seconds", &deaf.id, false)?;
    await_record(world, &deaf, "ThawContainer", "its time was over")?;

    // By the agent that comes after one that was killed, and not before the time is over.
    let began = Instant::now();
    let long = Duration::from_secs(30);
    done(&click(
        world,
        &deaf.node_id(),
        "freezeContainer",
        &[("duration", "30s")],
    )?)?;
    world.kill(world.agent_pid(NODE)?)?;
    await_frozen("the next agent to thaw it", &deaf.id, false)?;
    ensure!(
        began.elapsed() + Duration::from_secs(1) > long,
        "thawed after {:?}, before its time was over",
        began.elapsed()
    );
    await_ready(&world.kubectl, PLUGIN, SOON)?;

    // By an agent that ends regularly.
    done(&click(
        world,
        &deaf.node_id(),
        "freezeContainer",
        &[("duration", "1h")],
    )?)?;
    ensure!(is_frozen(&deaf.id)?, "not frozen");
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    let (agent, ..) = agents
        .iter()
        .find(|(_, node, _)| node == NODE)
        .context("an agent")?;
    world.kubectl.ok(&["delete", "pod", agent, "-n", PLUGINS])?;
    ensure!(!is_frozen(&deaf.id)?, "the agent ended and left it frozen");
    await_record(
        world,
        &deaf,
        "ThawContainer",
        "the agent that froze it ends",
    )?;
    await_ready(&world.kubectl, PLUGIN, SOON)
}
