//! The throw-away cluster with the product's images, and an emulated Scope probe on each node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use scope_emulator::{Click, Exchange, Kind, Merged, Node, Options, Probe, Stamp};
use scope_protocol::conformance::{Answer, check_report};
use throwaway_cluster::{AuditMark, Cluster, Progress};

use crate::audit::Request;
use crate::kubectl::Kubectl;
use crate::product::Product;

/// Prefix of the tests' and the demo's cluster.
pub const PREFIX: &str = "scope";
/// What the emulated app calls itself.
const APP: &str = "40a7031ee6466403";

/// A cluster and what the scenarios know of it.
pub struct World {
    /// kubectl and Helm as an administrator.
    pub kubectl: Kubectl,
    /// The product in this source tree.
    pub product: Product,
    cluster: Cluster,
    probes: BTreeMap<(String, &'static str), Probe>,
}

impl World {
    /// Starts the cluster with the two images of this directory loaded on each node.
    ///
    /// # Errors
    /// When the machine cannot have a cluster or a part of it does not start.
    pub fn up(images: &Path) -> anyhow::Result<World> {
        let mut options = throwaway_cluster::Options::new(PREFIX);
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
        };
        Ok(World {
            kubectl,
            product: Product::in_tree(),
            cluster,
            probes: BTreeMap::new(),
        })
    }

    /// Takes the cluster down and checks that nothing is left.
    ///
    /// # Errors
    /// When something is left on the machine.
    pub fn down(self) -> anyhow::Result<()> {
        drop(self.probes);
        self.cluster.down()?;
        let left = throwaway_cluster::leftovers(PREFIX)?;
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

    fn node(&self, name: &str) -> anyhow::Result<&throwaway_cluster::Node> {
        let node = self.cluster.nodes().iter().find(|n| n.name() == name);
        node.with_context(|| format!("there is no node {name}"))
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
        let probe = self
            .probes
            .get_mut(&(node.to_owned(), "host"))
            .context("a probe that has heard")?;
        let id = probe.id().to_owned();
        let started = Instant::now();
        let outcome = probe.click(Click {
            app_id: APP,
            node_id,
            control,
            args: (!args.is_empty()).then_some(args),
        });
        Ok(Clicked {
            http: outcome.http,
            body: outcome.body,
            took: started.elapsed(),
            app: APP.to_owned(),
            probe: id,
        })
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

    /// The token of a pod on a node, as whoever is root on the node can read it.
    ///
    /// # Errors
    /// When there is none.
    pub fn token_of(&self, node: &str, pod_uid: &str) -> anyhow::Result<String> {
        let volumes = self
            .node(node)?
            .root()?
            .join("var/lib/kubelet/pods")
            .join(pod_uid)
            .join("volumes/kubernetes.io~projected");
        for entry in std::fs::read_dir(&volumes)? {
            let token = entry?.path().join("token");
            if token.exists() {
                return Ok(std::fs::read_to_string(token)?);
            }
        }
        bail!("{} has no token", volumes.display())
    }

    /// kubectl with nothing but this token.
    ///
    /// # Errors
    /// When the kubeconfig cannot be written.
    pub fn kubectl_with_token(&self, token: &str) -> anyhow::Result<Kubectl> {
        let config = self.kubectl.json(&["config", "view", "--raw"])?;
        let cluster = &config["clusters"][0]["cluster"];
        let thief = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "c", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        let path = self.cluster.logs().join("token.kubeconfig");
        std::fs::write(&path, thief.to_string())?;
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
        let (cluster, below) = (format!("/throwaway-{PREFIX}-"), format!("/{node}/"));
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
        let process = PathBuf::from(format!("/proc/{}", self.agent_pid(node)?));
        let status = std::fs::read_to_string(process.join("status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .context("VmRSS of the agent")?;
        Ok(Footprint {
            resident: resident * 1024,
            descriptors: std::fs::read_dir(process.join("fd"))?.count() as u64,
            cgroup_memory: cgroup_memory(&process)?,
        })
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
        let events = self.cluster.audit_since(mark)?;
        Ok(events
            .into_iter()
            .filter(|e| e.counts())
            .map(|e| Request {
                user: e.user,
                verb: e.verb,
                resource: match e.subresource.as_str() {
                    "" => e.resource,
                    sub => format!("{}/{sub}", e.resource),
                },
                namespace: e.namespace,
                name: e.name,
                uri: e.uri,
                code: e.code.unwrap_or_default(),
            })
            .collect())
    }
}

/// What a process takes up.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    /// Resident bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Bytes that its cgroup is charged with, those of the kernel included.
    pub cgroup_memory: u64,
}

/// What the memory cgroup of a process is charged with, on v1 and v2.
fn cgroup_memory(process: &Path) -> anyhow::Result<u64> {
    let lines = std::fs::read_to_string(process.join("cgroup"))?;
    let line = |controllers: &str| {
        lines.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (names, path) = rest.split_once(':')?;
            (names == controllers).then(|| path.trim_start_matches('/'))
        })
    };
    let root = Path::new("/sys/fs/cgroup");
    let file = match (line("memory"), line("")) {
        (Some(path), _) => root.join("memory").join(path).join("memory.usage_in_bytes"),
        (None, Some(path)) => root.join(path).join("memory.current"),
        (None, None) => bail!("no memory cgroup in {lines:?}"),
    };
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(text.trim().parse()?)
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

/// What a probe heard in one look: all plugins' reports, merged.
pub struct Heard {
    merged: Merged,
    /// Each plugin's socket and its answer as it came over the wire.
    answers: Vec<(PathBuf, Exchange)>,
}

impl Heard {
    /// A node by topology key (`Pod`) and ID.
    pub fn node(&self, topology: &str, id: &str) -> Option<Seen<'_>> {
        self.merged
            .node(topology.parse::<Kind>().ok()?, id)
            .map(Seen)
    }

    /// All nodes of a topology by ID.
    pub fn nodes(&self, topology: &str) -> impl Iterator<Item = (&str, Seen<'_>)> {
        let kind = topology.parse::<Kind>().ok();
        kind.into_iter()
            .flat_map(|k| self.merged.nodes(k))
            .map(|(id, node)| (id, Seen(node)))
    }

    /// The label of a plugin in Scope's list.
    pub fn plugin_label(&self, id: &str) -> Option<String> {
        self.merged
            .plugins()
            .find(|p| p.id == id)
            .map(|p| p.label.clone())
    }

    /// Exactly these plugins are listed, each with status `ok`.
    ///
    /// # Errors
    /// When one is missing, refused, or there are others.
    pub fn must_be_accepted(&self, ids: &[&str]) -> anyhow::Result<()> {
        let listed: BTreeMap<_, _> = self
            .merged
            .plugins()
            .map(|p| (p.id.as_str(), p.status.as_str()))
            .collect();
        let want: BTreeMap<_, _> = ids.iter().map(|id| (*id, "ok")).collect();
        ensure!(listed == want, "Scope lists {listed:?}, want {want:?}");
        Ok(())
    }

    /// No answer breaks a conformance rule.
    ///
    /// # Errors
    /// When one does, with all violations.
    pub fn must_conform(&self) -> anyhow::Result<()> {
        for (socket, exchange) in &self.answers {
            let status = exchange.status.as_deref().unwrap_or_default();
            let answer = Answer {
                status: status
                    .split(' ')
                    .next()
                    .and_then(|s| s.parse().ok())
                    .unwrap_or(0),
                ..Answer::ok(&exchange.body, exchange.took)
            };
            let socket = socket.display().to_string();
            let verdict = check_report(&socket, &answer);
            ensure!(verdict.conformant(), "{socket}: {:?}", verdict.violations());
        }
        Ok(())
    }

    /// The last sample of every metric: topology, node, metric, value.
    pub fn figures(&self) -> impl Iterator<Item = (Kind, &str, &str, f64)> {
        self.merged
            .report()
            .topologies()
            .flat_map(|(kind, topology)| {
                topology.nodes.iter().flat_map(move |(id, node)| {
                    node.metrics.iter().filter_map(move |(metric, m)| {
                        Some((kind, id.as_str(), metric.as_str(), m.samples.last()?.value))
                    })
                })
            })
    }

    /// The newest stamp of any sample.
    pub fn newest_sample(&self) -> Option<String> {
        self.newest().map(|stamp| stamp.to_string())
    }

    /// How old the newest sample is now.
    pub fn age(&self) -> Option<Duration> {
        self.newest().map(|stamp| Stamp::now().since(stamp))
    }

    fn newest(&self) -> Option<Stamp> {
        let pods = self.nodes("Pod");
        let samples = pods.flat_map(|(_, pod)| pod.0.metrics.values());
        samples.filter_map(|m| Some(m.samples.last()?.date)).max()
    }
}

/// A node as the merged report has it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a>(&'a Node);

impl<'a> Seen<'a> {
    /// The last sample of a metric.
    pub fn metric(&self, id: &str) -> Option<f64> {
        self.0.last_sample(id)
    }

    /// The last sample of a metric with its stamp.
    pub fn sample(&self, id: &str) -> Option<(String, f64)> {
        let sample = self.0.metrics.get(id)?.samples.last()?;
        Some((sample.date.to_string(), sample.value))
    }

    /// The last sample of a metric with its stamp in seconds since 1970.
    pub fn timed(&self, id: &str) -> Option<(f64, f64)> {
        let sample = self.0.metrics.get(id)?.samples.last()?;
        let at = SystemTime::from(sample.date).duration_since(UNIX_EPOCH);
        Some((at.ok()?.as_secs_f64(), sample.value))
    }

    /// A `latest` value.
    pub fn latest(&self, key: &str) -> Option<&'a str> {
        self.0.latest(key)
    }

    /// Parents of a topology, by its name (`replica_set`).
    pub fn parents(&self, topology: &str) -> BTreeSet<String> {
        self.0
            .parents
            .get(topology)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Whether this is among the parents.
    pub fn has_parent(&self, topology: &str, id: &str) -> bool {
        self.parents(topology).contains(id)
    }
}
