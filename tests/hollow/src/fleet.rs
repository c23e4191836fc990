//! The nodes as a whole: their beginning, growth, faults and end.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::fault::Fault;
use crate::kubelet::{IN_FLIGHT, Shared};
use crate::node::{Profile, ready, renew_time};

/// Why there are no such nodes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not take or give something.
    #[error("{what} failed: {source}")]
    Api {
        /// What was asked.
        what: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// There is no such node in the fleet.
    #[error("{0} is no simulated node of this fleet")]
    NoNode(String),
}

/// Simulated nodes. Dropped, nothing is said about their pods any more; the objects stay, since
/// the control plane is thrown away too.
pub struct Fleet {
    shared: Arc<Shared>,
    profile: Profile,
    count: usize,
    /// The watch, and the renewal of Leases. They end with the fleet.
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Registers the nodes and starts to look after their pods.
    pub async fn start(client: Client, profile: Profile) -> Result<Fleet, Error> {
        let shared = Arc::new(Shared::new(client, profile.start, profile.stop));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&shared).watch());
        let mut fleet = Fleet {
            shared,
            count: 0,
            tasks,
            profile,
        };
        fleet.grow(fleet.profile.nodes).await?;
        Ok(fleet)
    }

    /// Registers more nodes.
    pub async fn grow(&mut self, more: usize) -> Result<(), Error> {
        let numbers = self.count..self.count + more;
        let (shared, profile) = (&self.shared, &self.profile);
        stream::iter(numbers.clone().map(Ok))
            .try_for_each_concurrent(IN_FLIGHT, |number| async move {
                // Before the object is there, so that no pod on it is missed.
                shared.add_node(&profile.node_name(number));
                let nodes = Api::<Node>::all(shared.client.clone());
                create(&nodes, profile.node(number)).await?;
                if profile.lease.is_some() {
                    create(&leases(&shared.client), profile.lease(number)).await?;
                }
                Ok(())
            })
            .await?;
        if let Some(every) = self.profile.lease {
            let (shared, profile) = (Arc::clone(shared), profile.clone());
            let names = numbers.map(|number| profile.node_name(number)).collect();
            self.tasks.spawn(renew(shared, names, every));
        }
        self.count += more;
        Ok(())
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The name of node N, counted from 0.
    pub fn node(&self, number: usize) -> String {
        self.profile.node_name(number)
    }

    /// Lets pods fail that start from now on. The newest fault that fits counts.
    pub fn inject(&self, fault: Fault) {
        self.shared.inject(fault);
    }

    /// Lets no pod fail that starts from now on; those that have failed stay as they are.
    pub fn clear_faults(&self) {
        self.shared.clear_faults();
    }

    /// Stops a node. What the node controller says of one that has been silent for too long is
    /// said at once: the node's readiness is unknown, and its pods are not ready. Nothing else
    /// happens to them until the node is up again.
    pub async fn fail_node(&self, name: &str) -> Result<(), Error> {
        self.known(name)?;
        self.shared.set_down(name, true);
        self.say(name, false).await?;
        let marked = self.shared.mark_not_ready(name).await;
        marked.map_err(|source| failed(format!("listing the pods of {name}"), source))
    }

    /// Starts a stopped node again. Pods that ran are ready again, and what was asked of them
    /// meanwhile is done.
    pub async fn restore_node(&self, name: &str) -> Result<(), Error> {
        self.known(name)?;
        self.shared.set_down(name, false);
        self.say(name, true).await?;
        let resumed = self.shared.resume(name).await;
        resumed.map_err(|source| failed(format!("listing the pods of {name}"), source))
    }

    fn known(&self, name: &str) -> Result<(), Error> {
        match self.shared.has_node(name) {
            true => Ok(()),
            false => Err(Error::NoNode(name.to_owned())),
        }
    }

    async fn say(&self, name: &str, is_ready: bool) -> Result<(), Error> {
        let nodes = Api::<Node>::all(self.shared.client.clone());
        let patch = Patch::Strategic(json!({"status": {"conditions": [ready(is_ready)]}}));
        let parameters = PatchParams::default();
        let answer = nodes.patch_status(name, &parameters, &patch).await;
        answer
            .map(drop)
            .map_err(|source| failed(format!("writing the status of {name}"), source))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.abort_all();
        self.shared.abort();
    }
}

fn failed(what: String, source: kube::Error) -> Error {
    Error::Api {
        what,
        source: Box::new(source),
    }
}

fn leases(client: &Client) -> Api<Lease> {
    Api::namespaced(client.clone(), "kube-node-lease")
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<(), Error>
where
    K: kube::Resource + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let what = || {
        let word = |at: &str| {
            object
                .pointer(at)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        format!("creating {} {}", word("/kind"), word("/metadata/name"))
    };
    let typed: K = serde_json::from_value(object.clone())
        .map_err(|error| failed(what(), kube::Error::SerdeError(error)))?;
    match api.create(&PostParams::default(), &typed).await {
        Ok(_) => Ok(()),
        // Of a fleet before this one.
        Err(kube::Error::Api(refused)) if refused.code == 409 => Ok(()),
        Err(source) => Err(failed(what(), source)),
    }
}

/// Renews the Leases of some nodes, spread over the time between two renewals.
async fn renew(shared: Arc<Shared>, names: Vec<String>, every: Duration) {
    let Ok(count) = u32::try_from(names.len().max(1)) else {
        return;
    };
    let mut ticks = tokio::time::interval(every / count);
    // A server that was away for a while is not made to catch up.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut nodes = stream::iter(names.iter().cycle());
    while let Some(name) = nodes.next().await {
        ticks.tick().await;
        if shared.is_down(name) {
            continue;
        }
        let patch = Patch::Merge(json!({"spec": {"renewTime": renew_time()}}));
        let (leases, parameters) = (leases(&shared.client), PatchParams::default());
        shared.ask(|| leases.patch(name, &parameters, &patch)).await;
    }
}
