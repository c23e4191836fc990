//! Clients of the API server, and when it was last heard of.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use kube::client::{ClientBuilder, DynBody};
use kube::{Client, Config};
use tower::util::MapResponseLayer;

use crate::exit;

/// Longer than the API server leaves a watch without a word (it sends a bookmark every minute) and
/// than a watch lasts. Without it a dead connection would be waited for without end.
const WATCH_READ_TIMEOUT: Duration = Duration::from_secs(300);
/// Enough for two packets that are lost. Totals go on without the API server only when all agents have noticed that
/// it is away, and packets to a Service without an endpoint may be lost without a word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A click has to be answered in less than a second; its own deadline is shorter still.
const CLICK_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Neither a kubeconfig nor a pod's service account.
    #[error(
        "cannot find out how to reach the API server ({0}): run in a pod with a service account \
         token, set KUBECONFIG, or use --standalone to run without Kubernetes"
    )]
    NoConfiguration(String),
    /// The configuration cannot be used.
    #[error("cannot use the configuration for the API server: {}", one_line(&.0.to_string()))]
    Unusable(kube::Error),
}

impl KubernetesError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        exit::CONFIG
    }
}

/// What is needed to make clients.
#[derive(Debug, Clone)]
pub struct Access(Config);

impl Access {
    /// With this configuration.
    pub fn new(config: Config) -> Self {
        Access(config)
    }

    /// From `KUBECONFIG` or the pod's service account. Nothing is asked of the API server.
    pub async fn find() -> Result<Self, KubernetesError> {
        match Config::infer().await {
            Ok(config) => Ok(Access(config)),
            Err(e) => Err(KubernetesError::NoConfiguration(one_line(&e.to_string()))),
        }
    }

    /// For the list and the watch of pods. What it hears is noted in `contact`. It does not repeat
    /// requests by itself: the watch does, at its own pace.
    pub fn watch_client(&self, contact: Arc<Contact>) -> Result<Client, KubernetesError> {
        let heard = MapResponseLayer::new(move |response: hyper::Response<Box<DynBody>>| {
            let contact = response.status().is_success().then(|| contact.clone());
            if let Some(contact) = &contact {
                contact.heard();
            }
            response.map(|inner| Heard { inner, contact })
        });
        let builder = ClientBuilder::try_from(self.patient()).map_err(KubernetesError::Unusable)?;
        Ok(builder.with_layer(&heard).build())
    }

    /// For lookups, whose answers are no sign that the watch works.
    pub fn lookup_client(&self) -> Result<Client, KubernetesError> {
        Client::try_from(self.patient()).map_err(KubernetesError::Unusable)
    }

    fn patient(&self) -> Config {
        let mut config = self.0.clone();
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(WATCH_READ_TIMEOUT);
        config.reset_reader_on_write = true;
        config.default_retry = false;
        config
    }

    /// For clicks: one try, soon given up.
    pub fn click_client(&self) -> Result<Client, KubernetesError> {
        let mut config = self.0.clone();
        config.connect_timeout = Some(CLICK_TIMEOUT);
        config.read_timeout = Some(CLICK_TIMEOUT);
        config.write_timeout = Some(CLICK_TIMEOUT);
        config.reset_reader_on_write = true;
        config.default_retry = false;
        Client::try_from(config).map_err(KubernetesError::Unusable)
    }
}

/// Errors of kube may span lines; ours do not.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// When the API server last told anything: an answer, an event, or a bookmark, which the watch
/// otherwise keeps to itself.
#[derive(Debug)]
pub struct Contact {
    epoch: tokio::time::Instant,
    /// Milliseconds after `epoch`, plus one; 0 means never.
    last: AtomicU64,
    /// What was said last broke off, and nothing was heard since.
    broken_off: AtomicBool,
}

impl Default for Contact {
    fn default() -> Self {
        Contact {
            epoch: tokio::time::Instant::now(),
            last: AtomicU64::new(0),
            broken_off: AtomicBool::new(false),
        }
    }
}

impl Contact {
    /// Notes that something was heard now.
    pub fn heard(&self) {
        self.broken_off.store(false, Ordering::Relaxed);
        self.last.store(
            self.epoch.elapsed().as_millis() as u64 + 1,
            Ordering::Relaxed,
        );
    }

    /// Whether the API server was lost in mid-sentence, and not heard of since: seconds before an attempt to reach
    /// it is given up.
    pub fn is_broken_off(&self) -> bool {
        self.broken_off.load(Ordering::Relaxed)
    }

    /// Whether something was heard after that.
    pub fn heard_after(&self, time: Instant) -> bool {
        self.age()
            .is_some_and(|age| age < tokio::time::Instant::from_std(time).elapsed())
    }

    /// How long ago something was heard; `None` if never.
    pub fn age(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.epoch
                .elapsed()
                .saturating_sub(Duration::from_millis(last)),
        )
    }
}

struct Heard<B> {
    inner: B,
    contact: Option<Arc<Contact>>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Heard<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match (&polled, &self.contact) {
            (Poll::Ready(Some(Ok(_))), Some(contact)) => contact.heard(),
            (Poll::Ready(Some(Err(_))), Some(contact)) => {
                contact.broken_off.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    #[tokio::test]
    async fn who_breaks_off_is_away_until_heard_again() {
        let contact = Arc::new(Contact::default());
        let body = |breaks_off: bool| {
            let line = Ok(Frame::data(Bytes::from_static(b"{}")));
            let lost = breaks_off.then(|| Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
            Heard {
                inner: StreamBody::new(stream::iter([line].into_iter().chain(lost))),
                contact: Some(contact.clone()),
            }
        };
        assert!(body(false).collect().await.is_ok());
        assert!(
            !contact.is_broken_off() && contact.age().is_some(),
            "ended as it should"
        );
        assert!(body(true).collect().await.is_err());
        assert!(contact.is_broken_off());
        assert!(body(false).collect().await.is_ok());
        assert!(!contact.is_broken_off(), "it is back");
    }
}
