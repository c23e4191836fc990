//! From usage and inventory to the report of the reporter socket.

mod composer;
mod container;
mod description;
mod host;
mod kubernetes;
pub mod metric;
mod share;

use std::time::Duration;

use scope_protocol::{Report, encode};

use crate::attribution::Usage;
use crate::sample::Mode;
use composer::{Composer, Detail};

pub(crate) use container::short_id;
pub use share::Share;

/// What the report depends on besides the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// ID of the plugin: the base name of the reporter socket.
    pub plugin_id: String,
    /// What Scope shows in its list of plugins.
    pub label: String,
    /// The tooltip there; generated if `None`.
    pub description: Option<String>,
    /// What the probe on this node calls the host.
    pub host: String,
    /// Whether to supply what Scope's probe fails to report on CRI runtimes.
    pub mend: Mend,
    /// How often a report is made at present.
    pub cadence: Duration,
    /// The controls to name in nodes.
    pub controls: ControlNames,
    /// Which of the parts that rarely change go into this report.
    pub share: Share,
}

/// When to supply what Scope's probe fails to report on CRI runtimes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mend {
    /// When the runtime is not Docker.
    #[default]
    Auto,
    /// On every runtime.
    Always,
    /// On none.
    Never,
}

/// The controls that are offered on nodes, as Scope knows them: `<controls socket>~<control>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlNames {
    /// On pods.
    pub pod: Vec<String>,
}

/// The largest body: what a probe decodes in 60 to 80 ms, of 500 ms for the whole request.
pub const MAX_BODY: usize = 4_000_000;

/// The report of the reporter socket. The same arguments give the same report.
pub fn report(usage: &Usage, mode: Mode<'_>, settings: &Settings) -> Report {
    compose(usage, mode, settings, Detail::Full)
}

/// Puts the report as the body of an answer in the place of what is in `body`. Where it would be
/// larger than [`MAX_BODY`], the least important parts are left out and the description says so.
pub fn render(usage: &Usage, mode: Mode<'_>, settings: &Settings, body: &mut Vec<u8>) {
    render_within(usage, mode, settings, body, MAX_BODY);
}

fn render_within(
    usage: &Usage,
    mode: Mode<'_>,
    settings: &Settings,
    body: &mut Vec<u8>,
    limit: usize,
) {
    for detail in Detail::ALL {
        body.clear();
        encode(&compose(usage, mode, settings, detail), body);
        if body.len() <= limit {
            return;
        }
    }
}

fn compose(usage: &Usage, mode: Mode<'_>, settings: &Settings, detail: Detail) -> Report {
    let mut composer = Composer::new(usage, mode, settings, detail);
    if detail < Detail::Nothing {
        container::add(&mut composer);
        kubernetes::add(&mut composer);
        host::add(&mut composer);
    }
    composer.report
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use scope_protocol::Timestamp;

    use super::*;
    use crate::attribution::{
        ContainerUsage, Figures, HostUsage, ProcessTotals, ProcessUsage,
    };
    use crate::sample::{Problems, ProcessName};

    /// A container with so many processes.
    fn usage(processes: u32) -> Usage {
        let id: Arc<str> = "c".repeat(64).into();
        let totals = ProcessTotals {
            count: u64::from(processes),
            threads: 1,
            rss: 1,
        };
        let container = ContainerUsage {
            figures: Figures {
                processes: Some(totals),
                ..Figures::default()
            },
            ..ContainerUsage::default()
        };
        let process = |pid| ProcessUsage {
            pid,
            name: ProcessName::default(),
            container: Some(id.clone()),
            pod: None,
            cpu: None,
            rss: 1,
            threads: 1,
        };
        Usage {
            at: Timestamp::from_unix_micros(0),
            interval: None,
            host: HostUsage::default(),
            pods: BTreeMap::new(),
            containers: BTreeMap::from([(id.clone(), container)]),
            processes: (1..=processes).map(process).collect(),
            problems: Problems::default(),
        }
    }

    #[test]
    fn what_would_be_too_large_is_left_out_from_the_least_important() {
        let settings = Settings {
            plugin_id: "x".into(),
            label: "x".into(),
            description: Some("Mine.".into()),
            host: "node1".into(),
            mend: Mend::Always,
            cadence: Duration::from_secs(1),
            controls: ControlNames::default(),
            share: Share::Whole,
        };
        let usage = usage(100);
        let render = |limit| {
            let mut body = Vec::new();
            render_within(&usage, Mode::Standalone, &settings, &mut body, limit);
            String::from_utf8(body).expect("JSON is UTF-8")
        };
        let whole = render(MAX_BODY);
        assert!(whole.contains("\"Process\"") && whole.contains("\"Mine.\""));
        let links = render(whole.len() - 1);
        assert!(!links.contains("\"Process\"") && links.contains("\"threads\":{\"samples\""));
        assert!(links.contains("Mine. Too large, so left out: the processes of containers."));
        let essential = render(links.len() - 1);
        assert!(!essential.contains("\"threads\":{\"samples\""));
        assert!(essential.contains("docker_container_state"));
        assert!(essential.contains("all metrics but CPU and memory."));
        let nothing = render(10);
        assert!(nothing.contains("left out: everything.") && !nothing.contains("\"nodes\""));
    }
}
