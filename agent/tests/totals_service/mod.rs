//! A service that answers by a script, and an agent's exchange with it. Every connection is real TLS and
//! HTTP through memory.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::TLS13;
use scope_agent::Collectors;
use scope_agent::sample::Problems;
use scope_agent::totals::{
    Dialled, Measured, Present, Stream, Sums, TalkSettings, TotalsBoard, health, talk,
};
use scope_totals_wire::{
    Fate, Kind, MAX_REPLY, Metric, Node, Object, PATH, Partial, Refusal, Reply, Report, Stamp,
    Total, Uid, VERSION,
};
use tempfile::TempDir;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

const NAME: &str = "scope-totals.scope-system.svc";

/// Longer than any pause of an agent.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn object(number: u8) -> Object {
    Object {
        kind: Kind::Deployment,
        uid: Uid::from_bytes([number; 16]),
    }
}

pub(crate) fn total(number: u8, valid_ms: u64) -> Total {
    let Object { kind, uid } = object(number);
    Total {
        kind,
        uid,
        pods: 3,
        counted: 3,
        cpus: 4,
        memory: 1 << 30,
        valid_ms,
        values: [(Metric::Millicores, 300.0)].into_iter().collect(),
    }
}

pub(crate) fn reply(fate: Fate, stamp: &str, totals: impl IntoIterator<Item = Total>) -> Reply {
    Reply {
        version: VERSION,
        fate,
        stamp: Stamp(stamp.into()),
        interval_ms: 5000,
        resting: false,
        warming: None,
        at_ms: 1_795_397_680_000,
        totals: totals.into_iter().collect(),
        podless: None,
        services: None,
        top: Vec::new(),
    }
}

/// What the service does with a report.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Reply(Reply),
    Refuse(StatusCode, Refusal, Option<u64>),
    Text(StatusCode, &'static str),
    /// Answers with more than it may.
    Huge,
    /// Ends the connection.
    Cut,
    /// Never answers.
    Silence,
}

/// A report as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) connection: usize,
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) report: Report,
}

/// Who signs the service's certificate.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::SeqCst);
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, format!("authority {number}"));
        let pem = params.self_signed(&key).expect("signed").pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .expect("ring speaks TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The agent's volume, which is written file by file.
pub(crate) struct Volume(TempDir);

impl Volume {
    pub(crate) fn write(&self, name: &str, content: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, content).expect("written");
        std::fs::rename(new, self.0.path().join(name)).expect("renamed");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

struct Service {
    acceptor: Mutex<TlsAcceptor>,
    steps: Mutex<VecDeque<Step>>,
    asked: mpsc::UnboundedSender<Asked>,
    connections: AtomicUsize,
    requests: AtomicUsize,
    step_came: tokio::sync::Notify,
}

/// An agent that talks to the service.
pub(crate) struct Agent {
    pub(crate) volume: Volume,
    pub(crate) authority: Authority,
    pub(crate) board: Arc<TotalsBoard>,
    service: Arc<Service>,
    asked: mpsc::UnboundedReceiver<Asked>,
    measures: Arc<AtomicBool>,
    asked_again: Arc<tokio::sync::Notify>,
    watched: Arc<AtomicBool>,
    _stop: DropGuard,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::without(&[])
    }

    /// With these files missing.
    pub(crate) fn without(missing: &[&str]) -> Self {
        let authority = Authority::new();
        let (asking, asked) = mpsc::unbounded_channel();
        let service = Arc::new(Service {
            acceptor: Mutex::new(authority.acceptor(NAME)),
            steps: Mutex::default(),
            asked: asking,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            step_came: tokio::sync::Notify::new(),
        });
        let board = Arc::new(TotalsBoard::new());
        let measures = Arc::new(AtomicBool::new(true));
        let asked_again = Arc::new(tokio::sync::Notify::new());
        let watched = Arc::new(AtomicBool::new(false));
        let is_watched = watched.clone();
        let stop = CancellationToken::new();
        let agent = Agent {
            volume: Volume(tempfile::tempdir().expect("a directory")),
            authority,
            board: board.clone(),
            service: service.clone(),
            asked,
            measures: measures.clone(),
            asked_again: asked_again.clone(),
            watched,
            _stop: stop.clone().drop_guard(),
        };
        agent.publish();
        for name in missing {
            std::fs::remove_file(agent.volume.path().join(name)).expect("removed");
        }
        let sampled = board.clone();
        let settings = TalkSettings {
            directory: agent.volume.path().to_owned(),
            boot: "b0".into(),
            asked_again: asked_again.clone(),
            want_look: Box::new(move || {
                if measures.load(Ordering::SeqCst) {
                    sampled.tell(measured());
                }
            }),
            present: Box::new(move || Present {
                server_away: false,
                watched: is_watched.load(Ordering::SeqCst),
                health: health(None, Collectors::ALL, &Problems::default()),
            }),
            dial: Box::new(move |address| service.clone().dial(address)),
            chance: || 0.5,
        };
        tokio::spawn(talk(settings, board, stop));
        agent
    }

    pub(crate) fn publish(&self) {
        self.volume.write("token", "token-1");
        self.volume.write("name", NAME);
        self.volume.write("ca.crt", &self.authority.pem);
        self.volume.write("address", "10.0.0.1:8443");
    }

    /// The next report, which the service treats so.
    pub(crate) async fn asked(&mut self, step: Step) -> Asked {
        self.service.steps.lock().expect("whole").push_back(step);
        self.service.step_came.notify_one();
        let asked = timeout(PATIENCE, self.asked.recv()).await;
        asked
            .expect("a report comes")
            .expect("the service is there")
    }

    pub(crate) fn requests(&self) -> usize {
        self.service.requests.load(Ordering::SeqCst)
    }

    /// How many connections there were so far.
    pub(crate) fn connections(&self) -> usize {
        self.service.connections.load(Ordering::SeqCst)
    }

    /// From now on the service's certificate is by this authority.
    pub(crate) fn serve_by(&self, authority: &Authority) {
        self.serve_under(authority, NAME);
    }

    pub(crate) fn serve_under(&self, authority: &Authority, name: &str) {
        *self.service.acceptor.lock().expect("whole") = authority.acceptor(name);
    }

    /// Whether the sampler has anything to tell.
    /// Somebody asks the agent for a report after a time in which nobody did; and whether that is lately still.
    pub(crate) fn ask_again(&self, lately: bool) {
        self.watched.store(lately, Ordering::SeqCst);
        self.asked_again.notify_one();
    }

    pub(crate) fn measure(&self, measures: bool) {
        self.measures.store(measures, Ordering::SeqCst);
    }
}

fn measured() -> Measured {
    let Object { kind, uid } = object(1);
    Measured {
        taken: Instant::now(),
        sums: Sums {
            node: Node {
                cpus: 2,
                memory: 1 << 30,
            },
            objects: vec![Partial {
                kind,
                uid,
                counted: 1,
                members: None,
                values: [(Metric::Millicores, 100.0)].into_iter().collect(),
            }],
            left_out: 0,
            strangers: false,
        },
        found: Vec::new(),
    }
}

impl Service {
    fn dial(self: Arc<Self>, address: String) -> Dialled {
        let (near, far) = duplex(64 << 10);
        tokio::spawn(self.serve(address, far));
        Box::pin(async move { Ok(Box::new(near) as Box<dyn Stream>) })
    }

    async fn serve(self: Arc<Self>, address: String, stream: DuplexStream) {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let acceptor = self.acceptor.lock().expect("whole").clone();
        let Ok(stream) = acceptor.accept(stream).await else {
            return;
        };
        let cut = CancellationToken::new();
        let handle = service_fn(|request| {
            let (service, address, cut) = (self.clone(), address.clone(), cut.clone());
            async move { service.answer(connection, address, cut, request).await }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), handle);
        tokio::select! {
            _ = serving => {}
            () = cut.cancelled() => {}
        }
    }

    async fn answer(
        &self,
        connection: usize,
        address: String,
        cut: CancellationToken,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let at = Instant::now();
        assert_eq!(request.uri().path(), PATH);
        assert_eq!(request.headers()["host"], NAME);
        let token = request.headers()["authorization"]
            .to_str()
            .expect("text")
            .to_owned();
        let body = request
            .into_body()
            .collect()
            .await
            .expect("whole")
            .to_bytes();
        let report = serde_json::from_slice(&body).expect("a report");
        let step = self.step().await;
        // The test may be over.
        let _ = self.asked.send(Asked {
            at,
            connection,
            address,
            token,
            report,
        });
        let json = |value: Vec<u8>| Response::new(Full::from(value));
        Ok(match step {
            Step::Reply(reply) => json(serde_json::to_vec(&reply).expect("JSON")),
            Step::Refuse(status, refusal, retry_after) => {
                let mut response = json(serde_json::to_vec(&refusal).expect("JSON"));
                *response.status_mut() = status;
                if let Some(after) = retry_after {
                    response.headers_mut().insert("retry-after", after.into());
                }
                response
            }
            Step::Text(status, text) => {
                let mut response = Response::new(Full::from(text));
                *response.status_mut() = status;
                response
            }
            Step::Huge => json(vec![b' '; MAX_REPLY + 1]),
            Step::Cut => {
                cut.cancel();
                std::future::pending().await
            }
            Step::Silence => std::future::pending().await,
        })
    }

    /// The next step of the script, once there is one.
    async fn step(&self) -> Step {
        loop {
            if let Some(step) = self.steps.lock().expect("whole").pop_front() {
                return step;
            }
            self.step_came.notified().await;
        }
    }
}
