use scope_crds::ScopePluginSpec;
use serde_json::{Value, json};

use super::*;
use crate::{settings::Totals, testing};

fn rendered(spec: Value) -> Value {
    let plugin = testing::plugin("node-metrics", spec);
    let children = children(&plugin, &testing::settings());
    serde_json::to_value(children.daemon_set).unwrap()
}

fn container(spec: Value) -> Value {
    rendered(spec)["spec"]["template"]["spec"]["containers"][0].clone()
}

fn arguments(spec: Value) -> Vec<String> {
    serde_json::from_value(container(spec)["args"].clone()).unwrap()
}

#[test]
fn children_are_named_labelled_and_owned() {
    let plugin = testing::plugin("default", json!({"agent": {}}));
    let children = children(&plugin, &testing::settings());
    let daemon_set = children.daemon_set.unwrap();
    for metadata in [&children.service_account.metadata, &daemon_set.metadata] {
        assert_eq!(metadata.name.as_deref(), Some("scope-plugin-default"));
        assert_eq!(metadata.namespace.as_deref(), Some("scope-plugins"));
        let labels = serde_json::to_value(&metadata.labels).unwrap();
        assert_eq!(
            labels,
            json!({
                "app.kubernetes.io/name": "scope-agent",
                "app.kubernetes.io/instance": "default",
                "app.kubernetes.io/managed-by": "scope-operator",
            })
        );
        assert_eq!(
            serde_json::to_value(&metadata.owner_references).unwrap(),
            json!([{
                "apiVersion": "scopeplugins.dev/v1alpha1", "kind": "ScopePlugin",
                "name": "default", "uid": "uid-default", "controller": true,
            }])
        );
        assert_eq!(intent(metadata).unwrap().len(), 16);
    }
}

#[test]
fn the_selector_matches_the_pods_and_leaves_out_who_manages_them() {
    let daemon_set = rendered(json!({"agent": {}}));
    assert_eq!(
        daemon_set["spec"]["selector"],
        json!({"matchLabels": {
            "app.kubernetes.io/name": "scope-agent",
            "app.kubernetes.io/instance": "node-metrics",
        }})
    );
    let labels = &daemon_set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/managed-by"], "scope-operator");
    assert_eq!(labels["app.kubernetes.io/instance"], "node-metrics");
}

#[test]
fn arguments_say_what_the_plugin_says() {
    assert_eq!(
        arguments(json!({"agent": {}})),
        [
            "serve",
            "--plugin-id=node-metrics",
            "--collectors=Resources",
            "--sample-interval=1s",
            "--mend-scope=Auto",
            "--host-name=NodeName",
            "--plugin-dir=/var/run/scope/plugins",
            "--cgroup-root=/host/cgroup",
        ]
    );
    let all = arguments(json!({
        "label": "Costs $(POD_NAME)", "description": "$5",
        "agent": {"controls": ["DeletePod"], "sampleInterval": "5s", "mendScope": "Never", "hostName": "Kernel"},
    }));
    for wanted in [
        // Kubernetes turns $$ into $ and leaves $(POD_NAME) alone then.
        "--label=Costs $$(POD_NAME)",
        "--description=$$5",
        "--controls=DeletePod",
        "--sample-interval=5s",
        "--mend-scope=Never",
        "--host-name=Kernel",
    ] {
        assert!(
            all.iter().any(|argument| argument == wanted),
            "{wanted}: {all:?}"
        );
    }
}

#[test]
fn the_pod_gets_no_more_than_it_needs() {
    let pod = rendered(json!({"agent": {}}))["spec"]["template"]["spec"].clone();
    assert_eq!(pod["hostPID"], true);
    assert_eq!(pod["hostNetwork"], Value::Null);
    assert_eq!(pod["serviceAccountName"], "scope-plugin-node-metrics");
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(
        pod["securityContext"]["seLinuxOptions"],
        json!({"type": "spc_t"})
    );
    let container = container(json!({"agent": {}}));
    assert_eq!(
        container["securityContext"],
        json!({
            "runAsUser": 0, "runAsGroup": 0, "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true, "appArmorProfile": {"type": "Unconfined"},
            "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH", "SYS_PTRACE"]},
        })
    );
    assert_eq!(
        container["volumeMounts"],
        json!([
            {"name": "plugins", "mountPath": "/var/run/scope/plugins"},
            {"name": "cgroup", "mountPath": "/host/cgroup", "readOnly": true},
        ])
    );
    assert_eq!(
        container["resources"],
        json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}})
    );
}

#[test]
fn volumes_are_looked_at_where_the_kubelet_has_them() {
    let plugin = testing::plugin(
        "volumes",
        json!({"agent": {"collectors": ["VolumeCount"], "mendScope": "Never"}}),
    );
    let mut settings = testing::settings();
    settings.kubelet_directory = "/var/lib/k0s/kubelet".into();
    let children = children(&plugin, &settings);
    let daemon_set = serde_json::to_value(children.daemon_set).unwrap();
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"][2],
        json!({"name": "pods", "hostPath": {"path": "/var/lib/k0s/kubelet/pods", "type": "Directory"}})
    );
    let container = &pod["containers"][0];
    assert_eq!(
        container["volumeMounts"][2],
        json!({
            "name": "pods", "mountPath": "/host/kubelet/pods", "readOnly": true,
            "mountPropagation": "HostToContainer",
        })
    );
    let arguments = container["args"].as_array().unwrap();
    assert!(arguments.contains(&json!("--kubelet-dir=/host/kubelet")));
    assert_eq!(
        container["securityContext"]["capabilities"],
        json!({"drop": ["ALL"]}),
        "it has no other right"
    );
    assert_eq!(container["securityContext"]["appArmorProfile"], Value::Null);
    // Whoever does not ask for it has no such mount.
    let others = rendered(json!({"agent": {"collectors": ["Resources", "IOWait"]}}));
    let pod = &others["spec"]["template"]["spec"];
    for part in [&pod["volumes"], &pod["containers"]] {
        assert!(part.is_array() && !part.to_string().contains("kubelet"));
    }
}

#[test]
fn agents_report_for_totals_where_that_is_installed() {
    let plugin = testing::plugin("node-metrics", json!({"agent": {}}));
    let pod_with = |map: Option<&str>| {
        let mut settings = testing::settings();
        settings.totals = map.map(|map| Totals {
            config_map: map.to_owned(),
            token_file: "/token".into(),
        });
        let children = children(&plugin, &settings);
        serde_json::to_value(children.daemon_set).unwrap()["spec"]["template"]["spec"].clone()
    };
    let without = pod_with(None);
    assert!(!without.to_string().contains("totals"), "{without}");

    let mut with = pod_with(Some("scope-totals-ca"));
    let volume = with["volumes"].as_array_mut().unwrap().pop().unwrap();
    assert_eq!(
        volume,
        json!({"name": "totals", "projected": {"defaultMode": 0o400, "sources": [
            {"serviceAccountToken": {"audience": "scope-totals", "expirationSeconds": 3600, "path": "token"}},
            {"configMap": {"name": "scope-totals-ca", "optional": true, "items": [
                {"key": "ca.crt", "path": "ca.crt"},
                {"key": "address", "path": "address"},
                {"key": "name", "path": "name"},
            ]}},
        ]}})
    );
    let container = &mut with["containers"][0];
    let mount = container["volumeMounts"].as_array_mut().unwrap().pop();
    assert_eq!(
        mount.unwrap(),
        json!({"name": "totals", "mountPath": "/var/run/scope-totals", "readOnly": true})
    );
    let argument = container["args"].as_array_mut().unwrap().pop();
    assert_eq!(argument.unwrap(), "--totals-dir=/var/run/scope-totals");
    assert_eq!(with, without, "and nothing else");
}

/// What the operator asks for and what the policy for pods lets through are one.
#[test]
fn the_admission_policy_knows_the_volume_for_totals() {
    let chart = "../charts/scope-plugins/templates/";
    let policy = std::fs::read_to_string(format!("{chart}admission-pods.yaml")).unwrap();
    let audiences = format!(
        "audience.orValue('') in ['', '{}']",
        scope_totals_wire::AUDIENCE
    );
    assert!(policy.contains(&audiences), "{audiences}");
    let operator = std::fs::read_to_string(format!("{chart}operator-deployment.yaml")).unwrap();
    let (_, map) = operator.split_once("--totals-config-map=").unwrap();
    let map = map.lines().next().unwrap();
    let maps = format!("name.orValue('') in ['kube-root-ca.crt', '{map}']");
    assert!(policy.contains(&maps), "{maps}");
}

#[test]
fn counting_http_brings_what_it_needs_and_nothing_where_it_is_not_asked_for() {
    let with = |agent: Value| container(json!({"agent": agent}));
    let counting = with(json!({"collectors": ["HTTPStatistics"]}));
    assert_eq!(
        counting["securityContext"]["capabilities"],
        json!({"drop": ["ALL"], "add": ["BPF", "PERFMON"]})
    );
    assert_eq!(counting["securityContext"]["appArmorProfile"], Value::Null);
    let usual = with(json!({"collectors": ["Resources"]}));
    assert_eq!(counting["volumeMounts"], usual["volumeMounts"]);
    assert_eq!(
        counting["resources"]["limits"]["memory"], "128Mi",
        "loading takes some 20 MiB for a moment"
    );
    let allows = |container: &Value| {
        let arguments = container["args"].as_array().unwrap();
        arguments.contains(&json!("--http-allow-sys-exit"))
    };
    assert!(!allows(&counting));
    let opted = json!({"allowSysExit": true});
    let everywhere =
        with(json!({"collectors": ["HTTPStatistics"], "httpStatistics": opted.clone()}));
    assert!(allows(&everywhere));
    // Without the collector the setting is nothing, and neither are the rights.
    let others = json!({"collectors": ["IOWait", "VolumeCount"], "httpStatistics": opted});
    let others = with(others);
    assert!(!allows(&others));
    assert_eq!(
        others["securityContext"]["capabilities"],
        json!({"drop": ["ALL"]})
    );
}

/// The agent's container where these are asked for and those are allowed.
fn with_controls(asked: &[&str], allowed: &[Control]) -> Value {
    let spec =
        json!({"agent": {"controls": asked, "protectedNamespaces": ["prod", "kube-system"]}});
    let plugin = testing::plugin("node-metrics", spec);
    let mut settings = testing::settings();
    settings.allowed_actions = allowed.iter().copied().collect();
    let children = children(&plugin, &settings);
    serde_json::to_value(children.daemon_set).unwrap()["spec"]["template"]["spec"]["containers"][0]
        .clone()
}

#[test]
fn each_control_brings_just_what_it_needs() {
    use Control::*;
    let reading = ["DAC_READ_SEARCH", "SYS_PTRACE"];
    let killing = ["DAC_READ_SEARCH", "KILL", "SYS_PTRACE"];
    for (asked, capabilities, writable) in [
        (vec!["DeletePod"], &reading[..], false),
        (vec!["RestartContainer"], &killing[..], false),
        (vec!["FreezeContainer"], &reading[..], true),
        (
            vec!["ThawContainer", "RestartContainer"],
            &killing[..],
            true,
        ),
    ] {
        let container = with_controls(&asked, &Control::ALL);
        assert_eq!(
            container["securityContext"]["capabilities"],
            json!({"drop": ["ALL"], "add": capabilities}),
            "{asked:?}"
        );
        let read_only = if writable { Value::Null } else { json!(true) };
        assert_eq!(
            container["volumeMounts"][1]["readOnly"], read_only,
            "{asked:?}"
        );
    }
    // What the installation does not allow is not offered, and brings nothing.
    let asked = ["DeletePod", "RestartContainer", "FreezeContainer"];
    let refused = with_controls(&asked, &[DeletePod]);
    assert_eq!(refused, with_controls(&["DeletePod"], &[DeletePod]));
    assert!(
        refused["args"]
            .as_array()
            .unwrap()
            .contains(&json!("--controls=DeletePod"))
    );
}

#[test]
fn shaping_traffic_brings_what_it_needs_where_it_is_allowed() {
    let shaping = |allowed: &[Control]| {
        let spec = json!({"agent": {"collectors": ["TrafficControl"], "controls": ["ShapeTraffic"],
                                    "trafficControl": {"maxDuration": "2h"}}});
        let plugin = testing::plugin("traffic", spec);
        let mut settings = testing::settings();
        settings.allowed_actions = allowed.iter().copied().collect();
        let daemon_set = children(&plugin, &settings).daemon_set;
        serde_json::to_value(daemon_set).unwrap()["spec"]["template"]["spec"]["containers"][0]
            .clone()
    };
    let container = shaping(&Control::ALL);
    assert_eq!(
        container["securityContext"]["capabilities"]["add"],
        json!(["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"])
    );
    let has = |container: &Value, argument: &str| {
        let arguments = container["args"].as_array().unwrap();
        arguments.iter().any(|a| a.as_str().unwrap() == argument)
    };
    assert!(has(&container, "--collectors=TrafficControl"));
    assert!(has(&container, "--controls=ShapeTraffic"));
    assert!(has(&container, "--traffic-max-duration=2h"));
    let looking = shaping(&[Control::DeletePod]);
    assert_eq!(
        looking["securityContext"]["capabilities"]["add"],
        json!(["SYS_ADMIN", "SYS_PTRACE"])
    );
    assert!(!has(&looking, "--traffic-max-duration=2h"));
}

#[test]
fn who_acts_itself_knows_where_not_to_and_how_often() {
    let arguments = |asked: &[&str]| -> Vec<String> {
        let container = with_controls(asked, &Control::ALL);
        let all: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
        let rules = ["--protected", "--max-actions"];
        all.into_iter()
            .filter(|a| rules.iter().any(|rule| a.starts_with(rule)))
            .collect()
    };
    assert_eq!(
        arguments(&["FreezeContainer"]),
        [
            "--protected-namespaces=kube-system,prod,scope-system",
            "--max-actions-per-minute=10"
        ]
    );
    // The operator knows; a change of the rules restarts no agent.
    assert_eq!(arguments(&["DeletePod"]), Vec::<String>::new());
    assert_eq!(arguments(&[]), Vec::<String>::new());
}

#[test]
fn resources_are_taken_as_they_are_given() {
    assert_eq!(
        container(json!({"agent": {"resources": {}}}))["resources"],
        Value::Null
    );
    assert_eq!(
        container(json!({"agent": {"resources": {"limits": {"memory": "1Gi"}}}}))["resources"],
        json!({"limits": {"memory": "1Gi"}})
    );
}

#[test]
fn the_kernels_name_takes_the_hosts_network() {
    let pod =
        rendered(json!({"agent": {"hostName": "Kernel"}}))["spec"]["template"]["spec"].clone();
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["dnsPolicy"], "ClusterFirstWithHostNet");
}

#[test]
fn placement_is_narrowed_never_widened() {
    let hostless = json!([
        {"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]},
        {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["fargate"]},
    ]);
    let terms = |pod: &Value| {
        pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            ["nodeSelectorTerms"]
            .clone()
    };
    let plain = rendered(json!({"agent": {}}))["spec"]["template"]["spec"].clone();
    assert_eq!(plain["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    assert_eq!(plain["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(terms(&plain), json!([{"matchExpressions": hostless}]));

    let placed = rendered(json!({"agent": {}, "placement": {
        "nodeSelector": {"pool": "a", "kubernetes.io/os": "windows"},
        "tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}],
        "priorityClassName": "mine",
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["x", "y"]}]},
            {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
        ]}},
    }}))["spec"]["template"]["spec"]
        .clone();
    assert_eq!(
        placed["nodeSelector"],
        json!({"kubernetes.io/os": "linux", "pool": "a"})
    );
    assert_eq!(
        placed["tolerations"],
        json!([{"key": "k", "value": "v", "effect": "NoSchedule"}])
    );
    assert_eq!(placed["priorityClassName"], "mine");
    let placed_terms = terms(&placed);
    assert_eq!(placed_terms.as_array().unwrap().len(), 2);
    for term in placed_terms.as_array().unwrap() {
        let expressions = term["matchExpressions"].as_array().unwrap();
        assert_eq!(expressions[1..], hostless.as_array().unwrap()[..]);
    }
    assert_eq!(
        placed_terms[1]["matchExpressions"][0],
        json!({"key": "gpu", "operator": "Exists"})
    );
}

#[test]
fn no_tolerations_means_none() {
    let daemon_set = rendered(json!({"agent": {}, "placement": {"tolerations": []}}));
    assert_eq!(
        daemon_set["spec"]["template"]["spec"]["tolerations"],
        Value::Null
    );
}

#[test]
fn suspended_runs_nothing_and_keeps_the_account() {
    let plugin = testing::plugin("a", json!({"agent": {}, "suspended": true}));
    let children = children(&plugin, &testing::settings());
    assert!(children.daemon_set.is_none());
    assert_eq!(
        children.service_account.metadata.name.as_deref(),
        Some("scope-plugin-a")
    );
}

#[test]
fn the_intent_changes_with_what_is_asked_for_and_with_nothing_else() {
    let hash = |spec: Value| rendered(spec)["metadata"]["annotations"][names::INTENT].clone();
    let plain = hash(json!({"agent": {}}));
    assert_eq!(hash(json!({"agent": {"collectors": ["Resources"]}})), plain);
    assert_eq!(
        hash(json!({"agent": {"maxActionsPerMinute": 3}})),
        plain,
        "the operator's own business"
    );
    assert_eq!(
        hash(json!({"agent": {}, "rollout": {"maxUnavailable": 1}})),
        plain,
        "and so is the pace"
    );
    for other in [
        json!({"agent": {}, "label": "x"}),
        json!({"agent": {"controls": ["DeletePod"]}}),
        json!({"agent": {}, "placement": {"nodeSelector": {"a": "b"}}}),
    ] {
        assert_ne!(hash(other.clone()), plain, "{other}");
    }
    let mut settings = testing::settings();
    settings.image.name = "scope-agent:2".into();
    let plugin = testing::plugin("node-metrics", json!({"agent": {}}));
    let newer = children(&plugin, &settings).daemon_set.unwrap();
    assert_ne!(intent(&newer.metadata).unwrap(), plain);
}

/// A change of this hash restarts every agent of every installation at the next upgrade of the
/// operator. That may be wanted; it must not happen unnoticed.
#[test]
fn the_rendering_is_stable_across_versions() {
    let plugin = testing::plugin("node-metrics", json!({"agent": {}}));
    let wanted = Revision::wanted(&plugin, &testing::settings());
    assert_eq!(wanted.id, "a2fc52ee2242e395");
}

#[test]
fn the_longest_socket_is_the_controls_socket_if_there_is_one() {
    let socket = |spec: Value| longest_socket(&testing::plugin("a", spec), &testing::settings());
    assert_eq!(
        socket(json!({"agent": {}})),
        "/var/run/scope/plugins/a/a.sock"
    );
    assert_eq!(
        socket(json!({"agent": {"controls": ["DeletePod"]}})),
        "/var/run/scope/plugins/a/a-controls.sock"
    );
}

#[test]
fn the_selector_in_words_names_what_was_asked_for() {
    let spec: ScopePluginSpec = serde_json::from_value(json!({"agent": {}, "placement": {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [],
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["x", "y"]}, {"key": "a", "operator": "Exists"}]},
        ]}},
    }}))
    .unwrap();
    assert_eq!(
        selector_in_words(&spec.placement),
        "nodeSelector kubernetes.io/os=linux,pool=gpu, nodeAffinity zone In (x,y) and a Exists, no tolerations"
    );
}
