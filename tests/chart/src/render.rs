//! The chart as real Helm, 3 and 4, renders it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use serde_json::Value as Json;
use throwaway_cluster::{Progress, tools};

use crate::{CHART, root};

/// The release as documented.
pub const RELEASE: &str = "scope-plugins";
/// Its namespace.
pub const NAMESPACE: &str = "scope-system";
/// Helm asks no cluster here, and takes its own idea of a version otherwise.
const KUBE_VERSION: &str = "1.33.0";

/// Every setting that adds something to an object, as `--set-json` wants it.
pub const ALL_ON: &[&str] = &[
    "extraLabels={\"team\":\"maps\",\"app.kubernetes.io/name\":\"ours-wins\"}",
    "actions.allowed=[\"DeletePod\",\"RestartContainer\",\"FreezeContainer\",\"ThawContainer\",\"ShapeTraffic\",\"EvictPod\",\"RestartRollout\",\"ScaleUp\",\"ScaleDown\",\"PauseRollout\",\"ResumeRollout\",\"SuspendCronJob\",\"ResumeCronJob\",\"TriggerCronJob\",\"CordonNode\",\"UncordonNode\"]",
    "agent.image.pullSecrets=[{\"name\":\"agents-registry\"}]",
    "operator.image.pullSecrets=[{\"name\":\"operator-registry\"}]",
    "operator.nodeSelector={\"pool\":\"system\"}",
    "operator.tolerations=[{\"key\":\"pool\",\"operator\":\"Exists\",\"effect\":\"NoSchedule\"}]",
    "operator.affinity={\"nodeAffinity\":{}}",
    "operator.topologySpreadConstraints=[{\"topologyKey\":\"rack\",\"maxSkew\":1,\"whenUnsatisfiable\":\"DoNotSchedule\"}]",
    "operator.podAnnotations={\"a\":\"b\"}",
    "operator.podLabels={\"tier\":\"control\"}",
    "operator.priorityClassName=\"system-cluster-critical\"",
    "totals.nodeSelector={\"pool\":\"system\"}",
    "totals.tolerations=[{\"key\":\"pool\",\"operator\":\"Exists\",\"effect\":\"NoSchedule\"}]",
    "totals.affinity={\"nodeAffinity\":{}}",
    "totals.topologySpreadConstraints=[{\"topologyKey\":\"rack\",\"maxSkew\":1,\"whenUnsatisfiable\":\"DoNotSchedule\"}]",
    "totals.podAnnotations={\"a\":\"b\"}",
    "totals.podLabels={\"tier\":\"control\"}",
    "totals.priorityClassName=\"system-cluster-critical\"",
    "monitoring.podMonitor={\"enabled\":true,\"labels\":{\"release\":\"prometheus\"}}",
    "monitoring.prometheusRule={\"enabled\":true,\"labels\":{\"release\":\"prometheus\"},\"alertLabels\":{\"team\":\"maps\",\"severity\":\"ours-wins\"}}",
    "monitoring.dashboard={\"enabled\":true,\"annotations\":{\"grafana_folder\":\"Scope\"}}",
    "networkPolicy.operator.enabled=true",
    "networkPolicy.agents.enabled=true",
    "networkPolicy.totals.enabled=true",
    "networkPolicy.metricsFrom=[{\"namespaceSelector\":{\"matchLabels\":{\"kubernetes.io/metadata.name\":\"monitoring\"}}}]",
];

/// A Helm.
#[derive(Debug)]
pub struct Helm {
    /// `3` or `4`.
    pub major: u8,
    program: PathBuf,
}

impl Helm {
    /// Both, built first where that was not done yet.
    ///
    /// # Errors
    /// When there is no Go to build them.
    pub fn both() -> anyhow::Result<[Helm; 2]> {
        let [three, four] = tools::helms(&Progress::to_stderr())?;
        Ok([(3, three), (4, four)].map(|(major, program)| Helm { major, program }))
    }

    /// Runs it without any cluster or settings of this user.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        Command::new(&self.program)
            .args(args)
            .env("KUBECONFIG", "/dev/null")
            .env("HELM_CONFIG_HOME", "/nonexistent")
            .output()
            .with_context(|| format!("{} could not be started", self.program.display()))
    }

    /// `helm lint --strict` with these settings.
    ///
    /// # Errors
    /// With its words when it objects.
    pub fn lint(&self, set: &[&str]) -> anyhow::Result<()> {
        let chart = root().join(CHART).display().to_string();
        let mut args = vec!["lint", "--strict", "--kube-version", KUBE_VERSION, &chart];
        args.extend(set.iter().flat_map(|s| ["--set-json", s]));
        let output = self.run(&args)?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(())
    }

    /// What `helm template` prints with these settings (`name=JSON`), hooks included.
    ///
    /// # Errors
    /// With its words when it refuses them.
    pub fn template(&self, set: &[&str]) -> anyhow::Result<String> {
        let chart = root().join(CHART).display().to_string();
        let mut args = vec!["template", RELEASE, &chart, "--namespace", NAMESPACE];
        args.extend(["--kube-version", KUBE_VERSION]);
        args.extend(set.iter().flat_map(|s| ["--set-json", s]));
        let output = self.run(&args)?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The objects of that.
    ///
    /// # Errors
    /// When Helm refuses, or prints what is no YAML.
    pub fn objects(&self, set: &[&str]) -> anyhow::Result<Objects> {
        Objects::of(&self.template(set)?)
    }
}

fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    both.join("\n").trim().to_owned()
}

/// Rendered objects.
#[derive(Debug, PartialEq)]
pub struct Objects(pub Vec<Json>);

impl Objects {
    /// Reads a stream of documents.
    ///
    /// # Errors
    /// When one is no YAML or no object.
    pub fn of(yaml: &str) -> anyhow::Result<Self> {
        let all: Vec<Json> = serde_saphyr::from_multiple(yaml)?;
        let all: Vec<_> = all.into_iter().filter(|object| !object.is_null()).collect();
        for object in &all {
            ensure!(object["kind"].is_string(), "no object: {object}");
        }
        Ok(Objects(all))
    }

    /// Which there are: `Kind namespace/name`, each once.
    ///
    /// # Errors
    /// When one is there twice.
    pub fn names(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for object in &self.0 {
            let name = name(object);
            ensure!(names.insert(name.clone()), "{name} is there twice");
        }
        Ok(names)
    }

    /// The object of this kind and name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, kind: &str, name: &str) -> anyhow::Result<&Json> {
        self.0
            .iter()
            .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
            .with_context(|| format!("there is no {kind} {name}"))
    }

    /// The specs of all pods, with whose they are.
    pub fn pods(&self) -> Vec<(String, &Json)> {
        self.0
            .iter()
            .filter_map(|object| match object["kind"].as_str()? {
                "Pod" => Some((name(object), &object["spec"])),
                "Deployment" | "Job" | "DaemonSet" | "StatefulSet" => {
                    Some((name(object), &object["spec"]["template"]["spec"]))
                }
                _ => None,
            })
            .collect()
    }
}

fn name(object: &Json) -> String {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    match metadata["namespace"].as_str() {
        Some(namespace) => format!(
            "{} {namespace}/{}",
            text(&object["kind"]),
            text(&metadata["name"])
        ),
        None => format!("{} {}", text(&object["kind"]), text(&metadata["name"])),
    }
}
