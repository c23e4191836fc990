use kube::runtime::watcher::Event;

use super::*;

fn pods(specs: &[(&str, &str, &str, &str)]) -> Pods {
    let mut pods = Pods::default();
    pods.apply(Event::Init);
    for (uid, namespace, kind, owner) in specs {
        let api = if *kind == "Job" {
            "batch/v1"
        } else {
            "apps/v1"
        };
        let pod = serde_json::json!({"metadata": {
            "uid": uid, "name": uid, "namespace": namespace,
            "ownerReferences": [{"apiVersion": api, "kind": kind, "name": owner,
                "uid": format!("u-{owner}"), "controller": true}]}});
        pods.apply(Event::InitApply(
            serde_json::from_value(pod).expect("decodes"),
        ));
    }
    pods.apply(Event::InitDone);
    pods
}

fn owner(topology: Topology, name: &str) -> Owner {
    Owner {
        topology,
        uid: format!("u-{name}"),
        name: name.into(),
    }
}

fn rs(name: &str) -> Lookup {
    Lookup::Owner {
        topology: Topology::ReplicaSet,
        namespace: "ns".into(),
        name: name.into(),
        uid: format!("u-{name}"),
    }
}

fn ns() -> Lookup {
    Lookup::Namespace { name: "ns".into() }
}

fn object(uid: &str, controller: Option<Owner>) -> Found {
    Found::Object {
        uid: uid.into(),
        controller,
    }
}

#[test]
fn each_owner_and_namespace_is_asked_for_once() {
    let now = Instant::now();
    let pods = pods(&[
        ("a", "ns", "ReplicaSet", "web"),
        ("b", "ns", "ReplicaSet", "web"),
        ("c", "ns", "DaemonSet", "log"),
    ]);
    let mut owners = Owners::default();
    let agenda = owners.agenda(&pods, now);
    assert_eq!(
        agenda,
        Agenda {
            now: vec![rs("web"), ns()],
            later: None
        }
    );
    for lookup in &agenda.now {
        assert_eq!(owners.begin(lookup), 0);
    }
    assert_eq!(owners.agenda(&pods, now), Agenda::default(), "under way");

    let deployment = owner(Topology::Deployment, "web-deployment");
    owners.answer(
        rs("web"),
        object("u-web", Some(deployment.clone())),
        now,
        0.5,
    );
    owners.answer(ns(), object("u-ns", None), now, 0.5);
    assert_eq!(owners.agenda(&pods, now), Agenda::default(), "known");

    let (inventory, _) = owners.complete(&pods);
    assert_eq!(
        inventory.pods["a"].owners,
        [owner(Topology::ReplicaSet, "web"), deployment]
    );
    assert_eq!(
        inventory.pods["c"].owners,
        [owner(Topology::DaemonSet, "log")]
    );
    assert_eq!(inventory.namespaces["ns"], "u-ns");
}

#[test]
fn a_missing_or_other_object_is_asked_for_again_later_and_later() {
    let start = Instant::now();
    let pods = pods(&[("a", "ns", "Job", "run")]);
    let mut owners = Owners::default();
    owners.answer(ns(), object("u-ns", None), start, 0.5);
    let lookup = owners.agenda(&pods, start).now.remove(0);
    let mut now = start;
    let mut pauses = Vec::new();
    for found in [
        Found::Missing,
        object("another", None),
        Found::Failed,
        Found::Failed,
    ] {
        owners.begin(&lookup);
        owners.answer(lookup.clone(), found, now, 0.5);
        let agenda = owners.agenda(&pods, now);
        assert_eq!(agenda.now, []);
        let later = agenda.later.expect("asked again later");
        pauses.push((later - now).as_secs());
        now = later;
        assert_eq!(owners.agenda(&pods, now).now, std::slice::from_ref(&lookup));
    }
    assert_eq!(pauses, [1, 2, 4, 8]);
    assert_eq!(owners.begin(&lookup), 4);
    assert_eq!(
        owners.complete(&pods).0.pods["a"].owners,
        [owner(Topology::Job, "run")],
        "what is known is told"
    );
    for _ in 0..20 {
        owners.answer(lookup.clone(), Found::Failed, now, 1.0);
    }
    let later = owners.agenda(&pods, now).later.expect("asked again later");
    assert_eq!(later - now, RETRY.1.mul_f64(1.25));
}

#[test]
fn a_namespace_is_forgotten_with_its_last_pod_and_an_owner_is_not() {
    let now = Instant::now();
    let some = pods(&[("a", "ns", "ReplicaSet", "web")]);
    let none = pods(&[]);
    let mut owners = Owners::default();
    owners.answer(rs("web"), object("u-web", None), now, 0.5);
    owners.answer(ns(), object("u-ns", None), now, 0.5);
    assert_eq!(owners.agenda(&none, now), Agenda::default());
    assert_eq!(owners.complete(&none).0.namespaces.len(), 0);
    assert_eq!(
        owners.agenda(&some, now).now,
        [ns()],
        "it may be another one by now"
    );
}

#[test]
fn memory_is_bounded_and_what_is_in_use_stays() {
    let now = Instant::now();
    let some = pods(&[("a", "ns", "ReplicaSet", "web")]);
    let mut owners = Owners::default();
    owners.answer(rs("web"), object("u-web", None), now, 0.5);
    owners.agenda(&some, now);
    for i in 0..MAX_REMEMBERED + 10 {
        let name = format!("old-{i}");
        let uid = format!("u-{name}");
        owners.clock = 0;
        owners.answer(rs(&name), object(&uid, None), now, 0.5);
    }
    assert_eq!(owners.controllers.len(), MAX_REMEMBERED);
    assert!(owners.controllers.contains_key(&Asked::of("ns", "u-web")));
}

#[test]
fn what_was_found_in_one_namespace_is_no_answer_in_another() {
    let now = Instant::now();
    let pods = pods(&[
        ("a", "ns", "ReplicaSet", "web"),
        ("b", "evil", "ReplicaSet", "web"),
    ]);
    let mut owners = Owners::default();
    let deployment = owner(Topology::Deployment, "web-deployment");
    owners.answer(rs("web"), object("u-web", Some(deployment)), now, 0.5);
    let (inventory, _) = owners.complete(&pods);
    assert_eq!(inventory.pods["a"].owners.len(), 2);
    assert_eq!(
        inventory.pods["b"].owners,
        [owner(Topology::ReplicaSet, "web")]
    );
    let asked = owners.agenda(&pods, now).now;
    assert!(asked.iter().any(|lookup| matches!(
        lookup, Lookup::Owner { namespace, .. } if namespace == "evil")));
}

#[test]
fn an_owner_of_an_impossible_kind_ends_the_chain() {
    let now = Instant::now();
    let pods = pods(&[("a", "ns", "ReplicaSet", "web")]);
    let mut owners = Owners::default();
    for topology in [
        Topology::ReplicaSet,
        Topology::CronJob,
        Topology::StatefulSet,
    ] {
        let next = owner(topology, "web");
        owners.answer(rs("web"), object("u-web", Some(next)), now, 0.5);
        assert_eq!(
            owners.complete(&pods).0.pods["a"].owners,
            [owner(Topology::ReplicaSet, "web")],
            "{topology:?}"
        );
    }
}
