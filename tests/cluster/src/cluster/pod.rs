//! A pod that runs on a node, and what can happen to it alone: a process that hangs, one that is
//! killed in the middle of its work, a network that no longer reaches the API server.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use serde_json::Value;

use super::{Cluster, Node};
use crate::command::run_with_input;
use crate::error::{At, Error, Result};
use crate::process::Process;

/// `nft` does its work in milliseconds.
const NFT_LIMIT: Duration = Duration::from_secs(20);

/// What a pod that was slowed down has of a CPU: one part of so many.
const SLOW: u32 = 100;

/// A pod with the processes that it had when it was looked up. Those are held by handles, so that
/// a signal reaches them at once, and never another process that got the same number.
#[derive(Debug)]
pub struct RunningPod<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
    namespace: String,
    name: String,
    uid: String,
    address: Ipv4Addr,
    containers: Vec<String>,
    processes: Vec<(Process, OwnedFd)>,
}

impl Cluster {
    /// A pod whose containers run.
    pub fn running_pod(&self, namespace: &str, name: &str) -> Result<RunningPod<'_>> {
        let text = self.kubectl(&["get", "pod", name, "--namespace", namespace, "-o", "json"])?;
        let pod: Value = serde_json::from_str(&text).at("understand the pod", name)?;
        let refuse = |why: &str| Error::Invalid(format!("pod {namespace}/{name} {why}"));
        let field = |at: &str| pod.pointer(at).and_then(Value::as_str);
        let on = field("/spec/nodeName").ok_or_else(|| refuse("is on no node yet"))?;
        let node = self
            .nodes()
            .iter()
            .find(|node| node.name() == on)
            .ok_or_else(|| refuse(&format!("is on {on}, which is no node of this machine")))?;
        let address = field("/status/podIP")
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| refuse("has no address yet"))?;
        let containers = pod
            .pointer("/status/containerStatuses")
            .and_then(Value::as_array)
            .ok_or_else(|| refuse("has no containers yet"))?;
        let (mut ids, mut processes) = (Vec::new(), Vec::new());
        for container in containers {
            let id = container["containerID"].as_str().unwrap_or_default();
            let id = id.rsplit('/').next().unwrap_or_default();
            for pid in self.site.cgroups.processes_of_container(on, id)? {
                let Some(process) = Process::of(pid) else {
                    continue;
                };
                let handle = process.open().at("open a process of pod", name)?;
                processes.extend(handle.map(|handle| (process, handle)));
            }
            ids.push(id.to_owned());
        }
        if processes.is_empty() {
            return Err(refuse("has no process now: wait until it runs"));
        }
        Ok(RunningPod {
            cluster: self,
            node,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: field("/metadata/uid").unwrap_or_default().to_owned(),
            address,
            containers: ids,
            processes,
        })
    }
}

impl RunningPod<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node that it runs on.
    pub fn node(&self) -> &Node {
        self.node
    }

    /// Its processes' pids, as this machine counts them.
    pub fn pids(&self) -> Vec<i32> {
        self.processes
            .iter()
            .map(|(process, _)| process.pid)
            .collect()
    }

    /// Stops its processes where they are (SIGSTOP). Connections stay open and nobody answers, so
    /// a liveness probe ends the container in the end.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets frozen processes go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Leaves its containers a hundredth of a CPU, a millisecond ten times in a second, until their end: so there
    /// is time to act in the middle of what takes them a few milliseconds.
    pub fn slow_down(&self) -> Result<()> {
        let cgroups = &self.cluster.site.cgroups;
        let mut containers = self.containers.iter();
        containers.try_for_each(|id| cgroups.slow_container(self.node.name(), id, SLOW))
    }

    /// Ends its processes at once (SIGKILL). kubelet starts the containers again: at once the first
    /// time, and 10 s, 20 s, 40 s … after the next ones; see [`RunningPod::remove`].
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Removes the pod by force, without waiting for its end. What made the pod makes another one,
    /// which starts without the delay that kubelet has for a container that died before.
    pub fn remove(&self) -> Result<()> {
        let namespace = ["--namespace", &self.namespace];
        let mut arguments = vec!["delete", "pod", &self.name, "--force", "--grace-period=0"];
        arguments.extend(["--wait=false", "--ignore-not-found"]);
        arguments.extend(namespace);
        self.cluster.kubectl(&arguments).map(drop)
    }

    /// Loses every packet between the pod and the API server, in both directions, also those of
    /// connections that are open. Its kubelet and other pods still reach it. Until
    /// [`RunningPod::reconnect`], or the end of the node.
    pub fn cut_off(&self) -> Result<()> {
        let (pod, server) = (self.address, self.cluster.site.network.control_plane());
        let table = self.table();
        // The address of the Service has been rewritten to the server's own before this hook.
        self.nft(&format!(
            "table ip {table}\n\
             delete table ip {table}\n\
             table ip {table} {{\n\
               chain cut {{\n\
                 type filter hook forward priority -300; policy accept;\n\
                 ip saddr {pod} ip daddr {server} drop\n\
                 ip saddr {server} ip daddr {pod} drop\n\
               }}\n\
             }}\n"
        ))
    }

    /// Ends [`RunningPod::cut_off`]; without one nothing happens.
    pub fn reconnect(&self) -> Result<()> {
        let table = self.table();
        // Declared first, so that there is one to delete.
        self.nft(&format!("table ip {table}\ndelete table ip {table}\n"))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        for (_, handle) in &self.processes {
            match pidfd_send_signal(handle, signal) {
                // One that has ended is what it shall be after SIGKILL, and cannot be helped else.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).at("signal a process of pod", &self.name),
            }
        }
        Ok(())
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let mut nft = self.node.command("nft")?;
        run_with_input(nft.args(["-f", "-"]), rules, NFT_LIMIT).map(drop)
    }

    /// A table of its own, so that kube-proxy's are never touched.
    fn table(&self) -> String {
        format!("cut_{}", self.uid.replace('-', "_"))
    }
}
