//! What the inventory takes over from the status of a container.

use scope_protocol::Timestamp;
use scope_totals_wire::bare_image_id;

use super::model::{Container, ContainerKind, StoppedContainer, Termination};
use super::node_pod::{ContainerStatus, SpecContainer, Terminated};
use super::volume::mounted;

/// Reasons are short words; whoever may write a status could make them long.
const MAX_REASON: usize = 64;
/// A full image reference has at most 255 bytes of name, 128 of tag and about 140 of digest.
const MAX_IMAGE: usize = 640;

/// What a container's status tells.
pub(super) enum Seen {
    /// It runs: its bare ID.
    Running(String, Container),
    /// It does not: its name.
    Stopped(String, StoppedContainer),
    /// It is said to run, but not under which ID.
    Unclear,
}

/// Reads the status of a container from the list of that kind, with what the pod's spec says of it and
/// the pod's restart policy.
pub(super) fn seen(
    status: ContainerStatus,
    kind: ContainerKind,
    spec: Option<&SpecContainer>,
    restart_policy: Option<&str>,
) -> Seen {
    let restarts_always = spec.is_some_and(|spec| spec.restart_policy.as_deref() == Some("Always"));
    let kind = match kind {
        ContainerKind::Init if restarts_always => ContainerKind::Sidecar,
        kind => kind,
    };
    let restarts = status
        .restart_count
        .map_or(0, |n| u32::try_from(n.max(0)).unwrap_or(u32::MAX));
    let state = status.state.unwrap_or_default();
    let last_termination = state
        .terminated
        .or_else(|| status.last_state.and_then(|last| last.terminated))
        .map(termination);
    let Some(running) = state.running else {
        return Seen::Stopped(
            status.name,
            StoppedContainer {
                kind,
                waiting: reason(state.waiting.and_then(|waiting| waiting.reason)),
                restarts,
                last_termination,
            },
        );
    };
    let Some((runtime, id)) = status.container_id.as_deref().and_then(split_container_id) else {
        return Seen::Unclear;
    };
    let image = spec
        .and_then(|spec| spec.image.clone())
        .filter(|image| !image.is_empty())
        .or(status.image)
        .unwrap_or_default();
    let container = Container {
        image: clipped(image, MAX_IMAGE),
        image_id: clipped(
            bare_image_id(status.image_id.as_deref().unwrap_or_default()).to_owned(),
            MAX_IMAGE,
        ),
        runtime: runtime.to_owned(),
        started: running.started_at.as_deref().and_then(parse_time),
        kind,
        liveness: spec.is_some_and(|spec| spec.liveness_probe.is_some()),
        starting: spec.is_some_and(|spec| spec.startup_probe.is_some())
            && status.started != Some(true),
        runs_once: kind == ContainerKind::Ephemeral
            || spec
                .and_then(|spec| spec.restart_policy.as_deref())
                .or(restart_policy)
                == Some("Never"),
        restarts,
        last_termination,
        volumes: mounted(spec),
        name: status.name,
    };
    Seen::Running(id.to_owned(), container)
}

fn termination(ended: Terminated) -> Termination {
    Termination {
        container: ended
            .container_id
            .as_deref()
            .and_then(split_container_id)
            .map(|(_, id)| id.to_owned()),
        reason: reason(ended.reason),
        exit_code: ended.exit_code.unwrap_or_default(),
        finished: ended.finished_at.as_deref().and_then(parse_time),
    }
}

fn reason(given: Option<String>) -> String {
    clipped(given.unwrap_or_default(), MAX_REASON)
}

fn clipped(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}

/// `containerd://<64 hex>` in its two parts.
fn split_container_id(id: &str) -> Option<(&str, &str)> {
    let (runtime, id) = id.split_once("://")?;
    let is_name = (1..=32).contains(&runtime.len())
        && runtime
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let is_id = id.len() == 64
        && id
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (is_name && is_id).then_some((runtime, id))
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_unix_micros(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(c: char) -> String {
        c.to_string().repeat(64)
    }

    fn status(json: serde_json::Value) -> Seen {
        let status = serde_json::from_value(json).expect("decodes");
        seen(status, ContainerKind::App, None, None)
    }

    fn stopped(json: serde_json::Value) -> StoppedContainer {
        match status(json) {
            Seen::Stopped(name, stopped) => {
                assert_eq!(name, "c");
                stopped
            }
            _ => panic!("it runs"),
        }
    }

    /// The states of a container that is killed for its memory, in the kubelet's order.
    #[test]
    fn a_container_that_restarts_is_another_one() {
        let killed = serde_json::json!({"terminated": {"reason": "OOMKilled", "exitCode": 137,
            "finishedAt": "2026-11-23T01:00:00Z", "containerID": format!("containerd://{}", id('a'))}});
        let ended = Termination {
            container: Some(id('a')),
            reason: "OOMKilled".into(),
            exit_code: 137,
            finished: "2026-11-23T01:00:00Z"
                .parse::<jiff::Timestamp>()
                .ok()
                .map(|time| Timestamp::from_unix_micros(time.as_microsecond())),
        };
        let mut at_rest = StoppedContainer {
            kind: ContainerKind::App,
            waiting: "ContainerCreating".into(),
            restarts: 0,
            last_termination: None,
        };
        assert_eq!(
            stopped(serde_json::json!({"name": "c", "restartCount": 0,
                "state": {"waiting": {"reason": "ContainerCreating"}}})),
            at_rest
        );

        let first = serde_json::json!({"name": "c", "restartCount": 0,
            "containerID": format!("containerd://{}", id('a')),
            "state": {"running": {"startedAt": "2026-11-23T00:59:00Z"}}});
        let Seen::Running(running, container) = status(first) else {
            panic!("it runs");
        };
        assert_eq!((running, container.restarts), (id('a'), 0));
        assert_eq!(container.last_termination, None);

        at_rest.waiting = String::new();
        at_rest.last_termination = Some(ended.clone());
        assert_eq!(
            stopped(
                serde_json::json!({"name": "c", "restartCount": 0, "state": killed,
                "containerID": format!("containerd://{}", id('a'))})
            ),
            at_rest
        );

        at_rest.waiting = "CrashLoopBackOff".into();
        at_rest.restarts = 1;
        assert_eq!(
            stopped(serde_json::json!({"name": "c", "restartCount": 1,
                "containerID": format!("containerd://{}", id('a')), "lastState": killed,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}})),
            at_rest,
            "the ID that is still named is the one that has ended"
        );

        let again = serde_json::json!({"name": "c", "restartCount": 1, "lastState": killed,
            "containerID": format!("containerd://{}", id('b')), "state": {"running": {}}});
        let Seen::Running(running, container) = status(again) else {
            panic!("it runs again");
        };
        assert_eq!((running, container.restarts), (id('b'), 1));
        assert_eq!(container.last_termination, Some(ended));
    }

    #[test]
    fn strings_keep_to_their_length_and_form() {
        for id in [
            "".to_owned(),
            id('a'),
            format!("containerd://{}", id('A')),
            format!("containerd://{}0", id('a')),
            format!("contai;ner://{}", id('a')),
            format!("://{}", id('a')),
            format!("{}://{}", "x".repeat(33), id('a')),
        ] {
            assert_eq!(split_container_id(&id), None, "{id}");
        }
        let long = "\u{e9}".repeat(1000);
        let container = serde_json::json!({"name": "c", "image": long, "imageID": long,
            "containerID": format!("containerd://{}", id('a')), "restartCount": -3,
            "state": {"running": {"startedAt": "soon"}}});
        let Seen::Running(_, container) = status(container) else {
            panic!("it runs");
        };
        assert_eq!(container.image, "\u{e9}".repeat(MAX_IMAGE / 2));
        assert_eq!(container.image_id.len(), MAX_IMAGE);
        assert_eq!((container.restarts, container.started), (0, None));
        let stopped = stopped(serde_json::json!({"name": "c", "restartCount": i64::MAX,
            "state": {"waiting": {"reason": format!("x{long}")}}}));
        assert_eq!(stopped.waiting.len(), MAX_REASON - 1);
        assert_eq!(stopped.restarts, u32::MAX);
    }
}
