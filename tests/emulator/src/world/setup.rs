//! How a probe of a simulated world is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::probe::OwnStamps;

/// Where the probe of a machine has its containers from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// A CRI runtime and `--probe.cri`.
    #[default]
    Cri,
    /// A CRI runtime that the probe does not look at, as in Scope's example manifests.
    Unseen,
    /// Docker.
    Docker,
}

/// What a probe is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A machine.
    Host,
    /// The objects of the cluster.
    Cluster,
    /// A machine, and the cluster with the pods of that machine: releases before 1.10.
    Both,
}

/// How a probe is set up. What is not said is as Scope's defaults have it.
#[derive(Clone, Debug)]
pub struct ProbeSetup {
    pub(super) host: String,
    pub(super) purpose: Purpose,
    pub(super) probe_id: Option<String>,
    pub(super) runtime: Runtime,
    /// In milliseconds; before the world's time if negative.
    pub(super) skew: i64,
    pub(super) spy: Duration,
    pub(super) publish: Duration,
    pub(super) phase: Duration,
    pub(super) own_stamps: OwnStamps,
    pub(super) sockets: Option<PathBuf>,
    pub(super) proc: Option<PathBuf>,
}

impl ProbeSetup {
    fn new(host: &str, purpose: Purpose) -> Self {
        Self {
            host: host.to_owned(),
            purpose,
            probe_id: None,
            runtime: Runtime::default(),
            skew: 0,
            spy: Duration::from_secs(1),
            publish: Duration::from_secs(3),
            phase: Duration::ZERO,
            own_stamps: OwnStamps::default(),
            sockets: None,
            proc: None,
        }
    }

    /// The probe of a machine, in role `host`.
    pub fn host(host: &str) -> Self {
        Self::new(host, Purpose::Host)
    }

    /// The probe of the cluster, on this machine, whose plugins it asks too.
    pub fn cluster(host: &str) -> Self {
        Self::new(host, Purpose::Cluster)
    }

    /// The only kind of probe before 1.10: of a machine, with that machine's pods and all
    /// controllers.
    pub fn both(host: &str) -> Self {
        Self::new(host, Purpose::Both)
    }

    /// The id that plugins are asked with; by default the machine's number in hexadecimal.
    #[must_use]
    pub fn id(mut self, probe_id: &str) -> Self {
        self.probe_id = Some(probe_id.to_owned());
        self
    }

    /// Where the containers come from.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// How far the machine's clock is ahead of the world's, in milliseconds; negative for behind.
    /// Plugins of a machine have the clock of the probe that asks them, so give all probes of one
    /// machine the same.
    #[must_use]
    pub fn skew_millis(mut self, skew: i64) -> Self {
        self.skew = skew;
        self
    }

    /// How often the probe looks.
    #[must_use]
    pub fn spy_every(mut self, interval: Duration) -> Self {
        self.spy = interval;
        self
    }

    /// How often the probe publishes.
    #[must_use]
    pub fn publish_every(mut self, interval: Duration) -> Self {
        self.publish = interval;
        self
    }

    /// How long after it was added the probe starts. It looks one interval later for the first time.
    #[must_use]
    pub fn phase(mut self, phase: Duration) -> Self {
        self.phase = phase;
        self
    }

    /// Whether the probe's own stamps are before or after a plugin's renaming.
    #[must_use]
    pub fn own_stamps(mut self, own_stamps: OwnStamps) -> Self {
        self.own_stamps = own_stamps;
        self
    }

    /// Reports the real processes below this root, such as `/proc`, instead of those of the truth. The
    /// numbers must be those of the host, as in Scope.
    #[must_use]
    pub fn proc(mut self, root: impl Into<PathBuf>) -> Self {
        self.proc = Some(root.into());
        self
    }

    /// Asks real sockets under this directory, in real time, instead of the world's scripts.
    #[must_use]
    pub fn sockets(mut self, root: impl Into<PathBuf>) -> Self {
        self.sockets = Some(root.into());
        self
    }
}
