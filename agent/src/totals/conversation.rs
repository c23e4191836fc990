//! What an agent says when, as a function of what it heard and of time.

use std::time::Duration;

use bytes::Bytes;
use scope_totals_wire::{
    Fate, MAX_BODY, MAX_QUESTIONS, Metric, Reason, Reply, Report, Sampled, Stamp, Total, VERSION,
};
use tokio::time::Instant;

use super::board::Measured;
use super::error::ExchangeError;
use super::health::Present;

/// Whatever a service asks for, an agent keeps within these: no busier than it samples, and no
/// slower than to notice within minutes that the service asks for more.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// Until the first reply says it.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);

/// So long before a report is due the sampler is asked for a look. While a probe asks, it looks every second anyhow, and
/// a look at the next point of its grid is then in time: with a whole second lost at each report, every fifth round would
/// come and go between two reports.
const AHEAD: Duration = Duration::from_millis(500);

/// After pods came or went, reports come twice as often until all totals are of all pods: for so many intervals at
/// most, and once in so many, or rollouts would double what the service has to do.
const HURRY: u32 = 3;
const REST: u32 = 15;

/// The pause after one failure; it doubles with each, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The longest one while no replica leads.
const STANDBY: Duration = Duration::from_secs(10);
/// What another report alone does not mend, somebody has to see to.
const REFUSED: Duration = Duration::from_secs(60);
/// Until one of the two is of another release, nothing changes.
const OTHER_VERSION: Duration = Duration::from_secs(300);
/// However busy the service says that it is.
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// Until the files of the volume are looked at again. A kubelet brings them within some minutes.
const NOT_PUBLISHED: Duration = Duration::from_secs(5);

/// One agent's side of the exchange.
#[derive(Debug)]
pub(super) struct Conversation {
    boot: String,
    sequence: u64,
    /// The stamp of the last reply, and when that came.
    last: Option<(Stamp, Instant)>,
    interval: Duration,
    /// Exchanges in a row that failed.
    failures: u32,
    /// The last report was sent without waiting, so that the next one is not.
    hurried: bool,
    /// The last report said that somebody asks for reports.
    watched: bool,
    /// The service found a report too large.
    lean: bool,
    /// How many objects with pods were in the last report, and how many pods.
    told: Option<(usize, u32)>,
    /// That has changed, and totals of all pods are still waited for.
    changed: bool,
    /// What people were asking by the last reply.
    asked: Vec<u64>,
    /// Until when to hurry, and from when on it may begin again.
    hurry: Option<(Instant, Instant)>,
    /// A report that no reply came to, and when its sample was taken.
    open: Option<(Bytes, Instant)>,
}

/// The versions of the lists that this agent was told, as far as it has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HeldLists {
    /// Of the controllers without pods that it draws.
    pub(super) podless: Option<u64>,
    /// Of the Services of this node's pods.
    pub(super) services: Option<u64>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    /// After this time.
    pub(super) wait: Duration,
    /// By a new connection.
    pub(super) anew: bool,
    /// Sooner, if somebody asks for a report.
    pub(super) until_asked: bool,
}

impl Conversation {
    /// Begins one under this name, which no other process has.
    pub(super) fn new(boot: String) -> Self {
        Conversation {
            boot,
            sequence: 0,
            last: None,
            interval: FIRST_INTERVAL,
            failures: 0,
            hurried: false,
            watched: false,
            lean: false,
            told: None,
            changed: false,
            asked: Vec::new(),
            hurry: None,
            open: None,
        }
    }

    /// How often the service asks to report.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// The report to send again, if no reply came to the last one and its sample is still of now.
    pub(super) fn open(&self, now: Instant) -> Option<Bytes> {
        let (report, taken) = self.open.as_ref()?;
        let young = now.saturating_duration_since(*taken) < self.interval;
        young.then(|| report.clone())
    }

    /// A new report as JSON, of a sample that is younger than the last reply. It has no more bytes than
    /// it may: where all would be too much, only what matters most. `held` are the lists that are not to be
    /// sent again.
    pub(super) fn report(
        &mut self,
        measured: &Measured,
        held: HeldLists,
        present: Present,
    ) -> Bytes {
        self.sequence += 1;
        self.watched = present.watched;
        let sampled = self.last.as_ref().and_then(|(stamp, came)| {
            let after = measured.taken.checked_duration_since(*came)?;
            Some(Sampled {
                stamp: stamp.clone(),
                after_ms: u64::try_from(after.as_millis()).ok()?,
            })
        });
        let mut report = Report {
            version: VERSION,
            boot: self.boot.clone(),
            sequence: self.sequence,
            sampled,
            node: measured.sums.node,
            objects: measured.sums.objects.clone(),
            podless: held.podless,
            services: Some(held.services.unwrap_or_default()),
            server_away: present.server_away && !measured.sums.strangers,
            watched: Some(present.watched),
            health: Some(present.health),
            top: measured.found.clone(),
        };
        if self.lean {
            slim(&mut report);
        }
        let counted = report.objects.iter().filter(|object| object.counted > 0);
        let told = (
            counted.clone().count(),
            counted.map(|object| object.counted).sum(),
        );
        self.changed |= self.told.is_some_and(|before| before != told);
        self.told = Some(told);
        let mut body = json(&report);
        if body.len() > MAX_BODY && !report.top.is_empty() {
            // What people ask is not to cost anybody's totals a value.
            report.top.clear();
            body = json(&report);
        }
        if body.len() > MAX_BODY {
            slim(&mut report);
            body = json(&report);
        }
        let body = Bytes::from(body);
        self.open = Some((body.clone(), measured.taken));
        body
    }

    /// A reply came at this time.
    pub(super) fn replied(&mut self, reply: &Reply, now: Instant) -> Next {
        self.open = None;
        self.failures = 0;
        self.last = Some((reply.stamp.clone(), now));
        self.interval = Duration::from_millis(reply.interval_ms).clamp(INTERVALS.0, INTERVALS.1);
        // Without a stamp, or after a process that stood still: once at once, in the hope of better.
        let at_once = matches!(reply.fate, Fate::Unstamped | Fate::Late) && !self.hurried;
        self.hurried = at_once;
        let is_asked = self.is_asked_anew(reply);
        let hurries = self.hurries(reply, now) || is_asked;
        Next {
            wait: match (at_once, hurries) {
                (true, _) => Duration::ZERO,
                (false, true) => self.interval / 2,
                (false, false) => self.interval.saturating_sub(AHEAD),
            },
            anew: false,
            // Whoever says so to a report of an agent that is asked is not to be told again and again.
            until_asked: reply.resting && !self.watched,
        }
    }

    /// Whether people ask something that they did not ask by the reply before: they wait for all nodes.
    fn is_asked_anew(&mut self, reply: &Reply) -> bool {
        let ids = reply.top.iter().map(|question| question.id);
        let asked: Vec<u64> = ids.take(MAX_QUESTIONS).collect();
        let before = std::mem::replace(&mut self.asked, asked);
        self.asked.iter().any(|id| !before.contains(id))
    }

    /// Whether the next report is wanted soon: pods came or went here, and a total is missing or not of all pods.
    fn hurries(&mut self, reply: &Reply, now: Instant) -> bool {
        let is_whole = |total: &Total| total.counted >= total.pods;
        let all = self
            .told
            .is_none_or(|(objects, _)| reply.totals.len() >= objects);
        self.changed &= !(all && reply.totals.iter().all(is_whole));
        // While nobody looks nothing is missed, and all agents at once would hurry when somebody does again.
        self.changed &= !reply.resting;
        if reply.warming.is_some() || !self.changed {
            return false;
        }
        let (until, again) = match self.hurry {
            Some((until, again)) if now < again => (until, again),
            _ => (now + self.interval * HURRY, now + self.interval * REST),
        };
        self.hurry = Some((until, again));
        // Some pods never count, and of some objects there is no total: what did not come in time is not waited for.
        self.changed = now < until;
        self.changed
    }

    /// No reply came, for this reason. `chance` from 0 to 1 is another one on each node.
    pub(super) fn failed(&mut self, error: &ExchangeError, chance: f64) -> Next {
        match error {
            ExchangeError::Refused {
                reason,
                retry_after,
                ..
            } => self.refused(*reason, *retry_after, chance),
            // What is not published yet is soon, when an installation begins.
            ExchangeError::NotPublished(_) => Next {
                wait: NOT_PUBLISHED.mul_f64(0.75 + chance / 2.0),
                anew: true,
                until_asked: false,
            },
            _ => Next {
                wait: self.pause(chance),
                anew: !matches!(error, ExchangeError::NoSample),
                until_asked: false,
            },
        }
    }

    /// The report was refused.
    fn refused(&mut self, reason: Reason, retry_after: Option<Duration>, chance: f64) -> Next {
        self.open = None;
        let spread = 1.0 + chance / 4.0;
        let pause = self.pause(chance);
        let was_lean = self.lean;
        self.lean |= reason == Reason::Size;
        let wait = match reason {
            // The token is read anew before each report.
            Reason::Token | Reason::Slow | Reason::Off | Reason::Other => pause,
            // Less than a total is valid: one of the replicas may lead, or go on, at any time.
            Reason::Standby => pause.min(STANDBY),
            Reason::Account | Reason::Syntax | Reason::Value => REFUSED.mul_f64(spread),
            Reason::Size if !was_lean => pause,
            Reason::Size => REFUSED.mul_f64(spread),
            Reason::Version => OTHER_VERSION.mul_f64(spread),
            Reason::Rate | Reason::Busy => match retry_after {
                Some(after) => after.clamp(PAUSES.0, LONGEST_RETRY).mul_f64(spread),
                None => pause,
            },
        };
        Next {
            wait,
            anew: matches!(reason, Reason::Standby | Reason::Slow),
            until_asked: false,
        }
    }

    /// Longer from failure to failure.
    fn pause(&mut self, chance: f64) -> Duration {
        let doubled = PAUSES.0.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(PAUSES.1)
            .mul_f64(0.75 + chance.clamp(0.0, 1.0) / 4.0)
    }
}

/// Leaves out what there is no room for.
fn slim(report: &mut Report) {
    report.top.clear();
    let is_essential = |metric| {
        matches!(
            metric,
            Metric::Millicores | Metric::Memory | Metric::MemoryLimit
        )
    };
    for object in &mut report.objects {
        let values = object.values.iter();
        object.values = values.filter(|(metric, _)| is_essential(*metric)).collect();
    }
}

fn json(report: &Report) -> Vec<u8> {
    serde_json::to_vec(report).expect("numbers and names can be written")
}

#[cfg(test)]
mod tests;
