//! What the agents tell of themselves, which the operator asks scope-totals for: whether Scope's probes ask them,
//! and which collectors bring nothing.
//!
//! The replica that leads asks, for all plugins at once. What it hears is held per plugin ([`Board`]) and changes
//! there only when a status should: a look at a plugin, whatever it is for, shows what is held. Where the service
//! is comes from the ConfigMap that agents have, which is in the cache of rollout records; its token from a volume.

mod ask;
mod board;
mod error;
mod reach;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt as _,
    runtime::reflector::{ObjectRef, Store},
};
use scope_crds::ScopePlugin;
use scope_totals_wire::Fleet;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    leader::{Claim, jitter},
    metrics::Metrics,
    names,
    readiness::Readiness,
    watches::{Guarded, kind},
};

pub(crate) use board::{Board, Expected, Shown, Told, Verdict};
pub(crate) use error::AskError;
use reach::Reach;

/// Scope shows an agent that a probe asked within a minute; more often would tell little more.
const PACE: Duration = Duration::from_secs(30);
/// Plugins whose look waits to be noticed; the controller takes them at once.
const LOOKS: usize = 64;
/// How a question ends that is answered.
const TOLD: &str = "Told";

/// Where scope-totals says where it is, and how the operator proves itself there.
#[derive(Clone, Debug)]
pub(crate) struct Whereabouts {
    /// Namespace and name of the ConfigMap.
    pub(crate) namespace: String,
    pub(crate) config_map: String,
    /// The file with the token.
    pub(crate) token: PathBuf,
}

/// Asks scope-totals.
pub(crate) struct Asker {
    pub(crate) whereabouts: Whereabouts,
    pub(crate) config_maps: Store<ConfigMap>,
    pub(crate) plugins: Store<Guarded<ScopePlugin>>,
    pub(crate) claim: Claim,
    pub(crate) board: Arc<Board>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where looks are asked for.
    pub(crate) looks: mpsc::Sender<PluginRef>,
}

type PluginRef = ObjectRef<Guarded<ScopePlugin>>;

/// Plugins that should be looked at, since something else is to be shown of them.
pub(crate) type Looks = mpsc::Receiver<PluginRef>;

/// A place for looks that are due.
pub(crate) fn looks() -> (mpsc::Sender<PluginRef>, Looks) {
    mpsc::channel(LOOKS)
}

/// Yields them. Where nobody asks it never ends either.
pub(crate) fn due(looks: Looks) -> impl Stream<Item = PluginRef> + Send {
    stream::unfold(looks, |mut looks| async move {
        match looks.recv().await {
            Some(plugin) => Some((plugin, looks)),
            None => std::future::pending().await,
        }
    })
}

impl Asker {
    /// Asks at its pace while this replica leads, and at the begin of each term, until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.readiness.wait_for(&[kind::PLUGINS, kind::RECORDS]) => {}
        }
        let mut terms = self.claim.terms();
        let mut outcome = TOLD;
        loop {
            drop(terms.borrow_and_update());
            if self.claim.is_held() {
                let turn = stop.run_until_cancelled(self.turn(outcome)).await;
                let Some(now) = turn else { return };
                outcome = now;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PACE + jitter(PACE / 10)) => {}
                Ok(()) = terms.changed() => {}
            }
        }
    }

    /// Asks once. `before` is how it ended the last time; how it does now is returned.
    async fn turn(&self, before: &'static str) -> &'static str {
        // The answer is that of the term in which it was asked for.
        let term = self.claim.term();
        let answer = self.ask().await;
        let outcome = match &answer {
            Ok(_) => TOLD,
            Err(error) => error.reason(),
        };
        self.metrics.totals_asked(outcome);
        match &answer {
            Err(error) if outcome != before => {
                tracing::warn!(
                    outcome,
                    "whether Scope asks the agents is not known: {error}"
                );
            }
            Err(error) => tracing::debug!(outcome, "asked in vain: {error}"),
            Ok(_) if outcome != before => tracing::info!("scope-totals answers again"),
            Ok(_) => {}
        }
        let expected = self.expected();
        let changed = self
            .board
            .hear(term, &expected, answer.as_ref(), Instant::now());
        for plugin in changed {
            // The controller is gone at the end only.
            let _ = self.looks.send(ObjectRef::new(&plugin)).await;
        }
        outcome
    }

    async fn ask(&self) -> Result<Fleet, AskError> {
        let Whereabouts {
            namespace,
            config_map,
            ..
        } = &self.whereabouts;
        let key = ObjectRef::new(config_map).within(namespace);
        let map = self.config_maps.get(&key);
        let reach = Reach::read(map.as_deref(), &self.whereabouts)?;
        ask::fleet(&reach).await
    }

    /// The plugins whose agents should report: those that run on some node, as far as that is known.
    fn expected(&self) -> Vec<Expected> {
        let plugins = self.plugins.state();
        let readable = plugins.iter().filter_map(|plugin| plugin.0.as_ref().ok());
        readable
            .filter(|plugin| !plugin.spec.suspended && plugin.metadata.deletion_timestamp.is_none())
            .filter_map(|plugin| {
                let nodes = plugin.status.as_ref().and_then(|status| status.nodes);
                if nodes.is_some_and(|nodes| nodes.desired == 0) {
                    return None;
                }
                let agents = nodes.map_or(0, |nodes| nodes.ready);
                Some(Expected {
                    uid: plugin.uid()?,
                    name: names::id(plugin).to_owned(),
                    agents: u32::try_from(agents).unwrap_or_default(),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
