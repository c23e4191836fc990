//! What shall go wrong, and with which pods.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It starts after this time instead of the usual one.
    Slow(Duration),
    /// It runs and is never ready.
    NeverReady,
    /// It ends after each start (`CrashLoopBackOff`).
    CrashLoop,
    /// It is ready for this time, and ends after each start from then on.
    ReadyFor(Duration),
    /// Its image cannot be pulled (`ImagePullBackOff`).
    ImagePull,
    /// Something that its container needs is missing (`CreateContainerConfigError`).
    ConfigError,
    /// It never gets beyond Pending, and nobody says why.
    Stuck,
}

/// A fate for pods that start from now on. Every part that was given has to fit.
#[derive(Debug, Clone)]
pub struct Fault {
    fate: Fate,
    image: Option<String>,
    label: Option<(String, String)>,
    argument: Option<String>,
    nodes: Option<BTreeSet<String>>,
}

impl Fault {
    /// A fate for all pods.
    pub fn of(fate: Fate) -> Fault {
        Fault {
            fate,
            image: None,
            label: None,
            argument: None,
            nodes: None,
        }
    }

    /// Only for pods with a container of this image.
    #[must_use]
    pub fn image(mut self, image: &str) -> Fault {
        self.image = Some(image.to_owned());
        self
    }

    /// Only for pods with this label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Fault {
        self.label = Some((name.to_owned(), value.to_owned()));
        self
    }

    /// Only for pods with a container that has this among its arguments.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Fault {
        self.argument = Some(argument.to_owned());
        self
    }

    /// Only on these nodes.
    #[must_use]
    pub fn on<N: Into<String>>(mut self, nodes: impl IntoIterator<Item = N>) -> Fault {
        self.nodes = Some(nodes.into_iter().map(Into::into).collect());
        self
    }

    pub(crate) fn hits(&self, pod: &Pod, node: &str) -> bool {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let has_image =
            |image: &String| containers.clone().any(|c| c.image.as_ref() == Some(image));
        let has_argument = |argument: &String| {
            containers
                .clone()
                .flat_map(|c| c.args.iter().flatten())
                .any(|a| a == argument)
        };
        self.image.as_ref().is_none_or(has_image)
            && self.argument.as_ref().is_none_or(has_argument)
            && self.nodes.as_ref().is_none_or(|nodes| nodes.contains(node))
            && self
                .label
                .as_ref()
                .is_none_or(|(name, value)| pod.labels().get(name) == Some(value))
    }
}

/// The fate of a pod: the newest fault that hits it.
pub(crate) fn fate(faults: &[Fault], pod: &Pod, node: &str) -> Option<Fate> {
    faults
        .iter()
        .rev()
        .find(|fault| fault.hits(pod, node))
        .map(|fault| fault.fate.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end at once")]
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i:1", "args": ["--x=1"]}]},
        }))
        .unwrap()
    }

    #[test]
    fn every_part_has_to_fit() {
        let pod = pod();
        let hits = |fault: Fault| fault.hits(&pod, "n1");
        let any = || Fault::of(Fate::CrashLoop);
        assert!(hits(any()));
        assert!(hits(
            any()
                .image("i:1")
                .label("app", "a")
                .argument("--x=1")
                .on(["n1"])
        ));
        assert!(!hits(any().image("i:2")));
        assert!(!hits(any().label("app", "b")));
        assert!(!hits(any().argument("--x")));
        assert!(!hits(any().image("i:1").on(["n2"])));
    }

    #[test]
    fn the_newest_fault_counts() {
        let faults = [
            Fault::of(Fate::CrashLoop),
            Fault::of(Fate::Stuck).on(["n2"]),
        ];
        assert_eq!(fate(&faults, &pod(), "n1"), Some(Fate::CrashLoop));
        assert_eq!(fate(&faults, &pod(), "n2"), Some(Fate::Stuck));
        assert_eq!(fate(&[], &pod(), "n1"), None);
    }
}
