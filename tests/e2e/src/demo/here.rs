//! The demo on a cluster that is somebody's: it says what it will do, does it, and takes away what it
//! made and nothing else.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

use crate::heard::Heard;
use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, Product, RELEASE, SYSTEM};
use crate::progress::{Step, await_some, step};

use super::asking::{self, Asker, PROBES};
use super::image::{ImageName, pull_failure};
use super::target::{self, CRDS, NAMESPACES, Target};
use super::{BUSYBOX, Place, Told, WORKLOAD, is_refusal};

/// Images come over a network, and a registry may be slow.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at whether the nodes get their images.
const LOOK: Duration = Duration::from_secs(2);
/// For namespaces and definitions to be gone, whose objects go first.
const REMOVAL: &str = "--timeout=180s";
/// The sockets of the plugin, where the pods that ask have them.
const REPORTER: &str = "/var/run/scope/plugins/node-metrics/node-metrics.sock";
const CONTROLS: &str = "/var/run/scope/plugins/node-metrics/node-metrics-controls.sock";

/// What a user may decide.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The operator's image; the chart's default without.
    pub operator_image: Option<ImageName>,
    /// The agent's image; the chart's default without.
    pub agent_image: Option<ImageName>,
    /// What does for the workload's busybox.
    pub workload_image: Option<ImageName>,
    /// Leave all that is made.
    pub keep: bool,
}

/// Somebody told the demo to end.
#[derive(Debug, Clone, Copy)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Whether somebody did.
pub type IsInterrupted = Box<dyn Fn() -> bool>;

/// A cluster on which the demo may work: reachable, new enough, with nothing in its way.
pub struct Here {
    kubectl: Kubectl,
    product: Product,
    settings: Settings,
    target: Target,
    version: String,
    nodes: usize,
    is_interrupted: IsInterrupted,
    asker: Asker,
    made: Made,
    looked: Cell<Option<Instant>>,
}

/// What there is because of the demo. Each is written down before it is made.
#[derive(Debug, Default)]
struct Made {
    namespaces: Vec<&'static str>,
    /// The chart's release, and with it the definitions and the agents' namespace.
    release: bool,
    /// Whether the operator's image ran, which the chart's own cleaning up needs.
    operator_ran: bool,
}

impl Here {
    /// Looks at the cluster of this kubectl; changes nothing.
    ///
    /// # Errors
    /// When the demo cannot or should not work on it, with what to do.
    pub fn look(kubectl: &Kubectl, settings: Settings) -> anyhow::Result<Here> {
        let target = Target::of(kubectl)?;
        let kubectl = Kubectl {
            context: Some(target.context.clone()),
            shielded: true,
            ..kubectl.clone()
        };
        let product = Product::in_tree();
        let chart = product.text("charts/scope-plugins/Chart.yaml")?;
        let version = target::supported_version(&kubectl, &chart)?;
        kubectl
            .helm(&["version", "--short"])
            .context("the demo needs Helm 3 or 4")?;
        let there = target::already_there(&kubectl)?;
        ensure!(
            there.is_empty(),
            "the cluster of context {} has already {}. The demo would change or remove them, so it does nothing. If an earlier demo left them, this removes them, with all ScopePlugins:\n{}Otherwise use another cluster",
            target.context,
            there.join(", "),
            target::removal(&target.context)
        );
        let nodes = target::linux_nodes(&kubectl)?;
        target::must_be_allowed(&kubectl)?;
        Ok(Here {
            kubectl,
            product,
            settings,
            target,
            version,
            nodes,
            is_interrupted: Box::new(|| false),
            asker: Asker::default(),
            made: Made::default(),
            looked: Cell::new(None),
        })
    }

    /// What the demo will work on and make, for a person to agree to.
    pub fn plan(&self) -> String {
        let image = |name: &Option<ImageName>, default: &str| {
            name.as_ref().map_or(
                format!("{default}, the chart's default"),
                ImageName::to_string,
            )
        };
        let Target {
            context,
            cluster,
            server,
            user,
        } = &self.target;
        let end = match self.settings.keep {
            true => "It creates, and leaves there:",
            false => "It creates, and removes at the end, whatever happens:",
        };
        format!(
            "The demo works on\n  \
               context   {context} (user {user})\n  \
               cluster   {cluster}\n  \
               server    {server}, Kubernetes {}, Linux nodes: {}\n\
             {end}\n  \
               namespace {SYSTEM}: the operator, two pods, as Helm release {RELEASE}\n    \
                 image {}\n  \
               namespace {PLUGINS}: an agent on each Linux node, as root, which sees all processes of its node\n    \
                 image {}\n  \
               namespace {WORKLOAD}: examples/workload.yaml, one of whose pods it deletes by a click\n    \
                 image {}\n  \
               namespace {PROBES}: pods that ask the agents as Scope's probe does\n  \
               for the whole cluster: the definitions {}, roles and admission policies of the chart\n\
             What stays on the nodes are images, and until the next boot the empty directory /var/run/scope/plugins.\n",
            self.version,
            self.nodes,
            image(&self.settings.operator_image, "scope-operator"),
            image(&self.settings.agent_image, "scope-agent"),
            self.workload_image(),
            CRDS.join(" and "),
        )
    }

    /// The commands that remove what the demo makes.
    pub fn removal(&self) -> String {
        target::removal(&self.target.context)
    }

    /// Shows the main job, and removes what that made, whatever came of it.
    ///
    /// # Errors
    /// When it does not work, or something cannot be removed.
    pub fn run(mut self, is_interrupted: IsInterrupted) -> anyhow::Result<()> {
        self.is_interrupted = is_interrupted;
        // Even a fault of the demo leaves nothing behind.
        let shown = catch_unwind(AssertUnwindSafe(|| {
            self.make_namespace(PROBES, &asking::namespace())?;
            super::show(&mut self)
        }))
        .unwrap_or_else(|_| Err(anyhow!("the demo itself broke down: see above")));
        if self.settings.keep {
            let said = format!(
                "\nAll of it stays, as you said --keep. Remove it by\n{}",
                self.removal()
            );
            return shown.and(super::say(&said));
        }
        let removed = step("remove what the demo made", |step| self.remove(step));
        match (shown, removed) {
            (shown, Ok(())) => shown,
            (Ok(()), Err(removed)) => Err(removed),
            (Err(shown), Err(removed)) => Err(shown.context(format!("{removed:#}\nbefore that"))),
        }
    }

    /// Creates a namespace, which must not be there.
    fn make_namespace(&mut self, name: &'static str, manifest: &str) -> anyhow::Result<()> {
        let output = self.kubectl.pipe(&["create", "-f", "-"], manifest)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "the namespace {name} cannot be created: {}",
            said.trim()
        );
        self.made.namespaces.push(name);
        // Without it no pod is admitted.
        await_some("the namespace's account", Duration::from_secs(60), || {
            self.go_on()?;
            let there = self
                .kubectl
                .exists(&["serviceaccount", "default", "-n", name])?;
            Ok(there.then_some(()).ok_or_else(|| "none yet".to_owned()))
        })
    }

    /// Removes what was made. Each part is tried, whatever comes of the others.
    fn remove(&self, step: &Step) -> anyhow::Result<()> {
        let mut failed = Vec::new();
        let mut attempt = |what: &str, result: anyhow::Result<()>| {
            if let Err(error) = result {
                failed.push(format!("{what}: {error:#}"));
            }
        };
        let delete = |args: &[&str]| {
            let words = [&["delete", "--ignore-not-found"], args].concat();
            self.kubectl.ok(&words).map(drop)
        };
        // Begun first, since pods take their time to end; but for the one with Helm's record.
        for namespace in self.made.namespaces.iter().filter(|n| **n != SYSTEM) {
            attempt(namespace, delete(&["namespace", namespace, "--wait=false"]));
        }
        if self.made.release {
            step.note("the chart's release");
            attempt("helm uninstall", self.uninstall());
            step.note("definitions");
            attempt("the definitions", self.await_storage());
            let words = [&["crd"], CRDS.as_slice(), &[REMOVAL]].concat();
            attempt("the definitions", delete(&words));
        }
        for namespace in &self.made.namespaces {
            step.note(&format!("namespace {namespace}"));
            attempt(namespace, delete(&["namespace", namespace, REMOVAL]));
        }
        step.note("is anything left?");
        let left = self.left();
        let left = left.unwrap_or_else(|error| vec![format!("unknown ({error:#})")]);
        if failed.is_empty() && left.is_empty() {
            return Ok(());
        }
        bail!(
            "not all could be removed; left: {}. {}\nRemove it by\n{}",
            left.join(", "),
            failed.join(". "),
            self.removal()
        )
    }

    /// Waits until the objects of the definitions can be listed. The API server makes their storage at the
    /// first request. When that is its own, on behalf of a deletion, as where no operator ran, it fails with
    /// "storage is (re)initializing", and is tried again only after minutes.
    fn await_storage(&self) -> anyhow::Result<()> {
        for crd in CRDS {
            if !self.kubectl.exists(&["crd", crd])? {
                continue;
            }
            await_some(crd, Duration::from_secs(60), || {
                let output = self.kubectl.run(&["get", crd, "--all-namespaces"])?;
                let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Ok(output.status.success().then_some(()).ok_or_else(said))
            })?;
        }
        Ok(())
    }

    /// `helm uninstall`. The chart's own cleaning up is a pod of the operator's image: where that does
    /// not run there are no agents either, and it is left out.
    fn uninstall(&self) -> anyhow::Result<()> {
        let base = [
            "uninstall",
            RELEASE,
            "--namespace",
            SYSTEM,
            "--ignore-not-found",
            "--wait",
            "--timeout=3m",
        ];
        let without = [&base[..], &["--no-hooks"]].concat();
        let whole = match self.made.operator_ran {
            true => self.kubectl.helm(&base),
            false => self.kubectl.helm(&without),
        };
        match whole {
            Ok(_) => Ok(()),
            Err(first) => {
                let again = self.kubectl.helm(&without);
                again.map(drop).map_err(|second| second.context(first))
            }
        }
    }

    /// What of the demo is still there.
    fn left(&self) -> anyhow::Result<Vec<String>> {
        let mut left = Vec::new();
        for namespace in NAMESPACES {
            let releases = self.made.release && namespace == PLUGINS;
            if !releases && !self.made.namespaces.contains(&namespace) {
                continue;
            }
            if self.kubectl.exists(&["namespace", namespace])? {
                left.push(format!("namespace/{namespace}"));
            }
        }
        if self.made.release {
            let selector = format!("app.kubernetes.io/instance={RELEASE}");
            let kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,customresourcedefinitions";
            let names = self
                .kubectl
                .ok(&["get", kinds, "-o", "name", "-l", &selector])?;
            left.extend(names.lines().map(str::to_owned));
        }
        Ok(left)
    }

    /// Refuses to wait for images that do not come.
    fn must_pull(&self) -> anyhow::Result<()> {
        for namespace in NAMESPACES {
            let pods = self.kubectl.json(&["get", "pods", "-n", namespace])?;
            if let Some(failure) = pull_failure(&pods) {
                let option = match namespace {
                    SYSTEM => "--operator-image",
                    WORKLOAD => "--workload-image",
                    _ => "--agent-image",
                };
                bail!(
                    "{failure}. Push the image where the nodes find it without a password, and name it by {option}"
                );
            }
        }
        Ok(())
    }

    fn ask(&mut self, nodes: &[String], arguments: &[&str]) -> anyhow::Result<Vec<asking::Reply>> {
        let image = asking::image(&self.kubectl, PLUGINS)?;
        let mut asker = std::mem::take(&mut self.asker);
        let replies = asker.ask(&self.kubectl, &image, nodes, arguments, &|| self.go_on());
        self.asker = asker;
        replies
    }
}

impl Place for Here {
    fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    fn product(&self) -> &Product {
        &self.product
    }

    fn install(&mut self) -> anyhow::Result<()> {
        let manifest = namespace_manifest(SYSTEM);
        self.make_namespace(SYSTEM, &manifest)?;
        let mut images = Vec::new();
        for (part, name) in [
            ("operator", &self.settings.operator_image),
            ("agent", &self.settings.agent_image),
        ] {
            images.extend(name.iter().flat_map(|name| name.values(part)));
        }
        // Strings: a tag may look like a number.
        let images = images
            .iter()
            .flat_map(|value| ["--set-string", value.as_str()]);
        let words: Vec<&str> = ["--set", "actions.allowed={DeletePod}"]
            .into_iter()
            .chain(images)
            .collect();
        self.made.release = true;
        self.product.install_with(&self.kubectl, &words)
    }

    fn start_workload(&mut self, manifest: &str) -> anyhow::Result<()> {
        self.made.operator_ran = true;
        let namespace = manifest
            .split("\n---")
            .next()
            .context("the workload begins with its namespace")?;
        self.make_namespace(WORKLOAD, namespace)?;
        self.kubectl.apply(manifest)
    }

    fn workload_image(&self) -> String {
        let image = self.settings.workload_image.as_ref();
        image.map_or_else(|| BUSYBOX.to_owned(), ImageName::to_string)
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn go_on(&self) -> anyhow::Result<()> {
        if (self.is_interrupted)() {
            return Err(Interrupted.into());
        }
        if self.looked.get().is_none_or(|at| at.elapsed() > LOOK) {
            self.must_pull()?;
            self.looked.set(Some(Instant::now()));
        }
        Ok(())
    }

    fn hear(&mut self, nodes: &[String]) -> anyhow::Result<Vec<Heard>> {
        let report = [
            "report",
            "--output=json",
            "--log-level=off",
            "--socket",
            REPORTER,
        ];
        let replies = self.ask(nodes, &report)?;
        let heard = nodes.iter().zip(replies).map(|(node, reply)| {
            ensure!(
                reply.well,
                "the agent on {node} gave no report: {}",
                reply.text.trim()
            );
            Heard::of_report(reply.text.trim().as_bytes())
        });
        heard.collect()
    }

    fn delete_pod(&mut self, node: &str, node_id: &str) -> anyhow::Result<Told> {
        let click = ["click", "--log-level=off", CONTROLS, "deletePod", node_id];
        let replies = self.ask(&[node.to_owned()], &click)?;
        let reply = replies.first().context("one node gives one reply")?;
        clicked(reply.well, &reply.text)
            .with_context(|| format!("the click did not reach the agent on {node}"))
    }
}

/// Reads what `scope-agent click` prints: a line with status and time, then the answer.
fn clicked(well: bool, printed: &str) -> anyhow::Result<Told> {
    let took = printed.split_once('\n').and_then(|(head, body)| {
        let (_, time) = head.rsplit_once(" after ")?;
        let millis = time.strip_suffix(" ms")?.parse().ok()?;
        Some((Duration::from_millis(millis), body))
    });
    let (took, body) = took.with_context(|| printed.trim().to_owned())?;
    Ok(Told {
        refused: !well && is_refusal(body),
        body: body.trim().to_owned(),
        took,
    })
}

fn namespace_manifest(name: &str) -> String {
    let manifest: Value = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
    });
    manifest.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::PLUGIN;
    use super::*;

    #[test]
    fn the_sockets_are_the_plugins() {
        assert!(REPORTER.ends_with(&format!("/{PLUGIN}/{PLUGIN}.sock")));
        assert!(CONTROLS.ends_with(&format!("/{PLUGIN}/{PLUGIN}-controls.sock")));
    }

    #[test]
    fn a_click_is_read() {
        let told = clicked(
            true,
            "/a.sock: 200 OK after 12 ms\n{\"removedNode\":\"a\"}\n",
        );
        let told = told.expect("an answer");
        assert_eq!((told.refused, told.took.as_millis()), (false, 12));
        assert_eq!(told.body, "{\"removedNode\":\"a\"}");
        let pending = clicked(
            false,
            "/a.sock: 200 OK after 406 ms\n{\"error\":\"pending: see it\",\"value\":{\"phase\":\"Pending\"}}\n",
        );
        assert!(!pending.expect("an answer").refused);
        for no in [
            "{\"error\":\"no\",\"value\":{\"phase\":\"Refused\"}}",
            "{\"error\":\"no\"}",
            "not found",
        ] {
            let told = clicked(false, &format!("/a.sock: 200 OK after 9 ms\n{no}\n"));
            assert!(told.expect("an answer").refused, "{no}");
        }
        let error = clicked(false, "scope-agent: /a.sock does not exist\n").expect_err("none");
        assert!(error.to_string().contains("does not exist"), "{error}");
    }

    #[test]
    fn the_workload_begins_with_its_namespace() {
        let text = Product::in_tree()
            .text("examples/workload.yaml")
            .expect("the example");
        let first = text.split("\n---").next().expect("a document");
        assert!(first.contains("kind: Namespace\n") && first.contains("name: demo\n"));
        assert!(text.contains(BUSYBOX));
    }
}
