//! A whole Scope in simulated time: probes on several machines, an app, and somebody who looks at it.
//!
//! ```
//! use std::time::Duration;
//! use scope_emulator::truth::{Container, Host, Pod};
//! use scope_emulator::{Ask, ProbeSetup, Tab, World};
//!
//! let mut world = World::default();
//! {
//!     let mut truth = world.truth();
//!     let pod = Pod::new("u1", "demo", "web", "node1");
//!     let mut host = Host::default();
//!     host.containers.push(Container::of_pod("c1", "http", &pod));
//!     truth.hosts.insert("node1".to_owned(), host);
//!     truth.pods.push(pod);
//! }
//! world.add_probe(ProbeSetup::host("node1").skew_millis(-5000));
//! world.add_probe(ProbeSetup::cluster("node1"));
//! world.add_plugin("node1", "k8s/k8s.sock", |_: &Ask| {
//!     br#"{"Plugins":[{"id":"k8s","label":"K","api_version":"1","interfaces":["reporter"]}]}"#.to_vec()
//! });
//! world.advance(Duration::from_secs(10));
//! let pods = world.view().shown(Tab::Pods).unwrap();
//! // Without mending, a CRI container counts for nothing.
//! assert_eq!(pods["u1;<pod>"].label_minor, "0 containers");
//! ```

mod clock;
mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clock::Clock;
use setup::Purpose;
pub use setup::{ProbeSetup, Runtime};

use crate::click::{Click, ClickOutcome};
use crate::kind::Kind;
use crate::own::OwnReporter;
use crate::page::View;
use crate::probe::{Options, Probe, ProbeError, Role};
use crate::publish::Publisher;
use crate::report::{Death, Report};
use crate::reporters;
use crate::script::{Script, SharedScript};
use crate::stamp::Stamp;
use crate::truth::Truth;
use crate::version::Version;
use crate::window::Window;

/// How often a probe looks for new sockets.
const SCAN: Duration = Duration::from_secs(5);
/// How often the page asks the app.
const LOOK: Duration = Duration::from_secs(1);

/// A whole Scope.
#[derive(Debug)]
pub struct World {
    version: Version,
    clock: Clock,
    /// The end of what has been gone through.
    reached: i64,
    truth: Arc<Mutex<Truth>>,
    probes: Vec<Member>,
    /// By machine and path.
    scripts: BTreeMap<String, BTreeMap<PathBuf, SharedScript>>,
    window: Window,
    next_look: i64,
}

/// A probe with its timers.
struct Member {
    setup: ProbeSetup,
    probe: Probe,
    publisher: Publisher,
    next_spy: i64,
    next_publish: i64,
    next_scan: i64,
    /// The pods that were there at the last tick, by id.
    pods: BTreeSet<String>,
    /// What it published last.
    published: Option<Report>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member")
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Publish(usize),
    Scan(usize),
    Spy(usize),
    Look,
}

impl Default for World {
    fn default() -> Self {
        Self::new(Version::default())
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl World {
    /// A world without machines, on the first of January 2026.
    pub fn new(version: Version) -> Self {
        Self::starting(version, UNIX_EPOCH + Duration::from_secs(1_767_225_600))
    }

    /// A world that starts at a time of its own.
    pub fn starting(version: Version, start: SystemTime) -> Self {
        Self::with(version, Clock::simulated(start))
    }

    /// A world in real time, for probes that ask [real sockets](ProbeSetup::sockets). To advance it
    /// is to wait.
    pub fn live(version: Version) -> Self {
        Self::with(version, Clock::Real)
    }

    fn with(version: Version, clock: Clock) -> Self {
        let reached = clock.now();
        Self {
            version,
            clock,
            reached,
            truth: Arc::default(),
            probes: Vec::new(),
            scripts: BTreeMap::new(),
            window: Window::default(),
            next_look: reached + nanos(LOOK),
        }
    }

    /// What is really there, to be changed. Probes see it at their next tick.
    pub fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world's time.
    pub fn now(&self) -> SystemTime {
        self.app_time().into()
    }

    /// Adds a probe and gives its number.
    ///
    /// # Errors
    ///
    /// A directory of sockets that cannot be read; the probe then has no plugins for good.
    pub fn try_add_probe(&mut self, setup: ProbeSetup) -> Result<usize, ProbeError> {
        let number = self.probes.len();
        let probe_id = setup.probe_id.clone();
        let probe_id = probe_id.unwrap_or_else(|| format!("{:x}", 0xa0 + number));
        let options = Options {
            own: Some(self.reporter(&setup, &probe_id)),
            probe_id,
            now: Arc::new(self.clock.skewed(setup.skew)),
            own_stamps: setup.own_stamps,
            role: match setup.purpose {
                Purpose::Cluster => Role::Cluster,
                Purpose::Host | Purpose::Both => Role::Host {
                    host: setup.host.clone(),
                },
            },
            version: self.version,
            ..Options::default()
        };
        let probe = match &setup.sockets {
            Some(root) => Probe::new(root, options)?,
            None => {
                let mut probe = Probe::scripted(options);
                for (path, script) in self.scripts.get(&setup.host).into_iter().flatten() {
                    // The name was accepted when the script was added.
                    let _ = probe.registry().add_script(path, script.clone());
                }
                probe
            }
        };
        let begin = self.reached + nanos(setup.phase);
        self.probes.push(Member {
            probe,
            publisher: Publisher::new(self.version.full_report_every()),
            next_spy: begin + nanos(setup.spy),
            next_publish: begin + nanos(setup.publish),
            next_scan: begin + nanos(SCAN),
            pods: BTreeSet::new(),
            published: None,
            setup,
        });
        Ok(number)
    }

    /// Adds a probe of scripts and gives its number.
    ///
    /// # Panics
    ///
    /// If the directory of sockets of a live probe cannot be read.
    pub fn add_probe(&mut self, setup: ProbeSetup) -> usize {
        match self.try_add_probe(setup) {
            Ok(number) => number,
            Err(error) => panic!("{error}"),
        }
    }

    /// What the probe tells by itself.
    fn reporter(&self, setup: &ProbeSetup, probe_id: &str) -> OwnReporter {
        let (truth, setup) = (Arc::clone(&self.truth), setup.clone());
        let probe_id = probe_id.to_owned();
        OwnReporter::new(move |now| {
            let truth = truth.lock().unwrap_or_else(PoisonError::into_inner);
            own_report(&truth, &setup, &probe_id, now)
        })
    }

    /// Adds a plugin to a machine, for all probes that are and will be there. Its id comes from the
    /// path, as that of a socket would; two plugins on one path are one.
    ///
    /// # Panics
    ///
    /// If the path gives no valid id.
    pub fn add_plugin(&mut self, host: &str, path: &str, script: impl Script + 'static) {
        let (path, script) = (PathBuf::from(path), SharedScript::new(script));
        let on_host = self
            .probes
            .iter_mut()
            .filter(|member| member.setup.host == host && member.setup.sockets.is_none());
        for member in on_host {
            if let Err(words) = member.probe.registry().add_script(&path, script.clone()) {
                panic!("{}: {words}", path.display());
            }
        }
        let scripts = self.scripts.entry(host.to_owned()).or_default();
        scripts.insert(path, script);
    }

    /// Takes a plugin away from a machine.
    pub fn remove_plugin(&mut self, host: &str, path: &str) {
        let path = PathBuf::from(path);
        for member in self
            .probes
            .iter_mut()
            .filter(|member| member.setup.host == host)
        {
            member.probe.registry().remove_script(&path);
        }
        if let Some(scripts) = self.scripts.get_mut(host) {
            scripts.remove(&path);
        }
    }

    /// A probe, by its number.
    pub fn probe(&self, number: usize) -> &Probe {
        &self.probes[number].probe
    }

    /// What a probe published last, as it left it.
    pub fn published(&self, number: usize) -> Option<&Report> {
        self.probes[number].published.as_ref()
    }

    fn next(&self) -> Option<(i64, Event)> {
        let members = self.probes.iter().enumerate();
        let alive = members.filter(|(_, member)| member.probe.died().is_none());
        let timers = alive.flat_map(|(number, member)| {
            [
                (member.next_publish, Event::Publish(number)),
                (member.next_scan, Event::Scan(number)),
                (member.next_spy, Event::Spy(number)),
            ]
        });
        timers.chain([(self.next_look, Event::Look)]).min()
    }

    /// Lets time pass.
    ///
    /// # Panics
    ///
    /// If the app would: nodes of one id that name different topologies.
    pub fn advance(&mut self, duration: Duration) {
        if let Clock::Real = self.clock {
            self.skip_missed(self.clock.now());
        }
        let end = self.reached + nanos(duration);
        while let Some((time, event)) = self.next().filter(|(time, _)| *time <= end) {
            self.clock.wait_until(time);
            self.reached = time;
            self.carry_out(event);
        }
        self.clock.wait_until(end);
        self.reached = end;
    }

    /// Timers that nobody waited for do not go off later.
    fn skip_missed(&mut self, now: i64) {
        let skip = |next: &mut i64, every: Duration| {
            let every = nanos(every).max(1);
            let missed = (now - *next).div_euclid(every) + 1;
            *next += every * missed.max(0);
        };
        for member in &mut self.probes {
            skip(&mut member.next_spy, member.setup.spy);
            skip(&mut member.next_publish, member.setup.publish);
            skip(&mut member.next_scan, SCAN);
        }
        skip(&mut self.next_look, LOOK);
        self.reached = now;
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::Look => {
                self.next_look += nanos(LOOK);
                let now = self.app_time();
                app_lives(self.window.touch(now));
            }
            Event::Scan(number) => {
                let member = &mut self.probes[number];
                member.next_scan += nanos(SCAN);
                // What went wrong is in the probe's log.
                let _ = member.probe.scan();
            }
            Event::Spy(number) => self.spy(number),
            Event::Publish(number) => {
                let now = self.app_time();
                let member = &mut self.probes[number];
                member.next_publish += nanos(member.setup.publish);
                if let Some(report) = member.publisher.publish() {
                    member.published = Some(report.clone());
                    self.window.add(report, now);
                }
            }
        }
    }

    fn app_time(&self) -> Stamp {
        let now = match self.clock {
            Clock::Simulated(_) => self.reached,
            Clock::Real => self.clock.now(),
        };
        clock::time(now).into()
    }

    fn spy(&mut self, number: usize) {
        self.tell_of_pods(number);
        let member = &mut self.probes[number];
        member.next_spy += nanos(member.setup.spy);
        // A probe that dies keeps its death to itself; see `Probe::died`.
        if let Ok(merged) = member.probe.spy() {
            app_lives(member.publisher.spied(merged.report().clone()));
        }
    }

    /// Pods that came or went are told of at once.
    fn tell_of_pods(&mut self, number: usize) {
        let now = self.app_time();
        let member = &mut self.probes[number];
        if member.setup.purpose == Purpose::Host {
            return;
        }
        let truth = self.truth.lock().unwrap_or_else(PoisonError::into_inner);
        let everywhere = member.setup.purpose == Purpose::Cluster;
        let pods = truth.pods.iter();
        let pods = pods.filter(|pod| everywhere || pod.node == member.setup.host);
        let new = |pod: &&crate::truth::Pod| !member.pods.contains(&reporters::pod_id(pod));
        let mut came = Report::empty();
        reporters::pods(&mut came, pods.clone().filter(new), member.probe.id(), now);
        let there: BTreeSet<String> = pods.map(reporters::pod_id).collect();
        let gone = member.pods.difference(&there).map(String::as_str);
        let went = reporters::deleted_pods(gone, now);
        for report in [came, went] {
            if !report.topology(Kind::Pod).nodes.is_empty() {
                self.window.add(member.probe.shortcut(report), now);
            }
        }
        member.pods = there;
    }

    /// What the page shows now.
    ///
    /// # Panics
    ///
    /// If the app would: nodes of one id that name different topologies.
    pub fn view(&mut self) -> View {
        let now = self.app_time();
        View::of_version(app_lives(self.window.report(now)), self.version)
    }

    /// Clicks on a button that a node shows. Nothing if it shows no such button.
    pub fn click(
        &mut self,
        kind: Kind,
        node_id: &str,
        control: &str,
        args: Option<&BTreeMap<String, String>>,
    ) -> Option<ClickOutcome> {
        let shown = self.view().controls(kind, node_id);
        let shown = shown
            .into_iter()
            .find(|shown| shown.control.id == control)?;
        let now = self.app_time();
        let mut members = self.probes.iter_mut();
        let Some(member) = members.find(|member| member.probe.id() == shown.probe_id) else {
            let words = format!("probe {} is not connected right now", shown.probe_id);
            return Some(ClickOutcome::failed(words));
        };
        let outcome = member.probe.click(Click {
            app_id: "emulated",
            node_id,
            control,
            args,
        });
        if let Some(report) = &outcome.shortcut {
            self.window.add(report.clone(), now);
        }
        Some(outcome)
    }
}

fn app_lives<T>(outcome: Result<T, Death>) -> T {
    outcome.unwrap_or_else(|death| panic!("the app dies: {death}"))
}

fn own_report(truth: &Truth, setup: &ProbeSetup, probe_id: &str, now: Stamp) -> Report {
    let mut report = Report::empty();
    if setup.purpose != Purpose::Cluster {
        let unknown = crate::truth::Host::default();
        let name = setup.host.as_str();
        let host = truth.hosts.get(name).unwrap_or(&unknown);
        reporters::host(&mut report, name, host, probe_id, now);
        reporters::processes(&mut report, name, host, now);
        reporters::endpoints(&mut report, name, host, now);
        match setup.runtime {
            Runtime::Cri => reporters::cri_containers(&mut report, host, now),
            Runtime::Docker => reporters::docker(&mut report, name, host, probe_id, now),
            Runtime::Unseen => {}
        }
    }
    let node = match setup.purpose {
        Purpose::Host => return report,
        Purpose::Cluster => None,
        Purpose::Both => Some(setup.host.as_str()),
    };
    reporters::kubernetes(&mut report, truth, node, probe_id, now);
    report
}
