//! A cluster: its life from start to removal, and what tests do with it.

mod cleanup;
mod control_plane;
mod node;
mod site;

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};

pub use cleanup::{leftovers, sweep, take_down};
pub use node::Node;

use crate::audit::{AuditEvent, AuditMark};
use crate::command::{output, run, run_with_input};
use crate::error::{At, Error, Result};
use crate::layout::{Layout, private_directory};
use crate::network::{MOST_NODES, Network};
use crate::pki::Authority;
use crate::process::boot_id;
use crate::progress::Progress;
use crate::record::{self, Lock, Record, check_prefix};
use crate::tools::Tools;
use crate::{images, packages, tools};
use control_plane::ControlPlane;
use site::Site;

/// A command of kubectl or helm may wait for a rollout.
const CLIENT_LIMIT: Duration = Duration::from_secs(10 * 60);
/// The audit log is written before the answer is sent; this is for the file system.
const AUDIT_LIMIT: Duration = Duration::from_secs(10);

/// How a cluster shall be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Part of the names of everything outside the cache: 1 to 8 small letters and digits.
    pub prefix: String,
    /// How many nodes it has; they are called node1, node2, …
    pub nodes: usize,
    /// Archives of images that every node gets, besides [`images::BOX_IMAGE`].
    pub images: Vec<PathBuf>,
    /// Whether the API server writes an audit log.
    pub audit: bool,
    /// More flags for the API server, as in `--default-unreachable-toleration-seconds=2`.
    pub api_server_flags: Vec<String>,
    /// More flags for the controller manager, as in `--node-monitor-grace-period=8s`.
    pub controller_manager_flags: Vec<String>,
    /// Top-level fields of kubelet's configuration that replace the usual ones.
    pub kubelet: Map<String, Value>,
    /// The programs, when they are known already; else they are looked for.
    pub tools: Option<Tools>,
    /// A program that calls [`crate::run_internal_command_if_asked`] first; the calling program
    /// when nothing is said. A test under `cargo test` must name one.
    pub helper: Option<PathBuf>,
    /// Takes lines about what takes long.
    pub progress: Progress,
}

impl Options {
    /// Two nodes, with an audit log.
    pub fn new(prefix: &str) -> Options {
        Options {
            prefix: prefix.to_owned(),
            nodes: 2,
            images: Vec::new(),
            audit: true,
            api_server_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
            kubelet: Map::new(),
            tools: None,
            helper: None,
            progress: Progress::default(),
        }
    }

    fn check(&self) -> Result<()> {
        check_prefix(&self.prefix)?;
        if !(1..=MOST_NODES).contains(&self.nodes) {
            return Err(Error::Invalid(format!(
                "a cluster has 1 to {MOST_NODES} nodes, not {}",
                self.nodes
            )));
        }
        match crate::obstacle() {
            Some(why) => Err(Error::Unable(why)),
            None => Ok(()),
        }
    }
}

/// A cluster that is up.
///
/// Dropping it takes it down, unless it was [detached](Cluster::detach) or belongs to another
/// process ([`Cluster::attach`]).
pub struct Cluster {
    /// Held by the process that the cluster belongs to. The first field, so that everything is
    /// taken down before machines wait for their processes.
    ownership: Option<Ownership>,
    site: Arc<Site>,
    control_plane: ControlPlane,
    nodes: Vec<Node>,
}

/// Takes the cluster down when it goes, so that a start that fails half-way leaves nothing.
struct Ownership {
    site: Arc<Site>,
    /// Dropped after the cluster is down.
    _lock: Lock,
    released: bool,
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        if let Err(error) = cleanup::remove_cluster(&self.site.layout, &self.site.prefix) {
            self.site.progress.say(&format!(
                "cluster `{}` could not be taken down completely: {error}",
                self.site.prefix
            ));
        }
    }
}

impl Cluster {
    /// Starts a cluster and waits until all its nodes are ready. What earlier runs that were
    /// killed have left is removed first.
    pub fn up(options: Options) -> Result<Cluster> {
        options.check()?;
        packages::ensure(&options.progress)?;
        let tools = match &options.tools {
            Some(tools) => tools.clone(),
            None => tools::ensure(&options.progress)?,
        };
        let what = format!(
            "starting cluster `{}` of {} nodes",
            options.prefix, options.nodes
        );
        options
            .progress
            .clone()
            .during(&what, || Cluster::start(options, tools))
    }

    fn start(options: Options, tools: Tools) -> Result<Cluster> {
        let layout = Layout::from_environment()?;
        let ownership = claim(&layout, &options, tools)?;
        let site = Arc::clone(&ownership.site);
        let pki = site.directory().join("pki");
        private_directory(&pki)?;
        let authority = Authority::create(&pki)?;
        control_plane::write_admin_kubeconfig(&site, &authority)?;
        let control_plane = ControlPlane::start(&site, &authority, &options)?;
        let pid = control_plane.pid();
        let mut archives = images::make_own(&site.directory())?;
        archives.extend(options.images.iter().cloned());
        let nodes = (1..=options.nodes)
            .map(|number| Node::prepare(&site, pid, number, &authority, &options.kubelet))
            .collect::<Result<Vec<Node>>>()?;
        // The nodes boot while the API server does.
        at_once(
            &nodes,
            |node| node.boot(&archives),
            || control_plane.wait_until_ready(),
        )?;
        control_plane.start_controllers()?;
        at_once(
            &nodes,
            |node| {
                node.start_kubernetes()
                    .and_then(|since| node.wait_until_ready(since))
            },
            || control_plane.wait_for_default_account(),
        )?;
        Ok(Cluster {
            ownership: Some(ownership),
            site,
            control_plane,
            nodes,
        })
    }

    /// The cluster of a prefix that this or another process has started.
    pub fn attach(prefix: &str) -> Result<Cluster> {
        check_prefix(prefix)?;
        let layout = Layout::from_environment()?;
        let not_up = || Error::NotUp {
            prefix: prefix.to_owned(),
        };
        let record = Record::read(&layout.record(prefix))?.ok_or_else(not_up)?;
        let count = record.nodes;
        let site = Arc::new(Site::new(layout, record, Progress::default())?);
        let control_plane = ControlPlane::known(&site).ok_or_else(not_up)?;
        control_plane.check()?;
        let pid = control_plane.pid();
        let nodes = (1..=count)
            .map(|number| Node::known(&site, pid, number))
            .collect();
        Ok(Cluster {
            ownership: None,
            site,
            control_plane,
            nodes,
        })
    }

    /// Lets the cluster live on when this process ends; see [`Cluster::attach`].
    pub fn detach(mut self) -> Result<()> {
        self.site.change_record(|record| record.detached = true)?;
        self.control_plane.machine().detach()?;
        self.nodes.iter().try_for_each(Node::detach)?;
        if let Some(ownership) = self.ownership.take() {
            ownership.release();
        }
        Ok(())
    }

    /// Takes the cluster down, as dropping does, and says whether that went well. A cluster that
    /// a running process owns is that process's to take down.
    pub fn down(mut self) -> Result<()> {
        match self.ownership.take() {
            Some(ownership) => ownership.take_down(),
            None => take_down(&self.site.prefix).map(drop),
        }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.site.prefix
    }

    /// The directory of the logs of this run.
    pub fn logs(&self) -> PathBuf {
        self.site.logs()
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node N, counted from 1 like its name.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&self, number: usize) -> &Node {
        match number
            .checked_sub(1)
            .and_then(|index| self.nodes.get(index))
        {
            Some(node) => node,
            None => panic!(
                "there is no node{number}: the cluster has {} nodes",
                self.nodes.len()
            ),
        }
    }

    /// A kubeconfig of an administrator. Its server's address works from this machine, from the
    /// nodes and from pods.
    pub fn kubeconfig(&self) -> PathBuf {
        self.site.kubeconfig()
    }

    /// The environment of a client: `KUBECONFIG`, `PATH` with kubectl and helm, caches.
    pub fn client_env(&self) -> Vec<(String, String)> {
        self.site.client_environment()
    }

    /// Runs kubectl and returns its standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.kubectl_command().args(arguments), CLIENT_LIMIT)
    }

    /// Runs kubectl with a text on standard input, for `apply -f -`.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        run_with_input(self.kubectl_command().args(arguments), input, CLIENT_LIMIT)
    }

    /// Runs kubectl to its end, whatever that is.
    pub fn kubectl_output(&self, arguments: &[&str]) -> Result<Output> {
        output(self.kubectl_command().args(arguments), None, CLIENT_LIMIT)
    }

    /// kubectl, with the cluster's environment.
    pub fn kubectl_command(&self) -> Command {
        self.site.client(&self.site.tools().kubectl())
    }

    /// Runs helm and returns its standard output.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        run(self.helm_command().args(arguments), CLIENT_LIMIT)
    }

    /// Runs helm to its end, whatever that is.
    pub fn helm_output(&self, arguments: &[&str]) -> Result<Output> {
        output(self.helm_command().args(arguments), None, CLIENT_LIMIT)
    }

    /// helm, with the cluster's environment.
    pub fn helm_command(&self) -> Command {
        self.site.client(&self.site.tools().helm())
    }

    /// Imports an image archive on every node.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        at_once(&self.nodes, |node| node.load_image(archive), || Ok(()))
    }

    /// Stops the API server; nodes and pods go on.
    pub fn apiserver_stop(&self) -> Result<()> {
        self.control_plane.stop_api_server()
    }

    /// Starts the API server again and waits until it is ready.
    pub fn apiserver_start(&self) -> Result<()> {
        self.control_plane.start_api_server()
    }

    /// Everything in the audit log up to now.
    pub fn audit(&self) -> Result<Vec<AuditEvent>> {
        self.audit_since(AuditMark::START)
    }

    /// What has come into the audit log since a mark was taken.
    pub fn audit_since(&self, mark: AuditMark) -> Result<Vec<AuditEvent>> {
        self.audit_between(mark, self.audit_mark()?)
    }

    /// What came into the audit log between two marks, without the requests that make marks.
    pub fn audit_between(&self, from: AuditMark, to: AuditMark) -> Result<Vec<AuditEvent>> {
        let path = self.site.audit_log();
        let text = read_from(&path, from.0, Some(to.0))?;
        let mut events = Vec::new();
        for line in text.lines().filter(|line| !line.contains(MARKER)) {
            events.push(AuditEvent::parse(line).at("understand a line of", &path)?);
        }
        Ok(events)
    }

    /// The place in the audit log that has been reached now.
    pub fn audit_mark(&self) -> Result<AuditMark> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !self.site.record().audit {
            return Err(Error::Invalid(format!(
                "cluster `{}` was started without an audit log",
                self.site.prefix
            )));
        }
        let path = self.site.audit_log();
        let before = std::fs::metadata(&path).at("look at", &path)?.len();
        // A request that nobody else makes: what came before it lies before it in the log.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let uri = format!("/version?{MARKER}={}-{number}", std::process::id());
        self.site.ask(&["get", "--raw", &uri])?;
        self.site.wait_for("a complete audit log", AUDIT_LIMIT, || {
            let text = read_from(&path, before, None)?;
            Ok(end_of_line_with(&text, &format!("{uri}\""))
                .map(|end| AuditMark(before + end as u64))
                .ok_or_else(|| format!("{} does not have the marker {uri} yet", path.display())))
        })
    }
}

impl Ownership {
    /// Takes the cluster down and says whether that went well.
    fn take_down(mut self) -> Result<()> {
        self.released = true;
        cleanup::remove_cluster(&self.site.layout, &self.site.prefix)
    }

    /// Gives up the right and the duty to take the cluster down.
    fn release(mut self) {
        self.released = true;
    }
}

/// In the query of requests that mark a place in the audit log.
const MARKER: &str = "throwaway-cluster-mark";

/// Takes the prefix, the network and the directories of a new cluster.
fn claim(layout: &Layout, options: &Options, programs: Tools) -> Result<Ownership> {
    let prefix = &options.prefix;
    // Until this cluster is on record no other one may look for a network.
    let _common = cleanup::lock_common(layout)?;
    cleanup::sweep_locked(layout)?;
    let lock = Lock::take(layout, prefix)?;
    if Record::read(&layout.record(prefix))?.is_some_and(|record| record.runs()) {
        return Err(Error::Busy {
            prefix: prefix.clone(),
            by: ": it was started to stay up".to_owned(),
        });
    }
    // What no record names any more.
    cleanup::remove_cluster(layout, prefix)?;
    let records = record::all(layout)?;
    let octets: Vec<u8> = records.iter().map(|record| record.octet).collect();
    let logs: Vec<PathBuf> = records.into_iter().map(|record| record.logs).collect();
    let routes = Path::new("/proc/net/route");
    let routes = std::fs::read_to_string(routes).at("read", routes)?;
    let record = Record {
        prefix: prefix.clone(),
        boot: boot_id(),
        octet: Network::free(&octets, &routes)?.octet,
        logs: layout.new_log_directory(prefix, &logs)?,
        programs,
        helper: options
            .helper
            .clone()
            .unwrap_or_else(|| "/proc/self/exe".into()),
        nodes: options.nodes,
        detached: false,
        audit: options.audit,
        machines: Vec::new(),
    };
    record.write(&layout.record(prefix))?;
    let site = Arc::new(Site::new(layout.clone(), record, options.progress.clone())?);
    private_directory(&layout.cluster(prefix))?;
    Ok(Ownership {
        site,
        _lock: lock,
        released: false,
    })
}

/// Does something for every node, and something else, all at the same time.
fn at_once(
    nodes: &[Node],
    for_each: impl Fn(&Node) -> Result<()> + Sync,
    beside: impl FnOnce() -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let for_each = &for_each;
        let threads: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(move || for_each(node)))
            .collect();
        let result = beside();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All threads are waited for, whatever the first one says.
        results
            .collect::<Vec<_>>()
            .into_iter()
            .fold(result, Result::and)
    })
}

fn read_from(path: &Path, from: u64, to: Option<u64>) -> Result<String> {
    let mut file = std::fs::File::open(path).at("open", path)?;
    file.seek(SeekFrom::Start(from)).at("read", path)?;
    let mut bytes = Vec::new();
    let length = to.map_or(u64::MAX, |to| to.saturating_sub(from));
    file.take(length).read_to_end(&mut bytes).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where the first complete line that contains `part` ends.
fn end_of_line_with(text: &str, part: &str) -> Option<usize> {
    let at = text.find(part)?;
    text[at..].find('\n').map(|length| at + length + 1)
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("prefix", &self.site.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_lines_are_marks() {
        assert_eq!(end_of_line_with("a\nxy\nb\n", "x"), Some(5));
        assert_eq!(end_of_line_with("a\nxy", "x"), None);
        assert_eq!(end_of_line_with("a\n", "x"), None);
    }

    #[test]
    fn options_are_checked() {
        let wrong = |change: fn(&mut Options)| {
            let mut options = Options::new("t0");
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(wrong(|options| options.prefix = "T".into()).contains("no prefix"));
        assert!(wrong(|options| options.nodes = 0).contains("1 to 99 nodes"));
    }
}
