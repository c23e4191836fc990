use std::{net::Ipv4Addr, sync::atomic::AtomicUsize};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::*;
use crate::rollout::{Failure, Node};

/// A server on this machine that gives each connection the same treatment.
struct Server {
    refusals: Refusals,
    metrics: Arc<Metrics>,
    connections: Arc<AtomicUsize>,
    serving: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    async fn new<F: Future<Output = ()> + Send + 'static>(
        treat: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let n = count.fetch_add(1, Ordering::SeqCst);
                let mut asked = [0; 1024];
                // Whoever ran out of time says nothing.
                let Ok(length @ 1..) = stream.read(&mut asked).await else {
                    continue;
                };
                assert!(asked[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                tokio::spawn(treat(stream, n));
            }
        });
        let metrics = Arc::new(Metrics::new());
        Self {
            refusals: Refusals::at(port, Arc::clone(&metrics)),
            metrics,
            connections,
            serving: serving.abort_handle(),
        }
    }

    /// One that always answers so.
    async fn answering(head: &str, body: Vec<u8>) -> Self {
        let answer = [head.as_bytes(), b"\r\n\r\n", &body].concat();
        Self::new(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                // Whoever has read enough closes.
                let _ = stream.write_all(&answer).await;
            }
        })
        .await
    }

    async fn said(&self, pods: usize) -> Vec<String> {
        let refusing = (0..pods).map(|n| refusing_pod(&n.to_string())).collect();
        let said = self.refusals.said_by(refusing).await;
        said.into_iter().map(|(_, words)| words).collect()
    }

    fn counted(&self, outcome: &str) -> u64 {
        let line = format!("scope_operator_agents_asked_total{{outcome=\"{outcome}\"}} ");
        let text = self.metrics.text(None);
        let count = text.lines().find_map(|found| found.strip_prefix(&line));
        count.map_or(0, |count| count.parse().unwrap())
    }
}

fn refusing_pod(pod: &str) -> Refusing {
    Refusing {
        node: format!("node-{pod}"),
        pod: pod.to_owned(),
        address: Ipv4Addr::LOCALHOST.into(),
    }
}

const REFUSED: &str = "HTTP/1.1 503 Service Unavailable";

#[tokio::test]
async fn the_reason_is_the_agents_own_and_asked_once_in_a_while() {
    let server = Server::answering(
        &format!("{REFUSED}\r\nContent-Type: text/plain"),
        b"no sample has been taken yet\n".to_vec(),
    )
    .await;
    for _ in 0..3 {
        assert_eq!(server.said(1).await, ["no sample has been taken yet"]);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert_eq!(server.counted("Told"), 1);
}

#[tokio::test]
async fn what_is_no_refusal_in_text_is_not_told() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/";
    let long = format!("{REFUSED}\r\nX-Long: {}", "x".repeat(100_000));
    for (head, body, outcome) in [
        ("HTTP/1.1 200 OK", b"ok\n".to_vec(), "Ready"),
        ("HTTP/1.1 404 Not Found", b"no such page".to_vec(), "Odd"),
        (moved, b"elsewhere".to_vec(), "Odd"),
        (REFUSED, b"\x7fELF\xff\xfe\0\0".to_vec(), "Odd"),
        (REFUSED, Vec::new(), "Odd"),
        ("SSH-2.0-OpenSSH", b"nonsense".to_vec(), "Odd"),
        (&long, b"too long a head".to_vec(), "Odd"),
    ] {
        let server = Server::answering(head, body).await;
        assert!(server.said(1).await.is_empty(), "{head}");
        assert_eq!(server.counted(outcome), 1, "{head}");
        // That is remembered as well.
        assert!(server.said(1).await.is_empty());
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{head}");
    }
}

#[tokio::test]
async fn of_a_huge_answer_the_beginning_is_read() {
    let length = format!("{REFUSED}\r\nContent-Length: 5000000");
    let server = Server::answering(&length, vec![b'a'; 5_000_000]).await;
    let said = server.said(1).await;
    assert!(said[0].starts_with("aaa") && said[0].len() <= 400);
    assert_eq!(server.counted("Cut"), 1);
}

#[tokio::test]
async fn who_is_slow_or_away_does_not_hold_up_a_look() {
    // One byte now and then, for ever.
    let server = Server::new(|mut stream, _| async move {
        let mut answer = REFUSED.bytes().chain(std::iter::repeat(b' '));
        while let Some(byte) = answer.next()
            && stream.write_all(&[byte]).await.is_ok()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let began = Instant::now();
    assert!(server.said(10).await.is_empty());
    let took = began.elapsed();
    assert!(
        took >= ONE && took < ALL + Duration::from_secs(1),
        "{took:?}"
    );
    // Two rounds of four, and the time is up as the third begins.
    let (late, had_to_wait) = (server.counted("Late"), server.counted("NotAsked"));
    assert!(
        late >= 8 && late + had_to_wait == 10,
        "{late} {had_to_wait}"
    );
    // Who had to wait is not known to be silent, so the next look begins with it.
    assert!(server.said(10).await.is_empty());
    assert_eq!(
        (server.counted("Late"), server.counted("NotAsked")),
        (10, had_to_wait)
    );

    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let refusals = Refusals::at(port, Arc::new(Metrics::new()));
    assert!(refusals.said_by(vec![refusing_pod("a")]).await.is_empty());
    let text = refusals.metrics.text(None);
    assert!(
        text.contains("agents_asked_total{outcome=\"Unreachable\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_few_are_asked_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (open, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::new(move |mut stream, n| {
        let (open, highest) = (Arc::clone(&open), Arc::clone(&highest));
        async move {
            highest.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(60)).await;
            open.fetch_sub(1, Ordering::SeqCst);
            let answer = format!("{REFUSED}\r\nConnection: close\r\n\r\nanswer {n}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let mut said = server.said(10).await;
    said.sort();
    assert_eq!(said.len(), 10);
    assert_eq!(said[9], "answer 9");
    let most = most.load(Ordering::SeqCst);
    assert!((2..=AT_ONCE).contains(&most), "{most}");
}

#[test]
fn answers_grow_old_and_are_bounded() {
    let mut answers = Answers::default();
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    answers.put("first", Some("words".into()), at(0));
    assert!(answers.is_fresh("first", at(9_999)));
    assert!(!answers.is_fresh("first", at(10_000)));
    assert_eq!(answers.words("first"), Some("words"), "until the next");
    answers.put("first", None, at(10_000));
    assert_eq!(answers.words("first"), None);
    for n in 1..=REMEMBERED as u64 {
        answers.put(&n.to_string(), None, at(10_000 + n));
    }
    assert_eq!(answers.0.len(), REMEMBERED);
    assert!(!answers.0.contains_key("first"), "the oldest");
    answers.put("late", None, at(60_000));
    assert_eq!(answers.0.len(), 1, "what is not fresh makes room");
}

#[test]
fn agents_are_asked_that_run_and_are_not_ready_on_nodes_that_are_named() {
    let seen = |uid: &str, status: serde_json::Value| -> SeenPod {
        serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}, "status": status}))
            .unwrap()
    };
    let refuses = json!({"phase": "Running", "podIP": "10.1.2.3",
        "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
        "containerStatuses": [{"state": {"running": {}}}]});
    let pods = [
        seen("p1", refuses.clone()),
        seen("p2", json!({"phase": "Pending"})),
        seen("p3", refuses),
    ];
    let node = |uid: &str| Node {
        up: true,
        since: jiff::Timestamp::UNIX_EPOCH,
        canary: false,
        bare_since: None,
        pod: Some(crate::rollout::Pod {
            name: uid.into(),
            uid: uid.into(),
            resource_version: "1".into(),
            revision: None,
            created: jiff::Timestamp::UNIX_EPOCH,
            ready_since: None,
            restarts: 0,
            failure: Some(Failure {
                reason: "ContainersNotReady".into(),
                message: "containers with unready status: [agent]".into(),
                certain_after: None,
            }),
        }),
    };
    let mut fleet = Fleet {
        nodes: [("n1", "p1"), ("n2", "p2"), ("n3", "p3")]
            .map(|(name, uid)| (name.to_owned(), node(uid)))
            .into(),
    };
    let failing = ["n1", "n2", "gone"].map(|node| Failing {
        node: node.into(),
        reason: "ContainersNotReady".into(),
        message: String::new(),
        since: jiff::Timestamp::UNIX_EPOCH,
        counts: true,
    });
    let asked = refusing(&failing, &fleet, pods.iter());
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        (asked[0].node.as_str(), asked[0].pod.as_str()),
        ("n1", "p1")
    );
    assert!(!tell(&mut fleet, &[]));
    assert!(tell(
        &mut fleet,
        &[(asked[0].clone(), "no sample yet".into())]
    ));
    let told = |name: &str| {
        let pod = fleet.nodes[name].pod.as_ref().unwrap();
        let failure = pod.failure.as_ref().unwrap();
        (failure.reason.clone(), failure.message.clone())
    };
    assert_eq!(
        told("n1"),
        (
            "ReadinessRefused".into(),
            "the agent says: no sample yet".into()
        )
    );
    assert_eq!(told("n3").0, "ContainersNotReady");
}
