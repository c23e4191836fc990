//! What to do next for one plugin: a pure function of what is wanted and what is there.

use k8s_openapi::{
    api::{apps::v1::DaemonSet, core::v1::ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use scope_crds::ScopePlugin;

use crate::{
    desired::{self, Desired, Revision},
    drift::{self, Drift},
    ownership::{self, Ownership},
    settings::Settings,
};

/// The kinds of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ServiceAccount,
    DaemonSet,
    ConfigMap,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::DaemonSet => "DaemonSet",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// An object that has the name of a child and is somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) owner: Option<String>,
}

/// What to do about one child.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step<K> {
    /// It is as it should be.
    Keep,
    /// One of the same name is going; wait for that.
    Wait,
    /// Apply without force: whoever made one in the meantime keeps it.
    Create(Box<K>),
    /// Apply with force to the object of this UID.
    Update {
        object: Box<K>,
        uid: String,
        why: Why,
    },
}

/// Why a child is written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The plugin or the installation asks for something else now.
    Wanted,
    /// Somebody changed it.
    Drift(Drift),
}

/// A child that is no longer wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doomed {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What cannot work however often it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A socket's path would be longer than the kernel takes.
    SocketPathTooLong { path: String },
    /// Somebody else's object has the name of a child.
    Foreign(Foreign),
}

/// The decision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) service_account: Step<ServiceAccount>,
    pub(crate) daemon_set: Step<DaemonSet>,
    pub(crate) delete: Vec<Doomed>,
    pub(crate) obstacle: Option<Obstacle>,
}

/// What is there.
pub(crate) struct Observed<'a> {
    /// The ServiceAccount with the name of the child.
    pub(crate) service_account: Option<&'a ObjectMeta>,
    /// The DaemonSet with the name of the child.
    pub(crate) daemon_set: Option<&'a DaemonSet>,
    /// The DaemonSet's generation as our last apply returned it, if this process has made one.
    pub(crate) known_generation: Option<i64>,
    /// All DaemonSets of the namespace.
    pub(crate) daemon_sets: &'a [ObjectMeta],
}

/// The longest path that fits a socket's address: `sun_path` has 108 bytes, the last of which is NUL.
pub(crate) const MAX_SOCKET_PATH: usize = 107;

/// Decides what to do about the children of `plugin`, whose DaemonSet should carry `revision`.
pub(crate) fn plan(
    plugin: &ScopePlugin,
    settings: &Settings,
    revision: &Revision,
    observed: &Observed<'_>,
) -> Plan {
    let Desired {
        service_account,
        daemon_set,
    } = desired::children_at(plugin, settings, revision);
    let mut plan = Plan {
        service_account: Step::Keep,
        daemon_set: Step::Keep,
        delete: Vec::new(),
        obstacle: None,
    };

    let path = desired::longest_socket(plugin, settings);
    if daemon_set.is_some() && path.len() > MAX_SOCKET_PATH {
        plan.obstacle = Some(Obstacle::SocketPathTooLong { path });
        return plan;
    }

    let name = service_account.metadata.name.clone().unwrap_or_default();
    let foreign = |kind, owner| {
        Some(Obstacle::Foreign(Foreign {
            kind,
            namespace: settings.plugins_namespace.clone(),
            name: name.clone(),
            owner,
        }))
    };

    plan.service_account = match ownership::judge(observed.service_account, plugin) {
        Ownership::Absent => Step::Create(Box::new(service_account)),
        Ownership::Going => Step::Wait,
        Ownership::Ours => {
            let live = observed.service_account.cloned().unwrap_or_default();
            account_step(service_account, &live)
        }
        Ownership::Foreign { owner } => {
            plan.obstacle = foreign(Kind::ServiceAccount, owner);
            Step::Wait
        }
    };

    match (
        daemon_set,
        ownership::judge(observed.daemon_set.map(|ds| &ds.metadata), plugin),
    ) {
        (Some(_), Ownership::Going) => plan.daemon_set = Step::Wait,
        (Some(_), Ownership::Foreign { owner }) => {
            plan.obstacle = plan.obstacle.or(foreign(Kind::DaemonSet, owner));
            plan.daemon_set = Step::Wait;
        }
        // Agents do not start under an account that is not theirs, or not there.
        (Some(_), _) if plan.service_account == Step::Wait => plan.daemon_set = Step::Wait,
        (Some(wanted), Ownership::Absent) => plan.daemon_set = Step::Create(Box::new(wanted)),
        (Some(wanted), Ownership::Ours) => {
            if let Some(live) = observed.daemon_set {
                plan.daemon_set = daemon_set_step(wanted, live, observed.known_generation);
            }
        }
        // Not wanted: what is ours falls under the prune below, what is not is none of our business.
        (None, _) => {}
    }

    let keep = if plugin.spec.suspended {
        None
    } else {
        Some(&name)
    };
    plan.delete = doomed(plugin, keep, observed.daemon_sets);
    plan
}

fn account_step(wanted: ServiceAccount, live: &ObjectMeta) -> Step<ServiceAccount> {
    let labels_stand =
        wanted.metadata.labels.iter().flatten().all(|(key, value)| {
            live.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value)
        });
    let same_intent = desired::intent(live) == desired::intent(&wanted.metadata);
    if same_intent && labels_stand {
        return Step::Keep;
    }
    Step::Update {
        object: Box::new(wanted),
        uid: live.uid.clone().unwrap_or_default(),
        why: if same_intent {
            Why::Drift(Drift::Changed)
        } else {
            Why::Wanted
        },
    }
}

fn daemon_set_step(
    wanted: DaemonSet,
    live: &DaemonSet,
    known_generation: Option<i64>,
) -> Step<DaemonSet> {
    let same_intent = desired::intent(&live.metadata) == desired::intent(&wanted.metadata);
    // A new intent is no excuse for foreign fields: they would outlive the apply.
    let why = match drift::find(live, &wanted, known_generation) {
        drift @ Drift::Added(_) => Why::Drift(drift),
        _ if !same_intent => Why::Wanted,
        Drift::None => return Step::Keep,
        drift => Why::Drift(drift),
    };
    Step::Update {
        uid: live.metadata.uid.clone().unwrap_or_default(),
        object: Box::new(wanted),
        why,
    }
}

/// Children of the plugin that are not wanted, whatever they are called.
fn doomed(plugin: &ScopePlugin, keep: Option<&String>, there: &[ObjectMeta]) -> Vec<Doomed> {
    let Some(plugin_uid) = plugin.metadata.uid.as_deref() else {
        return Vec::new();
    };
    there
        .iter()
        .filter(|object| ownership::is_child(object, plugin_uid))
        .filter(|object| object.deletion_timestamp.is_none() && object.name.as_ref() != keep)
        .filter_map(|object| {
            Some(Doomed {
                kind: Kind::DaemonSet,
                name: object.name.clone()?,
                uid: object.uid.clone()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
