//! What was done, on its way to the API server: it is done whether or not that is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use scope_crds::{ActionPhase, Control};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rules::Target;
use crate::control::{Actions, NotRecorded};

/// Records that wait. Actions are limited per minute, and a record is tried for ten.
const QUEUE: usize = 256;
/// A record that cannot be written for so long is given up: the operator removes records after an hour,
/// and an Event about the distant past confuses.
const TRY_FOR: Duration = Duration::from_secs(600);
/// Between two tries; doubled each time.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// For one request.
const REQUEST: Duration = Duration::from_secs(5);
/// For all that is left when the agent ends. It has ten seconds altogether.
const AT_THE_END: Duration = Duration::from_secs(2);

/// Something that was done to a container, or tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What was asked for.
    pub control: Control,
    /// Of which container.
    pub target: Target,
    /// [`ActionPhase::Succeeded`] or [`ActionPhase::Failed`].
    pub phase: ActionPhase,
    /// What happened, as a sentence.
    pub message: String,
    /// When that was known.
    pub at: SystemTime,
    /// The probe that passed the click on; empty when there was no click.
    pub probe_id: String,
    /// The app in which it was clicked; empty when there was no click.
    pub app_id: String,
}

/// Records by what became of them.
#[derive(Debug, Default)]
pub struct RecordCounts {
    written: AtomicU64,
    refused: AtomicU64,
    given_up: AtomicU64,
    queue_full: AtomicU64,
}

impl RecordCounts {
    /// By outcome, for metrics.
    pub fn each(&self) -> [(&'static str, u64); 4] {
        [
            ("written", &self.written),
            ("refused", &self.refused),
            ("given_up", &self.given_up),
            ("queue_full", &self.queue_full),
        ]
        .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }
}

/// Where records are handed in.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Record>,
    counts: Arc<RecordCounts>,
}

impl Recorder {
    /// Hands a record in, and logs it. Never waits.
    pub(super) fn hand_in(&self, record: Record) {
        let Target {
            container, pod_uid, ..
        } = &record.target;
        tracing::info!(
            control = record.control.as_str(),
            phase = %record.phase,
            container,
            pod = pod_uid,
            probe = record.probe_id,
            app = record.app_id,
            "{}",
            record.message
        );
        if self.queue.try_send(record).is_err() {
            self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("too many records wait for the API server: this one has no Event");
        }
    }

    /// What became of the records so far.
    pub fn counts(&self) -> Arc<RecordCounts> {
        self.counts.clone()
    }
}

/// Writes the records down.
pub struct Clerk {
    actions: Actions,
    queue: mpsc::Receiver<Record>,
    counts: Arc<RecordCounts>,
}

/// A queue for records, and who empties it.
pub fn records(actions: Actions) -> (Recorder, Clerk) {
    let (queue, received) = mpsc::channel(QUEUE);
    let counts = Arc::new(RecordCounts::default());
    let clerk = Clerk {
        actions,
        queue: received,
        counts: counts.clone(),
    };
    (Recorder { queue, counts }, clerk)
}

impl Clerk {
    /// Writes records until the agent ends, and what is left then.
    pub async fn work(mut self, ending: CancellationToken) {
        let mut unwritten = None;
        while !ending.is_cancelled() {
            let record = tokio::select! {
                biased;
                () = ending.cancelled() => break,
                record = self.queue.recv() => record,
            };
            let Some(record) = record else { return };
            let name = self.actions.new_name();
            let tried = tokio::select! {
                biased;
                () = ending.cancelled() => false,
                () = self.write(&name, &record) => true,
            };
            if !tried {
                // Under the same name: the request that was cut off may have arrived.
                unwritten = Some((name, record));
            }
        }
        let rest = async {
            if let Some((name, record)) = unwritten {
                self.once(&name, &record).await;
            }
            while let Ok(record) = self.queue.try_recv() {
                let name = self.actions.new_name();
                self.once(&name, &record).await;
            }
        };
        if tokio::time::timeout(AT_THE_END, rest).await.is_err() {
            tracing::warn!("the agent ends before all that it did has an Event; see the log above");
        }
    }

    /// Tries until it is written, refused, or too old.
    async fn write(&self, name: &str, record: &Record) {
        let began = Instant::now();
        let mut delay = FIRST_DELAY;
        loop {
            let error = match self.attempt(name, record).await {
                Ok(()) => return self.count(&self.counts.written),
                Err(NotRecorded::Refused(why)) => {
                    tracing::warn!(why, "the API server refused a record: it has no Event");
                    return self.count(&self.counts.refused);
                }
                Err(NotRecorded::Unavailable(why)) => why,
            };
            if began.elapsed() + delay > TRY_FOR {
                tracing::warn!(
                    why = error,
                    "a record could not be written: it has no Event"
                );
                return self.count(&self.counts.given_up);
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    async fn once(&self, name: &str, record: &Record) {
        let count = match self.attempt(name, record).await {
            Ok(()) => &self.counts.written,
            Err(NotRecorded::Refused(_)) => &self.counts.refused,
            Err(NotRecorded::Unavailable(_)) => &self.counts.given_up,
        };
        self.count(count);
    }

    async fn attempt(&self, name: &str, record: &Record) -> Result<(), NotRecorded> {
        match tokio::time::timeout(REQUEST, self.actions.record(name, record)).await {
            Ok(result) => result,
            Err(_) => Err(NotRecorded::Unavailable("no answer".into())),
        }
    }

    fn count(&self, of: &AtomicU64) {
        of.fetch_add(1, Ordering::Relaxed);
    }
}
