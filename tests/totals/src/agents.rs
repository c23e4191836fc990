//! Agents that report what is known beforehand, so that each total can be checked.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::TLS13,
};
use scope_totals_wire::{
    Health, Kind, Members, Metric, Node, Off, PATH, Partial, Reply, Report, Sampled, Stamp, Uid,
    VERSION,
};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use totals_bench::{api::token, service::NAME};

use crate::cluster::Cluster;

const METRICS: [Metric; 12] = [
    Metric::Millicores,
    Metric::Memory,
    Metric::Rss,
    Metric::Threads,
    Metric::Processes,
    Metric::OpenFiles,
    Metric::NetworkReceived,
    Metric::NetworkSent,
    Metric::DiskRead,
    Metric::DiskWritten,
    Metric::BlockDelay,
    Metric::OomKills,
];
/// And those of Services and images.
const METRICS_OF_SERVICES: &[Metric] = &[Metric::Millicores, Metric::Memory];
/// What each pod uses of each of them, by the number of its node.
const PER_NODE: f64 = 0.125;

/// What the agents have seen.
#[derive(Clone, Default)]
pub(crate) struct Outcome {
    took: Vec<Duration>,
    totals: usize,
    pub(crate) wrong: usize,
    pub(crate) failed: usize,
}

impl Outcome {
    pub(crate) fn count(&self) -> usize {
        self.took.len()
    }

    pub(crate) fn totals_of_each(&self) -> f64 {
        self.totals as f64 / self.took.len().max(1) as f64
    }

    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let place = (took.len() as f64 * percent / 100.0) as usize;
        took.get(place.min(took.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// All agents.
pub(crate) struct Fleet {
    size: usize,
    outcome: Arc<Mutex<Outcome>>,
    complete: Arc<AtomicUsize>,
}

impl Fleet {
    /// Waits until every agent has heard all of its totals.
    pub(crate) async fn all_have_totals(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.complete.load(Ordering::Relaxed) < self.size {
            let so_far = self.complete.load(Ordering::Relaxed);
            ensure!(
                started.elapsed() < Duration::from_secs(120),
                "{so_far} of {} agents have totals after two minutes",
                self.size
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = started.elapsed().as_secs_f64();
        println!("all agents have all totals after {took:.1} s");
        Ok(())
    }

    /// Begins to measure.
    pub(crate) fn forget(&self) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Outcome::default();
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Starts an agent on each node, in the course of one interval.
pub(crate) fn start(cluster: Arc<Cluster>, address: SocketAddr, bundle: &str) -> Fleet {
    let size = cluster.nodes;
    let outcome: Arc<Mutex<Outcome>> = Arc::default();
    let complete: Arc<AtomicUsize> = Arc::default();
    let tls = connector(bundle);
    for number in 0..size {
        let mut agent = Agent {
            number,
            cluster: Arc::clone(&cluster),
            address,
            tls: tls.clone(),
            token: token(&Cluster::node(number)),
            sequence: 0,
            stamp: None,
            services: (0, Vec::new()),
            images: cluster.images_of(number),
            common: Cluster::common_image(),
            connection: None,
            outcome: Arc::clone(&outcome),
        };
        let complete = Arc::clone(&complete);
        let delay = Duration::from_secs(5).mul_f64(number as f64 / size as f64);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let mut next = tokio::time::Instant::now();
            let mut has_all = false;
            loop {
                let interval = match agent.exchange().await {
                    Ok((interval, all)) => {
                        if all && !has_all {
                            has_all = true;
                            complete.fetch_add(1, Ordering::Relaxed);
                        }
                        interval
                    }
                    Err(error) => {
                        let mut outcome = agent.outcome();
                        if outcome.failed == 0 {
                            eprintln!("the agent of node {number}: {error:#}");
                        }
                        outcome.failed += 1;
                        drop(outcome);
                        agent.connection = None;
                        Duration::from_secs(1)
                    }
                };
                next += interval;
                tokio::time::sleep_until(next).await;
            }
        });
    }
    Fleet {
        size,
        outcome,
        complete,
    }
}

struct Agent {
    number: usize,
    cluster: Arc<Cluster>,
    address: SocketAddr,
    tls: TlsConnector,
    token: String,
    sequence: u64,
    stamp: Option<(Stamp, Instant)>,
    /// The list of the node's Services, and its version.
    services: (u64, Vec<Members>),
    /// The images of its controllers, and that of all.
    images: Vec<Uid>,
    common: Uid,
    connection: Option<SendRequest<Full<Bytes>>>,
    outcome: Arc<Mutex<Outcome>>,
}

impl Agent {
    /// When to come again, and whether all totals were there.
    async fn exchange(&mut self) -> anyhow::Result<(Duration, bool)> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let body = serde_json::to_vec(&self.report())?;
        let request = Request::post(PATH)
            .header("Host", NAME)
            .header("Authorization", format!("Bearer {}", self.token))
            .body(Full::from(body))?;
        let began = Instant::now();
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let took = began.elapsed();
        ensure!(
            status == StatusCode::OK,
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        let reply: Reply = serde_json::from_slice(&body)?;
        self.connection = Some(connection);
        let first = self.stamp.is_none();
        self.stamp = Some((reply.stamp.clone(), Instant::now()));
        let wrong = reply
            .totals
            .iter()
            .filter(|total| !self.is_right(total))
            .count();
        // Of each controller, its Service and its image, and of the image of all.
        let mine = self.cluster.controllers_of(self.number).count();
        let services = if self.cluster.services { mine } else { 0 };
        let images = if self.cluster.images { mine + 1 } else { 0 };
        let all = reply.totals.len() == mine + services + images;
        if let Some(told) = reply.services
            && let Some(services) = told.services
        {
            self.services = (told.version, services);
        }
        let mut outcome = self.outcome();
        outcome.took.push(took);
        outcome.totals += reply.totals.len();
        outcome.wrong += wrong;
        let interval = match first {
            true => Duration::from_millis(100),
            false => Duration::from_millis(reply.interval_ms),
        };
        Ok((interval, all))
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&mut self) -> Report {
        self.sequence += 1;
        let value = self.number as f64 * PER_NODE;
        let partial = |controller| Partial {
            kind: Kind::Deployment,
            uid: Cluster::uid(1, controller),
            counted: 1,
            members: None,
            values: METRICS.iter().map(|metric| (*metric, value)).collect(),
        };
        let of_service = |service: &Members| {
            let pods = service.pods.len();
            let values = METRICS_OF_SERVICES.iter();
            Partial {
                kind: Kind::Service,
                uid: service.uid,
                counted: pods as u32,
                members: Some(service.version),
                values: values
                    .map(|metric| (*metric, value * pods as f64))
                    .collect(),
            }
        };
        let of_image = |(uid, pods): (Uid, usize)| Partial {
            kind: Kind::Image,
            uid,
            counted: pods as u32,
            members: None,
            values: METRICS_OF_SERVICES
                .iter()
                .map(|metric| (*metric, value * pods as f64))
                .collect(),
        };
        let images = self.images.iter().map(|uid| (*uid, 1));
        let common = (self.common, self.cluster.pods_of_node);
        let images = images.chain([common]).filter(|_| self.cluster.images);
        Report {
            version: VERSION,
            boot: format!("bench-{}", self.number),
            sequence: self.sequence,
            sampled: self.stamp.as_ref().map(|(stamp, came)| Sampled {
                stamp: stamp.clone(),
                after_ms: came.elapsed().as_millis() as u64,
            }),
            node: Node {
                cpus: 64,
                memory: 1 << 38,
            },
            objects: self
                .cluster
                .controllers_of(self.number)
                .map(partial)
                .chain(self.services.1.iter().map(of_service))
                .chain(images.map(of_image))
                .collect(),
            podless: None,
            server_away: false,
            watched: None,
            services: Some(self.services.0),
            health: Some(health()),
            top: Vec::new(),
        }
    }

    /// The pods of a controller are on neighbouring nodes, counted round and round.
    fn is_right(&self, total: &scope_totals_wire::Total) -> bool {
        let mut mine = self.cluster.controllers_of(self.number);
        let nodes = self.cluster.nodes;
        let (controller, metrics) = match total.kind {
            Kind::Image => {
                let mut images = self.images.iter().zip(mine);
                let image = images.find(|(uid, _)| **uid == total.uid);
                (image.map(|(_, controller)| controller), METRICS_OF_SERVICES)
            }
            Kind::Service => {
                let service = mine.find(|one| Cluster::uid(5, *one) == total.uid);
                (service, METRICS_OF_SERVICES)
            }
            _ => {
                let controller = mine.find(|one| Cluster::uid(1, *one) == total.uid);
                (controller, &METRICS[..])
            }
        };
        let pods = match controller {
            Some(controller) => {
                let first = controller * (self.cluster.pods_of(0));
                first..first + self.cluster.pods_of(controller)
            }
            None if total.kind == Kind::Image && total.uid == self.common => 0..self.cluster.pods(),
            None => return false,
        };
        let sum: f64 = pods
            .clone()
            .map(|pod| (pod % nodes) as f64 * PER_NODE)
            .sum();
        let pods = pods.len();
        total.counted as usize == pods
            && total.pods as usize == pods
            && metrics
                .iter()
                .all(|metric| total.values.get(*metric) == Some(sum))
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        // A node has an address of its own.
        let [high, low] = (self.number as u16).to_be_bytes();
        let own = IpAddr::V4(Ipv4Addr::new(127, 1 + high, low, 1));
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(own, 0))?;
        let stream = socket.connect(self.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(NAME)?;
        let stream = self.tls.connect(name, stream).await.context("TLS")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// As of an agent of a kernel without BTF.
fn health() -> Health {
    Health {
        asked_ms_ago: Some(500),
        collectors_off: vec![Off {
            collector: "HTTPStatistics".into(),
            why: "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF), so programs cannot be loaded"
                .into(),
        }],
        version: env!("CARGO_PKG_VERSION").into(),
        millicores: Some(4.5),
        memory: Some(20 << 20),
    }
}

fn connector(bundle: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let (_, ignored) = roots.add_parsable_certificates(
        CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(Result::ok),
    );
    assert_eq!(ignored, 0, "the service publishes what can be read");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("ring speaks TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
