//! The starts of an agent's parts, each by what it needs.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use scope_protocol::encode;
use tokio_util::sync::CancellationToken;

use super::config::{Cluster, Config};
use super::demand::Demand;
use super::routes::{self, Controls};
use super::sampler::SamplerState;
use super::socket::PluginDirectory;
use super::tasks::Tasks;
use super::{KubernetesParts, ServeError};
use crate::Collectors;
use crate::container_control::{Containers, Rules, records};
use crate::control::{Actions, CLICK_WAIT, Desk, controls_report};
use crate::inventory::{InventoryWatch, NodeLookSettings, WatchSettings, chance};
use crate::totals::{self, Present, TalkSettings, TotalsBoard, dial, talk};
use crate::traffic::{Board, Networks};
use crate::volumes::{Asker, Look, PATIENCE, VolumeWatch, ask_kernel};

/// Looks at the volumes of this node's pods from a thread of its own.
pub(super) fn volumes(
    config: &Config,
    inventory: &InventoryWatch,
    volumes: &VolumeWatch,
    tasks: &mut Tasks,
    ending: &CancellationToken,
) -> Result<(), ServeError> {
    let asker = Asker::new(Arc::new(ask_kernel), PATIENCE);
    let look = Look::new(&config.roots.proc, &config.kubelet_dir, asker);
    let ends = volumes
        .start(look, inventory.inventory.clone())
        .map_err(|source| ServeError::Start {
            what: "the look at volumes",
            source,
        })?;
    let ending = ending.clone();
    tasks.spawn("the look at volumes", async move {
        tokio::select! {
            _ = ends => {}
            // It may wait for a file system, and the process must end all the same.
            () = ending.cancelled() => {}
        }
    });
    Ok(())
}

/// The containers of this node and what puts them right in time. Also where no control for them is offered
/// (any more): an earlier agent may have left one frozen or shaped.
pub(super) fn containers(
    config: &Config,
    cluster: &Cluster,
    kubernetes: &KubernetesParts,
    board: Option<Arc<Board>>,
    directory: &PluginDirectory,
    tasks: &mut Tasks,
    ending: &CancellationToken,
) -> Containers {
    let (recorder, clerk) = records(actions(config, cluster, kubernetes));
    let rules = Rules {
        spared: cluster.spared_pods(),
        per_minute: cluster.actions_per_minute,
        longest_shaping: cluster.longest_shaping,
    };
    let networks = match &board {
        Some(board) => board.networks().clone(),
        // An earlier agent of the plugin may have been one with the control.
        None => Arc::new(Networks::of_plugin(&config.plugin_id)),
    };
    let containers = Containers::new(
        rules,
        config.roots.clone(),
        kubernetes.inventory.inventory.clone(),
        directory.path(),
        recorder,
        networks,
        board,
    );
    tasks.spawn(
        "putting right what was done for a time",
        containers.clone().keep_deadlines(ending.clone()),
    );
    tasks.spawn(
        "clearing what has no deadline",
        containers.clone().clear_leftovers(ending.clone()),
    );
    tasks.spawn("the writing of records", clerk.work(ending.clone()));
    containers
}

/// What answers clicks, and the routes of its socket.
pub(super) fn desk(
    config: &Config,
    cluster: &Cluster,
    kubernetes: &KubernetesParts,
    containers: &Containers,
) -> (Arc<Desk>, axum::Router) {
    let report = controls_report(&config.plugin_id, &config.label, &cluster.controls);
    let mut body = Vec::new();
    encode(&report, &mut body);
    let desk = Arc::new(Desk::new(
        actions(config, cluster, kubernetes),
        containers.clone(),
        cluster.controls.clone(),
        report,
        CLICK_WAIT,
        config.host.clone(),
        kubernetes.inventory.clone(),
    ));
    let routes = routes::controls(Controls {
        report: body.into(),
        desk: desk.clone(),
    });
    (desk, routes)
}

/// Looks at this node's object and at its pods.
pub(super) fn inventory(
    cluster: &Cluster,
    kubernetes: KubernetesParts,
    tasks: &mut Tasks,
    ending: &CancellationToken,
) {
    let settings = WatchSettings {
        node: cluster.node.clone(),
        start_jitter: cluster.start_jitter,
    };
    tasks.spawn(
        "the look at the Node object",
        crate::inventory::look_at_node(
            kubernetes.lookup.clone(),
            NodeLookSettings::new(&cluster.node, cluster.start_jitter),
            kubernetes.inventory.clone(),
            ending.clone(),
        ),
    );
    tasks.spawn(
        "the watch of this node's pods",
        crate::inventory::watch(
            kubernetes.watch,
            kubernetes.lookup,
            settings,
            kubernetes.inventory,
            ending.clone(),
        ),
    );
}

/// Tells how the agent is at present.
pub(super) type Tell = Box<dyn Fn() -> Present + Send + Sync>;

/// What tells how the agent is: by who asks it, by what its sampler cannot read, and by its watch.
pub(super) fn present(
    collectors: Collectors,
    demand: Arc<Demand>,
    sampler: Arc<ArcSwap<SamplerState>>,
    inventory: InventoryWatch,
) -> Tell {
    Box::new(move || {
        let problems = &sampler.load().problems;
        let watch = inventory.state.load();
        let broken_off = watch.error.is_none() && inventory.contact.is_broken_off();
        Present {
            server_away: watch.server_away || broken_off,
            watched: demand.is_watched(),
            health: totals::health(demand.probe_asked_ago(), collectors, problems),
        }
    })
}

/// Talks to the service that adds up over all nodes.
pub(super) fn totals(
    directory: PathBuf,
    boot: String,
    board: Arc<TotalsBoard>,
    demand: Arc<Demand>,
    present: Tell,
    tasks: &mut Tasks,
    ending: &CancellationToken,
) {
    let settings = TalkSettings {
        directory,
        boot,
        asked_again: demand.again(),
        want_look: Box::new(move || demand.want_look()),
        present,
        dial: Box::new(dial),
        chance: chance::random,
    };
    tasks.spawn(
        "the exchange of totals",
        talk(settings, board, ending.clone()),
    );
}

/// What is done by a click, and written down.
fn actions(config: &Config, cluster: &Cluster, kubernetes: &KubernetesParts) -> Actions {
    Actions::new(
        kubernetes.click.clone(),
        cluster.namespace.as_deref().unwrap_or_default(),
        &config.plugin_id,
        &cluster.node,
    )
}
