//! The controller of ScopePlugins: which streams lead to a look at which plugin, when a look is taken
//! again, and who may take one. The look itself is in [`crate::look`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{ConfigMap, ServiceAccount},
};
use kube::{
    Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Controller, Predicate, WatchStreamExt,
        controller::{self, Action},
        predicates,
        reflector::ObjectRef,
    },
};
use scope_crds::ScopePlugin;
use tokio_util::sync::CancellationToken;

use crate::{
    guarded::{self, RequestError},
    leader::jitter,
    look::{self, Context},
    metrics::Metrics,
    names, ownership,
    seen::{SeenNode, SeenPod},
    totals::{self, Looks},
    watches::{Guarded, kind},
};

/// Looks at everything so often, in case an event was lost. It costs no request.
const SLOW: Duration = Duration::from_secs(600);
/// So long after the first event a look begins, and sees what came in the meantime, too. kube's own debounce
/// would begin anew with each event, and so never look at a fleet in which something happens all the time.
const GATHER: Duration = Duration::from_millis(50);
/// Plugins that are looked at side by side, or wait for it: enough that a slow one does not hold the others up, and
/// few enough that what a look puts together is not in memory many times.
const CONCURRENCY: u16 = 4;
/// The first fill of the caches may take this long.
const FILL: Duration = Duration::from_secs(60);

/// The streams that fill the stores.
pub(crate) struct Touched<P, D, S, N, Q, R, M> {
    pub(crate) plugins: P,
    pub(crate) daemon_sets: D,
    pub(crate) service_accounts: S,
    pub(crate) nodes: N,
    pub(crate) pods: Q,
    pub(crate) revisions: R,
    pub(crate) records: M,
}

/// The caches that a look takes to be complete.
pub(crate) const CACHES: [&str; 7] = [
    kind::PLUGINS,
    kind::DAEMON_SETS,
    kind::ACCOUNTS,
    kind::NODES,
    kind::PODS,
    kind::REVISIONS,
    kind::RECORDS,
];

/// Runs the controller until `stop`; looks under way are finished. What is `heard` of agents leads to a look, too.
pub(crate) async fn run(
    context: Arc<Context>,
    touched: Touched<
        impl Stream<Item = Guarded<ScopePlugin>> + Send + 'static,
        impl Stream<Item = DaemonSet> + Send + 'static,
        impl Stream<Item = PartialObjectMeta<ServiceAccount>> + Send + 'static,
        impl Stream<Item = SeenNode> + Send + 'static,
        impl Stream<Item = SeenPod> + Send + 'static,
        impl Stream<Item = ControllerRevision> + Send + 'static,
        impl Stream<Item = ConfigMap> + Send + 'static,
    >,
    heard: Looks,
    stop: CancellationToken,
) {
    // The generation alone would hide changes of metadata. A status of ours is no reason to look.
    let relevant = predicates::generation
        .combine(predicates::labels)
        .combine(predicates::annotations)
        .combine(predicates::finalizers);
    // What one plugin asks for can overlap with what another has.
    let (poke, poked) = tokio::sync::watch::channel(());
    let mut others = OthersCare::default();
    let store = context.plugins.clone();
    let plugins = touched
        .plugins
        .inspect(move |plugin| {
            let there = store.get(&ObjectRef::from_obj(plugin)).is_some();
            if others.care(plugin, there) {
                poke.send_replace(());
            }
        })
        .map(Ok)
        .predicate_filter(relevant, Default::default())
        .inspect({
            let metrics = context.metrics.clone();
            move |plugin| {
                if let Ok(plugin) = plugin {
                    metrics.look_asked(&plugin.name_any());
                }
            }
        });
    let terms = changes(context.writer.claim.terms());
    let all_plugins = {
        let store = context.plugins.clone();
        move |()| -> Vec<PluginRef> {
            let plugins = store.state();
            let refs = plugins.iter().map(|plugin| ObjectRef::from_obj(&**plugin));
            refs.collect()
        }
    };
    let at = || Arc::clone(&context.metrics);
    let of_node = {
        let all_plugins = all_plugins.clone();
        move |_: SeenNode| all_plugins(())
    };
    let all_asked = asked(at(), all_plugins);
    let of_all = move |(): &()| drop(all_asked(()));
    let heard = totals::due(heard).inspect({
        let metrics = Arc::clone(&context.metrics);
        move |plugin| metrics.look_asked(&plugin.name)
    });
    Controller::for_stream(plugins, context.plugins.clone())
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .watches_stream(touched.daemon_sets.map(Ok), asked(at(), of_child))
        .watches_stream(touched.service_accounts.map(Ok), asked(at(), of_child))
        .watches_stream(touched.pods.map(Ok), asked(at(), of_pod))
        .watches_stream(touched.revisions.map(Ok), asked(at(), of_child))
        .watches_stream(touched.records.map(Ok), asked(at(), of_child))
        .watches_stream(touched.nodes.map(Ok), asked(at(), of_node))
        .reconcile_all_on(terms.inspect(of_all.clone()))
        .reconcile_all_on(changes(poked).inspect(of_all))
        .reconcile_on(heard)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, after_failure, context.clone())
        .for_each(|looked| {
            if let Err(controller::Error::ObjectNotFound(plugin)) = looked {
                context.metrics.look_dropped(&plugin.name);
            }
            future::ready(())
        })
        .await;
}

type PluginRef = ObjectRef<Guarded<ScopePlugin>>;

/// The same mapping, which counts the plugins that it names as asked for.
fn asked<K, I: IntoIterator<Item = PluginRef>>(
    metrics: Arc<Metrics>,
    plugins: impl Fn(K) -> I + Clone,
) -> impl Fn(K) -> Vec<PluginRef> + Clone {
    move |cause| {
        let plugins = plugins(cause).into_iter();
        let counted = plugins.inspect(|plugin| metrics.look_asked(&plugin.name));
        counted.collect()
    }
}

fn of_child<K: Resource<DynamicType = ()>>(child: K) -> Option<PluginRef> {
    plugin_of(&child)
}

fn of_pod(pod: SeenPod) -> Option<PluginRef> {
    pod.plugin().map(ObjectRef::new)
}

/// The plugin that a child belongs to, or that a foreign object of a child's name is in the way of.
fn plugin_of<K: Resource<DynamicType = ()>>(child: &K) -> Option<PluginRef> {
    let name = child.meta().name.as_deref().unwrap_or_default();
    ownership::plugin_of(child.meta())
        .or_else(|| names::plugin_of_child(name))
        .map(ObjectRef::new)
}

/// Yields whenever the value changes: a term of this replica begins, or a plugin is another one.
fn changes<T: Send + Sync + 'static>(
    value: tokio::sync::watch::Receiver<T>,
) -> impl Stream<Item = ()> + Send {
    futures::stream::unfold(value, |mut value| async move {
        value.changed().await.ok()?;
        Some(((), value))
    })
}

/// Tells changes of a plugin that may matter to others: it is new, gone, or has another spec.
#[derive(Default)]
struct OthersCare(HashMap<String, Option<i64>>);

impl OthersCare {
    fn care(&mut self, plugin: &Guarded<ScopePlugin>, there: bool) -> bool {
        let name = plugin.name_any();
        if !there {
            return self.0.remove(&name).is_some();
        }
        let generation = plugin.meta().generation;
        self.0.insert(name, generation) != Some(generation)
    }
}

async fn reconcile(
    object: Arc<Guarded<ScopePlugin>>,
    context: Arc<Context>,
) -> Result<Action, RequestError> {
    tokio::time::sleep(GATHER).await;
    context.metrics.look_began(&object.name_any());
    let Some(object) = context.plugins.get(&ObjectRef::from_obj(&*object)) else {
        return Ok(Action::await_change());
    };
    // A standby keeps its caches and does nothing; its term begins with a look at everything.
    if !context.writer.claim.is_held() {
        // How they stand is told by whoever leads now.
        let all = context.memory().keep_figures(&HashSet::new());
        context.metrics.plugins(&all);
        return Ok(Action::await_change());
    }
    // Before the first list is complete, a child that is not in the cache may well be there.
    let filled = context.readiness.wait_for(&CACHES);
    if tokio::time::timeout(FILL, filled).await.is_err() {
        return Ok(Action::requeue(FILL));
    }
    let again = match &object.0 {
        Ok(plugin) => {
            let (again, took) = guarded::without_waits(look::look(plugin, &context)).await;
            context.metrics.looked(took);
            again?
        }
        Err(invalid) => {
            context.metrics.undecodable("ScopePlugin");
            look::report::unreadable(&object, &invalid.error, &context).await?
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
        let names: HashSet<String> = context
            .plugins
            .state()
            .iter()
            .map(|plugin| plugin.name_any())
            .collect();
        let all = context.memory().keep_figures(&names);
        context.metrics.plugins(&all);
    }
}
