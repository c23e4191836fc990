//! One exchange with a plugin: request, redirects, head, body, and how far each of them got.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, HOST, HeaderValue, LOCATION, REFERER, USER_AGENT,
};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use hyperlocal::{UnixConnector, UnixStream};
use scope_protocol::{MAX_BODY_BYTES, REQUEST_DEADLINE};
use tokio::time::{Instant, timeout_at};
use tokio_util::io::InspectReader;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;

use super::redirect::{MAX_REQUESTS, Next, Target};
use super::{Answer, Gap, PATIENCE, Reply, chain};

/// What Go reads of the body of a redirect before it goes on.
const MAX_REDIRECT_BODY: usize = 2 << 10;

/// Asks. The error is that of the first connect; all later ones are part of the answer.
pub(super) async fn exchange(socket: &Path, probe_id: &str) -> io::Result<Answer> {
    let began = Instant::now();
    let mut stream = connect(socket).await?;
    let mut target = Target::report(probe_id);
    let mut redirects = Vec::new();
    let reply = loop {
        let (response, connection) = match head(stream, &target, began).await {
            Ok(heard) => heard,
            Err(why) => break Err(why),
        };
        let head_in_time = began.elapsed() < REQUEST_DEADLINE;
        let location = response.headers().get(LOCATION);
        let location = location.map(HeaderValue::as_bytes).unwrap_or_default();
        match target.after(response.status(), location) {
            Next::Final => break Ok(read(response, began, head_in_time).await),
            Next::Stuck(why) => break Err(why),
            Next::Follow(next) => {
                if redirects.len() + 1 == MAX_REQUESTS {
                    break Err(format!(
                        "the probe gives up after {MAX_REQUESTS} requests, each of which was \
                         answered with a redirect; the last leads to {}",
                        next.url()
                    ));
                }
                skip(response, began).await;
                redirects.push(next.url());
                target = next;
            }
        }
        drop(connection);
        stream = match connect(socket).await {
            Ok(stream) => stream,
            Err(e) => break Err(format!("connecting again for {}: {e}", target.url())),
        };
    };
    Ok(Answer {
        reply,
        redirects,
        elapsed: began.elapsed(),
    })
}

/// Connects. hyperlocal has the path in a URL, and would put another in the place of one that is not
/// UTF-8.
pub(super) async fn connect(socket: &Path) -> io::Result<UnixStream> {
    if socket.to_str().is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "its path is not UTF-8",
        ));
    }
    let url = hyperlocal::Uri::new(socket, "/");
    UnixConnector.oneshot(url.into()).await
}

/// The connection of an answer; closed when dropped.
type Connection = AbortOnDropHandle<Result<(), hyper::Error>>;

/// Sends one request, with the bytes that Scope 1.13.2 sends, and waits for the head of its answer.
async fn head(
    stream: UnixStream,
    target: &Target,
    began: Instant,
) -> Result<(Response<Incoming>, Connection), String> {
    let request = request(target)?;
    let came = Arc::new(AtomicUsize::new(0));
    let count = came.clone();
    let counted = InspectReader::new(stream, move |bytes: &[u8]| {
        count.fetch_add(bytes.len(), Ordering::Relaxed);
    });
    // A connection for this request alone, as a probe makes when it is new.
    let handshake = http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(counted))
        .await;
    let (mut sender, connection) = handshake.map_err(|e| chain(&e))?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let answered = timeout_at(began + PATIENCE, sender.send_request(request)).await;
    let came = came.load(Ordering::Relaxed);
    match answered {
        Ok(Ok(response)) => Ok((response, connection)),
        Ok(Err(e)) if e.is_parse() => Err(format!(
            "the {came} bytes that came are no HTTP answer: {}",
            chain(&e)
        )),
        Ok(Err(_)) if came > 0 => Err(format!(
            "the plugin closed the connection after {came} bytes, before the head of its answer \
             ended"
        )),
        Ok(Err(e)) => Err(format!(
            "the plugin closed the connection without a byte: {}",
            chain(&e)
        )),
        Err(_) => Err(match came {
            0 => format!("nothing came within {} s", PATIENCE.as_secs()),
            _ => format!(
                "{came} bytes came within {} s, and not the end of the answer's head",
                PATIENCE.as_secs()
            ),
        }),
    }
}

fn request(target: &Target) -> Result<Request<Empty<Bytes>>, String> {
    let unusable = || format!("a redirect leads to {}, which is no URL", target.url());
    let path: PathAndQuery = target.path.parse().map_err(|_| unusable())?;
    let host = HeaderValue::from_str(&target.host).map_err(|_| unusable())?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static("Go-http-client/1.1"));
    if let Some(referer) = &target.referer {
        let referer = HeaderValue::from_str(referer).map_err(|_| unusable())?;
        headers.insert(REFERER, referer);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    Ok(request)
}

/// Reads the body of a redirect as far as Go does.
async fn skip(response: Response<Incoming>, began: Instant) {
    let mut body = response.into_body();
    let length = body.size_hint().exact().unwrap_or_default();
    if length > MAX_REDIRECT_BODY as u64 {
        return;
    }
    let mut came = 0;
    while came < MAX_REDIRECT_BODY {
        match timeout_at(began + PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => came += frame.data_ref().map_or(0, Bytes::len),
            // Ended, torn or too late: the next request is what tells.
            _ => return,
        }
    }
}

async fn read(response: Response<Incoming>, began: Instant, head_in_time: bool) -> Reply {
    let status = response.status();
    let packed = response
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    let mut body = response.into_body();
    let promised = body.size_hint().exact();
    let mut bytes = BytesMut::new();
    let mut in_time = head_in_time.then_some(0);
    let mut gap = None;
    while bytes.len() <= MAX_BODY_BYTES {
        match timeout_at(began + PATIENCE, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
                if began.elapsed() < REQUEST_DEADLINE {
                    in_time = in_time.map(|_| bytes.len());
                }
            }
            Ok(Some(Err(_))) => {
                gap = Some(Gap::Closed);
                break;
            }
            Err(_) => {
                gap = Some(Gap::Stalled);
                break;
            }
        }
    }
    let came = bytes.len();
    let mut body = bytes.freeze();
    if packed {
        let (unpacked, whole) = unpack(&body);
        body = unpacked;
        if !whole {
            gap = gap.or(Some(Gap::Unpackable));
        }
    }
    Reply {
        status,
        body,
        gap,
        came,
        promised,
        in_time,
    }
}

/// Unpacks as much as the probe would read and a byte; whether that worked.
fn unpack(packed: &[u8]) -> (Bytes, bool) {
    let mut body = Vec::new();
    let limit = MAX_BODY_BYTES as u64 + 1;
    let unpacked = flate2::read::MultiGzDecoder::new(packed)
        .take(limit)
        .read_to_end(&mut body);
    (body.into(), unpacked.is_ok())
}
