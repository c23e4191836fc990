//! The sentences of the conditions: what is, and what to do about it.

use scope_crds::{Control, Placement};

use super::Trouble;
use crate::{
    desired,
    plan::{Foreign, MAX_SOCKET_PATH, Obstacle},
    totals::{Told, Verdict},
};

/// The schema's bound of a condition's message.
const MAX_MESSAGE: usize = 4096;

/// The message cut to what the schema takes, at a character's border.
pub(super) fn bounded(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        // The schema counts characters.
        Some((end, _)) => message[..end].to_owned(),
        None => message.to_owned(),
    }
}

pub(super) fn trouble(trouble: &Trouble) -> (&'static str, String) {
    match trouble {
        Trouble::Obstacle(Obstacle::SocketPathTooLong { path }) => (
            "SocketPathTooLong",
            format!(
                "The socket path {path} has {} bytes, and the kernel takes {MAX_SOCKET_PATH}. Use a shorter \
                 name for the ScopePlugin, or a shorter plugin directory (chart value pluginDirectory)",
                path.len()
            ),
        ),
        Trouble::Obstacle(Obstacle::Foreign(foreign)) => ("ForeignObject", foreign_object(foreign)),
        Trouble::Refused {
            kind,
            name,
            message,
        } => (
            "Refused",
            format!(
                "The API server refused the {} {name}: {message}. Correct the ScopePlugin or the policy that \
                 is named",
                kind.as_str()
            ),
        ),
        Trouble::PodsNotCreated { message } => (
            "PodsNotCreated",
            format!("Pods cannot be created: {message}. {}", remedy(message)),
        ),
        Trouble::PlacementMatchesNothing { pods } => (
            "PlacementMatchesNothing",
            format!(
                "No node matches spec.placement, and {pods} {} {} on nodes that it does not match. They are left \
                 alone. Correct spec.placement, or set spec.suspended to remove them",
                if *pods == 1 { "pod" } else { "pods" },
                if *pods == 1 { "runs" } else { "run" },
            ),
        ),
        Trouble::RecordUnreadable { name, error } => (
            "RecordUnreadable",
            format!(
                "The rollout record (ConfigMap {name}) cannot be read: {error}. Nothing is rolled out. Install \
                 the operator that wrote it, or delete it: the rollout then starts anew"
            ),
        ),
        Trouble::TemplateLost { revision } => (
            "TemplateLost",
            format!(
                "The template of revision {revision}, which is being rolled out, is not kept any more. Change \
                 spec.rollout.restartedAt to start anew"
            ),
        ),
    }
}

/// What to do about pods that cannot be created, as far as the API server's words tell.
fn remedy(message: &str) -> &'static str {
    if message.contains("PodSecurity") {
        "The plugins' namespace must allow privileged pods: label it \
         pod-security.kubernetes.io/enforce=privileged"
    } else if message.contains("quota") {
        "The plugins' namespace must have quota for a pod on each node"
    } else {
        "Correct what refuses them; they are tried again within a minute"
    }
}

fn foreign_object(foreign: &Foreign) -> String {
    let Foreign {
        kind,
        namespace,
        name,
        owner,
    } = foreign;
    let owner = match owner {
        Some(owner) => format!("belongs to {owner}"),
        None => "was not made for this ScopePlugin".to_owned(),
    };
    let kind = kind.as_str();
    format!(
        "The {kind} {name} in the namespace {namespace} {owner} and is left alone. Remove it (kubectl \
         delete {} -n {namespace} {name}), or give the ScopePlugin another name",
        kind.to_lowercase()
    )
}

pub(super) fn unreadable(error: &str) -> String {
    format!(
        "This version of the operator cannot read the object: {error}. What runs is left as it is. Correct \
         the ScopePlugin, or install the operator that belongs to the installed CRD"
    )
}

/// Clicks for the operator are offered all the same and refused with words; what an agent does itself
/// it does not even offer, so that nobody can click it.
pub(super) fn controls_not_allowed(controls: &[Control]) -> String {
    let named = |node_local: bool| {
        let of_this_sort = controls.iter().filter(|c| c.is_node_local() == node_local);
        of_this_sort.map(Control::to_string).collect::<Vec<_>>()
    };
    let (refused, hidden) = (named(false), named(true));
    let mut sentences = Vec::new();
    if !refused.is_empty() {
        let names = refused.join(", ");
        sentences.push(format!(
            "The installation does not allow {names}, so every click on it is refused"
        ));
    }
    if !hidden.is_empty() {
        let names = hidden.join(", ");
        sentences.push(format!(
            "The installation does not allow {names}, so Scope does not show {}",
            if hidden.len() == 1 {
                "its button"
            } else {
                "their buttons"
            }
        ));
    }
    let it = if controls.len() == 1 { "it" } else { "them" };
    sentences.push(format!(
        "Add {it} to the chart value actions.allowed, or remove {it} from spec.agent.controls"
    ));
    sentences.join(". ")
}

/// For a ScopePlugin that outlives its operator.
pub(super) const OPERATOR_UNINSTALLED: &str = "The operator was uninstalled and its agents were removed from all nodes: nothing runs, and \
     nobody looks after this ScopePlugin. Install the chart again to bring it back, or delete the ScopePlugin";

pub(super) fn suspended() -> String {
    "Nothing runs, as spec.suspended asks".into()
}

pub(super) fn suspending(pods: i32) -> String {
    match pods {
        0 => "The last pods are being removed".into(),
        1 => "1 pod is being removed".into(),
        pods => format!("{pods} pods are being removed"),
    }
}

pub(super) fn applying() -> String {
    "The DaemonSet is being brought up to date".into()
}

pub(super) fn no_matching_nodes(placement: &Placement) -> String {
    format!(
        "No node matches the placement ({}). Correct spec.placement, or label nodes (kubectl get nodes \
         --show-labels)",
        desired::selector_in_words(placement)
    )
}

pub(super) fn progress(ready: usize, updated: usize, desired: usize) -> String {
    let nodes = if desired == 1 { "node" } else { "nodes" };
    if updated < desired {
        format!("{ready} of {desired} {nodes} ready, {updated} updated")
    } else {
        format!("{ready} of {desired} {nodes} ready")
    }
}

/// The first names, and how many there are more.
pub(super) fn names(names: &[String]) -> String {
    const NAMED: usize = 3;
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} (+{more})", first.join(", ")),
    }
}

pub(super) fn available(available: i32, desired: i32) -> String {
    let nodes = if desired == 1 { "node" } else { "nodes" };
    format!("The plugin serves on {available} of {desired} {nodes}")
}

/// Whether Scope asks the agents, and what to do where it does not.
pub(super) fn connected(told: &Told, plugin_directory: &str) -> String {
    let all = told.tell();
    let nodes = |count: u32| if count == 1 { "node" } else { "nodes" };
    let named = told.silent_nodes.join(", ");
    let more = usize::try_from(told.silent)
        .unwrap_or(usize::MAX)
        .saturating_sub(told.silent_nodes.len());
    let names = match more {
        0 => named,
        more => format!("{named} (+{more})"),
    };
    let rest = match told.unknown {
        0 => String::new(),
        1 => "; 1 more does not tell".to_owned(),
        unknown => format!("; {unknown} more do not tell"),
    };
    let begin = match told.verdict() {
        Verdict::All => {
            let begin = format!(
                "Within the last minute Scope asked the agents on all of {all} {}{rest}",
                nodes(all)
            );
            return match told.unknown {
                0 => begin,
                _ => format!(
                    "{begin}. If that lasts, their agents are of an older release, or their logs say why they \
                     cannot report to scope-totals"
                ),
            };
        }
        Verdict::Some => format!(
            "Scope has not asked the agents on {} of {all} {} for a minute: {names}{rest}",
            told.silent,
            nodes(all)
        ),
        Verdict::None => format!(
            "Scope has asked no agent for a minute, on {all} {}: {names}{rest}",
            nodes(all)
        ),
    };
    format!(
        "{begin}. A probe that was started before the directory {plugin_directory} was there never looks into it: \
         restart the pods of Scope's agent on these nodes. If the DaemonSet of Scope's agent does not mount that \
         directory of the host (a hostPath volume for {plugin_directory}), mount it. If its probe looks elsewhere, set \
         the chart value pluginDirectory to what its --probe.plugins.root says. Where no probe runs, let one run, or \
         leave the node out by spec.placement"
    )
}
