//! An HTTP/1 server that no client can stall: every connection has a deadline for what it is doing,
//! there are at most so many of them, and the longest idle one makes room for a new one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use scope_protocol::REQUEST_DEADLINE;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::connection::{Activity, AnswerBody, Limits, Phase, Watched};
use super::metrics::{Ended, SocketMetrics};

/// Space for the head of a request; the probe's has 200 bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// After a failed accept (no descriptors left, say), so that the failure does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A plugin's socket.
    Unix(UnixListener),
    /// Health and metrics.
    Tcp(TcpListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Listener::Unix(listener) => Box::new(listener.accept().await?.0),
            Listener::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Serves until `stop`, then lets answers under way leave for as long as [`Limits::drain`].
pub async fn serve(
    listener: Listener,
    router: Router,
    limits: Limits,
    metrics: Arc<SocketMetrics>,
    stop: CancellationToken,
) {
    let connections = Arc::new(Connections::default());
    let mut tasks = JoinSet::new();
    loop {
        // Finished connections are collected here; the set holds no more than are open.
        while tasks.try_join_next().is_some() {}
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(e) => {
                metrics.accept_failures.add(1);
                tracing::warn!(socket = metrics.name, error = %e, "cannot accept a connection");
                // Out of descriptors: an idle connection gives its own back.
                connections.make_room(Instant::now());
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        metrics.accepted.add(1);
        if connections.len() >= limits.connections && !connections.make_room(Instant::now()) {
            metrics.ended(Ended::Refused);
            continue;
        }
        let entry = connections.enter(metrics.clone(), Instant::now());
        tasks.spawn(attend(stream, router.clone(), limits, entry, stop.clone()));
    }
    drop(listener);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(
            socket = metrics.name,
            "answers under way were cut off at the end"
        );
    }
}

/// The open connections of one listener.
#[derive(Default)]
struct Connections {
    open: Mutex<HashMap<u64, Arc<Seat>>>,
    next: std::sync::atomic::AtomicU64,
}

struct Seat {
    activity: Arc<Activity>,
    leave: Notify,
}

/// A connection's place among the open ones; gives it up when dropped.
struct Entry {
    number: u64,
    seat: Arc<Seat>,
    all: Arc<Connections>,
    metrics: Arc<SocketMetrics>,
}

impl Connections {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.open().len()
    }

    fn enter(self: &Arc<Self>, metrics: Arc<SocketMetrics>, now: Instant) -> Entry {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let seat = Arc::new(Seat {
            activity: Arc::new(Activity::new(now)),
            leave: Notify::new(),
        });
        self.open().insert(number, seat.clone());
        metrics.open.add(1);
        Entry {
            number,
            seat,
            all: self.clone(),
            metrics,
        }
    }

    /// Sends the connection away that has been idle longest; when none is, the one whose request
    /// has been coming longest; when none is, the one that has been answered longest, if for so long
    /// that no probe waits for the answer any more. Whether one went.
    fn make_room(&self, now: Instant) -> bool {
        let mut open = self.open();
        let longest = open
            .iter()
            .map(|(number, seat)| (seat.activity.get(), *number))
            .filter_map(|((phase, since), number)| match phase {
                Phase::Idle => Some((0, since, number)),
                Phase::Head => Some((1, since, number)),
                // It sends its body or reads its answer too slowly for Scope.
                Phase::Request | Phase::Flush => (now.saturating_duration_since(since)
                    >= REQUEST_DEADLINE)
                    .then_some((2, since, number)),
            })
            .min();
        let Some((_, _, number)) = longest else {
            return false;
        };
        // Out of the table at once, so that the next new one does not choose it again.
        if let Some(seat) = open.remove(&number) {
            seat.leave.notify_one();
        }
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.open().remove(&self.number);
        self.metrics.open.sub(1);
    }
}

/// One connection from accept to close.
async fn attend(
    stream: Box<dyn Stream>,
    router: Router,
    limits: Limits,
    entry: Entry,
    stop: CancellationToken,
) {
    let activity = entry.seat.activity.clone();
    let service = hyper::service::service_fn({
        let activity = activity.clone();
        let metrics = entry.metrics.clone();
        move |request: hyper::Request<hyper::body::Incoming>| {
            activity.request_began(Instant::now());
            let router = router.clone();
            let activity = activity.clone();
            let metrics = metrics.clone();
            async move {
                let answer = router.oneshot(request.map(axum::body::Body::new)).await;
                let answer = answer.unwrap_or_else(|never: Infallible| match never {});
                metrics.answered(answer.status());
                Ok::<_, Infallible>(answer.map(|inner| AnswerBody { inner, activity }))
            }
        }
    });
    let stream = Watched {
        inner: stream,
        activity: activity.clone(),
    };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // Replaced by the deadline below, see `connection`.
            .header_read_timeout(None)
            // A client that closes its sending half still wants its answer.
            .half_close(true)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );

    let mut armed = activity.deadline(&limits);
    let mut deadline = pin!(tokio::time::sleep_until(armed));
    let mut leave = pin!(entry.seat.leave.notified());
    let mut stopped = pin!(stop.cancelled());
    let mut stopping = false;
    let ended = poll_fn(|cx| {
        if leave.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Evicted);
        }
        if !stopping && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            return Poll::Ready(result.map_or_else(|e| why(&e), |()| Ended::Closed));
        }
        let (phase, _) = activity.get();
        if stopping && matches!(phase, Phase::Idle | Phase::Head) {
            return Poll::Ready(Ended::Closed);
        }
        // Whatever the connection did, it did just now, in this poll.
        let due = activity.deadline(&limits);
        if due != armed {
            armed = due;
            deadline.as_mut().reset(due);
        }
        deadline.as_mut().poll(cx).map(|()| match phase {
            Phase::Idle => Ended::IdleTimeout,
            Phase::Head => Ended::HeadTimeout,
            Phase::Request | Phase::Flush => Ended::RequestTimeout,
        })
    })
    .await;
    entry.metrics.ended(ended);
}

fn why(error: &hyper::Error) -> Ended {
    if error.is_parse() {
        Ended::Malformed
    } else if error.is_incomplete_message() {
        Ended::Incomplete
    } else {
        Ended::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(all: &Arc<Connections>, now: Instant) -> (u64, Arc<Activity>, Entry) {
        let metrics = Arc::new(SocketMetrics::new("reporter"));
        let entry = all.enter(metrics, now);
        (entry.number, entry.seat.activity.clone(), entry)
    }

    fn leaves(all: &Connections, now: Instant) -> Option<u64> {
        let before: Vec<u64> = all.open().keys().copied().collect();
        assert_eq!(all.make_room(now), all.len() < before.len());
        before
            .into_iter()
            .find(|number| !all.open().contains_key(number))
    }

    #[test]
    fn the_longest_idle_goes_first_and_whom_scope_waits_for_stays() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let all = Arc::new(Connections::default());
        let (answered, activity, _a) = entered(&all, start);
        activity.bytes_came(at(100));
        activity.request_began(at(100));
        let (coming, activity, _b) = entered(&all, at(10));
        activity.bytes_came(at(20));
        let (idle, _, _c) = entered(&all, at(200));
        let (later, _, _d) = entered(&all, at(300));

        assert_eq!(
            leaves(&all, at(400)),
            Some(idle),
            "idle since longer than the other"
        );
        assert_eq!(leaves(&all, at(400)), Some(later));
        assert_eq!(
            leaves(&all, at(400)),
            Some(coming),
            "a request that is still coming"
        );
        assert_eq!(
            leaves(&all, at(599)),
            None,
            "a probe still waits for this answer"
        );
        assert_eq!(
            leaves(&all, at(600)),
            Some(answered),
            "and now not any more"
        );
        assert_eq!(leaves(&all, at(600)), None);
    }
}
