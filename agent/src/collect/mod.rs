//! From usage and inventory to the report of the reporter socket.

mod composer;
mod container;
mod controllers;
mod description;
mod host;
pub mod http;
mod images;
mod kubernetes;
pub mod metric;
mod podless;
mod services;
mod share;
mod traffic;
mod volumes;

use std::time::Duration;

use scope_protocol::{ProbeSlots, Report, Topology, encode_for_probes};
use serde::{Deserialize, Serialize};

use crate::Collectors;
use crate::attribution::Usage;
use crate::container_control::SparedPods;
use crate::sample::Mode;
use crate::totals::Totals;
use composer::Composer;

pub use composer::Detail;
pub(crate) use container::short_id;
pub use share::{Cycle, Share};
pub use traffic::{PodTraffic, Traffic};

/// What the report depends on besides the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// ID of the plugin: the base name of the reporter socket.
    pub plugin_id: String,
    /// What Scope shows in its list of plugins.
    pub label: String,
    /// The tooltip there; generated if `None`. What cannot be read is added to it.
    pub description: Option<String>,
    /// What the probe on this node calls the host.
    pub host: String,
    /// What is collected.
    pub collectors: Collectors,
    /// Whether to supply what Scope's probe fails to report on CRI runtimes.
    pub mend: Mend,
    /// How often a report is made at present.
    pub cadence: Duration,
    /// The controls to name in nodes.
    pub controls: ControlNames,
    /// The pods whose containers have none of them.
    pub spared: SparedPods,
    /// Which of the parts that rarely change go into this report.
    pub share: Share,
    /// What is known of the networks of pods; `None` where nobody looks at them.
    pub traffic: Option<Traffic>,
    /// What is known of controllers in the whole cluster; `None` where nobody asks for it.
    pub totals: Option<Totals>,
}

/// When to supply what Scope's probe fails to report on CRI runtimes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mend {
    /// When the runtime is not Docker. In a cluster not before a container is known.
    #[default]
    Auto,
    /// On every runtime.
    Always,
    /// On none.
    Never,
}

/// The controls that are offered on nodes, as Scope knows them: `<controls socket>~<control>`. In this
/// form the processes of a node also tell each other what they offer: a kind of node that is not known
/// is one of a later version, and is skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlNames {
    /// On pods.
    pub pod: Vec<String>,
    /// On Deployments.
    pub deployment: Vec<String>,
    /// On StatefulSets.
    pub stateful_set: Vec<String>,
    /// On DaemonSets.
    pub daemon_set: Vec<String>,
    /// On CronJobs.
    pub cron_job: Vec<String>,
    /// On the host, as far as it is a node of Kubernetes.
    pub host: Vec<String>,
    /// On containers that run.
    pub container: Vec<String>,
    /// On containers that are frozen.
    pub frozen_container: Vec<String>,
    /// On containers in either state whose pod has a network of its own.
    pub network: Vec<String>,
}

impl ControlNames {
    /// Those on controllers of this kind.
    fn on_controller(&self, topology: Topology) -> &[String] {
        match topology {
            Topology::Deployment => &self.deployment,
            Topology::StatefulSet => &self.stateful_set,
            Topology::DaemonSet => &self.daemon_set,
            Topology::CronJob => &self.cron_job,
            _ => &[],
        }
    }
}

/// The largest body: what a probe decodes in 60 to 80 ms, of 500 ms for the whole request.
pub const MAX_BODY: usize = 4_000_000;

/// What was put into a body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    /// How much of what is known.
    pub detail: Detail,
    /// Where the asking probe's ID belongs.
    pub slots: ProbeSlots,
}

/// The report of the reporter socket. The same arguments give the same report.
pub fn report(usage: &Usage, mode: Mode<'_>, settings: &Settings) -> Report {
    compose(usage, mode, settings, Detail::Full)
}

/// Puts the report as the body of an answer in the place of what is in `body`. Where it would be
/// larger than [`MAX_BODY`], the least important parts are left out and the description says so.
pub fn render(usage: &Usage, mode: Mode<'_>, settings: &Settings, body: &mut Vec<u8>) -> Contents {
    render_at_most(usage, mode, settings, Detail::Full, body)
}

/// As [`render`], with this detail at the most: who knows that the last report was too large saves
/// the tries that would fail.
pub fn render_at_most(
    usage: &Usage,
    mode: Mode<'_>,
    settings: &Settings,
    most: Detail,
    body: &mut Vec<u8>,
) -> Contents {
    render_within(usage, mode, settings, most, body, MAX_BODY)
}

fn render_within(
    usage: &Usage,
    mode: Mode<'_>,
    settings: &Settings,
    most: Detail,
    body: &mut Vec<u8>,
    limit: usize,
) -> Contents {
    let turns_help = settings.share == Share::Whole && Cycle::at(settings.cadence).is_some();
    let mut contents = Contents::default();
    for detail in Detail::ALL {
        // Turns may be taken already, or too long for what Scope remembers.
        if detail < most || (detail == Detail::Turns && !turns_help) {
            continue;
        }
        body.clear();
        let report = compose(usage, mode, settings, detail);
        let slots = encode_for_probes(&report, body);
        let largest = slots.filled_len(body.len());
        contents = Contents { detail, slots };
        if largest <= limit {
            break;
        }
    }
    contents
}

fn compose(usage: &Usage, mode: Mode<'_>, settings: &Settings, detail: Detail) -> Report {
    let mut composer = Composer::new(usage, mode, settings, detail);
    if detail < Detail::Pods {
        container::add(&mut composer);
    }
    if detail < Detail::Nothing {
        kubernetes::add(&mut composer);
        host::add(&mut composer);
        http::add_processes(&mut composer);
    }
    composer.report
}

/// Settings to begin with in tests.
#[cfg(test)]
fn settings() -> Settings {
    Settings {
        plugin_id: "x".into(),
        label: "x".into(),
        description: Some("Mine.".into()),
        host: "node1".into(),
        collectors: Collectors::default(),
        mend: Mend::Always,
        cadence: Duration::from_secs(1),
        controls: ControlNames::default(),
        spared: SparedPods::default(),
        traffic: None,
        totals: None,
        share: Share::Whole,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use scope_protocol::Timestamp;

    use super::*;
    use crate::attribution::{
        ContainerUsage, Figures, HostUsage, Memory, ProcessTotals, ProcessUsage,
    };
    use crate::http_rates::HttpUsage;
    use crate::sample::{Problems, ProcessName};

    /// A hundred pods of one container with ten processes each.
    fn usage() -> Usage {
        let figures = Figures {
            processes: Some(ProcessTotals {
                count: 10,
                threads: 1,
                rss: 1,
            }),
            memory: Some(Memory {
                working_set: 1,
                limit: None,
            }),
            ..Figures::default()
        };
        let ids: Vec<Arc<str>> = (0..100).map(|n| format!("{n:064}").into()).collect();
        let containers = ids.iter().map(|id| {
            let usage = ContainerUsage {
                figures,
                ..ContainerUsage::default()
            };
            (id.clone(), usage)
        });
        let process = |pid: u32| ProcessUsage {
            pid,
            name: ProcessName::default(),
            container: Some(ids[pid as usize % ids.len()].clone()),
            pod: None,
            cpu: None,
            rss: 1,
            threads: 1,
        };
        Usage {
            at: Timestamp::from_unix_micros(0),
            interval: None,
            host: HostUsage::default(),
            pods: ids.iter().map(|id| (id.clone(), figures)).collect(),
            containers: containers.collect(),
            processes: (1..=1000).map(process).collect(),
            volumes: Arc::default(),
            http: HttpUsage::default(),
            problems: Problems::default(),
        }
    }

    #[test]
    fn what_would_be_too_large_is_left_out_from_the_least_important() {
        let settings = settings();
        let usage = usage();
        let render = |limit| {
            let mut body = Vec::new();
            let all = Detail::Full;
            let contents =
                render_within(&usage, Mode::Standalone, &settings, all, &mut body, limit);
            (
                contents.detail,
                String::from_utf8(body).expect("JSON is UTF-8"),
            )
        };
        let mut limit = MAX_BODY;
        let mut texts = BTreeMap::new();
        loop {
            let (detail, text) = render(limit);
            assert!(
                text.len() <= limit || detail == Detail::Nothing,
                "{detail:?}"
            );
            let known = texts.insert(detail, text.clone());
            assert!(known.is_none(), "{detail:?} twice");
            if detail == Detail::Nothing {
                break;
            }
            limit = text.len() - 1;
        }
        assert_eq!(texts.keys().copied().collect::<Vec<_>>(), Detail::ALL);
        let links = |detail| texts[&detail].matches("\"parents\":{\"container\"").count();
        let has = |detail, what: &str| texts[&detail].contains(what);
        assert_eq!(links(Detail::Full), 1000);
        assert!((80..170).contains(&links(Detail::Turns)), "an eighth");
        assert!(has(Detail::Turns, "\"Mine.\""), "nothing is lost");
        assert!(links(Detail::FewProcesses) < 60 && links(Detail::NoProcesses) == 0);
        let said = "Mine. Too large, so left out: all but two of each container's processes.";
        assert!(has(Detail::FewProcesses, said));
        assert!(has(
            Detail::NoProcesses,
            "left out: the processes of containers."
        ));
        let threads = "\"threads\":{\"samples\"";
        let essential = "\"docker_memory_usage\":{\"samples\"";
        let count = |detail| texts[&detail].matches(threads).count();
        assert!(count(Detail::NoProcesses) > count(Detail::ContainerEssentials));
        assert!(has(Detail::ContainerEssentials, threads) && !has(Detail::Essential, threads));
        assert!(has(Detail::Essential, essential));
        assert!(has(Detail::Essential, "all metrics but CPU and memory."));
        assert!(has(Detail::Pods, essential) && !has(Detail::Pods, "docker_container_state"));
        assert!(has(Detail::Nothing, "left out: everything."));
        assert!(!has(Detail::Nothing, "\"metric_templates\""));
    }

    /// Whatever the cadence: of what can be larger than one report, all that is not said to be left
    /// out is there within 12 s.
    #[test]
    fn nobody_waits_for_a_turn_until_scope_forgets() {
        let mut usage = usage();
        for (millis, detail) in [
            (500, Detail::Turns),
            (1000, Detail::Turns),
            (1400, Detail::Turns),
            (2000, Detail::Turns),
            (2500, Detail::Turns),
            (3000, Detail::FewProcesses),
            (15_000, Detail::FewProcesses),
        ] {
            let mut settings = settings();
            settings.cadence = Duration::from_millis(millis);
            let mut linked = BTreeSet::new();
            for number in 0..(12_000 / millis).max(1) {
                usage.at = Timestamp::from_unix_micros((number * millis * 1000) as i64);
                let whole = report(&usage, Mode::Standalone, &settings);
                let mut body = Vec::new();
                encode_for_probes(&whole, &mut body);
                let limit = body.len() - 1;
                let all = Detail::Full;
                let mode = Mode::Standalone;
                let contents = render_within(&usage, mode, &settings, all, &mut body, limit);
                assert_eq!(contents.detail, detail, "{millis} ms");
                let part = compose(&usage, mode, &settings, contents.detail);
                linked.extend(part.topologies[&Topology::Process].nodes.keys().cloned());
                if detail > Detail::Turns {
                    let containers = &part.topologies[&Topology::Container].nodes;
                    assert!(
                        containers
                            .values()
                            .all(|node| node.metrics.contains_key("threads"))
                    );
                }
            }
            let all = if detail == Detail::Turns { 1000 } else { 200 };
            assert_eq!(linked.len(), all, "{millis} ms");
        }
    }

    #[test]
    fn who_takes_turns_already_loses_nothing_by_them() {
        let mut settings = settings();
        settings.share = Share::Turn {
            number: 1,
            cycle: Cycle::SECOND,
        };
        let mut body = Vec::new();
        let usage = usage();
        let full = Detail::Full;
        render_within(
            &usage,
            Mode::Standalone,
            &settings,
            full,
            &mut body,
            MAX_BODY,
        );
        let limit = body.len() - 1;
        let contents = render_within(&usage, Mode::Standalone, &settings, full, &mut body, limit);
        assert_eq!(contents.detail, Detail::FewProcesses);
        let contents = render_at_most(&usage, Mode::Standalone, &settings, Detail::Pods, &mut body);
        assert_eq!(contents.detail, Detail::Pods);
    }
}
