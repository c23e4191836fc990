//! The look at one plugin: what is there and what is wanted, what is done about it, and what is written down
//! about how it stands. Nothing in here waits or polls; it says when to look again.

pub(crate) mod report;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{ConfigMap, ServiceAccount},
};
use kube::{
    ResourceExt,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};
use scope_crds::ScopePlugin;

use crate::{
    apply::Writer,
    desired::Revision,
    editions::Edition,
    events::{self, Events},
    guarded::RequestError,
    memory::Memory,
    metrics::Metrics,
    names,
    overlap::{self, Overlap},
    ownership,
    plan::{self, Observed},
    readiness::Readiness,
    refusals::Refusals,
    rolling::{self, Found, Rolling},
    rollout::{Decision, Waiting},
    seen::{Pods, SeenNode},
    settings::Settings,
    status::{self, Connection, Facts, Progress, Trouble},
    tell, totals,
    watches::Guarded,
};

/// How often a plugin that waits for another one's agents looks whether they are done.
const TURN: Duration = Duration::from_secs(5);

/// How often agents that refuse to be ready are asked again, where nothing else leads to a look: what they
/// say changes without a sign to us.
const ASK: Duration = Duration::from_secs(30);

/// How soon a plugin is looked at again whose spec is older than what was acted on, if no event tells.
const BEHIND: Duration = Duration::from_secs(5);

/// What a look works with.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) writer: Writer,
    pub(crate) plugins: Store<Guarded<ScopePlugin>>,
    pub(crate) daemon_sets: Store<DaemonSet>,
    pub(crate) service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
    pub(crate) nodes: Store<SeenNode>,
    pub(crate) pods: Pods,
    pub(crate) revisions: Store<ControllerRevision>,
    pub(crate) records: Store<ConfigMap>,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) refusals: Refusals,
    /// What agents tell scope-totals.
    pub(crate) board: Arc<totals::Board>,
    pub(crate) memory: Mutex<Memory>,
    /// Of what overlaps are worked out.
    pub(crate) plugins_edition: Edition,
    pub(crate) nodes_edition: Edition,
}

impl Context {
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Looks at one plugin. Returns when to look again, if sooner than usual.
pub(crate) async fn look(
    plugin: &ScopePlugin,
    context: &Context,
) -> Result<Option<Duration>, RequestError> {
    // It and its children are going by themselves; a child made now would only be an orphan.
    if plugin.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let written = rolling::record_of(plugin, context).await?;
    if written.as_ref().is_ok_and(|it| it.is_ahead_of(plugin)) {
        context.metrics.reconciled("Behind");
        return Ok(Some(BEHIND));
    }
    let uid = plugin.uid().unwrap_or_default();
    let child = names::child(names::id(plugin));
    let namespace = &context.settings.plugins_namespace;
    let daemon_set = context
        .daemon_sets
        .get(&ObjectRef::new(&child).within(namespace));
    let service_account = context
        .service_accounts
        .get(&ObjectRef::new(&child).within(namespace));
    let owned: Vec<_> = context
        .daemon_sets
        .state_filter(|daemon_set| ownership::is_child(&daemon_set.metadata, &uid))
        .iter()
        .map(|daemon_set| daemon_set.metadata.clone())
        .collect();
    let term = context.writer.claim.term();
    let known_generation = context.memory().known_generation(
        &uid,
        daemon_set
            .as_ref()
            .and_then(|ds| ds.metadata.uid.as_deref()),
        term,
    );

    let observed = Observed {
        service_account: service_account.as_ref().map(|account| &account.metadata),
        daemon_set: daemon_set.as_deref(),
        known_generation,
        daemon_sets: &owned,
    };
    let plan_for = |revision: &Revision| plan::plan(plugin, &context.settings, revision, &observed);
    let mut plan = plan_for(&Revision::wanted(plugin, &context.settings));
    let (mut rolling, mut stuck): (Option<Box<Rolling>>, Option<Trouble>) = (None, None);
    if plugin.spec.suspended {
        if let Ok(written) = written {
            rolling::suspend(plugin, written, context).await?;
        }
    } else if plan.obstacle.is_none() {
        let ours = daemon_set
            .as_deref()
            .filter(|live| ownership::is_child(&live.metadata, &uid));
        let found = match written {
            Ok(written) => rolling::look(plugin, written, ours, context).await?,
            Err(trouble) => Found::Stuck(trouble),
        };
        match found {
            Found::Rolling(found) => {
                plan = plan_for(&found.carry);
                rolling = Some(found);
            }
            // What runs is left alone, and nothing new is made.
            Found::Stuck(trouble) => {
                plan.daemon_set = plan::Step::Keep;
                stuck = Some(trouble);
            }
        }
    }
    let settled = plan.daemon_set == plan::Step::Keep && stuck.is_none();
    let obstacle = plan.obstacle.clone().map(Trouble::Obstacle);
    let outcome = context
        .writer
        .carry_out(plan, daemon_set.as_deref())
        .await?;
    // An apply that changes nothing is followed by no event, and so by no other look.
    let version = |object: &DaemonSet| object.metadata.resource_version.clone();
    let as_seen = outcome
        .daemon_set
        .as_ref()
        .is_none_or(|written| daemon_set.as_deref().map(version) == Some(version(written)));
    if !as_seen {
        tell::repair(plugin, &outcome, &context.events).await;
    }
    let mut left = false;
    // Only under a DaemonSet that is as it was seen.
    if let (Some(rolling), true, None) = (&rolling, as_seen, &outcome.trouble) {
        left = rolling::replace(plugin, &rolling.decision, context).await?;
    }

    // What is ours, as new as it is known.
    let live = outcome.daemon_set.as_ref().or(daemon_set.as_deref());
    let ours = live.filter(|live| ownership::is_child(&live.metadata, &uid));
    if let Some(live) = ours
        && (settled || outcome.daemon_set.is_some())
        && let (Some(daemon_set_uid), Some(generation)) =
            (&live.metadata.uid, live.metadata.generation)
    {
        context
            .memory()
            .applied(&uid, daemon_set_uid, generation, term);
    }

    let (missing, missing_again) = missing_pods(plugin, ours, context).await;
    let refused = outcome.trouble.is_some();
    let trouble = obstacle.or(stuck).or(outcome.trouble).or(missing);
    let overlap = overlap_of(plugin, &uid, context);
    let progress = rolling.as_deref().map(progress);
    let connection = connection(plugin, &uid, progress.as_ref(), context);
    let counts = connection.counts(plugin.status.as_ref());
    report::figures(plugin, progress.as_ref(), counts, context);
    report::write_status(plugin, &uid, context, |previous| {
        let plugin = ScopePlugin {
            status: previous.cloned(),
            ..plugin.clone()
        };
        status::assess(
            &Facts {
                plugin: &plugin,
                allowed: &context.settings.allowed_actions,
                daemon_set: ours,
                progress,
                overlap: overlap.as_ref(),
                trouble,
                connection,
                plugin_directory: &context.settings.plugin_directory,
            },
            Timestamp::now(),
        )
    })
    .await?;

    if refused {
        // What refused it may change without a sign to us.
        context.metrics.reconciled("Refused");
        return Ok(Some(context.memory().failed(&uid)));
    }
    context.memory().succeeded(&uid);
    let rolling_again = rolling.as_deref().and_then(again);
    let at_once = left.then_some(Duration::ZERO);
    let again = [missing_again, rolling_again, at_once];
    Ok(again.into_iter().flatten().min())
}

fn progress(rolling: &Rolling) -> Progress<'_> {
    let Rolling {
        decision, wanted, ..
    } = rolling;
    Progress {
        record: &decision.record,
        standing: &decision.standing,
        wanted,
    }
}

/// When a rollout has to be looked at by the mere passing of time.
fn again(rolling: &Rolling) -> Option<Duration> {
    let Decision {
        again, standing, ..
    } = &rolling.decision;
    let due = again.map(|at| {
        let left = at.duration_since(Timestamp::now());
        // A little later, so that it is past then.
        Duration::try_from(left).unwrap_or_default() + Duration::from_millis(20)
    });
    let turn = matches!(standing.waiting, Waiting::Plugin(_)).then_some(TURN);
    let ask = rolling.refused.then_some(ASK);
    [due, turn, ask].into_iter().flatten().min()
}

/// The older plugin whose agents write what this one's write, on the same nodes. It is worked out when
/// plugins or nodes have changed, not at each look.
fn overlap_of(plugin: &ScopePlugin, uid: &str, context: &Context) -> Option<Overlap> {
    // Before the objects, which may be newer; see there.
    let editions = [&context.plugins_edition, &context.nodes_edition].map(Edition::now);
    if let Some(known) = context.memory().overlap(uid, editions) {
        return known;
    }
    let plugins = context.plugins.state();
    let readable: Vec<overlap::Plugin<'_>> = plugins
        .iter()
        .filter_map(|plugin| plugin.0.as_ref().ok())
        .filter(|plugin| plugin.metadata.deletion_timestamp.is_none())
        .map(|plugin| overlap::Plugin {
            name: names::id(plugin),
            created: plugin
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0),
            spec: &plugin.spec,
        })
        .collect();
    let nodes = context.nodes.state();
    let nodes = nodes.iter().map(|node| overlap::Node {
        name: node.name(),
        labels: node.labels(),
        taints: node.taints(),
    });
    let allowed = &context.settings.allowed_actions;
    let found = overlap::overlap(names::id(plugin), &readable, nodes, allowed);
    context.memory().overlaps(uid, editions, found.clone());
    found
}

/// What to say of whether Scope asks the plugin's agents.
fn connection(
    plugin: &ScopePlugin,
    uid: &str,
    progress: Option<&Progress<'_>>,
    context: &Context,
) -> Connection {
    let nowhere = progress.is_some_and(|progress| progress.standing.desired == 0);
    if context.settings.totals.is_none() || plugin.spec.suspended || nowhere {
        return Connection::Unsaid;
    }
    let term = context.writer.claim.term();
    match context.board.shown(uid, term) {
        Some(shown) => Connection::Shown(shown),
        None => Connection::AsBefore,
    }
}

/// Asks why pods are missing, when they have been for a while.
async fn missing_pods(
    plugin: &ScopePlugin,
    ours: Option<&DaemonSet>,
    context: &Context,
) -> (Option<Trouble>, Option<Duration>) {
    let uid = plugin.uid().unwrap_or_default();
    let missing = ours.filter(|ours| !plugin.spec.suspended && status::missing_pods(ours) > 0);
    let mut patience = context
        .memory()
        .patience(&uid, missing.is_some(), Instant::now());
    let Some(live) = missing else {
        return (None, None);
    };
    if patience.look {
        let heard = events::newest_failed_create(
            &context.writer.client,
            &context.settings.plugins_namespace,
            live,
        )
        .await;
        match heard {
            Ok(words) => {
                patience.words.clone_from(&words);
                context.memory().heard(&uid, words);
            }
            Err(error) => {
                tracing::warn!(
                    plugin = names::id(plugin),
                    "why pods are missing is not known: {error}"
                );
            }
        }
    }
    if patience.wake
        && let Err(error) = context.writer.wake(live).await
    {
        tracing::warn!(
            plugin = names::id(plugin),
            "the DaemonSet controller was not woken: {error}"
        );
    }
    (
        patience
            .words
            .map(|message| Trouble::PodsNotCreated { message }),
        patience.again,
    )
}
