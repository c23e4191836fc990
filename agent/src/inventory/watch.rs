//! The watch that keeps the inventory: one list and one watch of this node's pods, both from the
//! API server's cache, and one metadata GET per owner and namespace.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::StreamExt as _;
use kube::Client;
use kube::runtime::watcher;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::chance::random;
use super::lookups::{LookupError, Lookups, kind};
use super::model::Inventory;
use super::node_pod::NodePod;
use super::owners::{Found, Lookup, Owners};
use super::pods::Pods;
use super::source;
use crate::kubernetes::Contact;

/// An inventory is a copy of all pods, and 500 of them have a thousand changes within the seconds
/// of a start. The sampler looks once per second at most.
const BETWEEN_INVENTORIES: Duration = Duration::from_millis(100);

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
    /// Pods that do not have the ID that they claim, since another pod has it.
    pub contested: usize,
    /// How often a pod was left out since there were too many.
    pub refused: u64,
    /// Inventories published so far.
    pub inventories: u64,
    /// Why the watch does not work at present, if so.
    pub error: Option<String>,
    /// Whether that is since the API server does not answer.
    pub server_away: bool,
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
    /// Told by whoever knows that the Node object has changed; it is looked at again then.
    pub node_changed: Arc<Notify>,
}

/// Keeps the inventory until `stop`. The first client is the one whose contact is in `shared`.
pub async fn watch(
    client: Client,
    lookup_client: Client,
    settings: WatchSettings,
    shared: InventoryWatch,
    stop: CancellationToken,
) {
    let jitter = settings.start_jitter.mul_f64(random());
    tokio::select! {
        () = tokio::time::sleep(jitter) => {}
        () = stop.cancelled() => return,
    }
    let events = source::events(client, &settings.node, shared.contact.clone());
    let mut keeper = Keeper {
        shared,
        pods: Pods::default(),
        owners: Owners::default(),
        lookups: Lookups::new(lookup_client),
        open: VecDeque::new(),
        ask_again: None,
        publish: None,
        published: None,
        state: WatchState::default(),
        silenced: BTreeSet::new(),
        failing: None,
    };
    keeper.run(events, stop).await;
}

struct Keeper {
    shared: InventoryWatch,
    pods: Pods,
    owners: Owners,
    lookups: Lookups,
    /// What is still to be asked.
    open: VecDeque<Lookup>,
    /// When to ask again what failed.
    ask_again: Option<Instant>,
    /// When to publish what has changed.
    publish: Option<Instant>,
    /// When an inventory was last published.
    published: Option<Instant>,
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
        loop {
            // In this order: however many events there are, what is known gets out and questions
            // end.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = at(self.publish) => self.publish(),
                Some((lookup, result)) = self.lookups.next() => self.answered(lookup, result),
                event = events.next() => match event {
                    Some(Ok(event)) => self.take_in(event),
                    Some(Err(e)) => self.fails(&e),
                    // A watcher starts over for ever; this ends the process, which is restarted.
                    None => return,
                },
                () = tokio::time::sleep(RECOVERY_CHECK), if self.failing.is_some() => {
                    if let Some((_, last)) = self.failing && self.shared.contact.heard_after(last) {
                        self.works_again();
                    }
                }
                () = at(self.ask_again) => self.look_up(),
            }
        }
    }

    fn take_in(&mut self, event: watcher::Event<NodePod>) {
        // It comes before each attempt to list, and says nothing of the answer.
        if !matches!(event, watcher::Event::Init) {
            self.works_again();
        }
        if self.pods.apply(event) {
            self.changed();
        }
    }

    /// Makes out what is open, and asks. That goes over all pods, so it is not done at each event.
    fn look_up(&mut self) {
        let agenda = self.owners.agenda(&self.pods, now());
        self.open = agenda.now.into();
        self.ask_again = agenda.later;
        self.ask();
    }

    fn ask(&mut self) {
        while self.lookups.have_room()
            && let Some(lookup) = self.open.pop_front()
        {
            let attempts = self.owners.begin(&lookup);
            self.lookups.ask(lookup, attempts);
        }
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
                (Found::Failed, e.outcome())
            }
        };
        if found != Found::Failed {
            self.silenced.remove(kind);
        }
        *self.state.lookups.entry(outcome).or_default() += 1;
        let again = self.owners.answer(lookup, found, now(), random());
        self.ask_again = earlier(self.ask_again, again);
        self.ask();
        self.changed();
    }

    /// Has an inventory published, as soon as it is time for one.
    fn changed(&mut self) {
        let now = now();
        let due = self.published.map_or(now, |at| at + BETWEEN_INVENTORIES);
        self.publish.get_or_insert(due.max(now));
    }

    fn works_again(&mut self) {
        if let Some((since, _)) = self.failing.take() {
            self.state.error = None;
            self.state.server_away = false;
            let after = now().saturating_duration_since(since);
            tracing::info!(?after, "the watch of this node's pods works again");
            self.publish_state();
        }
    }

    fn fails(&mut self, error: &watcher::Error) {
        if source::is_expired(error) {
            // A list follows, and if that fails it is told.
            *self.state.failures.entry("expired").or_default() += 1;
            self.state.server_away = false;
            tracing::info!(
                "the API server has forgotten where the watch was: listing the pods anew"
            );
            self.publish_state();
            return;
        }
        let what = match error {
            watcher::Error::InitialListFailed(_) => "list",
            watcher::Error::WatchStartFailed(_) => "watch_start",
            watcher::Error::WatchError(_) | watcher::Error::WatchFailed(_) => "watch",
            watcher::Error::NoResourceVersion => "resource_version",
        };
        *self.state.failures.entry(what).or_default() += 1;
        let words = source::in_words(error);
        let now = now();
        let since = self.failing.map(|(since, _)| since);
        self.failing = Some((since.unwrap_or(now), now));
        if since.is_none() {
            tracing::warn!(
                error = words,
                "the watch of this node's pods failed; the last inventory stays, and it is tried again"
            );
        }
        self.state.error = Some(words);
        self.state.server_away = !source::is_answered(error);
        self.publish_state();
    }

    fn publish(&mut self) {
        self.publish = None;
        if !self.pods.listed() {
            return;
        }
        self.published = Some(now());
        self.look_up();
        let (mut inventory, contested) = self.owners.complete(&self.pods);
        inventory.node = self.shared.inventory.load().node.clone();
        if contested > 0 && self.state.contested == 0 {
            tracing::warn!(
                pods = contested,
                "pods of this node claim an ID that another one has, and go without it"
            );
        }
        if !self.state.listed {
            tracing::info!(
                pods = inventory.pods.len(),
                "the pods of this node are known"
            );
        }
        self.state.listed = true;
        self.state.pods = inventory.pods.len();
        self.state.contested = contested;
        // The counter says how it goes on.
        if self.pods.refused() > 0 && self.state.refused == 0 {
            tracing::warn!(
                refused = self.pods.refused(),
                "more pods are bound to this node than any node can run; the latest are left out"
            );
        }
        self.state.refused = self.pods.refused();
        self.state.inventories += 1;
        self.shared.inventory.store(Arc::new(inventory));
        self.publish_state();
    }

    fn publish_state(&self) {
        self.shared.state.store(Arc::new(self.state.clone()));
    }
}

/// The time, as the runtime has it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
