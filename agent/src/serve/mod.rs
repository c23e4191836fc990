//! A serving agent: sockets, sampler, inventory, clicks, health; started in order, ended together.

mod config;
mod connection;
mod counting;
mod demand;
mod due;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod health;
mod http;
mod http_metrics;
mod metrics;
mod offered;
mod parts;
mod publication;
mod readiness;
mod rendering;
mod routes;
mod sampler;
mod socket;
mod starts;
mod tasks;
mod totals_metrics;
mod traffic_metrics;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use scope_crds::Collector;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::collect::ControlNames;
use crate::exit;
use crate::kubernetes::KubernetesError;
use tasks::Tasks;

pub use config::{Cluster, Config};
pub use connection::{Activity, Limits, Phase};
pub use demand::{ASKED_LATELY, Demand, MAX_PROBES, Probe, is_probe_id};
pub use health::{Health, health};
pub use http::{Listener, serve as serve_http};
pub use metrics::{Ended, Exposition, Kind, Number, OPEN_METRICS, SocketMetrics};
pub use offered::{OfferReader, OfferedControls};
pub use parts::{KubernetesParts, Parts};
pub use publication::{Publication, Published};
pub use readiness::{Checks, Readiness, keep_checking};
pub use rendering::{empty_report, renderer, settings};
pub use routes::{Controls, Reporter, controls, read_body, reporter};
pub use sampler::{
    Render, Rendered, SLOW_CADENCE, SamplerState, SamplerThread, TICK_BOUNDS, Tick, Turns,
};
pub use socket::{PluginDirectory, SocketError, is_served, socket_path, use_modes_as_given};

/// Open connections to health and metrics.
const HEALTH_CONNECTIONS: usize = 16;

/// For thawing what is frozen, and clearing what is shaped, when the agent ends. It has ten seconds altogether.
const PUT_RIGHT: Duration = Duration::from_secs(3);

/// How often the sockets are looked for under their names. As often as a probe does.
const GUARD_INTERVAL: Duration = Duration::from_secs(5);
/// An agent that nobody asks for this long says so once: most likely Scope does not see the plugin
/// directory.
const UNASKED: Duration = Duration::from_secs(60);

/// Why a serving agent ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The sockets.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The API server's address or credentials.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// Health and metrics cannot be served.
    #[error(
        "cannot listen on {address} for health and metrics: {source}. Choose another --http-listen, \
         or \"off\""
    )]
    HttpListen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part of the agent cannot be started.
    #[error("cannot start {what}: {source}")]
    Start {
        /// Which.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part of the agent ended although nobody asked it to.
    #[error("{0} ended by itself; ending, so that a restart begins anew")]
    Ended(&'static str),
}

impl ServeError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            ServeError::Socket(e) => e.exit_code(),
            ServeError::Kubernetes(e) => e.exit_code(),
            ServeError::HttpListen { .. } => exit::UNAVAILABLE,
            ServeError::Start { .. } | ServeError::Ended(_) => exit::SOFTWARE,
        }
    }
}

/// Serves until `stop`. Whatever happens, the sockets are gone when it returns.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), ServeError> {
    let parts = Parts::real(&config).await?;
    run_with(config, parts, stop).await
}

/// Serves with these parts until `stop`.
pub async fn run_with(
    config: Config,
    parts: Parts,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    // Declared first, so that it goes last.
    let mut directory = PluginDirectory::claim(&config.plugin_dir, &config.plugin_id)?;
    let names = rendering::control_names(&config, parts.board.as_deref());
    let _offered = match names == ControlNames::default() {
        true => None,
        false => Some(OfferedControls::write(
            directory.path(),
            &config.plugin_id,
            &names,
        )?),
    };
    let reporter_listener = unix(directory.bind(&config.plugin_id)?)?;
    let controls_listener = match config.controls_name() {
        Some(name) => Some(unix(directory.bind(&name)?)?),
        None => None,
    };
    let http_listener = match config.http_listen {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .map_err(|source| ServeError::HttpListen { address, source })?,
        ),
        None => None,
    };

    let publication = Arc::new(Publication::new(empty_report(&config)));
    let demand = Arc::new(Demand::new());
    let (sampler, sampler_ends) = SamplerThread::start(
        parts.render,
        config.sample_interval,
        publication.clone(),
        demand.clone(),
    )
    .map_err(|source| ServeError::Start {
        what: "the sampler",
        source,
    })?;

    // Everything else is a task. The first that ends by itself ends the process.
    let ending = CancellationToken::new();
    let mut tasks = Tasks::default();
    let mut listeners = Vec::new();
    let limits = Limits::default();
    let own_probe_id: Arc<str> = own_probe_id().into();

    let containers = match (&config.cluster, &parts.kubernetes) {
        (Some(cluster), Some(kubernetes)) => Some(starts::containers(
            &config,
            cluster,
            kubernetes,
            parts.board.clone(),
            &directory,
            &mut tasks,
            &ending,
        )),
        _ => None,
    };
    if let Some(board) = &parts.board {
        tasks.spawn(
            "the look at the networks of pods",
            board
                .clone()
                .keep_looking(config.roots.proc.clone(), ending.clone()),
        );
    }
    let mut serve = |name, what, listener, router| {
        let metrics = Arc::new(SocketMetrics::new(name));
        listeners.push(metrics.clone());
        tasks.spawn(
            what,
            http::serve(listener, router, limits, metrics, ending.clone()),
        );
    };
    let reporter_routes = routes::reporter(Reporter {
        publication: publication.clone(),
        demand: demand.clone(),
        own_probe_id: own_probe_id.clone(),
    });
    serve(
        "reporter",
        "the reporter socket",
        Listener::Unix(reporter_listener),
        reporter_routes,
    );
    let desk = match (
        &config.cluster,
        &parts.kubernetes,
        controls_listener,
        &containers,
    ) {
        (Some(cluster), Some(kubernetes), Some(listener), Some(containers)) => {
            let (desk, routes) = starts::desk(&config, cluster, kubernetes, containers);
            serve(
                "controls",
                "the controls socket",
                Listener::Unix(listener),
                routes,
            );
            Some(desk)
        }
        _ => None,
    };

    let inventory = parts.kubernetes.as_ref().map(|k| k.inventory.clone());
    let volumes = match &inventory {
        Some(inventory) if config.collectors.has(Collector::VolumeCount) => {
            starts::volumes(&config, inventory, &parts.volumes, &mut tasks, &ending)?;
            Some(parts.volumes)
        }
        _ => None,
    };
    if let (Some(board), Some(directory)) = (
        &parts.totals,
        config.cluster.as_ref().and_then(|c| c.totals_dir.clone()),
    ) {
        let present = starts::present(
            config.collectors,
            demand.clone(),
            sampler.watch(),
            inventory.clone().unwrap_or_default(),
        );
        starts::totals(
            directory,
            // As new as that one at each start.
            own_probe_id.to_string(),
            board.clone(),
            demand.clone(),
            present,
            &mut tasks,
            &ending,
        );
    }
    if let (Some(cluster), Some(kubernetes)) = (&config.cluster, parts.kubernetes) {
        starts::inventory(cluster, kubernetes, &mut tasks, &ending);
    }
    let readiness = Arc::new(ArcSwap::from_pointee(Readiness::unknown()));
    let checks = Checks {
        sockets: sockets(&config)?,
        own_probe_id,
        publication: publication.clone(),
        inventory: inventory.as_ref().map(|i| i.state.clone()),
        result: readiness.clone(),
    };
    tasks.spawn(
        "the check of the sockets",
        keep_checking(checks, ending.clone()),
    );
    if let Some(listener) = http_listener {
        let metrics = Arc::new(SocketMetrics::new("http"));
        listeners.push(metrics.clone());
        let routes = health::health(Health {
            sampler: sampler.watch(),
            publication,
            demand: demand.clone(),
            readiness,
            listeners,
            inventory,
            volumes: volumes.clone(),
            desk,
            board: parts.board.clone(),
            http: parts.http,
            totals: parts.totals,
            plugin_id: config.plugin_id.as_str().into(),
        });
        tasks.spawn(
            "the server of health and metrics",
            http::serve(
                Listener::Tcp(listener),
                routes,
                // Anybody on the network may come here, on the thread that serves the probe: a kubelet and
                // a few scrapers are all that is needed.
                Limits {
                    connections: HEALTH_CONNECTIONS,
                    ..limits
                },
                metrics,
                ending.clone(),
            ),
        );
    }
    tracing::info!(
        plugin = config.plugin_id,
        version = env!("CARGO_PKG_VERSION"),
        directory = %directory.path().display(),
        node = config.cluster.as_ref().map_or("(standalone)", |c| &c.node),
        host = config.host,
        interval = ?config.sample_interval,
        controls = config.controls().len(),
        http = ?config.http_listen,
        "serving"
    );

    let ended = attend(&directory, &demand, &mut tasks, sampler_ends, &stop).await;
    // Names first: no probe comes any more while the last answers leave.
    directory.remove_sockets();
    sampler.stop();
    if let Some(volumes) = volumes {
        volumes.stop();
    }
    if let Some(containers) = containers
        && tokio::time::timeout(PUT_RIGHT, containers.end())
            .await
            .is_err()
    {
        tracing::error!(
            "not everything that was done for a time was put right in time; the next agent does it, if one comes"
        );
    }
    ending.cancel();
    // Each server has its own, shorter deadline.
    let all = tasks.all_ended();
    if tokio::time::timeout(limits.drain + Duration::from_secs(1), all)
        .await
        .is_err()
    {
        tracing::warn!("not everything ended in time");
    }
    match &ended {
        Ok(()) => tracing::info!("ended as asked"),
        Err(e) => tracing::error!(error = %e, "ended"),
    }
    ended
}

/// Waits for the end.
async fn attend(
    directory: &PluginDirectory,
    demand: &Demand,
    tasks: &mut Tasks,
    mut sampler_ends: oneshot::Receiver<()>,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let mut guard = tokio::time::interval(GUARD_INTERVAL);
    let mut unasked_said = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            _ = &mut sampler_ends => return Err(ServeError::Ended("the sampler")),
            what = tasks.first_ended() => return Err(ServeError::Ended(what)),
            _ = guard.tick() => {
                directory.intact()?;
                if !unasked_said && demand.idle_for() > UNASKED {
                    unasked_said = true;
                    tracing::warn!(
                        "no Scope probe asks for reports: does one run on this node, with the \
                         plugin directory mounted since before its start?"
                    );
                }
            }
        }
    }
}

fn unix(listener: std::os::unix::net::UnixListener) -> Result<UnixListener, ServeError> {
    UnixListener::from_std(listener).map_err(|source| ServeError::Start {
        what: "listening on a socket",
        source,
    })
}

fn sockets(config: &Config) -> Result<Vec<PathBuf>, SocketError> {
    let mut sockets = vec![config.reporter_socket()?];
    sockets.extend(config.controls_socket()?);
    Ok(sockets)
}

/// What the agent calls itself when it asks its own sockets: of a probe's form, and new each time.
fn own_probe_id() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:x}", RandomState::new().hash_one("scope-agent") >> 1)
}
