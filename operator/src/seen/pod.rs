//! A plugin's pod: where it is, of which revision, and how it does. A hundred thousand of them are kept in a
//! large fleet, so there is nothing in it that nobody asks for.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use super::told::Told;

/// A pod of a plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Told")]
pub(crate) struct SeenPod {
    /// Name, namespace, UID, version and the time of its deletion; nothing else.
    pub(super) metadata: ObjectMeta,
    pub(super) created: Timestamp,
    /// Each of these words is that of many pods.
    pub(super) plugin: Option<Arc<str>>,
    pub(super) revision: Option<Arc<str>>,
    pub(super) controller: Option<Arc<str>>,
    pub(super) node: Option<Arc<str>>,
    pub(super) status: Status,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Status {
    /// It is Running, as a whole.
    pub(super) runs: bool,
    pub(super) address: Option<IpAddr>,
    /// Why it is not there any more, where the kubelet or a controller says so.
    pub(super) why: Option<Box<Why>>,
    pub(super) ready: Option<Condition>,
    pub(super) scheduled: Option<Condition>,
    pub(super) containers: Box<[Container]>,
}

/// A word for programs and one for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Why {
    pub(super) reason: Box<str>,
    pub(super) message: Box<str>,
}

#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) holds: Holds,
    pub(super) since: Option<Timestamp>,
    pub(super) why: Option<Box<Why>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Holds {
    True,
    False,
    /// As where the kubelet is not heard of.
    Unknown,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Container {
    pub(super) restarts: i32,
    pub(super) runs: bool,
    pub(super) waits: Option<Box<Why>>,
    /// How it ended last.
    pub(super) ended: Option<Box<Ended>>,
}

#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) why: Why,
    pub(super) exit_code: i32,
}

impl SeenPod {
    /// The node that it is on, or is meant for.
    pub(crate) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    pub(crate) fn plugin(&self) -> Option<&str> {
        self.plugin.as_deref()
    }

    /// The template that it was made from.
    pub(crate) fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// The UID of the DaemonSet that made it.
    #[cfg(test)]
    pub(crate) fn controller(&self) -> Option<&str> {
        self.controller.as_deref()
    }

    pub(crate) fn created(&self) -> Timestamp {
        self.created
    }

    /// Since when it is ready.
    pub(crate) fn ready_since(&self) -> Option<Timestamp> {
        let ready = self.status.ready.as_ref()?;
        (ready.holds == Holds::True).then(|| ready.since.unwrap_or(self.created))
    }

    /// How often its containers were started again.
    pub(crate) fn restarts(&self) -> i32 {
        let containers = self.status.containers.iter();
        containers.map(|container| container.restarts).sum()
    }
}

scope_process::of_kind!(SeenPod: Pod);
