//! What Weave Scope 1.13.2 does with a plugin: its *probe*'s side, and its *app*'s.
//!
//! The probe's side is [`Probe`], for whoever has a socket and wants to know whether Scope would take
//! what it says. The app's side is [`View`]: what a person sees of a report. Between the two lies time,
//! in which most mistakes hide; a [`World`] lets it pass, with probes whose clocks differ, publishes
//! that leave out what was said before, and an app that remembers fifteen seconds.
//!
//! # The probe
//!
//! A [`Probe`] looks for sockets under a directory, asks each of them for its report with the very
//! bytes that Scope sends, decodes and judges the answers by Scope's rules, renames controls, merges
//! all reports and tags the result; a click goes the way it would go from Scope's app. Nothing is
//! made stricter or kinder than Scope is: what Scope takes, breaks on or silently garbles, this crate
//! takes, breaks on and garbles alike.
//!
//! The crate decodes with code of its own and knows nothing of the types with which this project
//! writes reports, so that one and the same mistake cannot hide on both sides.
//!
//! ```no_run
//! use scope_emulator::{Kind, Options, Probe};
//!
//! let mut probe = Probe::new("/var/run/scope/plugins", Options::default())?;
//! probe.scan()?;                       // Scope does this every five seconds
//! let merged = probe.spy()?;           // and this every second
//! for spec in merged.plugins() {
//!     println!("{}: {}", spec.id, spec.status);
//! }
//! if let Some(pod) = merged.node(Kind::Pod, "0d6b…;<pod>") {
//!     println!("{:?}", pod.last_sample("docker_cpu_total_usage"));
//! }
//! # Ok::<(), scope_emulator::ProbeError>(())
//! ```
//!
//! # The world
//!
//! ```no_run
//! use std::time::Duration;
//! use scope_emulator::{Ask, Kind, ProbeSetup, Runtime, Tab, World};
//!
//! let mut world = World::default();                   // or World::live, in real time
//! // What is really there, for the probes' own reporters: world.truth().pods.push(…) and so on.
//! world.add_probe(ProbeSetup::host("node1").runtime(Runtime::Unseen).skew_millis(-5000));
//! world.add_probe(ProbeSetup::cluster("node1").phase(Duration::from_millis(1300)));
//! # let render = |_: &Ask| -> Vec<u8> { Vec::new() };
//! world.add_plugin("node1", "k8s/k8s.sock", render);  // Ask: who asks, and the node's time
//! world.advance(Duration::from_secs(20));
//! let view = world.view();
//! for pod in view.shown(Tab::Pods)?.values() {
//!     println!("{}: {}, CPU {:?}", pod.label, pod.label_minor, pod.metric("docker_cpu_total_usage"));
//! }
//! let panel = view.panel(Tab::Pods, "0d6b…;<pod>")?;  // controls, and what is inside
//! world.click(Kind::Pod, "0d6b…;<pod>", "k8s-controls~evictPod", None);
//! # Ok::<(), scope_emulator::SummaryPanic>(())
//! ```
//!
//! The views and panels agree with those of five recorded worlds of a real Scope in all that is drawn
//! here. Not drawn are: the lists of connections in panels, the views by DNS name and by process name,
//! Weave Net, and the orchestrators ECS and Swarm.
//!
//! # Time
//!
//! Scope gives a request 500 ms for everything from dialling to the last decoded byte. The emulator
//! counts real time while it waits for the plugin, and *modelled* time while it decodes
//! ([`Options::decode_speed`]), so that a report is not refused because a test was built without
//! optimisation or runs on a busy machine.

mod app;
mod click;
mod controls;
mod decode;
mod gotext;
mod kind;
mod merge;
mod own;
mod page;
mod plugin;
mod probe;
mod publish;
mod registry;
mod render;
mod report;
mod reporters;
mod script;
mod stamp;
mod tag;
pub mod truth;
mod version;
mod window;
mod wire;
mod world;

pub use app::{SummaryPanic, summary_panic, upgrade};
pub use click::{Click, ClickOutcome};
pub use decode::{Answer, Refusal, Value, decode_answer, decode_report};
pub use kind::{Kind, UnknownKind};
pub use own::{OwnReporter, host_reporter};
pub use page::{Cell, Group, MetricRow, Panel, Parent, ShownControl, Summary, Tab, Table, View};
pub use plugin::PluginState;
pub use probe::{Merged, Options, OwnStamps, Probe, ProbeError, Role};
pub use publish::{FULL_REPORT_EVERY, Publisher};
pub use report::{
    Column, Control, Death, DnsRecord, LatestControl, LatestEntry, MetadataTemplate, Metric,
    MetricTemplate, Node, PluginSpec, Report, Sample, Sampling, TableTemplate, Topology,
};
pub use script::{Ask, Script, ScriptedClick};
pub use stamp::Stamp;
pub use version::Version;
pub use window::{APP_WINDOW, Window};
pub use wire::{Exchange, TIME_LIMIT};
pub use world::{ProbeSetup, Runtime, World};
