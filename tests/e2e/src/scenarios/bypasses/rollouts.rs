//! To what rollouts are decided by.

use serde_json::json;

use super::{CREATE, DAEMON_SET_CONTROLLER, Way, way};
use crate::audit::operator;
use crate::product::PLUGINS;
use crate::world::World;

/// What rollouts are decided by: templates to go back to, records, status; and what was clicked.
pub(in crate::scenarios) fn to_a_rollout(world: &mut World) -> anyhow::Result<()> {
    let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
        "metadata": {"name": "scope-plugin-node-metrics-forged", "namespace": PLUGINS},
        "data": {"spec": {"template": {"spec": {"hostPID": true}}}}});
    let config = |name: &str, labels: serde_json::Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {"name": name, "namespace": PLUGINS, "labels": labels}})
    };
    let ours = json!({"app.kubernetes.io/managed-by": "scope-operator"});
    let named = config("scope-plugin-of-a-test", json!({}));
    let labelled = config("forged", ours.clone());
    let revisions = "the pod templates that a rollout goes back to";
    let records = "are the operator's";

    let accepted = [
        way("a revision by the operator", CREATE, &revision, "").by(&operator()),
        way(
            "a revision by the DaemonSet controller",
            CREATE,
            &revision,
            "",
        )
        .by(DAEMON_SET_CONTROLLER),
        way("a record by the operator", CREATE, &named, "").by(&operator()),
        way(
            "somebody's ConfigMap",
            CREATE,
            config("other", json!({})),
            "",
        ),
    ];
    for way in &accepted {
        way.is_accepted(&world.kubectl)?;
    }

    // One of each is stored, in the operator's name, so that it can be changed and removed.
    for object in [&revision, &named, &labelled] {
        way("the operator's own", "create -f -", object, "")
            .by(&operator())
            .is_accepted(&world.kubectl)?;
    }
    let mut ways = vec![
        way(
            "a forged revision",
            CREATE,
            {
                let mut other = revision.clone();
                other["metadata"]["name"] = json!("foreign");
                other
            },
            revisions,
        ),
        way(
            "a forged record by its name",
            CREATE,
            config("scope-plugin-other", json!({})),
            records,
        ),
        way(
            "a forged record by its label",
            CREATE,
            config("foreign", ours),
            records,
        ),
        way(
            "a ConfigMap that becomes a record",
            &format!(
                "label --dry-run=server -n {PLUGINS} configmap/kube-root-ca.crt app.kubernetes.io/managed-by=scope-operator"
            ),
            "",
            records,
        ),
        way(
            "a record that ceases to be one",
            &format!(
                "label --dry-run=server -n {PLUGINS} configmap/forged app.kubernetes.io/managed-by-"
            ),
            "",
            records,
        ),
        way(
            "all revisions removed at once",
            &format!(
                "delete --raw /apis/apps/v1/namespaces/{PLUGINS}/controllerrevisions?dryRun=All"
            ),
            "",
            revisions,
        ),
    ];
    for (object, refusal) in [
        (
            "controllerrevision/scope-plugin-node-metrics-forged",
            revisions,
        ),
        ("configmap/scope-plugin-of-a-test", records),
        ("configmap/forged", records),
    ] {
        ways.push(way(
            "a label of it",
            &format!("label --dry-run=server -n {PLUGINS} {object} a=b"),
            "",
            refusal,
        ));
        ways.push(way(
            "its removal",
            &format!("delete --dry-run=server -n {PLUGINS} {object}"),
            "",
            refusal,
        ));
    }
    ways.push(Way {
        what: "another template in it",
        args: [
            "patch",
            "--dry-run=server",
            "-n",
            PLUGINS,
            "--type=merge",
            "-p",
            r#"{"revision":2}"#,
            "controllerrevision/scope-plugin-node-metrics-forged",
        ]
        .map(str::to_owned)
        .into(),
        manifest: String::new(),
        refusal: revisions,
    });
    ways.push(Way {
        what: "the status of a ScopePlugin",
        args: [
            "patch",
            "--dry-run=server",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"observedGeneration":9}}"#,
            "scopeplugin/node-metrics",
        ]
        .map(str::to_owned)
        .into(),
        manifest: String::new(),
        refusal: "is written by system:serviceaccount:scope-system:scope-operator",
    });
    let refused = ways
        .iter()
        .try_for_each(|way| way.is_refused(&world.kubectl));
    for object in [
        "controllerrevision/scope-plugin-node-metrics-forged",
        "configmap/scope-plugin-of-a-test",
        "configmap/forged",
    ] {
        way(
            "the operator's own",
            &format!("delete -n {PLUGINS} {object}"),
            "",
            "",
        )
        .by(&operator())
        .is_accepted(&world.kubectl)?;
    }
    refused?;
    eprintln!("    {} ways to a rollout, each refused", ways.len());
    Ok(())
}
