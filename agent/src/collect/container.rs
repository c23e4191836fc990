//! Container, ContainerImage and Process nodes.
//!
//! On CRI runtimes Scope's probe reports containers in a state that its app takes for stopped,
//! without host, metrics or link to their processes. These nodes are complete on their own, under
//! the keys that Scope's Docker reporter uses, and so they mend it.

use std::collections::{BTreeMap, HashMap};

use scope_protocol::report::{DataType, From};
use scope_protocol::{MetadataTemplate, Node, NodeId, Topology};

use super::ControlNames;
use super::composer::Composer;
use super::http;
use super::metric::Scales;
use super::volumes;
use crate::attribution::ContainerUsage;
use crate::inventory::{Container, Pod};
use crate::sample::Mode;

pub(super) const CONTAINER_ID: &str = "docker_container_id";
const CONTAINER_NAME: &str = "docker_container_name";
const CONTAINER_STATE: &str = "docker_container_state";
const CONTAINER_STATE_HUMAN: &str = "docker_container_state_human";
const CONTAINER_CREATED: &str = "docker_container_created";
const CONTAINER_IPS: &str = "docker_container_ips";
const IMAGE_ID: &str = "docker_image_id";
const IMAGE_NAME: &str = "docker_image_name";
const LABEL_CONTAINER_NAME: &str = "docker_label_io.kubernetes.container.name";
const LABEL_POD_UID: &str = "docker_label_io.kubernetes.pod.uid";
const LABEL_POD_NAME: &str = "docker_label_io.kubernetes.pod.name";
const LABEL_POD_NAMESPACE: &str = "docker_label_io.kubernetes.pod.namespace";

/// The controls of the probe's own on a running Docker container, in its order.
const DOCKER_RUNNING: [&str; 5] = [
    "docker_restart_container",
    "docker_stop_container",
    "docker_pause_container",
    "docker_attach_container",
    "docker_exec_container",
];
/// The same on a frozen one. Docker has none but the unpausing on one that it paused, and all others
/// on one that it did not freeze, of which it knows nothing; its cgroup does not tell who froze it.
const DOCKER_FROZEN: [&str; 6] = [
    "docker_restart_container",
    "docker_stop_container",
    "docker_pause_container",
    "docker_unpause_container",
    "docker_attach_container",
    "docker_exec_container",
];

/// What a container is called where Kubernetes does not say: as Docker's tools shorten its ID.
const SHORT_ID: usize = 12;

/// The shortened ID of a container.
pub(crate) fn short_id(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// Adds the containers that run, their images, and the links from their processes.
pub(super) fn add(composer: &mut Composer<'_>) {
    composer.add_metric_templates(Topology::Container, false);
    if composer.settings.traffic.is_some() {
        let tables = &mut composer
            .report
            .topology(Topology::Container)
            .table_templates;
        tables.extend([super::traffic::table()]);
    }
    if composer.mending {
        composer
            .report
            .topology(Topology::Container)
            .metadata_templates = container_rows();
        composer
            .report
            .topology(Topology::ContainerImage)
            .metadata_templates = image_rows();
    }
    volumes::add_templates(composer, Topology::Container);
    let known: HashMap<&str, (&Pod, &Container)> = match composer.mode {
        Mode::Cluster(inventory) => inventory
            .pods
            .values()
            .flat_map(|pod| pod.containers.iter().map(move |(id, c)| (&**id, (pod, c))))
            .collect(),
        Mode::Standalone => HashMap::new(),
    };
    let usage = composer.usage;
    let mut scales = Scales::new(usage.host.cpus, usage.host.memory_total);
    usage
        .containers
        .values()
        .for_each(|container| scales.include(&container.figures));
    let http = usage.http.containers.values();
    http.for_each(|rates| scales.include_http(rates));

    for (id, container) in &usage.containers {
        add_container(composer, scales, id, container, known.get(&**id).copied());
    }
    if composer.mending {
        add_processes(composer);
    }
}

fn add_container(
    composer: &mut Composer<'_>,
    scales: Scales,
    id: &str,
    usage: &ContainerUsage,
    known: Option<(&Pod, &Container)>,
) {
    let node_id = NodeId::container(id).to_string();
    let mut node = Node::default();
    let mut meter = composer.meter(&mut node, scales);
    if composer.mending {
        meter.scopes_own(usage.figures.cpu, usage.figures.memory);
    }
    if composer.has_container_metrics(&node_id) {
        meter.further(&usage.figures);
        if let Some(rates) = composer.usage.http.containers.get(id) {
            http::set(&mut meter, rates);
        }
    }
    // What changed is told at once.
    let changed = usage.frozen_changed;
    if composer.mending && (changed || composer.share.has_state(&node_id)) {
        add_state(composer, &mut node, usage, known);
    }
    if changed || composer.has_names(&node_id) {
        if composer.mending {
            name(composer, &mut node, id, known);
        }
        if may_be_touched(composer, known) {
            let networked = known.is_some_and(|(pod, _)| !pod.host_network);
            name_controls(composer, &mut node, is_frozen(usage), networked);
        }
        if let Some((pod, container)) = known {
            volumes::describe_container(composer, &mut node, pod, container);
        }
        if !node.latest.is_empty() {
            composer.mark(&mut node);
        }
    }
    let traffic = composer.settings.traffic.as_ref();
    if let Some(traffic) = known.and_then(|(pod, _)| traffic?.pods.get(&*pod.id))
        && (traffic.is_news() || composer.has_names(&node_id))
    {
        traffic.tell(&mut node, composer.stamp);
    }
    if let Some((_, container)) = known.filter(|_| composer.mending) {
        add_image(composer, container);
    }
    if node != Node::default() {
        composer
            .report
            .topology(Topology::Container)
            .nodes
            .insert(node_id, node);
    }
}

fn is_frozen(usage: &ContainerUsage) -> bool {
    usage.frozen == Some(true)
}

/// What the container does and belongs to. It is running: this is only called while its cgroup or
/// one of its processes is there, and the state's stamp runs out soon after.
fn add_state(
    composer: &Composer<'_>,
    node: &mut Node,
    usage: &ContainerUsage,
    known: Option<(&Pod, &Container)>,
) {
    // Without the time that it has been up: a value that changes makes the probe send all of the
    // node's values in each publish.
    let (state, human) = match is_frozen(usage) {
        false => ("running", "Up"),
        true => ("paused", "Paused"),
    };
    node.set(CONTAINER_STATE, composer.ahead, state);
    node.set(CONTAINER_STATE_HUMAN, composer.ahead, human);
    node.add_parent(Topology::Host, composer.host.clone());
    if let Some(pod) = &usage.pod {
        node.add_parent(Topology::Pod, NodeId::pod(pod).to_string());
    }
    let Some((pod, container)) = known else {
        return;
    };
    if !container.image_id.is_empty() {
        let image = NodeId::container_image(&container.image_id).to_string();
        node.add_parent(Topology::ContainerImage, image);
    }
    if !pod.ips.is_empty() && !pod.host_network {
        node.sets
            .insert(CONTAINER_IPS.to_owned(), pod.ips.iter().cloned().collect());
    }
}

/// What the container is called.
fn name(composer: &Composer<'_>, node: &mut Node, id: &str, known: Option<(&Pod, &Container)>) {
    let (at, ahead) = (composer.stamp, composer.ahead);
    node.set(CONTAINER_ID, at, id);
    let Some((pod, container)) = known else {
        node.set(CONTAINER_NAME, at, short_id(id));
        return;
    };
    node.set(CONTAINER_NAME, at, &*container.name);
    node.set(LABEL_CONTAINER_NAME, at, &*container.name);
    node.set(LABEL_POD_UID, at, &*pod.id);
    node.set(LABEL_POD_NAME, at, &*pod.name);
    node.set(LABEL_POD_NAMESPACE, at, &*pod.namespace);
    if let Some(started) = container.started {
        node.set(CONTAINER_CREATED, at, started.to_string());
    }
    // The probe's CRI reporter has the image's digest for both.
    node.set(IMAGE_NAME, ahead, &*container.image);
    if !container.image_id.is_empty() {
        node.set(IMAGE_ID, ahead, &*container.image_id);
    }
}

/// A button that could only refuse is not shown. In a cluster that is so, too, while nobody says which
/// pod a container belongs to: its first moments.
fn may_be_touched(composer: &Composer<'_>, known: Option<(&Pod, &Container)>) -> bool {
    match (composer.mode, known) {
        (Mode::Standalone, _) => true,
        (Mode::Cluster(_), None) => false,
        (Mode::Cluster(_), Some((pod, _))) => composer.settings.spared.why(pod).is_none(),
    }
}

/// Names the controls where there are some of ours. One that may be restarted, say, only while it
/// runs has the string in its other state too: the old one would be shown until Scope forgets it.
fn name_controls(composer: &Composer<'_>, node: &mut Node, frozen: bool, networked: bool) {
    let ControlNames {
        container: running,
        frozen_container: thawable,
        network,
        ..
    } = &composer.settings.controls;
    if running.is_empty() && thawable.is_empty() && (network.is_empty() || !networked) {
        return;
    }
    let mut ours = if frozen { thawable } else { running }.clone();
    if networked {
        ours.extend_from_slice(network);
    }
    // The probe's CRI reporter has no controls, and says of no probe that it takes clicks.
    let scopes_own: &[&str] = match (composer.mending, frozen) {
        (true, _) => &[],
        (false, false) => &DOCKER_RUNNING,
        (false, true) => &DOCKER_FROZEN,
    };
    composer.name_controls(node, scopes_own, &ours);
    if composer.mending {
        node.control_probe = Some(composer.stamp);
    }
}

fn add_image(composer: &mut Composer<'_>, container: &Container) {
    if container.image_id.is_empty() {
        return;
    }
    let id = NodeId::container_image(&container.image_id).to_string();
    // As often as the state: nothing but this keeps the image in a publish, and a partial publish
    // does not tell of a node what it is.
    if !composer.share.has_state(&id) {
        return;
    }
    let mut node = Node::default();
    node.set(IMAGE_ID, composer.stamp, &*container.image_id);
    node.set(IMAGE_NAME, composer.stamp, &*container.image);
    node.add_parent(Topology::Host, composer.host.clone());
    let images = &mut composer.report.topology(Topology::ContainerImage).nodes;
    // One image may go by several names; the first container's is as good as any.
    images.entry(id).or_insert(node);
}

/// Scope links processes, and through them connections, to containers by this key alone. A process
/// without it is not sent: it would stand for itself beside the probe's.
fn add_processes(composer: &mut Composer<'_>) {
    let (usage, host) = (composer.usage, &composer.settings.host);
    let most = composer.detail.processes();
    let mut linked: HashMap<&str, usize> = HashMap::new();
    for process in &usage.processes {
        let Some(container) = &process.container else {
            continue;
        };
        let linked = linked.entry(container).or_default();
        *linked += 1;
        let id = NodeId::process(host, process.pid).to_string();
        if *linked <= most && composer.share.has_process(&id) {
            let mut node = Node::default();
            node.set(CONTAINER_ID, composer.stamp, &**container);
            if composer.share.marks_process(&id) {
                composer.mark(&mut node);
            }
            node.add_parent(
                Topology::Container,
                NodeId::container(container).to_string(),
            );
            composer
                .report
                .topology(Topology::Process)
                .nodes
                .insert(id, node);
        }
    }
}

/// The rows of a container's panel, under Scope's IDs. A row with a priority of 10 or more would
/// be hidden behind "show more".
fn container_rows() -> BTreeMap<String, MetadataTemplate> {
    BTreeMap::from([
        row(
            IMAGE_NAME,
            "Image name",
            DataType::Text,
            From::Latest,
            0,
            2.0,
        ),
        row(
            CONTAINER_STATE_HUMAN,
            "State",
            DataType::Text,
            From::Latest,
            0,
            4.0,
        ),
        row(
            CONTAINER_CREATED,
            "Created",
            DataType::DateTime,
            From::Latest,
            0,
            5.0,
        ),
        row(CONTAINER_IPS, "IPs", DataType::Text, From::Sets, 0, 8.0),
        row(
            CONTAINER_ID,
            "ID",
            DataType::Text,
            From::Latest,
            SHORT_ID as u32,
            9.0,
        ),
    ])
}

fn image_rows() -> BTreeMap<String, MetadataTemplate> {
    BTreeMap::from([
        row(
            IMAGE_NAME,
            "Image name",
            DataType::Text,
            From::Latest,
            0,
            2.0,
        ),
        row(
            IMAGE_ID,
            "ID",
            DataType::Text,
            From::Latest,
            SHORT_ID as u32,
            9.0,
        ),
    ])
}

fn row(
    key: &str,
    label: &str,
    data_type: DataType,
    from: From,
    truncate: u32,
    priority: f64,
) -> (String, MetadataTemplate) {
    let label = label.to_owned();
    (
        key.to_owned(),
        MetadataTemplate {
            label,
            truncate,
            data_type,
            priority,
            from,
        },
    )
}
