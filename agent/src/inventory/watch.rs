//! The watch that keeps the inventory: one list and one watch of this node's pods, both from the
//! API server's cache, and one metadata GET per owner and namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::GetParams;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use kube::{Api, Client};
use scope_protocol::Topology;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::model::Inventory;
use super::node_pod::{NodePod, drawn};
use super::owners::{Agenda, Found, Lookup, Owners};
use super::patience::Patience;
use super::pods::Pods;
use crate::kubernetes::Contact;

/// The API server ends a watch after at most this long; the client must not ask for more than 295 s.
const WATCH_SECONDS: u32 = 240;
/// Added at random, so that nodes that were started together do not watch anew together.
const WATCH_JITTER_SECONDS: u32 = 50;
/// Lookups at a time: 110 owners are known within a second, and no node's start is a burst.
const LOOKUPS: usize = 4;
/// For one lookup. The client itself would wait for ever.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// A watch that goes on after a failure says nothing until something happens, but its connection
/// was heard of. This often it is looked whether it was.
const RECOVERY_CHECK: Duration = Duration::from_millis(500);

/// How the watch behaves.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    /// The node whose pods are wanted.
    pub node: String,
    /// A random part of this passes before the first list. For fleets that start all at once.
    pub start_jitter: Duration,
}

/// What the watch is doing, for health and metrics. Replaced as a whole.
#[derive(Debug, Clone, Default)]
pub struct WatchState {
    /// Whether there was a complete list.
    pub listed: bool,
    /// Pods in the inventory.
    pub pods: usize,
    /// Why the watch does not work at present, if so.
    pub error: Option<String>,
    /// Failures of the watch, by what failed.
    pub failures: BTreeMap<&'static str, u64>,
    /// Lookups of owners and namespaces, by outcome.
    pub lookups: BTreeMap<&'static str, u64>,
}

/// The inventory and the state of its watch.
#[derive(Debug, Clone, Default)]
pub struct InventoryWatch {
    /// The newest inventory.
    pub inventory: Arc<ArcSwap<Inventory>>,
    /// The state.
    pub state: Arc<ArcSwap<WatchState>>,
    /// When the API server last told anything.
    pub contact: Arc<Contact>,
}

/// The selection of this node's pods. `page_size` has to be off, or the list would be paged, go out
/// without a resource version and be read from etcd instead of the cache.
fn selection(node: &str) -> watcher::Config {
    let jitter = (random() * f64::from(WATCH_JITTER_SECONDS)) as u32;
    let mut config = watcher::Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .any_semantic()
        .timeout(WATCH_SECONDS + jitter);
    config.page_size = None;
    config
}

/// Keeps the inventory until `stop`. The first client is the one whose contact is in `shared`.
pub async fn watch(
    client: Client,
    lookup_client: Client,
    settings: WatchSettings,
    shared: InventoryWatch,
    stop: CancellationToken,
) {
    let patience = Patience::new(shared.contact.clone());
    let mut keeper = Keeper {
        client: lookup_client,
        shared,
        pods: Pods::default(),
        owners: Owners::default(),
        lookups: JoinSet::new(),
        state: WatchState::default(),
        silenced: BTreeSet::new(),
        failing: None,
    };
    let jitter = settings.start_jitter.mul_f64(random());
    tokio::select! {
        () = tokio::time::sleep(jitter) => {}
        () = stop.cancelled() => return,
    }
    let api: Api<NodePod> = Api::all(client);
    let events = watcher(api, selection(&settings.node)).backoff(patience);
    keeper.run(events, stop).await;
}

struct Keeper {
    client: Client,
    shared: InventoryWatch,
    pods: Pods,
    owners: Owners,
    lookups: JoinSet<(Lookup, Result<Found, LookupError>)>,
    state: WatchState,
    /// Kinds of failed lookups that were logged since one of that kind last worked.
    silenced: BTreeSet<&'static str>,
    /// Since when the watch fails, and when it did last.
    failing: Option<(Instant, Instant)>,
}

impl Keeper {
    async fn run(
        &mut self,
        events: impl futures::Stream<Item = watcher::Result<watcher::Event<NodePod>>>,
        stop: CancellationToken,
    ) {
        let mut events = pin!(events);
        let mut later: Option<Instant> = None;
        let mut dirty = false;
        let mut told = false;
        loop {
            // In this order: what has come in already is taken in before it is published.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        // It comes before each attempt to list, and says nothing of the answer.
                        if !matches!(event, watcher::Event::Init) {
                            self.works_again();
                        }
                        dirty |= self.pods.apply(event);
                    }
                    Some(Err(e)) => { self.fails(&e); told = true; }
                    // A watcher starts over for ever; this ends the process, which is restarted.
                    None => return,
                },
                Some(done) = self.lookups.join_next() => {
                    if let Ok((lookup, result)) = done {
                        self.answered(lookup, result);
                        dirty = true;
                    }
                }
                () = tokio::time::sleep(RECOVERY_CHECK), if self.failing.is_some() => {
                    if let Some((_, last)) = self.failing && self.shared.contact.heard_after(last) {
                        self.works_again();
                    }
                }
                () = at(later) => { later = None; dirty = true; }
                () = std::future::ready(()), if dirty => {
                    dirty = false;
                    told = false;
                    later = self.look_up();
                    self.publish();
                }
                () = std::future::ready(()), if told => {
                    told = false;
                    self.publish_state();
                }
            }
        }
    }

    /// Asks what is open. When to ask again what failed.
    fn look_up(&mut self) -> Option<Instant> {
        let Agenda { now, later } = self.owners.agenda(&self.pods, Instant::now());
        for lookup in now {
            if self.lookups.len() >= LOOKUPS {
                // The next answer brings us here again.
                break;
            }
            let attempts = self.owners.begin(&lookup);
            let client = self.client.clone();
            self.lookups.spawn(async move {
                let result = tokio::time::timeout(LOOKUP_TIMEOUT, ask(client, &lookup, attempts))
                    .await
                    .unwrap_or(Err(LookupError::TimedOut));
                (lookup, result)
            });
        }
        later
    }

    fn answered(&mut self, lookup: Lookup, result: Result<Found, LookupError>) {
        let kind = kind(&lookup);
        let (found, outcome) = match result {
            Ok(found @ Found::Object { .. }) => (found, "found"),
            Ok(found) => (found, "missing"),
            Err(e) => {
                if self.silenced.insert(kind) {
                    tracing::warn!(?lookup, error = %e, "cannot look up a {kind}; trying again");
                }
                (Found::Failed, "failed")
            }
        };
        if found != Found::Failed {
            self.silenced.remove(kind);
        }
        *self.state.lookups.entry(outcome).or_default() += 1;
        self.owners.answer(lookup, found, Instant::now(), random());
    }

    fn works_again(&mut self) {
        if let Some((since, _)) = self.failing.take() {
            self.state.error = None;
            tracing::info!(after = ?since.elapsed(), "the watch of this node's pods works again");
            self.publish_state();
        }
    }

    fn fails(&mut self, error: &watcher::Error) {
        let what = match error {
            watcher::Error::InitialListFailed(_) => "list",
            watcher::Error::WatchStartFailed(_) => "watch_start",
            watcher::Error::WatchError(_) | watcher::Error::WatchFailed(_) => "watch",
            watcher::Error::NoResourceVersion => "resource_version",
        };
        *self.state.failures.entry(what).or_default() += 1;
        let now = Instant::now();
        let since = self.failing.map(|(since, _)| since);
        self.failing = Some((since.unwrap_or(now), now));
        if since.is_none() {
            tracing::warn!(
                error = %error,
                "the watch of this node's pods failed; the last inventory stays, and it is tried again"
            );
        }
        self.state.error = Some(error.to_string());
    }

    fn publish(&mut self) {
        if !self.pods.listed() {
            return;
        }
        let mut inventory = self.owners.complete(&self.pods);
        let ago = self.shared.contact.age().unwrap_or_default();
        inventory.confirmed = SystemTime::now().checked_sub(ago).map(Into::into);
        if !self.state.listed {
            tracing::info!(
                pods = inventory.pods.len(),
                "the pods of this node are known"
            );
        }
        self.state.listed = true;
        self.state.pods = inventory.pods.len();
        self.shared.inventory.store(Arc::new(inventory));
        self.publish_state();
    }

    fn publish_state(&self) {
        self.shared.state.store(Arc::new(self.state.clone()));
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn kind(lookup: &Lookup) -> &'static str {
    match lookup {
        Lookup::Owner {
            topology: Topology::Job,
            ..
        } => "Job",
        Lookup::Owner { .. } => "ReplicaSet",
        Lookup::Namespace { .. } => "Namespace",
    }
}

#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("no answer within {} s", LOOKUP_TIMEOUT.as_secs())]
    TimedOut,
}

/// Asks the API server: from its cache at first, which costs it next to nothing; what that did not
/// have, from the store.
async fn ask(client: Client, lookup: &Lookup, attempts: u32) -> Result<Found, LookupError> {
    let params = if attempts == 0 {
        GetParams::any()
    } else {
        GetParams::default()
    };
    let meta = match lookup {
        Lookup::Owner {
            topology: Topology::Job,
            namespace,
            name,
            ..
        } => {
            let api: Api<Job> = Api::namespaced(client, namespace);
            api.get_metadata_opt_with(name, &params)
                .await?
                .map(metadata)
        }
        Lookup::Owner {
            namespace, name, ..
        } => {
            let api: Api<ReplicaSet> = Api::namespaced(client, namespace);
            api.get_metadata_opt_with(name, &params)
                .await?
                .map(metadata)
        }
        Lookup::Namespace { name } => {
            let api: Api<Namespace> = Api::all(client);
            api.get_metadata_opt_with(name, &params)
                .await?
                .map(metadata)
        }
    };
    let Some(meta) = meta else {
        return Ok(Found::Missing);
    };
    let controller = meta
        .owner_references
        .into_iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .and_then(drawn);
    Ok(meta
        .uid
        .map_or(Found::Missing, |uid| Found::Object { uid, controller }))
}

fn metadata<K>(
    object: PartialObjectMeta<K>,
) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    object.metadata
}

/// From 0 to 1, different on every node and at every start; nothing secret depends on it.
pub(super) fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(Instant::now()) as f64 / u64::MAX as f64
}
