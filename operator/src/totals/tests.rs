//! The asker against a service on this machine, with real TLS.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::runtime::{reflector, watcher};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer, version::TLS13};
use scope_crds::{NodeCounts, ScopePluginStatus};
use scope_totals_wire::{FLEET_PATH, MAX_FLEET, PluginHealth, Reason, Refusal, VERSION};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{leader, testing};

const NAME: &str = "scope-totals.scope-system.svc";

/// What the service answers.
#[derive(Clone)]
enum Answer {
    Body(StatusCode, Vec<u8>),
    /// The connection ends.
    Cut,
    /// Nothing comes.
    Silence,
}

/// A service, and an operator that may ask it.
struct World {
    asker: Arc<Asker>,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    due: Looks,
    claim: leader::ClaimWriter,
    config_maps: reflector::store::Writer<ConfigMap>,
    map: serde_json::Value,
    _token: TempDir,
    serving: AbortHandle,
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An authority and what it signed for this name.
fn signed(name: &str) -> (String, ServerConfig) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (pem, config)
}

impl World {
    /// A service whose certificate is for this name, and one plugin, `a`.
    async fn new(name: &str) -> Self {
        let (pem, config) = signed(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Answer::Silence));
        let asked = Arc::new(AtomicUsize::new(0));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let handle = service_fn(|request| {
                        count.fetch_add(1, Ordering::SeqCst);
                        let answer = answers.lock().unwrap().clone();
                        reply(request, answer)
                    });
                    // A test ends it early.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), handle)
                        .await;
                });
            }
        });
        let token = tempfile::tempdir().unwrap();
        std::fs::write(token.path().join("token"), "the-token\n").unwrap();
        let (config_maps_store, config_maps) = reflector::store();
        let (plugins_store, mut plugins) = reflector::store();
        let plugin = testing::plugin("a", json!({"agent": {}}));
        plugins.apply_watcher_event(&watcher::Event::Apply(guarded(plugin)));
        let (claim_writer, claim) = leader::claim();
        let (looks, due) = looks();
        let mut world = Self {
            asker: Arc::new(Asker {
                whereabouts: Whereabouts {
                    namespace: "scope-plugins".into(),
                    config_map: "scope-totals-ca".into(),
                    token: token.path().join("token"),
                },
                config_maps: config_maps_store,
                plugins: plugins_store,
                claim,
                board: Arc::default(),
                readiness: Arc::new(Readiness::new(&[])),
                metrics: Arc::new(Metrics::new()),
                looks,
            }),
            answer,
            asked,
            due,
            claim: claim_writer,
            config_maps,
            map: json!({"address": address.to_string(), "name": NAME, "ca.crt": pem}),
            _token: token,
            serving: serving.abort_handle(),
        };
        world.publish();
        world.lead();
        world
    }

    fn lead(&self) {
        let now = Instant::now();
        self.claim.set(Some(now + Duration::from_secs(600)), now);
    }

    fn publish(&mut self) {
        let map = json!({"metadata": {"name": "scope-totals-ca", "namespace": "scope-plugins"},
            "data": self.map});
        let map = serde_json::from_value(map).unwrap();
        self.config_maps
            .apply_watcher_event(&watcher::Event::Apply(map));
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn answers_fleet(&self, fleet: &Fleet) {
        let body = serde_json::to_vec(fleet).unwrap();
        self.answers(Answer::Body(StatusCode::OK, body));
    }

    /// Asks once, and says how it ended.
    async fn ask(&self) -> Result<Fleet, String> {
        let answer = self.asker.ask().await;
        answer.map_err(|error| format!("{}: {error}", error.reason()))
    }
}

fn guarded(plugin: ScopePlugin) -> Guarded<ScopePlugin> {
    serde_json::from_value(serde_json::to_value(plugin).unwrap()).unwrap()
}

async fn reply(
    request: Request<Incoming>,
    answer: Answer,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    assert_eq!(request.uri().path(), FLEET_PATH);
    assert_eq!(request.headers()["host"], NAME);
    assert_eq!(request.headers()["authorization"], "Bearer the-token");
    match answer {
        Answer::Body(status, body) => {
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = status;
            Ok(response)
        }
        Answer::Cut => Err(std::io::ErrorKind::ConnectionAborted.into()),
        Answer::Silence => std::future::pending().await,
    }
}

fn fleet(asked: u32, silent: u32) -> Fleet {
    Fleet {
        version: VERSION,
        warming_ms: None,
        plugins: vec![PluginHealth {
            plugin: "a".into(),
            nodes: asked + silent,
            asked,
            silent,
            ..PluginHealth::default()
        }],
    }
}

#[tokio::test]
async fn an_answer_is_read() {
    let world = World::new(NAME).await;
    world.answers_fleet(&fleet(3, 1));
    assert_eq!(world.ask().await, Ok(fleet(3, 1)));
    assert_eq!(world.ask().await, Ok(fleet(3, 1)), "and again");
    assert_eq!(world.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_goes_wrong_is_said() {
    let world = World::new(NAME).await;
    let refusal = |reason, message: &str| {
        serde_json::to_vec(&Refusal {
            reason,
            message: message.into(),
        })
        .unwrap()
    };
    let other_version = json!({"version": VERSION + 1, "plugins": "as they are then"});
    let ok = |body: Vec<u8>| Answer::Body(StatusCode::OK, body);
    for (answer, wanted) in [
        (
            Answer::Body(
                StatusCode::FORBIDDEN,
                refusal(Reason::Account, "only the operator\nmay ask"),
            ),
            "TotalsRefused: scope-totals does not take the operator for the operator: only the operator may ask; \
             its flag --operator-account ",
        ),
        (
            Answer::Body(
                StatusCode::UNAUTHORIZED,
                refusal(Reason::Token, "it is over"),
            ),
            "TotalsRefused: scope-totals does not take the operator's token: it is over; it has to be a token of the \
             operator's ServiceAccount for the audience scope-totals",
        ),
        (
            Answer::Body(
                StatusCode::TOO_MANY_REQUESTS,
                refusal(Reason::Rate, "too often"),
            ),
            "TotalsBusy: scope-totals has no time for an answer now: too often; ",
        ),
        (
            Answer::Body(
                StatusCode::SERVICE_UNAVAILABLE,
                refusal(Reason::Busy, "too many connections"),
            ),
            "TotalsBusy: ",
        ),
        (
            Answer::Body(StatusCode::BAD_REQUEST, refusal(Reason::Other, "so")),
            "TotalsRefused: scope-totals refused to answer: so; ",
        ),
        (
            Answer::Body(
                StatusCode::SERVICE_UNAVAILABLE,
                refusal(Reason::Standby, "another replica is active"),
            ),
            "TotalsStandby: ",
        ),
        (
            Answer::Body(StatusCode::NOT_FOUND, Vec::new()),
            "TotalsUnreadable: scope-totals answered what the operator cannot read (status 404 Not Found)",
        ),
        (
            Answer::Body(StatusCode::BAD_GATEWAY, vec![b'x'; 1 << 20]),
            "TotalsUnreadable: scope-totals answered what the operator cannot read (status 502 Bad Gateway)",
        ),
        (ok(b"{".to_vec()), "TotalsUnreadable: "),
        (ok(vec![b' '; MAX_FLEET + 1]), "TotalsTooLarge: "),
        (
            ok(serde_json::to_vec(&other_version).unwrap()),
            "TotalsOfAnotherRelease: ",
        ),
        (Answer::Cut, "TotalsCutOff: "),
    ] {
        world.answers(answer);
        let words = world.ask().await.unwrap_err();
        assert!(words.starts_with(wanted), "{words}");
        assert!(
            !words.contains("the-token") && !words.contains('\n'),
            "{words}"
        );
    }
}

/// A handshake that fails without a certificate that is to blame.
#[tokio::test]
async fn what_speaks_no_tls_is_not_said_to_have_a_bad_certificate() {
    let mut world = World::new(NAME).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    world.map["address"] = json!(address);
    world.publish();
    let serving = tokio::spawn(async move {
        for words in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(words.as_bytes()).await.unwrap();
            // All that comes is read, so that the end is none by force.
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    for _ in 0..2 {
        let words = world.ask().await.unwrap_err();
        assert!(words.starts_with("TotalsCutOff: "), "{words}");
        assert!(words.contains(&address), "{words}");
    }
    serving.await.unwrap();
}

#[test]
fn causes_are_said_once() {
    let cause = std::io::Error::other("by peer\nof the connection");
    let error = AskError::cut("a:1", &kube::Error::Service(Box::new(cause)));
    let words = error.to_string();
    assert_eq!(
        words.matches("by peer of the connection").count(),
        1,
        "{words}"
    );
}

#[tokio::test]
async fn only_the_service_is_told_the_token() {
    let mut world = World::new("another.scope-system.svc").await;
    let words = world.ask().await.unwrap_err();
    assert!(words.starts_with("TotalsNotTrusted: "), "{words}");
    // Signed by somebody else.
    let mut other = World::new(NAME).await;
    other.map["ca.crt"] = json!(signed(NAME).0);
    other.publish();
    let words = other.ask().await.unwrap_err();
    assert!(words.starts_with("TotalsNotTrusted: "), "{words}");
    for world in [&world, &other] {
        assert_eq!(world.asked.load(Ordering::SeqCst), 0);
    }
    // Nobody is there.
    world.serving.abort();
    world.map["address"] = json!("127.0.0.1:1");
    world.publish();
    let words = world.ask().await.unwrap_err();
    assert!(words.starts_with("TotalsUnreachable: "), "{words}");
    assert!(words.contains("127.0.0.1:1"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let world = World::new(NAME).await;
    let began = tokio::time::Instant::now();
    let words = world.ask().await.unwrap_err();
    assert!(words.starts_with("TotalsLate: "), "{words}");
    assert!(began.elapsed() <= Duration::from_secs(20));
}

/// The address is read before each question, so that a new one needs no restart.
#[tokio::test]
async fn a_turn_changes_the_board_and_asks_for_a_look() {
    let mut world = World::new(NAME).await;
    let address = world
        .map
        .as_object_mut()
        .unwrap()
        .remove("address")
        .unwrap();
    world.publish();
    assert_eq!(world.asker.turn(TOLD).await, "TotalsNotPublished");
    assert!(world.due.try_recv().is_err());
    world.map["address"] = address;
    world.publish();
    world.answers_fleet(&fleet(2, 1));
    assert_eq!(world.asker.turn("TotalsNotPublished").await, TOLD);
    assert_eq!(world.due.try_recv().unwrap().name, "a");
    let shown = world.asker.board.shown("uid-a", 1);
    let Some(Shown::Told(told)) = shown.as_deref() else {
        panic!("{shown:?}");
    };
    assert_eq!((told.asked, told.silent), (2, 1));
    assert_eq!(world.asker.turn(TOLD).await, TOLD);
    assert!(world.due.try_recv().is_err(), "the same again");
    let text = world.asker.metrics.text(None);
    for line in [
        "scope_operator_totals_asks_total{outcome=\"Told\"} 2",
        "scope_operator_totals_asks_total{outcome=\"TotalsNotPublished\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_who_leads_asks() {
    let mut world = World::new(NAME).await;
    world.answers_fleet(&fleet(1, 0));
    world.claim.set(None, Instant::now());
    let stop = CancellationToken::new();
    let (asker, stopped) = (Arc::clone(&world.asker), stop.clone());
    let running = tokio::spawn(async move { asker.run(stopped).await });
    tokio::time::sleep(PACE * 5).await;
    assert_eq!(world.asked.load(Ordering::SeqCst), 0);
    // A term begins with a question, which takes its time.
    tokio::time::resume();
    world.lead();
    let due = tokio::time::timeout(Duration::from_secs(10), world.due.recv()).await;
    assert_eq!(due.unwrap().unwrap().name, "a");
    assert_eq!(world.asked.load(Ordering::SeqCst), 1);
    stop.cancel();
    running.await.unwrap();
}

/// Its agents are not expected to report, and a plugin for no node has none.
#[tokio::test]
async fn a_plugin_without_agents_is_not_on_the_board() {
    let world = World::new(NAME).await;
    let names =
        |asker: &Asker| -> Vec<String> { asker.expected().into_iter().map(|it| it.name).collect() };
    assert_eq!(names(&world.asker), ["a"]);
    let (store, mut plugins) = reflector::store();
    let suspended = testing::plugin("b", json!({"agent": {}, "suspended": true}));
    plugins.apply_watcher_event(&watcher::Event::Apply(guarded(suspended)));
    let mut nowhere = testing::plugin("c", json!({"agent": {}}));
    nowhere.status = Some(ScopePluginStatus {
        nodes: Some(NodeCounts::default()),
        ..ScopePluginStatus::default()
    });
    plugins.apply_watcher_event(&watcher::Event::Apply(guarded(nowhere)));
    let asker = Asker {
        plugins: store,
        looks: looks().0,
        board: Arc::default(),
        whereabouts: world.asker.whereabouts.clone(),
        config_maps: world.asker.config_maps.clone(),
        claim: world.asker.claim.clone(),
        readiness: Arc::clone(&world.asker.readiness),
        metrics: Arc::clone(&world.asker.metrics),
    };
    assert_eq!(names(&asker), [""; 0]);
}
