//! What a person sees on Scope's page while two probes per node and one for the cluster ask the
//! agents: the emulated app, fed by real sockets in real time, with the probes' own reporters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use scope_emulator::truth::{Container, Controller, Host, Namespace, Pod, Process, Truth};
use scope_emulator::{
    Kind, Panel, ProbeSetup, Runtime, Summary, Tab, Version, View, World as Scope,
};
use serde_json::Value;

use super::local_controls::{STATIC_POD, with_all_controls};
use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, SYSTEM};
use crate::progress::await_some;
use crate::truth::{self, PodTruth};
use crate::world::World;

/// Scope's own buttons on a pod and ours behind them, in the order in which the node names them.
const POD_BUTTONS: [&str; 4] = [
    "kubernetes_get_logs",
    "kubernetes_delete_pod",
    "kubernetes_describe",
    "node-metrics-controls~deletePod",
];
/// Ours on a container that runs. Scope has none of its own on containers of a CRI runtime.
const CONTAINER_BUTTONS: [&str; 2] = [
    "node-metrics-controls~freezeContainer",
    "node-metrics-controls~restartContainer",
];
/// The namespace whose containers Scope's page hides until it is asked for them, and that is protected.
const HIDDEN: &str = "kube-system";
/// Namespaces whose containers nobody may touch, and which therefore have no buttons.
const SPARED: [&str; 3] = [HIDDEN, PLUGINS, SYSTEM];
/// A pod in a protected namespace, and one that the kubelet has from a file.
const PROTECTED_POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: looked-at, namespace: kube-system}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers:
    - name: guarded
      image: harness.local/box:1
      command: [sleep, "1000000"]
"#;
const STATIC_ON: &str = "node1";
const STATIC_NAME: &str = "rooted";
/// Longer than the app's window of 15 s: what was told before is not on the page any more, pods that are
/// gone and what a probe tells at its start included.
const WINDOW: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(60);

/// With the probes asking the container runtime, as `--probe.cri` makes them.
pub(super) fn with_cri(world: &mut World) -> anyhow::Result<()> {
    stays_with_cri(world, Duration::from_secs(60))
}

/// The same for as long as somebody may leave the page open.
pub(super) fn stays_with_cri(world: &mut World, length: Duration) -> anyhow::Result<()> {
    with_pods_of_all_sorts(world, |world| steady(world, Runtime::Cri, length))
}

/// Without, as in Scope's own manifests: every container that is seen comes from the agents.
pub(super) fn without_cri(world: &mut World) -> anyhow::Result<()> {
    stays_without_cri(world, Duration::from_secs(30))
}

/// The same for longer.
pub(super) fn stays_without_cri(world: &mut World, length: Duration) -> anyhow::Result<()> {
    with_pods_of_all_sorts(world, |world| steady(world, Runtime::Unseen, length))
}

/// With all controls on, and with pods that they are not for.
fn with_pods_of_all_sorts(
    world: &mut World,
    run: impl FnOnce(&mut World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    world.kubectl.apply(PROTECTED_POD)?;
    world.static_pod(STATIC_ON, STATIC_NAME, Some(STATIC_POD))?;
    let result = with_all_controls(world, |world| {
        settled(world)?;
        run(world)
    });
    world.static_pod(STATIC_ON, STATIC_NAME, None)?;
    world
        .kubectl
        .ok(&["delete", "pod", "looked-at", "-n", HIDDEN])?;
    let kubectl = world.kubectl.clone();
    let mirror = format!("{STATIC_NAME}-{STATIC_ON}");
    await_some("the end of the static pod", SOON, || {
        let pod = truth::pod_named(&kubectl, "default", &mirror)?;
        Ok(pod.map_or(Ok(()), |pod| Err(format!("{pod:?}"))))
    })?;
    result
}

/// Waits until every pod runs and none is about to go, the two of [`with_pods_of_all_sorts`] among them.
fn settled(world: &World) -> anyhow::Result<()> {
    await_some("nothing but pods that run", SOON, || {
        let list = world.kubectl.json(&["get", "pods", "-A"])?;
        let going = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
        let leaves = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|p| going(p));
        if let Some(pod) = leaves {
            return Ok(Err(format!("{} goes", pod["metadata"]["name"])));
        }
        let pods = truth::pods(&world.kubectl)?;
        let sorts = [
            pods.iter().any(|pod| pod.namespace == HIDDEN),
            pods.iter().any(|pod| pod.is_static),
        ];
        let starts = |pod: &&PodTruth| pod.phase != "Running" || pod.containers.is_empty();
        Ok(match pods.iter().find(starts) {
            None if sorts == [true, true] => Ok(()),
            starts => Err(format!("{sorts:?}, {starts:?}")),
        })
    })
}

/// Every look in this time shows all of it: one that does not is a flicker.
fn steady(world: &mut World, runtime: Runtime, length: Duration) -> anyhow::Result<()> {
    let pods = truth::pods(&world.kubectl)?;
    let mut scope = Scope::live(Version::default());
    *scope.truth() = whole_truth(world, &pods)?;
    for (n, node) in world.nodes().iter().enumerate() {
        let sockets = world.plugin_dir(node);
        let setup = ProbeSetup::host(node).runtime(runtime).sockets(&sockets);
        scope.try_add_probe(setup.id(&format!("50{n}")))?;
        if n == 0 {
            let phase = Duration::from_millis(700);
            let setup = ProbeSetup::cluster(node).sockets(&sockets).phase(phase);
            scope.try_add_probe(setup.id("c1"))?;
        }
    }
    scope.advance(WINDOW);
    let (started, mut looks) = (Instant::now(), 0);
    while started.elapsed() < length {
        let view = scope.view();
        sees_everything(&view, &pods).with_context(|| {
            let plugins = view.plugins().map(|p| format!("{}: {}", p.id, p.status));
            format!(
                "after {:.1} s ({runtime:?}; {})",
                started.elapsed().as_secs_f64(),
                plugins.collect::<Vec<_>>().join(", ")
            )
        })?;
        looks += 1;
        scope.advance(Duration::from_secs(1));
        scope.truth().hosts = hosts(world, &pods)?;
    }
    eprintln!("    the same in {looks} looks ({runtime:?})");
    Ok(())
}

fn sees_everything(view: &View, pods: &[PodTruth]) -> anyhow::Result<()> {
    let shown = view.shown(Tab::Pods)?;
    let running: Vec<_> = pods.iter().filter(|p| p.phase == "Running").collect();
    let ids: BTreeSet<_> = running.iter().map(|p| p.node_id()).collect();
    let seen: BTreeSet<_> = shown.keys().cloned().collect();
    ensure!(
        seen == ids,
        "the pods on the page are {seen:?}, want {ids:?}"
    );
    for pod in &running {
        let id = pod.node_id();
        let panel = view.panel(Tab::Pods, &id)?.context("a panel")?;
        pod_is_right(pod, &shown[&id], &panel).with_context(|| format!("pod {}", pod.name))?;
    }
    let (hidden, drawn): (Vec<&PodTruth>, Vec<_>) =
        running.iter().partition(|p| p.namespace == HIDDEN);
    containers_are_right(view, &drawn)?;
    for pod in hidden {
        for id in pod.containers.keys() {
            let id = format!("{id};<container>");
            let panel = view.panel(Tab::Containers, &id)?.context("a panel")?;
            has_its_buttons(pod, &panel).with_context(|| format!("pod {}", pod.name))?;
        }
    }
    controllers_are_right(view, &running)?;
    let mut names = view.namespaces();
    let all = names.len();
    names.dedup();
    ensure!(
        names.len() == all,
        "a namespace stands twice in {:?}",
        view.namespaces()
    );
    Ok(())
}

fn pod_is_right(pod: &PodTruth, shown: &Summary, panel: &Panel) -> anyhow::Result<()> {
    let count = match pod.containers.len() {
        1 => "1 container".to_owned(),
        n => format!("{n} containers"),
    };
    ensure!(shown.label == pod.name, "is called {}", shown.label);
    ensure!(
        shown.label_minor == count,
        "has {:?}, want {count:?}",
        shown.label_minor
    );
    ensure!(
        shown.parent_labels(Tab::Hosts) == [pod.node.as_str()],
        "is on {:?}",
        shown.parent_labels(Tab::Hosts)
    );
    has_figures(shown)?;
    ensure!(
        panel.control_ids() == POD_BUTTONS,
        "its buttons are {:?}",
        panel.control_ids()
    );
    let inside: BTreeSet<_> = panel
        .children(Kind::Container)
        .iter()
        .map(|c| c.label.as_str())
        .collect();
    let want: BTreeSet<_> = pod
        .containers
        .values()
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(
        inside == want,
        "its containers are {inside:?}, want {want:?}"
    );
    ensure!(
        !panel.children(Kind::Process).is_empty(),
        "it shows no process"
    );
    Ok(())
}

fn has_figures(shown: &Summary) -> anyhow::Result<()> {
    for metric in ["docker_cpu_total_usage", "docker_memory_usage"] {
        let row = shown.metrics.iter().find(|row| row.id == metric);
        let row = row.with_context(|| format!("{metric} is not shown"))?;
        ensure!(row.samples > 0, "{metric} has no figure");
    }
    let memory = shown.metric("docker_memory_usage");
    ensure!(memory > Some(0.0), "its memory is {memory:?}");
    Ok(())
}

fn containers_are_right(view: &View, running: &[&PodTruth]) -> anyhow::Result<()> {
    let shown = view.shown(Tab::Containers)?;
    let mut want = BTreeMap::new();
    for pod in running {
        for (id, names) in &pod.containers {
            want.insert(format!("{id};<container>"), (pod, names));
        }
    }
    let extra: Vec<_> = shown.keys().filter(|id| !want.contains_key(*id)).collect();
    ensure!(extra.is_empty(), "ghosts among the containers: {extra:?}");
    for (id, (pod, (name, image))) in want {
        let Some(container) = shown.get(&id) else {
            bail!("container {name} of {} is not on the page", pod.name);
        };
        let about = || format!("container {name} of {}", pod.name);
        has_figures(container).with_context(about)?;
        ensure!(
            &container.label == name,
            "{}: called {}",
            about(),
            container.label
        );
        let hosts = container.parent_labels(Tab::Hosts);
        ensure!(hosts == [pod.node.as_str()], "{}: on {hosts:?}", about());
        let pods = container.parent_labels(Tab::Pods);
        ensure!(pods == [pod.name.as_str()], "{}: of {pods:?}", about());
        ensure!(
            container.parent_labels(Tab::ContainersByImage).len() == 1,
            "{}: its image {image} is not its parent",
            about()
        );
        let state = container.value("docker_container_state_human");
        ensure!(state == Some("Up"), "{}: its state is {state:?}", about());
        let panel = view.panel(Tab::Containers, &id)?.context("a panel")?;
        ensure!(
            !panel.children(Kind::Process).is_empty(),
            "{}: no process inside",
            about()
        );
        has_its_buttons(pod, &panel).with_context(about)?;
    }
    Ok(())
}

/// A container has the buttons that make sense on it, and none that could only refuse.
fn has_its_buttons(pod: &PodTruth, panel: &Panel) -> anyhow::Result<()> {
    let spared = pod.is_static || SPARED.contains(&pod.namespace.as_str());
    let want: &[&str] = if spared { &[] } else { &CONTAINER_BUTTONS };
    ensure!(
        panel.control_ids() == want,
        "its buttons are {:?}, want {want:?}",
        panel.control_ids()
    );
    Ok(())
}

fn controllers_are_right(view: &View, running: &[&PodTruth]) -> anyhow::Result<()> {
    let shown = view.shown(Tab::Controllers)?;
    let mut pods: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in running {
        let drawn = [
            "deployment",
            "daemon_set",
            "stateful_set",
            "job",
            "cron_job",
        ];
        for topology in drawn {
            for id in pod.parents.get(topology).into_iter().flatten() {
                *pods.entry(id).or_default() += 1;
            }
        }
    }
    for (id, count) in pods {
        let controller = shown
            .get(id)
            .with_context(|| format!("{id} is not on the page"))?;
        let said = format!("of {count} pod{}", if count == 1 { "" } else { "s" });
        ensure!(
            controller.label_minor.ends_with(&said),
            "{}: {:?}, want {said:?}",
            controller.label,
            controller.label_minor
        );
    }
    Ok(())
}

/// What the probes' own reporters find: Kubernetes' objects, containers, processes.
pub(super) fn whole_truth(world: &World, pods: &[PodTruth]) -> anyhow::Result<Truth> {
    let kubectl = &world.kubectl;
    let mut truth = Truth {
        hosts: hosts(world, pods)?,
        ..Truth::default()
    };
    for item in items(kubectl, "namespaces")? {
        truth.namespaces.push(Namespace {
            uid: text(&item["metadata"]["uid"]),
            name: text(&item["metadata"]["name"]),
            labels: labels(&item["metadata"]["labels"]),
        });
    }
    for item in items(kubectl, "pods")? {
        let meta = &item["metadata"];
        let pod = Pod::new(
            &truth::scope_uid(&item),
            &text(&meta["namespace"]),
            &text(&meta["name"]),
            &text(&item["spec"]["nodeName"]),
        );
        truth.pods.push(Pod {
            labels: labels(&meta["labels"]),
            ip: text(&item["status"]["podIP"]),
            state: text(&item["status"]["phase"]),
            host_network: item["spec"]["hostNetwork"] == true,
            ..pod
        });
    }
    let kinds = [
        (Kind::Deployment, "deployments"),
        (Kind::DaemonSet, "daemonsets"),
        (Kind::StatefulSet, "statefulsets"),
        (Kind::Job, "jobs"),
        (Kind::Service, "services"),
    ];
    for (kind, name) in kinds {
        for item in items(kubectl, name)? {
            let meta = &item["metadata"];
            let selector = match kind {
                Kind::Service => &item["spec"]["selector"],
                _ => &item["spec"]["selector"]["matchLabels"],
            };
            let controller = Controller::new(
                kind,
                &text(&meta["uid"]),
                &text(&meta["namespace"]),
                &text(&meta["name"]),
            );
            truth.controllers.push(Controller {
                labels: labels(&meta["labels"]),
                selector: labels(selector),
                replicas: item["spec"]["replicas"].as_u64().unwrap_or(1) as u32,
                ..controller
            });
        }
    }
    Ok(truth)
}

/// The machines, with the containers of these pods and the processes that run on each now.
fn hosts(world: &World, pods: &[PodTruth]) -> anyhow::Result<BTreeMap<String, Host>> {
    let mut hosts = BTreeMap::new();
    for node in world.nodes() {
        let mut host = Host::default();
        for pod in pods.iter().filter(|p| p.node == node) {
            let of = Pod::new(&pod.uid, &pod.namespace, &pod.name, &node);
            for (id, (name, image)) in &pod.containers {
                let mut container = Container::of_pod(id, name, &of);
                container.image_name.clone_from(image);
                host.containers.push(container);
            }
        }
        host.processes = world
            .processes(&node)?
            .into_iter()
            .map(|(pid, name)| Process {
                pid,
                cmdline: name.clone(),
                name,
                threads: 1,
                ..Process::default()
            })
            .collect();
        hosts.insert(node, host);
    }
    Ok(hosts)
}

fn items(kubectl: &Kubectl, kind: &str) -> anyhow::Result<Vec<Value>> {
    let list = kubectl.json(&["get", kind, "-A"])?;
    Ok(list["items"].as_array().context("a list")?.clone())
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
