//! `POST /v1/exchange`, `GET /v1/fleet` and `GET /v1/top`: from a request to its answer.

mod fleet;
mod refuse;
mod term;
mod top;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::State,
    http::{
        HeaderMap, HeaderValue, Request,
        header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::Response,
    routing::{get, post},
};
use http_body_util::{BodyExt as _, LengthLimitError};
use jiff::Timestamp;
use scope_leader::Claim;
use scope_totals_wire::{
    Bad, FLEET_PATH, Fate, MAX_BODY, PATH, Reason, Reply, Report, TOP_PATH, VERSION, ValuesOf,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{
    census::watch::{self, Shared},
    ledger::Agent,
    metrics::Metrics,
    serve::Seat,
    time::Moment,
    trust::{NotTrusted, Speaker, Tokens},
};
use refuse::Refuse;
pub use term::{Added, Counts, Term};
pub use top::People;

/// Bodies in memory at once, so at most 32 MiB of text.
const BODIES: usize = 64;
/// How long a report waits for its turn; a body takes milliseconds.
const TURN: Duration = Duration::from_secs(2);
/// So much of a body that is not wanted is read, and for so long: a usual report, from nearby.
const UNWANTED: usize = 64 << 10;
const UNWANTED_FOR: Duration = Duration::from_secs(1);
/// A body has to come in this time.
const BODY: Duration = Duration::from_secs(5);

/// Bytes that a total takes as text, without HTTP: some 150, and 30 for each value.
const TOTAL: usize = 512;

/// Where reports are handed in.
pub struct Exchange {
    began: Instant,
    claim: Claim,
    tokens: Tokens,
    people: Option<People>,
    census: Shared,
    term: ArcSwapOption<Term>,
    bodies: Semaphore,
    metrics: Arc<Metrics>,
}

/// The connection that a request came on.
#[derive(Clone)]
pub struct Connection {
    /// Where from.
    pub from: IpAddr,
    /// Its place.
    pub seat: Arc<Seat>,
}

impl Exchange {
    /// Open as long as the claim holds and there is a term. Without `people` they are not answered.
    pub fn new(
        claim: Claim,
        tokens: Tokens,
        people: Option<People>,
        census: Shared,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            claim,
            tokens,
            people,
            census,
            term: ArcSwapOption::empty(),
            bodies: Semaphore::new(BODIES),
            metrics,
        })
    }

    /// The time by this process.
    pub fn now(&self) -> Moment {
        Moment::after_start(self.began.elapsed())
    }

    /// The right to serve.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// What the API server says.
    pub fn census(&self) -> &Shared {
        &self.census
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Opens with a new term, or closes.
    pub fn set_term(&self, term: Option<Arc<Term>>) {
        self.term.store(term);
    }

    /// All that is served on the port of the exchange.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route(PATH, post(handle))
            .route(FLEET_PATH, get(fleet::handle))
            .route(TOP_PATH, get(top::handle))
            .with_state(Arc::clone(self))
    }

    /// The answer to a report, with all that can be wrong on the way, and what became of the report.
    async fn answer(
        &self,
        connection: &Connection,
        request: Request<Body>,
    ) -> Result<(Fate, Response), Refuse> {
        let (head, mut body) = request.into_parts();
        let (term, agent) = match self.admitted(connection, &head.headers).await {
            Ok(admitted) => admitted,
            Err(refuse) => {
                read_to_no_end(&mut body).await;
                return Err(refuse);
            }
        };
        let agent = &agent;
        let body = self.body(&head.headers, body).await?;
        let mut report = read(&body)?;
        drop(body);
        if let Some(bad) = report.remove_bad_health() {
            self.metrics.health_ignored();
            tracing::debug!(node = %agent.node, plugin = %agent.plugin, "what the agent says of itself is ignored: {bad}");
        }
        report.check().map_err(refuse_bad)?;
        let bad = report.remove_bad_answers();
        if let Some(bad) = &bad {
            tracing::debug!(node = %agent.node, plugin = %agent.plugin, "its answers are ignored: {bad}");
        }
        let fate = term
            .take(agent, &report, self.now())
            .map_err(|error| Refuse::new(Reason::Busy, error.to_string()))?;
        if fate == Fate::Taken && !report.top.is_empty() {
            let dropped = term.take_answers(agent, &report, &watch::lock(&self.census), self.now());
            self.metrics.rows_dropped(dropped);
        }
        // The claim may have ended in the meantime, and then another replica's totals are the right ones.
        if !self.serves(&term) {
            return Err(Refuse::standby());
        }
        let write = |reply: &Reply<ValuesOf<'_>>| written(reply, reply.totals.len() * TOTAL);
        let response = term.reply(agent, &report, fate, self.now(), write)?;
        Ok((fate, response))
    }

    /// Who reports, and to which term, if that one may now.
    async fn admitted(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
    ) -> Result<(Arc<Term>, Agent), Refuse> {
        let term = self.open_term()?;
        let speaker = self.speaker(connection.from, headers).await?;
        let Speaker::Agent(agent) = &speaker else {
            let message = "the operator has nothing to report: only agents do";
            return Err(Refuse::new(Reason::Account, message.into()));
        };
        if !self.knows(&term, agent) {
            return Err(Refuse::new(
                Reason::Account,
                format!("there is no node {} in this cluster", agent.node),
            ));
        }
        connection.seat.prove(&speaker);
        if !term.may_speak(&speaker, self.now()) {
            return Err(Refuse::rate(term.pace().period()));
        }
        Ok((term, agent.clone()))
    }

    /// The term, while this replica leads or nobody is known to. In the latter case it listens, and says
    /// nothing unless it [may](Self::serves).
    fn open_term(&self) -> Result<Arc<Term>, Refuse> {
        let term = self.term.load_full().filter(|_| self.is_open());
        term.ok_or_else(Refuse::standby)
    }

    /// Whether a term goes on: its end is seen at once, if another replica leads.
    pub(crate) fn is_open(&self) -> bool {
        self.claim.is_held() || self.claim.has_lapsed()
    }

    /// Whether what this replica says is right. Without the Lease it is as long as the API server is away for
    /// all agents, too: whoever leads otherwise has none of them, and a pod that this one does not know is on no node
    /// of theirs.
    pub(crate) fn serves(&self, term: &Term) -> bool {
        self.claim.is_held() || self.serves_without_lease(term)
    }

    /// Whether it is by the agents' word alone that this replica serves.
    pub(crate) fn serves_without_lease(&self, term: &Term) -> bool {
        self.claim.has_lapsed() && term.server_is_away()
    }

    async fn speaker(&self, from: IpAddr, headers: &HeaderMap) -> Result<Speaker, Refuse> {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .unwrap_or_default();
        let trusted = self
            .tokens
            .speaker(token, from, Timestamp::now(), self.now());
        trusted.await.map_err(|error| {
            let reason = match &error {
                NotTrusted::Refused(refused) if refused.is_account() => Reason::Account,
                NotTrusted::Refused(_) => Reason::Token,
                NotTrusted::Strikes => Reason::Rate,
                NotTrusted::Unreviewed => Reason::Busy,
            };
            Refuse::new(reason, error.to_string())
        })
    }

    /// Whether the agent's node is one of the cluster. One that is new may be in no round yet.
    fn knows(&self, term: &Term, agent: &Agent) -> bool {
        term.knows(&agent.node) || watch::lock(&self.census).nodes.get(&agent.node).is_some()
    }

    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<axum::body::Bytes, Refuse> {
        let size = || {
            let message = format!("a report has at most {MAX_BODY} bytes: report fewer objects");
            Refuse::new(Reason::Size, message)
        };
        let length = headers.get(CONTENT_LENGTH).and_then(length);
        if length.is_some_and(|length| length > MAX_BODY as u64) {
            return Err(size());
        }
        let turn = tokio::time::timeout(TURN, self.bodies.acquire()).await;
        // It is never closed, so only the time can be up.
        let Ok(Ok(_turn)) = turn else {
            let message = "too many reports come at once; send it again later";
            return Err(Refuse::new(Reason::Busy, message.into()));
        };
        match tokio::time::timeout(BODY, to_bytes(body, MAX_BODY)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) => {
                let limit = std::error::Error::source(&error);
                match limit.is_some_and(|limit| limit.is::<LengthLimitError>()) {
                    true => Err(size()),
                    false => Err(Refuse::new(
                        Reason::Syntax,
                        format!("the body did not come as a whole: {error}"),
                    )),
                }
            }
            Err(_) => {
                let message = format!("the body did not come within {} s", BODY.as_secs());
                Err(Refuse::new(Reason::Slow, message))
            }
        }
    }
}

/// Reads what belongs to a request that is refused, within bounds: a client that still writes while the connection
/// is closed may not see the answer.
async fn read_to_no_end(body: &mut Body) {
    let reading = async {
        let mut left = UNWANTED;
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, axum::body::Bytes::len);
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whoever is slower sees the end of the connection.
    let _ = tokio::time::timeout(UNWANTED_FOR, reading).await;
}

fn length(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

/// A report of another version may look different altogether; then its number says more than what does not
/// fit.
fn read(body: &[u8]) -> Result<Report, Refuse> {
    #[derive(Deserialize)]
    struct Announced {
        version: u32,
    }
    serde_json::from_slice::<Report>(body).map_err(|error| {
        match serde_json::from_slice::<Announced>(body) {
            Ok(Announced { version }) if version != VERSION => refuse_bad(Bad::Version(version)),
            _ => Refuse::new(Reason::Syntax, format!("the body is not a report: {error}")),
        }
    })
}

fn refuse_bad(bad: Bad) -> Refuse {
    let reason = match bad {
        Bad::Version(_) => Reason::Version,
        _ => Reason::Value,
    };
    Refuse::new(reason, bad.to_string())
}

async fn handle(
    State(exchange): State<Arc<Exchange>>,
    Extension(connection): Extension<Connection>,
    request: Request<Body>,
) -> Response {
    let began = Instant::now();
    let metrics = &exchange.metrics;
    match exchange.answer(&connection, request).await {
        Ok((fate, response)) => {
            metrics.answered(fate.as_str(), began.elapsed());
            response
        }
        Err(refuse) => {
            metrics.refused(refuse.label());
            refuse.into()
        }
    }
}

/// An answer as JSON, of about so many bytes.
fn written(answer: &impl Serialize, room: usize) -> Result<Response, Refuse> {
    let mut body = Vec::with_capacity(room);
    serde_json::to_writer(&mut body, answer).map_err(|error| {
        let message = format!("the answer cannot be written: {error}");
        Refuse::new(Reason::Busy, message)
    })?;
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
