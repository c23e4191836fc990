//! The throw-away cluster with the product's images, and an emulated Scope probe on each node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use scope_emulator::{Click, Options, Probe};
use throwaway_cluster::{AuditEvent, AuditFollow, AuditMark, Cluster, Progress, RunningPod};

use crate::audit::Request;
use crate::footprint::Footprint;
use crate::heard::Heard;
use crate::kubectl::Kubectl;
use crate::product::Product;

/// Prefix of the tests' and the demo's cluster.
pub const PREFIX: &str = "scope";
/// Prefix of the tests' cluster of four nodes, which may be up at the same time.
pub const FLEET_PREFIX: &str = "fleet";
/// What the emulated app calls itself.
const APP: &str = "40a7031ee6466403";

/// A cluster and what the scenarios know of it.
pub struct World {
    /// kubectl and Helm as an administrator.
    pub kubectl: Kubectl,
    /// The product in this source tree.
    pub product: Product,
    /// Whether every scenario is played, so that what none of them uses is used by nobody.
    pub whole_run: bool,
    cluster: Cluster,
    /// Stretches of the audit log in which our accounts are refused things on purpose.
    refusals: Vec<(AuditMark, AuditMark)>,
    probes: BTreeMap<(String, &'static str), Probe>,
}

impl World {
    /// Starts a cluster of two nodes with the two images of this directory loaded on each.
    ///
    /// # Errors
    /// When the machine cannot have a cluster or a part of it does not start.
    pub fn up(images: &Path) -> anyhow::Result<World> {
        World::start(images, throwaway_cluster::Options::new(PREFIX))
    }

    /// The same with four nodes, for what happens to some of them; that one is lost is noticed soon.
    ///
    /// # Errors
    /// When the machine cannot have a cluster or a part of it does not start.
    pub fn fleet(images: &Path) -> anyhow::Result<World> {
        let mut options = throwaway_cluster::Options::new(FLEET_PREFIX);
        options.nodes = 4;
        options.notice_lost_nodes_soon();
        World::start(images, options)
    }

    fn start(images: &Path, mut options: throwaway_cluster::Options) -> anyhow::Result<World> {
        options.progress = Progress::to_stderr();
        for entry in std::fs::read_dir(images)
            .with_context(|| format!("{}: run `cargo xtask image` first", images.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "tar") {
                options.images.push(path);
            }
        }
        ensure!(
            options.images.len() == 2,
            "{} images, want two",
            options.images.len()
        );
        let cluster = Cluster::up(options)?;
        let kubectl = Kubectl {
            environment: cluster.client_env(),
            context: None,
            shielded: false,
        };
        Ok(World {
            kubectl,
            product: Product::in_tree(),
            whole_run: false,
            cluster,
            refusals: Vec::new(),
            probes: BTreeMap::new(),
        })
    }

    /// Takes the cluster down and checks that nothing is left.
    ///
    /// # Errors
    /// When something is left on the machine.
    pub fn down(self) -> anyhow::Result<()> {
        drop(self.probes);
        let prefix = self.cluster.prefix().to_owned();
        self.cluster.down()?;
        let left = throwaway_cluster::leftovers(&prefix)?;
        ensure!(left.is_empty(), "left on this machine: {}", left.join(", "));
        Ok(())
    }

    /// Lets the cluster live on; `cargo xtask cluster down` ends it.
    ///
    /// # Errors
    /// When it cannot be let go.
    pub fn leave_up(self) -> anyhow::Result<()> {
        drop(self.probes);
        Ok(self.cluster.detach()?)
    }

    /// The nodes' names.
    pub fn nodes(&self) -> Vec<String> {
        self.cluster
            .nodes()
            .iter()
            .map(|n| n.name().to_owned())
            .collect()
    }

    /// A node: what can happen to it.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn node(&self, name: &str) -> anyhow::Result<&throwaway_cluster::Node> {
        let node = self.cluster.nodes().iter().find(|n| n.name() == name);
        node.with_context(|| format!("there is no node {name}"))
    }

    /// Starts the nodes that are down.
    ///
    /// # Errors
    /// When one does not start; the others are tried all the same.
    pub fn start_crashed_nodes(&self) -> anyhow::Result<()> {
        let down = self.cluster.nodes().iter().filter(|node| !node.is_up());
        let started: Vec<_> = down.map(throwaway_cluster::Node::start).collect();
        Ok(started.into_iter().collect::<Result<(), _>>()?)
    }

    /// The plugin directory of a node, as this machine sees it.
    pub fn plugin_dir(&self, node: &str) -> PathBuf {
        // A node that is down has no plugins: a path that does not exist says so.
        self.node(node)
            .and_then(|n| Ok(n.plugin_dir()?))
            .unwrap_or_else(|_| PathBuf::from("/nonexistent"))
    }

    /// One look of Scope's probe on this node: scan, ask every plugin, merge.
    ///
    /// # Errors
    /// When the directory cannot be scanned.
    pub fn hear(&mut self, node: &str) -> anyhow::Result<Heard> {
        self.hear_by(node, "host")
    }

    /// The same by another probe on this node: where Scope's cluster agent runs, its probe shares the
    /// node's sockets. Probes differ by `name`. None of them tags what it hears with its host, so that
    /// parents which are there were sent.
    ///
    /// # Errors
    /// When the directory cannot be scanned.
    pub fn hear_by(&mut self, node: &str, name: &'static str) -> anyhow::Result<Heard> {
        let dir = self.plugin_dir(node);
        let key = (node.to_owned(), name);
        let probe = match self.probes.get_mut(&key) {
            Some(probe) => probe,
            None => {
                let probe = Probe::new(&dir, Options::default())?;
                self.probes.entry(key).or_insert(probe)
            }
        };
        probe.scan()?;
        let merged = probe.spy()?.clone();
        let answers = probe
            .plugins()
            .filter_map(|plugin| Some((plugin.path.clone(), plugin.last.clone()?)))
            .collect();
        Ok(Heard { merged, answers })
    }

    /// A click in Scope's page that the app hands to the probe on this node.
    ///
    /// # Errors
    /// When the probe is dead.
    pub fn click(&mut self, node: &str, node_id: &str, control: &str) -> anyhow::Result<Clicked> {
        self.click_with(node, node_id, control, &BTreeMap::new())
    }

    /// The same with arguments, which only programs send.
    ///
    /// # Errors
    /// When the probe is dead.
    pub fn click_with(
        &mut self,
        node: &str,
        node_id: &str,
        control: &str,
        args: &BTreeMap<String, String>,
    ) -> anyhow::Result<Clicked> {
        let probe = self.probes.get_mut(&(node.to_owned(), "host"));
        let probe = probe.context("a probe that has heard")?;
        Ok(clicked(probe, node_id, control, args))
    }

    /// A click while whose consequences a pod is killed, by name in a namespace: as soon as `at` returns. Before,
    /// it is slowed down, or it would have done all until then. The pod is removed in the end, as a container that
    /// dies for the second time is started late, and a new pod is not.
    ///
    /// # Errors
    /// Those of `at`, when the probe is dead, and when there is no such pod.
    pub fn click_and_kill<T: Send>(
        &mut self,
        node: &str,
        [node_id, control]: [&str; 2],
        [namespace, pod]: [&str; 2],
        at: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<(Clicked, T)> {
        let probe = self.probes.get_mut(&(node.to_owned(), "host"));
        let probe = probe.context("a probe that has heard")?;
        let pod = self.cluster.running_pod(namespace, pod)?;
        pod.slow_down()?;
        let (click, killed) = std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                let reached = at();
                pod.kill()?;
                reached
            });
            let click = clicked(probe, node_id, control, &BTreeMap::new());
            let killed = killer.join();
            (
                click,
                killed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        pod.remove()?;
        Ok((click, killed?))
    }

    /// Has the kubelet of a node run this pod from a file, or no more.
    ///
    /// # Errors
    /// When the file cannot be written or removed.
    pub fn static_pod(&self, node: &str, name: &str, manifest: Option<&str>) -> anyhow::Result<()> {
        let node = self.node(node)?;
        let directory = "/etc/kubernetes/manifests";
        let script = match manifest {
            Some(_) => {
                format!("mkdir -p {directory} && printf %s \"$1\" > {directory}/{name}.yaml")
            }
            None => format!("rm -f {directory}/{name}.yaml"),
        };
        let text = manifest.unwrap_or_default();
        Ok(node.exec(&["sh", "-c", &script, "sh", text]).map(drop)?)
    }

    /// The token of a pod on a node for the API server, as whoever is root on the node can read it.
    ///
    /// # Errors
    /// When there is none.
    pub fn token_of(&self, node: &str, pod_uid: &str) -> anyhow::Result<String> {
        self.token_in(node, pod_uid, "kube-api-access-")
    }

    /// The token of an agent's pod on a node for scope-totals.
    ///
    /// # Errors
    /// When there is none.
    pub fn totals_token_of(&self, node: &str, pod_uid: &str) -> anyhow::Result<String> {
        self.token_in(node, pod_uid, "totals")
    }

    /// The token in the volume whose name begins like this.
    fn token_in(&self, node: &str, pod_uid: &str, volume: &str) -> anyhow::Result<String> {
        let volumes = self
            .node(node)?
            .root()?
            .join("var/lib/kubelet/pods")
            .join(pod_uid)
            .join("volumes/kubernetes.io~projected");
        for entry in std::fs::read_dir(&volumes)? {
            let entry = entry?;
            let token = entry.path().join("token");
            let named = entry.file_name().to_string_lossy().starts_with(volume);
            if named && token.exists() {
                return Ok(std::fs::read_to_string(token)?);
            }
        }
        bail!("{} has no token in {volume}", volumes.display())
    }

    /// kubectl with nothing but this token.
    ///
    /// # Errors
    /// When the kubeconfig cannot be written.
    pub fn kubectl_with_token(&self, token: &str) -> anyhow::Result<Kubectl> {
        let config = self.kubectl.json(&["config", "view", "--raw"])?;
        let cluster = &config["clusters"][0]["cluster"];
        self.kubectl_with_config(&serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "c", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }))
    }

    /// kubectl with nothing but this kubeconfig.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubectl_with_config(&self, config: &serde_json::Value) -> anyhow::Result<Kubectl> {
        let path = self.cluster.logs().join("token.kubeconfig");
        std::fs::write(&path, config.to_string())?;
        Ok(self.kubectl.with_kubeconfig(&path))
    }

    /// The processes of a node as it numbers them itself, with their names.
    ///
    /// # Errors
    /// When the node is not there.
    pub fn processes(&self, node: &str) -> anyhow::Result<Vec<(u32, String)>> {
        let script = "for p in /proc/[0-9]*; do echo ${p#/proc/} $(cat $p/comm); done 2>/dev/null";
        let text = self.node(node)?.exec(&["sh", "-c", script])?;
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Ok(lines
            .filter_map(|(pid, name)| Some((pid.parse().ok()?, name.to_owned())))
            .collect())
    }

    /// The agent's process on a node, as this machine counts processes.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn agent_pid(&self, node: &str) -> anyhow::Result<u32> {
        let (cluster, below) = (
            format!("/throwaway-{}-", self.cluster.prefix()),
            format!("/{node}/"),
        );
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<u32>().ok())
            else {
                continue;
            };
            let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
            let is_agent = read("cmdline").starts_with(b"/scope-agent\0");
            let cgroup = String::from_utf8_lossy(&read("cgroup")).into_owned();
            if is_agent && cgroup.contains(&cluster) && cgroup.contains(&below) {
                found.insert(pid);
            }
        }
        ensure!(found.len() == 1, "agents on {node}: {found:?}");
        found.pop_first().context("one agent")
    }

    /// What the agent of a node takes up now.
    ///
    /// # Errors
    /// When there is no agent or it ends meanwhile.
    pub fn agent_footprint(&self, node: &str) -> anyhow::Result<Footprint> {
        Footprint::of(self.agent_pid(node)?)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn kill(&self, pid: u32) -> anyhow::Result<()> {
        let status = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status()?;
        ensure!(status.success(), "kill -KILL {pid} failed");
        Ok(())
    }

    /// Stops the API server; nodes and pods go on.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop_api_server(&self) -> anyhow::Result<()> {
        Ok(self.cluster.apiserver_stop()?)
    }

    /// Starts it again and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_api_server(&self) -> anyhow::Result<()> {
        Ok(self.cluster.apiserver_start()?)
    }

    /// Whether a program on this node, outside of any pod, gets a TCP connection.
    ///
    /// # Errors
    /// What the attempt said.
    pub fn connects(&self, node: &str, address: &str, port: u16) -> Result<(), String> {
        let found = self.cluster.nodes().iter().find(|n| n.name() == node);
        let found = found.ok_or_else(|| format!("there is no node {node}"))?;
        let attempt = format!("exec 3<>/dev/tcp/{address}/{port}");
        found
            .exec(&["timeout", "2", "bash", "-c", &attempt])
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// A pod whose processes can be stopped or cut off.
    ///
    /// # Errors
    /// When it does not run.
    pub fn running_pod(&self, namespace: &str, name: &str) -> anyhow::Result<RunningPod<'_>> {
        Ok(self.cluster.running_pod(namespace, name)?)
    }

    /// The audit log from now on, as it is written.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit_follow(&self) -> anyhow::Result<AuditFollow> {
        Ok(self.cluster.audit_follow(self.cluster.audit_mark()?)?)
    }

    /// The place in the audit log that has been reached now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit_mark(&self) -> anyhow::Result<AuditMark> {
        Ok(self.cluster.audit_mark()?)
    }

    /// Requests since a mark: watches that opened, all else when it was answered.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit_since(&self, mark: AuditMark) -> anyhow::Result<Vec<Request>> {
        Ok(requests(self.cluster.audit_since(mark)?))
    }

    /// What is tried in here by our accounts is meant to be refused.
    ///
    /// # Errors
    /// Those of `attempts`, and when the audit log cannot be read.
    pub fn refused_on_purpose<T>(
        &mut self,
        attempts: impl FnOnce(&mut World) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let from = self.audit_mark()?;
        let result = attempts(self);
        let to = self.audit_mark()?;
        self.refusals.push((from, to));
        result
    }

    /// All requests so far but those that were [refused on purpose](Self::refused_on_purpose).
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit_without_refusals(&self) -> anyhow::Result<Vec<Request>> {
        let mut all = Vec::new();
        let mut from = AuditMark::START;
        for (begin, end) in &self.refusals {
            all.extend(requests(self.cluster.audit_between(from, *begin)?));
            from = *end;
        }
        all.extend(self.audit_since(from)?);
        Ok(all)
    }
}

fn requests(events: Vec<AuditEvent>) -> Vec<Request> {
    events
        .into_iter()
        .filter(AuditEvent::counts)
        .map(|e| Request {
            user: e.user,
            pod: e.pod,
            verb: e.verb,
            group: e.group,
            resource: match e.subresource.as_str() {
                "" => e.resource,
                sub => format!("{}/{sub}", e.resource),
            },
            namespace: e.namespace,
            name: e.name,
            uri: e.uri,
            code: e.code.unwrap_or_default(),
            allowed_by: e.reason,
        })
        .collect()
}

/// A click, and the answer to it.
fn clicked(
    probe: &mut Probe,
    node_id: &str,
    control: &str,
    args: &BTreeMap<String, String>,
) -> Clicked {
    let id = probe.id().to_owned();
    let started = Instant::now();
    let outcome = probe.click(Click {
        app_id: APP,
        node_id,
        control,
        args: (!args.is_empty()).then_some(args),
    });
    Clicked {
        http: outcome.http,
        body: outcome.body,
        took: started.elapsed(),
        app: APP.to_owned(),
        probe: id,
    }
}

/// What came of a click, as Scope's app would answer the page.
#[derive(Debug)]
pub struct Clicked {
    /// 200, or 400 with the plugin's `error`.
    pub http: u16,
    /// The answer's body.
    pub body: String,
    /// From the click to the answer.
    pub took: Duration,
    /// The app's ID in the request.
    pub app: String,
    /// The probe's ID in the request.
    pub probe: String,
}
