//! One question to scope-totals: HTTP/1.1 in TLS 1.3, over a connection of its own. It is asked so seldom that a
//! kept connection would bring nothing but the chance that it is a dead one.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{AUTHORIZATION, CONNECTION, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, client::Resumption, crypto::ring, version::TLS13};
use scope_totals_wire::{FLEET_PATH, Fleet, MAX_FLEET, Refusal, VERSION};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{
    error::{AskError, words},
    reach::Reach,
};

/// For a name to be looked up and the connection to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// The service gives a handshake as long.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// It may have a token to review first, for which it gives the API server some seconds.
const ANSWER: Duration = Duration::from_secs(10);
/// A refusal is a sentence.
const MAX_REFUSAL: usize = 16 << 10;
/// What hyper keeps of a connection's bytes.
const BUFFER: usize = 16 << 10;

/// How all agents are.
pub(super) async fn fleet(reach: &Reach) -> Result<Fleet, AskError> {
    let address = || reach.address.clone();
    let stream = in_time(
        "accept a connection",
        CONNECT,
        TcpStream::connect(&reach.address),
    )
    .await?
    .map_err(|source| AskError::Connect {
        address: address(),
        source,
    })?;
    let connect = connector(reach).connect(reach.name.clone(), stream);
    let stream = in_time("finish a handshake", HANDSHAKE, connect)
        .await?
        .map_err(|source| AskError::Handshake {
            address: address(),
            source,
        })?;
    let answer = async {
        let (mut sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await?;
        // Whoever waits for the answer hears of its end.
        let _driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = hyper::Uri::from_static(FLEET_PATH);
        let headers = request.headers_mut();
        headers.insert(HOST, reach.host.clone());
        headers.insert(AUTHORIZATION, reach.token.clone());
        headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
        read(sender.send_request(request).await?).await
    };
    in_time("answer", ANSWER, answer).await?
}

async fn read(response: Response<Incoming>) -> Result<Fleet, AskError> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        let body = whole(body, MAX_REFUSAL).await?;
        // Whatever another status comes with, it is a refusal.
        return Err(match serde_json::from_slice::<Refusal>(&body) {
            Ok(Refusal { reason, message }) => AskError::Refused {
                reason,
                message: words(&message),
            },
            Err(_) => AskError::NotAnAnswer(format!("status {}", head.status)),
        });
    }
    let body = whole(body, MAX_FLEET).await?;
    let fleet: Fleet = serde_json::from_slice(&body)
        .map_err(|error| AskError::NotAnAnswer(words(&error.to_string())))?;
    match fleet.version {
        VERSION => Ok(fleet),
        other => Err(AskError::Version(other)),
    }
}

async fn whole(body: Incoming, most: usize) -> Result<Bytes, AskError> {
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(AskError::TooLarge),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => AskError::Cut(*error),
            Err(error) => AskError::NotAnAnswer(words(&error.to_string())),
        }),
    }
}

async fn in_time<T>(
    what: &'static str,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, AskError> {
    timeout(limit, work)
        .await
        .map_err(|_| AskError::Late { what, limit })
}

fn connector(reach: &Reach) -> TlsConnector {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("ring speaks TLS 1.3")
        .with_root_certificates(reach.roots.clone())
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}
