use scope_crds::ActionPhase;

use super::*;

fn seen(kind: TargetKind, spec: Value) -> Seen {
    let object = json!({
        "metadata": {"namespace": "demo", "name": "web", "uid": "u-1", "resourceVersion": "5"},
        "spec": spec,
    });
    Seen::new(kind, serde_json::from_value(object).unwrap())
}

fn action(control: Control) -> ScopeAction {
    serde_json::from_value(json!({
        "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopeAction",
        "metadata": {"name": "a-xyz", "uid": "5ae0c1de-0000-4000-8000-0123456789AB"},
        "spec": {
            "plugin": "a", "control": control, "target": {"kind": "Pod", "uid": "0f-1"},
            "node": "web", "notAfter": "2030-01-01T00:00:10.000000Z",
        },
    }))
    .unwrap()
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00.5Z".parse().unwrap()
}

fn asked(control: Control, seen: &Seen) -> Result<Deed, Outcome> {
    deed(&action(control), seen, None, now())
}

fn merged(control: Control, kind: TargetKind, spec: Value) -> (Option<&'static str>, Value) {
    match asked(control, &seen(kind, spec)).unwrap().way {
        Way::Merge { subresource, body } => (subresource, body),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_control_makes_its_one_change() {
    use Control::*;
    use TargetKind::*;
    for (control, kind, spec, change) in [
        (
            PauseRollout,
            Deployment,
            json!({}),
            json!({"spec": {"paused": true}}),
        ),
        (
            ResumeRollout,
            Deployment,
            json!({"paused": true}),
            json!({"spec": {"paused": false}}),
        ),
        (
            SuspendCronJob,
            CronJob,
            json!({"suspend": false}),
            json!({"spec": {"suspend": true}}),
        ),
        (
            ResumeCronJob,
            CronJob,
            json!({"suspend": true}),
            json!({"spec": {"suspend": false}}),
        ),
        (
            CordonNode,
            Node,
            json!({}),
            json!({"spec": {"unschedulable": true}}),
        ),
        (
            UncordonNode,
            Node,
            json!({"unschedulable": true}),
            json!({"spec": {"unschedulable": false}}),
        ),
    ] {
        assert_eq!(
            merged(control, kind, spec),
            (None, change.clone()),
            "{control}"
        );
        // The change is what makes it done, and done once is done.
        let after = seen(kind, change["spec"].clone());
        let again = asked(control, &after).unwrap_err();
        assert_eq!(again.phase, ActionPhase::Succeeded, "{control}: {again:?}");
    }
}

#[test]
fn a_node_is_acted_on_through_its_own_agent_alone() {
    let other = json!({"metadata": {"name": "n2", "uid": "u-2"}, "spec": {}});
    let other = Seen::new(TargetKind::Node, serde_json::from_value(other).unwrap());
    let refused = asked(Control::CordonNode, &other).unwrap_err();
    assert_eq!(refused.phase, ActionPhase::Refused);
    assert!(
        refused.message.contains("came through node web"),
        "{refused:?}"
    );
}

#[test]
fn a_restart_is_what_kubectl_writes() {
    use TargetKind::*;
    for kind in [Deployment, StatefulSet, DaemonSet] {
        let (subresource, body) = merged(Control::RestartRollout, kind, json!({}));
        assert_eq!(subresource, None);
        let annotations = &body["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(
            annotations,
            &json!({"kubectl.kubernetes.io/restartedAt": "2030-01-01T00:00:00Z"})
        );
    }
    for (kind, spec, words) in [
        (
            Deployment,
            json!({"paused": true}),
            "Deployment demo/web is paused",
        ),
        (
            DaemonSet,
            json!({"updateStrategy": {"type": "OnDelete"}}),
            "OnDelete",
        ),
        (
            StatefulSet,
            json!({"updateStrategy": {"type": "OnDelete"}}),
            "OnDelete",
        ),
    ] {
        let refused = asked(Control::RestartRollout, &seen(kind, spec)).unwrap_err();
        assert_eq!(refused.phase, ActionPhase::Refused);
        assert!(refused.message.contains(words), "{refused:?}");
    }
}

#[test]
fn a_replica_more_or_less() {
    use Control::{ScaleDown, ScaleUp};
    let of = |spec| seen(TargetKind::Deployment, spec);
    for (control, spec, replicas) in [
        (ScaleUp, json!({"replicas": 3}), 4),
        (ScaleDown, json!({"replicas": 3}), 2),
        (ScaleUp, json!({"replicas": 0}), 1),
        (ScaleDown, json!({"replicas": 1}), 0),
        (ScaleUp, json!({}), 2),
    ] {
        let (subresource, body) = merged(control, TargetKind::Deployment, spec);
        assert_eq!(
            (subresource, body),
            (Some("scale"), json!({"spec": {"replicas": replicas}}))
        );
    }
    let said = asked(ScaleUp, &of(json!({"replicas": 3}))).unwrap().said;
    assert_eq!(said, "Deployment demo/web is scaled from 3 to 4 replicas");
    for (control, spec, phase) in [
        (ScaleDown, json!({"replicas": 0}), ActionPhase::Refused),
        (ScaleUp, json!({"replicas": i32::MAX}), ActionPhase::Refused),
        (ScaleUp, json!({"replicas": "3"}), ActionPhase::Failed),
        (ScaleDown, json!({"replicas": -3}), ActionPhase::Failed),
    ] {
        let outcome = asked(control, &of(spec)).unwrap_err();
        assert_eq!(outcome.phase, phase, "{outcome:?}");
    }
}

#[test]
fn what_an_autoscaler_decides_is_left_to_it() {
    let seen = seen(TargetKind::StatefulSet, json!({"replicas": 3}));
    let refused = deed(&action(Control::ScaleUp), &seen, Some("web-by-load"), now()).unwrap_err();
    assert_eq!(refused.phase, ActionPhase::Refused);
    assert!(
        refused
            .message
            .contains("HorizontalPodAutoscaler web-by-load"),
        "{refused:?}"
    );
}

#[test]
fn a_job_is_made_as_kubectl_makes_it() {
    let template = json!({
        "metadata": {"labels": {"tier": "batch"}, "annotations": {"note": "nightly"}},
        "spec": {"backoffLimit": 2, "template": {"spec": {"containers": [], "future": {"field": 1}}}},
    });
    let spec = json!({"suspend": true, "jobTemplate": template});
    let cron_job = seen(TargetKind::CronJob, spec);
    let deed = asked(Control::TriggerCronJob, &cron_job).unwrap();
    let Way::MakeJob { name, job } = deed.way else {
        panic!("{:?}", deed.way)
    };
    assert_eq!(name, "web-manual-456789ab");
    assert_eq!(
        serde_json::to_value(*job).unwrap(),
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "web-manual-456789ab", "namespace": "demo",
                "labels": {"tier": "batch"},
                "annotations": {"note": "nightly", "cronjob.kubernetes.io/instantiate": "manual"},
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "CronJob", "name": "web", "uid": "u-1", "controller": true,
                }],
            },
            "spec": template["spec"],
        })
    );
}

#[test]
fn names_of_jobs_fit_and_the_same_click_has_the_same() {
    let long = format!("{}.{}", "a".repeat(46), "b".repeat(5));
    let name = job_name(&long, "5ae0c1de-0000-4000-8000-0123456789ab");
    assert_eq!(name, format!("{}-manual-456789ab", "a".repeat(46)));
    assert!(name.len() <= MAX_JOB_NAME);
    assert_eq!(
        name,
        job_name(&long, "5ae0c1de-0000-4000-8000-0123456789ab")
    );
    assert_eq!(job_name("web", "x"), "web-manual-");
}

#[test]
fn what_is_being_deleted_is_left_alone() {
    for (control, kind, phase) in [
        (Control::DeletePod, TargetKind::Pod, ActionPhase::Succeeded),
        (Control::EvictPod, TargetKind::Pod, ActionPhase::Succeeded),
        (
            Control::ScaleUp,
            TargetKind::Deployment,
            ActionPhase::Failed,
        ),
        (
            Control::TriggerCronJob,
            TargetKind::CronJob,
            ActionPhase::Failed,
        ),
    ] {
        let object = json!({"metadata": {
            "namespace": "demo", "name": "web", "deletionTimestamp": "2030-01-01T00:00:00Z"}});
        let going = Seen::new(kind, serde_json::from_value(object).unwrap());
        let outcome = asked(control, &going).unwrap_err();
        assert_eq!(outcome.phase, phase, "{outcome:?}");
        assert!(outcome.message.contains("was being deleted already"));
    }
}

#[test]
fn no_control_is_carried_out_on_another_kind() {
    for control in Control::ALL {
        for kind in TargetKind::ALL {
            let asked = asked(control, &seen(kind, json!({"jobTemplate": {}})));
            let fits = control.kinds().contains(&kind) && !control.is_node_local();
            let refused = matches!(&asked, Err(outcome) if outcome.phase == ActionPhase::Refused
                && (outcome.message.contains("is not for a") || outcome.message.contains("agent of")));
            assert_eq!(fits, !refused, "{control} on {kind}: {asked:?}");
        }
    }
}
