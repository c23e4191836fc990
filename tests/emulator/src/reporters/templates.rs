//! How what a probe reports is shown: its templates, by kind of node.

use crate::kind::Kind;
use crate::report::{MetadataTemplate, MetricTemplate, TableTemplate, Topology};

/// Key, label and type of values, by rising priority.
type Rows = &'static [(&'static str, &'static str, &'static str)];

const POD: Rows = &[
    ("kubernetes_state", "State", ""),
    ("kubernetes_ip", "IP", "ip"),
    ("container", "# Containers", "number"),
    ("kubernetes_namespace", "Namespace", ""),
    ("kubernetes_created", "Created", "datetime"),
    ("kubernetes_restart_count", "Restart #", ""),
];
const SERVICE: Rows = &[
    ("kubernetes_namespace", "Namespace", ""),
    ("kubernetes_created", "Created", "datetime"),
    ("kubernetes_public_ip", "Public IP", "ip"),
    ("kubernetes_ip", "Internal IP", "ip"),
    ("pod", "# Pods", "number"),
    ("kubernetes_type", "Type", ""),
    ("kubernetes_ports", "Ports", ""),
];
const DEPLOYMENT: Rows = &[
    ("kubernetes_node_type", "Type", ""),
    ("kubernetes_namespace", "Namespace", ""),
    ("kubernetes_created", "Created", "datetime"),
    ("kubernetes_observed_generation", "Observed gen.", "number"),
    ("kubernetes_desired_replicas", "Desired replicas", "number"),
    ("pod", "# Pods", "number"),
    ("kubernetes_strategy", "Strategy", ""),
];
const DAEMON_SET: Rows = &[
    ("kubernetes_node_type", "Type", ""),
    ("kubernetes_namespace", "Namespace", ""),
    ("kubernetes_created", "Created", "datetime"),
    ("kubernetes_desired_replicas", "Desired replicas", "number"),
    ("pod", "# Pods", "number"),
];
const STATEFUL_SET: Rows = &[
    ("kubernetes_node_type", "Type", ""),
    ("kubernetes_namespace", "Namespace", ""),
    ("kubernetes_created", "Created", "datetime"),
    ("kubernetes_observed_generation", "Observed gen.", "number"),
    ("kubernetes_desired_replicas", "Desired replicas", "number"),
    ("pod", "# Pods", "number"),
];
const CRON_JOB: Rows = &[
    ("kubernetes_node_type", "Type", ""),
    ("kubernetes_namespace", "Namespace", ""),
    ("kubernetes_created", "Created", "datetime"),
    ("kubernetes_schedule", "Schedule", ""),
    ("kubernetes_last_scheduled", "Last scheduled", "datetime"),
    ("kubernetes_suspended", "Suspended", ""),
    ("kubernetes_active_jobs", "# Jobs", "number"),
    ("pod", "# Pods", "number"),
];
const JOB: Rows = &[
    ("kubernetes_node_type", "Type", ""),
    ("kubernetes_name", "Name", ""),
    ("kubernetes_namespace", "Namespace", ""),
    ("kubernetes_created", "Created", "datetime"),
    ("pod", "# Pods", "number"),
];
const PROCESS: Rows = &[
    ("pid", "PID", "number"),
    ("cmdline", "Command", ""),
    ("ppid", "Parent PID", "number"),
    ("threads", "# Threads", "number"),
];
const DOCKER_CONTAINER: Rows = &[
    ("docker_image_tag", "Image tag", ""),
    ("docker_image_name", "Image name", ""),
    ("docker_container_command", "Command", ""),
    ("docker_container_state_human", "State", ""),
    ("docker_container_uptime", "Uptime", "duration"),
    ("docker_container_restart_count", "Restart #", ""),
    ("docker_container_networks", "Networks", ""),
    ("docker_container_ips", "IPs", ""),
    ("docker_container_ports", "Ports", ""),
    ("docker_container_created", "Created", "datetime"),
    ("docker_container_id", "ID", ""),
];
const IMAGE: Rows = &[("container", "# Containers", "number")];
const HOST_FIRST: Rows = &[
    ("kernel_version", "Kernel version", ""),
    ("uptime", "Uptime", "duration"),
];
const HOST_MORE: Rows = &[
    ("host_name", "Hostname", ""),
    ("os", "OS", ""),
    ("local_networks", "Local networks", ""),
    ("host_scope_version", "Scope version", ""),
];

/// Values that are sets.
const SETS: [&str; 4] = [
    "docker_container_networks",
    "docker_container_ips",
    "docker_container_ports",
    "local_networks",
];

fn rows(topology: &mut Topology, rows: Rows, first: u8) {
    for ((id, label, data_type), priority) in rows.iter().zip(first..) {
        let from = match *id {
            "pod" | "container" => "counters",
            id if SETS.contains(&id) => "sets",
            _ => "latest",
        };
        let template = MetadataTemplate {
            id: (*id).to_owned(),
            label: (*label).to_owned(),
            truncate: if *id == "docker_container_id" { 12 } else { 0 },
            data_type: (*data_type).to_owned(),
            priority: f64::from(priority),
            from: from.to_owned(),
        };
        topology
            .metadata_templates
            .insert((*id).to_owned(), template);
    }
}

fn metric(topology: &mut Topology, id: &str, label: &str, format: &str, priority: f64) {
    let template = MetricTemplate {
        id: id.to_owned(),
        label: label.to_owned(),
        format: format.to_owned(),
        group: String::new(),
        priority,
    };
    topology.metric_templates.insert(id.to_owned(), template);
}

fn list(topology: &mut Topology, prefix: &str, label: &str) {
    let template = TableTemplate {
        id: prefix.to_owned(),
        label: label.to_owned(),
        prefix: prefix.to_owned(),
        kind: "property-list".to_owned(),
        ..TableTemplate::default()
    };
    topology.table_templates.insert(prefix.to_owned(), template);
}

fn container_metrics(topology: &mut Topology) {
    metric(topology, "docker_cpu_total_usage", "CPU", "percent", 1.0);
    metric(topology, "docker_memory_usage", "Memory", "filesize", 2.0);
}

/// The templates of pods, services and controllers.
pub(super) fn kubernetes(topology: &mut Topology, kind: Kind) {
    let (values, first) = match kind {
        Kind::Pod => (POD, 2),
        Kind::Service => (SERVICE, 2),
        Kind::Deployment => (DEPLOYMENT, 1),
        Kind::DaemonSet => (DAEMON_SET, 1),
        Kind::StatefulSet => (STATEFUL_SET, 1),
        Kind::CronJob => (CRON_JOB, 1),
        _ => (JOB, 1),
    };
    rows(topology, values, first);
    container_metrics(topology);
    list(topology, "kubernetes_labels_", "Kubernetes labels");
}

pub(super) fn host(topology: &mut Topology) {
    rows(topology, HOST_FIRST, 1);
    rows(topology, HOST_MORE, 11);
    metric(topology, "host_cpu_usage_percent", "CPU", "percent", 1.0);
    metric(topology, "host_mem_usage_bytes", "Memory", "filesize", 2.0);
    metric(topology, "load1", "Load (1m)", "", 11.0);
    if let Some(load) = topology.metric_templates.get_mut("load1") {
        load.group = "load".to_owned();
    }
}

pub(super) fn process(topology: &mut Topology) {
    rows(topology, PROCESS, 1);
    metric(topology, "process_cpu_usage_percent", "CPU", "percent", 1.0);
    metric(
        topology,
        "process_memory_usage_bytes",
        "Memory",
        "filesize",
        2.0,
    );
    metric(topology, "open_files_count", "Open files", "integer", 3.0);
}

/// What the CRI reporter gives its containers: the templates of images, by mistake.
pub(super) fn image(topology: &mut Topology) {
    rows(topology, IMAGE, 2);
    list(topology, "docker_image_label_", "Docker labels");
}

pub(super) fn docker_container(topology: &mut Topology) {
    rows(topology, DOCKER_CONTAINER, 1);
    container_metrics(topology);
    list(topology, "docker_label_", "Docker labels");
    list(topology, "docker_env_", "Environment variables");
    let fixed = [
        ("docker_image_id", " ID"),
        ("docker_image_name", " Name"),
        ("docker_image_tag", " Tag"),
        ("docker_image_size", "Size"),
        ("docker_image_virtual_size", "Virtual size"),
    ];
    let template = TableTemplate {
        id: "image_table".to_owned(),
        label: "Image".to_owned(),
        kind: "property-list".to_owned(),
        fixed_rows: fixed
            .map(|(key, label)| (key.to_owned(), label.to_owned()))
            .into(),
        ..TableTemplate::default()
    };
    let tables = &mut topology.table_templates;
    tables.insert(template.id.clone(), template);
}
