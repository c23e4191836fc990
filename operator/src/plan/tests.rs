use serde_json::{Value, json};

use super::*;
use crate::{names::manager, testing};

/// The children as they stand in the cluster after an apply.
struct World {
    plugin: ScopePlugin,
    service_account: Option<ObjectMeta>,
    daemon_set: Option<DaemonSet>,
    known_generation: Option<i64>,
    settings: Settings,
}

impl World {
    fn empty(spec: Value) -> Self {
        Self {
            plugin: testing::plugin("a", spec),
            service_account: None,
            daemon_set: None,
            known_generation: None,
            settings: testing::settings(),
        }
    }

    fn applied(spec: Value) -> Self {
        let mut world = Self::empty(spec);
        let children = desired::children(&world.plugin, &world.settings);
        let mut service_account = children.service_account.metadata;
        service_account.uid = Some("uid-of-the-account".into());
        world.service_account = Some(service_account);
        let mut daemon_set = children.daemon_set.unwrap();
        daemon_set.metadata.uid = Some("uid-of-the-daemon-set".into());
        daemon_set.metadata.generation = Some(1);
        daemon_set.metadata.managed_fields = serde_json::from_value(json!([
            {"manager": manager::DAEMON_SET, "operation": "Apply", "fieldsV1": {"f:spec": {}}}
        ]))
        .unwrap();
        world.daemon_set = Some(daemon_set);
        world
    }

    fn plan(&self) -> Plan {
        let all: Vec<ObjectMeta> = self
            .daemon_set
            .iter()
            .map(|ds| ds.metadata.clone())
            .collect();
        plan(
            &self.plugin,
            &self.settings,
            &Revision::wanted(&self.plugin, &self.settings),
            &Observed {
                service_account: self.service_account.as_ref(),
                daemon_set: self.daemon_set.as_ref(),
                known_generation: self.known_generation,
                daemon_sets: &all,
            },
        )
    }
}

fn nothing() -> Plan {
    Plan {
        service_account: Step::Keep,
        daemon_set: Step::Keep,
        delete: Vec::new(),
        obstacle: None,
    }
}

#[test]
fn what_is_missing_is_created() {
    let plan = World::empty(json!({"agent": {}})).plan();
    assert!(matches!(plan.service_account, Step::Create(_)));
    assert!(matches!(plan.daemon_set, Step::Create(_)));
    assert_eq!(plan.obstacle, None);
    assert!(plan.delete.is_empty());
}

#[test]
fn nothing_changed_means_nothing_to_do() {
    let mut world = World::applied(json!({"agent": {}}));
    assert_eq!(world.plan(), nothing());
    world.known_generation = Some(1);
    assert_eq!(world.plan(), nothing());
}

#[test]
fn a_new_spec_updates_the_daemon_set_alone() {
    let mut world = World::applied(json!({"agent": {}}));
    world.plugin = testing::plugin("a", json!({"agent": {}, "label": "New"}));
    let plan = world.plan();
    assert_eq!(plan.service_account, Step::Keep);
    let Step::Update { uid, why, .. } = plan.daemon_set else {
        panic!("{:?}", plan.daemon_set);
    };
    assert_eq!((uid.as_str(), why), ("uid-of-the-daemon-set", Why::Wanted));
}

#[test]
fn drift_is_taken_back() {
    let mut world = World::applied(json!({"agent": {}}));
    world.known_generation = Some(1);
    world.daemon_set.as_mut().unwrap().metadata.generation = Some(2);
    assert!(matches!(
        world.plan().daemon_set,
        Step::Update {
            why: Why::Drift(Drift::Changed),
            ..
        }
    ));
    world.service_account.as_mut().unwrap().labels = None;
    assert!(matches!(
        world.plan().service_account,
        Step::Update {
            why: Why::Drift(Drift::Changed),
            ..
        }
    ));
}

#[test]
fn foreign_fields_are_removed_together_with_a_change() {
    let mut world = World::applied(json!({"agent": {}}));
    world.daemon_set.as_mut().unwrap().metadata.managed_fields = serde_json::from_value(json!([
        {"manager": "someone", "operation": "Update", "fieldsV1": {"f:spec": {"f:x": {}}}}
    ]))
    .unwrap();
    world.plugin = testing::plugin("a", json!({"agent": {}, "label": "New"}));
    let Step::Update { why, .. } = world.plan().daemon_set else {
        panic!("should update");
    };
    assert_eq!(why, Why::Drift(Drift::Added(vec!["someone".into()])));
}

#[test]
fn a_foreign_daemon_set_is_left_alone_and_named() {
    let mut world = World::applied(json!({"agent": {}}));
    world.daemon_set.as_mut().unwrap().metadata.owner_references = None;
    let plan = world.plan();
    assert_eq!(plan.daemon_set, Step::Wait);
    assert!(plan.delete.is_empty());
    assert_eq!(
        plan.obstacle,
        Some(Obstacle::Foreign(Foreign {
            kind: Kind::DaemonSet,
            namespace: "scope-plugins".into(),
            name: "scope-plugin-a".into(),
            owner: None,
        }))
    );
}

#[test]
fn a_foreign_account_keeps_the_agents_from_starting() {
    let mut world = World::empty(json!({"agent": {}}));
    world.service_account = Some(ObjectMeta::default());
    let plan = world.plan();
    assert_eq!(plan.service_account, Step::Wait);
    assert_eq!(plan.daemon_set, Step::Wait);
    assert!(matches!(
        plan.obstacle,
        Some(Obstacle::Foreign(Foreign {
            kind: Kind::ServiceAccount,
            ..
        }))
    ));
}

#[test]
fn suspended_deletes_our_daemon_set_and_nobody_elses() {
    let mut world = World::applied(json!({"agent": {}}));
    world.plugin = testing::plugin("a", json!({"agent": {}, "suspended": true}));
    let plan = world.plan();
    assert_eq!(plan.service_account, Step::Keep);
    assert_eq!(plan.daemon_set, Step::Keep);
    assert_eq!(
        plan.delete,
        [Doomed {
            kind: Kind::DaemonSet,
            name: "scope-plugin-a".into(),
            uid: "uid-of-the-daemon-set".into(),
        }]
    );

    world.daemon_set.as_mut().unwrap().metadata.owner_references = None;
    let plan = world.plan();
    assert!(plan.delete.is_empty());
    assert_eq!(
        plan.obstacle, None,
        "nothing is in the way of running nothing"
    );
}

#[test]
fn a_child_of_another_name_is_pruned() {
    let mut world = World::applied(json!({"agent": {}}));
    let mut old = world.daemon_set.clone().unwrap();
    old.metadata.name = Some("scope-plugin-old-name".into());
    let all = [
        world.daemon_set.as_ref().unwrap().metadata.clone(),
        old.metadata.clone(),
    ];
    world.known_generation = Some(1);
    let plan = plan(
        &world.plugin,
        &world.settings,
        &Revision::wanted(&world.plugin, &world.settings),
        &Observed {
            service_account: world.service_account.as_ref(),
            daemon_set: world.daemon_set.as_ref(),
            known_generation: Some(1),
            daemon_sets: &all,
        },
    );
    assert_eq!(plan.delete.len(), 1);
    assert_eq!(plan.delete[0].name, "scope-plugin-old-name");
}

#[test]
fn what_is_going_is_waited_for() {
    let mut world = World::applied(json!({"agent": {}}));
    world
        .daemon_set
        .as_mut()
        .unwrap()
        .metadata
        .deletion_timestamp = serde_json::from_value(json!("2030-01-01T00:00:00Z")).unwrap();
    let plan = world.plan();
    assert_eq!(plan.daemon_set, Step::Wait);
    assert!(plan.delete.is_empty());
    assert_eq!(plan.obstacle, None);
}

#[test]
fn a_socket_path_that_is_too_long_is_said_and_nothing_is_touched() {
    // 32 characters, as long as a name may be.
    let name = "a".repeat(32);
    let mut world = World::empty(json!({"agent": {"controls": ["DeletePod"]}}));
    world.plugin.metadata.name = Some(name.clone());
    // "/" + 32 + "/" + 32 + "-controls.sock"
    let rest = 1 + 32 + 1 + 32 + 14;
    world.settings.plugin_directory = format!("/{}", "d".repeat(MAX_SOCKET_PATH - rest - 1));
    assert_eq!(world.plan().obstacle, None, "107 bytes fit");

    world.settings.plugin_directory.push('d');
    let plan = world.plan();
    let Some(Obstacle::SocketPathTooLong { path }) = &plan.obstacle else {
        panic!("{plan:?}");
    };
    assert_eq!(path.len(), 108);
    assert_eq!(
        plan,
        Plan {
            obstacle: plan.obstacle.clone(),
            ..nothing()
        }
    );

    world.plugin.spec.agent.controls.clear();
    assert_eq!(
        world.plan().obstacle,
        None,
        "without controls the longest path is shorter"
    );
}
