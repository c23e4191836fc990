//! Who speaks: the API server reviews a token, and what it says is kept until the token expires.

mod judge;
mod known;
mod strikes;
mod token;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, Client, api::PostParams};
use scope_totals_wire::AUDIENCE;
use tokio::sync::Semaphore;

use crate::{ledger::Agent, metrics::Metrics, time::Moment};
pub use judge::Refused;
use known::Known;
use strikes::Strikes;

/// Reviews at once. After a hand-over all agents come with tokens that this replica has not seen.
const REVIEWS: usize = 16;
/// A review that takes longer has failed, the wait for its turn included.
const REVIEW: Duration = Duration::from_secs(4);

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
pub struct Tokens {
    client: Client,
    plugins_namespace: String,
    turns: Semaphore,
    memory: Mutex<Memory>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Memory {
    known: Known,
    strikes: Strikes,
}

impl Tokens {
    /// For agents in this namespace.
    pub fn new(client: Client, plugins_namespace: &str, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            plugins_namespace: plugins_namespace.to_owned(),
            turns: Semaphore::new(REVIEWS),
            memory: Mutex::default(),
            metrics,
        }
    }

    /// Whose token it is. `wall` and `now` are the same moment on two clocks.
    pub async fn agent(
        &self,
        token: &str,
        from: IpAddr,
        wall: Timestamp,
        now: Moment,
    ) -> Result<Agent, NotTrusted> {
        let name = known::name(token);
        if let Some(verdict) = self.memory().known.get(&name, now) {
            return verdict.map_err(NotTrusted::Refused);
        }
        // What cannot be good is not worth a question.
        let claims = token::claims(token, wall)?;
        if !self.memory().strikes.may_ask(from, now) {
            return Err(NotTrusted::Strikes);
        }
        let verdict = self.review(token).await?;
        let mut memory = self.memory();
        if verdict.is_err() {
            memory.strikes.strike(from, now);
        }
        memory.known.keep(name, &verdict, claims.left(wall), now);
        Ok(verdict?)
    }

    async fn review(&self, token: &str) -> Result<Result<Agent, Refused>, NotTrusted> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.into()]),
                token: Some(token.into()),
            },
            ..TokenReview::default()
        };
        let asked = async {
            // It is never closed.
            let _turn = self.turns.acquire().await.ok()?;
            let reviews: Api<TokenReview> = Api::all(self.client.clone());
            match reviews.create(&PostParams::default(), &review).await {
                Ok(review) => review.status,
                Err(error) => {
                    tracing::debug!("a token could not be reviewed: {error}");
                    None
                }
            }
        };
        let Ok(Some(status)) = tokio::time::timeout(REVIEW, asked).await else {
            self.metrics.reviewed("failed");
            return Err(NotTrusted::Unreviewed);
        };
        let verdict = judge::agent(&status, &self.plugins_namespace);
        self.metrics.reviewed(match &verdict {
            Ok(_) => "agent",
            Err(Refused::Account(_)) => "other_account",
            Err(_) => "invalid",
        });
        Ok(verdict)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
