//! A cluster: its life from start to removal, and what tests do with it.

mod cleanup;
mod control_plane;
mod follow;
mod node;
mod node_files;
mod options;
mod ownership;
mod pod;
mod requests;
mod site;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

pub use cleanup::{leftovers, sweep, take_down};
pub use follow::AuditFollow;
pub use node::Node;
pub use options::Options;
pub use pod::RunningPod;

use crate::command::{output, run, run_with_input};
use crate::error::{Error, Result};
use crate::layout::{Layout, private_directory};
use crate::pki::Authority;
use crate::progress::Progress;
use crate::record::{Record, check_prefix};
use crate::tools::Tools;
use crate::{images, packages, tools};
use control_plane::ControlPlane;
use ownership::{Ownership, claim};
use site::Site;

/// A command of kubectl or helm may wait for a rollout.
const CLIENT_LIMIT: Duration = Duration::from_secs(10 * 60);
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

    /// The cluster of a prefix that this or another process has started, as it is now: nodes that
    /// another process crashes or starts later are not followed.
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

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("prefix", &self.site.prefix)
            .finish_non_exhaustive()
    }
}
