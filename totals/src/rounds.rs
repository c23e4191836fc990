//! Terms and their rounds: the exchange is open while this replica leads and knows the cluster.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    census::{Holdings, watch},
    exchange::{Exchange, Term},
};

/// In its first three intervals a term adds up so often, so that totals are back soon after a hand-over; and so soon after
/// pods came or went, so that they are right again.
const SOON: Duration = Duration::from_secs(1);
/// But no more than a tenth of the time: in a large cluster all agents come back just then.
const SHARE: u32 = 10;
/// And where pods came or went only if a round takes no longer, which is then a hundredth of a CPU: in a large cluster
/// pods come and go all the time.
const CHEAP: Duration = Duration::from_millis(10);
/// Until the API server has told everything, it is looked for so often.
const FILL: Duration = Duration::from_millis(100);

/// The holdings, made anew only when something has changed.
#[derive(Default)]
struct Looked {
    /// Of which edition of the census they are, and when they were made.
    of: Option<(u64, Timestamp)>,
    holdings: Arc<Holdings>,
}

impl Looked {
    /// Whether they are those of this edition at this time: pods that should have gone stop counting by time alone. A
    /// clock that was ahead may have made some of them stop too early.
    fn are_right(&self, edition: u64, wall: Timestamp) -> bool {
        let until = self.holdings.until.unwrap_or(Timestamp::MAX);
        let right = |(of, at)| of == edition && (at..=until).contains(&wall);
        self.of.is_some_and(right)
    }
}

/// Runs one term after the other.
pub async fn run(exchange: Arc<Exchange>) {
    let mut terms = exchange.claim().terms();
    let mut looked = Looked::default();
    loop {
        // A change during a term is seen at once by this.
        while !exchange.claim().is_held() {
            if terms.changed().await.is_err() {
                return;
            }
        }
        while !watch::lock(exchange.census()).is_current() {
            tokio::time::sleep(FILL).await;
        }
        let number = exchange.claim().term();
        let term = Arc::new(Term::new(
            random(),
            look(&exchange, &mut looked).await,
            Timestamp::now(),
            exchange.now(),
        ));
        exchange.set_term(Some(Arc::clone(&term)));
        tracing::info!(number, "this replica serves totals");
        let mut told = false;
        while exchange.is_open() && exchange.claim().term() == number {
            let began = Instant::now();
            add_up(&exchange, &term, &mut looked).await;
            let (ended, took) = (Instant::now(), began.elapsed());
            let is_cheap = took <= CHEAP;
            told |= tell_if_alone(&exchange, &term, told);
            let mut due = match term.is_young(exchange.now()) {
                true => ended + SOON.max(took * SHARE),
                false => ended + term.pace().period(),
            };
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => break,
                    () = term.changed(), if is_cheap => due = due.min(ended + SOON),
                    () = term.woken() => break,
                    _ = terms.changed() => break,
                }
            }
        }
        exchange.set_term(None);
        exchange.metrics().serves_without_lease(false);
        exchange.metrics().term_ended();
        tracing::info!(number, "this replica serves totals no more");
    }
}

/// Whether totals are served without the Lease. It is said once in a term.
fn tell_if_alone(exchange: &Exchange, term: &Term, told: bool) -> bool {
    let alone = exchange.serves_without_lease(term);
    exchange.metrics().serves_without_lease(alone);
    if alone && !told {
        tracing::warn!(
            "the API server answers neither this replica nor any agent: totals go on, by the pods that were \
             known"
        );
    }
    alone
}

async fn add_up(exchange: &Arc<Exchange>, term: &Arc<Term>, looked: &mut Looked) {
    let began = Instant::now();
    let holdings = look(exchange, looked).await;
    let (now, wall) = (exchange.now(), Timestamp::now());
    let adding = Arc::clone(term);
    let added = blocking(move || adding.add_up(holdings, wall, now)).await;
    if let Some(counts) = added {
        let (metrics, took) = (exchange.metrics(), began.elapsed());
        metrics.added_up(counts, term.pace(), took);
    }
}

async fn look(exchange: &Arc<Exchange>, looked: &mut Looked) -> Arc<Holdings> {
    let edition = watch::lock(exchange.census()).edition();
    let wall = Timestamp::now();
    if !looked.are_right(edition, wall) {
        let census = Arc::clone(exchange.census());
        let survey = move || watch::lock(&census).survey(wall);
        let holdings = blocking(move || survey().holdings()).await;
        if let Some(holdings) = holdings {
            looked.holdings = Arc::new(holdings);
            looked.of = Some((edition, wall));
        }
    }
    Arc::clone(&looked.holdings)
}

/// In a large cluster it takes tens of milliseconds, in which answers should not have to wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = tokio::task::spawn_blocking(work).await;
    if let Err(error) = &done {
        tracing::error!("adding up ended in a panic, and is done again: {error}");
    }
    done.ok()
}

/// A number that no other term has. (The standard library seeds its maps from the system.)
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holdings_are_good_until_something_changes_or_a_pod_should_be_gone() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let looked = |until| Looked {
            of: Some((3, second(5))),
            holdings: Arc::new(Holdings {
                until,
                ..Holdings::default()
            }),
        };
        assert!(!Looked::default().are_right(0, second(0)));
        for (until, edition, wall, right) in [
            (None, 3, 5, true),
            (None, 3, 900, true),
            (None, 4, 5, false),
            // The clock was ahead.
            (None, 3, 4, false),
            (Some(9), 3, 9, true),
            (Some(9), 3, 10, false),
        ] {
            let looked = looked(until.map(second));
            let what = format!("until {until:?}, of {edition} at {wall}");
            assert_eq!(looked.are_right(edition, second(wall)), right, "{what}");
        }
    }
}
