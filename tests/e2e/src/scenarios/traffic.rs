//! The traffic of a pod shaped by a click, as an independent `tc` and a stopwatch see it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::lifecycle::{await_no_agents, set_suspended};
use super::local_controls::{
    Container, NODE, SOON, await_latest, await_record, click_of, container, done, refused,
};
use crate::product::{PLUGINS, agent_pods, await_ready};
use crate::progress::await_some;
use crate::world::{Clicked, World};

/// The plugin of the example.
const PLUGIN: &str = "traffic-control";
/// The one that every scenario finds and leaves.
const USUAL: &str = "node-metrics";

const NAMESPACE: &str = "shaped";
/// What the pod sends to whoever connects.
const BYTES: usize = 2_000_000;

/// Two that send on request, one on the node's network, and one that is protected.
const PODS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shaped}
---
apiVersion: v1
kind: Pod
metadata: {name: sender, namespace: shaped}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
    - name: sender
      image: harness.local/box:1
      command: [sh, -c, "while :; do nc -l -p 7000 -e dd if=/dev/zero bs=1000 count=2000; done"]
---
apiVersion: v1
kind: Pod
metadata: {name: bystander, namespace: shaped}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
    - name: bystander
      image: harness.local/box:1
      command: [sh, -c, "while :; do nc -l -p 7000 -e dd if=/dev/zero bs=1000 count=2000; done"]
---
apiVersion: v1
kind: Pod
metadata: {name: on-host, namespace: shaped}
spec:
  nodeName: node1
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
    - name: on-host
      image: harness.local/box:1
      command: [sleep, "1000000"]
---
apiVersion: v1
kind: Pod
metadata: {name: shaped-guarded, namespace: kube-system}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
    - name: guarded
      image: harness.local/box:1
      command: [sleep, "1000000"]
"#;

/// All of it, by the example in the place of the usual plugin.
pub(super) fn by_click(world: &mut World) -> anyhow::Result<()> {
    world.kubectl.apply(PODS)?;
    set_suspended(world, USUAL, true)?;
    await_no_agents(world)?;
    let example = world.product.text("examples/traffic-control.yaml")?;
    let example = example + "  rollout: {canary: {soak: 2s}, minReady: 1s}\n";
    world.kubectl.apply(&example)?;
    let result = await_ready(&world.kubectl, PLUGIN, SOON).and_then(|()| shaped(world));
    world.kubectl.ok(&[
        "delete",
        "pod",
        "shaped-guarded",
        "-n",
        "kube-system",
        "--wait=false",
    ])?;
    world.kubectl.ok(&["delete", "scopeplugin", PLUGIN])?;
    let gone = await_no_agents(world);
    // After what the agents have to say of its pods when they go.
    world
        .kubectl
        .ok(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    set_suspended(world, USUAL, false)?;
    await_ready(&world.kubectl, USUAL, SOON)?;
    result?;
    gone
}

fn click(
    world: &mut World,
    node_id: &str,
    control: &str,
    args: &[(&str, &str)],
) -> anyhow::Result<Clicked> {
    click_of(PLUGIN, world, node_id, control, args)
}

fn shaped(world: &mut World) -> anyhow::Result<()> {
    rate(world).context("a rate")?;
    ends(world).context("its end")?;
    refusals(world).context("refusals")?;
    suspended(world).context("suspending")
}

/// A process of the container, as this machine counts them.
fn pid(of: &Container) -> anyhow::Result<u32> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|n| n.parse().ok());
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if let Some(pid) = pid.filter(|_| cgroup.contains(&of.id)) {
            return Ok(pid);
        }
    }
    anyhow::bail!("no process of {of:?}")
}

/// A program of this machine in the pod's network.
fn inside(of: &Container, program: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", pid(of)?))
        .args(program)
        .output()?;
    ensure!(
        output.status.success(),
        "{program:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `tc` says of the pod's root qdisc.
fn tc(of: &Container) -> anyhow::Result<String> {
    inside(of, &["tc", "qdisc", "show", "dev", "eth0", "root"])
}

fn await_tc(of: &Container, what: &str, fits: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    await_some(what, SOON, || {
        let said = tc(of)?;
        Ok(if fits(&said) { Ok(()) } else { Err(said) })
    })
}

/// How fast the pod sends to its node, in Mbit/s.
fn throughput(world: &World, of: &Container) -> anyhow::Result<f64> {
    let pod = world
        .kubectl
        .json(&["get", "pod", &of.pod, "-n", &of.namespace])?;
    let address = pod["status"]["podIP"].as_str().context("an address")?;
    // The clock of the one who fetches: to start it takes a part of a second, too.
    let fetch = format!(
        "began=$(date +%s%N)
        got=$(exec 3<>/dev/tcp/{address}/7000; head -c {BYTES} <&3 | wc -c) || exit 1
        echo $got $(($(date +%s%N) - began))"
    );
    let node = world.node(NODE)?;
    let said = await_some("the pod to send", SOON, || {
        // Between two connections nobody listens for a moment.
        Ok(node
            .exec(&["bash", "-c", &fetch])
            .map_err(|error| error.to_string()))
    })?;
    let (got, nanoseconds) = said.trim().split_once(' ').context("two numbers")?;
    ensure!(got == BYTES.to_string(), "{got} bytes came");
    let nanoseconds: f64 = nanoseconds.parse()?;
    Ok(BYTES as f64 * 8.0 / 1e6 / (nanoseconds / 1e9))
}

fn rate(world: &mut World) -> anyhow::Result<()> {
    let sender = container(world, NAMESPACE, "sender")?;
    let bystander = container(world, NAMESPACE, "bystander")?;
    let netem = has_netem()?;
    await_latest(world, &sender, "active_controls", |controls| {
        controls.contains("-controls~traffic-control-table-clear")
            && controls.contains("~traffic-control-table-slow") == netem
            && !controls.contains("~traffic-control-table-set")
    })?;
    await_latest(world, &sender, "traffic-control-table-rate", |rate| {
        rate == "-"
    })?;
    if !netem {
        await_latest(world, &sender, "traffic-control-table-note", |note| {
            note.contains("only a rate can be set: this node's kernel has no sch_netem")
        })?;
        let slow = click(world, &sender.node_id(), &id("slow"), &[])?;
        refused(&slow, "this node's kernel has no sch_netem")?;
    }
    let plain = tc(&sender)?;
    let before = throughput(world, &sender)?;
    let args = [("rate", "8mbit"), ("duration", "5m")];
    done(&click(world, &sender.node_id(), &id("set"), &args)?)?;
    let said = tc(&sender)?;
    ensure!(
        said.contains("tbf 5") && said.contains("rate 8Mbit"),
        "{said}"
    );
    ensure!(!tc(&bystander)?.contains("tbf"), "on another pod");
    let during = throughput(world, &sender)?;
    let beside = throughput(world, &bystander)?;
    println!("Mbit/s: {before:.0} before, {during:.2} at 8, {beside:.0} beside");
    ensure!((6.5..=9.0).contains(&during), "{during} Mbit/s at 8");
    ensure!(
        before > 20.0 && beside > 20.0,
        "{before} before, {beside} beside"
    );
    await_latest(world, &sender, "traffic-control-table-rate", |rate| {
        rate == "8mbit"
    })?;
    await_latest(world, &sender, "traffic-control-table-until", |until| {
        until.ends_with(" UTC")
    })?;
    await_record(
        world,
        &sender,
        "ShapeTraffic",
        "has rate 8mbit for 5 min, until",
    )?;
    done(&click(world, &sender.node_id(), &id("clear"), &[])?)?;
    ensure!(tc(&sender)? == plain, "not as before: {}", tc(&sender)?);
    let after = throughput(world, &sender)?;
    ensure!(after > 20.0, "{after} Mbit/s after");
    await_latest(world, &sender, "traffic-control-table-rate", |rate| {
        rate == "-"
    })?;
    await_record(
        world,
        &sender,
        "ShapeTraffic",
        "is as before again, without rate 8mbit",
    )
}

fn id(button: &str) -> String {
    format!("traffic-control-table-{button}")
}

/// Whether this machine's kernel delays packets, by `tc`, in a network that is gone afterwards.
fn has_netem() -> anyhow::Result<bool> {
    let output = Command::new("unshare")
        .args(["--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem"])
        .output()?;
    Ok(output.status.success())
}

fn ends(world: &mut World) -> anyhow::Result<()> {
    let sender = container(world, NAMESPACE, "sender")?;
    let node_id = sender.node_id();
    let shape = |world: &mut World, duration: &str| -> anyhow::Result<()> {
        let args = [("rate", "8mbit"), ("duration", duration)];
        done(&click(world, &node_id, &id("set"), &args)?)?;
        ensure!(tc(&sender)?.contains("tbf 5"), "not set");
        Ok(())
    };
    // By itself.
    shape(world, "3s")?;
    await_tc(&sender, "the end of its three seconds", |said| {
        !said.contains("tbf")
    })?;
    await_record(world, &sender, "ShapeTraffic", "its time was over")?;

    // By the agent that comes after one that was killed, and not before the time is over.
    let (began, long) = (Instant::now(), Duration::from_secs(30));
    shape(world, "30s")?;
    world.kill(world.agent_pid(NODE)?)?;
    await_tc(&sender, "the next agent to clear it", |said| {
        !said.contains("tbf")
    })?;
    let took = began.elapsed();
    ensure!(
        took + Duration::from_secs(1) > long,
        "cleared after {took:?}"
    );
    await_ready(&world.kubectl, PLUGIN, SOON)?;

    // By an agent that ends regularly.
    shape(world, "10m")?;
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    let (agent, ..) = agents
        .iter()
        .find(|(_, node, _)| node == NODE)
        .context("an agent")?;
    world.kubectl.ok(&["delete", "pod", agent, "-n", PLUGINS])?;
    ensure!(!tc(&sender)?.contains("tbf"), "the agent ended and left it");
    await_record(world, &sender, "ShapeTraffic", "the agent that set it ends")?;
    await_ready(&world.kubectl, PLUGIN, SOON)
}

fn refusals(world: &mut World) -> anyhow::Result<()> {
    let sender = container(world, NAMESPACE, "sender")?;
    let on_host = container(world, NAMESPACE, "on-host")?;
    let guarded = container(world, "kube-system", "shaped-guarded")?;
    let agents = agent_pods(&world.kubectl, PLUGIN)?;
    let (agent, ..) = agents
        .iter()
        .find(|(_, node, _)| node == NODE)
        .context("an agent")?;
    let own = container(world, PLUGINS, agent)?;
    let rate = [("rate", "8mbit")];
    for (of, words) in [
        (&on_host, "on the node's own network (hostNetwork)"),
        (&guarded, "kube-system is protected"),
        (&own, "belongs to the Scope plugins"),
    ] {
        refused(&click(world, &of.node_id(), &id("set"), &rate)?, words)?;
        refused(&click(world, &of.node_id(), &id("clear"), &[])?, words)?;
    }
    await_latest(world, &sender, "active_controls", |controls| {
        controls.contains("~traffic")
    })?;
    for (args, words) in [
        (&[("rate", "1")][..], "the argument rate"),
        (
            &[("rate", "8mbit"), ("duration", "31m")],
            "from 1s to 1800s",
        ),
        (&[("jitter", "1ms")], "the jitter would be 1ms"),
        (&[], "changes nothing without an argument"),
    ] {
        refused(&click(world, &sender.node_id(), &id("set"), args)?, words)?;
    }
    // Somebody else's.
    let foreign = [
        "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "tbf",
    ];
    let of_them = ["rate", "30mbit", "burst", "32kb", "latency", "50ms"];
    inside(&sender, &[&foreign[..], &of_them].concat())?;
    let theirs = tc(&sender)?;
    let words = "tbf 1: (rate 30mbit), as Chaos Mesh sets it";
    refused(&click(world, &sender.node_id(), &id("set"), &rate)?, words)?;
    refused(&click(world, &sender.node_id(), &id("clear"), &[])?, words)?;
    await_latest(world, &sender, "traffic-control-table-note", |note| {
        note.contains(words)
    })?;
    ensure!(tc(&sender)? == theirs, "somebody else's was changed");
    inside(&sender, &["tc", "qdisc", "del", "dev", "eth0", "root"])?;
    await_latest(world, &sender, "traffic-control-table-rate", |rate| {
        rate == "-"
    })
}

fn suspended(world: &mut World) -> anyhow::Result<()> {
    let sender = container(world, NAMESPACE, "sender")?;
    let args = [("rate", "8mbit")];
    done(&click(world, &sender.node_id(), &id("set"), &args)?)?;
    ensure!(tc(&sender)?.contains("tbf 5"), "not set");
    set_suspended(world, PLUGIN, true)?;
    await_tc(&sender, "the suspended plugin to clear it", |said| {
        !said.contains("tbf")
    })
}
