//! Kubernetes Events: written about what a person would want to know, and read where only they say
//! what went wrong.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::DaemonSet, core::v1::ObjectReference, events::v1::Event as Recorded,
};
use kube::{
    Api, Client,
    api::ListParams,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{guarded, metrics::Metrics, names};

/// An Event must not hold up what it is about.
const LIMIT: Duration = Duration::from_secs(5);
/// The API server's bound of a note, in bytes.
const MAX_NOTE: usize = 1024;
/// More than the Events of one DaemonSet that differ.
const MAX_READ: u32 = 50;

/// Writes Events in the operator's name.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

/// What is said in an Event.
pub(crate) struct Note<'a> {
    pub(crate) warning: bool,
    /// The category.
    pub(crate) reason: &'a str,
    /// What was done or tried.
    pub(crate) action: &'a str,
    pub(crate) text: &'a str,
    /// What else it is about. Within some minutes, Events that differ in their text alone become one,
    /// with the first text.
    pub(crate) related: Option<ObjectReference>,
}

impl Events {
    pub(crate) fn new(client: Client, pod_name: &str, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter {
            controller: names::OPERATOR.into(),
            instance: Some(pod_name.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            metrics,
        }
    }

    /// Writes an Event about `object`. One that cannot be written is counted and logged.
    pub(crate) async fn publish(&self, note: Note<'_>, object: &ObjectReference) {
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.into(),
            note: Some(bounded(note.text)),
            action: note.action.into(),
            secondary: note.related,
        };
        let publish = self.recorder.publish(&event, object);
        let problem = match guarded::waited(tokio::time::timeout(LIMIT, publish)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => guarded::said(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.metrics.event_lost();
        tracing::warn!(
            reason = note.reason,
            object = object.name.as_deref().unwrap_or_default(),
            "an Event could not be written: {problem}"
        );
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_NOTE)].to_owned()
}

/// The newest words of the DaemonSet controller about pods of the DaemonSet with this UID that it
/// could not create: Pod Security, quota, admission policies.
pub(crate) async fn newest_failed_create(
    client: &Client,
    namespace: &str,
    daemon_set: &DaemonSet,
) -> Result<Option<String>, guarded::RequestError> {
    let events: Api<Recorded> = Api::namespaced(client.clone(), namespace);
    let metadata = &daemon_set.metadata;
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let params = ListParams::default()
        .fields(&format!("regarding.uid={uid},reason=FailedCreate"))
        .limit(MAX_READ);
    let list = guarded::read(
        || format!("reading the Events of the namespace {namespace}"),
        guarded::BUDGET,
        events.list(&params),
    )
    .await?;
    let name = metadata.name.as_deref().unwrap_or_default();
    Ok(newest(list.items).map(|note| without_chance(&note, name)))
}

/// The words without what differs each time they are said: the recorder's remark about a series, and
/// the last part of the pods' names.
fn without_chance(note: &str, daemon_set: &str) -> String {
    let note = note.trim_start_matches("(combined from similar events): ");
    let prefix = format!("{daemon_set}-");
    let mut words = String::with_capacity(note.len());
    let mut rest = note;
    while let Some(found) = rest.find(&prefix) {
        let (before, after) = rest.split_at(found + prefix.len());
        words.push_str(before);
        let chance = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
        words.push('*');
        rest = &after[chance..];
    }
    words + rest
}

fn newest(events: Vec<Recorded>) -> Option<String> {
    events
        .into_iter()
        .max_by_key(time)
        .and_then(|event| event.note)
}

/// When an Event was last seen. Which field says so depends on the writer.
fn time(event: &Recorded) -> Option<Timestamp> {
    [
        event
            .series
            .as_ref()
            .map(|series| series.last_observed_time.0),
        event.deprecated_last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0),
    ]
    .into_iter()
    .flatten()
    .max()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(note: &str, fields: Value) -> Recorded {
        let mut event =
            json!({"metadata": {"creationTimestamp": "2030-01-01T00:00:00Z"}, "note": note});
        event
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn the_newest_event_is_found_whichever_field_tells_its_time() {
        let old = || {
            event(
                "old",
                json!({"deprecatedLastTimestamp": "2030-01-01T00:01:00Z"}),
            )
        };
        for newer in [
            json!({"deprecatedLastTimestamp": "2030-01-01T00:02:00Z"}),
            json!({"eventTime": "2030-01-01T00:02:00.000000Z"}),
            json!({"eventTime": "2030-01-01T00:00:00.000000Z",
                "series": {"count": 2, "lastObservedTime": "2030-01-01T00:02:00.000000Z"}}),
        ] {
            let events = vec![old(), event("new", newer.clone()), old()];
            assert_eq!(newest(events).as_deref(), Some("new"), "{newer}");
        }
        assert_eq!(newest(Vec::new()), None);
    }

    #[test]
    fn the_same_reason_has_the_same_words() {
        let words = |note: &str| without_chance(note, "scope-plugin-a");
        let plain = r#"Error creating: pods "scope-plugin-a-*" is forbidden: no"#;
        for note in [
            r#"Error creating: pods "scope-plugin-a-x7k2p" is forbidden: no"#,
            r#"(combined from similar events): Error creating: pods "scope-plugin-a-9" is forbidden: no"#,
        ] {
            assert_eq!(words(note), plain);
        }
        assert_eq!(words("nothing of the kind"), "nothing of the kind");
        assert_eq!(words("scope-plugin-a-"), "scope-plugin-a-*");
    }

    #[test]
    fn notes_fit() {
        assert_eq!(bounded("short"), "short");
        assert_eq!(bounded(&"ü".repeat(600)).len(), 1024);
        assert_eq!(bounded(&format!("x{}", "ü".repeat(600))).len(), 1023);
    }
}
