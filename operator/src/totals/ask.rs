//! One question to scope-totals: HTTP/1.1 in TLS 1.3, over a connection of its own. It is asked so seldom that a
//! kept connection would bring nothing but the chance that it is a dead one.

use std::{io, sync::Arc, time::Duration};

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
use serde::{Deserialize, de::DeserializeOwned};
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
    let unreachable = |source| AskError::Connect {
        address: reach.address.clone(),
        source,
    };
    let stream = timeout(CONNECT, TcpStream::connect(&reach.address))
        .await
        // A network policy drops what it does not let through.
        .map_err(|_| unreachable(unanswered()))?
        .map_err(unreachable)?;
    let connect = connector(reach).connect(reach.name.clone(), stream);
    let stream = in_time("finish a handshake", HANDSHAKE, connect)
        .await?
        .map_err(|error| AskError::handshake(&reach.address, error))?;
    let cut = |error: hyper::Error| AskError::cut(&reach.address, &error);
    let answer = async {
        let (mut sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(cut)?;
        // Whoever waits for the answer hears of its end.
        let _driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = hyper::Uri::from_static(FLEET_PATH);
        let headers = request.headers_mut();
        headers.insert(HOST, reach.host.clone());
        headers.insert(AUTHORIZATION, reach.token.clone());
        headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
        let response = sender.send_request(request).await.map_err(cut)?;
        read(response, &reach.address).await
    };
    in_time("answer", ANSWER, answer).await?
}

fn unanswered() -> io::Error {
    let words = format!("nothing answers within {} s", CONNECT.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, words)
}

async fn read(response: Response<Incoming>, address: &str) -> Result<Fleet, AskError> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        // Whatever another status comes with, it is a refusal, or a page of something that stands between.
        let page = || AskError::NotAnAnswer(format!("status {}", head.status));
        let body = match whole(body, MAX_REFUSAL, address).await {
            Err(AskError::TooLarge) => return Err(page()),
            body => body?,
        };
        return Err(match serde_json::from_slice::<Refusal>(&body) {
            Ok(Refusal { reason, message }) => AskError::Refused {
                reason,
                message: words(&message),
            },
            Err(_) => page(),
        });
    }
    let body = whole(body, MAX_FLEET, address).await?;
    // Another version may have the rest otherwise.
    let Versioned { version } = decoded(&body)?;
    match version {
        VERSION => decoded(&body),
        other => Err(AskError::Version(other)),
    }
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn decoded<T: DeserializeOwned>(body: &[u8]) -> Result<T, AskError> {
    serde_json::from_slice(body).map_err(|error| AskError::NotAnAnswer(words(&error.to_string())))
}

async fn whole(body: Incoming, most: usize, address: &str) -> Result<Bytes, AskError> {
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(AskError::TooLarge),
        Err(error) => Err(AskError::cut(address, &*error)),
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
