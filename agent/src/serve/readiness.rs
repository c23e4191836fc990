//! Whether the agent serves what Scope wants: it asks itself through its own sockets, as a probe
//! does, and keeps the answer for the kubelet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use scope_protocol::conformance::Severity;
use tokio_util::sync::CancellationToken;

use super::publication::Publication;
use crate::check::{self, Answer};
use crate::inventory::WatchState;

/// Between two looks at a socket that is all right.
const PAUSE: Duration = Duration::from_secs(5);
/// Between two looks while something is wrong, or nothing has been sampled yet.
const PAUSE_UNREADY: Duration = Duration::from_millis(500);
/// Judging a report of a megabyte by all rules costs tens of milliseconds of CPU, so it is done in
/// this interval, and in between only when the answer looks unlike the judged one.
const JUDGE_EVERY: Duration = Duration::from_secs(60);
/// A check that is older says nothing any more: the task that makes them is stuck.
const STALE: Duration = Duration::from_secs(60);

/// What the last check of all sockets said.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// When it ended.
    pub at: Instant,
    /// Why the agent is not ready, if so.
    pub problem: Option<String>,
    /// Checks that found something wrong.
    pub failures: u64,
}

impl Readiness {
    /// Not ready before the first check.
    pub fn unknown() -> Self {
        Readiness {
            at: Instant::now(),
            problem: Some("the sockets have not been checked yet".into()),
            failures: 0,
        }
    }

    /// Why the agent is not ready, if so.
    pub fn problem(&self) -> Option<String> {
        let age = self.at.elapsed();
        if age > STALE {
            return Some(format!(
                "the last check of the sockets is {} s old",
                age.as_secs()
            ));
        }
        self.problem.clone()
    }
}

/// What is checked.
pub struct Checks {
    /// The agent's sockets.
    pub sockets: Vec<PathBuf>,
    /// The ID by which the agent asks itself.
    pub own_probe_id: Arc<str>,
    /// Whether a sample has been published.
    pub publication: Arc<Publication>,
    /// The state of the inventory's watch, in a cluster.
    pub inventory: Option<Arc<ArcSwap<WatchState>>>,
    /// Where the result goes.
    pub result: Arc<ArcSwap<Readiness>>,
}

/// A socket, and the last answer of it that was judged.
struct Checked {
    path: PathBuf,
    judged: Option<(Instant, usize)>,
}

/// Checks until `stop`.
pub async fn keep_checking(checks: Checks, stop: CancellationToken) {
    let mut sockets: Vec<Checked> = checks
        .sockets
        .iter()
        .map(|path| Checked {
            path: path.clone(),
            judged: None,
        })
        .collect();
    let mut failures = 0;
    let mut was_ready = false;
    loop {
        let mut problem = checks.not_begun();
        if problem.is_none() {
            for socket in &mut sockets {
                problem = problem.or(look(socket, &checks.own_probe_id).await);
            }
            failures += u64::from(problem.is_some());
        }
        let ready = problem.is_none();
        match (&problem, was_ready) {
            (None, false) => tracing::info!("ready: Scope can read every socket"),
            (Some(problem), true) => tracing::warn!(problem, "a check of the sockets failed"),
            _ => {}
        }
        let previous = checks.result.load();
        // One slow answer on a busy machine is no reason to leave; the next check decides.
        let grace = !ready && was_ready && previous.problem.is_none();
        checks.result.store(Arc::new(Readiness {
            at: Instant::now(),
            problem: if grace { None } else { problem },
            failures,
        }));
        was_ready = ready;
        let pause = if ready { PAUSE } else { PAUSE_UNREADY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

impl Checks {
    /// What has to happen once before a check makes sense. An inventory that was there and grows
    /// old is no reason to leave: an API server that is away would take all agents with it.
    fn not_begun(&self) -> Option<String> {
        if let Some(state) = &self.inventory {
            let state = state.load();
            if !state.listed {
                return Some(match &state.error {
                    Some(e) => format!("the pods of this node could not be listed: {e}"),
                    None => "the pods of this node are not listed yet".into(),
                });
            }
        }
        (self.publication.get().sequence == 0).then(|| "no sample has been taken yet".into())
    }
}

/// Asks one socket. What is wrong with it, if anything.
async fn look(socket: &mut Checked, probe_id: &str) -> Option<String> {
    let path = socket.path.clone();
    let answer = match check::ask(&path, probe_id).await {
        Ok(answer) => answer,
        Err(e) => {
            socket.judged = None;
            return Some(e.to_string());
        }
    };
    let length = answer.body_length();
    let like_before = socket.judged.is_some_and(|(at, judged)| {
        at.elapsed() < JUDGE_EVERY && length.abs_diff(judged) <= judged / 10
    });
    if like_before && answer.arrived_in_time() {
        return None;
    }
    // Off the thread that answers probes.
    let judged = tokio::task::spawn_blocking(move || worst_violation(&path, &answer)).await;
    match judged {
        Ok(None) => {
            socket.judged = Some((Instant::now(), length));
            None
        }
        Ok(Some(violation)) => {
            socket.judged = None;
            Some(violation)
        }
        Err(e) => Some(format!("judging an answer failed: {e}")),
    }
}

/// What would make Scope drop the answer, or break. What it would only show wrong is a mistake, and
/// yet no reason to stop a rollout: it is logged.
fn worst_violation(path: &Path, answer: &Answer) -> Option<String> {
    let verdict = check::judge(path, answer);
    let worst = verdict.violations().iter().max_by_key(|v| v.severity())?;
    if worst.severity() == Severity::ShowsWrong {
        tracing::warn!(socket = %path.display(), violation = %worst, "Scope will show a report wrong");
        return None;
    }
    Some(format!("{}: {worst}", path.display()))
}
