//! What the person who clicked is told.

use scope_crds::{ActionPhase, Control};
use scope_protocol::{ControlResponse, Report, Timestamp};
use serde_json::json;

use super::action::{ACT_WITHIN, Outcome};
use super::click::Click;
use crate::container_control::Phase;

/// The answer to a click.
///
/// Of an answer, Scope shows only `error` to a person; everything else is for programs. So
/// whatever a person has to know is an `error`, and that includes *pending*: the click has had no
/// effect yet and perhaps never will have, and with an answer without `error` nothing at all would
/// happen on the screen, so that the person would click again. The sentence begins with the word
/// "pending" and says under which name the outcome will be found, and until when there may be one.
/// `value` says the same for programs, in every case.
///
/// After a pod was deleted or evicted its panel is closed (`removedNode`), and the shortcut report
/// shows it as terminating at once, instead of up to 4 s later with the probe's next report. Its
/// controls replace the registered ones, so it is the controls socket's own report with that one
/// node. Everything else is still there afterwards, and so is its panel; what changed there is only
/// for Scope's probe to see, so that there is nothing to be told sooner.
///
/// What was done to a container of this node shows in its next report, a second later; a container
/// that has ended is another one afterwards, so that its panel is closed.
pub fn answer(
    click: &Click,
    outcome: &Outcome,
    namespace: &str,
    controls_report: &Report,
    now: Timestamp,
) -> ControlResponse {
    match outcome {
        Outcome::Done {
            action,
            phase: ActionPhase::Succeeded,
            message,
            target,
        } => {
            let ends = matches!(click.control, Control::DeletePod | Control::EvictPod);
            let terminating = || {
                let mut report = controls_report.clone();
                report
                    .topology(click.node.topology())
                    .node(click.node.as_str())
                    .set("kubernetes_state", now, "Terminating");
                report
            };
            ControlResponse {
                error: None,
                value: Some(json!({
                    "action": action,
                    "phase": "Succeeded",
                    "message": message,
                    "target": target,
                })),
                removed_node: ends.then(|| click.node.clone()),
                shortcut_report: ends.then(terminating),
            }
        }
        Outcome::Done {
            action,
            phase,
            message,
            target,
        } => ControlResponse {
            error: Some(match message.trim().trim_end_matches('.') {
                "" => format!("{phase} (ScopeAction {action} in namespace {namespace})"),
                said => format!("{said} (ScopeAction {action} in namespace {namespace})"),
            }),
            value: Some(json!({
                "action": action,
                "phase": phase,
                "message": message,
                "target": target,
            })),
            ..ControlResponse::default()
        },
        Outcome::Pending { action, not_after } => {
            let said = format!(
                "pending: the operator has not answered yet. See ScopeAction {action} in \
                 namespace {namespace}; it expires at {not_after}, after which nothing is done"
            );
            ControlResponse {
                error: Some(said.clone()),
                value: Some(json!({
                    "action": action,
                    "phase": "Pending",
                    "message": said,
                    "notAfter": not_after,
                })),
                ..ControlResponse::default()
            }
        }
        Outcome::Unknown { not_after } => ControlResponse::error(format!(
            "unknown: the API server did not answer in time, so that this click may or may not \
             have become a ScopeAction in namespace {namespace}. If it has, it expires at \
             {not_after}, after which nothing is done"
        )),
        Outcome::Here(here) => {
            let done = here.phase == Phase::Succeeded;
            let ended = done && click.control == Control::RestartContainer;
            ControlResponse {
                error: (!done).then(|| here.message.clone()),
                value: Some(json!({"phase": here.phase.as_str(), "message": here.message})),
                removed_node: ended.then(|| click.node.clone()),
                ..ControlResponse::default()
            }
        }
        Outcome::Denied(why) => ControlResponse::error(format!(
            "nothing was done: the API server refused the ScopeAction: {why}"
        )),
        Outcome::Unavailable(why) => ControlResponse::error(format!(
            "nothing was done: the API server cannot be reached ({why}). Try again in {} s",
            ACT_WITHIN.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use scope_crds::TargetKind;
    use scope_protocol::{NodeId, Topology};

    use super::*;
    use crate::container_control::Here;
    use crate::control::controls_report;
    use crate::control::offer::topology_of;

    fn click(control: Control, kind: TargetKind, node: NodeId) -> Click {
        Click {
            control,
            button: None,
            id: "",
            uid: node.name().to_owned(),
            node,
            kind,
            args: Default::default(),
            probe_id: String::new(),
            app_id: String::new(),
        }
    }

    fn tell_of(click: &Click, outcome: &Outcome) -> ControlResponse {
        let report = controls_report("p", "P", &BTreeSet::from(Control::ALL));
        let now = Timestamp::from_unix_micros(0);
        answer(click, outcome, "scope-plugins", &report, now)
    }

    fn tell(outcome: &Outcome) -> ControlResponse {
        let click = click(Control::DeletePod, TargetKind::Pod, NodeId::pod("abc"));
        tell_of(&click, outcome)
    }

    fn done(phase: ActionPhase, message: &str) -> Outcome {
        Outcome::Done {
            action: "p-x1".into(),
            phase,
            message: message.into(),
            target: None,
        }
    }

    #[test]
    fn of_a_pod_success_closes_the_panel_and_keeps_all_controls() {
        for control in [Control::DeletePod, Control::EvictPod] {
            let click = click(control, TargetKind::Pod, NodeId::pod("abc"));
            let outcome = done(ActionPhase::Succeeded, "pod ns/web-1 is being deleted");
            let told = tell_of(&click, &outcome);
            assert_eq!(told.error, None);
            assert_eq!(told.removed_node, Some(NodeId::pod("abc")));
            let mut report = told.shortcut_report.expect("a shortcut");
            assert_eq!(report.plugin.id, "p-controls");
            let pods = report.topology(Topology::Pod);
            let node = pods.nodes.remove("abc;<pod>").expect("the pod");
            assert_eq!(node.latest["kubernetes_state"].value, "Terminating");
            let all = controls_report("p", "P", &BTreeSet::from(Control::ALL));
            assert_eq!(
                report, all,
                "the controls of all topologies, and no other node"
            );
        }
    }

    #[test]
    fn what_is_still_there_afterwards_keeps_its_panel() {
        let others = Control::ALL.into_iter().filter(|control| {
            !control.is_node_local() && !matches!(control, Control::DeletePod | Control::EvictPod)
        });
        let mut seen = 0;
        for control in others {
            for &kind in control.kinds() {
                let node = NodeId::object(topology_of(kind), "abc").expect("a node");
                let click = click(control, kind, node);
                let told = tell_of(&click, &done(ActionPhase::Succeeded, "done"));
                assert_eq!((told.error, told.removed_node), (None, None), "{control}");
                assert_eq!(told.shortcut_report, None, "{control}");
                let value = told.value.expect("a value");
                assert_eq!(value["phase"], "Succeeded");
                assert_eq!(value["message"], "done");
                let refused = tell_of(&click, &done(ActionPhase::Refused, "no"));
                assert!(refused.error.is_some_and(|error| error.starts_with("no")));
                seen += 1;
            }
        }
        assert_eq!(seen, 14);
    }

    #[test]
    fn of_a_container_only_what_is_done_and_over_is_no_error() {
        let here = |control, phase| {
            let click = click(control, TargetKind::Pod, NodeId::container("abc"));
            let outcome = Outcome::Here(Here {
                phase,
                message: "said".into(),
            });
            tell_of(&click, &outcome)
        };
        for phase in [Phase::Accepted, Phase::Refused, Phase::Failed] {
            let told = here(Control::RestartContainer, phase);
            assert_eq!(told.error.as_deref(), Some("said"));
            assert_eq!(told.removed_node, None);
            assert_eq!(told.value.expect("a value")["phase"], phase.as_str());
        }
        let frozen = here(Control::FreezeContainer, Phase::Succeeded);
        assert_eq!((frozen.error, frozen.removed_node), (None, None));
        let restarted = here(Control::RestartContainer, Phase::Succeeded);
        assert_eq!(restarted.removed_node, Some(NodeId::container("abc")));
    }

    #[test]
    fn everything_else_is_an_error_in_words() {
        for (outcome, words) in [
            (
                done(ActionPhase::Refused, "namespace kube-system is protected."),
                "namespace kube-system is protected (ScopeAction p-x1 in namespace scope-plugins)",
            ),
            (
                done(ActionPhase::Failed, ""),
                "Failed (ScopeAction p-x1 in namespace scope-plugins)",
            ),
            (
                Outcome::Pending {
                    action: "p-x1".into(),
                    not_after: "01:02:03 UTC".into(),
                },
                "See ScopeAction p-x1 in namespace scope-plugins; it expires at 01:02:03 UTC",
            ),
            (
                Outcome::Unknown {
                    not_after: "01:02:03 UTC".into(),
                },
                "may or may not have become a ScopeAction",
            ),
            (
                Outcome::Denied("forbidden".into()),
                "refused the ScopeAction: forbidden",
            ),
            (
                Outcome::Unavailable("refused".into()),
                "cannot be reached (refused)",
            ),
        ] {
            let told = tell(&outcome);
            let error = told.error.expect("an error");
            assert!(error.contains(words), "{error}");
            assert_eq!(told.removed_node, None);
            assert_eq!(told.shortcut_report, None);
        }
        let pending = Outcome::Pending {
            action: "p-x1".into(),
            not_after: "soon".into(),
        };
        let value = tell(&pending).value.expect("a value");
        assert_eq!(value["phase"], "Pending");
        assert_eq!(value["action"], "p-x1");
        assert!(
            tell(&pending)
                .error
                .is_some_and(|e| e.starts_with("pending: "))
        );
    }
}
