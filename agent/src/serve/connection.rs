//! The life of one connection: what it is doing, since when, and how long it may.
//!
//! hyper's own header timeout also runs while a kept connection waits for its next request, so the
//! times are kept here: [`Watched`] sees bytes come and answers leave, and [`Activity::deadline`]
//! follows from that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a server allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections. Scope has one per probe; each costs a descriptor and about 10 KiB.
    pub connections: usize,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From the first byte of a request to the last byte of its answer. A slow reader of a report
    /// ends here.
    pub request: Duration,
    /// Without a request. Above any interval at which a probe asks.
    pub idle: Duration,
    /// For answers under way when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 256,
            head: Duration::from_secs(5),
            request: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            drain: Duration::from_secs(2),
        }
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing: no byte of a (further) request came.
    Idle,
    /// The head of a request is coming.
    Head,
    /// A request is being answered.
    Request,
    /// The answer is complete and not all written.
    Flush,
}

/// The phase of a connection and when it began, readable from outside the connection.
#[derive(Debug)]
pub struct Activity {
    epoch: Instant,
    /// Microseconds since `epoch`, times four, plus the phase.
    state: AtomicU64,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        Activity {
            epoch: now,
            state: AtomicU64::new(0),
        }
    }

    /// The phase, and since when it lasts; of a request, since its first byte.
    pub fn get(&self) -> (Phase, Instant) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Request,
            _ => Phase::Flush,
        };
        (phase, self.epoch + Duration::from_micros(state >> 2))
    }

    /// When the connection has to be closed if nothing happens.
    pub fn deadline(&self, limits: &Limits) -> Instant {
        let (phase, since) = self.get();
        since
            + match phase {
                Phase::Idle => limits.idle,
                Phase::Head => limits.head,
                Phase::Request | Phase::Flush => limits.request,
            }
    }

    fn set(&self, phase: Phase, since: Instant) {
        let micros = since.saturating_duration_since(self.epoch).as_micros() as u64;
        self.state
            .store(micros << 2 | phase as u64, Ordering::Relaxed);
    }

    pub(super) fn bytes_came(&self, now: Instant) {
        if self.get().0 == Phase::Idle {
            self.set(Phase::Head, now);
        }
    }

    /// A whole head was read.
    pub(super) fn request_began(&self, now: Instant) {
        match self.get() {
            (Phase::Head, since) => self.set(Phase::Request, since),
            // Its bytes came along with an earlier request.
            _ => self.set(Phase::Request, now),
        }
    }

    fn answer_complete(&self) {
        let (_, since) = self.get();
        self.set(Phase::Flush, since);
    }

    fn all_written(&self, now: Instant) {
        if self.get().0 == Phase::Flush {
            self.set(Phase::Idle, now);
        }
    }
}

/// A stream that notes what comes and goes.
pub(super) struct Watched<T> {
    pub(super) inner: T,
    pub(super) activity: Arc<Activity>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.bytes_came(Instant::now());
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    /// hyper flushes the stream once its own buffer is empty: then all is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.activity.all_written(Instant::now());
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

/// The body of an answer, which hyper drops when it has taken all of it.
pub(super) struct AnswerBody {
    pub(super) inner: axum::body::Body,
    pub(super) activity: Arc<Activity>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.activity.answer_complete();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_from_its_first_byte_and_idleness_from_its_last() {
        let limits = Limits::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let activity = Activity::new(start);
        assert_eq!(activity.deadline(&limits), start + limits.idle);

        activity.bytes_came(at(3));
        activity.bytes_came(at(4));
        assert_eq!(activity.get(), (Phase::Head, at(3)));
        assert_eq!(activity.deadline(&limits), at(3) + limits.head);

        activity.request_began(at(4));
        // A flush before the answer is complete means nothing.
        activity.all_written(at(4));
        assert_eq!(activity.get(), (Phase::Request, at(3)));

        activity.answer_complete();
        // The next request, sent without waiting.
        activity.bytes_came(at(4));
        assert_eq!(activity.get(), (Phase::Flush, at(3)));
        assert_eq!(activity.deadline(&limits), at(3) + limits.request);

        activity.all_written(at(5));
        assert_eq!(activity.get(), (Phase::Idle, at(5)));
        activity.request_began(at(6));
        assert_eq!(activity.get(), (Phase::Request, at(6)));
    }
}
