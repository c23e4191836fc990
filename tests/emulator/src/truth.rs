//! What is really there in a simulated world: hosts, processes, containers, and what Kubernetes knows.
//!
//! The probes' own reporters tell it as a probe of Scope would; the plugins under test tell it as they
//! do. Whoever runs the world changes it as time goes on.

use std::collections::BTreeMap;

use crate::kind::Kind;

/// Names and values, as labels are.
pub type Labels = BTreeMap<String, String>;

/// Everything that is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// Machines by name.
    pub hosts: BTreeMap<String, Host>,
    /// Namespaces of the cluster.
    pub namespaces: Vec<Namespace>,
    /// Pods, on whatever node.
    pub pods: Vec<Pod>,
    /// Services, and all kinds of controllers but replica sets, which probes do not report.
    pub controllers: Vec<Controller>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Share of all its processors in use, in percent.
    pub cpu_percent: f64,
    /// Memory in use, in bytes.
    pub memory: f64,
    /// Memory there is, in bytes.
    pub memory_total: f64,
    /// Load of the last minute.
    pub load: f64,
    /// The kernel's release and version.
    pub kernel: String,
    /// Networks of its interfaces, as `address/bits`.
    pub local_networks: Vec<String>,
    /// Containers that its runtime knows, stopped ones and those that hold a pod's namespaces
    /// included.
    pub containers: Vec<Container>,
    /// Processes.
    pub processes: Vec<Process>,
    /// Images that its runtime keeps; only a probe with Docker reports them.
    pub images: Vec<Image>,
    /// Ends of connections that the probe has seen.
    pub endpoints: Vec<Endpoint>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            cpu_percent: 10.0,
            memory: 1e9,
            memory_total: 16e9,
            load: 0.5,
            kernel: "6.1.0 #1 SMP".to_owned(),
            local_networks: Vec::new(),
            containers: Vec::new(),
            processes: Vec::new(),
            images: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

/// What a container does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, not yet started.
    Created,
    /// Running.
    #[default]
    Running,
    /// Frozen; a CRI runtime does not know the word and calls it running.
    Paused,
    /// Over.
    Exited,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name in the pod, or Docker's.
    pub name: String,
    /// What it does.
    pub state: ContainerState,
    /// How often it was started again.
    pub restarts: u32,
    /// The image, as the runtime refers to it.
    pub image_id: String,
    /// The image's full name.
    pub image_name: String,
    /// The runtime's labels, among them `io.kubernetes.pod.uid`.
    pub labels: Labels,
    /// Share of all processors of the node, in percent; only Docker tells.
    pub cpu_percent: f64,
    /// Memory, in bytes; only Docker tells.
    pub memory: f64,
    /// Addresses in its network; only Docker tells.
    pub ips: Vec<String>,
    /// When it was made, RFC 3339; only Docker tells.
    pub created: String,
}

impl Container {
    /// A running container of a pod, with the labels that the kubelet gives it.
    pub fn of_pod(id: &str, name: &str, pod: &Pod) -> Self {
        let labels = [
            ("io.kubernetes.container.name", name),
            ("io.kubernetes.pod.name", &pod.name),
            ("io.kubernetes.pod.namespace", &pod.namespace),
            ("io.kubernetes.pod.uid", &pod.uid),
        ];
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            image_id: "sha256:1".to_owned(),
            image_name: "registry.example/team/app:1".to_owned(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Self::default()
        }
    }
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Without `sha256:`.
    pub id: String,
    /// The full name with its tag.
    pub name: String,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Its number on the host.
    pub pid: u32,
    /// Its parent's; 0 for none.
    pub ppid: u32,
    /// The program.
    pub name: String,
    /// The whole line; may be empty.
    pub cmdline: String,
    /// Threads.
    pub threads: u32,
    /// Percent of one processor.
    pub cpu_percent: f64,
    /// Bytes.
    pub memory: f64,
    /// Descriptors.
    pub open_files: u32,
    /// The id of its container; only a probe with Docker can tell.
    pub container: Option<String>,
}

/// One end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `scope;address;port`.
    pub id: String,
    /// The process; nothing if the other end is not on this host.
    pub pid: Option<u32>,
    /// Ends that it has a connection to.
    pub to: Vec<String>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its UID.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its UID; for static pods the hash of their manifest, which is what the probe goes by.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// The node that it is on.
    pub node: String,
    /// Its address.
    pub ip: String,
    /// `Running`, `Pending`, `Succeeded`, `Failed` or `Terminating`.
    pub state: String,
    /// Restarts of all its containers.
    pub restarts: u32,
    /// Whether it shares its host's network.
    pub host_network: bool,
    /// When it was made, RFC 3339.
    pub created: String,
}

impl Pod {
    /// A running pod.
    pub fn new(uid: &str, namespace: &str, name: &str, node: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            labels: Labels::new(),
            node: node.to_owned(),
            ip: String::new(),
            state: "Running".to_owned(),
            restarts: 0,
            host_network: false,
            created: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    /// The same pod with one more label.
    #[must_use]
    pub fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// A service, or something that makes pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// What it is: `Service`, `Deployment`, `DaemonSet`, `StatefulSet`, `CronJob` or `Job`.
    pub kind: Kind,
    /// Its UID.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// The labels by which it finds its pods. None at all finds no pod.
    pub selector: Labels,
    /// How many pods it wants.
    pub replicas: u32,
    /// The address of a service.
    pub ip: String,
    /// The ports of a service, such as `80/TCP`.
    pub ports: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

impl Controller {
    /// A controller without labels that wants one pod.
    pub fn new(kind: Kind, uid: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            uid: uid.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            labels: Labels::new(),
            selector: Labels::new(),
            replicas: 1,
            ip: String::new(),
            ports: "80/TCP".to_owned(),
            created: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    /// The same controller, which finds its pods by one more label.
    #[must_use]
    pub fn selecting(mut self, key: &str, value: &str) -> Self {
        self.selector.insert(key.to_owned(), value.to_owned());
        self
    }
}
