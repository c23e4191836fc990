//! The chart as Helm 3 and Helm 4 render it: what is there, and what is not.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;

use scope_chart::render::{ALL_ON, Helm, Objects};
use scope_chart::{root, schema, text, values};
use serde_json::Value as Json;

/// Each feature that can be switched on: its setting, and the objects that come with it.
const FEATURES: &[(&str, &[&str])] = &[
    (
        "monitoring.podMonitor.enabled=true",
        &[
            "PodMonitor scope-system/scope-operator",
            "PodMonitor scope-system/scope-totals",
            "PodMonitor scope-system/scope-agents",
        ],
    ),
    (
        "monitoring.prometheusRule.enabled=true",
        &["PrometheusRule scope-system/scope-plugins"],
    ),
    (
        "monitoring.dashboard.enabled=true",
        &["ConfigMap scope-system/scope-plugins-dashboard"],
    ),
    (
        "networkPolicy.operator.enabled=true",
        &["NetworkPolicy scope-system/scope-operator"],
    ),
    (
        "networkPolicy.agents.enabled=true",
        &["NetworkPolicy scope-plugins/scope-agents"],
    ),
    (
        "networkPolicy.totals.enabled=true",
        &["NetworkPolicy scope-system/scope-totals"],
    ),
    (
        "totals.priorityClassName=\"system-cluster-critical\"",
        &["ResourceQuota scope-system/scope-totals-priority"],
    ),
    (
        "operator.priorityClassName=\"system-cluster-critical\"",
        &["ResourceQuota scope-system/scope-operator-priority"],
    ),
];

/// What can be switched off, and what goes with it.
const DEFAULTS: &[(&str, &[&str])] = &[
    (
        "crds.install=false",
        &[
            "CustomResourceDefinition scopeplugins.scopeplugins.dev",
            "CustomResourceDefinition scopeactions.scopeplugins.dev",
        ],
    ),
    (
        "pluginsNamespace.create=false",
        &["Namespace scope-plugins"],
    ),
    (
        "operator.podDisruptionBudget.enabled=false",
        &["PodDisruptionBudget scope-system/scope-operator"],
    ),
    (
        "totals.podDisruptionBudget.enabled=false",
        &["PodDisruptionBudget scope-system/scope-totals"],
    ),
    (
        "totals.tls.secretName=\"mine\"",
        &["Secret scope-system/scope-totals-authorities"],
    ),
];

fn helms() -> [Helm; 2] {
    Helm::both().unwrap()
}

fn names(objects: &Objects) -> BTreeSet<String> {
    objects.names().unwrap()
}

#[test]
fn both_helms_find_nothing_to_object_to() {
    for helm in helms() {
        helm.lint(&[]).unwrap();
        helm.lint(ALL_ON).unwrap();
    }
}

#[test]
fn both_helms_render_the_same() {
    let [three, four] = helms();
    for set in [&[], ALL_ON] {
        // Helm 4 prints hooks in another order.
        let sorted = |helm: &Helm| {
            let mut all: Vec<_> = helm.objects(set).unwrap().0;
            all.sort_by_key(Json::to_string);
            all
        };
        assert_eq!(sorted(&three), sorted(&four));
    }
}

#[test]
fn each_feature_brings_its_objects_and_no_others() {
    for helm in helms() {
        let plain = names(&helm.objects(&[]).unwrap());
        for (setting, brings) in FEATURES {
            let brings: BTreeSet<_> = brings.iter().map(|name| (*name).to_owned()).collect();
            let with = names(&helm.objects(&[setting]).unwrap());
            let more: BTreeSet<_> = with.difference(&plain).cloned().collect();
            assert_eq!(more, brings, "Helm {}: {setting}", helm.major);
            assert!(with.is_superset(&plain), "Helm {}: {setting}", helm.major);
        }
        for (setting, takes) in DEFAULTS {
            let takes: BTreeSet<_> = takes.iter().map(|name| (*name).to_owned()).collect();
            let without = names(&helm.objects(&[setting]).unwrap());
            let less: BTreeSet<_> = plain.difference(&without).cloned().collect();
            assert_eq!(less, takes, "Helm {}: {setting}", helm.major);
            assert!(
                plain.is_superset(&without),
                "Helm {}: {setting}",
                helm.major
            );
        }
        // All on, and then each of them off again.
        let all = names(&helm.objects(ALL_ON).unwrap());
        for (setting, brings) in FEATURES {
            let (name, _) = setting.split_once('=').unwrap();
            let off = match name.ends_with(".enabled") {
                true => format!("{name}=false"),
                false => format!("{name}=\"\""),
            };
            let mut set = ALL_ON.to_vec();
            set.push(&off);
            let rest = names(&helm.objects(&set).unwrap());
            let gone: Vec<_> = all.difference(&rest).map(String::as_str).collect();
            let brings: BTreeSet<&str> = brings.iter().copied().collect();
            assert_eq!(gone, brings.into_iter().collect::<Vec<_>>(), "{off}");
        }
    }
}

#[test]
fn every_object_carries_the_labels() {
    let [_, helm] = helms();
    for object in helm.objects(ALL_ON).unwrap().0 {
        let labels = &object["metadata"]["labels"];
        let name = &object["metadata"]["name"];
        assert_eq!(labels["team"], "maps", "{name}");
        assert_ne!(labels["app.kubernetes.io/name"], "ours-wins", "{name}");
        for label in ["name", "instance", "version", "part-of", "managed-by"] {
            let label = format!("app.kubernetes.io/{label}");
            assert!(labels[&label].is_string(), "{name} has no {label}");
        }
    }
}

#[test]
fn every_pod_satisfies_restricted_pod_security() {
    let [_, helm] = helms();
    for set in [&[], ALL_ON] {
        let objects = helm.objects(set).unwrap();
        let pods = objects.pods();
        let mut whose: Vec<_> = pods.iter().map(|(name, _)| name.as_str()).collect();
        whose.sort_unstable();
        assert_eq!(
            whose,
            [
                "Deployment scope-system/scope-operator",
                "Deployment scope-system/scope-totals",
                "Job scope-system/scope-plugins-cleanup",
                "Pod scope-system/scope-plugins-test",
            ]
        );
        for (name, pod) in pods {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{name}");
            assert_eq!(
                security["seccompProfile"]["type"], "RuntimeDefault",
                "{name}"
            );
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod[host].is_null(), "{name} has {host}");
            }
            // The operator's token for scope-totals is the only one.
            let of_operator = name == "Deployment scope-system/scope-operator";
            assert_eq!(pod["volumes"].is_array(), of_operator, "{name}");
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
                assert_eq!(security["capabilities"]["drop"][0], "ALL", "{name}");
                assert!(security["capabilities"]["add"].is_null(), "{name}");
                assert!(container["resources"]["limits"]["cpu"].is_null(), "{name}");
                assert!(
                    container["resources"]["requests"]["memory"].is_string(),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn settings_arrive_where_they_belong() {
    let [_, helm] = helms();
    let objects = helm.objects(ALL_ON).unwrap();
    for (name, pod) in objects.pods() {
        assert_eq!(pod["nodeSelector"]["pool"], "system", "{name}");
        assert_eq!(pod["nodeSelector"]["kubernetes.io/os"], "linux", "{name}");
        assert_eq!(pod["tolerations"][0]["key"], "pool", "{name}");
        assert_eq!(
            pod["imagePullSecrets"][0]["name"], "operator-registry",
            "{name}"
        );
    }
    for name in ["scope-totals", "scope-operator"] {
        let template = &objects.get("Deployment", name).unwrap()["spec"]["template"];
        assert_eq!(template["metadata"]["annotations"]["a"], "b");
        assert_eq!(template["metadata"]["labels"]["tier"], "control");
        assert_eq!(template["metadata"]["labels"]["team"], "maps");
        let spec = &template["spec"];
        assert_eq!(spec["priorityClassName"], "system-cluster-critical");
        let spread = spec["topologySpreadConstraints"].as_array().unwrap();
        assert_eq!(spread.len(), 1);
        assert_eq!(spread[0]["topologyKey"], "rack");
        assert_eq!(
            spread[0]["labelSelector"]["matchLabels"]["app.kubernetes.io/name"],
            name
        );
    }
    let spec = &objects.get("Deployment", "scope-operator").unwrap()["spec"]["template"]["spec"];
    let args = spec["containers"][0]["args"].to_string();
    assert!(
        args.contains("--agent-image-pull-secrets=agents-registry"),
        "{args}"
    );
    for name in ["scope-operator", "scope-totals", "scope-agents"] {
        let monitor = objects.get("PodMonitor", name).unwrap();
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        let policy = &objects.get("NetworkPolicy", name).unwrap()["spec"];
        assert_eq!(
            policy["policyTypes"],
            serde_json::json!(["Ingress", "Egress"])
        );
        let ingress = policy["ingress"].as_array().unwrap();
        let egress = policy["egress"].as_array().unwrap();
        // The operator's further way out is the agents' further way in. The agents have one to scope-totals
        // besides, and so have the operator and the API server.
        let (port, ways_in, ways_out) = match name {
            "scope-operator" => (8080, 1, 4),
            "scope-totals" => (8080, 4, 2),
            _ => (7390, 2, 3),
        };
        assert_eq!((ingress.len(), egress.len()), (ways_in, ways_out), "{name}");
        let scraped = &ingress[ways_in - 1];
        let from = &scraped["from"][0]["namespaceSelector"]["matchLabels"];
        assert_eq!(from["kubernetes.io/metadata.name"], "monitoring");
        assert_eq!(scraped["ports"][0]["port"], port);
        assert_eq!(egress[ways_out - 2]["ports"][1]["port"], 6443);
        assert_eq!(egress[ways_out - 1]["ports"][0]["port"], 53);
    }
    let rules = &objects.get("PrometheusRule", "scope-plugins").unwrap()["spec"]["groups"];
    for alert in rules
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|g| g["rules"].as_array().unwrap())
    {
        assert_eq!(alert["labels"]["team"], "maps", "{alert}");
        assert_ne!(alert["labels"]["severity"], "ours-wins", "{alert}");
    }
    let dashboard = objects.get("ConfigMap", "scope-plugins-dashboard").unwrap();
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let json = dashboard["data"]["scope-plugins.json"].as_str().unwrap();
    serde_json::from_str::<Json>(json).unwrap();
}

/// Two constraints would do nothing on nodes without a zone: the scheduler's score leaves out nodes that lack
/// the label of any one of them.
#[test]
fn replicas_keep_apart_also_where_nodes_have_no_zone() {
    let [_, helm] = helms();
    for (set, nodes, zones) in [
        (&[][..], 1, true),
        (&["operator.affinity={\"nodeAffinity\":{}}"], 1, true),
        (&["operator.affinity={\"podAntiAffinity\":{}}"], 1, false),
        (
            &[
                "operator.topologySpreadConstraints=[{\"topologyKey\":\"rack\",\"maxSkew\":1,\"whenUnsatisfiable\":\"DoNotSchedule\"}]",
            ],
            1,
            false,
        ),
    ] {
        let objects = helm.objects(set).unwrap();
        let template = &objects.get("Deployment", "scope-operator").unwrap()["spec"]["template"];
        let spread = template["spec"]["topologySpreadConstraints"].as_array();
        assert_eq!(spread.map(Vec::len), Some(nodes), "{set:?}");
        let apart = &template["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
        let zone = &apart[0]["podAffinityTerm"]["topologyKey"];
        assert_eq!(zone == "topology.kubernetes.io/zone", zones, "{set:?}");
    }
}

/// Nobody may scrape what nobody was named for. The operator's question to the agents passes both policies.
#[test]
fn an_empty_list_of_scrapers_lets_only_the_operator_in() {
    let [_, helm] = helms();
    let on = [
        "networkPolicy.operator.enabled=true",
        "networkPolicy.agents.enabled=true",
    ];
    let objects = helm.objects(&on).unwrap();
    let policy = |name| &objects.get("NetworkPolicy", name).unwrap()["spec"];
    let (operator, agents) = (policy("scope-operator"), policy("scope-agents"));
    assert_eq!(operator["ingress"], serde_json::json!([]));
    let ports = serde_json::json!([{"protocol": "TCP", "port": 7390}]);
    assert_eq!(
        agents["ingress"],
        serde_json::json!([{"from": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "scope-system"}},
            "podSelector": {"matchLabels": {
                "app.kubernetes.io/name": "scope-operator",
                "app.kubernetes.io/instance": "scope-plugins",
            }},
        }], "ports": ports}])
    );
    let deployment = objects.get("Deployment", "scope-operator").unwrap();
    assert_eq!(
        deployment["spec"]["selector"]["matchLabels"],
        agents["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    );
    assert_eq!(
        operator["egress"][0],
        serde_json::json!({"to": [{"namespaceSelector": {"matchLabels": {
            "kubernetes.io/metadata.name": "scope-plugins"}}}], "ports": ports})
    );
}

#[test]
fn the_operator_gets_no_right_that_the_allowed_actions_do_not_want() {
    let [_, helm] = helms();
    let deletes_pods = |set: &[&str]| {
        let objects = helm.objects(set).unwrap();
        let role = objects
            .0
            .iter()
            .find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == "scope-operator")
            .unwrap();
        role["rules"].as_array().unwrap().iter().any(|rule| {
            let has = |list: &Json, word: &str| {
                list.as_array().is_some_and(|l| l.iter().any(|x| x == word))
            };
            has(&rule["resources"], "pods") && has(&rule["verbs"], "delete")
        })
    };
    assert!(!deletes_pods(&[]));
    assert!(!deletes_pods(&["actions.allowed=[\"ThawContainer\"]"]));
    assert!(deletes_pods(&["actions.allowed=[\"DeletePod\"]"]));
}

/// What the operator may write in all namespaces for one action, besides Events.
#[test]
fn each_action_brings_its_own_rights_alone() {
    let [_, helm] = helms();
    for (action, wanted) in [
        ("DeletePod", vec!["pods delete"]),
        ("EvictPod", vec!["pods/eviction create"]),
        (
            "RestartRollout",
            vec![
                "daemonsets patch",
                "deployments patch",
                "statefulsets patch",
            ],
        ),
        (
            "ScaleUp",
            vec!["deployments/scale patch", "statefulsets/scale patch"],
        ),
        (
            "ScaleDown",
            vec!["deployments/scale patch", "statefulsets/scale patch"],
        ),
        ("PauseRollout", vec!["deployments patch"]),
        ("ResumeRollout", vec!["deployments patch"]),
        ("SuspendCronJob", vec!["cronjobs patch"]),
        ("ResumeCronJob", vec!["cronjobs patch"]),
        ("TriggerCronJob", vec!["jobs create"]),
        ("CordonNode", vec!["nodes patch"]),
        ("UncordonNode", vec!["nodes patch"]),
        ("FreezeContainer", vec![]),
        ("ShapeTraffic", vec![]),
    ] {
        let allowed = format!("actions.allowed=[\"{action}\"]");
        let objects = helm.objects(&[allowed.as_str()]).unwrap();
        let role = objects.get("ClusterRole", "scope-operator").unwrap();
        let mut writes = Vec::new();
        for rule in role["rules"].as_array().unwrap() {
            let words = |field: &str| {
                let list = rule[field].as_array().cloned().unwrap_or_default();
                let words = list.iter().filter_map(|word| word.as_str());
                words.map(str::to_owned).collect::<Vec<_>>()
            };
            for resource in words("resources") {
                for verb in words("verbs") {
                    let reads = ["get", "list", "watch"].contains(&verb.as_str());
                    if !reads && resource != "events" && resource != "scopeplugins/status" {
                        writes.push(format!("{resource} {verb}"));
                    }
                }
            }
        }
        writes.sort();
        assert_eq!(writes, wanted, "{action}");
    }
}

#[test]
fn agents_enter_networks_only_where_that_is_allowed() {
    let [_, helm] = helms();
    let policy = |set: &[&str], name: &str| {
        let objects = helm.objects(set).unwrap();
        let found = objects
            .0
            .iter()
            .find(|o| o["kind"] == "ValidatingAdmissionPolicy" && o["metadata"]["name"] == name);
        found.unwrap()["spec"]["validations"].to_string()
    };
    let shaping = ["actions.allowed=[\"ShapeTraffic\"]"];
    for (set, allowed) in [
        (&[][..], false),
        (&["actions.allowed=[\"RestartContainer\"]"], false),
        (&shaping, true),
    ] {
        let pods = policy(set, "pods.scopeplugins.dev");
        assert!(pods.contains("SYS_PTRACE"));
        for capability in ["SYS_ADMIN", "NET_ADMIN"] {
            let in_list = format!("\\\"{capability}\\\"");
            assert_eq!(pods.contains(&in_list), allowed, "{set:?} {pods}");
        }
        let plugins = policy(set, "plugins.scopeplugins.dev");
        let refused = plugins.contains("spec.agent.collectors has TrafficControl, whose");
        assert_eq!(refused, !allowed, "{set:?}");
    }
}

#[test]
fn the_schema_refuses_in_words() {
    for helm in helms() {
        for (setting, word) in [
            ("operater={}", "operater"),
            ("operator.replica=2", "replica"),
            ("operator.replicas=0", "replicas"),
            ("operator.replicas=\"2\"", "replicas"),
            ("operator.replicas=null", "replicas"),
            ("actions.allowed=[\"DeleteNode\"]", "allowed"),
            ("agent.image.pullPolicy=\"Sometimes\"", "pullPolicy"),
            ("agent.image.digest=\"sha256:12\"", "digest"),
            ("pluginDirectory=\"/var/../run\"", "pluginDirectory"),
            ("kubeletDirectory=\"kubelet\"", "kubeletDirectory"),
            ("operator.tolerations=[{\"efect\":\"NoSchedule\"}]", "efect"),
            (
                "operator.topologySpreadConstraints=[{\"topologyKey\":\"a\"}]",
                "maxSkew",
            ),
            ("monitoring.podMonitor.interval=\"often\"", "interval"),
            ("networkPolicy.metricsFrom=[{}]", "metricsFrom"),
            ("networkPolicy.apiServer.ports=[]", "ports"),
            ("networkPolicy.apiServer.cidrs=[\"10.0.0.1\"]", "cidrs"),
            ("cleanup.timeoutSeconds=1", "timeoutSeconds"),
        ] {
            let said = helm.template(&[setting]).expect_err(setting).to_string();
            assert!(
                said.contains(word),
                "Helm {}: {setting}: {said}",
                helm.major
            );
        }
        for (setting, word) in [
            (
                "pluginsNamespace.name=\"scope-system\"",
                "a namespace of their own",
            ),
            (
                "pluginsNamespace.name=\"kube-system\"",
                "holds nothing else",
            ),
        ] {
            let said = helm.template(&[setting]).expect_err(setting).to_string();
            assert!(said.contains(word), "{setting}: {said}");
        }
    }
}

/// Null makes Helm leave a value out, which the templates have to bear.
#[test]
fn what_may_be_left_out_can_be() {
    let values = values::parse(&text("charts/scope-plugins/values.yaml").unwrap()).unwrap();
    schema::of(&values).unwrap();
    let left_out: Vec<_> = values
        .all
        .iter()
        .filter(|value| value.optional)
        .map(|value| format!("{}=null", value.name()))
        .collect();
    assert!(left_out.len() > 10);
    for helm in helms() {
        let mut set: Vec<&str> = left_out.iter().map(String::as_str).collect();
        for (setting, _) in FEATURES {
            if setting.ends_with("=true") {
                set.push(setting);
            }
        }
        let objects = helm.objects(&set).unwrap();
        names(&objects);
    }
}

#[test]
fn an_old_cluster_is_refused_in_words() {
    for helm in helms() {
        let chart = root().join(scope_chart::CHART).display().to_string();
        let output = helm
            .run(&[
                "template",
                "x",
                &chart,
                "--namespace",
                "y",
                "--kube-version",
                "1.32.9",
            ])
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("1.33"), "{said}");
    }
}

/// kube-score's opinion. What is ignored is ignored for a reason.
#[test]
fn a_second_opinion_finds_nothing_grave() {
    let ignored = [
        // No CPU limit: throttling would delay clicks.
        "container-resources",
        // Images are named by version or digest; to fetch them at each start would need the registry for it.
        "container-image-pull-policy",
        // Nothing of these pods is stored beside their images.
        "container-ephemeral-storage-request-and-limit",
        // Topology spread does that for nodes, and does not keep a cluster of one node from all replicas.
        "deployment-has-host-podantiaffinity",
        // The agents' pods are not in the chart: the operator makes them.
        "networkpolicy-targets-pod",
    ];
    let program =
        throwaway_cluster::tools::kube_score(&throwaway_cluster::Progress::to_stderr()).unwrap();
    let [_, helm] = helms();
    let manifest = helm.template(ALL_ON).unwrap();
    // That of scope-totals has no selector, which kube-score takes for one that is for every pod.
    let documents = manifest.split("\n---\n");
    let documents: Vec<_> = documents
        .filter(|document| !document.contains("\nkind: Service\n"))
        .collect();
    let manifest = documents.join("\n---\n");
    let mut command = std::process::Command::new(program);
    command.args([
        "score",
        "--output-format",
        "ci",
        "--kubernetes-version",
        "v1.33",
    ]);
    for test in ignored {
        command.args(["--ignore-test", test]);
    }
    let mut child = command
        .arg("-")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, manifest.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let grave: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("[CRITICAL]") || line.starts_with("[WARNING]"))
        .collect();
    assert!(
        said.contains("[OK]"),
        "kube-score looked at nothing: {said}"
    );
    assert!(grave.is_empty(), "{}", grave.join("\n"));
}
