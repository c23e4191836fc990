//! Asking a plugin as Scope's probe does, and judging its answer by Scope's rules.

use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;
use scope_protocol::conformance::{self, Verdict};
use scope_protocol::{API_VERSION, MAX_BODY_BYTES, REQUEST_DEADLINE};

use crate::exit;

/// The ID under which the command `check` asks: of the form of a probe's, since a plugin may insist on
/// it. An agent does not take it for a probe.
pub const CHECKER: &str = "5c09ec4ec4";

/// How long an answer is waited for. The probe gives up after half a second; a check that waits
/// longer can say how slow the plugin is instead of just that it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a plugin could not even be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing there.
    #[error("{path} does not exist: is the plugin running, and is this where its socket is?")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Something else there.
    #[error("{path} is not a socket; Scope looks at sockets only")]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// Left behind.
    #[error(
        "nobody serves {path}: the plugin ended without removing its socket. Start it again, or \
         remove the file"
    )]
    Refused {
        /// The path.
        path: PathBuf,
    },
    /// No rights.
    #[error("{path} may not be opened: {source}. Scope's probe runs as root; try that")]
    Denied {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot connect to {path}: {said}")]
    Unreachable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        said: String,
    },
}

impl AskError {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            AskError::Missing { .. } | AskError::NoSocket { .. } => exit::NO_INPUT,
            AskError::Denied { .. } => exit::NO_PERMISSION,
            AskError::Refused { .. } | AskError::Unreachable { .. } => exit::UNAVAILABLE,
        }
    }
}

/// What a plugin did when asked for a report.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The answer, or why there is none.
    pub reply: Result<Reply, String>,
    /// From before the connection was made to the last byte, or to the end of patience.
    pub elapsed: Duration,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, unpacked; of a longer one as much as the probe reads and a byte.
    pub body: Bytes,
    /// Whether the body arrived as its head promised.
    pub whole: bool,
}

impl Answer {
    /// The length of the body; 0 without one.
    pub fn body_length(&self) -> usize {
        self.reply.as_ref().map_or(0, |reply| reply.body.len())
    }

    /// Whether it is a whole answer with the right status, in the probe's time.
    pub fn arrived_in_time(&self) -> bool {
        self.elapsed < REQUEST_DEADLINE
            && matches!(
                &self.reply,
                Ok(Reply {
                    status: StatusCode::OK,
                    whole: true,
                    ..
                })
            )
    }
}

/// Asks the plugin behind this socket for a report, with the bytes that Scope 1.13.2 sends.
pub async fn ask(socket: &Path, probe_id: &str) -> Result<Answer, AskError> {
    match std::fs::metadata(socket) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => {
            return Err(AskError::NoSocket {
                path: socket.to_owned(),
            });
        }
        Err(e) => return Err(connect_error(socket, e)),
    }
    let began = Instant::now();
    let asked = tokio::time::timeout(PATIENCE, exchange(socket, probe_id)).await;
    let reply = match asked {
        Err(_) => Err(format!("nothing came within {} s", PATIENCE.as_secs())),
        Ok(Err(e)) if e.is_connect() => {
            return Err(match io_cause(&e) {
                Some(cause) => {
                    connect_error(socket, io::Error::new(cause.kind(), cause.to_string()))
                }
                None => AskError::Unreachable {
                    path: socket.to_owned(),
                    said: chain(&e),
                },
            });
        }
        Ok(Err(e)) => Err(chain(&e)),
        Ok(Ok(reply)) => Ok(reply),
    };
    Ok(Answer {
        reply,
        elapsed: began.elapsed(),
    })
}

async fn exchange(
    socket: &Path,
    probe_id: &str,
) -> Result<Reply, hyper_util::client::legacy::Error> {
    let path = format!("/report?api_version={API_VERSION}&probe_id={probe_id}");
    let uri: hyper::Uri = hyperlocal::Uri::new(socket, &path).into();
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("plugin"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Go-http-client/1.1"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    // A connection for this request alone, as a probe makes when it is new.
    let client: Client<UnixConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .http1_title_case_headers(true)
        .build(UnixConnector);
    Ok(read(client.request(request).await?).await)
}

async fn read(response: Response<Incoming>) -> Reply {
    let status = response.status();
    let packed = response
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    let mut body = response.into_body();
    let mut bytes = BytesMut::new();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MAX_BODY_BYTES {
            break;
        }
    }
    if packed {
        let (body, unpacks) = unpack(&bytes);
        return Reply {
            status,
            body,
            whole: whole && unpacks,
        };
    }
    Reply {
        status,
        body: bytes.freeze(),
        whole,
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

/// What Scope makes of the answer of the plugin at this socket.
pub fn judge(socket: &Path, answer: &Answer) -> Verdict {
    let socket = socket.to_string_lossy();
    match &answer.reply {
        Err(why) => conformance::check_unanswered(&socket, why, answer.elapsed),
        Ok(reply) => conformance::check_report(
            &socket,
            &conformance::Answer {
                status: reply.status.as_u16(),
                reason: reply.status.canonical_reason().unwrap_or_default(),
                body: &reply.body,
                whole: reply.whole,
                elapsed: answer.elapsed,
            },
        ),
    }
}

fn connect_error(path: &Path, error: io::Error) -> AskError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => AskError::Missing { path },
        io::ErrorKind::ConnectionRefused => AskError::Refused { path },
        io::ErrorKind::PermissionDenied => AskError::Denied {
            path,
            source: error,
        },
        _ => AskError::Unreachable {
            path,
            said: error.to_string(),
        },
    }
}

fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        cause = error.source();
    }
    None
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(": ");
        said.push_str(&error.to_string());
        cause = error.source();
    }
    said
}
