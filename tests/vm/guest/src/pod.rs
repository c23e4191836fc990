//! Pods and containers as the kubelet and a runtime make them, as far as the kernel can tell.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use throwaway_vm_guest::{GUEST, HOST_NAME};

use crate::cgroup::Cgroup;
use crate::workload::{Start, WORKLOAD};

/// Who names the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// systemd and containerd: slices and scopes.
    Systemd,
    /// The kubelet itself: plain directories.
    Cgroupfs,
}

/// A pod of the burstable class.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Its UID.
    pub(crate) uid: String,
    /// Its group.
    pub(crate) cgroup: Cgroup,
    driver: Driver,
    number: u8,
}

impl Pod {
    /// The pod of this number, without any container.
    pub(crate) fn new(driver: Driver, number: u8) -> anyhow::Result<Pod> {
        let uid = format!("{number:08x}-0000-4000-8000-00000000c0de");
        let path = match driver {
            Driver::Systemd => {
                let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
                [
                    "kubepods.slice".into(),
                    "kubepods-burstable.slice".into(),
                    slice,
                ]
            }
            Driver::Cgroupfs => ["kubepods".into(), "burstable".into(), format!("pod{uid}")],
        };
        let mut cgroup = Cgroup::root();
        for name in &path {
            cgroup = cgroup.child(name)?;
        }
        Ok(Pod {
            uid,
            cgroup,
            driver,
            number,
        })
    }

    /// Its ID in Scope.
    pub(crate) fn node_id(&self) -> String {
        format!("{};<pod>", self.uid)
    }

    /// The pod with these containers as the API server has it.
    pub(crate) fn object(&self, containers: &[&Container]) -> Value {
        let named = |container: &&Container| json!({"name": container.id, "image": "guest:1"});
        let running = |container: &&Container| {
            json!({
                "name": container.id, "image": "guest:1", "imageID": "guest@sha256:1",
                "containerID": format!("containerd://{}", container.id),
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            })
        };
        json!({
            "metadata": {"name": format!("pod-{}", self.number), "namespace": "guests",
                         "uid": self.uid, "resourceVersion": "1"},
            "spec": {"nodeName": HOST_NAME,
                     "containers": containers.iter().map(named).collect::<Vec<_>>()},
            "status": {"phase": "Running",
                       "containerStatuses": containers.iter().map(running).collect::<Vec<_>>()},
        })
    }

    /// A group for a container, of this number within the pod.
    pub(crate) fn container(&self, number: u8) -> anyhow::Result<Container> {
        let id = format!("{:02x}{number:02x}", self.number).repeat(16);
        let name = match self.driver {
            Driver::Systemd => format!("cri-containerd-{id}.scope"),
            Driver::Cgroupfs => id.clone(),
        };
        Ok(Container {
            id,
            cgroup: self.cgroup.child(&name)?,
        })
    }
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its ID.
    pub(crate) id: String,
    /// Its group.
    pub(crate) cgroup: Cgroup,
}

impl Container {
    /// Its ID in Scope.
    pub(crate) fn node_id(&self) -> String {
        format!("{};<container>", self.id)
    }

    /// Starts a process in it and waits until that is where it belongs.
    pub(crate) fn start(&self, start: &Start, role: &[&str]) -> anyhow::Result<Process> {
        let mut child = self.command(start, role).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let process = Process(child);
        ensure!(
            line.trim() == crate::workload::READY,
            "{role:?} did not start: see the console"
        );
        Ok(process)
    }

    /// A command that runs in it.
    pub(crate) fn command(&self, start: &Start, role: &[&str]) -> Command {
        let mut command = Command::new(GUEST);
        command
            .arg(WORKLOAD)
            .args(start.words(self.cgroup.path()))
            .args(role);
        command
    }
}

/// A process of a container. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// A process that was started otherwise.
    pub(crate) fn new(child: Child) -> Process {
        Process(child)
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end, and says by which signal it ended.
    pub(crate) fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        let status = self.0.wait().context("cannot wait for a process")?;
        Ok(status.signal())
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> anyhow::Result<bool> {
        Ok(self
            .0
            .try_wait()
            .context("cannot look after a process")?
            .is_none())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
