//! Clicks that delete a pod.

use super::*;

#[tokio::test]
async fn a_click_deletes_that_pod_and_says_who_asked() {
    let (actor, shared) = given(|_| {});
    assert!(actor.handle(&in_ten_seconds()).await);
    let world = world(&shared);
    assert_eq!(world.pods.keys().collect::<Vec<_>>(), ["demo/web-2"]);
    assert_eq!(world.statuses.len(), 2);
    assert_eq!(
        world.statuses[0]["phase"],
        Value::Null,
        "written before it acts"
    );
    assert_eq!(world.statuses[0]["target"]["name"], "web-1");
    assert_eq!(world.phase(), Some("Succeeded"));
    assert_eq!(
        world.statuses[1]["target"],
        json!({"namespace": "demo", "name": "web-1", "node": "n2"})
    );
    let event = &world.events[0];
    assert_eq!(event["regarding"]["uid"], UID_1);
    let note = event["note"].as_str().unwrap();
    for part in ["app app-1", "probe probe-1", "node n1", "ScopeAction a-xyz"] {
        assert!(note.contains(part), "{note}");
    }
}

#[tokio::test]
async fn a_pod_whose_status_moves_meanwhile_is_looked_at_again() {
    let (actor, shared) = given(|world| {
        let moved: Fate = Fate::After(Box::new(|world| world.put("demo", "web-1", UID_1, 70)));
        world.at_delete.push_back(moved);
    });
    actor.handle(&in_ten_seconds()).await;
    let world = world(&shared);
    assert_eq!(world.phase(), Some("Succeeded"));
    assert_eq!((world.deletes, world.pods.len()), (1, 1));
}

#[tokio::test]
async fn a_pod_that_becomes_protected_meanwhile_is_spared() {
    let (actor, shared) = given(|world| {
        world.at_delete.push_back(Fate::After(Box::new(|world| {
            world.put("demo", "web-1", UID_1, 70);
            let pod = world.pods.get_mut("demo/web-1").unwrap();
            pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": UID_1});
        })));
    });
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Refused"));
    assert_eq!(world(&shared).deletes, 0);
}

#[tokio::test]
async fn another_pod_of_the_same_name_is_left_alone() {
    let (actor, shared) = given(|world| {
        let replaced = Fate::After(Box::new(|world: &mut World| {
            world.put("demo", "web-1", UID_9, 9)
        }));
        world.at_delete.push_back(replaced);
    });
    actor.handle(&in_ten_seconds()).await;
    let world = world(&shared);
    assert_eq!((world.deletes, world.pods.len()), (0, 2));
    assert_eq!(world.phase(), Some("Failed"));
    assert!(
        world.message().contains("demo/web-1 was gone already"),
        "{}",
        world.message()
    );
}

#[tokio::test]
async fn a_pod_that_is_gone_is_said_to_be_gone_and_costs_no_place() {
    let (actor, shared) = given(|world| {
        world.pods.remove("demo/web-1");
    });
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Failed"));
    assert!(
        world(&shared)
            .message()
            .contains("There is no Pod with the UID")
    );
    // The plugin has one place a minute.
    world(&shared).put("demo", "web-1", UID_1, 7);
    world(&shared).action_version = 1;
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Succeeded"));
    world(&shared).action_version = 1;
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Refused"));
    assert!(world(&shared).message().contains("maxActionsPerMinute"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_read_from_the_pod() {
    for (fate, phase, deletes) in [
        (Fate::AnswerLost, "Succeeded", 1),
        (Fate::Lost, "Failed", 0),
    ] {
        let (actor, shared) = given(|world| world.at_delete.push_back(fate));
        actor.handle(&in_ten_seconds()).await;
        assert_eq!(world(&shared).phase(), Some(phase));
        assert_eq!(world(&shared).deletes, deletes);
    }
}

#[tokio::test]
async fn a_refusal_of_the_server_is_passed_on_in_its_words() {
    let (actor, shared) = given(|world| world.at_delete.push_back(Fate::Refused(403, "Forbidden")));
    actor.handle(&in_ten_seconds()).await;
    assert_eq!(world(&shared).phase(), Some("Failed"));
    assert!(
        world(&shared)
            .message()
            .contains("the server says Forbidden")
    );
    assert_eq!(world(&shared).deletes, 0);
}

#[tokio::test]
async fn a_claim_that_ends_before_the_delete_leaves_the_pod_and_the_action() {
    let (actor, shared) = given(|world| {
        world.at_status.push_back(Fate::After(Box::new(|world| {
            world.claim.as_ref().unwrap().set(None, Instant::now());
        })));
    });
    assert!(!actor.handle(&in_ten_seconds()).await, "left to others");
    let world = world(&shared);
    assert_eq!(world.deletes, 0);
    assert_eq!(world.statuses.len(), 1, "the note that it was begun");
}

#[tokio::test]
async fn what_another_replica_began_is_left_to_it() {
    let (actor, shared) = given(|world| world.action_version = 2);
    assert!(!actor.handle(&in_ten_seconds()).await);
    assert_eq!(world(&shared).deletes, 0);
    assert!(world(&shared).statuses.is_empty());
}

#[tokio::test]
async fn what_a_dead_replica_began_is_not_done_again() {
    let (actor, shared) = given(|_| {});
    let mut begun = in_ten_seconds();
    begun.status = Some(
        serde_json::from_value(json!({
            "message": "Being carried out", "target": {"namespace": "demo", "name": "web-1"},
        }))
        .unwrap(),
    );
    assert!(actor.handle(&begun).await);
    let world = world(&shared);
    assert_eq!((world.phase(), world.deletes), (Some("Failed"), 0));
    assert_eq!(
        world.statuses[0]["target"]["name"], "web-1",
        "its target stays on record"
    );
}

#[tokio::test]
async fn time_that_runs_out_on_the_way_means_nothing_is_done() {
    let (actor, shared) = given(|world| {
        world.at_status.push_back(Fate::After(Box::new(|_| {
            std::thread::sleep(Duration::from_millis(120));
        })));
    });
    assert!(actor.handle(&action(100.milliseconds())).await);
    assert_eq!(world(&shared).phase(), Some("Expired"));
    assert_eq!(world(&shared).deletes, 0);
}

#[tokio::test]
async fn what_is_found_late_is_not_even_looked_up() {
    let (actor, shared) = given(|_| {});
    assert!(actor.handle(&action((-1).seconds())).await);
    let world = world(&shared);
    assert_eq!((world.phase(), world.deletes), (Some("Expired"), 0));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_written_once_it_can_be_and_the_pod_deleted_once() {
    let (actor, shared) = given(|world| {
        world.at_status.push_back(Fate::Done);
        world
            .at_status
            .push_back(Fate::Refused(500, "InternalError"));
        world.at_status.push_back(Fate::Lost);
    });
    assert!(actor.handle(&in_ten_seconds()).await);
    let world = world(&shared);
    assert_eq!((world.phase(), world.deletes), (Some("Succeeded"), 1));
}

/// A pod of that name that is another one is not taken for the clicked one, whatever the index says.
#[tokio::test]
async fn a_name_that_is_another_object_s_by_now_is_left_alone() {
    let (actor, shared) = given(|world| world.put("demo", "web-1", UID_9, 9));
    actor.handle(&in_ten_seconds()).await;
    let world = world(&shared);
    assert_eq!((world.phase(), world.deletes), (Some("Failed"), 0));
    assert!(
        world.statuses[0]["target"].is_null(),
        "{:?}",
        world.statuses
    );
}
