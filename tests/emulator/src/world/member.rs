//! A probe of a world: its timers, and what it tells by itself.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::{Clock, nanos_of};
use super::setup::{ProbeSetup, Purpose, Runtime};
use crate::kind::Kind;
use crate::own::OwnReporter;
use crate::probe::{Options, Probe, ProbeError, Role};
use crate::publish::Publisher;
use crate::report::{Death, Report};
use crate::reporters::{self, By};
use crate::script::SharedScript;
use crate::stamp::Stamp;
use crate::truth::{Host, Pod, Truth};
use crate::version::Version;

/// How often a probe looks for new sockets.
const SCAN: Duration = Duration::from_secs(5);

/// What a probe does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// First, as what is spied at the same time is not yet there.
    Publish,
    Scan,
    Spy,
}

/// A probe with its timers.
pub(super) struct Member {
    setup: ProbeSetup,
    version: Version,
    stopped: bool,
    pub(super) probe: Probe,
    publisher: Publisher,
    /// When each turn is due, in nanoseconds since 1970.
    due: [(Turn, i64, Duration); 3],
    /// The pods that were there at the last tick, by id.
    pods: BTreeSet<String>,
    /// What it published last.
    pub(super) published: Option<Report>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Member");
        fields.field("setup", &self.setup).finish_non_exhaustive()
    }
}

impl Member {
    /// A probe that starts at a time, plus the phase of its setup.
    pub(super) fn new(
        setup: ProbeSetup,
        number: usize,
        version: Version,
        clock: &Clock,
        truth: &Arc<Mutex<Truth>>,
        begin: i64,
    ) -> Result<Self, ProbeError> {
        let probe_id = setup.probe_id.clone();
        let probe_id = probe_id.unwrap_or_else(|| format!("{:x}", 0xa0 + number));
        let own = {
            let (truth, setup, probe_id) = (Arc::clone(truth), setup.clone(), probe_id.clone());
            OwnReporter::new(move |now| {
                let truth = truth.lock().unwrap_or_else(PoisonError::into_inner);
                let by = By {
                    probe_id: &probe_id,
                    version,
                    now,
                };
                own_report(&truth, &setup, by)
            })
        };
        let options = Options {
            own: Some(own),
            probe_id,
            now: Arc::new(clock.skewed(setup.skew)),
            own_stamps: setup.own_stamps,
            role: match setup.purpose {
                Purpose::Cluster => Role::Cluster,
                Purpose::Host | Purpose::Both => Role::Host {
                    host: setup.host.clone(),
                },
            },
            version,
            ..Options::default()
        };
        let probe = match &setup.sockets {
            Some(root) => Probe::new(root, options)?,
            None => Probe::scripted(options),
        };
        let begin = begin + nanos_of(setup.phase);
        let intervals = [
            (Turn::Publish, setup.publish),
            (Turn::Scan, SCAN),
            (Turn::Spy, setup.spy),
        ];
        Ok(Self {
            probe,
            version,
            stopped: false,
            publisher: Publisher::new(version.full_report_every()),
            due: intervals.map(|(turn, every)| (turn, begin + nanos_of(every), every)),
            pods: BTreeSet::new(),
            published: None,
            setup,
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.setup.host
    }

    /// Adds a plugin, unless this probe asks sockets.
    pub(super) fn add_script(&mut self, path: &Path, script: &SharedScript) -> Result<(), String> {
        match self.setup.sockets {
            Some(_) => Ok(()),
            None => self.probe.registry().add_script(path, script.clone()),
        }
    }

    /// What is due next, and when. A probe that is dead does nothing more.
    pub(super) fn next(&self) -> Option<(i64, Turn)> {
        let due = self.due.iter().map(|(turn, time, _)| (*time, *turn));
        due.min()
            .filter(|_| !self.stopped && self.probe.died().is_none())
    }

    /// The probe does nothing any more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn is_connected(&self) -> bool {
        !self.stopped
    }

    /// Sets the timer for the next time.
    pub(super) fn done(&mut self, turn: Turn) {
        for (_, time, every) in self.due.iter_mut().filter(|(of, ..)| *of == turn) {
            *time += nanos_of(*every).max(1);
        }
    }

    /// A timer that nobody waited for goes off once, late, as Go's tickers do: they keep one tick, and
    /// drop what comes before it is taken.
    pub(super) fn skip_missed(&mut self, now: i64) {
        for (_, time, every) in &mut self.due {
            *time = last_missed(*time, nanos_of(*every).max(1), now);
        }
    }

    /// Looks around, and keeps what it sees until it publishes.
    pub(super) fn spy(&mut self) -> Result<(), Death> {
        // A probe that dies keeps its death to itself; see `Probe::died`.
        match self.probe.spy() {
            Ok(_) => self.publisher.spied(self.probe.take_merged()),
            Err(_) => Ok(()),
        }
    }

    /// What leaves the probe; lost if the app is away.
    pub(super) fn publish(&mut self, app_is_there: bool) -> Option<Report> {
        let report = self.publisher.publish()?;
        if !app_is_there {
            self.publisher.failed();
            return None;
        }
        self.published = Some(report.clone());
        Some(report)
    }

    /// What is published at once, because pods came or went since the last time.
    pub(super) fn news_of_pods(&mut self, truth: &Truth, now: Stamp) -> Vec<Report> {
        let mine = |pod: &&Pod| match self.setup.purpose {
            Purpose::Host => false,
            Purpose::Cluster => true,
            Purpose::Both => pod.node == self.setup.host,
        };
        let pods = || truth.pods.iter().filter(mine);
        let there: BTreeSet<String> = pods().map(reporters::pod_id).collect();
        let mut came = Report::empty();
        let new = pods().filter(|pod| !self.pods.contains(&reporters::pod_id(pod)));
        let by = By {
            probe_id: self.probe.id(),
            version: self.version,
            now,
        };
        reporters::pods(&mut came, new, by);
        let gone = self.pods.difference(&there).map(String::as_str);
        let mut news = vec![came, reporters::deleted_pods(gone, now)];
        news.retain(|report| !report.topology(Kind::Pod).nodes.is_empty());
        self.pods = there;
        news.into_iter()
            .map(|report| self.probe.shortcut(report))
            .collect()
    }
}

fn own_report(truth: &Truth, setup: &ProbeSetup, by: By<'_>) -> Report {
    let By { probe_id, now, .. } = by;
    let mut report = Report::empty();
    if setup.purpose != Purpose::Cluster {
        let unknown = Host::default();
        let name = setup.host.as_str();
        let mut host = truth.hosts.get(name).unwrap_or(&unknown);
        let real;
        if let Some(root) = &setup.proc {
            let processes = reporters::processes_below(root);
            real = Host {
                processes,
                ..host.clone()
            };
            host = &real;
        }
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
    reporters::kubernetes(&mut report, truth, node, by);
    report
}

/// The last point of the timer's grid that is not after `now`; that of `due` if that lies ahead.
fn last_missed(due: i64, every: i64, now: i64) -> i64 {
    due + every * (now - due).div_euclid(every).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_was_missed_goes_off_once() {
        for (due, now, next) in [
            (30, 29, 30),
            (30, 30, 30),
            (30, 39, 30),
            (30, 40, 40),
            (30, 95, 90),
        ] {
            assert_eq!(last_missed(due, 10, now), next, "{due} {now}");
        }
    }
}
