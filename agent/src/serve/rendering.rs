//! One tick: sample, attribution, report, bytes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use scope_crds::{Collector, Control};
use scope_protocol::{PluginSpec, Report, Topology, encode};

use super::config::{Cluster, Config};
use super::offered::OfferReader;
use super::sampler::{Render, Rendered, Tick};
use crate::attribution::{Usage, attribute};
use crate::collect::{ControlNames, Cycle, Detail, Settings, Share, Traffic, render_at_most};
use crate::control::{
    active_on_container, active_on_network, control_ids, places_of, scope_control_id,
};
use crate::http_rates::{HttpLook, Sampled, has_other_pids};
use crate::inventory::Inventory;
use crate::sample::{Cause, Datum, Mode, Problems, Sampler, system_clock};
use crate::totals::{Measured, TotalsBoard, found, sums};
use crate::traffic::{Board, Button, Features, Seen, Way};
use crate::volumes::VolumeWatch;

/// A body up to this size goes out whole in every tick: Scope's probe pays about 19 ms per MB, so 5 ms a
/// second. Above it, what need not be fresh takes turns.
const WHOLE_BODY: usize = 256 * 1024;
/// A body in turns is some 40 % of the whole one. Below this the whole one is surely small again.
const SMALL_TURN: usize = WHOLE_BODY / 4;

/// So many ticks a report that was too large for all that is known is tried again with all of it:
/// each try costs the rendering of a large report.
const TRY_AGAIN: u64 = 30;

/// What the report of this configuration depends on.
pub fn settings(config: &Config, traffic: Option<&Board>) -> Settings {
    Settings {
        plugin_id: config.plugin_id.clone(),
        label: config.label.clone(),
        description: config.description.clone(),
        host: config.host.clone(),
        collectors: config.collectors,
        mend: config.mend,
        cadence: config.sample_interval,
        controls: control_names(config, traffic),
        spared: config
            .cluster
            .as_ref()
            .map(Cluster::spared_pods)
            .unwrap_or_default(),
        share: Share::Whole,
        traffic: None,
        totals: None,
    }
}

/// The controls of this configuration by kind of node.
pub(super) fn control_names(config: &Config, traffic: Option<&Board>) -> ControlNames {
    let named = |id: &str| scope_control_id(&config.plugin_id, id);
    let names = |controls: BTreeSet<Control>| -> Vec<String> {
        let ids = controls.into_iter().flat_map(control_ids);
        ids.map(named).collect()
    };
    let enabled = config.controls();
    let on = |topology: Topology| {
        let is_for = |control: &Control| places_of(*control).iter().any(|(of, _)| *of == topology);
        names(enabled.iter().copied().filter(is_for).collect())
    };
    let buttons = traffic
        .map(|board| active_on_network(&enabled, board.features()))
        .unwrap_or_default();
    let ids = buttons.into_iter().map(Button::id);
    ControlNames {
        network: ids.map(named).collect(),
        container: names(active_on_container(false, &enabled)),
        frozen_container: names(active_on_container(true, &enabled)),
        pod: on(Topology::Pod),
        deployment: on(Topology::Deployment),
        stateful_set: on(Topology::StatefulSet),
        daemon_set: on(Topology::DaemonSet),
        cron_job: on(Topology::CronJob),
        host: on(Topology::Host),
    }
}

/// The report before the first sample: the plugin alone. Nothing is invented.
pub fn empty_report(config: &Config) -> Vec<u8> {
    let mut body = Vec::new();
    let description = config.description.clone();
    let report = Report::new(PluginSpec {
        id: config.plugin_id.clone(),
        label: config.label.clone(),
        description: description.unwrap_or_else(|| "starting; no sample yet".to_owned()),
        controller: false,
    });
    encode(&report, &mut body);
    body
}

/// The sampler's work. The inventory is looked up at each tick; `None` without Kubernetes. Of the networks of
/// pods it tells what stands on the board, and says there through which processes they are looked at. HTTP is
/// read in each tick, where somebody counts it. For the exchange of totals it is added up when that asks, and
/// what came back is shown.
pub fn renderer(
    config: &Config,
    inventory: Option<Arc<ArcSwap<Inventory>>>,
    volumes: VolumeWatch,
    board: Option<Arc<Board>>,
    mut http: Option<HttpLook>,
    totals: Option<Arc<TotalsBoard>>,
) -> Render {
    let other_pids = has_other_pids(&config.roots.proc);
    let looks_at_volumes = config.collectors.has(Collector::VolumeCount);
    let mut look = 0;
    let mut traffic_look = 0;
    let mut settings = settings(config, board.as_deref());
    let mend = config.mend;
    let mut offers = OfferReader::new(
        &config.plugin_dir,
        &config.plugin_id,
        settings.controls.clone(),
    );
    let mut sampler = Sampler::new(config.roots.clone(), config.collectors, system_clock());
    let mut previous = None;
    let mut told = Problems::default();
    let mut problems = Problems::default();
    let mut capacity = 0;
    let mut large = false;
    let mut last = (Share::Whole, Detail::Full);
    Box::new(move |tick: &Tick| {
        let inventory = inventory.as_ref().map(|shared| shared.load_full());
        let mode = inventory.as_deref().map_or(Mode::Standalone, Mode::Cluster);
        let looked = tokio::time::Instant::now();
        let sample = match tick.reported {
            true => sampler.take(mode),
            false => sampler.take_between(mode),
        };
        let mut usage = attribute(previous.as_ref(), &sample, mode);
        if looks_at_volumes {
            volumes.tell_processes(&usage);
            let now = volumes.now();
            for (cause, path) in now.problems.iter().filter(|_| now.number != look) {
                sampler.note(Datum::VolumeUse, *cause, path);
            }
            look = now.number;
            usage.volumes = now.uses;
        }
        let seen = board.as_ref().map(|board| board.seen());
        if let Some(seen) = &seen {
            for (cause, example) in failures(seen, &mut traffic_look) {
                sampler.note(Datum::PodTraffic, cause, example);
            }
        }
        if let Some(http) = &mut http {
            let mut node = Sampled {
                sample: &sample,
                usage: &usage,
                sampler: &mut sampler,
                other_pids,
            };
            let (rates, problem) = http.look(sample.at.monotonic, &mut node);
            if let Some(why) = problem {
                sampler.note(Datum::HttpCounts, Cause::Failed, &why);
            }
            usage.http = rates;
        }
        if let Some(totals) = &totals {
            if let Mode::Cluster(inventory) = mode
                && tick.for_totals
            {
                let known = totals.totals(tokio::time::Instant::now());
                let collectors = settings.collectors;
                if let Some(sums) = sums(&usage, inventory, collectors, known.services()) {
                    let questions = totals.questions(tokio::time::Instant::now());
                    let node = sums.node;
                    totals.tell(Measured {
                        taken: looked,
                        sums,
                        found: found(&questions, &usage, inventory, collectors, node),
                    });
                }
            }
            settings.totals = Some(totals.totals(tokio::time::Instant::now()));
        }
        if !tick.reported {
            previous = Some(sample);
            return Rendered::default();
        }
        // What is read in turns fails in its turns only, and what Scope shows of it is not to come
        // and go with them.
        problems.clone_from(sampler.problems());
        if let (Some(board), Some(seen)) = (&board, &seen) {
            board.look_through(ways(&usage, mode));
            add_lacks(board.features(), &mut problems);
            let before = settings.traffic.as_ref();
            let traffic = Traffic::new(board.features(), seen, &board.until(), before);
            settings.traffic = Some(traffic);
        }
        if let Some(off) = http.as_ref().and_then(HttpLook::off) {
            problems.add(Datum::HttpCounts, off.cause, || off.why.clone());
        }
        usage.problems.clone_from(&problems);
        settings.mend = mend.decided(settings.mend, &usage, mode);
        settings.cadence = tick.cadence;
        settings.controls.clone_from(offers.names(Instant::now()));
        // Whoever looks at one report of a small node sees all of it.
        let cycle = tick
            .pace
            .filter(|_| large)
            .and_then(|pace| Cycle::at(pace.max(tick.cadence)));
        settings.share = match cycle {
            Some(cycle) => Share::Turn {
                number: tick.turn,
                cycle,
            },
            None => Share::Whole,
        };
        let as_before = matches!(settings.share, Share::Whole) == matches!(last.0, Share::Whole);
        let most = match as_before && !tick.number.is_multiple_of(TRY_AGAIN) {
            true => last.1,
            false => Detail::Full,
        };
        // As large as the last one and a little more: one allocation.
        let mut body = Vec::with_capacity(capacity);
        let contents = render_at_most(&usage, mode, &settings, most, &mut body);
        capacity = body.len() + body.len() / 16;
        large = match settings.share {
            Share::Whole => body.len() > WHOLE_BODY,
            Share::Turn { .. } => body.len() > SMALL_TURN,
        };
        if contents.detail != last.1
            && let Some(left_out) = contents.detail.left_out()
        {
            tracing::warn!(
                bytes = body.len(),
                "the report is too large, so it lacks {left_out}"
            );
        }
        last = (settings.share, contents.detail);
        previous = Some(sample);
        tell(&problems, &mut told);
        Rendered {
            body,
            contents,
            problems: problems.clone(),
        }
    })
}

/// Through which process each pod with a network of its own is looked at: the first of its containers' that is
/// listed, which is one of the oldest.
fn ways(usage: &Usage, mode: Mode<'_>) -> Vec<Way> {
    let Mode::Cluster(inventory) = mode else {
        return Vec::new();
    };
    let mut taken = BTreeSet::new();
    let in_containers = usage.processes.iter().filter(|p| p.container.is_some());
    in_containers
        .filter_map(|process| Some((process.pod.as_ref()?, process.pid)))
        .filter(|(pod, _)| {
            inventory
                .pods
                .get(&***pod)
                .is_some_and(|pod| !pod.host_network)
        })
        .filter(|(pod, _)| taken.insert(Arc::clone(pod)))
        .map(|(pod, pid)| Way {
            pod: pod.clone(),
            pid,
        })
        .collect()
}

/// What of traffic control does not work here.
fn add_lacks(features: &Features, problems: &mut Problems) {
    for (datum, feature) in [
        (Datum::TrafficNetem, &features.netem),
        (Datum::TrafficTbf, &features.tbf),
    ] {
        if let Err(lack) = feature {
            problems.add(datum, lack.cause, || lack.words.clone());
        }
    }
}

/// The networks of pods that the last look could not look at, with an example for each. A look is told in several
/// reports, and counts in the first.
fn failures<'a>(seen: &'a Seen, counted: &mut u64) -> impl Iterator<Item = (Cause, &'a str)> {
    let is_new = seen.look != *counted;
    *counted = seen.look;
    let failures = seen.failures.iter().filter(move |_| is_new);
    failures.flat_map(|(cause, (count, example))| {
        let times = usize::try_from(*count).unwrap_or(usize::MAX);
        std::iter::repeat_n((*cause, &**example), times)
    })
}

/// Logs what is new. There are as many kinds of problem as data times causes, and each is said once.
fn tell(problems: &Problems, told: &mut Problems) {
    for (datum, cause, problem) in problems.iter() {
        if told.add(datum, cause, String::new) {
            tracing::warn!(
                path = problem.example,
                "the {datum} is missing from reports: {cause}; further ones are only counted"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_cannot_be_looked_at_count_once_a_look() {
        let example = || "pod x: its network has no device eth0".to_owned();
        let mut seen = Seen {
            look: 1,
            failures: [
                (Cause::Absent, (2, example())),
                (Cause::Denied, (1, example())),
            ]
            .into(),
            ..Seen::default()
        };
        let (mut counted, mut problems) = (0, Problems::default());
        // The reports of a first look, and those of a second.
        for look in [1, 1, 1, 2, 2] {
            seen.look = look;
            for (cause, example) in failures(&seen, &mut counted) {
                problems.add(Datum::PodTraffic, cause, || example.to_owned());
            }
        }
        for (cause, count) in [(Cause::Absent, 4), (Cause::Denied, 2)] {
            let problem = problems.get(Datum::PodTraffic, cause).expect("told");
            assert_eq!((problem.count, &*problem.example), (count, &*example()));
        }
    }
}
