//! `GET /v1/top`: people ask what uses most, through the API server's proxy of Services.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::Response,
};
use jiff::Timestamp;
use scope_totals_wire::{Asked, Reason, TOKEN_HEADER, Top, TopOf};
use tokio::sync::Semaphore;

use super::{Connection, Exchange, Refuse, Term, term::SHARE, written};
use crate::{
    census::watch,
    top::{Ask, BadAsk, Guard, NotAllowed, Person, Right, Wanted},
    trust::Speaker,
};

/// People who wait for an answer at once. Each waits for the agents, which takes two intervals.
const ASKING: usize = 32;

/// What it takes to answer people.
pub struct People {
    guard: Guard,
    asking: Semaphore,
}

impl People {
    /// Those whom the guard lets in.
    pub fn new(guard: Guard) -> Self {
        Self {
            guard,
            asking: Semaphore::new(ASKING),
        }
    }
}

/// The parts of a query.
type Parts = Vec<(String, String)>;

impl Exchange {
    async fn top(
        &self,
        connection: &Connection,
        query: Result<Query<Parts>, QueryRejection>,
        headers: &HeaderMap,
    ) -> Result<Top, Refuse> {
        let people = self.people.as_ref().ok_or_else(Refuse::off)?;
        let term = self.open_term()?;
        let Ok(Query(query)) = query else {
            return Err(refuse_ask(&BadAsk::Unreadable));
        };
        let parts = query.iter().map(|(name, value)| (&**name, &**value));
        let ask = Ask::read(parts).map_err(|bad| refuse_ask(&bad))?;
        let Ok(_asking) = people.asking.try_acquire() else {
            let message = "too many people ask at once; try again";
            return Err(Refuse::new(Reason::Busy, message.into()));
        };
        let right = match ask.of {
            TopOf::Nodes => Right::Nodes,
            _ => Right::Pods(ask.namespace.clone()),
        };
        let (wall, now) = (Timestamp::now(), self.now());
        let (token, from) = (token(headers), connection.from);
        // A review of rights is a request to the API server, so that a person has no more of them than questions.
        let admit = |user: &Arc<str>| {
            let speaker = Speaker::User(Arc::clone(user));
            connection.seat.prove(&speaker);
            term.may_ask(&speaker, self.now())
        };
        let guard = &people.guard;
        let allowed = guard.allowed(token, from, &right, wall, now, admit);
        let user = allowed.await.map_err(refuse_user)?;
        let plugin = plugin(&term, &ask)?;
        let top = match ask.of {
            TopOf::Pods | TopOf::Nodes => self.found(&term, plugin, ask, &user).await?,
            _ => {
                let warm = term.warm(&plugin, self.now());
                warm.map_err(refuse_warming)?;
                let census = watch::lock(&self.census);
                term.totalled(&plugin, &ask, &census, self.now())
            }
        };
        // Another replica may lead by now, and then it is the one that agents report to.
        match self.serves(&term) {
            true => Ok(top),
            false => Err(Refuse::standby()),
        }
    }

    /// What agents say of pods or nodes. It is waited for until all have answered that are heard of, or had the time
    /// for it.
    async fn found(
        &self,
        term: &Term,
        plugin: Arc<str>,
        ask: Ask,
        user: &Arc<str>,
    ) -> Result<Top, Refuse> {
        let wanted = Wanted {
            plugin,
            of: match ask.of {
                TopOf::Nodes => Asked::Node,
                _ => Asked::Pods,
            },
            metric: ask.metric,
            namespace: ask.namespace.clone(),
        };
        let person = Person {
            name: user,
            limit: ask.limit,
        };
        let open = term.ask(&wanted, person, self.now());
        let mut open = open.map_err(|busy| {
            let message = busy.to_string();
            Refuse::new(Reason::Busy, message)
        })?;
        self.metrics.questions_displaced(open.displaced);
        let left = self.now().until(open.until);
        // Whoever answered last stays in the answer, and the question is there for as long as the term.
        let _ = tokio::time::timeout(left, open.complete.wait_for(|complete| *complete)).await;
        let found = term.found(&wanted, &ask, &open, Timestamp::now(), self.now());
        found.ok_or_else(|| {
            let message = "the agents were not asked for long enough; ask again";
            Refuse::new(Reason::Busy, message.into())
        })
    }
}

fn token(headers: &HeaderMap) -> &str {
    let value = headers.get(TOKEN_HEADER);
    let value = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.strip_prefix("Bearer ").unwrap_or(value).trim()
}

/// The plugin whose agents measured: the one that is named, or the only one that there is.
fn plugin(term: &Term, ask: &Ask) -> Result<Arc<str>, Refuse> {
    let plugins = term.plugins();
    let names = plugins.join(", ");
    let message = match (&ask.plugin, &*plugins) {
        (_, []) => {
            let message = "no agent has reported yet; try again";
            return Err(Refuse::new(Reason::Busy, message.into()));
        }
        (Some(name), _) => match plugins.iter().find(|plugin| ***plugin == **name) {
            Some(plugin) => return Ok(Arc::clone(plugin)),
            None => format!("no agent of the plugin {name:?} reports: those of {names} do"),
        },
        (None, [only]) => return Ok(Arc::clone(only)),
        (None, _) => format!("agents of several plugins report: say plugin=, one of {names}"),
    };
    Err(Refuse::new(Reason::Syntax, message))
}

fn refuse_ask(bad: &BadAsk) -> Refuse {
    Refuse::new(Reason::Syntax, bad.to_string())
}

fn refuse_user(error: NotAllowed) -> Refuse {
    let reason = match &error {
        NotAllowed::Rate => return Refuse::rate_of_people(SHARE),
        NotAllowed::NoToken | NotAllowed::Token => Reason::Token,
        NotAllowed::Right { .. } => Reason::Account,
        NotAllowed::Strikes => Reason::Rate,
        NotAllowed::Unreviewed => Reason::Busy,
    };
    Refuse::new(reason, error.to_string())
}

fn refuse_warming(warming: scope_totals_wire::Warming) -> Refuse {
    let message = format!(
        "this replica has begun to serve and has heard of {} of {} nodes: there are totals in {} s at most",
        warming.heard,
        warming.nodes,
        warming.left_ms.div_ceil(1000)
    );
    Refuse::new(Reason::Busy, message)
}

pub(super) async fn handle(
    State(exchange): State<Arc<Exchange>>,
    Extension(connection): Extension<Connection>,
    query: Result<Query<Parts>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let top = exchange.top(&connection, query, &headers).await;
    match top.and_then(|top| written(&top, 0)) {
        Ok(response) => {
            exchange.metrics().top_told();
            response
        }
        Err(refuse) => {
            exchange.metrics().refused(refuse.label());
            refuse.into()
        }
    }
}
