//! The product as a person installs it: the chart by Helm, a ScopePlugin by kubectl.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::progress::await_some;

/// The chart's value that allows every action there is.
pub const ALL_ACTIONS: &str = "actions.allowed={DeletePod,RestartContainer,FreezeContainer,ThawContainer,ShapeTraffic,\
     EvictPod,RestartRollout,ScaleUp,ScaleDown,PauseRollout,ResumeRollout,\
     SuspendCronJob,ResumeCronJob,TriggerCronJob,CordonNode,UncordonNode}";
/// The images that the cluster's nodes have.
pub const IMAGES: [&str; 4] = [
    "--set",
    "operator.image.repository=harness.local/scope-operator",
    "--set",
    "agent.image.repository=harness.local/scope-agent",
];
/// Release and chart name.
pub const RELEASE: &str = "scope-plugins";
/// Where the operator runs.
pub const SYSTEM: &str = "scope-system";
/// Where the agents run.
pub const PLUGINS: &str = "scope-plugins";

/// The product's files: chart, examples, CRDs.
#[derive(Debug, Clone)]
pub struct Product {
    root: PathBuf,
}

impl Product {
    /// The product in this source tree.
    pub fn in_tree() -> Self {
        Product {
            root: scope_chart::root(),
        }
    }

    /// A file of the source tree.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The text of a file of the source tree.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn text(&self, relative: &str) -> anyhow::Result<String> {
        let path = self.path(relative);
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    }

    /// The example's ScopePlugin, whose canary soaks for two seconds: with its own minute and a half most
    /// of the time of the tests would be waiting for canaries.
    ///
    /// # Errors
    /// When the example cannot be read.
    pub fn example(&self) -> anyhow::Result<String> {
        let text = self.text("examples/node-metrics.yaml")?;
        Ok(text + "  rollout: {canary: {soak: 2s}, minReady: 1s}\n")
    }

    /// `helm install` with images of the throw-away cluster; `extra` are further arguments.
    ///
    /// # Errors
    /// When Helm fails.
    pub fn install(&self, kubectl: &Kubectl, extra: &[&str]) -> anyhow::Result<()> {
        let mut args = IMAGES.to_vec();
        args.extend(["--set", ALL_ACTIONS]);
        args.extend(extra);
        self.install_with(kubectl, &args)
    }

    /// `helm install` with these arguments alone.
    ///
    /// # Errors
    /// When Helm fails.
    pub fn install_with(&self, kubectl: &Kubectl, values: &[&str]) -> anyhow::Result<()> {
        let chart = self.chart()?;
        let mut args = vec!["install", RELEASE, &chart, "--namespace", SYSTEM];
        args.push("--create-namespace");
        args.extend(values);
        kubectl.helm(&args).map(drop)
    }

    /// The chart's path.
    ///
    /// # Errors
    /// When it is no text.
    pub fn chart(&self) -> anyhow::Result<String> {
        let chart = self.path("charts/scope-plugins");
        Ok(chart
            .to_str()
            .context("the chart's path is text")?
            .to_owned())
    }

    /// What [`Self::install`] applies, hooks included, as Helm renders it.
    ///
    /// # Errors
    /// When Helm fails.
    pub fn render(&self, kubectl: &Kubectl) -> anyhow::Result<String> {
        let chart = self.chart()?;
        let mut args = vec!["template", RELEASE, &chart, "--namespace", SYSTEM];
        args.extend(IMAGES);
        args.extend(["--set", ALL_ACTIONS]);
        kubectl.helm(&args)
    }

    /// `helm upgrade` of what is installed, changed by these further arguments; waits until the
    /// operator's pods are the new ones.
    ///
    /// # Errors
    /// When Helm fails or a new pod does not get ready in time.
    pub fn upgrade(&self, kubectl: &Kubectl, changes: &[&str]) -> anyhow::Result<()> {
        let chart = self.chart()?;
        let mut args = vec![
            "upgrade",
            RELEASE,
            &chart,
            "--namespace",
            SYSTEM,
            "--reset-then-reuse-values",
        ];
        args.extend(changes);
        kubectl.helm(&args)?;
        kubectl
            .ok(&[
                "rollout",
                "status",
                "deployment/scope-operator",
                "-n",
                SYSTEM,
                "--timeout=120s",
            ])
            .map(drop)
    }

    /// `helm uninstall`, pre-delete hook included.
    ///
    /// # Errors
    /// When Helm fails.
    pub fn uninstall(&self, kubectl: &Kubectl) -> anyhow::Result<()> {
        kubectl
            .helm(&[
                "uninstall",
                RELEASE,
                "--namespace",
                SYSTEM,
                "--wait",
                "--timeout",
                "3m",
            ])
            .map(drop)
    }
}

/// Waits until both operator pods are ready.
///
/// # Errors
/// When they are not in time.
pub fn await_operator(kubectl: &Kubectl, deadline: Duration) -> anyhow::Result<()> {
    await_some("two ready operator pods", deadline, || {
        operator_ready(kubectl)
    })
}

/// Whether both operator pods are ready now.
///
/// # Errors
/// When kubectl fails.
pub fn operator_ready(kubectl: &Kubectl) -> anyhow::Result<Result<(), String>> {
    let deployment = kubectl.json(&["get", "deployment", "scope-operator", "-n", SYSTEM])?;
    let ready = deployment["status"]["readyReplicas"].as_i64().unwrap_or(0);
    Ok(if ready == 2 {
        Ok(())
    } else {
        Err(format!("{ready} ready"))
    })
}

/// Whether a ScopePlugin is ready as it is now; otherwise its own words.
///
/// # Errors
/// When kubectl fails.
pub fn plugin_ready(kubectl: &Kubectl, plugin: &str) -> anyhow::Result<Result<(), String>> {
    let object = kubectl.json(&["get", "scopeplugin", plugin])?;
    let Some(ready) = condition(&object, "Ready") else {
        return Ok(Err("the operator has not looked at it yet".to_owned()));
    };
    let seen = ready["observedGeneration"] == object["metadata"]["generation"];
    Ok(if seen && ready["status"] == "True" {
        Ok(())
    } else {
        Err(ready["message"].as_str().unwrap_or_default().to_owned())
    })
}

/// `kubectl wait --for=condition=Ready` of a ScopePlugin.
///
/// # Errors
/// When it does not become ready; with its conditions.
pub fn await_ready(kubectl: &Kubectl, plugin: &str, deadline: Duration) -> anyhow::Result<()> {
    let timeout = format!("--timeout={}s", deadline.as_secs());
    let object = format!("scopeplugin/{plugin}");
    kubectl
        .ok(&["wait", "--for=condition=Ready", &object, &timeout])
        .map(drop)
        .or_else(|error| {
            let object = kubectl.json(&["get", "scopeplugin", plugin])?;
            Err(error.context(format!("status of {plugin}: {}", object["status"])))
        })
}

/// A condition of a ScopePlugin.
pub fn condition<'a>(plugin: &'a Value, kind: &str) -> Option<&'a Value> {
    plugin["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|c| c["type"] == kind)
}

/// An answer as a person reads it: JSON in one line, with no more escapes than it needs. Anything
/// else as it is, but for what a terminal would obey.
pub fn legible(answer: &str) -> String {
    match serde_json::from_str::<Value>(answer) {
        Ok(value) => value.to_string(),
        Err(_) => answer
            .trim()
            .chars()
            .map(|c| match c.is_control() {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            })
            .collect(),
    }
}

/// The agents' pods of a plugin that are not being deleted: (pod name, node, UID).
///
/// # Errors
/// When kubectl fails.
pub fn agent_pods(
    kubectl: &Kubectl,
    plugin: &str,
) -> anyhow::Result<Vec<(String, String, String)>> {
    let selector =
        format!("app.kubernetes.io/name=scope-agent,app.kubernetes.io/instance={plugin}");
    let list = kubectl.json(&["get", "pods", "-n", PLUGINS, "-l", &selector])?;
    Ok(list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|p| p["metadata"]["deletionTimestamp"].is_null())
        .map(|p| {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            (
                text(&p["metadata"]["name"]),
                text(&p["spec"]["nodeName"]),
                text(&p["metadata"]["uid"]),
            )
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_legible() {
        for (answer, read) in [
            (
                "{\"removedNode\": \"a1;\\u003cpod\\u003e\"}\n",
                r#"{"removedNode":"a1;<pod>"}"#,
            ),
            ("{}", "{}"),
            ("{\"error\":\"\\u001b[31m\"}", "{\"error\":\"\\u001b[31m\"}"),
            ("it's not found\n", "it's not found"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
        ] {
            assert_eq!(legible(answer), read);
        }
    }
}
