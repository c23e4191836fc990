//! A service on a real socket, with an API server in memory that reviews tokens, and agents that talk to it.

// Each test uses a part of it, and helpers of tests are tests too.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes, to_bytes};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::TLS13,
};
use scope_leader::ClaimWriter;
use scope_totals::{
    census::{
        Images, Maker, Name, NamespaceMark, Pod,
        watch::{self, Shared},
    },
    exchange::{Exchange, People},
    metrics::Metrics,
    rounds, serve,
    serve::Seats,
    tls::{
        self, Certificates,
        keyring::{Keyring, Lives},
    },
    top::Guard,
    trust::{Accounts, Tokens},
};
use scope_totals_wire::{
    AUDIENCE, Found, Health, Kind, Metric, Node, Object, PATH, Partial, Refusal, Reply, Report,
    Sampled, Stamp, TOKEN_HEADER, TOP_PATH, Top, Uid, VERSION,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const NAME: &str = "scope-totals.scope-system.svc";

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) claim: ClaimWriter,
    pub(crate) census: Shared,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) keyring: Keyring,
    pub(crate) lives: Lives,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) seats: Arc<Seats>,
    pub(crate) reviews: Arc<AtomicUsize>,
    /// Rights that the API server was asked about.
    pub(crate) accesses: Arc<AtomicUsize>,
    /// Whether the API server answers.
    pub(crate) answers: tokio::sync::watch::Sender<bool>,
    /// Ends the serving.
    pub(crate) stop: CancellationToken,
    _stop: DropGuard,
}

pub(crate) fn deployment(number: u8) -> Object {
    Object {
        kind: Kind::Deployment,
        uid: Uid::from_bytes([number; 16]),
    }
}

/// The UID of the Deployments' namespace.
pub(crate) fn apps() -> Uid {
    Uid::from_bytes([9; 16])
}

impl Service {
    /// With these nodes, and on each of them one pod of the first Deployment. The second has none.
    pub(crate) async fn start(nodes: &[&str]) -> Self {
        Self::start_with(nodes, true).await
    }

    /// The same, and whether people are answered.
    pub(crate) async fn start_with(nodes: &[&str], top: bool) -> Self {
        let census = Shared::default();
        {
            let mut census = watch::lock(&census);
            let set = Uid::from_bytes([200; 16]);
            census.replica_sets.put(set, deployment(1));
            for (number, node) in nodes.iter().enumerate() {
                census.nodes.put(Arc::from(*node), ());
                let pod = Pod {
                    node: Arc::from(*node),
                    maker: Maker::ReplicaSet(set),
                    namespace: NamespaceMark::default(),
                    gone_by: None,
                    images: Images::default(),
                };
                census.pods.put(Uid::from_bytes([number as u8; 16]), pod);
            }
            census.pods.complete();
            census.replica_sets.complete();
            census.jobs.complete();
            census.nodes.complete();
            let controllers = &mut census.controllers;
            for number in [1, 2] {
                let name = Name {
                    namespace: "apps".into(),
                    name: format!("app-{number}").into(),
                };
                controllers.deployments.put(deployment(number).uid, name);
            }
            controllers.namespaces.put("apps".into(), apps());
            controllers.deployments.complete();
            controllers.stateful_sets.complete();
            controllers.daemon_sets.complete();
            controllers.cron_jobs.complete();
            controllers.namespaces.complete();
        }
        let reviews = Arc::new(AtomicUsize::new(0));
        let accesses = Arc::new(AtomicUsize::new(0));
        let answers = tokio::sync::watch::Sender::new(true);
        let metrics = Arc::new(Metrics::new());
        let (writer, claim) = scope_leader::claim();
        let api = api(
            Arc::clone(&reviews),
            Arc::clone(&accesses),
            answers.subscribe(),
        );
        let people = top.then(|| People::new(Guard::new(api.clone(), Arc::clone(&metrics))));
        let tokens = Tokens::new(
            api,
            Accounts {
                plugins_namespace: "scope-plugins".into(),
                namespace: "scope-system".into(),
                operator: "scope-operator".into(),
            },
            Arc::clone(&metrics),
        );
        let exchange = Exchange::new(
            claim,
            tokens,
            people,
            Arc::clone(&census),
            Arc::clone(&metrics),
        );
        let certificates = Arc::new(Certificates::default());
        let lives = Lives {
            authority: SignedDuration::from_hours(24),
            certificate: SignedDuration::from_hours(1),
        };
        let keyring = Keyring::default();
        let keyring = keyring.renewed(lives, Timestamp::now()).unwrap().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let seats = Seats::new(serve::PLACES);
        tokio::spawn(serve::serve(
            listener,
            tls::server(Arc::clone(&certificates)).unwrap(),
            exchange.router(),
            Arc::clone(&seats),
            Arc::clone(&metrics),
            stop.clone(),
        ));
        tokio::spawn(rounds::run(exchange));
        let service = Self {
            address,
            claim: writer,
            census,
            certificates,
            keyring,
            lives,
            metrics,
            seats,
            reviews,
            accesses,
            answers,
            _stop: stop.clone().drop_guard(),
            stop,
        };
        service.new_certificate();
        service.lead();
        service
    }

    pub(crate) fn lead(&self) {
        let now = Instant::now();
        self.claim.set(Some(now + Duration::from_secs(600)), now);
    }

    pub(crate) fn new_certificate(&self) {
        let now = Timestamp::now();
        let signer = self.keyring.signer(self.lives, now).unwrap();
        let issued = signer.issue(&[NAME.into()], self.lives, now).unwrap();
        self.certificates.set(issued.chain, issued.key).unwrap();
    }

    pub(crate) fn reviews(&self) -> usize {
        self.reviews.load(Ordering::SeqCst)
    }

    pub(crate) fn accesses(&self) -> usize {
        self.accesses.load(Ordering::SeqCst)
    }

    /// Waits until a round is over that began after this. The one under way may not know of what was told last.
    pub(crate) async fn a_round_later(&self) {
        let rounds = || self.metric("scope_totals_round_duration_seconds_count ");
        let now = rounds();
        eventually(async || (rounds() >= now + 2).then_some(())).await;
    }

    /// The value of a line of the metrics.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let text = self.metrics.text(None);
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.map_or(0, |value| value.trim().parse().unwrap())
    }

    pub(crate) async fn agent(&self, node: &str) -> Agent {
        Agent {
            connection: self.connect().await,
            token: token(&claims("node-metrics", node), "good"),
            boot: format!("boot-of-{node}"),
            sequence: 0,
            stamp: None,
            podless: None,
            server_away: false,
            watched: None,
            services: None,
            health: None,
            top: Vec::new(),
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.address, &self.keyring.bundle())
            .await
            .unwrap()
    }
}

/// The API server's own audience.
pub(crate) const OF_SERVER: &str = "https://kubernetes.default.svc";

/// Reviews tokens and rights as an API server would: what a token says is true if its signature is "good", and everybody
/// may see what is in the namespace that they are called after, but an admin everything.
fn api(
    reviews: Arc<AtomicUsize>,
    accesses: Arc<AtomicUsize>,
    answers: tokio::sync::watch::Receiver<bool>,
) -> kube::Client {
    let server = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (reviews, accesses) = (Arc::clone(&reviews), Arc::clone(&accesses));
        let mut answers = answers.clone();
        async move {
            let path = request.uri().path().to_owned();
            assert_eq!(request.method(), Method::POST);
            let of_token = path == "/apis/authentication.k8s.io/v1/tokenreviews";
            let count = if of_token { reviews } else { accesses };
            count.fetch_add(1, Ordering::SeqCst);
            answers.wait_for(|answers| *answers).await.unwrap();
            let body = request.into_body().collect_bytes().await.unwrap();
            let mut review: Value = serde_json::from_slice(&body).unwrap();
            review["status"] = if of_token {
                reviewed(&review["spec"])
            } else {
                assert_eq!(path, "/apis/authorization.k8s.io/v1/subjectaccessreviews");
                json!({"allowed": is_allowed(&review["spec"])})
            };
            Ok::<_, Infallible>(Response::new(Body::from(review.to_string())))
        }
    });
    kube::Client::new(server, "default")
}

fn reviewed(spec: &Value) -> Value {
    let mut parts = spec["token"].as_str().unwrap().split('.').skip(1);
    let (payload, signature) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    if signature != "good" {
        return json!({"authenticated": false, "error": "invalid signature"});
    }
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let wanted = match &spec["audiences"] {
        Value::Null => json!([OF_SERVER]),
        audiences => {
            assert_eq!(*audiences, json!([AUDIENCE]));
            audiences.clone()
        }
    };
    let is_for = claims["aud"].as_array().unwrap().contains(&wanted[0]);
    json!({
        "authenticated": is_for,
        "audiences": if is_for { wanted } else { json!(null) },
        "user": {
            "username": claims["sub"],
            "groups": ["system:authenticated"],
            "extra": match &claims["node"] {
                // People are on no node.
                Value::Null => json!({}),
                node => json!({"authentication.kubernetes.io/node-name": [node]}),
            },
        },
    })
}

fn is_allowed(spec: &Value) -> bool {
    let asked = &spec["resourceAttributes"];
    assert_eq!(
        (&asked["group"], &asked["verb"]),
        (&json!("metrics.k8s.io"), &json!("list"))
    );
    assert_eq!(spec["groups"], json!(["system:authenticated"]));
    let user = spec["user"].as_str().unwrap();
    user == "admin" || asked["resource"] == "pods" && asked["namespace"] == user
}

/// The token of a person with which they speak to the API server, or which is for the service alone.
pub(crate) fn persons(name: &str, audience: &str) -> String {
    let exp = Timestamp::now().as_second() + 600;
    token(&json!({"aud": [audience], "exp": exp, "sub": name}), "good")
}

pub(crate) fn claims(plugin: &str, node: &str) -> Value {
    json!({
        "aud": [AUDIENCE],
        "exp": Timestamp::now().as_second() + 3600,
        "sub": format!("system:serviceaccount:scope-plugins:scope-plugin-{plugin}"),
        "node": node,
    })
}

pub(crate) fn token(claims: &Value, signature: &str) -> String {
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("e30.{payload}.{signature}")
}

/// A connection of an agent.
pub(crate) struct Connection(pub(crate) SendRequest<Full<Bytes>>);

impl Connection {
    pub(crate) async fn open(address: SocketAddr, bundle: &str) -> std::io::Result<Self> {
        let stream = Self::tls(TcpStream::connect(address).await?, bundle).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    pub(crate) async fn tls(
        stream: TcpStream,
        bundle: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        Self::tls_of(&TLS13, stream, bundle).await
    }

    pub(crate) async fn tls_of(
        version: &'static SupportedProtocolVersion,
        stream: TcpStream,
        bundle: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// Asks as the operator does.
    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Answer {
        self.0.ready().await.unwrap();
        let request = Request::get(path)
            .header("Host", NAME)
            .header("Authorization", format!("Bearer {token}"))
            .body(Full::default())
            .unwrap();
        answer(self.0.send_request(request).await).await.unwrap()
    }

    /// Asks as a person does, through the API server's proxy.
    pub(crate) async fn ask(&mut self, query: &str, token: Option<&str>) -> Answer {
        self.0.ready().await.unwrap();
        let mut request = Request::get(format!("{TOP_PATH}?{query}")).header("Host", NAME);
        if let Some(token) = token {
            request = request.header(TOKEN_HEADER, format!("Bearer {token}"));
        }
        let request = request.body(Full::default()).unwrap();
        answer(self.0.send_request(request).await).await.unwrap()
    }

    pub(crate) async fn post(&mut self, token: &str, body: impl Into<Bytes>) -> Answer {
        self.try_post(token, body).await.unwrap()
    }

    pub(crate) async fn try_post(
        &mut self,
        token: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper::Error> {
        self.0.ready().await?;
        let request = Request::post(PATH)
            .header("Host", NAME)
            .header("Authorization", format!("Bearer {token}"))
            .body(Full::new(body.into()))
            .unwrap();
        answer(self.0.send_request(request).await).await
    }
}

/// Reads an answer to its end.
async fn answer(
    response: Result<Response<hyper::body::Incoming>, hyper::Error>,
) -> Result<Answer, hyper::Error> {
    let (head, body) = response?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer {
        status: head.status,
        closes: head
            .headers
            .get("connection")
            .is_some_and(|value| value == "close"),
        body,
    })
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) closes: bool,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn reply(&self) -> Reply {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn top(&self) -> Top {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn refusal(&self) -> (u16, Refusal) {
        (
            self.status.as_u16(),
            serde_json::from_slice(&self.body).unwrap(),
        )
    }
}

/// An agent of the plugin `node-metrics`.
pub(crate) struct Agent {
    pub(crate) connection: Connection,
    pub(crate) token: String,
    pub(crate) boot: String,
    pub(crate) sequence: u64,
    /// The last stamp, and when it came.
    pub(crate) stamp: Option<(Stamp, Instant)>,
    /// The version of the list of controllers without pods that it has.
    pub(crate) podless: Option<u64>,
    /// Whether the API server does not answer it.
    pub(crate) server_away: bool,
    /// Whether somebody looks at what it reports; nothing of an older agent.
    pub(crate) watched: Option<bool>,
    /// The version of the list of its node's Services, 0 for none yet; nothing of an older agent.
    pub(crate) services: Option<u64>,
    pub(crate) health: Option<Health>,
    /// Its answers.
    pub(crate) top: Vec<Found>,
}

impl Agent {
    /// A report in which one pod of the first Deployment uses so many millicores.
    pub(crate) fn report(&mut self, millicores: f64) -> Report {
        self.sequence += 1;
        Report {
            version: VERSION,
            boot: self.boot.clone(),
            sequence: self.sequence,
            sampled: self.stamp.as_ref().map(|(stamp, came)| Sampled {
                stamp: stamp.clone(),
                after_ms: came.elapsed().as_millis() as u64,
            }),
            node: Node {
                cpus: 4,
                memory: 1 << 30,
            },
            objects: vec![Partial {
                kind: Kind::Deployment,
                uid: deployment(1).uid,
                counted: 1,
                members: None,
                values: [(Metric::Millicores, millicores)].into_iter().collect(),
            }],
            podless: self.podless,
            server_away: self.server_away,
            watched: self.watched,
            services: self.services,
            health: self.health.clone(),
            top: self.top.clone(),
        }
    }

    pub(crate) async fn send(&mut self, report: &Report) -> Answer {
        let body = serde_json::to_vec(report).unwrap();
        let answer = self.connection.post(&self.token, body).await;
        if answer.status == StatusCode::OK {
            self.stamp = Some((answer.reply().stamp, Instant::now()));
        }
        answer
    }

    /// Reports these millicores, with a stamp.
    pub(crate) async fn tell(&mut self, millicores: f64) -> Reply {
        if self.stamp.is_none() {
            let first = self.report(millicores);
            self.send(&first).await;
        }
        let report = self.report(millicores);
        self.send(&report).await.reply()
    }
}

/// Asks again and again, since rounds take their time.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking)
        .await
        .expect("not in 30 s")
}

/// The body of an answer of a fake API server.
pub(crate) async fn text(body: Body) -> String {
    String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap()
}
