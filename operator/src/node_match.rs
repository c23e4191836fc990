//! Whether the DaemonSet controller puts a plugin's pod on a node: what it would decide, from the plugin's
//! placement and the node's labels and taints, without asking it.
//!
//! The rules are those of `NodeShouldRunDaemonPod` in Kubernetes: the node selector and the required
//! affinity must hold, and every taint with the effect NoSchedule or NoExecute must be tolerated, by the
//! plugin or by what the controller adds to each daemon pod. Whether the node is ready, full or cordoned
//! is no reason.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use scope_crds::{Expression, HostName, Operator, Placement, ScopePluginSpec, Toleration};

use crate::desired::{HOSTLESS, OS};

/// Taints that the DaemonSet controller lets every daemon pod tolerate, with their effect.
const TOLERATED_BY_EACH: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// And this one only those on the host's network, which need no network of the cluster.
const TOLERATED_ON_HOST_NETWORK: (&str, &str) =
    ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// Whether a pod of this plugin belongs on a node with these labels and taints.
pub(crate) fn runs_on(
    spec: &ScopePluginSpec,
    labels: &BTreeMap<String, String>,
    taints: &[Taint],
) -> bool {
    let host_network = spec.agent.host_name == HostName::Kernel;
    selects(&spec.placement, labels) && tolerates_all(&spec.placement, host_network, taints)
}

/// Whether the labels are those that the pods' node selector and affinity ask for, the operator's own
/// additions included.
fn selects(placement: &Placement, labels: &BTreeMap<String, String>) -> bool {
    let has = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    let by_affinity = || match &placement.node_affinity {
        None => true,
        // Terms are alternatives, the expressions of a term are not.
        Some(affinity) => affinity
            .required_during_scheduling_ignored_during_execution
            .node_selector_terms
            .iter()
            .any(|term| term.match_expressions.iter().all(|e| holds(e, labels))),
    };
    has(OS, "linux")
        && !HOSTLESS.iter().any(|(key, value)| has(key, value))
        && placement.node_selector.iter().all(|(k, v)| has(k, v))
        && by_affinity()
}

fn holds(expression: &Expression, labels: &BTreeMap<String, String>) -> bool {
    let found = labels.get(&expression.key);
    let listed = || found.is_some_and(|found| expression.values.contains(found));
    // A number as the API server reads it; anything else compares as false, and so does a label that
    // is not there.
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = || {
        let [limit] = expression.values.as_slice() else {
            return None;
        };
        Some(number(found?)?.cmp(&number(limit)?))
    };
    match expression.operator {
        Operator::In => listed(),
        Operator::NotIn => !listed(),
        Operator::Exists => found.is_some(),
        Operator::DoesNotExist => found.is_none(),
        Operator::Gt => compared().is_some_and(|order| order.is_gt()),
        Operator::Lt => compared().is_some_and(|order| order.is_lt()),
    }
}

fn tolerates_all(placement: &Placement, host_network: bool, taints: &[Taint]) -> bool {
    taints
        .iter()
        // PreferNoSchedule is a wish of the scheduler's, which the controller does not ask.
        .filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute")
        .all(|taint| {
            let one = (taint.key.as_str(), taint.effect.as_str());
            TOLERATED_BY_EACH.contains(&one)
                || (host_network && one == TOLERATED_ON_HOST_NETWORK)
                || placement.tolerations.iter().any(|t| tolerates(t, taint))
        })
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let absent_or = |field: &Option<String>, wanted: &str| {
        field.as_deref().unwrap_or_default().is_empty() || field.as_deref() == Some(wanted)
    };
    if !absent_or(&toleration.effect, &taint.effect) || !absent_or(&toleration.key, &taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => {
            toleration.value.as_deref().unwrap_or_default()
                == taint.value.as_deref().unwrap_or_default()
        }
        // Refused by the schema; what this version does not know tolerates nothing.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The same for a placement alone, that is, for a pod on the cluster's network.
    fn matches(placement: &Placement, labels: &BTreeMap<String, String>, taints: &[Taint]) -> bool {
        selects(placement, labels) && tolerates_all(placement, false, taints)
    }

    fn placement(value: Value) -> Placement {
        serde_json::from_value(value).unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        [(OS, "linux")]
            .iter()
            .chain(pairs)
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn taint(key: &str, value: Option<&str>, effect: &str) -> Taint {
        Taint {
            key: key.into(),
            value: value.map(Into::into),
            effect: effect.into(),
            time_added: None,
        }
    }

    fn required(expressions: Value) -> Placement {
        let mut term = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": []}]}}});
        *term
            .pointer_mut(
                "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions",
            )
            .unwrap() = expressions;
        placement(term)
    }

    #[test]
    fn without_a_wish_every_linux_node_with_a_host() {
        let all = Placement::default();
        for (what, node, wanted) in [
            ("plain", labels(&[]), true),
            ("no labels at all", BTreeMap::new(), false),
            ("windows", labels(&[(OS, "windows")]), false),
            (
                "virtual kubelet",
                labels(&[("type", "virtual-kubelet")]),
                false,
            ),
            ("another type", labels(&[("type", "metal")]), true),
            (
                "fargate",
                labels(&[("eks.amazonaws.com/compute-type", "fargate")]),
                false,
            ),
        ] {
            assert_eq!(matches(&all, &node, &[]), wanted, "{what}");
        }
        // Asking for what is never chosen chooses nothing.
        let windows = placement(json!({"nodeSelector": {OS: "windows"}}));
        assert!(!matches(&windows, &labels(&[(OS, "windows")]), &[]));
    }

    #[test]
    fn every_label_of_the_selector() {
        let both = placement(json!({"nodeSelector": {"a": "1", "b": ""}}));
        for (node, wanted) in [
            (labels(&[("a", "1"), ("b", "")]), true),
            (labels(&[("a", "1"), ("b", ""), ("c", "x")]), true),
            (labels(&[("a", "1")]), false),
            (labels(&[("a", "2"), ("b", "")]), false),
        ] {
            assert_eq!(matches(&both, &node, &[]), wanted, "{node:?}");
        }
    }

    #[test]
    fn operators() {
        let node = labels(&[("zone", "a"), ("cpus", "8"), ("big", "+9"), ("word", "x")]);
        for (key, operator, values, wanted) in [
            ("zone", "In", json!(["b", "a"]), true),
            ("zone", "In", json!(["b"]), false),
            ("none", "In", json!(["a"]), false),
            ("zone", "NotIn", json!(["b"]), true),
            ("zone", "NotIn", json!(["a"]), false),
            ("none", "NotIn", json!(["a"]), true),
            ("zone", "Exists", json!([]), true),
            ("none", "Exists", json!([]), false),
            ("zone", "DoesNotExist", json!([]), false),
            ("none", "DoesNotExist", json!([]), true),
            ("cpus", "Gt", json!(["7"]), true),
            ("cpus", "Gt", json!(["8"]), false),
            ("cpus", "Lt", json!(["9"]), true),
            ("cpus", "Lt", json!(["8"]), false),
            ("cpus", "Gt", json!(["-1"]), true),
            ("big", "Gt", json!(["8"]), true),
            ("cpus", "Gt", json!(["1e1"]), false),
            ("cpus", "Lt", json!(["99999999999999999999"]), false),
            ("word", "Gt", json!(["1"]), false),
            ("word", "Lt", json!(["1"]), false),
            ("none", "Gt", json!(["1"]), false),
            ("none", "Lt", json!(["1"]), false),
        ] {
            let one = required(json!([{"key": key, "operator": operator, "values": values}]));
            assert_eq!(
                matches(&one, &node, &[]),
                wanted,
                "{key} {operator} {values}"
            );
        }
    }

    #[test]
    fn expressions_are_joined_and_terms_are_alternatives() {
        let two_terms = placement(json!({
            "nodeSelector": {"pool": "x"},
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [
                    {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]},
                {"matchExpressions": [{"key": "c", "operator": "Exists"}]},
            ]}}
        }));
        for (pairs, wanted) in [
            (&[("pool", "x"), ("a", ""), ("b", "")][..], true),
            (&[("pool", "x"), ("a", "")], false),
            (&[("pool", "x"), ("c", "")], true),
            (&[("pool", "x")], false),
            (&[("c", "")], false),
        ] {
            assert_eq!(
                matches(&two_terms, &labels(pairs), &[]),
                wanted,
                "{pairs:?}"
            );
        }
        let no_terms = placement(json!({
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
        }));
        assert!(
            !matches(&no_terms, &labels(&[]), &[]),
            "no term matches nothing"
        );
    }

    #[test]
    fn taints() {
        let own = taint("dedicated", Some("db"), "NoSchedule");
        for (what, tolerations, taint, wanted) in [
            ("none", json!([]), own.clone(), false),
            ("all", json!([{"operator": "Exists"}]), own.clone(), true),
            (
                "all of an effect",
                json!([{"operator": "Exists", "effect": "NoExecute"}]),
                own.clone(),
                false,
            ),
            (
                "equal",
                json!([{"key": "dedicated", "value": "db"}]),
                own.clone(),
                true,
            ),
            (
                "equal by name",
                json!([{"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}]),
                own.clone(),
                true,
            ),
            (
                "another value",
                json!([{"key": "dedicated", "value": "web"}]),
                own.clone(),
                false,
            ),
            (
                "no value",
                json!([{"key": "dedicated"}]),
                own.clone(),
                false,
            ),
            (
                "any value",
                json!([{"key": "dedicated", "operator": "Exists"}]),
                own.clone(),
                true,
            ),
            (
                "another key",
                json!([{"key": "x", "operator": "Exists"}]),
                own.clone(),
                false,
            ),
            (
                "no value on either",
                json!([{"key": "d"}]),
                taint("d", None, "NoExecute"),
                true,
            ),
            (
                "a wish only",
                json!([]),
                taint("d", None, "PreferNoSchedule"),
                true,
            ),
            (
                "an operator that is not known",
                json!([{"key": "d", "operator": "Gt", "value": "1"}]),
                taint("d", Some("2"), "NoSchedule"),
                false,
            ),
        ] {
            let placement = placement(json!({"tolerations": tolerations}));
            assert_eq!(
                matches(&placement, &labels(&[]), &[taint]),
                wanted,
                "{what}"
            );
        }
        // Each taint needs a toleration of its own.
        let one = placement(json!({"tolerations": [{"key": "a", "operator": "Exists"}]}));
        let two = [
            taint("a", None, "NoSchedule"),
            taint("b", None, "NoSchedule"),
        ];
        assert!(matches(&one, &labels(&[]), &two[..1]));
        assert!(!matches(&one, &labels(&[]), &two));
    }

    #[test]
    fn what_the_controller_tolerates_for_everybody() {
        let nothing = placement(json!({"tolerations": []}));
        for (key, effect, wanted) in [
            ("node.kubernetes.io/not-ready", "NoExecute", true),
            // The controller tolerates only the effect that evicts.
            ("node.kubernetes.io/not-ready", "NoSchedule", false),
            ("node.kubernetes.io/unreachable", "NoExecute", true),
            ("node.kubernetes.io/disk-pressure", "NoSchedule", true),
            ("node.kubernetes.io/memory-pressure", "NoSchedule", true),
            ("node.kubernetes.io/pid-pressure", "NoSchedule", true),
            ("node.kubernetes.io/unschedulable", "NoSchedule", true),
            ("node.kubernetes.io/unschedulable", "NoExecute", false),
            (
                "node.kubernetes.io/network-unavailable",
                "NoSchedule",
                false,
            ),
            ("node.kubernetes.io/out-of-service", "NoExecute", false),
        ] {
            let taints = [taint(key, None, effect)];
            assert_eq!(
                matches(&nothing, &labels(&[]), &taints),
                wanted,
                "{key}:{effect}"
            );
        }
    }

    #[test]
    fn on_the_hosts_network_a_node_without_one_of_pods_will_do() {
        let taints = [taint(
            "node.kubernetes.io/network-unavailable",
            None,
            "NoSchedule",
        )];
        for (host_name, wanted) in [("NodeName", false), ("Kernel", true)] {
            let spec = json!({"agent": {"hostName": host_name}, "placement": {"tolerations": []}});
            let spec: ScopePluginSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(runs_on(&spec, &labels(&[]), &taints), wanted, "{host_name}");
        }
    }
}
