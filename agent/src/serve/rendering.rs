//! One tick: sample, attribution, report, bytes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use scope_protocol::{PluginSpec, Report, encode};

use super::config::Config;
use super::sampler::{Render, Rendered, Tick};
use crate::attribution::attribute;
use crate::collect::{ControlNames, Settings, Share, render};
use crate::control::scope_control_id;
use crate::inventory::Inventory;
use crate::sample::{Mode, Problems, Sampler, system_clock};

/// A body up to this size goes out whole in every tick: Scope's probe pays about 19 ms per MB, so 5 ms a
/// second. Above it, what need not be fresh takes turns.
const WHOLE_BODY: usize = 256 * 1024;
/// A body in turns is some 40 % of the whole one. Below this the whole one is surely small again.
const SMALL_TURN: usize = WHOLE_BODY / 4;

/// Up to this cadence, parts of a report go out in turn: the last of five is then told before Scope's
/// app forgets the first, which it does after 15 s, the 3 s between two publishes of the probe
/// included.
const IN_TURN: Duration = Duration::from_secs(2);

/// What the report of this configuration depends on.
pub fn settings(config: &Config) -> Settings {
    let pod = config
        .controls()
        .into_iter()
        .map(|control| scope_control_id(&config.plugin_id, control))
        .collect();
    Settings {
        plugin_id: config.plugin_id.clone(),
        label: config.label.clone(),
        description: config.description.clone(),
        host: config.host.clone(),
        mend: config.mend,
        cadence: config.sample_interval,
        controls: ControlNames { pod },
        share: Share::Whole,
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
    let mut sampler = Sampler::new(config.roots.clone(), system_clock());
    let mut previous = None;
    let mut told = Problems::default();
    let mut capacity = 0;
    let mut large = false;
    Box::new(move |tick: &Tick| {
        let inventory = inventory.as_ref().map(|shared| shared.load_full());
        let mode = inventory.as_deref().map_or(Mode::Standalone, Mode::Cluster);
        let sample = sampler.take(mode);
        let usage = attribute(previous.as_ref(), &sample, mode);
        settings.cadence = tick.cadence;
        // Whoever looks at one report of a small node sees all of it.
        let in_turn = large && tick.every_one_is_asked_for && tick.cadence <= IN_TURN;
        settings.share = if in_turn {
            Share::Turn(tick.number)
        } else {
            Share::Whole
        };
        // As large as the last one and a little more: one allocation.
        let mut body = Vec::with_capacity(capacity);
        render(&usage, mode, &settings, &mut body);
        capacity = body.len() + body.len() / 16;
        large = match settings.share {
            Share::Whole => body.len() > WHOLE_BODY,
            Share::Turn(_) => body.len() > SMALL_TURN,
        };
        previous = Some(sample);
        tell(sampler.problems(), &mut told);
        Rendered {
            body,
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
