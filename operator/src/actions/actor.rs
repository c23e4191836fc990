//! Carrying out one action, from the click to the written outcome.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{
    Client, ResourceExt,
    runtime::reflector::{ObjectRef, Store},
};
use scope_crds::{ActionPhase, AgentSpec, ScopeAction, ScopePlugin};

use super::{
    decide::{self, Outcome, Plugin},
    index::Indexes,
    rate::Rates,
    recent::{self, Click, Recent},
    target::Seen,
};
use crate::{
    events::Events,
    guarded::RequestError,
    leader::{Claim, NotLeading},
    metrics::Metrics,
    seen::SeenNode,
    settings::Settings,
    watches::Guarded,
};

/// Longest wait for a single request of an action: the person who clicked waits.
pub(super) const REQUEST: Duration = Duration::from_secs(3);

/// What leads from a UID to an object.
pub(crate) struct Known {
    /// The kinds that can be clicked here.
    pub(crate) indexes: Indexes,
    pub(crate) nodes: Store<SeenNode>,
}

/// Carries out actions.
pub(crate) struct Actor {
    pub(super) client: Client,
    pub(super) claim: Claim,
    pub(super) settings: Settings,
    plugins: Store<Guarded<ScopePlugin>>,
    pub(super) known: Known,
    rates: Mutex<Rates>,
    recent: Mutex<Recent>,
    /// Records of agents, by plugin and node.
    pub(super) records: Mutex<Rates>,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
}

/// What came of an action.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// The object that it was about, once that was found.
    pub(super) seen: Option<Seen>,
    /// When that was known, where it was not now.
    pub(super) at: Option<Timestamp>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            seen: None,
            at: None,
        }
    }
}

/// Why an action is left as it is.
pub(super) enum Left {
    /// Another replica leads, or has begun with it.
    ToOthers,
    Ended(Done),
}

impl From<NotLeading> for Left {
    fn from(_: NotLeading) -> Self {
        Self::ToOthers
    }
}

impl From<Outcome> for Left {
    fn from(outcome: Outcome) -> Self {
        Self::Ended(outcome.into())
    }
}

impl From<RequestError> for Left {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotLeading(error) => error.into(),
            error => Outcome::failed(words(&error)).into(),
        }
    }
}

/// An error for the person who clicked: the API server's own message where there is one.
pub(super) fn words(error: &RequestError) -> String {
    match error.status() {
        Some(status) => format!("The API server refused: {}", status.message),
        None => format!("The API server did not answer: {error}"),
    }
}

impl Actor {
    pub(crate) fn new(
        client: Client,
        claim: Claim,
        settings: Settings,
        plugins: Store<Guarded<ScopePlugin>>,
        known: Known,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            claim,
            settings,
            plugins,
            known,
            rates: Mutex::default(),
            recent: Mutex::default(),
            records: Mutex::default(),
            events,
            metrics,
        }
    }

    /// Counts what was done in the last minute before this replica led.
    pub(super) fn take_over<'a>(&self, records: impl IntoIterator<Item = &'a ScopeAction>) {
        let (mut done, mut clicks) = (Vec::new(), Vec::new());
        for action in records {
            let Some(at) = decide::acted_at(action) else {
                continue;
            };
            let spec = &action.spec;
            done.push((spec.plugin.clone(), at));
            let phase = action.status.as_ref().and_then(|status| status.phase);
            // Of one that was begun and has no outcome nobody knows: its person is told to click again.
            if recent::adds_up(spec.control) && phase == Some(ActionPhase::Succeeded) {
                let click = click(action, at);
                clicks.push(Click {
                    done: true,
                    ..click
                });
            }
        }
        locked(&self.rates).restart(done, Timestamp::now());
        locked(&self.recent).restart(clicks);
    }

    /// Carries out `action` and writes its outcome. Returns whether that is settled; if not, the
    /// action is as pending as before.
    pub(super) async fn handle(&self, action: &ScopeAction) -> bool {
        let started = Instant::now();
        let done = match self.carry_out(action).await {
            Ok(done) | Err(Left::Ended(done)) => done,
            Err(Left::ToOthers) => return false,
        };
        let written = self.write_outcome(action, &done).await;
        // How long an agent took is not known here.
        let took = action.spec.done.is_none().then(|| started.elapsed());
        let control = action.spec.control.as_str();
        self.metrics
            .action(control, phase_name(done.outcome.phase), took);
        let spec = &action.spec;
        tracing::info!(
            action = action.name_any(),
            plugin = spec.plugin,
            control,
            phase = phase_name(done.outcome.phase),
            uid = spec.target.uid,
            app = spec.app_id,
            probe = spec.probe_id,
            through = spec.node,
            took_ms = took.map(|took| took.as_millis() as u64),
            "{}{}",
            if took.is_none() {
                "recorded by the agent: "
            } else {
                ""
            },
            done.outcome.message
        );
        self.tell(action, &done).await;
        written
    }

    async fn carry_out(&self, action: &ScopeAction) -> Result<Done, Left> {
        self.claim.left()?;
        let spec = &action.spec;
        if let Some(done) = &spec.done {
            return Ok(self.look_at_done(action, done).await);
        }
        let plugin = self.plugins.get(&ObjectRef::new(&spec.plugin));
        let plugin = match plugin.as_deref() {
            None => Plugin::Missing,
            Some(guarded) => guarded.0.as_ref().map_or(Plugin::Unreadable, Plugin::Known),
        };
        let agent = decide::admit(action, &plugin, &self.settings, Timestamp::now())?;

        let taken = Timestamp::now();
        let adds_up = recent::adds_up(spec.control);
        if adds_up {
            let first = locked(&self.recent).take(click(action, taken));
            first.map_err(|first| again(&first, taken))?;
        }
        let ended = self.in_its_place(action, agent, taken).await;
        if adds_up {
            match &ended {
                Ok(_) => locked(&self.recent).done(&action.name_any()),
                Err(_) => locked(&self.recent).forget(&action.name_any()),
            }
        }
        ended
    }

    /// Acts, if the plugin has a place left in this minute.
    async fn in_its_place(
        &self,
        action: &ScopeAction,
        agent: &AgentSpec,
        taken: Timestamp,
    ) -> Result<Done, Left> {
        let plugin = &action.spec.plugin;
        let limit = usize::try_from(agent.max_actions_per_minute).unwrap_or(1);
        let place = locked(&self.rates).take(plugin, limit, taken);
        place.map_err(|seconds| {
            Outcome::refused(format!(
                "The ScopePlugin {plugin} has had its {limit} actions of this minute \
                 (spec.agent.maxActionsPerMinute). Click again in {seconds} s"
            ))
        })?;
        let ended = self.act(action, agent).await;
        let counts = match &ended {
            Ok(_) => true,
            Err(Left::Ended(done)) => {
                done.outcome.phase == ActionPhase::Failed && done.seen.is_some()
            }
            Err(Left::ToOthers) => false,
        };
        if !counts {
            locked(&self.rates).give_back(plugin, taken);
        }
        ended
    }
}

fn click(action: &ScopeAction, at: Timestamp) -> Click {
    Click {
        uid: action.spec.target.uid.clone(),
        control: action.spec.control,
        action: action.name_any(),
        at,
        done: false,
    }
}

/// What is said to a second click.
fn again(first: &Click, now: Timestamp) -> Outcome {
    let action = &first.action;
    match first.done {
        true => Outcome::succeeded(format!(
            "The same was done {} s ago, as ScopeAction {action}: nothing more was done. Click again in a \
             moment to have it done once more",
            now.duration_since(first.at).as_secs()
        )),
        false => Outcome::refused(format!(
            "The same is under way as ScopeAction {action}: nothing more was done"
        )),
    }
}

fn phase_name(phase: ActionPhase) -> &'static str {
    match phase {
        ActionPhase::Succeeded => "Succeeded",
        ActionPhase::Refused => "Refused",
        ActionPhase::Failed => "Failed",
        ActionPhase::Expired => "Expired",
    }
}

pub(super) fn locked<T>(counts: &Mutex<T>) -> MutexGuard<'_, T> {
    counts
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
pub(super) mod tests;
