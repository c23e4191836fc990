//! What the agent tells about itself, as OpenMetrics text.
//!
//! Label values come from fixed sets: no object's name is ever one, so the number of series is
//! known beforehand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;

/// The media type of [`Exposition`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A number that counts events, or things that are open.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts what was added before.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// In order.
    Closed,
    /// It made room for a new one.
    Evicted,
    /// There was no room and nothing to evict.
    Refused,
    /// No request for too long.
    IdleTimeout,
    /// The head of a request took too long.
    HeadTimeout,
    /// A request and its answer took too long.
    RequestTimeout,
    /// What came was not HTTP.
    Malformed,
    /// The client left in the middle of a request.
    Incomplete,
    /// Reading or writing failed.
    Broken,
}

impl Ended {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Closed => "closed",
            Ended::Evicted => "evicted",
            Ended::Refused => "refused",
            Ended::IdleTimeout => "idle_timeout",
            Ended::HeadTimeout => "head_timeout",
            Ended::RequestTimeout => "request_timeout",
            Ended::Malformed => "malformed",
            Ended::Incomplete => "incomplete",
            Ended::Broken => "broken",
        }
    }
}

/// What one listener counts.
#[derive(Debug)]
pub struct SocketMetrics {
    /// `reporter`, `controls` or `http`.
    pub name: &'static str,
    /// Connections accepted.
    pub accepted: Number,
    /// Failures to accept one.
    pub accept_failures: Number,
    /// Connections open now.
    pub open: Number,
    ended: Mutex<BTreeMap<Ended, u64>>,
    /// By status code; the router answers with a handful of them.
    answered: Mutex<BTreeMap<u16, u64>>,
}

impl SocketMetrics {
    /// Metrics of the listener with this name.
    pub fn new(name: &'static str) -> Self {
        SocketMetrics {
            name,
            accepted: Number::default(),
            accept_failures: Number::default(),
            open: Number::default(),
            ended: Mutex::default(),
            answered: Mutex::default(),
        }
    }

    /// Counts the end of a connection.
    pub fn ended(&self, why: Ended) {
        *lock(&self.ended).entry(why).or_default() += 1;
    }

    /// How many connections ended so.
    pub fn ended_count(&self, why: Ended) -> u64 {
        lock(&self.ended).get(&why).copied().unwrap_or_default()
    }

    /// Counts an answer.
    pub fn answered(&self, status: StatusCode) {
        *lock(&self.answered).entry(status.as_u16()).or_default() += 1;
    }

    /// How many answers had this status.
    pub fn answered_count(&self, status: u16) -> u64 {
        lock(&self.answered)
            .get(&status)
            .copied()
            .unwrap_or_default()
    }

    /// Writes the families that all listeners share.
    pub fn expose(listeners: &[&SocketMetrics], out: &mut Exposition) {
        out.family(
            "scope_agent_connections_accepted",
            Kind::Counter,
            "Connections accepted.",
        );
        for l in listeners {
            out.sample(&[("socket", l.name)], l.accepted.get());
        }
        out.family(
            "scope_agent_accept_failures",
            Kind::Counter,
            "Failures to accept a connection.",
        );
        for l in listeners {
            out.sample(&[("socket", l.name)], l.accept_failures.get());
        }
        out.family(
            "scope_agent_connections_open",
            Kind::Gauge,
            "Connections open now.",
        );
        for l in listeners {
            out.sample(&[("socket", l.name)], l.open.get());
        }
        out.family(
            "scope_agent_connections_ended",
            Kind::Counter,
            "Connections that ended, by reason; evicted ones made room for new ones.",
        );
        for l in listeners {
            for (why, n) in lock(&l.ended).iter() {
                out.sample(&[("socket", l.name), ("reason", why.as_str())], *n);
            }
        }
        out.family(
            "scope_agent_http_requests",
            Kind::Counter,
            "Requests answered, by status.",
        );
        for l in listeners {
            for (status, n) in lock(&l.answered).iter() {
                out.sample(&[("socket", l.name), ("code", &status.to_string())], *n);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its samples get the suffix `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bound.
    Histogram,
    /// A constant 1 with labels; its sample gets the suffix `_info`.
    Info,
}

/// A page of metrics being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    name: String,
    suffix: &'static str,
}

impl Exposition {
    /// Begins a family. Its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (kind, suffix) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Histogram => ("histogram", ""),
            Kind::Info => ("info", "_info"),
        };
        self.name = name.to_owned();
        self.suffix = suffix;
        // Writing to a String does not fail.
        let _ = writeln!(
            self.text,
            "# TYPE {name} {kind}\n# HELP {name} {}",
            escape(help)
        );
    }

    /// A sample of the family that was begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.write(self.suffix, labels, value);
    }

    /// The samples of a histogram: counts per bucket (not cumulated), the last one without a bound.
    pub fn histogram(&mut self, bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0;
        for (i, count) in counts.iter().enumerate() {
            total += count;
            match bounds.get(i) {
                Some(bound) => self.write("_bucket", &[("le", &format!("{bound:?}"))], total),
                None => self.write("_bucket", &[("le", "+Inf")], total),
            }
        }
        self.write("_count", &[], total);
        self.write("_sum", &[], sum);
    }

    fn write(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (i, (name, value)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{name}=\"{}\"", escape(value));
        }
        let _ = writeln!(
            self.text,
            "{} {value}",
            if labels.is_empty() { "" } else { "}" }
        );
    }

    /// The finished page.
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_open_metrics() {
        let mut page = Exposition::default();
        page.family("ticks", Kind::Counter, "How many.");
        page.sample(&[], 3u64);
        page.family("tick_seconds", Kind::Histogram, "How long.");
        page.histogram(&[0.001, 1.0], &[2, 1, 1], 2.5);
        page.family("agent", Kind::Info, "Says \"what\".");
        page.sample(&[("version", "a\"b"), ("node", "n")], 1);
        assert_eq!(
            page.finish(),
            "# TYPE ticks counter\n# HELP ticks How many.\nticks_total 3\n\
             # TYPE tick_seconds histogram\n# HELP tick_seconds How long.\n\
             tick_seconds_bucket{le=\"0.001\"} 2\ntick_seconds_bucket{le=\"1.0\"} 3\n\
             tick_seconds_bucket{le=\"+Inf\"} 4\ntick_seconds_count 4\ntick_seconds_sum 2.5\n\
             # TYPE agent info\n# HELP agent Says \\\"what\\\".\n\
             agent_info{version=\"a\\\"b\",node=\"n\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn listeners_share_families() {
        let (a, b) = (
            SocketMetrics::new("reporter"),
            SocketMetrics::new("controls"),
        );
        a.answered(StatusCode::OK);
        a.ended(Ended::Evicted);
        b.accepted.add(2);
        let mut page = Exposition::default();
        SocketMetrics::expose(&[&a, &b], &mut page);
        let text = page.finish();
        for line in [
            "scope_agent_connections_accepted_total{socket=\"controls\"} 2",
            "scope_agent_connections_ended_total{socket=\"reporter\",reason=\"evicted\"} 1",
            "scope_agent_http_requests_total{socket=\"reporter\",code=\"200\"} 1",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing in\n{text}"
            );
        }
        assert_eq!(text.matches("# TYPE scope_agent_http_requests ").count(), 1);
    }
}
