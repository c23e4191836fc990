//! What a kubelet says about a pod. Pure: pod and fate in, status out.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::fault::Fate;

/// The end of the log of a container that crashes, as its termination message.
const LAST_WORDS: &str = "simulated: the program cannot go on";

/// How a pod's containers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Containers {
    Ready,
    NotReady,
    CrashLoop,
    ImagePull,
    ConfigError,
}

impl Containers {
    /// What becomes of them at their start. Nothing for a pod that nobody says anything about.
    pub(crate) fn at_start(fate: Option<&Fate>) -> Option<Containers> {
        Some(match fate {
            None | Some(Fate::Slow(_) | Fate::ReadyFor(_)) => Containers::Ready,
            Some(Fate::NeverReady) => Containers::NotReady,
            Some(Fate::CrashLoop) => Containers::CrashLoop,
            Some(Fate::ImagePull) => Containers::ImagePull,
            Some(Fate::ConfigError) => Containers::ConfigError,
            Some(Fate::Stuck) => return None,
        })
    }

    fn run(self) -> bool {
        matches!(self, Containers::Ready | Containers::NotReady)
    }
}

/// The patch of a pod's status.
pub(crate) fn status(pod: &Pod, containers: Containers) -> Value {
    let ready = containers == Containers::Ready;
    let (reason, message) = match ready {
        true => ("", ""),
        false => ("ContainersNotReady", "containers are not ready"),
    };
    let started = !matches!(containers, Containers::ImagePull | Containers::ConfigError);
    let statuses: Vec<Value> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| {
            let image = container.image.clone().unwrap_or_default();
            let mut status = json!({
                "name": container.name,
                "image": image,
                "imageID": if started { format!("hollow://{image}") } else { String::new() },
                "ready": ready,
                "started": containers.run(),
                "restartCount": if containers == Containers::CrashLoop { 3 } else { 0 },
                "state": state(containers, &image),
            });
            if started {
                status["containerID"] = format!(
                    "hollow://{}/{}",
                    pod.uid().unwrap_or_default(),
                    container.name
                )
                .into();
            }
            if containers == Containers::CrashLoop {
                status["lastState"] = json!({"terminated": {
                    "exitCode": 1, "reason": "Error", "message": LAST_WORDS,
                    "startedAt": now(), "finishedAt": now(),
                }});
            }
            status
        })
        .collect();
    json!({"status": {
        "phase": if started { "Running" } else { "Pending" },
        "startTime": pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map_or_else(|| now().into(), |time| json!(time)),
        "hostIP": "10.200.0.1",
        "podIP": "10.201.0.1",
        "podIPs": [{"ip": "10.201.0.1"}],
        "conditions": [
            condition("Initialized", true, "", ""),
            condition("ContainersReady", ready, reason, message),
            condition("Ready", ready, reason, message),
        ],
        "containerStatuses": statuses,
    }})
}

/// The patch of a pod's status that the node controller writes when the pod's node is silent.
pub(crate) fn node_is_silent() -> Value {
    let message = "the pod's node does not answer";
    json!({"status": {"conditions": [condition("Ready", false, "NodeNotReady", message)]}})
}

fn state(containers: Containers, image: &str) -> Value {
    let waiting =
        |reason: &str, message: String| json!({"waiting": {"reason": reason, "message": message}});
    match containers {
        Containers::Ready | Containers::NotReady => json!({"running": {"startedAt": now()}}),
        Containers::CrashLoop => waiting(
            "CrashLoopBackOff",
            "back-off 40s restarting failed container".into(),
        ),
        Containers::ImagePull => waiting(
            "ImagePullBackOff",
            format!("Back-off pulling image {image:?}: not found"),
        ),
        Containers::ConfigError => waiting(
            "CreateContainerConfigError",
            "secret \"simulated\" not found".into(),
        ),
    }
}

/// A condition that begins now.
pub(crate) fn condition(kind: &str, status: bool, reason: &str, message: &str) -> Value {
    json!({
        "type": kind,
        "status": if status { "True" } else { "False" },
        "reason": reason,
        "message": message,
        "lastTransitionTime": now(),
    })
}

/// Now, in the precision of conditions.
pub(crate) fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end at once")]
    use super::*;
    use k8s_openapi::api::core::v1::PodStatus;

    fn said(containers: Containers) -> PodStatus {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u"},
            "spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:2"}]},
        }))
        .unwrap();
        serde_json::from_value(status(&pod, containers)["status"].clone()).unwrap()
    }

    fn ready(status: &PodStatus) -> bool {
        let mut all = status.conditions.iter().flatten();
        all.any(|c| c.type_ == "Ready" && c.status == "True")
    }

    #[test]
    fn only_ready_pods_are_ready() {
        let status = said(Containers::Ready);
        assert!(ready(&status));
        assert_eq!(status.phase.as_deref(), Some("Running"));
        assert_eq!(status.container_statuses.unwrap().len(), 2);
        for bad in [
            Containers::NotReady,
            Containers::CrashLoop,
            Containers::ImagePull,
            Containers::ConfigError,
        ] {
            let status = said(bad);
            assert!(
                !ready(&status) && status.container_statuses.unwrap().iter().all(|c| !c.ready),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn failures_have_the_reasons_of_kubelet_and_last_words() {
        let reason = |containers| {
            let status = said(containers).container_statuses.unwrap().remove(0);
            status.state.unwrap().waiting.unwrap().reason.unwrap()
        };
        assert_eq!(reason(Containers::CrashLoop), "CrashLoopBackOff");
        assert_eq!(reason(Containers::ImagePull), "ImagePullBackOff");
        assert_eq!(
            reason(Containers::ConfigError),
            "CreateContainerConfigError"
        );
        let crashed = said(Containers::CrashLoop)
            .container_statuses
            .unwrap()
            .remove(0);
        let last = crashed.last_state.unwrap().terminated.unwrap();
        assert_eq!(last.message.as_deref(), Some(LAST_WORDS));
        assert_eq!(
            said(Containers::ImagePull).phase.as_deref(),
            Some("Pending")
        );
    }

    #[test]
    fn of_a_stuck_pod_nothing_is_said() {
        assert_eq!(Containers::at_start(Some(&Fate::Stuck)), None);
        assert_eq!(Containers::at_start(None), Some(Containers::Ready));
    }
}
