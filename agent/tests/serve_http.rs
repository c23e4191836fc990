//! What clients do wrong, and that none of it stalls the server or the next client.

mod raw_http;

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::Request;
use axum::routing::{get, post};
use raw_http::{ask, connect, eventually, probe_request, read_reply, wait_for_close};
use scope_agent::serve::{
    Demand, Ended, Limits, Listener, Publication, Reporter, SocketMetrics, read_body,
};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A server on a thread of its own, as in the agent: one thread for all connections.
struct Server {
    _tmp: TempDir,
    socket: PathBuf,
    metrics: Arc<SocketMetrics>,
    /// Requests for `/gated` that came.
    arrived: Arc<AtomicUsize>,
    /// What they wait for.
    gate: Arc<Semaphore>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

const SHORT: Limits = Limits {
    connections: 4,
    head: Duration::from_millis(300),
    request: Duration::from_millis(600),
    idle: Duration::from_secs(3),
    drain: Duration::from_millis(300),
};

impl Server {
    fn start(limits: Limits, body: impl Into<Bytes>) -> Self {
        let reporter = Reporter {
            publication: Arc::new(Publication::new(body)),
            demand: Arc::new(Demand::new()),
            own_probe_id: "0".into(),
        };
        let echo = |request: Request| read_body(request.into_body(), 64 * 1024);
        let arrived = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let gated = {
            let (arrived, gate) = (arrived.clone(), gate.clone());
            move || async move {
                arrived.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.expect("never closed").forget();
                "through"
            }
        };
        let stuck = || async {
            std::future::pending::<()>().await;
            "never"
        };
        let router = scope_agent::serve::reporter(reporter)
            .route("/echo", post(echo))
            .route("/gated", get(gated))
            .route("/stuck", get(stuck));
        let tmp = tempfile::tempdir().expect("a directory");
        let socket = tmp.path().join("s.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("binds");
        listener.set_nonblocking(true).expect("does not block");
        let metrics = Arc::new(SocketMetrics::new("reporter"));
        let stop = CancellationToken::new();
        let thread = std::thread::spawn({
            let (metrics, stop) = (metrics.clone(), stop.clone());
            move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime")
                    .block_on(async {
                        let listener =
                            tokio::net::UnixListener::from_std(listener).expect("listens");
                        let listener = Listener::Unix(listener);
                        scope_agent::serve::serve_http(listener, router, limits, metrics, stop)
                            .await;
                    });
            }
        });
        Server {
            _tmp: tmp,
            socket,
            metrics,
            arrived,
            gate,
            stop,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> UnixStream {
        connect(&self.socket)
    }

    fn serves(&self) {
        let reply = ask(&mut self.connect(), &probe_request("ab"));
        assert_eq!(reply.status, 200);
    }

    /// Sends a request that waits for the gate, and waits until it has arrived.
    fn ask_gated(&self, stream: &mut UnixStream) {
        let before = self.arrived.load(Ordering::Relaxed);
        stream
            .write_all(b"GET /gated HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("sends");
        eventually("it arrives", || {
            self.arrived.load(Ordering::Relaxed) > before
        });
    }

    fn ended(&self, why: Ended) {
        eventually(&format!("{why:?} is counted"), || {
            self.metrics.ended_count(why) > 0
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            if !std::thread::panicking() {
                joined.expect("the server ends in order");
            }
        }
    }
}

#[test]
fn the_probes_exact_request_is_answered_on_a_kept_connection() {
    let server = Server::start(Limits::default(), "{}");
    let mut stream = server.connect();
    for _ in 0..3 {
        let reply = ask(&mut stream, &probe_request("5bdcc0beddf3c14"));
        assert_eq!(
            (reply.status, reply.body.as_slice()),
            (200, b"{}".as_slice())
        );
        let head = reply.head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(!head.contains("content-encoding"), "{head}");
    }
    assert_eq!(server.metrics.accepted.get(), 1);
    assert_eq!(server.metrics.answered_count(200), 3);
}

#[test]
fn old_clients_and_other_methods_get_what_they_should() {
    let server = Server::start(Limits::default(), "{}");
    for (request, status) in [
        ("GET /report HTTP/1.0\r\n\r\n", 200),
        (
            "HEAD /report HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            200,
        ),
        (
            "POST /report HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            405,
        ),
        (
            "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            405,
        ),
        (
            "GET /reports HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            404,
        ),
        (
            "GET /report/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            404,
        ),
        (
            "GET http://plugin/report HTTP/1.1\r\nHost: plugin\r\nConnection: close\r\n\r\n",
            200,
        ),
    ] {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).expect("sends");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).expect("reads to the close");
        let got: u16 = text
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("a status");
        assert_eq!(got, status, "{request}");
    }
}

#[test]
fn what_is_not_http_is_refused_and_closed() {
    let server = Server::start(Limits::default(), "{}");
    let huge_head = format!("GET /report HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET /report HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
    let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "this is not http\r\n\r\n",
        "GET /report HTTP/9.9\r\n\r\n",
        "GET /report HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        &huge_head,
        &many_headers,
        &long_target,
    ] {
        let mut stream = server.connect();
        // The server may close before all of it is sent.
        let _ = stream.write_all(garbage.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        if let Some(reply) = read_reply(&mut stream) {
            let start = &garbage[..garbage.len().min(40)];
            assert!(
                (400..=505).contains(&reply.status),
                "{start:?}: {}",
                reply.status
            );
        }
        wait_for_close(&mut stream);
        server.serves();
    }
    server.ended(Ended::Malformed);
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let server = Server::start(Limits::default(), "{}");
    let fits = "x".repeat(64 * 1024);
    let reply = raw_http::post(&server.socket, "/echo", &fits);
    assert_eq!((reply.status, reply.body.len()), (200, fits.len()));

    // Refused by its announced length, without waiting for it.
    let mut stream = server.connect();
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        .expect("sends");
    assert_eq!(read_reply(&mut stream).expect("an answer").status, 413);
    wait_for_close(&mut stream);

    // Or once too much came.
    let mut stream = server.connect();
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sends");
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..3 {
        let _ = stream.write_all(chunk.as_bytes());
    }
    assert_eq!(read_reply(&mut stream).expect("an answer").status, 413);
    server.serves();
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let server = Server::start(Limits::default(), "{}");
    let mut stream = server.connect();
    stream
        .write_all(b"GET /report HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sends");
    stream.shutdown(Shutdown::Write).expect("half closes");
    assert_eq!(read_reply(&mut stream).expect("an answer").status, 200);
    wait_for_close(&mut stream);

    // Also one that takes a while.
    let mut stream = server.connect();
    server.ask_gated(&mut stream);
    stream.shutdown(Shutdown::Write).expect("half closes");
    std::thread::sleep(Duration::from_millis(50));
    server.gate.add_permits(1);
    assert_eq!(read_reply(&mut stream).expect("an answer").status, 200);
    wait_for_close(&mut stream);
}

#[test]
fn a_client_that_leaves_in_the_middle_is_forgotten() {
    let server = Server::start(Limits::default(), "{}");
    for half in [
        "GET /rep",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        "GET /report HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(half.as_bytes()).expect("sends");
        drop(stream);
    }
    eventually("all connections are closed", || {
        server.metrics.open.get() == 0
    });
    server.serves();
}

#[test]
fn a_slow_head_is_cut_off() {
    let server = Server::start(SHORT, "{}");
    let mut stream = server.connect();
    let began = Instant::now();
    // A byte now and then does not buy more time.
    for byte in b"GET /report HTTP/1.1\r\nX: yyyyyyyyyyyyyyyyyyyyyyyy" {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    wait_for_close(&mut stream);
    let took = began.elapsed();
    assert!(
        took >= SHORT.head && took < Duration::from_secs(8),
        "{took:?}"
    );
    server.ended(Ended::HeadTimeout);
    server.serves();
}

#[test]
fn a_slow_body_and_a_stuck_answer_are_cut_off() {
    let server = Server::start(SHORT, "{}");
    for request in [
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        "GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).expect("sends");
        let took = wait_for_close(&mut stream);
        assert!(
            took >= SHORT.request - Duration::from_millis(50),
            "{took:?}"
        );
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    server.ended(Ended::RequestTimeout);
    server.serves();
}

#[test]
fn a_slow_reader_is_cut_off_and_others_are_served_meanwhile() {
    // More than fits into the socket's buffers.
    let server = Server::start(SHORT, vec![b'x'; 4 * 1024 * 1024]);
    let mut slow = server.connect();
    slow.write_all(probe_request("ab").as_bytes())
        .expect("sends");
    let mut other = server.connect();
    let mut served = 0;
    eventually("the slow reader is cut off", || {
        // A small answer; a busy machine needs its time for the large one.
        let request = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(ask(&mut other, request).status, 404);
        served += 1;
        server.metrics.ended_count(Ended::RequestTimeout) > 0
    });
    assert!(served > 1);
}

#[test]
fn a_kept_connection_outlives_the_times_of_a_request() {
    let server = Server::start(SHORT, "{}");
    let mut stream = server.connect();
    let deadline = Instant::now() + SHORT.request * 3;
    while Instant::now() < deadline {
        assert_eq!(ask(&mut stream, &probe_request("ab")).status, 200);
        std::thread::sleep(SHORT.head + Duration::from_millis(100));
    }
    // Several requests at once, as some clients send them.
    stream
        .write_all(probe_request("ab").repeat(3).as_bytes())
        .expect("sends");
    for _ in 0..3 {
        assert_eq!(read_reply(&mut stream).expect("an answer").status, 200);
    }
    let took = wait_for_close(&mut stream);
    assert!(took >= SHORT.idle - Duration::from_millis(500), "{took:?}");
    server.ended(Ended::IdleTimeout);
}

#[test]
fn the_longest_idle_connection_makes_room() {
    let limits = Limits {
        connections: SHORT.connections,
        ..Limits::default()
    };
    let server = Server::start(limits, "{}");
    let mut first = server.connect();
    let mut second = server.connect();
    let mut probe = server.connect();
    for stream in [&mut first, &mut second, &mut probe] {
        assert_eq!(ask(stream, &probe_request("ab")).status, 200);
    }
    let mut never_asked = server.connect();
    eventually("four are open", || server.metrics.open.get() == 4);
    // The first has just asked again: the second is the longest idle now.
    assert_eq!(ask(&mut first, &probe_request("ab")).status, 200);
    let mut fifth = server.connect();
    assert_eq!(ask(&mut fifth, &probe_request("ab")).status, 200);
    wait_for_close(&mut second);
    assert_eq!(server.metrics.ended_count(Ended::Evicted), 1);
    for stream in [&mut first, &mut probe, &mut never_asked, &mut fifth] {
        assert_eq!(ask(stream, &probe_request("ab")).status, 200);
    }
}

#[test]
fn requests_that_scope_has_given_up_make_room_too() {
    let limits = Limits {
        connections: SHORT.connections,
        request: Duration::from_secs(100),
        ..Limits::default()
    };
    let server = Server::start(limits, "{}");
    let mut busy: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for stream in &mut busy {
        server.ask_gated(stream);
    }
    eventually("a new client is served", || {
        let mut stream = server.connect();
        // Refused at first: for half a second a probe may be waiting for each of the answers.
        let sent = stream.write_all(probe_request("ab").as_bytes());
        sent.is_ok() && read_reply(&mut stream).is_some_and(|reply| reply.status == 200)
    });
    wait_for_close(&mut busy[0]);
    assert_eq!(server.metrics.ended_count(Ended::Evicted), 1);
    server.gate.add_permits(4);
    for stream in &mut busy[1..] {
        assert_eq!(read_reply(stream).expect("an answer").status, 200);
    }
}

#[test]
fn the_end_lets_answers_leave() {
    let limits = Limits {
        drain: Duration::from_secs(10),
        ..Limits::default()
    };
    let server = Server::start(limits, "{}");
    let mut idle = server.connect();
    let mut busy = server.connect();
    server.ask_gated(&mut busy);
    server.stop.cancel();
    wait_for_close(&mut idle);
    server.gate.add_permits(1);
    assert_eq!(read_reply(&mut busy).expect("an answer").status, 200);
    wait_for_close(&mut busy);
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let server = Server::start(SHORT, "{}");
    let mut busy = server.connect();
    server.ask_gated(&mut busy);
    server.stop.cancel();
    assert!(read_reply(&mut busy).is_none(), "cut off");
}
