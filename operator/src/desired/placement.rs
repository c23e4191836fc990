//! On which nodes the pods go.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Toleration,
};
use scope_crds::Placement;

/// The label with a node's operating system.
pub(crate) const OS: &str = "kubernetes.io/os";

/// Nodes without a host to look at, by label and value: virtual kubelets and Fargate.
pub(crate) const HOSTLESS: [(&str, &str); 2] = [
    ("type", "virtual-kubelet"),
    ("eks.amazonaws.com/compute-type", "fargate"),
];

/// The plugin's labels and Linux, whatever else is asked for.
pub(super) fn node_selector(placement: &Placement) -> BTreeMap<String, String> {
    let mut selector = placement.node_selector.clone();
    selector.insert(OS.into(), "linux".into());
    selector
}

/// The plugin's terms, each without the nodes that have no host.
pub(super) fn affinity(placement: &Placement) -> Affinity {
    let wanted: Vec<Vec<NodeSelectorRequirement>> = match &placement.node_affinity {
        None => vec![Vec::new()],
        Some(affinity) => affinity
            .required_during_scheduling_ignored_during_execution
            .node_selector_terms
            .iter()
            .map(|term| {
                term.match_expressions
                    .iter()
                    .map(|expression| NodeSelectorRequirement {
                        key: expression.key.clone(),
                        operator: expression.operator.as_str().into(),
                        values: (!expression.values.is_empty()).then(|| expression.values.clone()),
                    })
                    .collect()
            })
            .collect(),
    };
    let hostless = HOSTLESS.map(|(key, value)| NodeSelectorRequirement {
        key: key.into(),
        operator: "NotIn".into(),
        values: Some(vec![value.into()]),
    });
    let node_selector_terms = wanted
        .into_iter()
        .map(|mut expressions| {
            expressions.extend(hostless.iter().cloned());
            NodeSelectorTerm {
                match_expressions: Some(expressions),
                match_fields: None,
            }
        })
        .collect();
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms,
            }),
            preferred_during_scheduling_ignored_during_execution: None,
        }),
        ..Affinity::default()
    }
}

/// The plugin's tolerations as Kubernetes has them.
pub(super) fn tolerations(placement: &Placement) -> Option<Vec<Toleration>> {
    let tolerations: Vec<Toleration> = placement
        .tolerations
        .iter()
        .map(|toleration| Toleration {
            key: toleration.key.clone(),
            operator: toleration.operator.clone(),
            value: toleration.value.clone(),
            effect: toleration.effect.clone(),
            toleration_seconds: None,
        })
        .collect();
    (!tolerations.is_empty()).then_some(tolerations)
}

/// Which nodes the placement asks for, for a person who wonders why there are none.
pub(crate) fn selector_in_words(placement: &Placement) -> String {
    let labels: Vec<String> = node_selector(placement)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut words = format!("nodeSelector {}", labels.join(","));
    if let Some(affinity) = &placement.node_affinity {
        let terms: Vec<String> = affinity
            .required_during_scheduling_ignored_during_execution
            .node_selector_terms
            .iter()
            .map(|term| {
                let expressions: Vec<String> = term
                    .match_expressions
                    .iter()
                    .map(|expression| {
                        let mut words =
                            format!("{} {}", expression.key, expression.operator.as_str());
                        if !expression.values.is_empty() {
                            words.push_str(&format!(" ({})", expression.values.join(",")));
                        }
                        words
                    })
                    .collect();
                expressions.join(" and ")
            })
            .collect();
        words.push_str(&format!(", nodeAffinity {}", terms.join(" or ")));
    }
    if placement.tolerations.is_empty() {
        words.push_str(", no tolerations");
    }
    words
}
