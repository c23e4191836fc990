//! What nodes are called.

use crate::kind::Kind;
use crate::render::address::{
    INCOMING_INTERNET, OUTGOING_INTERNET, SERVICE_PREFIX, endpoint_parts,
};
use crate::render::{Drawn, UNCONTAINED, UNMANAGED, image_name_without_tag};

/// The two lines under a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) major: String,
    pub(super) minor: String,
    /// Nodes of a rank have the same colour.
    pub(super) rank: String,
}

/// What a node is called; nothing for what is never drawn.
pub(super) fn label(node: &Drawn) -> Option<Label> {
    if node.is_pseudo() {
        return Some(stand_in(node));
    }
    match Kind::of_name(&node.topology)? {
        Kind::Process => Some(process(node)),
        Kind::Container => Some(container(node)),
        Kind::ContainerImage => Some(image(node)),
        Kind::Pod => Some(Label {
            minor: counted(node, Kind::Container, "container", "containers"),
            ..kubernetes(node)
        }),
        Kind::Service => Some(controller(node, "")),
        Kind::Deployment => Some(controller(node, "Deployment of ")),
        Kind::DaemonSet => Some(controller(node, "DaemonSet of ")),
        Kind::StatefulSet => Some(controller(node, "StatefulSet of ")),
        Kind::CronJob => Some(controller(node, "CronJob of ")),
        Kind::Job => Some(controller(node, "Job of ")),
        Kind::Host => Some(host(node)),
        Kind::PersistentVolume
        | Kind::PersistentVolumeClaim
        | Kind::StorageClass
        | Kind::VolumeSnapshot
        | Kind::VolumeSnapshotData => Some(kubernetes(node)),
        Kind::Endpoint => None,
        // Replica sets and namespaces are never drawn; the rest belongs to other orchestrators.
        _ => Some(Label {
            major: node.id.clone(),
            ..Label::default()
        }),
    }
}

fn before(id: &str) -> &str {
    id.split_once(';').map_or("", |(name, _)| name)
}

fn stand_in(node: &Drawn) -> Label {
    let rank = node.id.strip_prefix("pseudo:").unwrap_or(&node.id);
    let (major, minor) = if node.id == INCOMING_INTERNET {
        ("The Internet", "Inbound connections")
    } else if node.id == OUTGOING_INTERNET {
        ("The Internet", "Outbound connections")
    } else if let Some(name) = node.id.strip_prefix(SERVICE_PREFIX) {
        (name, "")
    } else if let Some(host) = node.id.strip_prefix(UNCONTAINED) {
        ("Uncontained", host)
    } else if let Some(host) = node.id.strip_prefix(UNMANAGED) {
        ("Unmanaged", host)
    } else if let Some((_, address, _)) = endpoint_parts(&node.id) {
        (address, "")
    } else {
        (rank, "")
    };
    Label {
        major: major.to_owned(),
        minor: minor.to_owned(),
        rank: rank.to_owned(),
    }
}

fn process(node: &Drawn) -> Label {
    let (host, pid) = node.id.split_once(';').unwrap_or_default();
    let text = |key: &str| node.latest(key).filter(|text| !text.is_empty());
    let (major, minor, rank) = match (text("name"), text("docker_container_name")) {
        (Some(name), Some(container)) => (name, format!("{host} ({container}:{pid})"), name),
        (Some(name), None) => (name, format!("{host} ({pid})"), name),
        (None, Some(container)) => (pid, format!("{host} ({container})"), host),
        (None, None) => (pid, host.to_owned(), host),
    };
    Label {
        major: major.to_owned(),
        minor,
        rank: rank.to_owned(),
    }
}

fn container(node: &Drawn) -> Label {
    let name = [
        "docker_label_com.amazonaws.ecs.container-name",
        "docker_label_io.kubernetes.container.name",
        "docker_env_MARATHON_APP_ID",
        "docker_container_name",
        "docker_container_hostname",
    ]
    .iter()
    .find_map(|key| node.latest(key));
    let id = before(&node.id);
    let major = name.unwrap_or_else(|| id.get(..12).unwrap_or(id));
    let host = before(node.latest("host_node_id").unwrap_or_default());
    let image = node.latest("docker_image_name").unwrap_or_default();
    let rank = match (image, host) {
        ("", "") => major,
        ("", host) => host,
        (image, _) => image_name_without_tag(image),
    };
    Label {
        major: major.to_owned(),
        minor: host.to_owned(),
        rank: rank.to_owned(),
    }
}

fn image(node: &Drawn) -> Label {
    let name = node.latest("docker_image_name").unwrap_or_default();
    let bare = image_name_without_tag(name);
    let major = [bare, name]
        .into_iter()
        .find(|name| !matches!(*name, "" | "<none>"))
        .unwrap_or_else(|| before(&node.id))
        .to_owned();
    Label {
        minor: counted(node, Kind::Container, "container", "containers"),
        rank: major.clone(),
        major,
    }
}

fn kubernetes(node: &Drawn) -> Label {
    let name = node.latest("kubernetes_name").unwrap_or_default();
    let major = match name {
        "" => before(&node.id),
        name => name,
    };
    let namespace = node.latest("kubernetes_namespace").unwrap_or_default();
    Label {
        major: major.to_owned(),
        minor: String::new(),
        rank: format!("{namespace}/{major}"),
    }
}

fn controller(node: &Drawn, what: &str) -> Label {
    let pods = counted(node, Kind::Pod, "pod", "pods");
    Label {
        minor: format!("{what}{pods}"),
        ..kubernetes(node)
    }
}

fn host(node: &Drawn) -> Label {
    let name = before(&node.id);
    let (major, domain) = name.split_once('.').unwrap_or((name, ""));
    Label {
        major: major.to_owned(),
        minor: domain.to_owned(),
        rank: domain.to_owned(),
    }
}

fn counted(node: &Drawn, kind: Kind, one: &str, many: &str) -> String {
    match node.counter(kind.name()).unwrap_or(0) {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}
