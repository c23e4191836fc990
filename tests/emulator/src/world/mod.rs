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
mod member;
mod setup;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clock::{Clock, nanos_of};
use member::{Member, Turn};
pub use setup::{ProbeSetup, Runtime};

use crate::click::{Click, ClickOutcome};
use crate::kind::Kind;
use crate::page::View;
use crate::probe::{Probe, ProbeError};
use crate::report::{Death, Report};
use crate::script::{Script, SharedScript};
use crate::stamp::Stamp;
use crate::truth::Truth;
use crate::version::Version;
use crate::window::Window;

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
    app_is_there: bool,
}

impl Default for World {
    fn default() -> Self {
        Self::new(Version::default())
    }
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
            next_look: reached + nanos_of(LOOK),
            app_is_there: true,
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
    /// A directory of sockets that cannot be read; the probe would have no plugins for good.
    pub fn try_add_probe(&mut self, setup: ProbeSetup) -> Result<usize, ProbeError> {
        let number = self.probes.len();
        let (clock, truth) = (&self.clock, &self.truth);
        let mut member = Member::new(setup, number, self.version, clock, truth, self.reached)?;
        for (path, script) in self.scripts.get(member.host()).cloned().unwrap_or_default() {
            // The path was accepted when the script was added.
            let _ = member.add_script(&path, &script);
        }
        self.probes.push(member);
        Ok(number)
    }

    /// Adds a probe and gives its number.
    ///
    /// # Panics
    ///
    /// If the directory of its sockets cannot be read.
    pub fn add_probe(&mut self, setup: ProbeSetup) -> usize {
        match self.try_add_probe(setup) {
            Ok(number) => number,
            Err(error) => panic!("{error}"),
        }
    }

    /// Adds a plugin to a machine, for all probes that are and will be there. Its id comes from the
    /// path, as that of a socket would; a plugin on the same path is replaced.
    ///
    /// # Panics
    ///
    /// If the path gives no valid id.
    pub fn add_plugin(&mut self, host: &str, path: &str, script: impl Script + 'static) {
        let (path, script) = (PathBuf::from(path), SharedScript::new(script));
        let members = self.probes.iter_mut();
        for member in members.filter(|member| member.host() == host) {
            if let Err(words) = member.add_script(&path, &script) {
                panic!("{}: {words}", path.display());
            }
        }
        let scripts = self.scripts.entry(host.to_owned()).or_default();
        scripts.insert(path, script);
    }

    /// Takes a plugin away from a machine.
    pub fn remove_plugin(&mut self, host: &str, path: &str) {
        let path = PathBuf::from(path);
        let members = self.probes.iter_mut();
        for member in members.filter(|member| member.host() == host) {
            member.probe.registry().remove_script(&path);
        }
        if let Some(scripts) = self.scripts.get_mut(host) {
            scripts.remove(&path);
        }
    }

    /// A probe, by its number. Its [merged](Probe::merged) report goes into the next publish and is
    /// not kept.
    pub fn probe(&self, number: usize) -> &Probe {
        &self.probes[number].probe
    }

    /// What a probe published last, as it left it.
    pub fn published(&self, number: usize) -> Option<&Report> {
        self.probes[number].published.as_ref()
    }

    /// Ends a probe. What it published stays until it leaves the app's window. A new one for its place
    /// has another id, as in Scope.
    pub fn stop_probe(&mut self, number: usize) {
        self.probes[number].stop();
    }

    /// Whether the probes reach the app. What they publish meanwhile is lost.
    pub fn set_app_reachable(&mut self, reachable: bool) {
        self.app_is_there = reachable;
    }

    /// The next thing that a probe does.
    fn next_turn(&self) -> Option<(i64, Turn, usize)> {
        let members = self.probes.iter().enumerate();
        let turns = members.filter_map(|(number, member)| {
            let (time, turn) = member.next()?;
            Some((time, turn, number))
        });
        turns.min()
    }

    /// Lets time pass.
    ///
    /// # Panics
    ///
    /// If the app would: nodes of one id that name different topologies.
    pub fn advance(&mut self, duration: Duration) {
        if let Clock::Real = self.clock {
            self.skip_missed();
        }
        let end = self.reached + nanos_of(duration);
        loop {
            let turn = self
                .next_turn()
                .filter(|(time, ..)| *time <= self.next_look);
            let time = turn.map_or(self.next_look, |(time, ..)| time);
            if time > end {
                break;
            }
            self.clock.wait_until(time);
            self.reached = time;
            match turn {
                Some((_, turn, number)) => self.take_turn(turn, number),
                None => self.look(),
            }
        }
        self.clock.wait_until(end);
        self.reached = end;
    }

    fn skip_missed(&mut self) {
        let now = self.clock.now();
        for member in &mut self.probes {
            member.skip_missed(now);
        }
        self.next_look = self.next_look.max(now);
        self.reached = now;
    }

    fn look(&mut self) {
        self.next_look += nanos_of(LOOK);
        let now = self.app_time();
        app_lives(self.window.touch(now));
    }

    fn take_turn(&mut self, turn: Turn, number: usize) {
        let now = self.app_time();
        let member = &mut self.probes[number];
        member.done(turn);
        match turn {
            Turn::Publish => {
                if let Some(report) = member.publish(self.app_is_there) {
                    self.window.add(report, now);
                }
            }
            Turn::Scan => {
                // What went wrong is in the probe's log.
                let _ = member.probe.scan();
            }
            Turn::Spy => {
                let truth = self.truth.lock().unwrap_or_else(PoisonError::into_inner);
                let news = member.news_of_pods(&truth, now);
                drop(truth);
                for report in news.into_iter().filter(|_| self.app_is_there) {
                    self.window.add(report, now);
                }
                app_lives(member.spy());
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

    /// What the page shows now.
    ///
    /// # Panics
    ///
    /// If the app would: nodes of one id that name different topologies.
    pub fn view(&mut self) -> View {
        let now = self.app_time();
        View::of_version(app_lives(self.window.report(now)), self.version)
    }

    /// Looks at the page again and again, after each interval, and counts how often each thing was seen.
    /// What never flickers is one thing.
    pub fn looks<T: Ord>(
        &mut self,
        count: usize,
        every: Duration,
        see: impl Fn(&View) -> T,
    ) -> BTreeMap<T, usize> {
        let mut seen = BTreeMap::new();
        for _ in 0..count {
            self.advance(every);
            *seen.entry(see(&self.view())).or_default() += 1;
        }
        seen
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
        let asked =
            |member: &&mut Member| member.is_connected() && member.probe.id() == shown.probe_id;
        let Some(member) = members.find(asked) else {
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
