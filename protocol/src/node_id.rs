//! Node IDs (`report/id.go`): the keys under which Scope merges what several reporters know of one
//! thing.

use std::fmt;
use std::str::FromStr;

use crate::Topology;

/// Separates the parts of an ID.
const DELIMITER: char = ';';

/// The ID of a node, with the topology it belongs to.
///
/// | topology | form |
/// | --- | --- |
/// | most | `<name>;<tag>` in which the tag keeps its angle brackets, such as `worker-1;<host>` |
/// | [`Process`](Topology::Process) | `<host>;<pid>` |
/// | [`Endpoint`](Topology::Endpoint) | `<scope>;<address>;<port>`, the scope mostly empty |
/// | [`EcsService`](Topology::EcsService) | `<cluster>;<service>` |
/// | [`Overlay`](Topology::Overlay) | `#<peer>` |
///
/// The constructors take names as their source gives them and do not look into them. Scope splits
/// an ID at its first `;`, so a name is neither empty nor contains one; the names of Kubernetes,
/// container runtimes and kernels never do, and [`NodeId::parse_in`] refuses others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    topology: Topology,
    text: String,
}

impl NodeId {
    /// A pod, by its UID; by its `kubernetes.io/config.hash` annotation where it has one.
    pub fn pod(uid: &str) -> Self {
        Self::tagged(Topology::Pod, "pod", uid)
    }

    /// A container, by its full ID without the runtime's scheme.
    pub fn container(id: &str) -> Self {
        Self::tagged(Topology::Container, "container", id)
    }

    /// A container image, by the ID its runtime gives it.
    pub fn container_image(id: &str) -> Self {
        Self::tagged(Topology::ContainerImage, "container_image", id)
    }

    /// A host, by the name the probe on it goes by.
    pub fn host(name: &str) -> Self {
        Self::tagged(Topology::Host, "host", name)
    }

    /// A process: the host's name and the pid in the host's pid namespace.
    pub fn process(host: &str, pid: u32) -> Self {
        NodeId {
            topology: Topology::Process,
            text: format!("{host}{DELIMITER}{pid}"),
        }
    }

    /// A Kubernetes object by its UID, or any other node whose ID is a name with a tag. `None` for
    /// the topologies whose IDs have another form: `Process`, `Endpoint`, `EcsService`, `Overlay`.
    pub fn object(topology: Topology, name: &str) -> Option<Self> {
        topology
            .id_tag()
            .map(|tag| Self::tagged(topology, tag, name))
    }

    /// An end of a connection. The scope is a host's name for addresses that mean something on that
    /// host only (loopback, local bridges) and empty for all others.
    pub fn endpoint(scope: &str, address: &str, port: u16) -> Self {
        NodeId {
            topology: Topology::Endpoint,
            text: format!("{scope}{DELIMITER}{address}{DELIMITER}{port}"),
        }
    }

    /// A peer of an overlay network: a Weave peer's name, or `docker_peer_` and a Docker peer's.
    pub fn overlay(peer: &str) -> Self {
        NodeId {
            topology: Topology::Overlay,
            text: format!("#{peer}"),
        }
    }

    /// A service of Amazon ECS.
    pub fn ecs_service(cluster: &str, service: &str) -> Self {
        NodeId {
            topology: Topology::EcsService,
            text: format!("{cluster}{DELIMITER}{service}"),
        }
    }

    fn tagged(topology: Topology, tag: &str, name: &str) -> Self {
        let mut text = String::with_capacity(name.len() + tag.len() + 3);
        text.push_str(name);
        text.push_str(";<");
        text.push_str(tag);
        text.push('>');
        NodeId { topology, text }
    }

    /// Reads an ID of a known topology.
    pub fn parse_in(topology: Topology, id: &str) -> Result<Self, NodeIdError> {
        let wrong = |form| NodeIdError::Form {
            topology,
            id: id.to_owned(),
            form,
        };
        let right = match topology {
            Topology::Process => match id.split_once(DELIMITER) {
                Some((host, pid)) if !host.is_empty() && is_pid(pid) => Ok(()),
                _ => Err(wrong("<host>;<pid>".to_owned())),
            },
            Topology::Endpoint => match endpoint_parts(id) {
                Some(_) => Ok(()),
                None => Err(wrong("<scope>;<address>;<port>".to_owned())),
            },
            Topology::EcsService => match id.split_once(DELIMITER) {
                Some((cluster, service))
                    if !cluster.is_empty()
                        && !service.is_empty()
                        && !service.contains(DELIMITER)
                        && tag_of(service).is_none() =>
                {
                    Ok(())
                }
                _ => Err(wrong("<cluster>;<service>".to_owned())),
            },
            Topology::Overlay => match id.strip_prefix('#') {
                Some(peer) if !peer.is_empty() && !peer.contains(DELIMITER) => Ok(()),
                _ => Err(wrong("#<peer>".to_owned())),
            },
            _ => match id.split_once(DELIMITER) {
                Some((name, suffix))
                    if !name.is_empty()
                        && tag_of(suffix).is_some_and(|tag| topology.id_tag() == Some(tag)) =>
                {
                    Ok(())
                }
                _ => Err(wrong(format!(
                    "<name>;<{}>",
                    topology.id_tag().unwrap_or_default()
                ))),
            },
        };
        right.map(|()| NodeId {
            topology,
            text: id.to_owned(),
        })
    }

    /// The topology that the node belongs to.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The ID as it is written in a report.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part that tells nodes of one topology apart: the name before the tag, the pid, the
    /// address, the ECS service, the overlay's peer.
    pub fn name(&self) -> &str {
        match self.topology {
            Topology::Overlay => self.text.strip_prefix('#').unwrap_or(&self.text),
            Topology::Process | Topology::EcsService => self.part(1),
            Topology::Endpoint => self.part(1),
            _ => self.part(0),
        }
    }

    /// The part that a name is local to: the host of a process, the scope of an endpoint, the
    /// cluster of an ECS service.
    pub fn scope(&self) -> Option<&str> {
        match self.topology {
            Topology::Process | Topology::Endpoint | Topology::EcsService => Some(self.part(0)),
            _ => None,
        }
    }

    /// The pid of a process.
    pub fn pid(&self) -> Option<u32> {
        match self.topology {
            Topology::Process => self.part(1).parse().ok(),
            _ => None,
        }
    }

    /// The port of an endpoint.
    pub fn port(&self) -> Option<u16> {
        match self.topology {
            Topology::Endpoint => self.part(2).parse().ok(),
            _ => None,
        }
    }

    fn part(&self, n: usize) -> &str {
        self.text.split(DELIMITER).nth(n).unwrap_or_default()
    }
}

/// The tag in `<tag>`.
fn tag_of(suffix: &str) -> Option<&str> {
    suffix
        .strip_prefix('<')?
        .strip_suffix('>')
        .filter(|tag| !tag.contains(DELIMITER))
}

/// A pid as the kernel writes it: no sign, no leading zero.
fn is_pid(text: &str) -> bool {
    !text.starts_with('0')
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u32>().is_ok()
}

fn endpoint_parts(id: &str) -> Option<(&str, &str, u16)> {
    let (scope, rest) = id.split_once(DELIMITER)?;
    let (address, port) = rest.split_once(DELIMITER)?;
    if address.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((scope, address, port.parse().ok()?))
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    /// Reads an ID that says itself what it is: one with a tag, an endpoint, an overlay peer.
    /// `<host>;<pid>` and `<cluster>;<service>` look alike; [`NodeId::parse_in`] reads those.
    fn from_str(id: &str) -> Result<Self, NodeIdError> {
        if id.starts_with('#') {
            return Self::parse_in(Topology::Overlay, id);
        }
        let Some((_, suffix)) = id.split_once(DELIMITER) else {
            return Err(NodeIdError::NotAnId(id.to_owned()));
        };
        if let Some(tag) = tag_of(suffix) {
            let topology = Topology::from_id_tag(tag).ok_or_else(|| NodeIdError::Tag {
                id: id.to_owned(),
                tag: tag.to_owned(),
            })?;
            return Self::parse_in(topology, id);
        }
        if suffix.contains(DELIMITER) {
            return Self::parse_in(Topology::Endpoint, id);
        }
        Err(NodeIdError::Ambiguous(id.to_owned()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> String {
        id.text
    }
}

/// Why a text is no node ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdError {
    /// No form of ID looks like this.
    #[error("{0:?} is no node ID: write <name>;<<tag>>, such as \"worker-1;<host>\"")]
    NotAnId(String),
    /// The tag belongs to no topology.
    #[error("node ID {id:?} has the tag <{tag}>, which no topology of Scope has")]
    Tag {
        /// The text.
        id: String,
        /// Its tag.
        tag: String,
    },
    /// The text does not say of which topology it is.
    #[error("node ID {0:?} may be a process or an ECS service: read it as one of the two")]
    Ambiguous(String),
    /// The text has not the form of IDs of this topology.
    #[error("node ID {id:?} has not the form of the topology {topology}: write {form}")]
    Form {
        /// The topology that was asked for.
        topology: Topology,
        /// The text.
        id: String,
        /// The form that its IDs have.
        form: String,
    },
}
