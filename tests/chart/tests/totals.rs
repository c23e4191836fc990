//! What the chart makes of `totals.*`: the service, its rights, who reaches it, and nothing where it is off.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;

use scope_chart::render::{ALL_ON, Helm, Objects};
use serde_json::{Value as Json, json};

const OFF: &str = "totals.enabled=false";
const OFF_TOP: &str = "totals.top.enabled=false";

fn helm() -> Helm {
    let [_, four] = Helm::both().unwrap();
    four
}

fn words(list: &Json) -> Vec<String> {
    let list = list.as_array().cloned().unwrap_or_default();
    let words = list.iter().filter_map(|word| word.as_str());
    words.map(str::to_owned).collect()
}

/// Each verb that `kind` of this name and namespace grants, a line for each object or kind of objects.
fn granted(objects: &Objects, kind: &str, namespace: Option<&str>) -> BTreeSet<String> {
    let roles = objects.0.iter().filter(|o| {
        o["kind"] == kind
            && o["metadata"]["name"] == "scope-totals"
            && o["metadata"]["namespace"].as_str() == namespace
    });
    let mut all = BTreeSet::new();
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        let names = words(&rule["resourceNames"]).join(",");
        for resource in words(&rule["resources"]) {
            for verb in words(&rule["verbs"]) {
                let group = words(&rule["apiGroups"]).join(",");
                let line = format!("{group} {resource} {names} {verb}");
                assert!(all.insert(line), "{rule} grants something twice");
            }
        }
    }
    all
}

/// The table at the top of `totals/src/run.rs`, line by line.
#[test]
fn the_service_may_do_what_it_does_and_no_more() {
    let objects = helm().objects(&[]).unwrap();
    let lines = |all: &[(&str, &str)]| -> BTreeSet<String> {
        all.iter()
            .flat_map(|(what, verbs)| verbs.split(' ').map(move |verb| format!("{what} {verb}")))
            .collect()
    };
    assert_eq!(
        granted(&objects, "ClusterRole", None),
        lines(&[
            (" pods ", "list watch"),
            (" nodes ", "list watch"),
            (" namespaces ", "list watch"),
            ("apps replicasets ", "list watch"),
            ("apps deployments ", "list watch"),
            ("apps statefulsets ", "list watch"),
            ("apps daemonsets ", "list watch"),
            ("batch jobs ", "list watch"),
            ("batch cronjobs ", "list watch"),
            ("discovery.k8s.io endpointslices ", "list watch"),
            (" services ", "list watch"),
            ("authentication.k8s.io tokenreviews ", "create"),
            ("authorization.k8s.io subjectaccessreviews ", "create"),
        ])
    );
    let own = lines(&[
        (
            "coordination.k8s.io leases scope-totals",
            "get list watch patch",
        ),
        ("discovery.k8s.io endpointslices ", "create"),
        ("discovery.k8s.io endpointslices/restricted ", "create"),
        (
            "discovery.k8s.io endpointslices scope-totals-ipv4,scope-totals-ipv6",
            "patch delete",
        ),
    ]);
    let of_proxy = lines(&[
        (" endpoints ", "create"),
        (" endpoints/restricted ", "create"),
        (" endpoints scope-totals", "list watch patch"),
    ]);
    let with_proxy: BTreeSet<_> = own.union(&of_proxy).cloned().collect();
    let authorities = lines(&[(" secrets scope-totals-authorities", "list watch patch")]);
    let in_own = |objects: &Objects| granted(objects, "Role", Some("scope-system"));
    assert_eq!(
        in_own(&objects),
        with_proxy.union(&authorities).cloned().collect()
    );
    assert_eq!(
        granted(&objects, "Role", Some("scope-plugins")),
        lines(&[(" configmaps scope-totals-ca", "get patch")])
    );
    // Nobody else is bound to these roles, and its account to no others.
    let of_account = |subjects: &Json| subjects[0]["name"] == "scope-totals";
    let bindings = objects
        .0
        .iter()
        .filter(|o| o["kind"].as_str().unwrap().ends_with("Binding") && o["roleRef"].is_object());
    for binding in bindings {
        let role = binding["roleRef"]["name"] == "scope-totals";
        assert_eq!(of_account(&binding["subjects"]), role, "{binding}");
        assert_eq!(
            binding["subjects"].as_array().unwrap().len(),
            1,
            "{binding}"
        );
    }
    // A given certificate needs no Secret to be read or written.
    let given = helm().objects(&["totals.tls.secretName=\"mine\""]).unwrap();
    assert_eq!(in_own(&given), with_proxy);
    // Who answers nobody needs to know of nobody what they may, nor to be found by the proxy.
    let quiet = [OFF_TOP, "totals.tls.secretName=\"mine\""];
    let quiet = helm().objects(&quiet).unwrap();
    assert_eq!(in_own(&quiet), own);
    let cluster = granted(&quiet, "ClusterRole", None);
    assert!(
        !cluster
            .iter()
            .any(|line| line.contains("subjectaccessreviews"))
    );
    for (objects, on) in [(&objects, true), (&quiet, false)] {
        let (_, args) = container(objects);
        assert_eq!(args.contains(&"--top".to_owned()), on, "{args:?}");
    }
}

/// Helm compares and applies only what the chart has in an object, so what is written at run time stays.
#[test]
fn what_the_service_fills_is_shipped_empty() {
    let objects = helm().objects(ALL_ON).unwrap();
    for (kind, name, namespace) in [
        ("Lease", "scope-totals", "scope-system"),
        ("Secret", "scope-totals-authorities", "scope-system"),
        ("ConfigMap", "scope-totals-ca", "scope-plugins"),
    ] {
        let object = objects.get(kind, name).unwrap();
        assert_eq!(object["metadata"]["namespace"], namespace);
        let keys: Vec<_> = object.as_object().unwrap().keys().collect();
        let known = ["apiVersion", "kind", "metadata", "type"];
        assert!(
            keys.iter().all(|key| known.contains(&key.as_str())),
            "{object}"
        );
    }
    let service = &objects.get("Service", "scope-totals").unwrap()["spec"];
    assert_eq!(
        *service,
        json!({"type": "ClusterIP", "ports": [{"name": "exchange", "port": 8443, "protocol": "TCP"}]}),
        "no selector: the active replica publishes itself"
    );
    let (deployment, args) = container(&objects);
    let args = args.join(" ");
    for (kind, name, flag) in [
        ("Lease", "scope-totals", "lease-name"),
        ("Service", "scope-totals", "service-name"),
        ("Secret", "scope-totals-authorities", "secret-name"),
        ("ConfigMap", "scope-totals-ca", "config-map-name"),
    ] {
        objects.get(kind, name).unwrap();
        assert!(args.contains(&format!("--{flag}={name}")), "{args}");
    }
    let ports = deployment["ports"].to_string();
    assert!(ports.contains("8443") && ports.contains("8080"), "{ports}");
    let operator = objects.get("Deployment", "scope-operator").unwrap();
    assert!(
        operator
            .to_string()
            .contains("\"--totals-config-map=scope-totals-ca\"")
    );
}

fn container(objects: &Objects) -> (Json, Vec<String>) {
    let deployment = objects.get("Deployment", "scope-totals").unwrap();
    let container = deployment["spec"]["template"]["spec"]["containers"][0].clone();
    let args = words(&container["args"]);
    (container, args)
}

#[test]
fn a_given_certificate_is_mounted_for_the_service_alone() {
    let objects = helm().objects(&["totals.tls.secretName=\"mine\""]).unwrap();
    let deployment = objects.get("Deployment", "scope-totals").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"],
        json!([{"name": "tls", "secret": {"secretName": "mine", "defaultMode": 0o440}}])
    );
    assert_eq!(pod["securityContext"]["fsGroup"], 65532);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let (container, args) = container(&objects);
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "tls", "mountPath": "/etc/scope-totals", "readOnly": true}])
    );
    assert!(args.contains(&"--tls-directory=/etc/scope-totals".to_owned()));
    for flag in [
        "--secret-name",
        "--authority-lifetime",
        "--certificate-lifetime",
    ] {
        assert!(!args.iter().any(|arg| arg.starts_with(flag)), "{args:?}");
    }
}

/// Off, nothing of it is left, and of the rest only those change that speak of it.
#[test]
fn without_totals_the_rest_is_as_it_was() {
    let mut off = ALL_ON.to_vec();
    off.push(OFF);
    let (with, without) = (
        helm().objects(ALL_ON).unwrap(),
        helm().objects(&off).unwrap(),
    );
    let gone: Vec<_> = {
        let without = without.names().unwrap();
        with.names()
            .unwrap()
            .difference(&without)
            .cloned()
            .collect()
    };
    assert_eq!(
        gone,
        [
            "ClusterRole scope-totals",
            "ClusterRoleBinding scope-totals",
            "ConfigMap scope-plugins/scope-totals-ca",
            "Deployment scope-system/scope-totals",
            "Lease scope-system/scope-totals",
            "NetworkPolicy scope-system/scope-totals",
            "PodDisruptionBudget scope-system/scope-totals",
            "PodMonitor scope-system/scope-totals",
            "ResourceQuota scope-system/scope-totals-priority",
            "Role scope-plugins/scope-totals",
            "Role scope-system/scope-totals",
            "RoleBinding scope-plugins/scope-totals",
            "RoleBinding scope-system/scope-totals",
            "Secret scope-system/scope-totals-authorities",
            "Service scope-system/scope-totals",
            "ServiceAccount scope-system/scope-totals",
            "ValidatingAdmissionPolicy totals.scopeplugins.dev",
            "ValidatingAdmissionPolicyBinding totals.scopeplugins.dev",
        ]
    );
    let mut changed = Vec::new();
    for object in &without.0 {
        let text = object.to_string();
        // Agents from before may still have to start, and the definitions are the same everywhere.
        let name = object["metadata"]["name"].as_str().unwrap();
        if !["pods.scopeplugins.dev", "scopeplugins.scopeplugins.dev"].contains(&name) {
            assert!(
                !text.contains("scope-totals") && !text.contains("scope_totals"),
                "{text}"
            );
        }
        let (kind, namespace) = (&object["kind"], &object["metadata"]["namespace"]);
        let same = |o: &&Json| {
            o["kind"] == *kind
                && o["metadata"]["name"] == name
                && o["metadata"]["namespace"] == *namespace
        };
        let before = with.0.iter().find(same).unwrap();
        if before != object {
            changed.push(format!("{} {name}", kind.as_str().unwrap()));
        }
    }
    changed.sort();
    assert_eq!(
        changed,
        [
            "ConfigMap scope-plugins-dashboard",
            "Deployment scope-operator",
            "Job scope-plugins-cleanup",
            "NetworkPolicy scope-agents",
            "NetworkPolicy scope-operator",
            "Pod scope-plugins-test",
            "PrometheusRule scope-plugins",
            "Role scope-plugins-cleanup",
            "Role scope-plugins-test",
        ]
    );
    // Of the operator's Deployment it is two flags, and the token that one of them names.
    let mut operator = with.get("Deployment", "scope-operator").unwrap().clone();
    let pod = &mut operator["spec"]["template"]["spec"];
    let args = &mut pod["containers"][0]["args"];
    let of_totals = |arg: &Json| arg.as_str().unwrap().starts_with("--totals-");
    args.as_array_mut().unwrap().retain(|arg| !of_totals(arg));
    pod["containers"][0]
        .as_object_mut()
        .unwrap()
        .remove("volumeMounts");
    pod.as_object_mut().unwrap().remove("volumes");
    assert_eq!(
        &operator,
        without.get("Deployment", "scope-operator").unwrap()
    );
    // The dashboard has all its other panels.
    let panels = |objects: &Objects| -> Vec<Json> {
        let map = objects.get("ConfigMap", "scope-plugins-dashboard").unwrap();
        let text = map["data"]["scope-plugins.json"].as_str().unwrap();
        let board: Json = serde_json::from_str(text).unwrap();
        board["panels"].as_array().unwrap().clone()
    };
    let (all, fewer) = (panels(&with), panels(&without));
    assert!(all.len() > fewer.len() && all[..fewer.len()] == fewer[..]);
}

/// The operator asks the service how the agents are, with a token that no other server takes.
#[test]
fn the_operator_has_a_token_for_the_service() {
    let objects = helm().objects(&[]).unwrap();
    let operator = objects.get("Deployment", "scope-operator").unwrap();
    let pod = &operator["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"],
        json!([{"name": "totals", "projected": {"sources": [{"serviceAccountToken": {
            "audience": "scope-totals", "expirationSeconds": 3600, "path": "token",
        }}]}}])
    );
    let container = &pod["containers"][0];
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "totals", "mountPath": "/var/run/scope-totals", "readOnly": true}])
    );
    let args = words(&container["args"]);
    for arg in [
        "--totals-config-map=scope-totals-ca",
        "--totals-token-file=/var/run/scope-totals/token",
    ] {
        assert!(args.iter().any(|given| given == arg), "{args:?}");
    }
    // The service takes the questions of this account alone, which is its default.
    assert_eq!(pod["serviceAccountName"], "scope-operator");
    let (_, args) = self::container(&objects);
    assert!(
        !args.iter().any(|arg| arg.starts_with("--operator-account")),
        "{args:?}"
    );
}

/// Helm takes the rights of the service with the rest, and until then its pods have to be gone.
#[test]
fn an_uninstall_stops_the_service_first() {
    for (set, stopped) in [
        (&[][..], &["scope-operator", "scope-totals"][..]),
        (&[OFF], &["scope-operator"]),
    ] {
        let objects = helm().objects(set).unwrap();
        let job = objects.get("Job", "scope-plugins-cleanup").unwrap();
        let args = words(&job["spec"]["template"]["spec"]["containers"][0]["args"]);
        let named: Vec<_> = args
            .iter()
            .filter_map(|arg| arg.split_once("deployment="))
            .map(|(_, name)| name)
            .collect();
        assert_eq!(named, stopped);
        let is_role = |o: &&Json| {
            o["kind"] == "Role"
                && o["metadata"]["name"] == "scope-plugins-cleanup"
                && o["metadata"]["namespace"] == "scope-system"
        };
        let role = objects.0.iter().find(is_role).unwrap();
        let scaled = json!({
            "apiGroups": ["apps"],
            "resources": ["deployments/scale"],
            "resourceNames": stopped,
            "verbs": ["patch"],
        });
        assert!(
            role["rules"].as_array().unwrap().contains(&scaled),
            "{role}"
        );
    }
}

/// Agents on the host's network come from their node, and only where there may be such agents.
#[test]
fn who_reaches_the_exchange_is_named() {
    let on = [
        "networkPolicy.operator.enabled=true",
        "networkPolicy.totals.enabled=true",
        "networkPolicy.agents.enabled=true",
    ];
    let objects = helm().objects(&on).unwrap();
    let policy =
        |objects: &Objects, name: &str| objects.get("NetworkPolicy", name).unwrap()["spec"].clone();
    let exchange = json!([{"protocol": "TCP", "port": 8443}]);
    let of_namespace = |name: &str| json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let agents = json!({"namespaceSelector": of_namespace("scope-plugins")});
    let operator = objects.get("Deployment", "scope-operator").unwrap();
    let operator = json!({"from": [{
        "namespaceSelector": of_namespace("scope-system"),
        "podSelector": {"matchLabels": operator["spec"]["selector"]["matchLabels"]},
    }], "ports": exchange});
    let totals = policy(&objects, "scope-totals");
    let cidr = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
    let proxy = json!({"from": [cidr("0.0.0.0/0"), cidr("::/0")], "ports": exchange});
    assert_eq!(
        totals["ingress"],
        json!([{"from": [agents], "ports": exchange}, operator, proxy])
    );
    let deployment = objects.get("Deployment", "scope-totals").unwrap();
    let selector = &deployment["spec"]["selector"]["matchLabels"];
    assert_eq!(totals["podSelector"]["matchLabels"], *selector);
    let way = json!({"ports": exchange, "to": [{
        "namespaceSelector": of_namespace("scope-system"),
        "podSelector": {"matchLabels": selector},
    }]});
    assert_eq!(policy(&objects, "scope-agents")["egress"][0], way);
    assert_eq!(policy(&objects, "scope-operator")["egress"][1], way);
    // Out: the API server and DNS alone.
    assert_eq!(totals["egress"].as_array().unwrap().len(), 2);

    let mut kernel = on.to_vec();
    kernel.extend([
        "scopePlugins.allowHostNetwork=true",
        "networkPolicy.totals.nodeCidrs=[\"10.1.0.0/16\"]",
        "networkPolicy.totals.proxyFrom=[{\"ipBlock\":{\"cidr\":\"10.2.0.0/16\"}}]",
    ]);
    let totals = policy(&helm().objects(&kernel).unwrap(), "scope-totals");
    let nodes = cidr("10.1.0.0/16");
    let proxy = json!({"from": [cidr("10.2.0.0/16")], "ports": exchange});
    assert_eq!(
        totals["ingress"],
        json!([{"from": [agents, nodes], "ports": exchange}, operator, proxy])
    );
    let mut quiet = on.to_vec();
    quiet.push(OFF_TOP);
    let totals = policy(&helm().objects(&quiet).unwrap(), "scope-totals");
    assert_eq!(
        totals["ingress"],
        json!([{"from": [agents], "ports": exchange}, operator])
    );
}

#[test]
fn the_schema_refuses_in_words() {
    for (setting, word) in [
        ("totals.replicas=0", "replicas"),
        ("totals.enabled=\"yes\"", "enabled"),
        ("totals.top.enabled=1", "enabled"),
        ("networkPolicy.totals.proxyFrom=[\"10.0.0.1\"]", "proxyFrom"),
        ("totals.image={}", "image"),
        ("totals.tls.secretName=\"A b\"", "secretName"),
        ("totals.tls.authorityLifetime=\"1y\"", "authorityLifetime"),
        (
            "totals.tls.certificateLifetime=\"90s\"",
            "certificateLifetime",
        ),
        ("networkPolicy.totals.nodeCidrs=[\"10.0.0.1\"]", "nodeCidrs"),
    ] {
        let said = helm().template(&[setting]).expect_err(setting).to_string();
        assert!(said.contains(word), "{setting}: {said}");
    }
}
