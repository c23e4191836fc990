//! What all machines of a cluster have in common.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cgroup::{ClusterCgroups, Hierarchies};
use crate::command::run;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::machine::{Machine, MachineSpec};
use crate::network::{Network, host_link};
use crate::patience::Patience;
use crate::progress::Progress;
use crate::record::Record;
use crate::tools::Tools;

/// A single question to the API server.
pub(super) const KUBECTL_LIMIT: Duration = Duration::from_secs(60);

/// The common part of a cluster.
pub(super) struct Site {
    pub(super) layout: Layout,
    pub(super) prefix: String,
    pub(super) network: Network,
    pub(super) cgroups: ClusterCgroups,
    pub(super) progress: Progress,
    record: Mutex<Record>,
}

impl Site {
    pub(super) fn new(layout: Layout, record: Record, progress: Progress) -> Result<Site> {
        Ok(Site {
            cgroups: ClusterCgroups::new(
                Hierarchies::of_this_machine()?,
                &record.prefix,
                &layout.mark(),
            ),
            network: Network {
                octet: record.octet,
            },
            prefix: record.prefix.clone(),
            layout,
            progress,
            record: Mutex::new(record),
        })
    }

    /// The cluster's directory.
    pub(super) fn directory(&self) -> PathBuf {
        self.layout.cluster(&self.prefix)
    }

    /// The record as it is now.
    pub(super) fn record(&self) -> Record {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the record, on disk too.
    pub(super) fn change_record(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut record);
        record.write(&self.layout.record(&self.prefix))
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.record().logs
    }

    pub(super) fn tools(&self) -> Tools {
        self.record().programs
    }

    /// The administrator's kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory().join("admin.kubeconfig")
    }

    /// The API server's audit log.
    pub(super) fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    /// The directory of a machine's own files.
    pub(super) fn machine_directory(&self, machine: &str) -> PathBuf {
        self.directory().join(machine)
    }

    /// The name of the link on the host.
    pub(super) fn host_link(&self) -> String {
        host_link(&self.prefix, &self.layout.mark())
    }

    /// The socket of a machine's init.
    pub(super) fn socket(&self, machine: &str) -> PathBuf {
        self.machine_directory(machine).join("init.sock")
    }

    /// The file with a machine's specification.
    pub(super) fn specification(&self, machine: &str) -> PathBuf {
        self.machine_directory(machine).join("machine.json")
    }

    /// Starts a machine and puts it on record.
    pub(super) fn start_machine(&self, spec: &MachineSpec) -> Result<Machine> {
        let record = self.record();
        let file = self.specification(&spec.name);
        let machine = Machine::start(spec, &file, &record.logs, &record.helper)?;
        self.change_record(|record| record.set_machine(&spec.name, machine.init()))?;
        if record.detached {
            machine.detach()?;
        }
        Ok(machine)
    }

    /// A machine of the record; none when it was never started.
    pub(super) fn known_machine(&self, name: &str) -> Option<Machine> {
        let record = self.record();
        let machine = record
            .machines
            .iter()
            .find(|machine| machine.name == name)?;
        Some(Machine::known(
            name,
            &self.socket(name),
            &record.logs,
            machine.init,
        ))
    }

    /// What a client of the cluster needs in its environment.
    pub(super) fn client_environment(&self) -> Vec<(String, String)> {
        let directory = self.directory();
        let below = |name: &str| directory.join(name).display().to_string();
        // Some programs prefer one spelling, some the other; a person may have set only one.
        let set = |name| std::env::var(name).ok().filter(|list| !list.is_empty());
        let without_proxy = |name, other| {
            let before = set(name).or_else(|| set(other)).unwrap_or_default();
            self.network.without_proxy(&before)
        };
        let tools = self.tools();
        let path = tools
            .directories()
            .iter()
            .map(|directory| directory.display().to_string())
            .chain(std::env::var("PATH"))
            .collect::<Vec<_>>()
            .join(":");
        [
            ("KUBECONFIG", self.kubeconfig().display().to_string()),
            // What clients cache goes with the cluster.
            ("KUBECACHEDIR", below("client/kube")),
            // No preferences of this user.
            ("KUBERC", "off".to_owned()),
            ("HELM_CACHE_HOME", below("client/helm/cache")),
            ("HELM_CONFIG_HOME", below("client/helm/config")),
            ("HELM_DATA_HOME", below("client/helm/data")),
            // The API server is on this machine, whatever proxy there is to the outside.
            ("NO_PROXY", without_proxy("NO_PROXY", "no_proxy")),
            ("no_proxy", without_proxy("no_proxy", "NO_PROXY")),
            ("PATH", path),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// A client program of the cluster.
    pub(super) fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.envs(self.client_environment());
        command
    }

    /// Runs kubectl with a limit for one question.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<String> {
        run(
            self.client(&self.tools().kubectl()).args(arguments),
            KUBECTL_LIMIT,
        )
    }

    /// Asks until the answer is there. `look` gives the answer, or in words what is still missing.
    pub(super) fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<std::result::Result<T, String>>,
    ) -> Result<T> {
        // Each look costs a process; what is waited for takes seconds.
        const EVERY: Duration = Duration::from_millis(100);
        let mut patience = Patience::new(limit);
        loop {
            let missing = match look()? {
                Ok(answer) => return Ok(answer),
                Err(missing) => missing,
            };
            if patience.is_over() {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    limit,
                    last: missing,
                    logs: self.logs(),
                });
            }
            std::thread::sleep(EVERY);
        }
    }
}
