//! `scope-operator run`: wires the parts, starts them in order, and ends when told to or when one of
//! them does.
//!
//! # Rights
//!
//! Every request of this command, by scope. The chart grants these and no others; a test counts
//! refusals in the audit log.
//!
//! | where | group | resource | verbs | for |
//! | --- | --- | --- | --- | --- |
//! | cluster | scopeplugins.dev | scopeplugins | list, watch | the main watch ([`crate::watches`]) |
//! | cluster | scopeplugins.dev | scopeplugins/status | patch | conditions and counts ([`crate::apply`]) |
//! | plugins' namespace | apps | daemonsets | list, watch | the children and foreign objects of their names |
//! | plugins' namespace | apps | daemonsets | create, patch | server-side apply, taking over foreign fields, waking the controller |
//! | plugins' namespace | apps | daemonsets | delete | pruning, suspension |
//! | plugins' namespace | core | serviceaccounts | list, watch, create, patch | the agents' accounts; the garbage collector removes them |
//! | plugins' namespace | scopeplugins.dev | scopeactions | list, watch, delete | clicks, and the removal of old records ([`crate::actions`]) |
//! | plugins' namespace | scopeplugins.dev | scopeactions/status | patch | outcomes |
//! | plugins' namespace | events.k8s.io | events | list | why pods cannot be created ([`crate::events`]) |
//! | plugins' namespace | events.k8s.io | events | create, patch | Events about ScopeActions that cannot be read |
//! | `default` | events.k8s.io | events | create, patch | Events about ScopePlugins, which have no namespace |
//! | own namespace | coordination.k8s.io | leases, the one of the operator | get, list, watch, patch | leader election ([`crate::leader`]) |
//! | cluster, with `DeletePod` allowed | core | pods | list, get, delete | finding a UID, looking before the delete, the delete |
//! | cluster, with a control of containers allowed | core | pods | get | whether a record tells of a pod on its node |
//! | cluster, with any action allowed | events.k8s.io | events | create, patch | Events about clicked objects |

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, future};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::ServiceAccount};
use kube::{Api, ResourceExt, core::PartialObjectMeta};
use scope_crds::{ScopeAction, ScopePlugin};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    actions::{self, Actor},
    apply::Writer,
    clients::Clients,
    events::Events,
    exit::{Code, Failure},
    http::{self, Answers},
    leader::{self, Elector},
    metrics::Metrics,
    readiness::Readiness,
    reconcile::{self, Context, Touched},
    settings::Process,
    signals,
    watches::{self, Guarded, kind, without_managed_fields},
};

/// After a signal, whoever writes has so long to finish. With the release of the Lease it stays
/// below the 30 s that the pod has.
const DRAIN: Duration = Duration::from_secs(15);
/// Giving up the Lease, with its own deadline in there.
const RELEASE: Duration = Duration::from_secs(6);

/// Runs until a signal, or until a part of it ends.
pub(crate) async fn run(process: Process) -> Result<(), Failure> {
    let Process {
        settings,
        pod_name,
        lease_name,
        http_listen,
    } = process;
    // Writers stop at the signal; the Lease is given up and the port closed after them.
    let stop = signals::stop()?;
    let after = CancellationToken::new();

    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::new(&[
        kind::PLUGINS,
        kind::DAEMON_SETS,
        kind::ACCOUNTS,
        kind::ACTIONS,
    ]));
    let (claim_writer, claim) = leader::claim();
    let mut writers = Parts::default();
    let mut rest = Parts::default();

    let listener = http::listen(http_listen).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pod = pod_name,
        listen = %http_listen,
        plugins_namespace = settings.plugins_namespace,
        agent_image = settings.image.name,
        plugin_directory = settings.plugin_directory,
        allowed_actions = ?settings.allowed_actions,
        "starting"
    );
    let answers = Answers {
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(&metrics),
        claim: claim.clone(),
    };
    rest.start(
        "the HTTP server",
        http::serve(listener, answers, after.clone()),
    );

    let clients = Clients::new().await?;
    let elector = Elector {
        namespace: settings.own_namespace.clone(),
        lease_name,
        identity: leader::identity(&pod_name),
        watch: clients.watch.clone(),
        lease: clients.lease.clone(),
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
    };
    rest.start("leader election", elector.run(claim_writer, after.clone()));

    let namespace = settings.plugins_namespace.clone();
    let (plugins, plugins_touched) = watches::cache::<Guarded<ScopePlugin>, _>(
        Api::all(clients.watch.clone()),
        kind::PLUGINS,
        &metrics,
        &readiness,
        without_managed_fields,
    );
    // All of the namespace, which is ours alone: an object that is in the way is seen as well, and
    // so is its removal. Who wrote which field is needed to find drift.
    let (daemon_sets, daemon_sets_touched) = watches::cache::<DaemonSet, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        kind::DAEMON_SETS,
        &metrics,
        &readiness,
        |_| {},
    );
    let (accounts, accounts_touched) = watches::cache::<PartialObjectMeta<ServiceAccount>, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        kind::ACCOUNTS,
        &metrics,
        &readiness,
        without_managed_fields,
    );
    let (clicks, clicks_touched) = watches::cache::<Guarded<ScopeAction>, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        kind::ACTIONS,
        &metrics,
        &readiness,
        // Agents make these: what they could fill up without being read is not kept.
        |click: &mut Guarded<ScopeAction>| {
            without_managed_fields(click);
            click.annotations_mut().clear();
            click.labels_mut().clear();
        },
    );

    let events = Events::new(clients.act.clone(), &pod_name, Arc::clone(&metrics));
    let actor = Arc::new(Actor::new(
        clients.act.clone(),
        claim.clone(),
        settings.clone(),
        plugins.clone(),
        events.clone(),
        Arc::clone(&metrics),
    ));
    let writer = Writer {
        client: clients.act,
        claim,
        namespace: namespace.clone(),
        metrics: Arc::clone(&metrics),
    };
    let context = Arc::new(Context {
        settings,
        writer,
        plugins,
        daemon_sets,
        service_accounts: accounts,
        events,
        metrics,
        readiness: Arc::clone(&readiness),
        memory: Mutex::default(),
    });
    let touched = Touched {
        plugins: plugins_touched,
        daemon_sets: daemon_sets_touched,
        service_accounts: accounts_touched,
    };
    let forget = reconcile::forget(Arc::clone(&context), stop.clone());
    writers.start("the housekeeping", forget);
    writers.start(
        "the rollout controller",
        reconcile::run(context, touched, stop.clone()),
    );
    // A click is judged by its plugin, so the plugins have to be known first; the clicks wait in
    // their stream.
    let stop_actions = stop.clone();
    let filled = Arc::clone(&readiness);
    writers.start("the action controller", async move {
        tokio::select! {
            () = stop_actions.cancelled() => return,
            () = filled.wait_for(&[kind::PLUGINS]) => {}
        }
        actions::run(
            actor,
            clicks,
            clicks_touched.boxed(),
            namespace,
            filled,
            stop_actions,
        )
        .await;
    });

    let ended = tokio::select! {
        () = stop.cancelled() => None,
        ended = writers.first_end() => Some(ended),
        ended = rest.first_end() => Some(ended),
    };
    stop.cancel();
    writers.drain(DRAIN).await;
    after.cancel();
    rest.drain(RELEASE).await;
    match ended {
        // The signal may have ended a part before it was seen here.
        Some(ended) if !signals::received() => Err(Failure::new(
            Code::Software,
            format!("{ended} ended unexpectedly"),
        )),
        _ => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Background tasks, each of which the process needs.
#[derive(Default)]
struct Parts(JoinSet<&'static str>);

impl Parts {
    fn start(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            part.await;
            name
        });
    }

    /// The name of the first part that ends.
    async fn first_end(&mut self) -> String {
        match self.0.join_next().await {
            Some(Ok(name)) => name.to_owned(),
            Some(Err(error)) => format!("a part of the operator ({error})"),
            None => future::pending().await,
        }
    }

    /// Waits for all parts; those that take longer than `limit` are cut off.
    async fn drain(&mut self, limit: Duration) {
        let all = async { while self.0.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("cut off after {} s", limit.as_secs());
            self.0.abort_all();
        }
    }
}
