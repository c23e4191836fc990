//! Who speaks: the API server reviews a token, and what it says is kept until the token expires.

mod judge;
mod known;
mod strikes;
mod token;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, Client, api::PostParams};
use scope_totals_wire::AUDIENCE;
use tokio::sync::{Semaphore, watch};

use crate::{metrics::Metrics, time::Moment};
pub use judge::{Accounts, Refused, Speaker};
use known::{Known, Name};
pub(crate) use strikes::Strikes;
pub(crate) use token::{is_for_us, is_over};

/// Reviews at once. After a hand-over all agents come with tokens that this replica has not seen.
const REVIEWS: usize = 16;
/// A review that takes longer has failed. So long a request waits for one, too.
const REVIEW: Duration = Duration::from_secs(4);
/// Reviews that wait for their turn: every agent of a large cluster.
const WAITING: usize = 8192;

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NotTrusted {
    /// The token or its account is no good.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Too many bad tokens from one address.
    #[error("this address has sent too many tokens that are not valid; try again in a minute")]
    Strikes,
    /// Not known now.
    #[error("the API server cannot review tokens now; try again")]
    Unreviewed,
}

/// Reviews tokens.
#[derive(Clone)]
pub struct Tokens(Arc<Reviewer>);

struct Reviewer {
    client: Client,
    accounts: Accounts,
    turns: Semaphore,
    memory: Mutex<Memory>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Memory {
    known: Known,
    strikes: Strikes,
    waiting: HashMap<Name, Verdict>,
}

/// What a review comes to, when it is over; `None` in it if nothing was found out.
type Verdict = watch::Receiver<Option<Option<Result<Speaker, Refused>>>>;

/// A token to be reviewed.
struct Asked {
    name: Name,
    token: String,
    from: IpAddr,
    holds: Duration,
    now: Moment,
}

impl Tokens {
    /// For these accounts.
    pub fn new(client: Client, accounts: Accounts, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Reviewer {
            client,
            accounts,
            turns: Semaphore::new(REVIEWS),
            memory: Mutex::default(),
            metrics,
        }))
    }

    /// Whose token it is. `wall` and `now` are the same moment on two clocks.
    pub async fn speaker(
        &self,
        token: &str,
        from: IpAddr,
        wall: Timestamp,
        now: Moment,
    ) -> Result<Speaker, NotTrusted> {
        let name = known::name(token);
        if let Some(verdict) = self.0.memory().known.get(&name, now) {
            return verdict.map_err(NotTrusted::Refused);
        }
        // What cannot be good is not worth a question.
        let claims = token::claims(token, wall)?;
        let mut verdict = self.verdict(Asked {
            name,
            token: token.to_owned(),
            from,
            holds: claims.left(wall),
            now,
        })?;
        let verdict = tokio::time::timeout(REVIEW, verdict.wait_for(Option::is_some)).await;
        match verdict {
            Ok(Ok(verdict)) => match &*verdict {
                Some(Some(verdict)) => Ok(verdict.clone()?),
                _ => Err(NotTrusted::Unreviewed),
            },
            _ => Err(NotTrusted::Unreviewed),
        }
    }

    /// The review of a token. It goes on when nobody waits any more: where reviews are slow, each that is given
    /// up would be begun again, and no agent would ever get in.
    fn verdict(&self, asked: Asked) -> Result<Verdict, NotTrusted> {
        let mut memory = self.0.memory();
        if let Some(verdict) = memory.waiting.get(&asked.name)
            // A review that ended in a panic is begun again.
            && verdict.has_changed().is_ok()
        {
            return Ok(verdict.clone());
        }
        if !memory.strikes.may_ask(asked.from, asked.now) {
            return Err(NotTrusted::Strikes);
        }
        if memory.waiting.len() >= WAITING {
            return Err(NotTrusted::Unreviewed);
        }
        let (tell, verdict) = watch::channel(None);
        memory.waiting.insert(asked.name, verdict.clone());
        let reviewer = Arc::clone(&self.0);
        tokio::spawn(async move {
            let verdict = reviewer.review(&asked.token).await;
            let mut memory = reviewer.memory();
            if let Some(verdict) = &verdict {
                if verdict.is_err() {
                    memory.strikes.strike(asked.from, asked.now);
                }
                memory
                    .known
                    .keep(asked.name, verdict, asked.holds, asked.now);
            }
            memory.waiting.remove(&asked.name);
            tell.send_replace(Some(verdict));
        });
        Ok(verdict)
    }
}

impl Reviewer {
    /// What the API server says; nothing if it says nothing.
    async fn review(&self, token: &str) -> Option<Result<Speaker, Refused>> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.into()]),
                token: Some(token.into()),
            },
            ..TokenReview::default()
        };
        // It is never closed.
        let _turn = self.turns.acquire().await.ok()?;
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let create = reviews.create(&params, &review);
        let status = match tokio::time::timeout(REVIEW, create).await {
            Ok(Ok(review)) => review.status,
            Ok(Err(error)) => {
                tracing::debug!("a token could not be reviewed: {error}");
                None
            }
            Err(_) => None,
        };
        let Some(status) = status else {
            self.metrics.reviewed("failed");
            return None;
        };
        let verdict = judge::speaker(&status, &self.accounts);
        self.metrics.reviewed(match &verdict {
            Ok(Speaker::Agent(_)) => "agent",
            Ok(Speaker::Operator) => "operator",
            // Tokens in this header are of no people.
            Ok(Speaker::User(_)) => "user",
            Err(Refused::Account(_)) => "other_account",
            Err(_) => "invalid",
        });
        Some(verdict)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
