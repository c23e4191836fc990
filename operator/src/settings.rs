//! What an installation decides, checked as a whole before anything is opened.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use scope_crds::{Control, UnknownControl};
use scope_process::cli::{is_dns_label, is_dns_subdomain};

/// What an installation decides about all plugins.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where the agents run.
    pub(crate) plugins_namespace: String,
    /// Where the operator runs.
    pub(crate) own_namespace: String,
    /// What the agents run.
    pub(crate) image: AgentImage,
    /// The probe's plugin directory on every node, without a slash at the end.
    pub(crate) plugin_directory: String,
    /// The kubelet's directory on every node, without a slash at the end.
    pub(crate) kubelet_directory: String,
    /// Where agents report for totals; without it they do not, and nobody is asked how they are.
    pub(crate) totals: Option<Totals>,
    /// What people may have done by a click, whatever a plugin offers.
    pub(crate) allowed_actions: BTreeSet<Control>,
}

/// Where the nodes find the agent.
#[derive(Clone, Debug)]
pub(crate) struct AgentImage {
    pub(crate) name: String,
    pub(crate) pull_policy: String,
    pub(crate) pull_secrets: Vec<String>,
}

/// How scope-totals is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// The ConfigMap of the plugins' namespace that says where it is and whom to trust there.
    pub(crate) config_map: String,
    /// The file with the operator's own token for it.
    pub(crate) token_file: PathBuf,
}

/// One process of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) settings: Settings,
    pub(crate) pod_name: String,
    pub(crate) lease_name: String,
    pub(crate) http_listen: SocketAddr,
}

/// A setting that cannot work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SettingsError {
    #[error("{flag} is {value:?}, which is not the name of a namespace")]
    Namespace { flag: &'static str, value: String },
    #[error(
        "--plugins-namespace and --namespace are both {0:?}: plugins need a namespace of their own, \
         since admission policies close it"
    )]
    SameNamespace(String),
    #[error("{flag} is {value:?}, which is not the name of an object")]
    Name { flag: &'static str, value: String },
    #[error("--agent-image is {0:?}, which is not an image")]
    Image(String),
    #[error(
        "--plugin-directory is {0:?}; it must be an absolute path of at most 93 bytes without . or .. in it"
    )]
    PluginDirectory(String),
    #[error(
        "--kubelet-directory is {0:?}; it must be an absolute path of at most 255 bytes without . or .. in it"
    )]
    KubeletDirectory(String),
    #[error("--totals-token-file is {0:?}, which is not an absolute path")]
    TokenFile(PathBuf),
    #[error("--allowed-actions: {0}")]
    AllowedActions(#[from] UnknownControl),
}

/// A path of a socket may have 107 bytes; this leaves room for the shortest, `/a/a.sock` and a
/// controls socket beside it.
const MAX_PLUGIN_DIRECTORY: usize = 93;
/// Of the kernel's 4,096 bytes for a path; the kubelet itself has some 200 more below it.
const MAX_KUBELET_DIRECTORY: usize = 255;

/// Names of namespaces are DNS labels.
pub(crate) fn namespace(flag: &'static str, value: &str) -> Result<String, SettingsError> {
    if is_dns_label(value) {
        Ok(value.to_owned())
    } else {
        Err(SettingsError::Namespace {
            flag,
            value: value.to_owned(),
        })
    }
}

/// Names of most objects are DNS subdomains.
pub(crate) fn name(flag: &'static str, value: &str) -> Result<String, SettingsError> {
    if is_dns_subdomain(value) {
        Ok(value.to_owned())
    } else {
        Err(SettingsError::Name {
            flag,
            value: value.to_owned(),
        })
    }
}

/// Plugins and operator live apart.
pub(crate) fn apart(plugins: &str, own: &str) -> Result<(), SettingsError> {
    if plugins == own {
        Err(SettingsError::SameNamespace(own.to_owned()))
    } else {
        Ok(())
    }
}

/// An image reference is not parsed here, the nodes do that; this catches empty templates.
pub(crate) fn image(value: &str) -> Result<String, SettingsError> {
    let plain = !value.is_empty()
        && value.len() <= 512
        && value.chars().all(|c| c.is_ascii_graphic())
        && !value.starts_with([':', '/', '@']);
    if plain {
        Ok(value.to_owned())
    } else {
        Err(SettingsError::Image(value.to_owned()))
    }
}

/// The plugin directory as it stands in paths and mounts.
pub(crate) fn plugin_directory(value: &str) -> Result<String, SettingsError> {
    directory(value, MAX_PLUGIN_DIRECTORY)
        .ok_or_else(|| SettingsError::PluginDirectory(value.to_owned()))
}

/// The kubelet's directory as it stands in paths and mounts.
pub(crate) fn kubelet_directory(value: &str) -> Result<String, SettingsError> {
    directory(value, MAX_KUBELET_DIRECTORY)
        .ok_or_else(|| SettingsError::KubeletDirectory(value.to_owned()))
}

fn directory(value: &str, longest: usize) -> Option<String> {
    let trimmed = value.trim_end_matches('/');
    let plain = trimmed.starts_with('/')
        && trimmed.len() <= longest
        // A colon cannot stand in a mount path.
        && trimmed.chars().all(|c| c.is_ascii_graphic() && c != ':')
        && trimmed.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..")
        && Path::new(trimmed).is_absolute();
    plain.then(|| trimmed.to_owned())
}

/// The file with the token for scope-totals.
pub(crate) fn token_file(path: PathBuf) -> Result<PathBuf, SettingsError> {
    match path.is_absolute() {
        true => Ok(path),
        false => Err(SettingsError::TokenFile(path)),
    }
}

/// The allowed actions; empty entries come from empty environment variables.
pub(crate) fn allowed_actions(values: &[String]) -> Result<BTreeSet<Control>, SettingsError> {
    listed(values)
        .map(|value| value.parse().map_err(SettingsError::from))
        .collect()
}

/// The entries of a comma-separated list that say something.
pub(crate) fn listed(values: &[String]) -> impl Iterator<Item = &str> {
    values
        .iter()
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_directories() {
        assert_eq!(
            plugin_directory("/var/run/scope/plugins/").as_deref(),
            Ok("/var/run/scope/plugins")
        );
        for bad in [
            "",
            "/",
            "var/run",
            "/a/../b",
            "/a//b",
            "/a/./b",
            "/a b",
            "/a:b",
            &format!("/{}", "x".repeat(93)),
        ] {
            assert_eq!(
                plugin_directory(bad),
                Err(SettingsError::PluginDirectory(bad.to_owned())),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn kubelet_directories() {
        assert_eq!(
            kubelet_directory("/var/snap/microk8s/common/var/lib/kubelet/").as_deref(),
            Ok("/var/snap/microk8s/common/var/lib/kubelet")
        );
        for bad in ["", "/", "kubelet", "/a/..", "/a:b", &"/x".repeat(128)] {
            assert_eq!(
                kubelet_directory(bad),
                Err(SettingsError::KubeletDirectory(bad.to_owned())),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn names_of_namespaces_and_objects() {
        assert!(namespace("--namespace", "scope-system").is_ok());
        for bad in ["", "-a", "a-", "a.b", "A", &"a".repeat(64)] {
            assert!(namespace("--namespace", bad).is_err(), "{bad:?}");
        }
        assert!(name("--lease-name", "a.b-c").is_ok());
        assert!(name("--lease-name", "a..b").is_err());
        assert!(apart("a", "b").is_ok());
        assert_eq!(
            apart("a", "a"),
            Err(SettingsError::SameNamespace("a".into()))
        );
    }

    #[test]
    fn images() {
        assert!(image("example.org:5000/scope-agent@sha256:0123").is_ok());
        for bad in ["", ":latest", "/x", "a b", "a\n"] {
            assert!(image(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn actions() {
        let words = |words: &[&str]| words.iter().map(|w| w.to_string()).collect::<Vec<_>>();
        assert_eq!(allowed_actions(&words(&["", " "])), Ok(BTreeSet::new()));
        assert_eq!(
            allowed_actions(&words(&["DeletePod", "DeletePod"])),
            Ok(BTreeSet::from([Control::DeletePod]))
        );
        let error = allowed_actions(&words(&["deletePod"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--allowed-actions: \"deletePod\" is not an action; the known ones are: DeletePod, RestartContainer, FreezeContainer, ThawContainer, ShapeTraffic, EvictPod, RestartRollout, ScaleUp, ScaleDown, PauseRollout, ResumeRollout, SuspendCronJob, ResumeCronJob, TriggerCronJob, CordonNode, UncordonNode"
        );
    }
}
