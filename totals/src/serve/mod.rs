//! The port of the exchange: TLS, and a bound for everything that a client can make last.

mod seats;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use seats::{Places, Seat, Seats};

use crate::{exchange::Connection, metrics::Metrics};
use hyper::service::Service;

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
/// What hyper keeps of a connection's bytes: the least that it takes, and there are thousands. A head is
/// much shorter.
const BUFFER: usize = 8 << 10;
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
    let stream = match tokio::time::timeout(HANDSHAKE, shared.tls.accept(stream)).await {
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
    let context = Connection {
        from: from.ip().to_canonical(),
        seat: Arc::clone(&seat),
    };
    let router = TowerToHyperService::new(shared.router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(context.clone());
        router.call(request)
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service)
    );
    let proof = tokio::time::sleep(PROOF);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = shared.stop.cancelled() => {}
        () = proof => {
            if !seat.is_proven() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tokio::select! {
                ended = connection.as_mut() => return ended.map_err(io::Error::other),
                () = shared.stop.cancelled() => {}
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(io::Error::other)
}
