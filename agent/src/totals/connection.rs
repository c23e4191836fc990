//! The kept connection to the service: HTTP/1.1 in TLS 1.3.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use scope_totals_wire::{MAX_REPLY, PATH, Refusal, Reply};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::credentials::Peer;
use super::error::{ExchangeError, words};

/// For a name to be looked up and the connection to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// The service gives a handshake as long.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A report waits for its turn for 2 s at most, and for its body for 5 s.
const ANSWER: Duration = Duration::from_secs(10);
/// A refusal is a sentence.
const MAX_REFUSAL: usize = 16 << 10;
/// What hyper keeps of a connection's bytes.
const BUFFER: usize = 16 << 10;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream to whoever is at an address, once there is one.
pub type Dialled = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// A stream over TCP to this host and port.
pub fn dial(address: String) -> Dialled {
    Box::pin(async move {
        let stream = TcpStream::connect(address).await?;
        // Whatever this does not do for us, the exchange works without.
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream) as Box<dyn Stream>)
    })
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// With whom.
    pub(super) peer: Peer,
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    _driver: AbortOnDropHandle<()>,
}

/// An answer, and whether the connection can be used again.
#[derive(Debug)]
pub(super) struct Answer {
    /// The reply.
    pub(super) reply: Reply,
    /// Whether the service closes the connection.
    pub(super) closes: bool,
}

impl Connection {
    /// Connects over this stream.
    pub(super) async fn open(peer: Peer, stream: Dialled) -> Result<Self, ExchangeError> {
        let tls = connector(peer.roots()?);
        let address = || peer.address.clone();
        let stream = in_time("accept a connection", CONNECT, stream).await?;
        let stream = stream.map_err(|source| ExchangeError::Connect {
            address: address(),
            source,
        })?;
        let handshake = |source| ExchangeError::Handshake {
            address: address(),
            source,
        };
        let name =
            ServerName::try_from(peer.name.clone()).map_err(|e| handshake(io::Error::other(e)))?;
        let connect = tls.connect(name, stream);
        let stream = in_time("finish a handshake", HANDSHAKE, connect).await?;
        let stream = TokioIo::new(stream.map_err(handshake)?);
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(stream)
            .await?;
        let host = HeaderValue::try_from(&peer.name).map_err(|e| handshake(io::Error::other(e)))?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer hears of it.
            if let Err(error) = driver.await {
                tracing::debug!(%error, "the connection to scope-totals ended");
            }
        });
        Ok(Connection {
            sender,
            host,
            _driver: AbortOnDropHandle::new(driver),
            peer,
        })
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a report and waits for the answer.
    pub(super) async fn exchange(
        &mut self,
        token: &HeaderValue,
        report: Bytes,
    ) -> Result<Answer, ExchangeError> {
        let mut request = Request::new(Full::new(report));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = hyper::Uri::from_static(PATH);
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(AUTHORIZATION, token.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = async {
            self.sender.ready().await?;
            answer(self.sender.send_request(request).await?).await
        };
        in_time("answer", ANSWER, answer).await?
    }
}

async fn answer(response: Response<Incoming>) -> Result<Answer, ExchangeError> {
    let (head, body) = response.into_parts();
    let closes = head
        .headers
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    if head.status != StatusCode::OK {
        return Err(refused(head.status, &head.headers, body).await);
    }
    let body = whole(body, MAX_REPLY).await?;
    let reply = serde_json::from_slice(&body)
        .map_err(|error| ExchangeError::NotAReply(words(&error.to_string())))?;
    Ok(Answer { reply, closes })
}

/// Whatever another status comes with, it is a refusal.
async fn refused(status: StatusCode, headers: &HeaderMap, body: Incoming) -> ExchangeError {
    let body = match whole(body, MAX_REFUSAL).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    match serde_json::from_slice::<Refusal>(&body) {
        Ok(Refusal { reason, message }) => ExchangeError::Refused {
            reason,
            message: words(&message),
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs),
        },
        Err(_) => ExchangeError::NotAReply(format!("status {status}")),
    }
}

async fn whole(body: Incoming, most: usize) -> Result<Bytes, ExchangeError> {
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ExchangeError::TooLarge),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => ExchangeError::Cut(*error),
            Err(error) => ExchangeError::NotAReply(error.to_string()),
        }),
    }
}

async fn in_time<T>(
    what: &'static str,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, ExchangeError> {
    timeout(limit, work)
        .await
        .map_err(|_| ExchangeError::Late { what, limit })
}

/// For one service that is spoken to for hours: no session is worth remembering.
fn connector(roots: Arc<RootCertStore>) -> TlsConnector {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("ring speaks TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}
