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
//! | cluster | rbac.authorization.k8s.io | clusterroles, the one of the operator | list, watch | whether it is the cluster's operator ([`crate::installation`]) |
//! | cluster | scopeplugins.dev | scopeplugins | list, watch | the main watch ([`crate::watches`]) |
//! | cluster | scopeplugins.dev | scopeplugins/status | patch | conditions and counts ([`crate::apply`]) |
//! | plugins' namespace | apps | daemonsets | list, watch | the children and foreign objects of their names |
//! | plugins' namespace | apps | daemonsets | create, patch | server-side apply, taking over foreign fields, waking the controller |
//! | plugins' namespace | apps | daemonsets | delete | pruning, suspension |
//! | plugins' namespace | core | serviceaccounts | list, watch, create, patch | the agents' accounts; the garbage collector removes them |
//! | cluster | core | nodes | list, watch | on which nodes a plugin belongs, and which are down ([`crate::seen`]) |
//! | plugins' namespace | core | pods | list, watch, delete | rollouts ([`crate::rolling`]) |
//! | plugins' namespace | core | configmaps | list, watch, create, patch | rollout records; where scope-totals is ([`crate::totals`]) |
//! | plugins' namespace | apps | controllerrevisions | list, watch, create, patch, delete | the templates of the last revisions |
//! | plugins' namespace | scopeplugins.dev | scopeactions | list, watch, delete | clicks, and the removal of old records ([`crate::actions`]) |
//! | plugins' namespace | scopeplugins.dev | scopeactions/status | patch | outcomes |
//! | plugins' namespace | events.k8s.io | events | list | why pods cannot be created ([`crate::events`]) |
//! | plugins' namespace | events.k8s.io | events | create, patch | Events about ScopeActions that cannot be read |
//! | `default` | events.k8s.io | events | create, patch | Events about ScopePlugins, which have no namespace |
//! | own namespace | coordination.k8s.io | leases, the one of the operator | get, list, watch, patch | leader election ([`crate::leader`]) |
//! | cluster, with an action on a kind allowed | core, apps, batch | pods, deployments, statefulsets, daemonsets, cronjobs | list, watch, get | finding a UID ([`crate::actions`]), looking before the deed |
//! | cluster, with `DeletePod` allowed | core | pods | delete | the deed |
//! | cluster, with `EvictPod` allowed | core | pods/eviction | create | the deed |
//! | cluster, with `RestartRollout` allowed | apps | deployments, statefulsets, daemonsets | patch | the deed |
//! | cluster, with `ScaleUp` or `ScaleDown` allowed | apps | deployments/scale, statefulsets/scale | patch | the deed |
//! | cluster, with `ScaleUp` or `ScaleDown` allowed | autoscaling | horizontalpodautoscalers | list | whether one decides on the replicas |
//! | cluster, with `PauseRollout` or `ResumeRollout` allowed | apps | deployments | patch | the deed |
//! | cluster, with `SuspendCronJob` or `ResumeCronJob` allowed | batch | cronjobs | patch | the deed |
//! | cluster, with `TriggerCronJob` allowed | batch | jobs | get, create | the deed, and whether it was done when no answer came |
//! | cluster, with `CordonNode` or `UncordonNode` allowed | core | nodes | get, patch | the deed |
//! | cluster, with a control of containers allowed | core | pods | get | whether a record tells of a pod on its node |
//! | cluster, with any action allowed | events.k8s.io | events | create, patch | Events about clicked objects |
//!
//! Besides the API server it asks only agents, without a token ([`crate::refusals`]), and scope-totals, with one that
//! is good there alone ([`crate::totals`]).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    coordination::v1::Lease,
    core::v1::{ConfigMap, ServiceAccount},
};
use kube::{Api, Client, ResourceExt, core::PartialObjectMeta};
use scope_crds::{ScopeAction, ScopePlugin};
use scope_process::{
    clients::Clients,
    exit::Failure,
    http,
    parts::{Parts, listen},
    signals,
};
use tokio_util::sync::CancellationToken;

use crate::{
    actions::{self, Actor, Index, Indexes, Known},
    apply::Writer,
    controller::{self, Touched},
    editions::Edition,
    events::Events,
    http::Answers,
    installation,
    leader::{self, Elector, Told},
    look::Context,
    metrics::Metrics,
    names, overlap,
    readiness::Readiness,
    refusals::Refusals,
    seen::{Pods, SeenNode, SeenPod},
    settings::{Process, Settings},
    totals::{self, Asker, Board, Whereabouts},
    watches::{self, Caches, Guarded, kind, without_managed_fields},
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
    let mut filled = controller::CACHES.to_vec();
    filled.extend([kind::ACTIONS, kind::INSTALLATION]);
    let readiness = Arc::new(Readiness::new(&filled));
    let (claim_writer, claim) = leader::claim();
    let mut writers = Parts::of("operator");
    let mut rest = Parts::of("operator");

    let listener = listen("--http-listen", http_listen).await?;
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
        timing: leader::TIMING,
        client: clients.lease.clone(),
        witness: Arc::new(Told {
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&readiness),
        }),
    };
    let leases = watches::one::<Lease, _>(
        Api::namespaced(clients.watch.clone(), &settings.own_namespace),
        &elector.lease_name,
        "Lease",
        Arc::clone(&metrics),
    );
    let confirmed = CancellationToken::new();
    let elsewhere = installation::elsewhere(
        clients.watch.clone(),
        settings.own_namespace.clone(),
        confirmed.clone(),
        Arc::clone(&metrics),
    );
    let (seen, election_over) = (Arc::clone(&readiness), after.clone());
    rest.start("leader election", async move {
        // Without the Lease nothing is written, so an operator of a second installation writes nothing.
        tokio::select! {
            () = election_over.cancelled() => return,
            () = confirmed.cancelled() => seen.filled(kind::INSTALLATION),
        }
        elector.run(leases, claim_writer, election_over).await;
    });

    let namespace = settings.plugins_namespace.clone();
    let caches = Caches {
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
    };
    let (plugins_edition, nodes_edition) = (Edition::default(), Edition::default());
    let pods = Pods::default();
    let (plugins, plugins_touched) = caches.cache::<Guarded<ScopePlugin>, _, _>(
        Api::all(clients.watch.clone()),
        None,
        kind::PLUGINS,
        without_managed_fields,
        plugins_edition.follow(overlap::gist),
    );
    // All of the namespace, which is ours alone: an object that is in the way is seen as well, and
    // so is its removal. Who wrote which field is needed to find drift.
    let (daemon_sets, daemon_sets_touched) = caches.cache::<DaemonSet, _, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        None,
        kind::DAEMON_SETS,
        |_| {},
        watches::alone,
    );
    let (accounts, accounts_touched) = caches.cache::<PartialObjectMeta<ServiceAccount>, _, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        None,
        kind::ACCOUNTS,
        without_managed_fields,
        watches::alone,
    );
    let (nodes, nodes_touched) = caches.cache::<SeenNode, _, _>(
        Api::all(clients.watch.clone()),
        None,
        kind::NODES,
        SeenNode::prune,
        nodes_edition.follow(SeenNode::placement_gist),
    );
    let shelves = pods.clone();
    let (_, pods_touched) = caches.cache::<SeenPod, _, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        Some(&format!("{}={}", names::LABEL_NAME, names::AGENT)),
        kind::PODS,
        // It is decoded to what is read.
        |_| {},
        move |event, store| shelves.follow(event, store),
    );
    // Those that we keep; the DaemonSet controller has others of its own.
    let (revisions, revisions_touched) = caches.cache::<ControllerRevision, _, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        Some(names::LABEL_PLUGIN),
        kind::REVISIONS,
        without_managed_fields,
        watches::alone,
    );
    let (records, records_touched) = caches.cache::<ConfigMap, _, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        None,
        kind::RECORDS,
        without_managed_fields,
        watches::alone,
    );
    let (clicks, clicks_touched) = caches.cache::<Guarded<ScopeAction>, _, _>(
        Api::namespaced(clients.watch.clone(), &namespace),
        None,
        kind::ACTIONS,
        // Agents make these: what they could fill up without being read is not kept.
        |click: &mut Guarded<ScopeAction>| {
            without_managed_fields(click);
            click.annotations_mut().clear();
            click.labels_mut().clear();
        },
        watches::alone,
    );

    let events = Events::new(clients.act.clone(), &pod_name, Arc::clone(&metrics));
    let actor = Arc::new(Actor::new(
        clients.act.clone(),
        claim.clone(),
        settings.clone(),
        plugins.clone(),
        Known {
            indexes: indexes(&settings, &clients.watch, &caches, &mut rest, &after),
            nodes: nodes.clone(),
        },
        events.clone(),
        Arc::clone(&metrics),
    ));
    let writer = Writer {
        client: clients.act,
        claim,
        namespace: namespace.clone(),
        metrics: Arc::clone(&metrics),
    };
    let board = Arc::new(Board::default());
    let (looks, heard) = totals::looks();
    if let Some(totals) = &settings.totals {
        let asker = Asker {
            whereabouts: Whereabouts {
                namespace: namespace.clone(),
                config_map: totals.config_map.clone(),
                token: totals.token_file.clone(),
            },
            config_maps: records.clone(),
            plugins: plugins.clone(),
            claim: writer.claim.clone(),
            board: Arc::clone(&board),
            readiness: Arc::clone(&readiness),
            metrics: Arc::clone(&metrics),
            looks,
        };
        let stop = stop.clone();
        writers.start("the questions to scope-totals", async move {
            asker.run(stop).await;
        });
    }
    let context = Arc::new(Context {
        settings,
        writer,
        plugins,
        daemon_sets,
        service_accounts: accounts,
        nodes: nodes.clone(),
        pods,
        revisions,
        records,
        events,
        refusals: Refusals::new(Arc::clone(&metrics)),
        board,
        metrics,
        readiness: Arc::clone(&readiness),
        memory: Mutex::default(),
        plugins_edition,
        nodes_edition,
    });
    let touched = Touched {
        plugins: plugins_touched,
        daemon_sets: daemon_sets_touched,
        service_accounts: accounts_touched,
        nodes: watches::by_gist(nodes_touched, nodes, SeenNode::gist),
        pods: pods_touched,
        revisions: revisions_touched,
        records: records_touched,
    };
    let forget = controller::forget(Arc::clone(&context), stop.clone());
    writers.start("the housekeeping", forget);
    writers.start(
        "the rollout controller",
        controller::run(context, touched, heard, stop.clone()),
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
        failure = elsewhere => Some(failure),
    };
    stop.cancel();
    drain(writers, DRAIN).await;
    after.cancel();
    drain(rest, RELEASE).await;
    match ended {
        // The signal may have ended a part before it was seen here.
        Some(failure) if !signals::received() => Err(failure),
        _ => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Begins to watch whatever can be clicked where these actions are allowed.
fn indexes(
    settings: &Settings,
    client: &Client,
    caches: &Caches,
    parts: &mut Parts,
    end: &CancellationToken,
) -> Indexes {
    let mut indexes = Indexes::new();
    for kind in actions::kinds(&settings.allowed_actions) {
        let index = Arc::new(Index::default());
        indexes.insert(kind, Arc::clone(&index));
        let api = Api::all_with(client.clone(), &actions::resource(kind));
        let (caches, end) = (caches.clone(), end.clone());
        let metrics = Arc::clone(&caches.metrics);
        parts.start("the index of what can be clicked", async move {
            let follow = |event| {
                index.follow(event);
                metrics.indexed(kind.as_str(), index.len());
            };
            let watched = caches.metadata(api, watches::metadata_of(kind), follow);
            end.run_until_cancelled(watched).await;
        });
    }
    indexes
}

/// Waits for the parts, and says where one had to be cut off.
async fn drain(mut parts: Parts, limit: Duration) {
    if !parts.drain(limit).await {
        tracing::warn!("cut off after {} s", limit.as_secs());
    }
}
