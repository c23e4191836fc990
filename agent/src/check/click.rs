//! A click on a control of a plugin, as Scope's probe passes it on.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use scope_protocol::MAX_BODY_BYTES;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{AskError, CHECKER, PATIENCE, chain, connect_error, exchange, must_be_socket};

/// What a plugin answered to a click.
#[derive(Debug, Clone)]
pub struct Clicked {
    /// The status; Scope takes any but 200 for a failure.
    pub status: StatusCode,
    /// The body as it came.
    pub body: Bytes,
    /// From before the connection was made to the last byte.
    pub elapsed: Duration,
}

impl Clicked {
    /// Whether the person who clicked would be shown an error.
    pub fn is_refused(&self) -> bool {
        let error = || serde_json::from_slice::<Value>(&self.body).map(|v| v["error"].clone());
        self.status != StatusCode::OK
            || error().map_or(true, |error| error.as_str().is_some_and(|e| !e.is_empty()))
    }
}

/// Clicks: `Err` inside is a plugin that took the click and did not answer it.
pub async fn click(
    socket: &Path,
    control: &str,
    node_id: &str,
    args: &BTreeMap<String, String>,
) -> Result<Result<Clicked, String>, AskError> {
    must_be_socket(socket)?;
    let began = Instant::now();
    let stream = exchange::connect(socket)
        .await
        .map_err(|e| connect_error(socket, e))?;
    let body = json!({
        "AppID": "",
        "NodeID": node_id,
        "Control": control,
        // The page sends none, which Go writes as null.
        "ControlArgs": (!args.is_empty()).then_some(args),
    });
    Ok(match request(body.to_string()) {
        Ok(request) => send(stream, request, began).await,
        Err(why) => Err(why),
    })
}

fn request(body: String) -> Result<Request<Full<Bytes>>, String> {
    let target = format!("/control?api_version=1&probe_id={CHECKER}");
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.parse::<Uri>().map_err(|e| e.to_string())?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("plugin"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Go-http-client/1.1"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(request)
}

async fn send(
    stream: hyperlocal::UnixStream,
    request: Request<Full<Bytes>>,
    began: Instant,
) -> Result<Clicked, String> {
    let late = || format!("no whole answer came within {} s", PATIENCE.as_secs());
    let handshake = http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = handshake.map_err(|e| chain(&e))?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let answered = timeout_at(began + PATIENCE, sender.send_request(request)).await;
    let response = answered.map_err(|_| late())?.map_err(|e| chain(&e))?;
    let status = response.status();
    let mut incoming = response.into_body();
    let mut body = BytesMut::new();
    while body.len() <= MAX_BODY_BYTES {
        let frame = timeout_at(began + PATIENCE, incoming.frame()).await;
        match frame.map_err(|_| late())? {
            None => break,
            Some(frame) => {
                if let Ok(data) = frame.map_err(|e| chain(&e))?.into_data() {
                    body.extend_from_slice(&data);
                }
            }
        }
    }
    Ok(Clicked {
        status,
        body: body.freeze(),
        elapsed: began.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scope_shows_as_an_error_is_refused() {
        for (status, body, refused) in [
            (200, "{}", false),
            (200, r#"{"removedNode":"a;<pod>"}"#, false),
            (200, r#"{"error":""}"#, false),
            (200, r#"{"error":"no"}"#, true),
            (200, "no json", true),
            (404, "{}", true),
        ] {
            let clicked = Clicked {
                status: StatusCode::from_u16(status).expect("a status"),
                body: Bytes::from_static(body.as_bytes()),
                elapsed: Duration::ZERO,
            };
            assert_eq!(clicked.is_refused(), refused, "{status} {body}");
        }
    }
}
