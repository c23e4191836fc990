//! What differs between the releases of Scope that are still met.

use crate::publish::FULL_REPORT_EVERY;

/// A release of Scope, for app and probes alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.9: no button to describe an object, no jobs; one kind of probe, which reports the pods of its node and all controllers, and ties pods
    /// to its host; every publish is complete.
    V1_9,
    /// 1.12: probes of hosts and of the cluster; only every third publish is complete; controls
    /// still have their own stamps.
    V1_12,
    /// 1.13: the controls of a node are one value.
    #[default]
    V1_13,
}

impl Version {
    /// Whether the active controls of a node are one value, of which the last writer wins, rather
    /// than a list with stamps of its own.
    pub fn joins_controls(self) -> bool {
        self >= Version::V1_13
    }

    /// One in so many publishes is complete.
    pub fn full_report_every(self) -> u32 {
        match self {
            Version::V1_9 => 1,
            Version::V1_12 | Version::V1_13 => FULL_REPORT_EVERY,
        }
    }

    /// Whether Kubernetes' objects have a button that describes them.
    pub(crate) fn describes(self) -> bool {
        self >= Version::V1_12
    }

    /// Whether jobs are reported by themselves.
    pub(crate) fn has_jobs(self) -> bool {
        self >= Version::V1_12
    }

    /// Whether a probe ties pods to the host that it runs on.
    pub fn ties_pods_to_host(self) -> bool {
        self == Version::V1_9
    }
}
