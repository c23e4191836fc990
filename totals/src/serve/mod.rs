//! The port of the exchange: TLS, and a bound for everything that a client can make last.

mod seats;
mod turn;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use seats::{Places, Seat, Seats};

use crate::{exchange::Connection, metrics::Metrics};
use turn::{Answers, Turn, Waiting};

/// Connections of the exchange. An agent needs one, and has two when it connects anew.
pub const PLACES: Places = Places {
    unproven: 1024,
    from_one: 64,
    of_agent: 2,
};
/// A handshake takes two round trips.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The first report with a valid token has to come in this time.
const PROOF: Duration = Duration::from_secs(10);
/// More than the longest interval: so long may a kept connection be without a request.
const IDLE: Duration = Duration::from_secs(90);
/// Saying goodbye takes one packet.
const CLOSE: Duration = Duration::from_secs(1);
/// A request and its answer take at most this time, with all that either may wait for.
const TURN: Duration = Duration::from_secs(30);
/// At the end a request that is being answered has so long.
const DRAIN: Duration = Duration::from_secs(1);

/// What a connection needs.
#[derive(Clone)]
struct Shared {
    tls: TlsAcceptor,
    router: Router,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

/// Answers until `stop`, and then finishes what was begun.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    seats: Arc<Seats>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let shared = Shared {
        tls: tls.into(),
        router,
        metrics,
        stop,
    };
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let seat = Arc::new(seats.enter(from.ip().to_canonical()));
                tasks.spawn(connection(stream, from, seat, shared.clone()));
            }
            Err(error) => {
                // Out of descriptors, or gone before it was accepted: haste helps neither, and who has
                // not proven itself has a descriptor to give.
                tracing::debug!("a connection was not accepted: {error}");
                seats.make_room();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::debug!("connections were cut off");
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, seat: Arc<Seat>, shared: Shared) {
    let leaving = Arc::clone(&seat);
    tokio::select! {
        () = leaving.sent_away() => tracing::debug!(%from, "a connection made room for another"),
        ended = speak(stream, from, seat, shared) => if let Err(error) = ended {
            tracing::debug!(%from, "a connection ended early: {error}");
        }
    }
}

async fn speak(
    stream: TcpStream,
    from: SocketAddr,
    seat: Arc<Seat>,
    shared: Shared,
) -> io::Result<()> {
    // A reply is one write, and nobody should wait for more.
    stream.set_nodelay(true)?;
    // In a box of its own, as it is over soon.
    let handshake = Box::pin(shared.tls.accept(stream));
    let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.metrics.handshake_failed();
            return Err(error);
        }
        Err(_) => {
            shared.metrics.handshake_failed();
            return Err(io::ErrorKind::TimedOut.into());
        }
    };
    let answers = Answers {
        router: shared.router,
        connection: Connection {
            from: from.ip().to_canonical(),
            seat: Arc::clone(&seat),
        },
    };
    let mut requests = std::pin::pin!(requests(Waiting::new(stream), answers, shared.stop));
    match tokio::time::timeout(PROOF, requests.as_mut()).await {
        Ok(ended) => ended,
        Err(_) if seat.is_proven() => requests.await,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Answers one request after the other.
async fn requests(
    mut waiting: Waiting,
    answers: Answers,
    stop: CancellationToken,
) -> io::Result<()> {
    loop {
        let asked = tokio::select! {
            asked = tokio::time::timeout(IDLE, waiting.asked()) => asked??,
            () = stop.cancelled() => false,
        };
        if !asked {
            return tokio::time::timeout(CLOSE, waiting.close()).await?;
        }
        // In a box of its own: the connection has no need of that room while it waits.
        let turn = Box::pin(answered(waiting.turn(answers.clone()), &stop));
        match tokio::time::timeout(TURN, turn).await?? {
            Some(left) => waiting = left,
            None => return Ok(()),
        }
    }
}

/// The connection after an answer, unless that was the last.
async fn answered(mut turn: Turn, stop: &CancellationToken) -> io::Result<Option<Waiting>> {
    let goes_on = tokio::select! {
        goes_on = turn.answered() => goes_on?,
        () = stop.cancelled() => {
            turn.be_last();
            turn.answered().await?
        }
    };
    Ok(goes_on.then(|| turn.left()))
}
