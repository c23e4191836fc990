//! Sending a request, and everything that Go does on the way to its answer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::WireError;
use super::body::Body;
use super::connection::Connection;
use super::gunzip::Gunzip;
use super::head::{self, Head};
use super::request::Request;
use super::watch::Watch;
use crate::decode::{Feed, Refusal, Source, Stop};
use crate::gotext::quote;

/// Idle connections that Go keeps for one host.
const MAX_IDLE: usize = 2;

/// Requests of one chain of redirects.
const MAX_REQUESTS: usize = 10;

/// What Go reads of the body of a redirect in order to keep the connection.
const MAX_REDIRECT_BODY: usize = 2 << 10;

/// Why there is no decoded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The words that the probe shows.
    Words(String),
    /// The probe never gets as far as showing anything.
    Endless(String),
}

/// One request and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The bytes that were sent, of the last request if there were redirects.
    pub request: Vec<u8>,
    /// Whether a kept connection carried it.
    pub kept_connection: bool,
    /// Code and reason of the answer, if one came.
    pub status: Option<String>,
    /// From the start until the head of the answer was there.
    pub head_after: Option<Duration>,
    /// From the start until the answer was decoded or given up.
    pub took: Duration,
    /// The unpacked body, as far as it was read.
    pub body: Vec<u8>,
}

/// Talks to one socket and keeps its connections.
#[derive(Debug)]
pub(crate) struct Client {
    path: PathBuf,
    speed: Option<u64>,
    idle: Vec<(String, Connection)>,
}

impl Client {
    /// `speed` is that of decoding, in bytes per second.
    pub(crate) fn new(path: &Path, speed: Option<u64>) -> Self {
        Self {
            path: path.to_owned(),
            speed,
            idle: Vec::new(),
        }
    }

    /// Sends a request and decodes the body of its answer, all within Scope's time limit.
    pub(crate) fn exchange<T>(
        &mut self,
        request: Request,
        decode: impl FnOnce(&mut Feed<'_>) -> Result<T, Refusal>,
    ) -> (Exchange, Result<T, Failure>) {
        let begun = Instant::now();
        let mut facts = Exchange::default();
        let outcome = self.attempt(request, &mut facts, decode, begun);
        facts.took = begun.elapsed();
        (facts, outcome)
    }

    fn attempt<T>(
        &mut self,
        request: Request,
        facts: &mut Exchange,
        decode: impl FnOnce(&mut Feed<'_>) -> Result<T, Refusal>,
        begun: Instant,
    ) -> Result<T, Failure> {
        let watch = Watch::new(self.speed);
        let (host, head, body) = self.follow(request, watch, facts).map_err(Failure::Words)?;
        facts.head_after = Some(begun.elapsed());
        facts.status = Some(head.status.clone());
        if head.code != 200 {
            self.keep(host, &head, body);
            let status = head.status;
            return Err(Failure::Words(format!(
                "plugin returned non-200 status code: {status}"
            )));
        }
        let mut unpacked = Unpacked {
            content: Content::new(body, head.gzip),
            seen: Vec::new(),
        };
        let mut feed = Feed::new(&mut unpacked);
        let decoded = decode(&mut feed);
        let drained = feed.is_drained();
        facts.body = unpacked.seen;
        match unpacked.content {
            // Go reads packed bodies in blocks, so it has seen the end before the decoder has.
            Content::Packed(gunzip) => self.keep(host, &head, gunzip.body),
            Content::Plain(body) if drained => self.keep(host, &head, body),
            Content::Plain(_) => {}
        }
        decoded.map_err(|refusal| match refusal {
            Refusal::Endless => Failure::Endless(refusal.to_string()),
            other => Failure::Words(other.to_string()),
        })
    }

    /// Sends the request and those that redirects lead to; gives the final answer.
    fn follow(
        &mut self,
        first: Request,
        mut watch: Watch,
        facts: &mut Exchange,
    ) -> Result<(String, Head, Body), String> {
        let operation = if first.method == "POST" {
            "Post"
        } else {
            "Get"
        };
        let describe = |url: &str, words: &str| format!("{operation} {}: {words}", quote(url));
        let mut request = first;
        for sent in 1.. {
            let answer = self.send(&request, watch, facts);
            let (head, mut body) = answer.map_err(|error| match error {
                WireError::Deadline => "context deadline exceeded".to_owned(),
                WireError::NoAnswer(words)
                | WireError::NothingWritten(words)
                | WireError::Text(words) => describe(&request.url(), &words),
            })?;
            let redirect = match head.code {
                301..=303 => true,
                307 | 308 => !head.location.is_empty(),
                _ => false,
            };
            if !redirect {
                return Ok((request.host, head, body));
            }
            if !head.location.is_empty() {
                read_briefly(&mut body);
            }
            watch = body.watch.clone();
            self.keep(request.host.clone(), &head, body);
            if head.location.is_empty() {
                let words = format!("{} response missing Location header", head.code);
                return Err(describe(&request.url(), &words));
            }
            if sent == MAX_REQUESTS {
                let words = format!("stopped after {MAX_REQUESTS} redirects");
                return Err(describe(&head.location, &words));
            }
            let next = request.redirected(head.code, &head.location);
            request = next.map_err(|words| describe(&head.location, &words))?;
        }
        unreachable!("the number of redirects is limited")
    }

    /// Sends one request, again if a kept connection turns out to be dead.
    fn send(
        &mut self,
        request: &Request,
        mut watch: Watch,
        facts: &mut Exchange,
    ) -> Result<(Head, Body), WireError> {
        facts.request = request.bytes();
        loop {
            let mut connection = match self.idle_connection(&request.host) {
                Some(connection) => connection,
                None => Connection::dial(&self.path, &mut watch)?,
            };
            facts.kept_connection = connection.kept;
            let answer = connection
                .send(&facts.request, &mut watch)
                .and_then(|()| head::read(&mut connection, &mut watch));
            match answer {
                Ok(head) => {
                    let body = Body::new(connection, watch, head.framing);
                    return Ok((head, body));
                }
                Err(WireError::NothingWritten(_)) if connection.kept => {}
                // A request with effects is not sent twice.
                Err(WireError::NoAnswer(_)) if connection.kept && request.method == "GET" => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn idle_connection(&mut self, host: &str) -> Option<Connection> {
        while let Some(at) = self.idle.iter().rposition(|(known, _)| known == host) {
            let (_, mut connection) = self.idle.remove(at);
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps the connection if nothing of the answer is left on it.
    fn keep(&mut self, host: String, head: &Head, mut body: Body) {
        if head.closes || head.code < 200 || !body.is_over() {
            return;
        }
        body.connection.kept = true;
        self.idle.push((host, body.connection));
        if self.idle.len() > MAX_IDLE {
            self.idle.remove(0);
        }
    }
}

/// Reads the body of a redirect up to the length that Go is willing to read.
fn read_briefly(body: &mut Body) {
    let mut block = Vec::new();
    while block.len() <= MAX_REDIRECT_BODY {
        if !matches!(body.next_block(&mut block), Ok(true)) {
            return;
        }
    }
}

enum Content {
    Plain(Body),
    Packed(Gunzip),
}

impl Content {
    fn new(body: Body, gzip: bool) -> Self {
        if gzip {
            Content::Packed(Gunzip::new(body))
        } else {
            Content::Plain(body)
        }
    }
}

/// A body without its packing, which remembers what went through.
struct Unpacked {
    content: Content,
    seen: Vec<u8>,
}

impl Source for Unpacked {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Stop> {
        let more = match &mut self.content {
            Content::Plain(body) => body.next_block(block)?,
            Content::Packed(gunzip) => gunzip.next_block(block)?,
        };
        self.seen.extend_from_slice(block);
        Ok(more)
    }

    fn decoded(&mut self, bytes: usize) {
        match &mut self.content {
            Content::Plain(body) => body.decoded(bytes),
            Content::Packed(gunzip) => gunzip.decoded(bytes),
        }
    }
}
