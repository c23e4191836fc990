//! The controller of ScopePlugins: looks at one plugin, plans, acts, and writes down how it stands.
//! Nothing in here waits or polls; it says when to look again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, future};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::ServiceAccount};
use kube::{
    Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller, Predicate, WatchStreamExt,
        controller::{self, Action},
        predicates,
        reflector::{ObjectRef, Store},
    },
};
use scope_crds::{ScopePlugin, ScopePluginStatus};
use tokio_util::sync::CancellationToken;

use crate::{
    apply::Writer,
    desired,
    events::{self, Events},
    guarded::RequestError,
    leader::jitter,
    memory::Memory,
    metrics::Metrics,
    names, ownership,
    plan::{self, Observed},
    readiness::Readiness,
    settings::Settings,
    status::{self, Facts, Trouble},
    tell,
    watches::{Guarded, kind},
};

/// Looks at everything so often, in case an event was lost. It costs no request.
const SLOW: Duration = Duration::from_secs(600);
/// How long after an event a look waits for further ones.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Plugins that are looked at side by side: enough that a slow one does not hold the others up.
const CONCURRENCY: u16 = 4;
/// The first fill of the caches may take this long.
const FILL: Duration = Duration::from_secs(60);

/// What the controller works with.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) writer: Writer,
    pub(crate) plugins: Store<Guarded<ScopePlugin>>,
    pub(crate) daemon_sets: Store<DaemonSet>,
    pub(crate) service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) memory: Mutex<Memory>,
}

/// The streams that fill the stores.
pub(crate) struct Touched<P, D, S> {
    pub(crate) plugins: P,
    pub(crate) daemon_sets: D,
    pub(crate) service_accounts: S,
}

impl Context {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Runs the controller until `stop`; looks under way are finished.
pub(crate) async fn run(
    context: Arc<Context>,
    touched: Touched<
        impl Stream<Item = Guarded<ScopePlugin>> + Send + 'static,
        impl Stream<Item = DaemonSet> + Send + 'static,
        impl Stream<Item = PartialObjectMeta<ServiceAccount>> + Send + 'static,
    >,
    stop: CancellationToken,
) {
    // The generation alone would hide changes of metadata. A status of ours is no reason to look.
    let relevant = predicates::generation
        .combine(predicates::labels)
        .combine(predicates::annotations)
        .combine(predicates::finalizers);
    let plugins = touched
        .plugins
        .map(Ok)
        .predicate_filter(relevant, Default::default());
    let terms = term_begins(context.writer.claim.terms());
    Controller::for_stream(plugins, context.plugins.clone())
        .with_config(
            controller::Config::default()
                .debounce(DEBOUNCE)
                .concurrency(CONCURRENCY),
        )
        .watches_stream(touched.daemon_sets.map(Ok), |child| plugin_of(&child))
        .watches_stream(touched.service_accounts.map(Ok), |child| plugin_of(&child))
        .reconcile_all_on(terms)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, after_failure, context)
        .for_each(|_| future::ready(()))
        .await;
}

/// The plugin that a child belongs to, or that a foreign object of a child's name is in the way of.
fn plugin_of<K: Resource<DynamicType = ()>>(child: &K) -> Option<ObjectRef<Guarded<ScopePlugin>>> {
    let name = child.meta().name.as_deref().unwrap_or_default();
    ownership::plugin_of(child.meta())
        .or_else(|| names::plugin_of_child(name))
        .map(ObjectRef::new)
}

/// Yields whenever a term of this replica begins.
fn term_begins(terms: tokio::sync::watch::Receiver<u64>) -> impl Stream<Item = ()> + Send {
    futures::stream::unfold(terms, |mut terms| async move {
        terms.changed().await.ok()?;
        Some(((), terms))
    })
}

async fn reconcile(
    object: Arc<Guarded<ScopePlugin>>,
    context: Arc<Context>,
) -> Result<Action, RequestError> {
    // A standby keeps its caches and does nothing; its term begins with a look at everything.
    if !context.writer.claim.is_held() {
        return Ok(Action::await_change());
    }
    // Before the first list is complete, a child that is not in the cache may well be there.
    let filled = context
        .readiness
        .wait_for(&[kind::DAEMON_SETS, kind::ACCOUNTS]);
    if tokio::time::timeout(FILL, filled).await.is_err() {
        return Ok(Action::requeue(FILL));
    }
    let again = match &object.0 {
        Ok(plugin) => look(plugin, &context).await?,
        Err(invalid) => {
            context.metrics.undecodable("ScopePlugin");
            unreadable(&object, &invalid.error, &context).await?
        }
    };
    context.metrics.reconciled("done");
    Ok(Action::requeue(
        again.unwrap_or_else(|| SLOW + jitter(SLOW / 10)),
    ))
}

fn after_failure(
    object: Arc<Guarded<ScopePlugin>>,
    error: &RequestError,
    context: Arc<Context>,
) -> Action {
    context.metrics.reconciled(error.category());
    if matches!(error, RequestError::NotLeading(_)) {
        return Action::await_change();
    }
    let delay = context.memory().failed(&object.uid().unwrap_or_default());
    let plugin = object.name_any();
    tracing::warn!(
        plugin,
        category = error.category(),
        ?delay,
        "tried again later: {error}"
    );
    Action::requeue(delay)
}

/// Looks at one plugin. Returns when to look again, if sooner than usual.
async fn look(plugin: &ScopePlugin, context: &Context) -> Result<Option<Duration>, RequestError> {
    // It and its children are going by themselves; a child made now would only be an orphan.
    if plugin.metadata.deletion_timestamp.is_some() {
        return Ok(None);
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
    let known_generation = context.memory().known_generation(
        &uid,
        daemon_set
            .as_ref()
            .and_then(|ds| ds.metadata.uid.as_deref()),
    );

    let plan = plan::plan(
        plugin,
        &context.settings,
        &Observed {
            service_account: service_account.as_ref().map(|account| &account.metadata),
            daemon_set: daemon_set.as_deref(),
            known_generation,
            daemon_sets: &owned,
        },
    );
    let settled = plan.daemon_set == plan::Step::Keep;
    let obstacle = plan.obstacle.clone().map(Trouble::Obstacle);
    let outcome = context
        .writer
        .carry_out(plan, daemon_set.as_deref())
        .await?;
    tell::repair(plugin, &outcome, &context.events).await;

    // What is ours, as new as it is known.
    let live = outcome.daemon_set.as_ref().or(daemon_set.as_deref());
    let ours = live.filter(|live| ownership::is_child(&live.metadata, &uid));
    if let Some(live) = ours
        && (settled || outcome.daemon_set.is_some())
        && let (Some(daemon_set_uid), Some(generation)) =
            (&live.metadata.uid, live.metadata.generation)
    {
        context.memory().applied(&uid, daemon_set_uid, generation);
    }

    let (missing, missing_again) = missing_pods(plugin, ours, context).await;
    let refused = outcome.trouble.is_some();
    let trouble = obstacle.or(outcome.trouble).or(missing);
    let wanted = desired::children(plugin, &context.settings).daemon_set;
    write_status(plugin, &uid, context, |previous| {
        let plugin = ScopePlugin {
            status: previous.cloned(),
            ..plugin.clone()
        };
        status::assess(
            &Facts {
                plugin: &plugin,
                allowed: &context.settings.allowed_actions,
                daemon_set: ours,
                wanted_intent: wanted.as_ref().and_then(|ds| desired::intent(&ds.metadata)),
                trouble,
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
    Ok(missing_again)
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

/// Says that an object cannot be read, and leaves its children as they are.
async fn unreadable(
    object: &Guarded<ScopePlugin>,
    error: &str,
    context: &Context,
) -> Result<Option<Duration>, RequestError> {
    let uid = object.uid().unwrap_or_default();
    let status = status::unreadable(object.meta().generation, error, Timestamp::now());
    {
        // Its own conditions cannot be read either: what was written before is all there is.
        let memory = context.memory();
        let before = memory.written(&uid);
        if before.is_some_and(|before| same_but_for_times(before, &status)) {
            return Ok(None);
        }
    }
    let name = object.name_any();
    context.writer.status(&name, &status).await?;
    tell::transitions(object, None, &status, &context.events).await;
    context.memory().wrote(&uid, status, Instant::now());
    Ok(None)
}

/// Writes the status that `assess` makes of the newest one, if it differs, and tells of transitions.
async fn write_status(
    plugin: &ScopePlugin,
    uid: &str,
    context: &Context,
    assess: impl FnOnce(Option<&ScopePluginStatus>) -> ScopePluginStatus,
) -> Result<(), RequestError> {
    let previous = context
        .memory()
        .newest_status(uid, plugin.status.as_ref(), Instant::now())
        .cloned();
    let status = assess(previous.as_ref());
    if previous.as_ref() == Some(&status) {
        return Ok(());
    }
    context.writer.status(names::id(plugin), &status).await?;
    context.memory().wrote(uid, status.clone(), Instant::now());
    tell::transitions(plugin, previous.as_ref(), &status, &context.events).await;
    Ok(())
}

fn same_but_for_times(one: &ScopePluginStatus, other: &ScopePluginStatus) -> bool {
    one.observed_generation == other.observed_generation
        && one.conditions.len() == other.conditions.len()
        && one
            .conditions
            .iter()
            .zip(&other.conditions)
            .all(|(one, other)| {
                one.type_ == other.type_
                    && one.status == other.status
                    && one.message == other.message
            })
}

/// Forgets plugins that are gone, now and then.
pub(crate) async fn forget(context: Arc<Context>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SLOW);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let uids: HashSet<String> = context
            .plugins
            .state()
            .iter()
            .filter_map(|plugin| plugin.uid())
            .collect();
        context.memory().keep_only(&uids);
    }
}
