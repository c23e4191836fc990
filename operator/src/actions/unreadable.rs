//! ScopeActions that this version cannot read: each is told once as it is, however often it comes by.

use std::collections::VecDeque;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt, core::error_boundary::InvalidObject};

use crate::{
    events::{Events, Note},
    watches::Guarded,
};
use scope_crds::ScopeAction;

/// Remembered and waiting ones: the schema refuses what cannot be read, so that there are many only
/// after the CRD got ahead of the operator. Of more than these some are told again, or by no Event.
const KEPT: usize = 512;

/// What is known of them.
#[derive(Default)]
pub(super) struct Unreadable {
    /// UID and resource version, oldest first.
    known: VecDeque<(String, String)>,
    waiting: VecDeque<Untold>,
}

/// One that there is no Event about yet.
pub(super) struct Untold {
    object: ObjectReference,
    text: String,
}

/// What a further look at an unreadable object brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noticed {
    Known,
    /// Its Event waits.
    New,
    /// There is no room for its Event.
    NewAndLost,
}

impl Unreadable {
    pub(super) fn notice(
        &mut self,
        object: &Guarded<ScopeAction>,
        invalid: &InvalidObject,
    ) -> Noticed {
        let seen = (
            object.uid().unwrap_or_default(),
            object.resource_version().unwrap_or_default(),
        );
        if self.known.contains(&seen) {
            return Noticed::Known;
        }
        self.known.retain(|(uid, _)| *uid != seen.0);
        if self.known.len() >= KEPT {
            self.known.pop_front();
        }
        self.known.push_back(seen);
        if self.waiting.len() >= KEPT {
            return Noticed::NewAndLost;
        }
        self.waiting.push_back(Untold {
            object: object.object_ref(&()),
            text: format!(
                "This version of the operator cannot read the ScopeAction, so nothing is carried out: {}. \
                 Install the operator that belongs to the installed CRD",
                invalid.error
            ),
        });
        Noticed::New
    }

    /// Those that wait for their Events, oldest first.
    pub(super) fn take(&mut self) -> VecDeque<Untold> {
        std::mem::take(&mut self.waiting)
    }
}

/// Writes the Events one after another.
pub(super) async fn tell(events: &Events, untold: VecDeque<Untold>) {
    for Untold { object, text } in untold {
        let note = Note {
            warning: true,
            reason: "Unreadable",
            action: "Read",
            text: &text,
            related: None,
        };
        events.publish(note, &object).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn noticed(unreadable: &mut Unreadable, uid: &str, version: &str) -> Noticed {
        let object: Guarded<ScopeAction> = serde_json::from_value(json!({
            "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction",
            "metadata": {"name": "a", "namespace": "p", "uid": uid, "resourceVersion": version},
            "spec": {"control": "FlyAway"},
        }))
        .unwrap();
        unreadable.notice(&object, object.0.as_ref().unwrap_err())
    }

    #[test]
    fn each_version_of_each_object_is_new_once() {
        let mut unreadable = Unreadable::default();
        assert_eq!(noticed(&mut unreadable, "1", "7"), Noticed::New);
        assert_eq!(noticed(&mut unreadable, "1", "7"), Noticed::Known);
        assert_eq!(noticed(&mut unreadable, "2", "7"), Noticed::New);
        assert_eq!(noticed(&mut unreadable, "1", "8"), Noticed::New);
        assert_eq!(noticed(&mut unreadable, "1", "8"), Noticed::Known);
        let untold = unreadable.take();
        assert_eq!(untold.len(), 3);
        assert_eq!(untold[0].object.kind.as_deref(), Some("ScopeAction"));
        assert_eq!(untold[0].object.uid.as_deref(), Some("1"));
        assert!(untold[0].text.contains("cannot read"), "{}", untold[0].text);
        assert!(unreadable.take().is_empty());
    }

    #[test]
    fn more_than_fit_are_lost_and_said_to_be() {
        let mut unreadable = Unreadable::default();
        for number in 0..KEPT {
            assert_eq!(
                noticed(&mut unreadable, &number.to_string(), "1"),
                Noticed::New
            );
        }
        assert_eq!(
            noticed(&mut unreadable, "one-more", "1"),
            Noticed::NewAndLost
        );
        assert_eq!(unreadable.known.len(), KEPT);
        assert_eq!(noticed(&mut unreadable, "one-more", "1"), Noticed::Known);
    }
}
