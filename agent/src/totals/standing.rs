//! How the exchange goes, for metrics and for people.

use std::collections::BTreeMap;
use std::time::Duration;

use scope_protocol::Timestamp;
use scope_totals_wire::Fate;
use tokio::time::Instant;

use super::error::ExchangeError;

/// Without an answer for so long, people are told: totals are absent long before that, but a service
/// that starts anew is back sooner.
const LONG: Duration = Duration::from_secs(120);

/// How the exchange goes.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Exchanges by what became of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether the service has not published yet how to reach it.
    pub unpublished: bool,
    /// When the last reply came; `None` before the first.
    pub replied: Option<Instant>,
    /// How often the service asks to report; `None` before the first reply.
    pub interval: Option<Duration>,
    /// Controllers that there was no room for in the last report.
    pub left_out: usize,
    /// Since when there is no reply: by which clocks, and why as of the last try.
    silent: Silent,
}

#[derive(Debug, Clone)]
struct Silent {
    since: Instant,
    wall: Timestamp,
    why: Option<String>,
}

impl Standing {
    /// At the start.
    pub(super) fn new(now: Instant, wall: Timestamp) -> Self {
        Standing {
            outcomes: BTreeMap::new(),
            connected: false,
            unpublished: false,
            replied: None,
            interval: None,
            left_out: 0,
            silent: Silent {
                since: now,
                wall,
                why: None,
            },
        }
    }

    /// A reply came. Whether that is news: it is the first, or the first after something went wrong.
    pub(super) fn replied(
        &mut self,
        fate: Fate,
        interval: Duration,
        now: Instant,
        wall: Timestamp,
    ) -> bool {
        let news = self.replied.is_none() || self.silent.why.is_some();
        *self.outcomes.entry(fate.as_str()).or_default() += 1;
        self.connected = true;
        self.unpublished = false;
        self.replied = Some(now);
        self.interval = Some(interval);
        self.silent = Silent {
            since: now,
            wall,
            why: None,
        };
        news
    }

    /// No reply came. Whether that is news: another thing went wrong the last time, or nothing.
    pub(super) fn failed(&mut self, error: &ExchangeError) -> bool {
        *self.outcomes.entry(error.label()).or_default() += 1;
        self.unpublished = matches!(error, ExchangeError::NotPublished(_));
        let why = error.to_string();
        let news = self.silent.why.as_ref() != Some(&why);
        self.silent.why = Some(why);
        news
    }

    /// What a person is told when there was no reply for long. It stays the same until one comes or
    /// something else goes wrong.
    pub(super) fn said(&self, now: Instant) -> Option<String> {
        let Silent { since, wall, why } = &self.silent;
        if now.saturating_duration_since(*since) < LONG {
            return None;
        }
        // To the minute, as people need it: 2026-11-30T15:04.
        let wall = wall.to_string();
        let minute = wall.get(..16).unwrap_or(&wall).replace('T', " ");
        let mut said = format!(
            "Totals of controllers are absent: no answer from scope-totals since {minute} UTC"
        );
        if let Some(why) = why {
            said.push_str(": ");
            said.push_str(why);
        }
        if !said.ends_with(['.', '?']) {
            said.push('.');
        }
        Some(said)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::totals::error::words;

    #[test]
    fn long_silence_is_told_with_its_beginning_and_its_reason() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let wall = Timestamp::from_unix_micros(1_795_397_680_764_052);
        let mut standing = Standing::new(start, wall);
        assert_eq!(standing.said(after(119)), None);
        let said = standing.said(after(120)).expect("long enough");
        assert!(said.ends_with("since 2026-11-23 01:34 UTC."), "{said}");

        let error = ExchangeError::NotPublished(PathBuf::from("/x/address"));
        assert!(standing.failed(&error) && !standing.failed(&error));
        assert_eq!(standing.outcomes["not_published"], 2);
        assert!(standing.unpublished && !standing.connected);
        let said = standing.said(after(120)).expect("long enough");
        assert!(said.contains("UTC: /x/address is not there"), "{said}");

        let interval = Duration::from_secs(5);
        assert!(standing.replied(Fate::Taken, interval, after(130), wall));
        assert!(!standing.replied(Fate::Taken, interval, after(130), wall));
        assert!(standing.connected && !standing.unpublished);
        assert_eq!(standing.said(after(240)), None);
        assert!(standing.failed(&ExchangeError::TooLarge), "again news");
        assert!(standing.said(after(250)).is_some());
        let long = ExchangeError::NotAReply(words(&"x\ny".repeat(1000)));
        standing.failed(&long);
        let said = standing.said(after(250)).expect("long enough");
        assert!(said.len() < 500 && !said.contains('\n'), "{said}");
    }
}
