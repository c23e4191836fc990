//! Health and metrics over HTTP, for the kubelet and for monitoring.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use super::demand::{ASKED_LATELY, Demand};
use super::http_metrics::expose_http;
use super::metrics::{Exposition, Kind, OPEN_METRICS, SocketMetrics};
use super::publication::Publication;
use super::readiness::Readiness;
use super::sampler::{SamplerState, TICK_BOUNDS};
use super::totals_metrics::expose_totals;
use super::traffic_metrics::expose_traffic;
use crate::collect::Detail;
use crate::control::Desk;
use crate::http_rates::{HttpBoard, Standing};
use crate::inventory::InventoryWatch;
use crate::sample::Problems;
use crate::totals::TotalsBoard;
use crate::traffic::Board;
use crate::volumes::VolumeWatch;

/// A tick may be late by this much, besides three cadences, before the sampler counts as stuck:
/// enough for a machine that is out of memory for a moment.
const TICK_SLACK: Duration = Duration::from_secs(10);

/// How long a page of metrics is given to everybody who asks. Anybody on the network may, and a page
/// is written on the thread that answers Scope's probe; most of it changes once a second anyway.
const PAGE_LIFE: Duration = Duration::from_secs(1);

/// Everything that is told about the agent.
#[derive(Clone)]
pub struct Health {
    /// The sampler.
    pub sampler: Arc<ArcSwap<SamplerState>>,
    /// The report.
    pub publication: Arc<Publication>,
    /// Who asks for it.
    pub demand: Arc<Demand>,
    /// The last check of the sockets.
    pub readiness: Arc<ArcSwap<Readiness>>,
    /// All listeners.
    pub listeners: Vec<Arc<SocketMetrics>>,
    /// The look at volumes, where there is one.
    pub volumes: Option<VolumeWatch>,
    /// The inventory, in a cluster.
    pub inventory: Option<InventoryWatch>,
    /// Where clicks are taken, with controls.
    pub desk: Option<Arc<Desk>>,
    /// What is known of the networks of pods, with the collector for them.
    pub board: Option<Arc<Board>>,
    /// How the counting of HTTP goes, with the collector for it.
    pub http: Option<Arc<HttpBoard>>,
    /// How the exchange of totals goes, where there is one.
    pub totals: Option<Arc<TotalsBoard>>,
    /// The plugin's ID.
    pub plugin_id: Arc<str>,
}

/// The page of metrics, written at most once in [`PAGE_LIFE`].
#[derive(Debug, Default)]
struct Page {
    written: Mutex<Option<(Instant, Bytes)>>,
}

impl Page {
    fn get(&self, now: Instant, write: impl FnOnce() -> String) -> Bytes {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, page)) = &*written
            && now.saturating_duration_since(*at) < PAGE_LIFE
        {
            return page.clone();
        }
        let page = Bytes::from(write());
        *written = Some((now, page.clone()));
        page
    }
}

struct Served {
    health: Health,
    page: Page,
}

/// The routes.
pub fn health(health: Health) -> Router {
    let page = Page::default();
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(Served { health, page }))
}

/// Alive: the sampler ticks. The API server being away does not count, a restart does not help.
async fn healthz(State(served): State<Arc<Served>>) -> Response {
    let state = served.health.sampler.load();
    let age = state.last.elapsed();
    if age <= state.cadence * 3 + TICK_SLACK {
        return "ok\n".into_response();
    }
    let said = format!("the node was last sampled {} s ago\n", age.as_secs());
    (StatusCode::SERVICE_UNAVAILABLE, said).into_response()
}

/// Ready: Scope can read every socket. What cannot be read of the node is no reason not to be.
async fn readyz(State(served): State<Arc<Served>>) -> Response {
    match served.health.readiness.load().problem() {
        None => {
            let http = served.health.http.as_ref().map(|board| board.standing());
            ready(&served.health.sampler.load().problems, http.as_ref()).into_response()
        }
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")).into_response(),
    }
}

/// "ok", which data reports have to do without, and how HTTP is counted or why not.
fn ready(problems: &Problems, http: Option<&Standing>) -> String {
    let mut text = match problems.not_available() {
        None => "ok\n".to_owned(),
        Some(lacking) => format!("ok; not available: {lacking}\n"),
    };
    if let Some(standing) = http.filter(|standing| !standing.said.is_empty()) {
        text.push_str(&standing.said);
        text.push('\n');
    }
    text
}

async fn metrics(State(served): State<Arc<Served>>) -> Response {
    let page = served.page.get(Instant::now(), || served.health.expose());
    ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response()
}

impl Health {
    /// The page of metrics.
    pub fn expose(&self) -> String {
        let mut page = Exposition::default();
        page.family("scope_agent_build", Kind::Info, "The agent.");
        page.sample(
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("plugin", &self.plugin_id),
            ],
            1,
        );
        self.expose_sampler(&mut page);
        self.expose_demand(&mut page);
        let listeners: Vec<&SocketMetrics> = self.listeners.iter().map(AsRef::as_ref).collect();
        SocketMetrics::expose(&listeners, &mut page);
        let readiness = self.readiness.load();
        page.family(
            "scope_agent_ready",
            Kind::Gauge,
            "1 when Scope can read every socket.",
        );
        page.sample(&[], u8::from(readiness.problem().is_none()));
        page.family(
            "scope_agent_check_failures",
            Kind::Counter,
            "Failed checks of own sockets.",
        );
        page.sample(&[], readiness.failures);
        if let Some(inventory) = &self.inventory {
            expose_inventory(inventory, &mut page);
        }
        if let Some(volumes) = &self.volumes {
            expose_volumes(volumes, &mut page);
        }
        if let Some(desk) = &self.desk {
            page.family("scope_agent_clicks", Kind::Counter, "Clicks, by outcome.");
            for (outcome, n) in desk.counts() {
                page.sample(&[("outcome", outcome)], n);
            }
            let containers = desk.containers();
            page.family(
                "scope_agent_frozen_containers",
                Kind::Gauge,
                "Containers that a click froze and nothing thawed yet.",
            );
            page.sample(&[], containers.frozen().load().len());
            page.family(
                "scope_agent_shaped_pods",
                Kind::Gauge,
                "Pods whose traffic a click shaped and nothing cleared yet.",
            );
            page.sample(&[], containers.shaped_pods());
            page.family(
                "scope_agent_shaping_leftovers",
                Kind::Counter,
                "Settings of this plugin that had no deadline, and were cleared.",
            );
            page.sample(&[], containers.leftovers());
            page.family(
                "scope_agent_records",
                Kind::Counter,
                "Records of what was done to containers, by outcome.",
            );
            for (outcome, n) in containers.records().each() {
                page.sample(&[("outcome", outcome)], n);
            }
        }
        if let Some(board) = &self.board {
            expose_traffic(board, &mut page);
        }
        if let Some(http) = &self.http {
            expose_http(&http.standing(), &mut page);
        }
        if let Some(totals) = &self.totals {
            expose_totals(totals, &mut page);
        }
        expose_process(&mut page);
        page.finish()
    }

    fn expose_sampler(&self, page: &mut Exposition) {
        let state = self.sampler.load();
        page.family(
            "scope_agent_tick_seconds",
            Kind::Histogram,
            "Time to sample and render.",
        );
        page.histogram(&TICK_BOUNDS, &state.times, state.busy.as_secs_f64());
        page.family(
            "scope_agent_ticks_skipped",
            Kind::Counter,
            "Ticks left out since an earlier one took too long.",
        );
        page.sample(&[], state.skipped);
        page.family(
            "scope_agent_tick_age_seconds",
            Kind::Gauge,
            "Since the last tick.",
        );
        page.sample(&[], state.last.elapsed().as_secs_f64());
        page.family(
            "scope_agent_cadence_seconds",
            Kind::Gauge,
            "Present time between ticks.",
        );
        page.sample(&[], state.cadence.as_secs_f64());
        page.family(
            "scope_agent_problems",
            Kind::Counter,
            "Data that could not be read and are missing from reports.",
        );
        for (datum, cause, problem) in state.problems.iter() {
            page.sample(
                &[("datum", datum.as_str()), ("cause", cause.as_str())],
                problem.count,
            );
        }
        let report = self.publication.get();
        page.family(
            "scope_agent_report_bytes",
            Kind::Gauge,
            "Size of the present report.",
        );
        page.sample(&[], report.body.len());
        page.family(
            "scope_agent_report_detail",
            Kind::Gauge,
            "1 for how much of what is known is in the present report: less when it would be too large.",
        );
        for detail in Detail::ALL {
            let present = detail == state.detail;
            page.sample(&[("detail", detail.as_str())], u8::from(present));
        }
    }

    fn expose_demand(&self, page: &mut Exposition) {
        page.family(
            "scope_agent_probes",
            Kind::Gauge,
            "Scope probes that asked within the last 10 s.",
        );
        page.sample(&[], self.demand.probes_within(ASKED_LATELY).len());
        page.family(
            "scope_agent_odd_probe_ids",
            Kind::Counter,
            "Requests whose probe_id was none that a probe gives; they get no probe's report.",
        );
        page.sample(&[], self.demand.odd_ids());
        page.family(
            "scope_agent_asked_age_seconds",
            Kind::Gauge,
            "Since somebody asked for a report, or the start.",
        );
        page.sample(&[], self.demand.idle_for().as_secs_f64());
    }
}

fn expose_inventory(inventory: &InventoryWatch, page: &mut Exposition) {
    let state = inventory.state.load();
    page.family(
        "scope_agent_inventory_pods",
        Kind::Gauge,
        "Pods known to run on this node.",
    );
    page.sample(&[], state.pods);
    page.family(
        "scope_agent_inventory_contested_pods",
        Kind::Gauge,
        "Pods that go by another ID than they claim, since that belongs to another pod.",
    );
    page.sample(&[], state.contested);
    page.family(
        "scope_agent_inventory_refused_pods",
        Kind::Counter,
        "How often a pod was left out since more are bound to this node than any node can run.",
    );
    page.sample(&[], state.refused);
    page.family(
        "scope_agent_inventories",
        Kind::Counter,
        "Inventories made since the pods or their owners changed.",
    );
    page.sample(&[], state.inventories);
    page.family(
        "scope_agent_inventory_age_seconds",
        Kind::Gauge,
        "Since the API server last told anything; absent before it did.",
    );
    if let Some(age) = inventory.contact.age() {
        page.sample(&[], age.as_secs_f64());
    }
    page.family(
        "scope_agent_inventory_failures",
        Kind::Counter,
        "Failures of the pod watch.",
    );
    for (operation, n) in &state.failures {
        page.sample(&[("operation", operation)], n);
    }
    page.family(
        "scope_agent_inventory_lookups",
        Kind::Counter,
        "Lookups of owners and namespaces, by outcome.",
    );
    for (outcome, n) in &state.lookups {
        page.sample(&[("outcome", outcome)], n);
    }
}

fn expose_volumes(volumes: &VolumeWatch, page: &mut Exposition) {
    let (fresh, counts) = volumes.counts();
    page.family(
        "scope_agent_volume_file_systems",
        Kind::Gauge,
        "Volumes that are file systems of their own, by whether they say how full they are.",
    );
    for (state, n) in [
        ("fresh", fresh),
        ("stuck", counts.stuck),
        ("not_asked", counts.not_asked),
    ] {
        page.sample(&[("state", state)], n);
    }
    page.family(
        "scope_agent_volume_answers",
        Kind::Counter,
        "Questions to file systems of volumes, by outcome; gone is what is mounted no more, late ones were not \
         answered in time.",
    );
    for (outcome, n) in [
        ("answered", counts.answered),
        ("failed", counts.failed),
        ("gone", counts.gone),
        ("late", counts.late),
    ] {
        page.sample(&[("outcome", outcome)], n);
    }
}

/// What the process itself costs, read now and under the names that everybody uses.
fn expose_process(page: &mut Exposition) {
    let Ok(stat) = procfs::process::Process::myself().and_then(|me| me.stat()) else {
        return;
    };
    let ticks = (stat.utime + stat.stime) as f64;
    page.family(
        "process_cpu_seconds",
        Kind::Counter,
        "CPU used by the agent.",
    );
    page.sample(&[], ticks / procfs::ticks_per_second() as f64);
    page.family(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Memory of the agent.",
    );
    page.sample(&[], stat.rss * procfs::page_size());
    page.family("process_threads", Kind::Gauge, "Threads of the agent.");
    page.sample(&[], stat.num_threads);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_rates::{HttpLook, Off};
    use crate::sample::{Cause, Datum};

    #[test]
    fn who_is_ready_says_what_is_not_available() {
        let mut problems = Problems::default();
        problems.add(Datum::HostCpu, Cause::Malformed, String::new);
        assert_eq!(ready(&problems, None), "ok\n");
        let mut standing = HttpLook::new(Err(Off {
            cause: Cause::Denied,
            why: "No.".into(),
        }))
        .board()
        .standing();
        let said = "ok\nHTTPStatistics is off: No.\n";
        assert_eq!(ready(&problems, Some(&standing)), said);
        standing.said.clear();
        assert_eq!(ready(&problems, Some(&standing)), "ok\n");
        problems.add(Datum::OpenFiles, Cause::Denied, String::new);
        problems.add(Datum::HostPressure, Cause::Absent, String::new);
        assert_eq!(
            ready(&problems, None),
            "ok; not available: open descriptors of a process (permission denied), pressure (PSI) \
             of the host (not provided by this kernel or runtime)\n"
        );
    }

    #[test]
    fn a_page_is_written_once_a_second_however_many_ask() {
        let page = Page::default();
        let start = Instant::now();
        let mut times_written = 0;
        for millis in 0..3500 {
            let got = page.get(start + Duration::from_millis(millis), || {
                times_written += 1;
                times_written.to_string()
            });
            assert_eq!(got, (millis / 1000 + 1).to_string());
        }
        assert_eq!(times_written, 4);
    }
}
