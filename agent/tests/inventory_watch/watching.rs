//! The watch under test, and the watches that the server has open.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use scope_agent::inventory::{Inventory, InventoryWatch, WatchSettings, WatchState, watch};
use scope_protocol::Topology;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api_server::in_process::InProcess;
use crate::api_server::{Reply, Seen};
use crate::objects::{NODE, meta};

/// The watches that are open, so that tests can send events.
#[derive(Clone, Default)]
pub(crate) struct Watches(Arc<Mutex<Vec<mpsc::UnboundedSender<Value>>>>);

impl Watches {
    pub(crate) fn open(&self) -> Reply {
        let (sender, reply) = Reply::watch();
        self.0.lock().expect("unpoisoned").push(sender);
        reply
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().expect("unpoisoned").len()
    }

    pub(crate) fn send(&self, kind: &str, object: Value) {
        let watches = self.0.lock().expect("unpoisoned");
        let event = json!({"type": kind, "object": object});
        watches
            .last()
            .expect("a watch")
            .send(event)
            .expect("it is open");
    }

    /// Ends the watch, as the API server does after its time.
    pub(crate) fn end(&self) {
        self.0.lock().expect("unpoisoned").pop();
    }
}

pub(crate) struct Watching {
    pub(crate) shared: InventoryWatch,
    _stop: DropGuard,
}

impl Watching {
    /// Over a connection.
    pub(crate) fn start(access: &scope_agent::kubernetes::Access) -> Self {
        let shared = InventoryWatch::default();
        let client = access
            .watch_client(shared.contact.clone())
            .expect("a client");
        let lookups = access.lookup_client().expect("a client");
        Self::run(client, lookups, shared)
    }

    /// Without a connection, for a paused clock. Requests for pods are answered by the first script
    /// and all others by the second.
    pub(crate) fn in_process(
        pods: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        others: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> (Self, InProcess, InProcess) {
        let shared = InventoryWatch::default();
        let (pods, client) = InProcess::start(shared.contact.clone(), pods);
        let (others, lookups) = InProcess::start(Arc::default(), others);
        (Self::run(client, lookups, shared), pods, others)
    }

    fn run(client: Client, lookups: Client, shared: InventoryWatch) -> Self {
        let stop = CancellationToken::new();
        let settings = WatchSettings {
            node: NODE.into(),
            start_jitter: Duration::ZERO,
        };
        let watch = watch(client, lookups, settings, shared.clone(), stop.clone());
        tokio::spawn(watch);
        Watching {
            shared,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn inventory(&self) -> Arc<Inventory> {
        self.shared.inventory.load_full()
    }

    pub(crate) fn owners(&self, pod: &str) -> Vec<(Topology, String)> {
        let inventory = self.inventory();
        let pod = inventory.pods.get(pod);
        pod.into_iter()
            .flat_map(|p| &p.owners)
            .map(|o| (o.topology, o.name.clone()))
            .collect()
    }

    /// The IDs of the pods that are known.
    pub(crate) fn pods(&self) -> Vec<String> {
        self.inventory().pods.keys().cloned().collect()
    }

    pub(crate) fn state(&self) -> Arc<WatchState> {
        self.shared.state.load_full()
    }

    /// Looks at every inventory there is, at the latest a tenth of a second after its time.
    pub(crate) fn always(
        &self,
        what: &'static str,
        so: impl Fn(&Inventory) -> bool + Send + 'static,
    ) -> Always {
        let inventory = self.shared.inventory.clone();
        Always(tokio::spawn(async move {
            loop {
                assert!(so(&inventory.load()), "not always: {what}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }
}

/// What has been so since it was asked for.
pub(crate) struct Always(JoinHandle<()>);

impl Always {
    /// It was so up to now.
    pub(crate) async fn held(self) {
        self.0.abort();
        let ended = self.0.await.expect_err("it looks for ever");
        assert!(ended.is_cancelled(), "{ended}");
    }
}

/// A namespace of any name; nothing else exists.
pub(crate) fn namespaces(seen: &Seen) -> Reply {
    match seen.path.strip_prefix("/api/v1/namespaces/") {
        Some(name) => Reply::ok(meta(&format!("uid-ns-{name}"), None)),
        None => Reply::status(404, "NotFound", "not here"),
    }
}
