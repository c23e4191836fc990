//! One request and its answer. Between two of them a connection is nothing but its TLS session: what HTTP keeps
//! to read and to write is larger than all else, and of thousands of connections nearly all wait.

use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Bytes, response::Response};
use futures::future::BoxFuture;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1::{self, Connection},
    service::Service,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::exchange;

/// A head that has begun has to come in this time.
const HEAD: Duration = Duration::from_secs(5);
/// What hyper keeps of a connection's bytes: the least that it takes. A head is much shorter.
const BUFFER: usize = 8 << 10;

/// A connection without a request.
pub(super) struct Waiting {
    stream: Box<TlsStream<TcpStream>>,
    /// What came of the next request with the one before.
    early: Bytes,
}

impl Waiting {
    /// After the handshake.
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self {
            stream: Box::new(stream),
            early: Bytes::new(),
        }
    }

    /// Waits until the next request begins. Whether there is one, or the connection is over.
    pub(super) async fn asked(&mut self) -> io::Result<bool> {
        Ok(!self.early.is_empty() || !self.stream.fill_buf().await?.is_empty())
    }

    /// Takes the request that has begun.
    pub(super) fn turn(self, answers: Answers) -> Turn {
        let so_far = Arc::new(SoFar::default());
        let line = Line {
            stream: self.stream,
            early: self.early,
            so_far: Arc::clone(&so_far),
        };
        let noted = Noted {
            answers,
            so_far: Arc::clone(&so_far),
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(line), noted);
        Turn { connection, so_far }
    }

    /// Tells the client that nothing more comes.
    pub(super) async fn close(mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// A request that is being answered.
pub(super) struct Turn {
    connection: Connection<TokioIo<Line>, Noted>,
    so_far: Arc<SoFar>,
}

impl Turn {
    /// This request is the last one, and the answer says so.
    pub(super) fn be_last(&mut self) {
        Pin::new(&mut self.connection).graceful_shutdown();
    }

    /// Waits until the answer is on its way. Whether the connection goes on; otherwise it is closed by then.
    pub(super) async fn answered(&mut self) -> io::Result<bool> {
        let goes_on = poll_fn(|cx| {
            let closed = Pin::new(&mut self.connection).poll(cx);
            if closed.is_ready() || !self.so_far.is_answered() {
                return closed.map_ok(|()| false);
            }
            // Nothing is under way, so this ends the part of hyper and no more. If something were, it would be
            // the last on this connection.
            self.be_last();
            let left = self.connection.poll_without_shutdown(cx);
            left.map_ok(|()| true)
        });
        goes_on.await.map_err(io::Error::other)
    }

    /// The connection, when it goes on.
    pub(super) fn left(self) -> Waiting {
        let parts = self.connection.into_parts();
        Waiting {
            stream: parts.io.into_inner().stream,
            // A copy, as even with nothing in it the other one holds on to all the room that hyper had to read.
            early: Bytes::copy_from_slice(&parts.read_buf),
        }
    }
}

/// Who answers the requests of a connection.
#[derive(Clone)]
pub(super) struct Answers {
    /// What is served.
    pub(super) router: Router,
    /// Which connection it is.
    pub(super) connection: exchange::Connection,
}

/// How far a turn is.
#[derive(Default)]
struct SoFar {
    /// The last request that came has its answer.
    answered: AtomicBool,
    /// All that was written is under way.
    flushed: AtomicBool,
    /// And then nothing was there to be read.
    quiet: AtomicBool,
}

impl SoFar {
    fn is_answered(&self) -> bool {
        self.answered.load(Relaxed) && self.quiet.load(Relaxed)
    }
}

/// Notes when a request is answered.
struct Noted {
    answers: Answers,
    so_far: Arc<SoFar>,
}

impl Service<Request<Incoming>> for Noted {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.so_far.answered.store(false, Relaxed);
        let Answers { router, connection } = self.answers.clone();
        request.extensions_mut().insert(connection);
        let so_far = Arc::clone(&self.so_far);
        Box::pin(async move {
            let answer = TowerToHyperService::new(router).call(request).await;
            so_far.answered.store(true, Relaxed);
            answer
        })
    }
}

/// The TLS session as hyper sees it. Notes when all is written and nothing more is there to be read.
struct Line {
    stream: Box<TlsStream<TcpStream>>,
    early: Bytes,
    so_far: Arc<SoFar>,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let fits = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(fits));
            self.so_far.quiet.store(false, Relaxed);
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let quiet = read.is_pending() && self.so_far.flushed.load(Relaxed);
        self.so_far.quiet.store(quiet, Relaxed);
        read
    }
}

impl Line {
    /// Something is written, and is under way only when it is flushed.
    fn writes(&mut self) -> Pin<&mut TlsStream<TcpStream>> {
        self.so_far.flushed.store(false, Relaxed);
        self.so_far.quiet.store(false, Relaxed);
        Pin::new(&mut self.stream)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.so_far.flushed.store(true, Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whatever comes now is no request.
        self.so_far.quiet.store(false, Relaxed);
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
