//! Clicks on what has pods, and those that disruption budgets and autoscalers stand against.

use super::*;

/// A click on an object at this path, the only one with that UID, which has this spec.
fn on(
    control: Control,
    path: &str,
    spec: Value,
    change: impl FnOnce(&mut World),
) -> (Actor, Shared, ScopeAction) {
    let (actor, shared) = given(|world| {
        world.put_object(path, spec);
        change(world);
    });
    let mut action = in_ten_seconds();
    action.spec.control = control;
    action.spec.target.kind = control.kinds()[0];
    (actor, shared, action)
}

const WEB: &str = "apis/apps/v1/namespaces/demo/deployments/web-1";
const NIGHTLY: &str = "apis/batch/v1/namespaces/demo/cronjobs/web-1";

#[tokio::test]
async fn a_click_changes_that_deployment_and_says_so_on_it() {
    let spec = json!({"replicas": 2});
    let (actor, shared, action) = on(Control::ScaleUp, WEB, spec, |_| {});
    assert!(actor.handle(&action).await);
    let world = world(&shared);
    assert_eq!(world.objects[WEB]["spec"], json!({"replicas": 3}));
    assert_eq!(
        world.message(),
        "Deployment demo/web-1 is scaled from 2 to 3 replicas"
    );
    let event = &world.events[0];
    assert_eq!(event["regarding"]["kind"], "Deployment");
    assert_eq!(event["regarding"]["apiVersion"], "apps/v1");
    assert_eq!(event["action"], "ScaleUp");
}

/// Somebody else scaled it between the look and the request: what they did is not lost.
#[tokio::test]
async fn a_change_of_others_meanwhile_is_counted_from() {
    let spec = json!({"replicas": 2});
    let (actor, shared, action) = on(Control::ScaleUp, WEB, spec, |world| {
        world.at_change.push_back(Fate::After(Box::new(|world| {
            let live = world.objects.get_mut(WEB).unwrap();
            live["spec"]["replicas"] = json!(5);
            live["metadata"]["resourceVersion"] = json!("70");
        })));
    });
    actor.handle(&action).await;
    let world = world(&shared);
    assert_eq!(world.phase(), Some("Succeeded"));
    assert_eq!(
        (world.objects[WEB]["spec"].clone(), world.changes),
        (json!({"replicas": 6}), 1)
    );
}

#[tokio::test]
async fn an_autoscaler_s_object_is_not_scaled_and_others_are() {
    for (scaled, phase, changes) in [
        ("Deployment/web-1", "Refused", 0),
        ("StatefulSet/web-1", "Succeeded", 1),
        ("Deployment/web-2", "Succeeded", 1),
    ] {
        let spec = json!({"replicas": 2});
        let (actor, shared, action) = on(Control::ScaleDown, WEB, spec, |world| {
            world.scaled.push(scaled.into())
        });
        actor.handle(&action).await;
        let world = world(&shared);
        assert_eq!(
            (world.phase(), world.changes),
            (Some(phase), changes),
            "{scaled}"
        );
        let named = world.message().contains("web-1-by-load");
        assert_eq!(named, changes == 0, "{}", world.message());
    }
}

#[tokio::test]
async fn an_eviction_is_a_delete_that_a_budget_can_refuse() {
    let words = "The disruption budget web needs 3 healthy pods and has 3 currently";
    for (budget, phase, deletes) in [(None, "Succeeded", 1), (Some(words), "Refused", 0)] {
        let (actor, shared) = given(|world| world.budget = budget);
        let mut action = in_ten_seconds();
        action.spec.control = Control::EvictPod;
        actor.handle(&action).await;
        let world = world(&shared);
        assert_eq!((world.phase(), world.deletes), (Some(phase), deletes));
        if let Some(words) = budget {
            assert!(world.message().ends_with(words), "{}", world.message());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_read_from_what_is_there() {
    let template = json!({"jobTemplate": {"spec": {"template": {}}}});
    for (control, path, spec) in [
        (Control::ScaleUp, WEB, json!({"replicas": 2})),
        (Control::RestartRollout, WEB, json!({})),
        (Control::SuspendCronJob, NIGHTLY, json!({})),
        (Control::TriggerCronJob, NIGHTLY, template),
    ] {
        for (fate, phase, changes) in [
            (Fate::AnswerLost, "Succeeded", 1),
            (Fate::Lost, "Failed", 0),
        ] {
            let (actor, shared, action) = on(control, path, spec.clone(), |world| {
                world.at_change.push_back(fate)
            });
            actor.handle(&action).await;
            let world = world(&shared);
            assert_eq!(
                (world.phase(), world.changes),
                (Some(phase), changes),
                "{control}: {}",
                world.message()
            );
        }
    }
}

#[tokio::test]
async fn a_double_click_is_one_wish_and_costs_no_second_place() {
    let spec = json!({"replicas": 2});
    let (actor, shared, first) = on(Control::ScaleUp, WEB, spec, |_| {});
    actor.handle(&first).await;
    let mut second = first;
    second.metadata.name = Some("a-second".into());
    world(&shared).action_version = 1;
    actor.handle(&second).await;
    let world = world(&shared);
    // The plugin has one place a minute: a click of its own would be refused for that.
    assert_eq!(world.phase(), Some("Succeeded"));
    let said = world.message();
    assert!(
        said.contains("as ScopeAction a-xyz: nothing more"),
        "{said}"
    );
    assert_eq!(world.changes, 1);
}
