//! One click as a `ScopeAction`: created, then watched for its outcome.

use std::time::{Duration, SystemTime};

use futures::TryStreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use scope_crds::{
    ActionContainer, ActionDone, ActionPhase, ActionTarget, ScopeAction, ScopeActionSpec,
    TargetKind, TargetName,
};
use tokio::time::Instant;

use super::click::Click;
use crate::container_control::{Here, Phase, Record};
use crate::kubernetes::one_line;

/// How long the operator may wait before it begins: longer than its restart on another node takes,
/// shorter than a person's memory of the click.
pub(super) const ACT_WITHIN: Duration = Duration::from_secs(10);

/// The schema's bound of a message.
const MAX_MESSAGE: usize = 1024;

/// Answers of the 400s that another try may not get: of a token just rotated (401), of a role that an
/// upgrade of the chart is replacing (403), and of a server that is too busy.
const MAY_PASS: [u16; 4] = [401, 403, 408, 429];

/// Why a record is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// It never will be.
    #[error("the API server refused the record: {0}")]
    Refused(String),
    /// It may be later.
    #[error("the API server does not take the record at present: {0}")]
    Unavailable(String),
}

/// What became of a click, as far as is known in time.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The operator wrote the outcome down.
    Done {
        /// The action's name.
        action: String,
        /// How it went.
        phase: ActionPhase,
        /// The operator's sentence.
        message: String,
        /// The object that it was about.
        target: Option<TargetName>,
    },
    /// The action exists and has no outcome yet.
    Pending {
        /// The action's name.
        action: String,
        /// The operator does nothing after this time.
        not_after: String,
    },
    /// The API server did not say in time whether it took the action.
    Unknown {
        /// Should it exist, the operator does nothing after this time.
        not_after: String,
    },
    /// The API server refused the action.
    Denied(String),
    /// The API server was not reached, or failed. The action does not exist.
    Unavailable(String),
    /// It was about a container of this node, and this agent knows.
    Here(Here),
}

impl Outcome {
    /// Whether an action exists, or may exist, or something was tried here: then the same click again
    /// is not a new one.
    pub fn may_exist(&self) -> bool {
        match self {
            // What stood against it may be over by the next click.
            Outcome::Done { phase, .. } => {
                !matches!(phase, ActionPhase::Refused | ActionPhase::Expired)
            }
            Outcome::Pending { .. } | Outcome::Unknown { .. } => true,
            Outcome::Here(here) => here.phase != Phase::Refused,
            Outcome::Denied(_) | Outcome::Unavailable(_) => false,
        }
    }

    /// Whether the operator has done it.
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Outcome::Done {
                phase: ActionPhase::Succeeded,
                ..
            }
        )
    }

    /// A word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Done {
                phase: ActionPhase::Succeeded,
                ..
            } => "succeeded",
            Outcome::Done {
                phase: ActionPhase::Refused,
                ..
            } => "refused",
            Outcome::Done {
                phase: ActionPhase::Failed,
                ..
            } => "failed",
            Outcome::Done {
                phase: ActionPhase::Expired,
                ..
            } => "expired",
            Outcome::Pending { .. } => "pending",
            Outcome::Unknown { .. } => "unknown",
            Outcome::Denied(_) => "denied",
            Outcome::Unavailable(_) => "unavailable",
            Outcome::Here(here) => match here.phase {
                Phase::Succeeded => "succeeded",
                Phase::Accepted => "accepted",
                Phase::Refused => "refused",
                Phase::Failed => "failed",
            },
        }
    }
}

/// The plugin's actions in the API server.
#[derive(Clone)]
pub struct Actions {
    api: Api<ScopeAction>,
    namespace: String,
    plugin: String,
    node: String,
}

impl Actions {
    /// Actions of this plugin, made by the agent on this node. The client must not repeat requests
    /// by itself: a click is one click.
    pub fn new(client: Client, namespace: &str, plugin: &str, node: &str) -> Self {
        Actions {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            plugin: plugin.to_owned(),
            node: node.to_owned(),
        }
    }

    /// The namespace that actions are made in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Makes an action of the click and waits for its outcome until the deadline.
    pub async fn submit(&self, click: &Click, deadline: Instant) -> Outcome {
        let (not_after, said) = expiry(SystemTime::now());
        let action = self.action(click, not_after);
        let params = PostParams::default();
        let created =
            match tokio::time::timeout_at(deadline, self.api.create(&params, &action)).await {
                Err(_) => return Outcome::Unknown { not_after: said },
                Ok(Err(e)) => return not_created(e, said),
                Ok(Ok(created)) => created,
            };
        self.await_outcome(created, said, deadline).await
    }

    /// Looks again at an action that was pending.
    pub async fn look_again(&self, name: &str, not_after: &str, deadline: Instant) -> Outcome {
        let pending = || Outcome::Pending {
            action: name.to_owned(),
            not_after: not_after.to_owned(),
        };
        match tokio::time::timeout_at(deadline, self.api.get(name)).await {
            Ok(Ok(action)) => {
                self.await_outcome(action, not_after.to_owned(), deadline)
                    .await
            }
            Ok(Err(e)) => {
                tracing::warn!(action = name, error = %e, "cannot look at an action");
                pending()
            }
            Err(_) => pending(),
        }
    }

    /// Watches one action, from the version that we know, so that nothing is missed.
    async fn await_outcome(
        &self,
        action: ScopeAction,
        not_after: String,
        deadline: Instant,
    ) -> Outcome {
        let name = action.name_any();
        if let Some(outcome) = outcome_of(&action) {
            return outcome;
        }
        let version = action.resource_version().unwrap_or_default();
        let params = WatchParams::default()
            .fields(&format!("metadata.name={name}"))
            .disable_bookmarks()
            // Whole seconds only; the deadline is shorter.
            .timeout(1);
        let watched = async {
            let events = self.api.watch(&params, &version).await?;
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.try_next().await? {
                let outcome = match event {
                    WatchEvent::Added(action) | WatchEvent::Modified(action) => outcome_of(&action),
                    WatchEvent::Deleted(_) => None,
                    WatchEvent::Bookmark(_) => None,
                    WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                };
                if outcome.is_some() {
                    return Ok(outcome);
                }
            }
            Ok(None)
        };
        match tokio::time::timeout_at(deadline, watched).await {
            Ok(Ok(Some(outcome))) => return outcome,
            Ok(Err(e)) => {
                tracing::warn!(action = name, error = %e, "cannot watch an action");
            }
            // Out of time, or the server ended the watch.
            Ok(Ok(None)) | Err(_) => {}
        }
        Outcome::Pending {
            action: name,
            not_after,
        }
    }

    /// A name for one record: should the API server take it and the answer get lost, the second try
    /// finds it there.
    pub fn new_name(&self) -> String {
        use std::hash::{BuildHasher as _, RandomState};
        format!(
            "{}-{:016x}",
            self.plugin,
            RandomState::new().hash_one(&self.node)
        )
    }

    /// Writes down what was done here, as an action that is done.
    pub async fn record(&self, name: &str, record: &Record) -> Result<(), NotRecorded> {
        let action = self.recorded(name, record);
        match self.api.create(&PostParams::default(), &action).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(kube::Error::Api(status))
                if (400..500).contains(&status.code) && !MAY_PASS.contains(&status.code) =>
            {
                Err(NotRecorded::Refused(one_line(&status.message)))
            }
            Err(e) => Err(NotRecorded::Unavailable(one_line(&e.to_string()))),
        }
    }

    fn recorded(&self, name: &str, record: &Record) -> ScopeAction {
        let time = jiff::Timestamp::try_from(record.at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let at = MicroTime(time);
        let target = &record.target;
        let message = &record.message;
        ScopeAction {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: ScopeActionSpec {
                plugin: self.plugin.clone(),
                control: record.control,
                target: ActionTarget {
                    kind: TargetKind::Pod,
                    uid: target.pod_uid.clone(),
                    container: Some(ActionContainer {
                        id: target.container.clone(),
                        name: target.name.clone(),
                        namespace: target.namespace.clone(),
                        pod: target.pod.clone(),
                    }),
                },
                node: self.node.clone(),
                probe_id: record.probe_id.clone(),
                app_id: record.app_id.clone(),
                // Over already: whoever does not know of `done` does nothing either.
                not_after: at.clone(),
                done: Some(ActionDone {
                    phase: record.phase,
                    message: message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned(),
                    at,
                }),
            },
            status: None,
        }
    }

    fn action(&self, click: &Click, not_after: MicroTime) -> ScopeAction {
        ScopeAction {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", self.plugin)),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: ScopeActionSpec {
                plugin: self.plugin.clone(),
                control: click.control,
                target: ActionTarget {
                    kind: click.kind,
                    uid: click.uid.clone(),
                    container: None,
                },
                node: self.node.clone(),
                probe_id: click.probe_id.clone(),
                app_id: click.app_id.clone(),
                not_after,
                done: None,
            },
            status: None,
        }
    }
}

/// What a failed creation means. A request that was sent and got no proper answer may have worked.
fn not_created(error: kube::Error, not_after: String) -> Outcome {
    match &error {
        kube::Error::Api(status) if status.code == 504 => Outcome::Unknown { not_after },
        kube::Error::Api(status) if status.code >= 500 || status.code == 429 => {
            Outcome::Unavailable(one_line(&status.message))
        }
        kube::Error::Api(status) => Outcome::Denied(one_line(&status.message)),
        _ if was_not_sent(&error) => Outcome::Unavailable(one_line(&error.to_string())),
        _ => {
            tracing::warn!(%error, "no answer to the creation of an action");
            Outcome::Unknown { not_after }
        }
    }
}

/// Whether there was no connection to send the request on.
fn was_not_sent(error: &kube::Error) -> bool {
    use hyper_util::client::legacy::Error as ClientError;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<ClientError>()
            .is_some_and(ClientError::is_connect)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Until when a click of this time may be carried out; for the operator and for a person.
pub(super) fn expiry(clicked: SystemTime) -> (MicroTime, String) {
    // A clock beyond year 9999 is the only way to fail; then the action has expired already.
    let time = jiff::Timestamp::try_from(clicked + ACT_WITHIN);
    let time = time.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    (MicroTime(time), time.strftime("%H:%M:%S UTC").to_string())
}

/// The outcome, once the operator has written one.
fn outcome_of(action: &ScopeAction) -> Option<Outcome> {
    let status = action.status.as_ref()?;
    let phase = status.phase?;
    Some(Outcome::Done {
        action: action.name_any(),
        phase,
        message: status.message.clone().unwrap_or_default(),
        target: status.target.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_to_nothing_is_not_the_answer_to_the_next_click() {
        let done = |phase| Outcome::Done {
            action: "a-1".into(),
            phase,
            message: String::new(),
            target: None,
        };
        for (phase, remembered) in [
            (ActionPhase::Succeeded, true),
            // Tried: whether something came of it is not always known.
            (ActionPhase::Failed, true),
            (ActionPhase::Refused, false),
            (ActionPhase::Expired, false),
        ] {
            assert_eq!(done(phase).may_exist(), remembered, "{phase}");
        }
        assert!(!Outcome::Denied("no".into()).may_exist());
    }
}
