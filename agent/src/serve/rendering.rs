//! One tick: sample, attribution, report, bytes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use scope_crds::Control;
use scope_protocol::{PluginSpec, Report, Topology, encode};

use super::config::Config;
use super::offered::OfferReader;
use super::sampler::{Render, Rendered, Tick};
use crate::attribution::attribute;
use crate::collect::{ControlNames, Cycle, Detail, Settings, Share, render_at_most};
use crate::control::{active_on_container, scope_control_id, topology_of};
use crate::inventory::Inventory;
use crate::sample::{Mode, Problems, Sampler, system_clock};

/// A body up to this size goes out whole in every tick: Scope's probe pays about 19 ms per MB, so 5 ms a
/// second. Above it, what need not be fresh takes turns.
const WHOLE_BODY: usize = 256 * 1024;
/// A body in turns is some 40 % of the whole one. Below this the whole one is surely small again.
const SMALL_TURN: usize = WHOLE_BODY / 4;

/// So many ticks a report that was too large for all that is known is tried again with all of it:
/// each try costs the rendering of a large report.
const TRY_AGAIN: u64 = 30;

/// What the report of this configuration depends on.
pub fn settings(config: &Config) -> Settings {
    Settings {
        plugin_id: config.plugin_id.clone(),
        label: config.label.clone(),
        description: config.description.clone(),
        host: config.host.clone(),
        mend: config.mend,
        cadence: config.sample_interval,
        controls: control_names(config),
        share: Share::Whole,
    }
}

/// The controls of this configuration by kind of node.
pub(super) fn control_names(config: &Config) -> ControlNames {
    let names = |controls: BTreeSet<Control>| -> Vec<String> {
        let names = controls.into_iter();
        names
            .map(|control| scope_control_id(&config.plugin_id, control))
            .collect()
    };
    let enabled = config.controls();
    let of_pods = |control: &Control| topology_of(*control) == Topology::Pod;
    ControlNames {
        container: names(active_on_container(false, &enabled)),
        frozen_container: names(active_on_container(true, &enabled)),
        pod: names(enabled.into_iter().filter(of_pods).collect()),
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

/// The sampler's work. The inventory is looked up at each tick; `None` without Kubernetes.
pub fn renderer(config: &Config, inventory: Option<Arc<ArcSwap<Inventory>>>) -> Render {
    let mut settings = settings(config);
    let mend = config.mend;
    let mut offers = OfferReader::new(
        &config.plugin_dir,
        &config.plugin_id,
        settings.controls.clone(),
    );
    let mut sampler = Sampler::new(config.roots.clone(), system_clock());
    let mut previous = None;
    let mut told = Problems::default();
    let mut capacity = 0;
    let mut large = false;
    let mut last = (Share::Whole, Detail::Full);
    Box::new(move |tick: &Tick| {
        let inventory = inventory.as_ref().map(|shared| shared.load_full());
        let mode = inventory.as_deref().map_or(Mode::Standalone, Mode::Cluster);
        let sample = sampler.take(mode);
        let mut usage = attribute(previous.as_ref(), &sample, mode);
        // What is read in turns fails in its turns only, and what Scope shows of it is not to come
        // and go with them.
        usage.problems.clone_from(sampler.problems());
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
        tell(sampler.problems(), &mut told);
        Rendered {
            body,
            contents,
            problems: sampler.problems().clone(),
        }
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
