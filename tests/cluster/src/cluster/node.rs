//! A node: containerd, kubelet and kube-proxy in a machine with a file system of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::node_files::{CONTAINERD, KUBE_PROXY, KUBELET, NodeFiles, name};
use super::site::Site;
use crate::command::run;
use crate::error::{At, Error, Result};
use crate::machine::Machine;
use crate::network::{ip, node_link};
use crate::pki::Authority;

/// containerd serves after 0.03 s.
const CONTAINERD_LIMIT: Duration = Duration::from_secs(30);
/// A node is ready 2 s after its kubelet has started.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// An import takes 0.2 s, and longer for large images.
const IMPORT_LIMIT: Duration = Duration::from_secs(5 * 60);
/// A program inside a node.
const EXEC_LIMIT: Duration = Duration::from_secs(5 * 60);
/// kubelet and containerd end within a second.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// A node of a cluster.
pub struct Node {
    site: Arc<Site>,
    control_plane: i32,
    number: usize,
    name: String,
    machine: Mutex<Option<Machine>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Writes what the node needs; nothing runs yet.
    pub(super) fn prepare(
        site: &Arc<Site>,
        control_plane: i32,
        number: usize,
        authority: &Authority,
        kubelet_changes: &Map<String, Value>,
    ) -> Result<Node> {
        NodeFiles::new(site, number).write(authority, kubelet_changes)?;
        Ok(Node::known(site, control_plane, number))
    }

    /// A node whose files are written. It runs if the record says so.
    pub(super) fn known(site: &Arc<Site>, control_plane: i32, number: usize) -> Node {
        let name = name(number);
        let machine = Mutex::new(site.known_machine(&name));
        Node {
            site: Arc::clone(site),
            control_plane,
            number,
            name,
            machine,
        }
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.site.network.node(self.number)
    }

    /// Its pid 1, as this machine sees it. Another one after each start.
    pub fn pid(&self) -> Result<i32> {
        self.running().map(|machine| machine.init().pid)
    }

    /// The node's root directory, for processes of this machine. Absolute links below it lead out
    /// of the node; `/var/run` is a relative one.
    pub fn root(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.pid()?)))
    }

    /// The directory where plugins of Scope put their sockets, for processes of this machine.
    /// It exists once the first plugin runs.
    pub fn plugin_dir(&self) -> Result<PathBuf> {
        Ok(self.root()?.join("run/scope/plugins"))
    }

    /// The directory of the node's disk on this machine. It is there while the node is down, and
    /// shows neither `/run` nor what is mounted.
    pub fn disk(&self) -> PathBuf {
        self.files().disk()
    }

    /// A command that will run inside the node: its files, processes, network and host name.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .env("PATH", crate::machine::PATH)
            .arg(format!("--target={}", self.pid()?))
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--", program]);
        Ok(command)
    }

    /// Runs a program inside the node and returns its standard output.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Error::Invalid(format!("no program to run in {}", self.name)))?;
        run(self.command(program)?.args(arguments), EXEC_LIMIT)
    }

    /// Imports an image archive.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let socket = self.containerd_socket()?;
        let mut import = Command::new("ctr");
        import
            .arg("--address")
            .arg(socket)
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(archive);
        run(&mut import, IMPORT_LIMIT).map(drop)
    }

    /// Ends everything on the node at once, as a power cut would.
    pub fn crash(&self) -> Result<()> {
        match self.lock().take() {
            Some(machine) => machine.kill(),
            None => Ok(()),
        }
    }

    /// Whether its pid 1 runs.
    pub fn is_up(&self) -> bool {
        self.lock()
            .as_ref()
            .is_some_and(|machine| machine.init().is_alive())
    }

    /// Starts a crashed node again, on its old disk, and waits until it is ready.
    pub fn start(&self) -> Result<()> {
        if self.is_up() {
            return Err(Error::Invalid(format!("{} is up already", self.name)));
        }
        self.crash()?;
        // The kernel removes links with their namespace, but takes its time. Where this finds none
        // it fails, and what matters fails again when the link is made.
        let link = format!("link delete {}\n", node_link(self.number));
        ip(Some(self.control_plane), &link).ok();
        wait_for_next_second();
        self.boot(&[])?;
        let since = self.start_kubernetes()?;
        self.wait_until_ready(since)
    }

    /// Stops kubelet and starts it again; pods live on. Waits until the node is ready.
    pub fn kubelet_restart(&self) -> Result<()> {
        self.kubelet_stop()?;
        self.kubelet_start()
    }

    /// Stops kubelet. Pods live on, but nobody looks after them, and the node gets not ready.
    pub fn kubelet_stop(&self) -> Result<()> {
        self.stop_component(KUBELET)
    }

    /// Starts kubelet again and waits until the node is ready.
    pub fn kubelet_start(&self) -> Result<()> {
        wait_for_next_second();
        let since = Timestamp::now();
        self.start_component(KUBELET)?;
        self.wait_until_ready(since)
    }

    /// Stops `containerd`, `kubelet` or `kube-proxy`.
    pub fn stop_component(&self, component: &str) -> Result<()> {
        self.running()?.stop_component(component, STOP_GRACE)
    }

    /// Starts `containerd`, `kubelet` or `kube-proxy`.
    pub fn start_component(&self, component: &str) -> Result<()> {
        self.running()?.start_component(component)
    }

    /// Cuts the node off the network; its pods still reach each other.
    pub fn partition(&self) -> Result<()> {
        self.set_link("down")
    }

    /// Ends a partition.
    pub fn heal(&self) -> Result<()> {
        self.set_link("up")
    }

    /// Asks the node's kubelet through the API server, for example for `stats/summary`.
    pub fn kubelet_get(&self, path: &str) -> Result<String> {
        let path = path.trim_start_matches('/');
        self.site.ask(&[
            "get",
            "--raw",
            &format!("/api/v1/nodes/{}/proxy/{path}", self.name),
        ])
    }

    /// Starts the machine with containerd and imports images.
    pub(super) fn boot(&self, images: &[PathBuf]) -> Result<()> {
        self.site.cgroups.create(&self.name)?;
        let machine = self.site.start_machine(&self.files().machine())?;
        let pid = machine.init().pid;
        *self.lock() = Some(machine);
        ip(
            Some(self.control_plane),
            &self.site.network.towards_node(self.number, pid),
        )?;
        ip(Some(pid), &self.site.network.inside_node(self.number))?;
        self.start_component(CONTAINERD)?;
        let socket = self.containerd_socket()?;
        self.site.wait_for(
            &format!("containerd on {}", self.name),
            CONTAINERD_LIMIT,
            || {
                self.running()?.check(CONTAINERD)?;
                let reached = std::os::unix::net::UnixStream::connect(&socket);
                Ok(reached
                    .map(drop)
                    .map_err(|e| format!("cannot connect to its socket: {e}")))
            },
        )?;
        images
            .iter()
            .try_for_each(|archive| self.load_image(archive))
    }

    /// Starts what only works with an API server.
    pub(super) fn start_kubernetes(&self) -> Result<Timestamp> {
        let since = Timestamp::now();
        self.start_component(KUBELET)?;
        self.start_component(KUBE_PROXY)?;
        Ok(since)
    }

    /// Waits until kubelet has said, at `since` or later, that the node is ready.
    pub(super) fn wait_until_ready(&self, since: Timestamp) -> Result<()> {
        self.site
            .wait_for(&format!("a ready {}", self.name), READY_LIMIT, || {
                for component in [CONTAINERD, KUBELET, KUBE_PROXY] {
                    self.running()?.check(component)?;
                }
                if let Err(missing) = proxy_is_ready(self.address()) {
                    return Ok(Err(format!("kube-proxy {missing}")));
                }
                let node = match self.site.ask(&["get", "node", &self.name, "-o", "json"]) {
                    Ok(text) => serde_json::from_str(&text).at("understand", &self.name)?,
                    Err(error) => return Ok(Err(error.to_string())),
                };
                Ok(ready_since(&node, since))
            })
    }

    /// Lets it live on when this process ends.
    pub(super) fn detach(&self) -> Result<()> {
        match self.lock().as_ref() {
            Some(machine) if machine.init().is_alive() => machine.detach(),
            _ => Ok(()),
        }
    }

    fn files(&self) -> NodeFiles<'_> {
        NodeFiles::new(&self.site, self.number)
    }

    fn set_link(&self, state: &str) -> Result<()> {
        ip(
            Some(self.control_plane),
            &format!("link set {} {state}\n", node_link(self.number)),
        )
    }

    fn containerd_socket(&self) -> Result<PathBuf> {
        Ok(self.root()?.join("run/containerd/containerd.sock"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Machine>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine, which must be up.
    fn running(&self) -> Result<RunningMachine<'_>> {
        let machine = self.lock();
        if machine
            .as_ref()
            .is_some_and(|machine| machine.init().is_alive())
        {
            return Ok(RunningMachine(machine));
        }
        Err(Error::Invalid(format!(
            "{} is down: start it first",
            self.name
        )))
    }
}

/// The machine of a node, locked while it is used.
struct RunningMachine<'a>(MutexGuard<'a, Option<Machine>>);

impl std::ops::Deref for RunningMachine<'_> {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        self.0
            .as_ref()
            .expect("a RunningMachine is only made around a machine")
    }
}

/// Waits until the clock shows another second. Conditions have whole seconds, so only after that
/// can a new report of kubelet be told from its last one.
fn wait_for_next_second() {
    let now = Timestamp::now();
    let left = 1_000_000_000 - i64::from(now.subsec_nanosecond());
    std::thread::sleep(Duration::from_nanos(left.unsigned_abs()));
}

/// Whether kube-proxy has written its first rules, or in words why not: pods would not reach the
/// API server's Service before.
fn proxy_is_ready(node: Ipv4Addr) -> std::result::Result<(), String> {
    const PORT: u16 = 10256;
    // On this machine, and a few bytes.
    const LIMIT: Duration = Duration::from_secs(2);
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&(node, PORT).into(), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("does not answer: {error}"))?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!(
            "is not ready: {}",
            answer.lines().next().unwrap_or_default()
        )),
    }
}

/// Whether the node's condition Ready is true and was reported at `since` or later, or in words
/// why not. After a crash the old condition stands until kubelet reports again.
fn ready_since(node: &Value, since: Timestamp) -> std::result::Result<(), String> {
    let condition = node["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"))
        .ok_or("it has no condition Ready yet")?;
    let reported: Timestamp = condition["lastHeartbeatTime"]
        .as_str()
        .and_then(|time| time.parse().ok())
        .ok_or("its condition Ready has no time")?;
    if reported.as_second() < since.as_second() {
        return Err(format!("kubelet has reported nothing since {reported}"));
    }
    match condition["status"].as_str() {
        Some("True") => Ok(()),
        _ => Err(condition["message"]
            .as_str()
            .unwrap_or("it is not ready")
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(status: &str, time: &str) -> Value {
        json!({"status": {"conditions": [
            {"type": "MemoryPressure", "status": "False"},
            {"type": "Ready", "status": status, "lastHeartbeatTime": time, "message": "because"},
        ]}})
    }

    #[test]
    fn a_node_is_ready_when_kubelet_said_so_after_its_start() {
        let since: Timestamp = "2026-01-01T00:00:10.7Z".parse().unwrap();
        assert_eq!(
            ready_since(&node("True", "2026-01-01T00:00:10Z"), since),
            Ok(())
        );
        assert!(ready_since(&node("True", "2026-01-01T00:00:09Z"), since).is_err());
        assert_eq!(
            ready_since(&node("False", "2026-01-01T00:00:11Z"), since),
            Err("because".into())
        );
        assert!(ready_since(&json!({}), since).is_err());
    }
}
