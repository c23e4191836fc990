//! What the service counts. Names of objects, plugins and nodes are no labels, so the number of series is
//! fixed.

use std::{
    fmt,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use scope_process::{
    metrics::{Float, Newest, One, open_metrics},
    watches::Watched,
};

use crate::{exchange::Counts, pace::Pace};

type Number = Gauge<i64, AtomicI64>;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    is_leader: Number,
    claim_seconds: Float,
    without_lease: Gauge,
    terms: Counter,
    watch_events: Family<One, Counter>,
    watch_errors: Family<One, Counter>,
    event_age: Family<One, Float>,
    writes: Family<One, Counter>,
    reports: Family<One, Counter>,
    refusals: Family<One, Counter>,
    exchange_seconds: Histogram,
    reviews: Family<One, Counter>,
    agents: Number,
    interval_seconds: Float,
    resting: Number,
    totals: Number,
    round_seconds: Histogram,
    podless: Number,
    podless_left_out: Number,
    podless_agents: Number,
    services: Number,
    services_left_out: Number,
    images_ambiguous: Number,
    fleet_answers: Counter,
    healths_ignored: Counter,
    access_reviews: Family<One, Counter>,
    top_answers: Counter,
    top_questions: Number,
    top_questions_displaced: Counter,
    top_rows_dropped: Counter,
    connections: Number,
    evicted: Counter<u64, AtomicU64>,
    handshakes_failed: Counter,
    certificate_ends: Float,
    certificates: Counter,
    certificate_errors: Counter,
    http_evicted: Counter,
    newest: Newest,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("scope_totals"),
            is_leader: Gauge::default(),
            claim_seconds: Gauge::default(),
            without_lease: Gauge::default(),
            terms: Counter::default(),
            watch_events: Family::default(),
            watch_errors: Family::default(),
            event_age: Family::default(),
            writes: Family::default(),
            reports: Family::default(),
            refusals: Family::default(),
            // 50 µs to 0.8 s.
            exchange_seconds: Histogram::new(exponential_buckets(0.00005, 2.0, 15)),
            reviews: Family::default(),
            agents: Gauge::default(),
            interval_seconds: Gauge::default(),
            resting: Gauge::default(),
            totals: Gauge::default(),
            // 0.1 ms to 1.6 s.
            round_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            podless: Gauge::default(),
            podless_left_out: Gauge::default(),
            podless_agents: Gauge::default(),
            services: Gauge::default(),
            services_left_out: Gauge::default(),
            images_ambiguous: Gauge::default(),
            fleet_answers: Counter::default(),
            healths_ignored: Counter::default(),
            access_reviews: Family::default(),
            top_answers: Counter::default(),
            top_questions: Gauge::default(),
            top_questions_displaced: Counter::default(),
            top_rows_dropped: Counter::default(),
            connections: Gauge::default(),
            evicted: Counter::default(),
            handshakes_failed: Counter::default(),
            certificate_ends: Gauge::default(),
            certificates: Counter::default(),
            certificate_errors: Counter::default(),
            http_evicted: Counter::default(),
            newest: Newest::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "is_leader",
            "1 while this replica serves totals",
            self.is_leader.clone(),
        );
        registry.register_with_unit(
            "claim_left",
            "How long this replica may still serve unless it renews its Lease",
            Unit::Seconds,
            self.claim_seconds.clone(),
        );
        registry.register(
            "serves_without_lease",
            "1 while the API server is away for this replica and all agents, and totals go on",
            self.without_lease.clone(),
        );
        registry.register(
            "terms",
            "Times that this replica began to lead",
            self.terms.clone(),
        );
        registry.register(
            "watch_events",
            "Events of watches",
            self.watch_events.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that failed and were tried again",
            self.watch_errors.clone(),
        );
        registry.register_with_unit(
            "watch_event_age",
            "Time since the last event of a kind",
            Unit::Seconds,
            self.event_age.clone(),
        );
        registry.register(
            "writes",
            "Writes to the API server, by outcome",
            self.writes.clone(),
        );
        registry.register(
            "reports",
            "Reports that were answered, by what became of them",
            self.reports.clone(),
        );
        registry.register(
            "refusals",
            "Reports and questions that were refused, by reason",
            self.refusals.clone(),
        );
        registry.register_with_unit(
            "exchange_duration",
            "Time from a report's head to its answer",
            Unit::Seconds,
            self.exchange_seconds.clone(),
        );
        registry.register(
            "token_reviews",
            "Tokens that the API server was asked about, by outcome",
            self.reviews.clone(),
        );
        registry.register(
            "agents",
            "Agents that have reported within three intervals",
            self.agents.clone(),
        );
        registry.register_with_unit(
            "interval",
            "How often agents are asked to report",
            Unit::Seconds,
            self.interval_seconds.clone(),
        );
        registry.register(
            "resting",
            "1 while nobody asks any agent for a report: they are asked less often, and told no totals",
            self.resting.clone(),
        );
        registry.register(
            "totals",
            "Totals in the last round, of all plugins",
            self.totals.clone(),
        );
        registry.register_with_unit(
            "round_duration",
            "Time that adding up took",
            Unit::Seconds,
            self.round_seconds.clone(),
        );
        registry.register(
            "podless",
            "Controllers without a pod on any node that agents are told of",
            self.podless.clone(),
        );
        registry.register(
            "podless_left_out",
            "Controllers without a pod that found no room in that list",
            self.podless_left_out.clone(),
        );
        registry.register(
            "podless_agents",
            "Agents that draw the controllers without a pod, of all plugins",
            self.podless_agents.clone(),
        );
        registry.register(
            "services",
            "Services with pods that agents are told of",
            self.services.clone(),
        );
        registry.register(
            "services_left_out",
            "Services without totals, since not all of their pods can be told or a node's list has no room",
            self.services_left_out.clone(),
        );
        registry.register(
            "images_ambiguous",
            "Names of images without totals, since an image goes by several of them",
            self.images_ambiguous.clone(),
        );
        registry.register(
            "fleet_answers",
            "Answers to the operator, how the agents are",
            self.fleet_answers.clone(),
        );
        registry.register(
            "healths_ignored",
            "Reports that counted without what the agent said of itself, which was out of bounds",
            self.healths_ignored.clone(),
        );
        registry.register(
            "access_reviews",
            "Rights of people that the API server was asked about, by outcome",
            self.access_reviews.clone(),
        );
        registry.register(
            "top_answers",
            "Answers to people, what uses most",
            self.top_answers.clone(),
        );
        registry.register(
            "top_questions",
            "Questions of people about pods and nodes that agents are asked",
            self.top_questions.clone(),
        );
        registry.register(
            "top_questions_displaced",
            "Questions of people that made room for those of others who ask less",
            self.top_questions_displaced.clone(),
        );
        registry.register(
            "top_rows_dropped",
            "Rows in answers of agents that are of no pod on their node, or of no value that can be",
            self.top_rows_dropped.clone(),
        );
        registry.register(
            "connections",
            "Open connections of agents",
            self.connections.clone(),
        );
        registry.register(
            "connections_evicted",
            "Connections that had to make room for others",
            self.evicted.clone(),
        );
        registry.register(
            "handshakes_failed",
            "Connections without TLS 1.3, or too slow with it",
            self.handshakes_failed.clone(),
        );
        registry.register_with_unit(
            "certificate_end_timestamp",
            "When the own certificate expires, since 1970; 0 where it is a given one",
            Unit::Seconds,
            self.certificate_ends.clone(),
        );
        registry.register(
            "certificates",
            "Certificates taken into use",
            self.certificates.clone(),
        );
        registry.register(
            "certificate_errors",
            "Times that certificates could not be read, made or published",
            self.certificate_errors.clone(),
        );
        registry.register(
            "http_connections_evicted",
            "Idle HTTP connections closed to make room for new ones",
            self.http_evicted.clone(),
        );
        self
    }

    /// This replica leads.
    pub fn term_began(&self) {
        self.terms.inc();
    }

    /// Something was written to the API server, or not.
    pub fn wrote(&self, outcome: &'static str) {
        self.writes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A report was answered.
    pub fn answered(&self, fate: &'static str, took: Duration) {
        self.reports.get_or_create(&[("fate", fate)]).inc();
        self.exchange_seconds.observe(took.as_secs_f64());
    }

    /// A report was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&[("reason", reason)]).inc();
    }

    /// A token was reviewed.
    pub fn reviewed(&self, outcome: &'static str) {
        self.reviews.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A round was added up.
    pub fn added_up(&self, counts: Counts, pace: Pace, took: Duration) {
        self.set(counts);
        self.interval_seconds.set(pace.period().as_secs_f64());
        self.resting.set(pace.is_resting().into());
        self.round_seconds.observe(took.as_secs_f64());
    }

    /// A term is over: another replica counts the agents now.
    pub fn term_ended(&self) {
        self.set(Counts::default());
    }

    fn set(&self, counts: Counts) {
        let Counts {
            agents,
            totals,
            podless,
            podless_left_out,
            designated,
            services,
            services_left_out,
            questions,
            images_ambiguous,
        } = counts;
        self.agents.set(agents as i64);
        self.totals.set(totals as i64);
        self.podless.set(podless as i64);
        self.podless_left_out.set(podless_left_out as i64);
        self.podless_agents.set(designated as i64);
        self.services.set(services as i64);
        self.services_left_out.set(services_left_out as i64);
        self.top_questions.set(questions as i64);
        self.images_ambiguous.set(images_ambiguous as i64);
    }

    /// Whether totals are served though the Lease has run out.
    pub fn serves_without_lease(&self, alone: bool) {
        self.without_lease.set(i64::from(alone));
    }

    /// The operator was told how the agents are.
    pub fn fleet_told(&self) {
        self.fleet_answers.inc();
    }

    /// What an agent says of itself was not within its bounds.
    pub fn health_ignored(&self) {
        self.healths_ignored.inc();
    }

    /// Somebody's right was reviewed.
    pub fn access_reviewed(&self, outcome: &'static str) {
        self.access_reviews
            .get_or_create(&[("outcome", outcome)])
            .inc();
    }

    /// Somebody was told what uses most.
    pub fn top_told(&self) {
        self.top_answers.inc();
    }

    /// So many questions of people made room for another one.
    pub fn questions_displaced(&self, questions: usize) {
        self.top_questions_displaced.inc_by(questions as u64);
    }

    /// Rows of an agent's answer were dropped.
    pub fn rows_dropped(&self, rows: usize) {
        self.top_rows_dropped.inc_by(rows as u64);
    }

    /// So many connections are open, and so many had to leave so far.
    pub fn connections(&self, open: usize, evicted: u64) {
        self.connections.set(open as i64);
        self.evicted.inner().store(evicted, Ordering::Relaxed);
    }

    /// A connection came to nothing.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// A certificate is used from now on; `ends` is when an own one expires, since 1970.
    pub fn certificate(&self, ends: Option<i64>) {
        self.certificates.inc();
        self.certificate_ends.set(ends.unwrap_or_default() as f64);
    }

    /// A certificate could not be read, made or published.
    pub fn certificate_failed(&self) {
        self.certificate_errors.inc();
    }

    /// A connection of the kubelet or a scraper was closed to make room for another.
    pub fn http_evicted(&self) {
        self.http_evicted.inc();
    }

    /// All metrics as OpenMetrics text; `claim_left` is what the claim says now.
    pub fn text(&self, claim_left: Option<Duration>) -> String {
        self.is_leader.set(i64::from(claim_left.is_some()));
        self.claim_seconds
            .set(claim_left.unwrap_or_default().as_secs_f64());
        self.newest.set_ages(&self.event_age);
        open_metrics(&self.registry)
    }
}

impl Watched for Metrics {
    fn watch_event(&self, kind: &'static str) {
        self.watch_events.get_or_create(&[("kind", kind)]).inc();
        self.newest.came(kind);
    }

    fn watch_error(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&[("kind", kind)]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Moment;

    #[test]
    fn the_text_is_open_metrics() {
        let metrics = Metrics::new();
        metrics.watch_event("Pod");
        metrics.answered("Taken", Duration::from_millis(1));
        metrics.refused("Token");
        metrics.reviewed("agent");
        let counts = Counts {
            agents: 3,
            totals: 2,
            podless: 500,
            podless_left_out: 7,
            designated: 2,
            services: 9,
            services_left_out: 4,
            questions: 3,
            images_ambiguous: 6,
        };
        let pace = Pace::new(5000, Moment::default());
        metrics.added_up(counts, pace, Duration::from_millis(1));
        metrics.fleet_told();
        metrics.health_ignored();
        metrics.access_reviewed("denied");
        metrics.top_told();
        metrics.questions_displaced(6);
        metrics.rows_dropped(2);
        metrics.serves_without_lease(true);
        metrics.connections(4, 5);
        metrics.certificate(Some(1_900_000_000));
        let text = metrics.text(Some(Duration::from_secs(7)));
        for line in [
            "scope_totals_is_leader 1",
            "scope_totals_claim_left_seconds 7.0",
            "scope_totals_watch_events_total{kind=\"Pod\"} 1",
            "scope_totals_reports_total{fate=\"Taken\"} 1",
            "scope_totals_refusals_total{reason=\"Token\"} 1",
            "scope_totals_token_reviews_total{outcome=\"agent\"} 1",
            "scope_totals_agents 3",
            "scope_totals_totals 2",
            "scope_totals_podless 500",
            "scope_totals_podless_left_out 7",
            "scope_totals_podless_agents 2",
            "scope_totals_services 9",
            "scope_totals_services_left_out 4",
            "scope_totals_images_ambiguous 6",
            "scope_totals_fleet_answers_total 1",
            "scope_totals_healths_ignored_total 1",
            "scope_totals_access_reviews_total{outcome=\"denied\"} 1",
            "scope_totals_top_answers_total 1",
            "scope_totals_top_questions 3",
            "scope_totals_top_questions_displaced_total 6",
            "scope_totals_top_rows_dropped_total 2",
            "scope_totals_serves_without_lease 1",
            "scope_totals_interval_seconds 10.0",
            "scope_totals_resting 0",
            "scope_totals_connections 4",
            "scope_totals_connections_evicted_total 5",
            "scope_totals_certificate_end_timestamp_seconds 1900000000.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        metrics.term_ended();
        assert!(metrics.text(None).contains("scope_totals_agents 0"));
    }
}
