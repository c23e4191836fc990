//! A desk for the clicks that an operator carries out. Nothing on it is about containers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use scope_agent::container_control::{Containers, Rules, SparedPods, records};
use scope_agent::control::{Actions, Desk, controls_report};
use scope_agent::inventory::{Inventory, InventoryWatch, NodeObject};
use scope_agent::kubernetes::Access;
use scope_agent::sample::Roots;
use scope_agent::traffic::Networks;
use scope_crds::Control;
use scope_protocol::Report;

pub(crate) const NAMESPACE: &str = "scope-plugins";
/// Where its actions are made.
pub(crate) const PATH: &str =
    "/apis/scopeplugins.dev/v1alpha1/namespaces/scope-plugins/scopeactions";
const PLUGIN: &str = "node-metrics";

/// What the operator carries out.
pub(crate) fn of_the_operator() -> BTreeSet<Control> {
    let all = Control::ALL.into_iter();
    all.filter(|control| !control.is_node_local()).collect()
}

/// What is known of a node whose Node object has this UID.
pub(crate) fn known_node(uid: &str) -> InventoryWatch {
    let watch = InventoryWatch::default();
    let node = NodeObject {
        uid: uid.to_owned(),
        ..NodeObject::default()
    };
    watch.inventory.store(Arc::new(Inventory {
        node: Some(Arc::new(node)),
        ..Inventory::default()
    }));
    watch
}

/// The desk of the agent on this host, and what its socket reports.
pub(crate) fn desk(
    access: &Access,
    host: &str,
    inventory: InventoryWatch,
    offered: BTreeSet<Control>,
    wait: Duration,
) -> (Desk, Report) {
    let report = controls_report(PLUGIN, "Node metrics", &offered);
    let client = access.click_client().expect("a client");
    let actions = Actions::new(client, NAMESPACE, PLUGIN, host);
    let (recorder, _) = records(actions.clone());
    let rules = Rules {
        spared: SparedPods::default(),
        per_minute: 0,
        longest_shaping: Duration::from_secs(1800),
    };
    let nowhere = Path::new("/nonexistent");
    let roots = Roots {
        proc: nowhere.into(),
        cgroup: nowhere.into(),
    };
    let containers = Containers::new(
        rules,
        roots,
        Arc::default(),
        nowhere,
        recorder,
        Arc::new(Networks::of_plugin(PLUGIN)),
        None,
    );
    let desk = Desk::new(
        actions,
        containers,
        offered,
        report.clone(),
        wait,
        host.to_owned(),
        inventory,
    );
    (desk, report)
}
