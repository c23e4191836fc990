//! What the replicas write: authorities, whom agents trust, and where the active one is. The API server is in
//! memory.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too.

mod support;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::body::Body;
use futures::{Stream, StreamExt, stream};
use hyper::{Method, Request, Response};
use jiff::SignedDuration;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{self, ConfigMap, Secret},
        discovery::v1::EndpointSlice,
    },
};
use kube::{Api, Client, Resource};
use scope_leader::ClaimWriter;
use scope_totals::{
    metrics::Metrics,
    publish::{Address, Bundle, Endpoints, Proxied, Reach, Writes},
    serve::{self, Seats},
    tls::{
        self, Certificates, Given, Own,
        keyring::{Keyring, Lives},
    },
};
use serde_json::{Value, json};
use support::{Connection, NAME, eventually};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

const SECRET: &str = "/api/v1/namespaces/scope-system/secrets/scope-totals-authorities";
const MAP: &str = "/api/v1/namespaces/scope-plugins/configmaps/scope-totals-ca";
const SLICE: &str =
    "/apis/discovery.k8s.io/v1/namespaces/scope-system/endpointslices/scope-totals-ipv4";

/// Objects by path, and how often each was written.
#[derive(Default)]
struct World {
    objects: BTreeMap<String, Value>,
    writes: BTreeMap<String, usize>,
    version: u64,
}

#[derive(Clone)]
struct Cluster {
    world: Arc<Mutex<World>>,
    changed: watch::Sender<()>,
}

impl Cluster {
    fn new() -> Self {
        let cluster = Self {
            world: Arc::default(),
            changed: watch::Sender::new(()),
        };
        cluster.put(
            SECRET,
            json!({"metadata": {"name": "scope-totals-authorities"}}),
        );
        cluster.put(MAP, json!({"metadata": {"name": "scope-totals-ca"}}));
        cluster
    }

    fn put(&self, path: &str, mut object: Value) {
        let mut world = self.world.lock().unwrap();
        world.version += 1;
        object["metadata"]["resourceVersion"] = world.version.to_string().into();
        world.objects.insert(path.into(), object);
        self.changed.send_replace(());
    }

    fn remove(&self, path: &str) {
        self.world.lock().unwrap().objects.remove(path);
        self.changed.send_replace(());
    }

    fn get(&self, path: &str) -> Option<Value> {
        self.world.lock().unwrap().objects.get(path).cloned()
    }

    fn writes(&self, path: &str) -> usize {
        self.world
            .lock()
            .unwrap()
            .writes
            .get(path)
            .copied()
            .unwrap_or(0)
    }

    fn bundle(&self) -> String {
        self.published("ca.crt").unwrap_or_default()
    }

    /// What agents are told under this key.
    fn published(&self, key: &str) -> Option<String> {
        let map = self.get(MAP).unwrap();
        map["data"][key].as_str().map(str::to_owned)
    }

    fn keyring(&self) -> Keyring {
        let secret: Secret = serde_json::from_value(self.get(SECRET).unwrap()).unwrap();
        let data = secret.data.unwrap_or_default();
        data.get("authorities.json")
            .map(|text| Keyring::from_text(&text.0).unwrap())
            .unwrap_or_default()
    }

    /// An object, each time something changes.
    fn follow<K: serde::de::DeserializeOwned>(
        &self,
        path: &'static str,
    ) -> impl Stream<Item = Option<K>> + use<K> {
        let (cluster, mut changed) = (self.clone(), self.changed.subscribe());
        changed.mark_changed();
        stream::unfold(
            (cluster, changed),
            move |(cluster, mut changed)| async move {
                changed.changed().await.ok()?;
                let object = cluster
                    .get(path)
                    .map(|object| serde_json::from_value(object).unwrap());
                Some((object, (cluster, changed)))
            },
        )
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let cluster = self.clone();
        let server = tower::service_fn(move |request: Request<kube::client::Body>| {
            let cluster = cluster.clone();
            async move { Ok::<_, Infallible>(cluster.answer(request).await) }
        });
        Api::namespaced(Client::new(server, "default"), namespace)
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let there = self.get(path);
        let (status, object) = match (head.method, there) {
            (Method::GET, Some(object)) => (200, object),
            (Method::PATCH, there) => {
                let body = body.collect_bytes().await.unwrap();
                let patch: Value = serde_json::from_slice(&body).unwrap();
                let kind = head.headers["content-type"].to_str().unwrap().to_owned();
                *self
                    .world
                    .lock()
                    .unwrap()
                    .writes
                    .entry(path.into())
                    .or_default() += 1;
                match (kind.as_str(), there) {
                    ("application/apply-patch+yaml", _) => {
                        self.put(path, patch);
                        (200, self.get(path).unwrap())
                    }
                    ("application/merge-patch+json", Some(mut object)) => {
                        let wanted = &patch["metadata"]["resourceVersion"];
                        if *wanted != object["metadata"]["resourceVersion"] {
                            (409, failure(409, "Conflict"))
                        } else {
                            for (key, value) in patch["data"].as_object().unwrap() {
                                object["data"][key] = value.clone();
                            }
                            self.put(path, object.clone());
                            (200, self.get(path).unwrap())
                        }
                    }
                    _ => (404, failure(404, "NotFound")),
                }
            }
            _ => (404, failure(404, "NotFound")),
        };
        let response = Response::builder().status(status);
        response.body(Body::from(object.to_string())).unwrap()
    }
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": reason, "metadata": {}})
}

/// A replica that keeps its certificate.
struct Replica {
    claim: ClaimWriter,
    certificates: Arc<Certificates>,
    reach: watch::Sender<Option<Reach>>,
    writes: Writes,
    metrics: Arc<Metrics>,
}

impl Replica {
    fn new() -> Self {
        let (writer, claim) = scope_leader::claim();
        let metrics = Arc::new(Metrics::new());
        Self {
            claim: writer,
            certificates: Arc::default(),
            reach: watch::Sender::new(None),
            writes: Writes::new(claim, Arc::clone(&metrics)),
            metrics,
        }
    }

    fn lead(&self) {
        let now = Instant::now();
        self.claim.set(Some(now + Duration::from_secs(600)), now);
    }

    fn bundle(&self, cluster: &Cluster) -> Bundle {
        let maps: Api<ConfigMap> = cluster.api("scope-plugins");
        let reach = self.reach.subscribe();
        Bundle::new(maps, "scope-totals-ca".into(), reach, self.writes.clone())
    }

    /// The Service is seen, with this address.
    fn reached(&self, address: &str) {
        self.reach.send_replace(Some(Reach {
            service: None,
            name: NAME.into(),
            address: address.into(),
        }));
    }

    fn keep(&self, cluster: &Cluster, lives: Lives) {
        let own = Own {
            secrets: cluster.api("scope-system"),
            secret: "scope-totals-authorities".into(),
            names: tls::names("scope-totals", "scope-system"),
            lives,
            certificates: Arc::clone(&self.certificates),
            bundle: self.bundle(cluster),
            writes: self.writes.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let seen = cluster.follow::<Secret>(SECRET);
        tokio::spawn(own.run(seen.boxed()));
    }

    /// How often something was wrong with its certificate.
    fn failures(&self) -> u64 {
        let text = self.metrics.text(None);
        let line = "scope_totals_certificate_errors_total ";
        let count = text.lines().find_map(|found| found.strip_prefix(line));
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// A port with its certificate and nothing behind it.
    async fn serve(&self) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve::serve(
            listener,
            tls::server(Arc::clone(&self.certificates)).unwrap(),
            axum::Router::new(),
            Seats::new(serve::PLACES),
            Arc::clone(&self.metrics),
            CancellationToken::new(),
        ));
        address
    }
}

const LIVES: Lives = Lives {
    authority: SignedDuration::from_hours(8760),
    certificate: SignedDuration::from_hours(24),
};

#[tokio::test]
async fn the_active_replica_makes_the_authority_and_both_use_it() {
    let cluster = Cluster::new();
    let (active, standby) = (Replica::new(), Replica::new());
    standby.keep(&cluster, LIVES);
    active.keep(&cluster, LIVES);
    active.lead();
    for replica in [&active, &standby] {
        eventually(async || replica.certificates.is_there().then_some(())).await;
        let address = replica.serve().await;
        let bundle = eventually(async || Some(cluster.bundle()).filter(|it| !it.is_empty())).await;
        Connection::open(address, &bundle).await.unwrap();
    }
    // Made, and marked as published.
    eventually(async || (cluster.writes(SECRET) == 2).then_some(())).await;
    assert_eq!(cluster.writes(MAP), 1);
    assert_eq!(cluster.bundle(), cluster.keyring().bundle());
    assert!(!cluster.bundle().contains("PRIVATE"));
}

/// Waits until agents are told this address.
async fn told(cluster: &Cluster, address: &str) {
    eventually(async || (cluster.published("address")? == address).then_some(())).await;
}

#[tokio::test]
async fn agents_are_told_the_address_when_it_is_known_and_when_it_changes() {
    let cluster = Cluster::new();
    let (active, standby) = (Replica::new(), Replica::new());
    for replica in [&active, &standby] {
        replica.keep(&cluster, LIVES);
    }
    active.lead();
    // Whom to trust is told without it.
    eventually(async || (!cluster.bundle().is_empty()).then_some(())).await;
    assert_eq!(
        (cluster.published("address"), cluster.published("name")),
        (None, None)
    );
    let bundle = cluster.bundle();
    standby.reached("10.96.0.9:8443");
    active.reached("10.96.0.7:8443");
    let began = Instant::now();
    told(&cluster, "10.96.0.7:8443").await;
    assert_eq!(cluster.published("name").as_deref(), Some(NAME));
    active.reached("[fd00:10::7]:8443");
    told(&cluster, "[fd00:10::7]:8443").await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "not at the next look: {:?}",
        began.elapsed()
    );
    assert_eq!(cluster.bundle(), bundle);
    assert_eq!(cluster.writes(MAP), 3);
    // Who leads next tells what it knows itself.
    active.claim.set(None, Instant::now());
    standby.lead();
    told(&cluster, "10.96.0.9:8443").await;
}

#[tokio::test]
async fn without_the_lease_nothing_is_written() {
    let cluster = Cluster::new();
    let replica = Replica::new();
    replica.reached("10.96.0.7:8443");
    replica.keep(&cluster, LIVES);
    let endpoints = endpoints(&cluster, &replica, "10.0.0.1:8443");
    tokio::spawn(endpoints.run(cluster.follow::<EndpointSlice>(SLICE).boxed()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        (
            cluster.writes(SECRET),
            cluster.writes(MAP),
            cluster.writes(SLICE)
        ),
        (0, 0, 0)
    );
    assert!(!replica.certificates.is_there());
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_left_alone() {
    let cluster = Cluster::new();
    // "{" in base64.
    let broken = json!({"metadata": {"name": "scope-totals-authorities"},
        "data": {"authorities.json": "ew=="}});
    cluster.put(SECRET, broken);
    let replica = Replica::new();
    replica.keep(&cluster, LIVES);
    replica.lead();
    eventually(async || (replica.failures() > 0).then_some(())).await;
    assert_eq!(cluster.writes(SECRET), 0);
}

/// Authorities that live for seconds, and an agent that connects anew all the time with a bundle that it read
/// a third of a second before.
#[tokio::test]
async fn authorities_are_replaced_without_a_failed_connection() {
    let lives = Lives {
        authority: SignedDuration::from_secs(8),
        certificate: SignedDuration::from_secs(2),
    };
    let cluster = Cluster::new();
    let replica = Replica::new();
    replica.keep(&cluster, lives);
    replica.lead();
    eventually(async || replica.certificates.is_there().then_some(())).await;
    eventually(async || (!cluster.bundle().is_empty()).then_some(())).await;
    let address = replica.serve().await;
    let began = Instant::now();
    let mut bundles = std::collections::BTreeSet::new();
    let mut connections = 0;
    while began.elapsed() < Duration::from_secs(12) {
        let bundle = cluster.bundle();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if let Err(error) = Connection::open(address, &bundle).await {
            panic!(
                "{error} after {connections} connections: {:?}",
                cluster.keyring()
            );
        }
        bundles.insert(bundle);
        connections += 1;
    }
    assert!(bundles.len() > 2, "{} bundles", bundles.len());
}

fn endpoints(cluster: &Cluster, replica: &Replica, socket: &str) -> Endpoints {
    Endpoints {
        slices: cluster.api("scope-system"),
        address: Address {
            namespace: "scope-system".into(),
            service: "scope-totals".into(),
            pod: "p".into(),
            socket: socket.parse().unwrap(),
        },
        reach: replica.reach.subscribe(),
        writes: replica.writes.clone(),
    }
}

#[tokio::test]
async fn the_address_is_that_of_who_leads() {
    let cluster = Cluster::new();
    let (one, two) = (Replica::new(), Replica::new());
    for (replica, socket) in [(&one, "10.0.0.1:8443"), (&two, "10.0.0.2:8443")] {
        let endpoints = endpoints(&cluster, replica, socket);
        tokio::spawn(endpoints.run(cluster.follow::<EndpointSlice>(SLICE).boxed()));
    }
    let address = || {
        let slice = cluster.get(SLICE)?;
        slice["endpoints"][0]["addresses"][0]
            .as_str()
            .map(str::to_owned)
    };
    one.lead();
    eventually(async || (address()? == "10.0.0.1").then_some(())).await;
    one.claim.set(None, Instant::now());
    two.lead();
    let began = Instant::now();
    eventually(async || (address()? == "10.0.0.2").then_some(())).await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // Somebody takes the endpoint out.
    let mut slice = cluster.get(SLICE).unwrap();
    slice["endpoints"] = json!([]);
    cluster.put(SLICE, slice);
    eventually(async || (address()? == "10.0.0.2").then_some(())).await;
    // The Service is seen, and takes the EndpointSlice along when it goes.
    two.reach.send_replace(Some(Reach {
        name: NAME.into(),
        address: "10.96.0.7:8443".into(),
        service: Some("u-1".into()),
    }));
    let owner = || {
        let slice = cluster.get(SLICE)?;
        let uid = slice["metadata"]["ownerReferences"][0]["uid"].as_str();
        uid.map(str::to_owned)
    };
    eventually(async || (owner()? == "u-1").then_some(())).await;
    let slice: EndpointSlice = serde_json::from_value(cluster.get(SLICE).unwrap()).unwrap();
    assert_eq!(slice.address_type, "IPv4");
    assert_eq!(
        slice.metadata.labels.unwrap()["kubernetes.io/service-name"],
        "scope-totals"
    );
}

#[tokio::test]
async fn the_proxy_is_led_to_who_leads() {
    const ENDPOINTS: &str = "/api/v1/namespaces/scope-system/endpoints/scope-totals";
    let cluster = Cluster::new();
    let start = |replica: &Replica, socket: &str| {
        let Endpoints {
            address,
            reach,
            writes,
            ..
        } = endpoints(&cluster, replica, socket);
        let endpoints = cluster.api("scope-system");
        let proxied = Proxied {
            endpoints,
            address,
            reach,
            writes,
        };
        tokio::spawn(proxied.run(cluster.follow::<v1::Endpoints>(ENDPOINTS).boxed()));
    };
    let knows = |replica: &Replica, uid: &str| {
        replica.reach.send_replace(Some(Reach {
            name: NAME.into(),
            address: "10.96.0.7:8443".into(),
            service: Some(uid.into()),
        }));
    };
    let (one, two) = (Replica::new(), Replica::new());
    start(&one, "10.1.0.1:8443");
    start(&two, "10.1.0.2:8443");
    let address = || {
        let found = cluster.get(ENDPOINTS)?;
        let address = found["subsets"][0]["addresses"][0]["ip"].as_str();
        address.map(str::to_owned)
    };
    let leads_to = async |ip: &str| {
        eventually(async || (address().as_deref() == Some(ip)).then_some(())).await;
    };
    one.lead();
    knows(&one, "u-1");
    leads_to("10.1.0.1").await;
    one.claim.set(None, Instant::now());
    knows(&two, "u-1");
    two.lead();
    leads_to("10.1.0.2").await;
    assert_eq!(cluster.writes(ENDPOINTS), 2, "each once");
    // The one that led before is late.
    let mut late = cluster.get(ENDPOINTS).unwrap();
    late["subsets"][0]["addresses"][0]["ip"] = json!("10.1.0.1");
    cluster.put(ENDPOINTS, late);
    leads_to("10.1.0.2").await;
    assert_eq!(cluster.writes(ENDPOINTS), 3);
    // Kubernetes takes it away with the Service.
    cluster.remove(ENDPOINTS);
    knows(&two, "u-2");
    leads_to("10.1.0.2").await;
    assert_eq!(
        cluster.writes(ENDPOINTS),
        4,
        "when it is gone, and not before"
    );
}

#[tokio::test]
async fn a_mounted_certificate_is_used_and_one_that_is_broken_is_not() {
    let cluster = Cluster::new();
    let replica = Replica::new();
    replica.lead();
    let directory = tempfile::tempdir().unwrap();
    let now = jiff::Timestamp::now();
    let keyring = Keyring::default().renewed(LIVES, now).unwrap().unwrap();
    let write = |certificate: &[u8], key: &[u8]| {
        std::fs::write(directory.path().join("tls.crt"), certificate).unwrap();
        std::fs::write(directory.path().join("tls.key"), key).unwrap();
    };
    let pem = |kind: &str, der: &[u8]| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        format!(
            "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
            STANDARD.encode(der)
        )
    };
    let issued = keyring.signer(LIVES, now).unwrap();
    let issued = issued.issue(&[NAME.into()], LIVES, now).unwrap();
    let certificate = pem("CERTIFICATE", &issued.chain[0]);
    let key = pem("PRIVATE KEY", issued.key.secret_der());
    std::fs::write(directory.path().join("ca.crt"), keyring.bundle()).unwrap();
    write(certificate.as_bytes(), key.as_bytes());
    let given = || Given {
        directory: directory.path().to_owned(),
        certificates: Arc::clone(&replica.certificates),
        bundle: replica.bundle(&cluster),
        metrics: Arc::clone(&replica.metrics),
    };
    let looking = tokio::spawn(given().run());
    eventually(async || replica.certificates.is_there().then_some(())).await;
    eventually(async || (cluster.bundle() == keyring.bundle()).then_some(())).await;
    replica.reached("10.96.0.7:8443");
    told(&cluster, "10.96.0.7:8443").await;
    let address = replica.serve().await;
    Connection::open(address, &cluster.bundle()).await.unwrap();
    looking.abort();
    // The next look finds rubbish: the last good certificate goes on.
    write(b"rubbish", b"rubbish");
    tokio::spawn(given().run());
    eventually(async || (replica.failures() > 0).then_some(())).await;
    Connection::open(address, &cluster.bundle()).await.unwrap();
}
