//! Whose cluster it is, and whether the demo may and can work on it.

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, RELEASE, SYSTEM};

use super::WORKLOAD;
use super::asking::PROBES;

/// The definitions that the chart brings.
pub(super) const CRDS: [&str; 2] = [
    "scopeplugins.scopeplugins.dev",
    "scopeactions.scopeplugins.dev",
];
/// The namespaces of the demo.
pub(super) const NAMESPACES: [&str; 4] = [SYSTEM, PLUGINS, WORKLOAD, PROBES];
/// What a user must be allowed to create.
const NEEDED: [&str; 5] = [
    "namespaces",
    "customresourcedefinitions.apiextensions.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "daemonsets.apps",
];

/// A cluster as its user knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) context: String,
    pub(super) cluster: String,
    pub(super) server: String,
    pub(super) user: String,
}

impl Target {
    /// The one of the current context, or of the one that this kubectl is bound to.
    pub(super) fn of(kubectl: &Kubectl) -> anyhow::Result<Target> {
        let config = kubectl.json(&["config", "view", "--minify"]).context(
            "there is no cluster to work on: set KUBECONFIG, or choose a context with `kubectl config use-context`",
        )?;
        Target::read(&config)
    }

    /// Reads what `kubectl config view --minify` prints.
    fn read(config: &Value) -> anyhow::Result<Target> {
        let text = |pointer: &str| {
            let found = config.pointer(pointer).and_then(Value::as_str);
            let plain: String = found
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            plain
        };
        let target = Target {
            context: text("/current-context"),
            cluster: text("/contexts/0/context/cluster"),
            server: text("/clusters/0/cluster/server"),
            user: text("/contexts/0/context/user"),
        };
        ensure!(
            !target.context.is_empty() && !target.server.is_empty(),
            "there is no cluster to work on: the kubeconfig has no current context with a server. Set KUBECONFIG, or choose one with `kubectl config use-context`"
        );
        Ok(target)
    }
}

/// The server's version, if the chart supports it.
pub(super) fn supported_version(kubectl: &Kubectl, chart: &str) -> anyhow::Result<String> {
    let version = kubectl
        .json(&["version"])
        .context("the cluster does not say which version it has")?;
    let version = version["serverVersion"]["gitVersion"]
        .as_str()
        .context("the cluster does not say which version it has")?;
    must_support(chart, version)?;
    Ok(version.to_owned())
}

/// Refuses a server's version that is below the `kubeVersion` of this Chart.yaml.
fn must_support(chart: &str, version: &str) -> anyhow::Result<()> {
    let wanted = chart
        .lines()
        .find_map(|line| line.strip_prefix("kubeVersion:"))
        .map(|rest| rest.trim().trim_matches('"'))
        .context("Chart.yaml has a kubeVersion")?;
    let least = wanted
        .strip_prefix(">=")
        .and_then(numbers)
        .with_context(|| format!("the chart's kubeVersion {wanted} is no lower bound"))?;
    let have = numbers(version)
        .with_context(|| format!("the cluster's version {version:?} is none of Kubernetes"))?;
    ensure!(
        have >= least,
        "the cluster runs Kubernetes {version}, and the chart needs {}.{} or newer",
        least.0,
        least.1
    );
    Ok(())
}

/// Major, minor and patch of `v1.33.1-eks-12`.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let plain = version.trim().trim_start_matches('v');
    let plain = plain.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(str::parse);
    let mut next = || parts.next()?.ok();
    Some((next()?, next()?, next()?))
}

/// How many Linux nodes there are.
pub(super) fn linux_nodes(kubectl: &Kubectl) -> anyhow::Result<usize> {
    let names = kubectl.ok(&["get", "nodes", "-l", "kubernetes.io/os=linux", "-o", "name"])?;
    match names.lines().count() {
        0 => bail!("the cluster has no Linux node"),
        nodes => Ok(nodes),
    }
}

/// Refuses a user who may not create what the demo creates, before half of it is there.
pub(super) fn must_be_allowed(kubectl: &Kubectl) -> anyhow::Result<()> {
    let mut lacking = Vec::new();
    for resource in NEEDED {
        let output = kubectl.run(&["auth", "can-i", "create", resource, "--all-namespaces"])?;
        if !output.status.success() {
            lacking.push(resource);
        }
    }
    ensure!(
        lacking.is_empty(),
        "this user may not create {}: the demo needs an administrator of the cluster",
        lacking.join(", ")
    );
    Ok(())
}

/// What is there of an installation of ours, and of what the demo would create.
pub(super) fn already_there(kubectl: &Kubectl) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let role = kubectl.ok(&[
        "get",
        "clusterrole",
        "scope-operator",
        "--ignore-not-found",
        "-o",
        "json",
    ])?;
    if !role.trim().is_empty() {
        found.push(installation(&serde_json::from_str(&role)?));
    }
    for crd in CRDS {
        if kubectl.exists(&["crd", crd])? {
            found.push(format!("the definition {crd}"));
        }
    }
    for namespace in NAMESPACES {
        if kubectl.exists(&["namespace", namespace])? {
            found.push(format!("the namespace {namespace}"));
        }
    }
    Ok(found)
}

/// An installation by its ClusterRole, which says where it is.
fn installation(role: &Value) -> String {
    let annotations = &role["metadata"]["annotations"];
    let release = annotations["meta.helm.sh/release-name"]
        .as_str()
        .unwrap_or(RELEASE);
    let namespace = annotations["scopeplugins.dev/installed-in"]
        .as_str()
        .or_else(|| annotations["meta.helm.sh/release-namespace"].as_str());
    match namespace {
        Some(namespace) => {
            format!("an installation of scope-plugins (release {release}, namespace {namespace})")
        }
        None => "an installation of scope-plugins (its ClusterRole scope-operator)".to_owned(),
    }
}

/// The commands that remove what the demo makes, for this context.
pub(super) fn removal(context: &str) -> String {
    let context = quoted(context);
    format!(
        "  helm --kube-context {context} uninstall {RELEASE} --namespace {SYSTEM} --wait\n  \
           kubectl --context {context} delete crd {}\n  \
           kubectl --context {context} delete namespace {WORKLOAD} {PROBES} {SYSTEM}\n",
        CRDS.join(" ")
    )
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&b);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CHART: &str = "name: x\nkubeVersion: \">=1.33.0-0\"\n";

    #[test]
    fn versions_are_held_against_the_chart() {
        for version in ["v1.33.0", "v1.33.1-eks-1234567", "v1.34.2+k3s1", "v2.0.0"] {
            must_support(CHART, version).expect(version);
        }
        let said = must_support(CHART, "v1.32.9-gke.1").expect_err("too old");
        assert_eq!(
            said.to_string(),
            "the cluster runs Kubernetes v1.32.9-gke.1, and the chart needs 1.33 or newer"
        );
        must_support(CHART, "banana").expect_err("no version");
    }

    #[test]
    fn the_charts_own_bound_is_understood() {
        let chart = include_str!("../../../../charts/scope-plugins/Chart.yaml");
        must_support(chart, "v1.33.0").expect("the least that the README names");
        must_support(chart, "v1.32.0").expect_err("below it");
    }

    #[test]
    fn a_target_is_named_or_refused() {
        let config = json!({
            "current-context": "c\u{1b}[31m",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://10.0.0.1:6443"}}],
        });
        let target = Target::read(&config).expect("a target");
        assert_eq!(target.server, "https://10.0.0.1:6443");
        assert_eq!((target.cluster.as_str(), target.user.as_str()), ("k", "u"));
        assert_eq!(target.context, "c[31m");
        let said = Target::read(&json!({"current-context": ""})).expect_err("none");
        assert!(said.to_string().contains("Set KUBECONFIG"), "{said}");
    }

    #[test]
    fn an_installation_says_where_it_is() {
        let role = json!({"metadata": {"annotations": {
            "meta.helm.sh/release-name": "r", "scopeplugins.dev/installed-in": "n"}}});
        assert!(installation(&role).contains("release r, namespace n"));
        assert!(installation(&json!({})).contains("ClusterRole"));
    }

    #[test]
    fn contexts_are_words_of_a_shell() {
        for (context, word) in [
            ("arn:aws:eks:eu:1:cluster/x", "arn:aws:eks:eu:1:cluster/x"),
            ("it's; mine", r"'it'\''s; mine'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(context), word);
        }
        assert!(
            removal("k").contains("kubectl --context k delete crd scopeplugins.scopeplugins.dev")
        );
    }
}
