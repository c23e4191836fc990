//! Why a pod does not become ready, as far as its status says, in the container's own last words where
//! it left some.

use std::{net::IpAddr, time::Duration};

use super::pod::{Container, Holds, SeenPod};
use crate::rollout::Failure;

/// The longest text that is taken over from a container.
const MAX_WORDS: usize = 400;

/// What a container waits for when it will not start by itself, and how old its pod must be before that
/// is believed: a registry may be away for a moment, and the kubelet tries again after 10 and 20 s.
const CERTAIN: [(&str, Duration); 8] = [
    ("CrashLoopBackOff", Duration::ZERO),
    ("InvalidImageName", Duration::ZERO),
    ("ErrImageNeverPull", Duration::ZERO),
    ("CreateContainerConfigError", Duration::ZERO),
    ("CreateContainerError", Duration::ZERO),
    ("RunContainerError", Duration::ZERO),
    ("ImagePullBackOff", Duration::from_secs(30)),
    ("ErrImagePull", Duration::from_secs(30)),
];

/// Its container ended and runs again.
const ENDED: &str = "Ended";

/// Why `pod` is not ready, if Kubernetes says anything about it.
pub(super) fn of(pod: &SeenPod) -> Option<Failure> {
    let uncertain = |reason: &str, message: &str| {
        Some(Failure {
            reason: reason.to_owned(),
            message: words(message),
            certain_after: None,
        })
    };
    for container in &pod.status.containers {
        let Some(waiting) = &container.waits else {
            continue;
        };
        let certain = CERTAIN
            .iter()
            .find(|(reason, _)| **reason == *waiting.reason);
        let Some((reason, after)) = certain else {
            continue;
        };
        let message = match (last_words(container), &*waiting.message) {
            (Some(last), _) if *reason == "CrashLoopBackOff" => last,
            (Some(last), "") => last,
            (_, message) => message.to_owned(),
        };
        let (reason, message) = steady(reason, &message);
        return Some(Failure {
            reason: reason.to_owned(),
            message: words(message),
            certain_after: Some(*after),
        });
    }
    if let Some(scheduled) = &pod.status.scheduled
        && scheduled.holds == Holds::False
    {
        return match &scheduled.why {
            Some(why) => uncertain(&why.reason, &why.message),
            None => uncertain("Unschedulable", ""),
        };
    }
    if let Some(why) = &pod.status.why {
        return uncertain(&why.reason, &why.message);
    }
    // It ended and is started again; what it said may be all that there is.
    let ended = pod.status.containers.iter().find_map(last_words);
    if let Some(ended) = ended {
        return uncertain(ENDED, &ended);
    }
    let ready = pod.status.ready.as_ref();
    let why = ready
        .filter(|ready| ready.holds != Holds::True)
        .and_then(|ready| ready.why.as_ref())?;
    uncertain(&why.reason, &why.message)
}

/// What the kubelet says of a pod whose containers run and are not ready.
const NOT_READY: &str = "ContainersNotReady";
/// The same once the agent itself has said why.
const REFUSED: &str = "ReadinessRefused";

/// Where the agent of a pod can be asked why it is not ready: it runs, and its kubelet says that it is not.
/// A kubelet says what its pods' addresses are, so those that lead to the operator's own machine or to no
/// single one are not asked.
pub(crate) fn refuses_at(pod: &SeenPod) -> Option<IpAddr> {
    let ready = pod.status.ready.as_ref()?;
    let why = ready.why.as_ref()?;
    let refuses = ready.holds == Holds::False && &*why.reason == NOT_READY;
    let containers = &pod.status.containers;
    let run = !containers.is_empty() && containers.iter().all(|container| container.runs);
    let asked = refuses && run && !pod.is_going() && pod.status.runs;
    let address = pod.status.address.filter(|_| asked)?;
    let elsewhere = match address.to_canonical() {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    let one = !address.to_canonical().is_loopback()
        && !address.is_unspecified()
        && !address.is_multicast();
    (elsewhere && one).then_some(address)
}

/// The failure of such a pod with what its agent says, marked as the agent's words. How its container ended
/// before stays with it.
pub(crate) fn in_own_words(known: Option<Failure>, said: &str) -> Failure {
    let before = known
        .filter(|known| known.reason == ENDED)
        .map(|known| format!("; its container ended before: {}", known.message));
    Failure {
        reason: REFUSED.to_owned(),
        message: words(&format!(
            "the agent says: {said}{}",
            before.unwrap_or_default()
        )),
        certain_after: None,
    }
}

/// A pull that fails has one name and one text while it fails and another while the kubelet waits to try
/// again; told as they come, the status would change with each attempt.
fn steady<'a>(reason: &'a str, message: &'a str) -> (&'a str, &'a str) {
    const PULL: &str = "ErrImagePull";
    if reason != "ImagePullBackOff" {
        return (reason, message);
    }
    let told = message.split_once("ErrImagePull: ");
    (PULL, told.map_or(message, |(_, told)| told))
}

/// What the container said when it ended last.
fn last_words(container: &Container) -> Option<String> {
    let ended = container.ended.as_ref()?;
    let exit_code = ended.exit_code;
    let said = ended.why.message.trim();
    Some(match (said, &*ended.why.reason) {
        ("", "" | "Error") => format!("exit code {exit_code}"),
        ("", reason) => format!("{reason}, exit code {exit_code}"),
        // The end of a log says more than its beginning.
        (said, _) => tail(said),
    })
}

fn tail(said: &str) -> String {
    let excess = said.chars().count().saturating_sub(MAX_WORDS);
    said.chars().skip(excess).collect()
}

/// In one line, and bounded.
fn words(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failure(status: Value) -> Option<(String, String, bool)> {
        let pod: SeenPod = serde_json::from_value(json!({
            "metadata": {"name": "a", "creationTimestamp": "2030-01-01T00:00:00Z"},
            "status": status,
        }))
        .unwrap();
        of(&pod).map(|failure| {
            (
                failure.reason,
                failure.message,
                failure.certain_after.is_some(),
            )
        })
    }

    fn containers(state: Value, last: Value) -> Value {
        json!({"containerStatuses": [{"name": "agent", "restartCount": 2, "state": state, "lastState": last}]})
    }

    #[test]
    fn the_last_words_of_a_container_are_told() {
        let crash = containers(
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}}),
            json!({"terminated": {"reason": "Error", "exitCode": 64,
                "message": "scope-agent: --plugin-dir\n is not a directory\n"}}),
        );
        assert_eq!(
            failure(crash),
            Some((
                "CrashLoopBackOff".into(),
                "scope-agent: --plugin-dir is not a directory".into(),
                true
            ))
        );
        let killed = containers(
            json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}}),
        );
        assert_eq!(failure(killed).unwrap().1, "OOMKilled, exit code 137");
        let once = containers(
            json!({"running": {}}),
            json!({"terminated": {"reason": "Error", "exitCode": 1}}),
        );
        assert_eq!(
            failure(once),
            Some(("Ended".into(), "exit code 1".into(), false))
        );
    }

    #[test]
    fn images_and_configuration_have_the_kubelets_words() {
        for reason in ["ErrImagePull", "CreateContainerConfigError"] {
            let waiting = containers(
                json!({"waiting": {"reason": reason, "message": "no such thing"}}),
                json!({}),
            );
            assert_eq!(
                failure(waiting),
                Some((reason.into(), "no such thing".into(), true))
            );
        }
        let backing_off = containers(
            json!({"waiting": {"reason": "ImagePullBackOff",
                "message": "Back-off pulling image \"a\": ErrImagePull: no such thing"}}),
            json!({}),
        );
        assert_eq!(
            failure(backing_off),
            Some(("ErrImagePull".into(), "no such thing".into(), true))
        );
        let starting = containers(
            json!({"waiting": {"reason": "ContainerCreating"}}),
            json!({}),
        );
        assert_eq!(failure(starting), None);
    }

    #[test]
    fn pods_without_containers_say_why() {
        let full = json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes: Insufficient memory"}]});
        assert_eq!(
            failure(full),
            Some((
                "Unschedulable".into(),
                "0/3 nodes: Insufficient memory".into(),
                false
            ))
        );
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        assert_eq!(
            failure(evicted),
            Some(("Evicted".into(), "low on memory".into(), false))
        );
        let refused = json!({"conditions": [{"type": "Ready", "status": "False",
            "reason": "ContainersNotReady", "message": "containers with unready status: [agent]"}]});
        assert_eq!(failure(refused).unwrap().0, "ContainersNotReady");
        assert_eq!(failure(json!({})), None);
    }

    #[test]
    fn an_agent_is_asked_where_it_runs_and_is_not_ready() {
        type Change = fn(&mut Value);
        let asked = |ip: &str, change: Change| {
            let mut pod = json!({
                "metadata": {"name": "a"},
                "status": {"phase": "Running", "podIP": ip,
                    "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
                    "containerStatuses": [{"state": {"running": {"startedAt": "2030-01-01T00:00:00Z"}}}]},
            });
            change(&mut pod);
            let pod: SeenPod = serde_json::from_value(pod).unwrap();
            refuses_at(&pod).map(|address| address.to_string())
        };
        for ip in ["10.1.2.3", "fd00::7", "192.168.1.20"] {
            assert_eq!(asked(ip, |_| {}).as_deref(), Some(ip));
        }
        for ip in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "example.org",
            "",
        ] {
            assert_eq!(asked(ip, |_| {}), None, "{ip}");
        }
        let changes: [(&str, Change); 5] = [
            ("ready", |pod| {
                pod["status"]["conditions"][0]["status"] = "True".into();
            }),
            ("for another reason", |pod| {
                pod["status"]["conditions"][0]["reason"] = "PodCompleted".into();
            }),
            ("waiting", |pod| {
                pod["status"]["containerStatuses"][0]["state"] = json!({"waiting": {}});
            }),
            ("going", |pod| {
                pod["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z".into();
            }),
            ("pending", |pod| pod["status"]["phase"] = "Pending".into()),
        ];
        for (what, change) in changes {
            assert_eq!(asked("10.1.2.3", change), None, "{what}");
        }
    }

    #[test]
    fn an_agents_words_are_marked_and_bounded() {
        let kubelets = Failure {
            reason: "ContainersNotReady".into(),
            message: "containers with unready status: [agent]".into(),
            certain_after: None,
        };
        let told = in_own_words(Some(kubelets), "no sample has been taken yet");
        assert_eq!(told.reason, "ReadinessRefused");
        assert_eq!(told.message, "the agent says: no sample has been taken yet");
        let ended = Failure {
            reason: "Ended".into(),
            message: "exit code 1".into(),
            certain_after: None,
        };
        assert_eq!(
            in_own_words(Some(ended), "no sample").message,
            "the agent says: no sample; its container ended before: exit code 1"
        );
        assert_eq!(
            in_own_words(None, &"é".repeat(2000))
                .message
                .chars()
                .count(),
            MAX_WORDS
        );
    }

    #[test]
    fn long_words_are_cut_to_their_end() {
        let long = format!("{}the end", "é".repeat(2000));
        let crash = containers(
            json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            json!({"terminated": {"reason": "Error", "exitCode": 1, "message": long}}),
        );
        let (_, message, _) = failure(crash).unwrap();
        assert_eq!(message.chars().count(), MAX_WORDS);
        assert!(message.ends_with("the end"));
    }
}
