//! Requests with a time limit, and writes that a claim covers.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::leader::{Claim, NotLeading};

/// Longest wait for a single answer of the API server.
pub(crate) const BUDGET: Duration = Duration::from_secs(10);

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    #[error("{what}: no answer within {} s", limit.as_secs_f32())]
    Timeout { what: String, limit: Duration },
    #[error("{what}: {}", said(.source))]
    Api { what: String, source: kube::Error },
}

/// The API server's own sentence, or what kept it from saying one.
pub(crate) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        error => error.to_string(),
    }
}

impl RequestError {
    /// The API server's own answer, if that is what it is.
    pub(crate) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api {
                source: kube::Error::Api(status),
                ..
            } => Some(status),
            _ => None,
        }
    }

    /// The category, for Events and metrics.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::NotLeading(_) => "NotLeading",
            Self::Timeout { .. } => "Timeout",
            Self::Api { .. } => match self.status() {
                None => "Unreachable",
                Some(status) if status.is_conflict() => "Conflict",
                Some(status) if status.is_forbidden() => "Forbidden",
                Some(status) if status.is_invalid() => "Invalid",
                Some(status) if status.is_not_found() => "NotFound",
                Some(_) => "ApiError",
            },
        }
    }
}

tokio::task_local! {
    /// How the current look has waited for others.
    static WAITS: Cell<Waits>;
}

/// The time in which a look waited, for one or for several at once.
#[derive(Clone, Copy, Default)]
struct Waits {
    under_way: u32,
    since: Option<Instant>,
    total: Duration,
}

/// One wait; it ends also where its request is given up.
struct Wait;

impl Wait {
    fn begin() -> Self {
        change(|waits| {
            waits.since.get_or_insert_with(Instant::now);
            waits.under_way += 1;
        });
        Self
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        change(|waits| {
            waits.under_way -= 1;
            if waits.under_way == 0 {
                waits.total += waits.since.take().map_or(Duration::ZERO, |at| at.elapsed());
            }
        });
    }
}

fn change(change: impl FnOnce(&mut Waits)) {
    // Whoever does not count has no such cell.
    let _ = WAITS.try_with(|cell| {
        let mut waits = cell.get();
        change(&mut waits);
        cell.set(waits);
    });
}

/// What a look took of the operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Its time without the requests in it. On a machine whose cores are all busy, it has that of others in it.
    pub(crate) time: Duration,
    /// What it had of a core.
    pub(crate) cpu: Duration,
}

/// Runs `look` and says what it took by itself, without the requests in it.
pub(crate) async fn without_waits<T>(look: impl Future<Output = T>) -> (T, Took) {
    WAITS
        .scope(Cell::default(), async {
            let began = Instant::now();
            let (answer, cpu) = on_cpu(look).await;
            let waited = WAITS.with(Cell::get).total;
            let time = began.elapsed().saturating_sub(waited);
            (answer, Took { time, cpu })
        })
        .await
}

/// Runs `work` and says how long its thread had a core for it: each of its steps is run by one thread.
async fn on_cpu<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let mut work = pin!(work);
    let mut total = Duration::ZERO;
    poll_fn(|context| {
        let before = thread_time();
        let step = work.as_mut().poll(context);
        total += thread_time().saturating_sub(before);
        step.map(|answer| (answer, total))
    })
    .await
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is ever negative.
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

/// Counts the time of `request` as one in which the look waited for somebody else.
pub(crate) async fn waited<T>(request: impl Future<Output = T>) -> T {
    let _wait = Wait::begin();
    request.await
}

/// A read within `limit`.
pub(crate) async fn read<T>(
    what: impl FnOnce() -> String,
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match waited(tokio::time::timeout(limit, request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(RequestError::Api {
            what: what(),
            source,
        }),
        Err(_) => Err(RequestError::Timeout {
            what: what(),
            limit,
        }),
    }
}

/// A write within `limit` and within the claim, which is asked now and not before.
pub(crate) async fn write<T>(
    claim: &Claim,
    what: impl FnOnce() -> String,
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    let left = claim.left()?;
    read(what, limit.min(left), request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader;

    #[tokio::test(start_paused = true)]
    async fn without_a_claim_nothing_is_sent() {
        let (writer, claim) = leader::claim();
        let mut sent = false;
        let answer = write(&claim, || "x".into(), BUDGET, async {
            sent = true;
            Ok(())
        })
        .await;
        assert!(matches!(answer, Err(RequestError::NotLeading(_))));
        assert!(!sent);
        drop(writer);
    }

    #[tokio::test]
    async fn waits_side_by_side_count_once() {
        let sleep = || waited(tokio::time::sleep(Duration::from_millis(200)));
        let began = Instant::now();
        let (_, took) = without_waits(async {
            // The look's own work, of which nothing is taken off.
            std::thread::sleep(Duration::from_millis(50));
            futures::future::join(sleep(), sleep()).await;
            let given_up = tokio::time::timeout(Duration::from_millis(20), sleep()).await;
            assert!(given_up.is_err());
        })
        .await;
        let all = began.elapsed();
        assert!(took.time >= Duration::from_millis(50), "{took:?}");
        assert!(
            took.time + Duration::from_millis(200) <= all,
            "{took:?} of {all:?}"
        );
        assert!(took.cpu < Duration::from_millis(50), "asleep: {took:?}");
    }

    #[tokio::test]
    async fn work_between_waits_is_all_counted() {
        let work = || {
            let began = thread_time();
            while thread_time() - began < Duration::from_millis(10) {
                std::hint::spin_loop();
            }
        };
        let (_, took) = without_waits(async {
            work();
            tokio::task::yield_now().await;
            work();
        })
        .await;
        assert!(took.cpu >= Duration::from_millis(20), "{took:?}");
    }

    #[tokio::test]
    async fn a_write_does_not_outlast_the_claim() {
        let (writer, claim) = leader::claim();
        let now = Instant::now();
        writer.set(Some(now + Duration::from_millis(60)), now);
        let never = std::future::pending::<kube::Result<()>>();
        let answer = write(&claim, || "x".into(), BUDGET, never).await;
        let Err(RequestError::Timeout { limit, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert!(limit <= Duration::from_millis(60), "{limit:?}");
    }
}
