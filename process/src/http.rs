//! `/healthz`, `/readyz` and `/metrics`.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

/// The kubelet's probes and a scraper or two, with room to spare. One more sends the idlest away.
const CONNECTIONS: usize = 64;
/// A request's head must be there in this time; so long may a kept connection be without one, too.
const HEAD: Duration = Duration::from_secs(5);
/// A connection may live so long, whatever it does.
const CONNECTION: Duration = Duration::from_secs(60);

/// A process as the kubelet and scrapers ask it.
pub trait Asked: Clone + Send + Sync + 'static {
    /// What it waits for before it is ready, in words; nothing once it is.
    fn missing(&self, now: Instant) -> Option<String>;
    /// Its metrics as OpenMetrics text.
    fn metrics(&self) -> String;
    /// A connection was closed to make room for another: to be counted.
    fn evicted(&self);
}

/// Answers until `stop`. Who says nothing keeps nobody out: when all places are taken, a newcomer
/// gets that of the connection whose last request is longest ago.
pub async fn serve(listener: TcpListener, asked: impl Asked, stop: CancellationToken) {
    let seats = Arc::new(Seats::default());
    let router = router(asked.clone());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or gone before it was accepted: haste helps neither, and the
                // idlest connection has a descriptor to give.
                tracing::debug!("a connection was not accepted: {error}");
                if seats.make_room() {
                    asked.evicted();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if seats.len() >= CONNECTIONS && seats.make_room() {
            asked.evicted();
        }
        tokio::spawn(answer(stream, router.clone(), seats.enter()));
    }
}

/// The open connections: whose last request is longest ago comes first, and one without a request
/// counts from when it came.
#[derive(Default)]
struct Seats {
    open: Mutex<VecDeque<Arc<Notify>>>,
}

/// A connection's place among the open ones; given up when dropped.
struct Seat {
    leave: Arc<Notify>,
    all: Arc<Seats>,
}

impl Seats {
    fn open(&self) -> MutexGuard<'_, VecDeque<Arc<Notify>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.open().len()
    }

    fn enter(self: &Arc<Self>) -> Seat {
        let leave = Arc::new(Notify::new());
        self.open().push_back(Arc::clone(&leave));
        Seat {
            leave,
            all: Arc::clone(self),
        }
    }

    /// Sends the first away. Whether there was one.
    fn make_room(&self) -> bool {
        let first = self.open().pop_front();
        if let Some(leave) = &first {
            leave.notify_one();
        }
        first.is_some()
    }
}

impl Seat {
    /// A request came on this connection.
    fn heard(&self) {
        let mut open = self.all.open();
        // One that was sent away in this moment stays away.
        if let Some(place) = self.place(&open)
            && let Some(seat) = open.remove(place)
        {
            open.push_back(seat);
        }
    }

    fn place(&self, open: &VecDeque<Arc<Notify>>) -> Option<usize> {
        open.iter().position(|seat| Arc::ptr_eq(seat, &self.leave))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.all.open();
        if let Some(place) = self.place(&open) {
            open.remove(place);
        }
    }
}

async fn answer(stream: TcpStream, router: Router, seat: Seat) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        seat.heard();
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = seat.leave.notified() => tracing::debug!("an idle connection made room for a new one"),
        ended = tokio::time::timeout(CONNECTION, connection) => {
            if let Ok(Err(error)) = ended {
                tracing::debug!("a connection ended early: {error}");
            }
        }
    }
}

/// The paths, as [`serve`] answers them.
pub fn router<A: Asked>(asked: A) -> Router {
    Router::new()
        .route("/healthz", get(async || Ok::<_, Infallible>("ok\n")))
        .route("/readyz", get(ready::<A>))
        .route("/metrics", get(metrics::<A>))
        .with_state(asked)
}

async fn ready<A: Asked>(State(asked): State<A>) -> Response {
    match asked.missing(Instant::now()) {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics<A: Asked>(State(asked): State<A>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, TYPE)], asked.metrics()).into_response()
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use axum::{body::to_bytes, http::Request};
    use tower::ServiceExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Standby {
        filled: Arc<AtomicBool>,
        evicted: Arc<AtomicUsize>,
    }

    impl Asked for Standby {
        fn missing(&self, _: Instant) -> Option<String> {
            let filled = self.filled.load(Ordering::SeqCst);
            (!filled).then(|| "the first list of Pod is not there yet".into())
        }

        fn metrics(&self) -> String {
            "standby 1\n# EOF\n".into()
        }

        fn evicted(&self) {
            self.evicted.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn asked(standby: &Standby, path: &str) -> (Response, String) {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router(standby.clone()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (Response::from_parts(head, axum::body::Body::empty()), text)
    }

    #[tokio::test]
    async fn a_standby_is_healthy_at_once_and_ready_when_it_is_filled() {
        let standby = Standby::default();
        assert_eq!(asked(&standby, "/healthz").await.0.status(), StatusCode::OK);
        let (answer, reason) = asked(&standby, "/readyz").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reason, "the first list of Pod is not there yet\n");
        standby.filled.store(true, Ordering::SeqCst);
        assert_eq!(asked(&standby, "/readyz").await.0.status(), StatusCode::OK);
        let (answer, text) = asked(&standby, "/metrics").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        assert_eq!(text, "standby 1\n# EOF\n");
        let (answer, _) = asked(&standby, "/other").await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }

    /// A server and where it listens; it ends with the guard.
    async fn serving() -> (SocketAddr, Standby, tokio_util::sync::DropGuard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let standby = Standby::default();
        tokio::spawn(serve(listener, standby.clone(), stop.clone()));
        (address, standby, stop.drop_guard())
    }

    /// Asks on this connection and keeps it. Nothing when the server has closed it.
    async fn healthy(stream: &mut TcpStream) -> Option<()> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .ok()?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok\n") {
            if stream.read_buf(&mut answer).await.ok()? == 0 {
                return None;
            }
        }
        answer.starts_with(b"HTTP/1.1 200").then_some(())
    }

    #[tokio::test]
    async fn the_idlest_connection_makes_room_for_a_newcomer() {
        let (address, standby, _stop) = serving().await;
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(TcpStream::connect(address).await.unwrap());
        }
        // The first that came has been heard since; the second has not.
        assert!(healthy(&mut open[0]).await.is_some());
        for turn in 0..3 {
            let mut newcomer = TcpStream::connect(address).await.unwrap();
            assert!(healthy(&mut newcomer).await.is_some(), "newcomer {turn}");
            open.push(newcomer);
        }
        let mut gone = Vec::new();
        for (number, stream) in open.iter_mut().enumerate() {
            if healthy(stream).await.is_none() {
                gone.push(number);
            }
        }
        assert_eq!(gone, [1, 2, 3]);
        assert_eq!(standby.evicted.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn more_silent_clients_than_places_do_not_keep_a_probe_out() {
        let (address, _, _stop) = serving().await;
        let mut idle = Vec::new();
        for _ in 0..3 * CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        assert!(healthy(&mut probe).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_waited_for_so_long() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let (address, _, _stop) = serving().await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let began = tokio::time::Instant::now();
        slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        let mut answer = Vec::new();
        // Whether the end comes with a reset or without is the kernel's choice.
        let _ = slow.read_to_end(&mut answer).await;
        let took = began.elapsed();
        assert!(took >= HEAD && took < HEAD * 2, "{took:?}");
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }

    #[test]
    fn a_seat_is_given_up_once() {
        let seats = Arc::new(Seats::default());
        let (first, second) = (seats.enter(), seats.enter());
        assert!(seats.make_room());
        // Sent away already: it neither comes back nor takes another's place along.
        first.heard();
        drop(first);
        assert_eq!(seats.len(), 1);
        drop(second);
        assert_eq!(seats.len(), 0);
        assert!(!seats.make_room());
    }
}
