//! The probe: it finds plugins, asks them, merges, and passes clicks on.

use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::click::{Click, ClickOutcome};
use crate::controls;
use crate::gotext::quote;
use crate::own::OwnReporter;
use crate::plugin::{Clicked, PluginState};
use crate::registry::Registry;
use crate::report::{Death, Node, PluginSpec, Report};
use crate::stamp::Stamp;
use crate::version::Version;
use crate::wire::Failure;
use crate::{Kind, tag};

/// What a machine of today decodes of a report in a second; 52 to 88 MB were measured on one, with
/// Scope's own decoder.
const DECODE_SPEED: u64 = 70_000_000;

/// Which of the probe's own taggers run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The probe of a node: what lives on the host is tied to it, containers to their pods.
    Host {
        /// The name of the host, as in `<name>;<host>`.
        host: String,
    },
    /// The probe that reports Kubernetes' objects: containers are tied to pods, nothing to a host.
    Cluster,
    /// No taggers but the one that stamps the topology on every node.
    #[default]
    Plain,
}

/// When in a tick the probe's own reporters stamp their values.
///
/// They run beside the plugins, so both happen on a real probe; which one does decides who wins where
/// a plugin and the probe report the same key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnStamps {
    /// After a plugin has stamped its answer and before its controls are renamed: the usual order.
    #[default]
    BeforeRenaming,
    /// After everything.
    Last,
}

/// How to set up a probe.
#[derive(Clone)]
pub struct Options {
    /// The id that plugins are asked with; by default random.
    pub probe_id: String,
    /// The probe's clock.
    pub now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// What the probe reports by itself.
    pub own: Option<OwnReporter>,
    /// See [`OwnStamps`].
    pub own_stamps: OwnStamps,
    /// Whose node this is.
    pub role: Role,
    /// Bytes that the probe decodes in a second, which is part of a request's 500 ms; `None` for a
    /// machine without limits.
    pub decode_speed: Option<u64>,
    /// The release of the probe.
    pub version: Version,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            probe_id: random_probe_id(),
            now: Arc::new(SystemTime::now),
            own: None,
            own_stamps: OwnStamps::default(),
            role: Role::default(),
            decode_speed: Some(DECODE_SPEED),
            version: Version::default(),
        }
    }
}

/// 63 random bits in hexadecimal, without leading zeros.
fn random_probe_id() -> String {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    let random = match read {
        Ok(()) => u64::from_le_bytes(bytes),
        // Without a source of randomness any id does that another probe is unlikely to have.
        Err(_) => SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(1, |age| age.as_nanos() as u64),
    };
    format!("{:x}", random & (u64::MAX >> 1))
}

/// Why the probe does nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The directory cannot be read. At the start this turns plugins off for good.
    #[error("plugins: problem loading: {}: {source}; create the directory before the probe starts", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A plugin has brought the probe down.
    #[error("the probe has died: {0}; make a new one")]
    Died(#[from] Death),
}

/// The merged report of one tick.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    report: Report,
}

impl Deref for Merged {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.report
    }
}

impl From<Report> for Merged {
    /// What is merged when there is one plugin.
    fn from(report: Report) -> Self {
        Self { report }
    }
}

impl Merged {
    /// The whole report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The node under this key of this topology.
    pub fn node(&self, kind: Kind, id: &str) -> Option<&Node> {
        self.report.node(kind, id)
    }

    /// All nodes of a topology with their keys.
    pub fn nodes(&self, kind: Kind) -> impl Iterator<Item = (&str, &Node)> {
        self.report
            .topology(kind)
            .nodes
            .iter()
            .map(|(key, node)| (key.as_str(), node))
    }

    /// The plugins that Scope's page lists, one for each id, with their status.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginSpec> {
        self.report.plugins.values()
    }
}

/// A probe of Scope 1.13.2, as far as plugins meet it.
pub struct Probe {
    registry: Registry,
    options: Options,
    merged: Merged,
    died: Option<Death>,
    /// The click that killed the probe has been answered.
    gone: bool,
}

impl Probe {
    /// Starts a probe on a directory and looks for plugins once.
    ///
    /// # Errors
    ///
    /// A directory that cannot be read.
    pub fn new(root: impl AsRef<Path>, options: Options) -> Result<Self, ProbeError> {
        let root = root.as_ref();
        let mut registry = Registry::new(root, options.decode_speed);
        registry.scan().map_err(|source| ProbeError::Root {
            path: root.to_owned(),
            source,
        })?;
        Ok(Self::with(registry, options))
    }

    /// A probe that asks plugins without sockets.
    pub(crate) fn scripted(options: Options) -> Self {
        Self::with(Registry::scripted(), options)
    }

    fn with(registry: Registry, options: Options) -> Self {
        Self {
            registry,
            options,
            merged: Merged::default(),
            died: None,
            gone: false,
        }
    }

    pub(crate) fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// The id that plugins are asked with.
    pub fn id(&self) -> &str {
        &self.options.probe_id
    }

    /// How the probe died, if a plugin has brought it down.
    pub fn died(&self) -> Option<&Death> {
        self.died.as_ref()
    }

    /// What the probe would have logged of its plugins, oldest first.
    pub fn log(&self) -> impl Iterator<Item = &str> {
        self.registry.log()
    }

    /// The plugins that are known, by the order of their sockets.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginState> {
        self.registry.plugins().map(|plugin| &plugin.state)
    }

    /// The public ids of the controls that can be clicked.
    pub fn controls(&self) -> impl Iterator<Item = &str> {
        self.registry.handlers()
    }

    /// The merged report of the last tick.
    pub fn merged(&self) -> &Merged {
        &self.merged
    }

    /// The merged report of the last tick, for somebody who keeps it; the probe then has none.
    pub(crate) fn take_merged(&mut self) -> Report {
        std::mem::take(&mut self.merged).report
    }

    fn now(&self) -> Stamp {
        (self.options.now)().into()
    }

    fn alive(&self) -> Result<(), ProbeError> {
        self.died.clone().map_or(Ok(()), |death| Err(death.into()))
    }

    /// Notes what ends this probe for good.
    fn die(&mut self, death: Death) -> Death {
        self.registry.note(death.to_string());
        self.died = Some(death.clone());
        death
    }

    /// Looks for plugins again, as Scope does every five seconds.
    ///
    /// # Errors
    ///
    /// A directory that cannot be read; the plugins stay as they were.
    pub fn scan(&mut self) -> Result<(), ProbeError> {
        self.alive()?;
        let path = self.registry.root().to_owned();
        self.registry.scan().map_err(|source| {
            self.registry.note(format!("plugins: error: {source}"));
            ProbeError::Root { path, source }
        })
    }

    /// Asks all plugins, one after another, and merges what they say with the probe's own report, as
    /// Scope does every second.
    ///
    /// # Errors
    ///
    /// A probe that is dead, or dies of what it gets.
    pub fn spy(&mut self) -> Result<&Merged, ProbeError> {
        self.alive()?;
        match self.tick() {
            Ok(report) => {
                self.merged = Merged { report };
                Ok(&self.merged)
            }
            Err(death) => Err(self.die(death).into()),
        }
    }

    fn tick(&mut self) -> Result<Report, Death> {
        let begun = self.now();
        let now = Arc::clone(&self.options.now);
        let mut complaints = Vec::new();
        let mut reports = Vec::new();
        for plugin in self.registry.plugins_mut() {
            let (report, outcome) = plugin.report(&self.options.probe_id, now().into());
            match outcome {
                Ok(()) => {}
                Err(Failure::Endless(words)) => return Err(Death::Endless(words)),
                Err(Failure::Words(words)) => {
                    let path = plugin.state.path.display();
                    complaints.push(format!("plugins: {path}: /report error: {words}"));
                }
            }
            reports.push((report, plugin.state.spec.implements("controller")));
        }
        for complaint in complaints {
            self.registry.note(complaint);
        }

        // Scope renames each report as soon as it is there. Doing so at the end of the tick changes
        // nothing but the stamps, whose order is thereby fixed.
        let asked = self.now();
        let tiny = Duration::from_nanos(1);
        let (own_stamp, renamed) = match self.options.own_stamps {
            OwnStamps::BeforeRenaming => (asked, asked.plus(tiny)),
            OwnStamps::Last => (asked.plus(tiny), asked),
        };
        let mut merged = Report::empty();
        merged.ts = begun;
        if let Some(own) = &self.options.own {
            merged.merge(own.report(own_stamp))?;
        }
        // All plugins together are one reporter among the others.
        let mut of_plugins = Report::empty();
        for (mut report, controller) in reports {
            if controller {
                let offer = controls::rename(&mut report, renamed, self.options.version)?;
                self.registry.register(offer);
            }
            of_plugins.merge(report)?;
        }
        merged.merge(of_plugins)?;
        self.tag(&mut merged, own_stamp.max(renamed));
        Ok(merged)
    }

    fn tag(&self, report: &mut Report, now: Stamp) {
        tag::topologies(report);
        match &self.options.role {
            Role::Host { host } => {
                tag::host(report, host, now, self.options.version);
                tag::pods(report, now);
            }
            Role::Cluster => tag::pods(report, now),
            Role::Plain => {}
        }
    }

    /// Carries out a click, as an app passes it on, and says what the app would answer.
    ///
    /// The probe's own controls are not carried out; they are as unknown here as any other.
    pub fn click(&mut self, click: Click<'_>) -> ClickOutcome {
        if self.died.is_some() {
            // The app first meets the end of the connection, and then knows that there is none.
            let first = !std::mem::replace(&mut self.gone, true);
            return ClickOutcome::failed(match first {
                true => "websocket: close 1006 (abnormal closure): unexpected EOF".to_owned(),
                false => format!("probe {} is not connected right now", self.options.probe_id),
            });
        }
        if !self.registry.handles(click.control) {
            let control = quote(click.control);
            return ClickOutcome::failed(format!("Control {control} not recognised"));
        }
        let (plugin_id, control) = click.control.split_once('~').unwrap_or(("", click.control));
        let now = self.now();
        let Some(plugin) = self.registry.plugin_of(plugin_id) else {
            return ClickOutcome::failed(format!("plugin {plugin_id} not found"));
        };
        let clicked = Clicked {
            app_id: click.app_id,
            node_id: click.node_id,
            control,
            args: click.args,
        };
        let (exchange, answer) = plugin.control(&self.options.probe_id, clicked, now);
        let mut outcome = match answer {
            Err(Failure::Words(words)) => ClickOutcome::failed(words),
            Err(Failure::Endless(words)) => {
                self.die(Death::Endless(words));
                self.click(click)
            }
            Ok(mut answer) => match answer.shortcut.take().map(|report| self.publish(report)) {
                None => ClickOutcome::answered(answer),
                Some(Ok(shortcut)) => ClickOutcome {
                    shortcut: Some(shortcut),
                    ..ClickOutcome::answered(answer)
                },
                Some(Err(death)) => {
                    self.die(death);
                    self.click(click)
                }
            },
        };
        outcome.exchange = exchange;
        outcome
    }

    /// What a shortcut report looks like when it leaves the probe. Nothing in it has been checked.
    fn publish(&mut self, mut report: Report) -> Result<Report, Death> {
        let now = self.now();
        let offer = controls::rename(&mut report, now, self.options.version)?;
        self.registry.register(offer);
        Ok(self.shortcut(report))
    }

    /// What a report looks like that is published at once.
    pub(crate) fn shortcut(&self, mut report: Report) -> Report {
        report.shortcut = true;
        self.tag(&mut report, self.now());
        report
    }
}
