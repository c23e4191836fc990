//! The reporter of containers with `--probe.cri`.

use super::{add, templates, with_values};
use crate::kind::Kind;
use crate::report::{Node, Report};
use crate::stamp::Stamp;
use crate::truth::{ContainerState, Host};

/// Containers as the CRI lists them: without figures, controls or the id of a probe, in states of
/// which the app knows none, and with the templates of images.
pub(crate) fn containers(report: &mut Report, host: &Host, now: Stamp) {
    let containers = report.topology_mut(Kind::Container);
    templates::image(containers);
    for container in &host.containers {
        let state = match container.state {
            ContainerState::Created => "CONTAINER_CREATED",
            ContainerState::Running | ContainerState::Paused => "CONTAINER_RUNNING",
            ContainerState::Exited => "CONTAINER_EXITED",
        };
        let values = [
            ("docker_container_name", container.name.as_str()),
            ("docker_container_id", &container.id),
            ("docker_container_state", state),
            (
                "docker_container_restart_count",
                &container.restarts.to_string(),
            ),
            ("docker_image_id", &container.image_id),
            // So containerd fills in the place of the name.
            ("docker_image_name", &container.image_id),
        ];
        let node = Node::new(&format!("{};<container>", container.id));
        let mut node = with_values(node, now, &values);
        for (label, value) in &container.labels {
            node.set_latest(&format!("docker_label_{label}"), now, value);
        }
        let image = format!("{};<container_image>", container.image_id);
        let kind = Kind::ContainerImage.name();
        node.parents.insert(kind.to_owned(), vec![image]);
        add(containers, node);
    }
}
