//! The reporter of containers and images on a node with Docker, and the tagger of their processes.

use super::{add, describe, measure, offer, templates, with_values};
use crate::kind::Kind;
use crate::render::image_name_without_tag;
use crate::report::{Node, Report};
use crate::stamp::Stamp;
use crate::truth::{Container, ContainerState, Host};

const CONTROLS: [(&str, &str, &str); 8] = [
    ("docker_attach_container", "Attach", "fa fa-desktop"),
    ("docker_exec_container", "Exec shell", "fa fa-terminal"),
    ("docker_start_container", "Start", "fa fa-play"),
    ("docker_restart_container", "Restart", "fa fa-redo"),
    ("docker_pause_container", "Pause", "fa fa-pause"),
    ("docker_unpause_container", "Unpause", "fa fa-play"),
    ("docker_stop_container", "Stop", "fa fa-stop"),
    ("docker_remove_container", "Remove", "far fa-trash-alt"),
];

/// Containers with figures and controls, images, and the container of each process.
pub(crate) fn docker(
    report: &mut Report,
    host_name: &str,
    host: &Host,
    probe_id: &str,
    now: Stamp,
) {
    let containers = report.topology_mut(Kind::Container);
    templates::docker_container(containers);
    for ((id, human, icon), rank) in CONTROLS.iter().zip(1..) {
        describe(containers, id, human, icon, rank);
    }
    for container in &host.containers {
        add(containers, node(container, host_name, probe_id, now));
    }

    let images = report.topology_mut(Kind::ContainerImage);
    templates::image(images);
    for image in &host.images {
        let id = format!("{};<container_image>", image.id);
        let mut node = Node::new(&id).with_latest("docker_image_id", now, &image.id);
        let name = image_name_without_tag(&image.name);
        node.set_latest("docker_image_name", now, name);
        let tag = image.name.rsplit_once(':').map_or("", |(_, tag)| tag);
        node.set_latest("docker_image_tag", now, tag);
        add(images, node);
    }
    tag_processes(report, host_name, host, now);
}

fn node(container: &Container, host: &str, probe_id: &str, now: Stamp) -> Node {
    let (state, human) = match container.state {
        ContainerState::Created => ("created", "Created"),
        ContainerState::Running => ("running", "Up About an hour"),
        ContainerState::Paused => ("paused", "Up About an hour (Paused)"),
        ContainerState::Exited => ("exited", "Exited (0) 1 minute ago"),
    };
    let image_id = container.image_id.trim_start_matches("sha256:");
    let values = [
        ("docker_container_id", container.id.as_str()),
        ("docker_container_name", &container.name),
        ("docker_container_state", state),
        ("docker_container_state_human", human),
        ("docker_container_created", &container.created),
        ("docker_image_id", image_id),
        ("control_probe_id", probe_id),
    ];
    let node = Node::new(&format!("{};<container>", container.id));
    let mut node = with_values(node, now, &values);
    for (label, value) in &container.labels {
        node.set_latest(&format!("docker_label_{label}"), now, value);
    }
    let image = format!("{image_id};<container_image>");
    let kind = Kind::ContainerImage.name();
    node.parents.insert(kind.to_owned(), vec![image]);
    let mut ips = container.ips.clone();
    ips.sort();
    let scoped = ips.iter().map(|ip| match ip.starts_with("127.") {
        true => format!("{host};{ip}"),
        false => format!(";{ip}"),
    });
    let scoped_key = "docker_container_ips_with_scopes".to_owned();
    node.sets.insert(scoped_key, scoped.collect());
    node.sets.insert("docker_container_ips".to_owned(), ips);
    let controls: &[&str] = match container.state {
        ContainerState::Paused => &["docker_unpause_container"],
        ContainerState::Running => &[
            "docker_restart_container",
            "docker_stop_container",
            "docker_pause_container",
            "docker_attach_container",
            "docker_exec_container",
        ],
        _ => &["docker_start_container", "docker_remove_container"],
    };
    offer(&mut node, now, controls);
    if container.state == ContainerState::Running {
        let restarts = container.restarts.to_string();
        node.set_latest("docker_container_restart_count", now, &restarts);
        measure(
            &mut node,
            now,
            "docker_cpu_total_usage",
            container.cpu_percent,
            100.0,
        );
        measure(&mut node, now, "docker_memory_usage", container.memory, 0.0);
    }
    node
}

fn tag_processes(report: &mut Report, host_name: &str, host: &Host, now: Stamp) {
    let processes = report.topology_mut(Kind::Process);
    for process in &host.processes {
        let container = host
            .containers
            .iter()
            .find(|container| Some(&container.id) == process.container.as_ref())
            .filter(|container| {
                let runs = [ContainerState::Running, ContainerState::Paused];
                runs.contains(&container.state)
            });
        let id = format!("{host_name};{}", process.pid);
        let (Some(container), Some(node)) = (container, processes.nodes.get_mut(&id)) else {
            continue;
        };
        node.set_latest("docker_container_id", now, &container.id);
        let image = image_name_without_tag(&container.image_name);
        let parents = [
            (Kind::Container, format!("{};<container>", container.id)),
            (Kind::ContainerImage, format!("{image};<container_image>")),
        ];
        for (kind, id) in parents {
            node.parents.insert(kind.name().to_owned(), vec![id]);
        }
    }
}
