//! What the operator counts. Objects' names are no labels, but for those of a bounded number of plugins, so
//! the number of series is fixed.

use std::{
    collections::BTreeMap,
    sync::atomic::AtomicI64,
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use scope_process::{
    metrics::{Float, Newest, One, Two, open_metrics},
    watches::Watched,
};

use crate::{guarded::Took, queue::Queue};

/// A plugin's own name stands for so many; a metric per plugin must not grow without end.
const NAMED_PLUGINS: usize = 64;

/// How a plugin stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PluginFigures {
    /// What its rollout does.
    pub(crate) phase: &'static str,
    /// Nodes by state, of which there are seven at most.
    pub(crate) nodes: Vec<(&'static str, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginState {
    plugin: String,
    state: &'static str,
}

/// All metrics of the process.
pub(crate) struct Metrics {
    registry: Registry,
    is_leader: Gauge<i64, AtomicI64>,
    claim_seconds: Float,
    terms: Counter,
    watch_events: Family<One, Counter>,
    watch_errors: Family<One, Counter>,
    event_age: Family<One, Float>,
    undecodable: Family<One, Counter>,
    reconciles: Family<One, Counter>,
    writes: Family<Two, Counter>,
    drift: Counter,
    rollouts: Family<One, Counter>,
    rollout_seconds: Histogram,
    pod_deletes: Family<One, Counter>,
    agents_asked: Family<One, Counter>,
    totals_asks: Family<One, Counter>,
    phases: Family<One, Gauge>,
    nodes: Family<PluginState, Gauge>,
    reconcile_seconds: Histogram,
    reconcile_cpu: Histogram,
    queue: Queue,
    queue_depth: Gauge,
    queue_seconds: Histogram,
    actions: Family<Two, Counter>,
    action_seconds: Histogram,
    actions_deferred: Counter,
    indexed: Family<One, Gauge>,
    actions_panicked: Counter,
    events_lost: Counter,
    http_evicted: Counter,
    newest: Newest,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("scope_operator");
        let is_leader = Gauge::default();
        let claim_seconds = Float::default();
        let terms = Counter::default();
        let watch_events = Family::default();
        let watch_errors = Family::default();
        let event_age = Family::default();
        let undecodable = Family::default();
        let reconciles = Family::default();
        let writes = Family::default();
        let drift = Counter::default();
        let rollouts = Family::default();
        // 1 s to about 9 h.
        let rollout_seconds = Histogram::new(exponential_buckets(1.0, 2.0, 16));
        let pod_deletes = Family::default();
        let agents_asked = Family::default();
        let totals_asks = Family::default();
        let phases = Family::default();
        let nodes = Family::default();
        // 0.1 ms to about 0.8 s.
        let reconcile_seconds = Histogram::new(exponential_buckets(0.0001, 2.0, 14));
        let reconcile_cpu = Histogram::new(exponential_buckets(0.0001, 2.0, 14));
        let queue_depth = Gauge::default();
        // 50 ms, half of what every look waits for further events, to about 100 s.
        let queue_seconds = Histogram::new(exponential_buckets(0.05, 2.0, 12));
        let actions = Family::default();
        // 5 ms to 5 s: a click should be done before the agent's 400 ms are over.
        let action_seconds = Histogram::new(exponential_buckets(0.005, 2.0, 11));
        let actions_deferred = Counter::default();
        let indexed = Family::default();
        let actions_panicked = Counter::default();
        let events_lost = Counter::default();
        let http_evicted = Counter::default();
        registry.register(
            "is_leader",
            "1 while this replica may write",
            is_leader.clone(),
        );
        registry.register_with_unit(
            "claim_left",
            "How long this replica may still write unless it renews its Lease",
            Unit::Seconds,
            claim_seconds.clone(),
        );
        registry.register(
            "terms",
            "Times that this replica began to lead",
            terms.clone(),
        );
        registry.register(
            "watch_events",
            "Events received, by kind",
            watch_events.clone(),
        );
        registry.register(
            "watch_errors",
            "Failed lists and watches, by kind",
            watch_errors.clone(),
        );
        registry.register_with_unit(
            "newest_event_age",
            "Age of the newest event, by kind; quiet kinds grow old",
            Unit::Seconds,
            event_age.clone(),
        );
        registry.register(
            "undecodable_objects",
            "Objects received that this version cannot read, by kind",
            undecodable.clone(),
        );
        registry.register(
            "reconciles",
            "Looks at ScopePlugins, by outcome",
            reconciles.clone(),
        );
        registry.register("writes", "Writes by object and outcome", writes.clone());
        registry.register(
            "drift_repaired",
            "Changes by others that were taken back",
            drift.clone(),
        );
        registry.register(
            "rollouts",
            "Rollouts that ended, by outcome",
            rollouts.clone(),
        );
        registry.register_with_unit(
            "rollout_duration",
            "Time from a rollout's begin to its end",
            Unit::Seconds,
            rollout_seconds.clone(),
        );
        registry.register(
            "pod_deletes",
            "Requests to delete a pod that has to be replaced, by outcome",
            pod_deletes.clone(),
        );
        registry.register(
            "agents_asked",
            "Questions to agents that are not ready, why that is so, by outcome; `Cut` answers are told in part, `NotAsked` had to wait",
            agents_asked.clone(),
        );
        registry.register(
            "totals_asks",
            "Questions to scope-totals how the agents are, by outcome, which is `Told` or the reason of the condition ScopeConnected",
            totals_asks.clone(),
        );
        registry.register(
            "plugins",
            "ScopePlugins by what their rollout does, as far as this replica leads",
            phases.clone(),
        );
        registry.register(
            "nodes",
            "Nodes by plugin and state, `asked` and `silent` among them as far as scope-totals tells whether Scope asks their agents; the plugins beyond the first 64 are counted as `other`",
            nodes.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Time of a look at a ScopePlugin, less the time in which it waited for the API server and for agents",
            Unit::Seconds,
            reconcile_seconds.clone(),
        );
        registry.register_with_unit(
            "reconcile_cpu",
            "What a look at a ScopePlugin had of a core",
            Unit::Seconds,
            reconcile_cpu.clone(),
        );
        registry.register(
            "queue_depth",
            "ScopePlugins whose look was asked for and has not begun",
            queue_depth.clone(),
        );
        registry.register_with_unit(
            "queue_wait",
            "Time from when a look was asked for until it began, a tenth of a second for further events included",
            Unit::Seconds,
            queue_seconds.clone(),
        );
        registry.register(
            "actions",
            "Finished actions by control and outcome, those that agents carried out included",
            actions.clone(),
        );
        registry.register_with_unit(
            "action_duration",
            "Time from an action's arrival here to its outcome, without those that agents carried out",
            Unit::Seconds,
            action_seconds.clone(),
        );
        registry.register(
            "actions_deferred",
            "Actions that had to wait since too many were under way",
            actions_deferred.clone(),
        );
        registry.register(
            "indexed_objects",
            "Objects that can be found by their UID, by kind",
            indexed.clone(),
        );
        registry.register(
            "actions_panicked",
            "Tasks of the action controller that a bug of the operator cut off",
            actions_panicked.clone(),
        );
        registry.register(
            "events_lost",
            "Events that could not be published",
            events_lost.clone(),
        );
        registry.register(
            "http_connections_evicted",
            "Idle HTTP connections closed to make room for new ones",
            http_evicted.clone(),
        );
        Self {
            registry,
            is_leader,
            claim_seconds,
            terms,
            watch_events,
            watch_errors,
            event_age,
            undecodable,
            reconciles,
            writes,
            drift,
            rollouts,
            rollout_seconds,
            pod_deletes,
            agents_asked,
            totals_asks,
            phases,
            nodes,
            reconcile_seconds,
            reconcile_cpu,
            queue: Queue::default(),
            queue_depth,
            queue_seconds,
            actions,
            action_seconds,
            actions_deferred,
            indexed,
            actions_panicked,
            events_lost,
            http_evicted,
            newest: Newest::default(),
        }
    }

    pub(crate) fn term_began(&self) {
        self.terms.inc();
    }

    pub(crate) fn undecodable(&self, kind: &'static str) {
        self.undecodable.get_or_create(&[("kind", kind)]).inc();
    }

    pub(crate) fn reconciled(&self, outcome: &'static str) {
        self.reconciles.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn wrote(&self, object: &'static str, outcome: &'static str) {
        self.writes
            .get_or_create(&[("object", object), ("outcome", outcome)])
            .inc();
    }

    pub(crate) fn drift_repaired(&self) {
        self.drift.inc();
    }

    pub(crate) fn pod_deleted(&self, outcome: &'static str) {
        self.pod_deletes
            .get_or_create(&[("outcome", outcome)])
            .inc();
    }

    pub(crate) fn agent_asked(&self, outcome: &'static str) {
        self.agents_asked
            .get_or_create(&[("outcome", outcome)])
            .inc();
    }

    pub(crate) fn rollout_ended(&self, outcome: &'static str, took: Option<Duration>) {
        self.rollouts.get_or_create(&[("outcome", outcome)]).inc();
        if let Some(took) = took {
            self.rollout_seconds.observe(took.as_secs_f64());
        }
    }

    /// A look at this plugin was asked for.
    pub(crate) fn look_asked(&self, plugin: &str) {
        self.queue.asked(plugin, Instant::now());
    }

    /// The look at this plugin begins.
    pub(crate) fn look_began(&self, plugin: &str) {
        if let Some(waited) = self.queue.taken(plugin, Instant::now()) {
            self.queue_seconds.observe(waited.as_secs_f64());
        }
    }

    /// There is nothing to look at: the plugin is gone.
    pub(crate) fn look_dropped(&self, plugin: &str) {
        self.queue.taken(plugin, Instant::now());
    }

    /// A look took so much by itself.
    pub(crate) fn looked(&self, took: Took) {
        self.reconcile_seconds.observe(took.time.as_secs_f64());
        self.reconcile_cpu.observe(took.cpu.as_secs_f64());
    }

    /// How all plugins stand: what their rollouts do, and their nodes.
    pub(crate) fn plugins(&self, plugins: &BTreeMap<String, PluginFigures>) {
        self.phases.clear();
        self.nodes.clear();
        for (n, (name, figures)) in plugins.iter().enumerate() {
            self.phases.get_or_create(&[("phase", figures.phase)]).inc();
            let plugin = if n < NAMED_PLUGINS { name } else { "other" };
            for &(state, count) in &figures.nodes {
                let labels = PluginState {
                    plugin: plugin.to_owned(),
                    state,
                };
                self.nodes.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// `took` is nothing for what an agent did, which only it can time.
    pub(crate) fn action(
        &self,
        control: &'static str,
        phase: &'static str,
        took: Option<Duration>,
    ) {
        self.actions
            .get_or_create(&[("control", control), ("phase", phase)])
            .inc();
        if let Some(took) = took {
            self.action_seconds.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn totals_asked(&self, outcome: &'static str) {
        self.totals_asks
            .get_or_create(&[("outcome", outcome)])
            .inc();
    }

    pub(crate) fn action_deferred(&self) {
        self.actions_deferred.inc();
    }

    /// So many objects of a kind can be found by their UID.
    pub(crate) fn indexed(&self, kind: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.indexed.get_or_create(&[("kind", kind)]).set(count);
    }

    pub(crate) fn action_panicked(&self) {
        self.actions_panicked.inc();
    }

    pub(crate) fn event_lost(&self) {
        self.events_lost.inc();
    }

    pub(crate) fn http_evicted(&self) {
        self.http_evicted.inc();
    }

    /// All metrics as OpenMetrics text; `claim_left` is what the claim says now.
    pub(crate) fn text(&self, claim_left: Option<Duration>) -> String {
        self.is_leader.set(i64::from(claim_left.is_some()));
        let depth = i64::try_from(self.queue.depth()).unwrap_or(i64::MAX);
        self.queue_depth.set(depth);
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

    #[test]
    fn the_text_is_open_metrics() {
        let metrics = Metrics::new();
        metrics.watch_event("ScopePlugin");
        metrics.wrote("DaemonSet", "done");
        metrics.action("DeletePod", "Succeeded", Some(Duration::from_millis(30)));
        metrics.action("ThawContainer", "Succeeded", None);
        metrics.look_asked("waits");
        metrics.look_asked("began");
        metrics.look_began("began");
        metrics.look_asked("gone");
        metrics.look_dropped("gone");
        let text = metrics.text(Some(Duration::from_secs(7)));
        for line in [
            "scope_operator_is_leader 1",
            "scope_operator_claim_left_seconds 7.0",
            "scope_operator_watch_events_total{kind=\"ScopePlugin\"} 1",
            "scope_operator_writes_total{object=\"DaemonSet\",outcome=\"done\"} 1",
            "scope_operator_actions_total{control=\"DeletePod\",phase=\"Succeeded\"} 1",
            "scope_operator_actions_total{control=\"ThawContainer\",phase=\"Succeeded\"} 1",
            "scope_operator_action_duration_seconds_count 1",
            "scope_operator_queue_depth 1",
            "scope_operator_queue_wait_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(metrics.text(None).contains("scope_operator_is_leader 0"));
    }
}
