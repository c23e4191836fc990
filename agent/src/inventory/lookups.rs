//! The questions to the API server that are under way: one metadata GET per owner and namespace.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::GetParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use scope_protocol::Topology;
use tokio::task::{self, JoinError, JoinSet};

use super::observed::drawn;
use super::owners::{Found, Lookup};

/// Lookups at a time: 110 owners are known within a second, and no node's start is a burst.
const AT_A_TIME: usize = 4;
/// For one lookup. The client itself would wait for ever.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("the task that asked ended by itself, which is a mistake in this program: {0}")]
    Ended(JoinError),
}

impl LookupError {
    /// What to count it as.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            LookupError::Api(_) | LookupError::TimedOut => "failed",
            LookupError::Ended(_) => "panicked",
        }
    }
}

/// At most [`AT_A_TIME`] questions.
pub(super) struct Lookups {
    client: Client,
    tasks: JoinSet<Result<Found, LookupError>>,
    /// What each task asks: a task that panics cannot say it.
    asked: HashMap<task::Id, Lookup>,
}

impl Lookups {
    pub(super) fn new(client: Client) -> Self {
        Lookups {
            client,
            tasks: JoinSet::new(),
            asked: HashMap::new(),
        }
    }

    /// Whether one more may be asked.
    pub(super) fn have_room(&self) -> bool {
        self.tasks.len() < AT_A_TIME
    }

    /// Asks, for the first time if there were no `attempts` before.
    pub(super) fn ask(&mut self, lookup: Lookup, attempts: u32) {
        let (client, question) = (self.client.clone(), lookup.clone());
        let task = self.tasks.spawn(async move {
            tokio::time::timeout(TIMEOUT, ask(client, &question, attempts))
                .await
                .unwrap_or(Err(LookupError::TimedOut))
        });
        self.asked.insert(task.id(), lookup);
    }

    /// The next question that is done with; `None` while there is none.
    pub(super) async fn next(&mut self) -> Option<(Lookup, Result<Found, LookupError>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(e) => (e.id(), Err(LookupError::Ended(e))),
        };
        self.asked.remove(&id).map(|lookup| (lookup, result))
    }
}

/// What is asked for, in a word.
pub(super) fn kind(lookup: &Lookup) -> &'static str {
    match lookup {
        Lookup::Owner {
            topology: Topology::Job,
            ..
        } => "Job",
        Lookup::Owner { .. } => "ReplicaSet",
        Lookup::Namespace { .. } => "Namespace",
    }
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

fn metadata<K>(object: PartialObjectMeta<K>) -> ObjectMeta {
    object.metadata
}
