//! The pod of the bundled agent.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{
        AppArmorProfile, Capabilities, Container, ContainerPort, EnvVar, EnvVarSource,
        HTTPGetAction, HostPathVolumeSource, LocalObjectReference, ObjectFieldSelector,
        PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SELinuxOptions,
        SeccompProfile, SecurityContext, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString,
    },
};
use scope_crds::{Amounts, Collector, Control, HostName, Resources, ScopePlugin};

use super::{
    labels, offered,
    rights::{Right, rights as needed},
    totals,
};
use crate::{names, settings::Settings};

/// Where the agent answers its kubelet, and the operator; on every address of its pod.
pub(crate) const AGENT_PORT: u16 = 7390;
/// Where the agent finds the host's cgroups: a private cgroup namespace hides their paths.
const CGROUP_ROOT: &str = "/host/cgroup";
/// Where the agent finds what it may see of the kubelet's directory.
const KUBELET: &str = "/host/kubelet";

/// The pod template of `plugin`, but for where its pods go. What the API server would fill in is left out, except where it is
/// part of a merge key.
pub(super) fn template(plugin: &ScopePlugin, settings: &Settings) -> PodTemplateSpec {
    let spec = &plugin.spec;
    let kernel_name = spec.agent.host_name == HostName::Kernel;
    let secrets = &settings.image.pull_secrets;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels(names::id(plugin))),
            annotations: Some(annotations(plugin)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(true),
            containers: vec![container(plugin, settings)],
            // A pod on the host's network sees the host's name, which is what the probe calls it
            // then. Cluster names are still resolved by the cluster.
            dns_policy: kernel_name.then(|| "ClusterFirstWithHostNet".into()),
            host_network: kernel_name.then_some(true),
            enable_service_links: Some(false),
            // The processes of all containers are what the agent reads.
            host_pid: Some(true),
            image_pull_secrets: (!secrets.is_empty()).then(|| {
                secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect()
            }),
            priority_class_name: Some(spec.placement.priority_class_name.clone()),
            security_context: Some(PodSecurityContext {
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    localhost_profile: None,
                }),
                // Ignored on nodes without SELinux.
                se_linux_options: Some(SELinuxOptions {
                    type_: Some("spc_t".into()),
                    ..SELinuxOptions::default()
                }),
                ..PodSecurityContext::default()
            }),
            service_account_name: Some(names::child(names::id(plugin))),
            // The agent removes its sockets at once; a new one waits for this one to be gone.
            termination_grace_period_seconds: Some(10),
            volumes: Some(volumes(settings, &rights(plugin, settings))),
            ..PodSpec::default()
        }),
    }
}

fn annotations(plugin: &ScopePlugin) -> BTreeMap<String, String> {
    let container = ("kubectl.kubernetes.io/default-container", "agent");
    let restarted_at = plugin.spec.rollout.restarted_at.as_deref();
    [container]
        .into_iter()
        .chain(restarted_at.map(|at| (names::RESTARTED_AT, at)))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What this plugin needs on its nodes.
fn rights(plugin: &ScopePlugin, settings: &Settings) -> BTreeSet<Right> {
    needed(&plugin.spec.agent.collectors, &offered(plugin, settings))
}

fn volumes(settings: &Settings, rights: &BTreeSet<Right>) -> Vec<Volume> {
    let mut volumes = vec![
        host_path("plugins", &settings.plugin_directory, "DirectoryOrCreate"),
        host_path("cgroup", "/sys/fs/cgroup", "Directory"),
    ];
    if rights.contains(&Right::KubeletPods) {
        let pods = format!("{}/pods", settings.kubelet_directory);
        volumes.push(host_path("pods", &pods, "Directory"));
    }
    let reports = settings.totals.as_ref();
    volumes.extend(reports.map(|totals| totals::volume(&totals.config_map)));
    volumes
}

fn mounts(settings: &Settings, rights: &BTreeSet<Right>) -> Vec<VolumeMount> {
    let mut mounts = vec![
        VolumeMount {
            name: "plugins".into(),
            mount_path: settings.plugin_directory.clone(),
            ..VolumeMount::default()
        },
        VolumeMount {
            name: "cgroup".into(),
            mount_path: CGROUP_ROOT.into(),
            read_only: (!rights.contains(&Right::WritableCgroups)).then_some(true),
            ..VolumeMount::default()
        },
    ];
    if rights.contains(&Right::KubeletPods) {
        mounts.push(VolumeMount {
            name: "pods".into(),
            mount_path: format!("{KUBELET}/pods"),
            // What is mounted later is seen as well, and what is unmounted is let go.
            mount_propagation: Some("HostToContainer".into()),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    if settings.totals.is_some() {
        mounts.push(totals::mount());
    }
    mounts
}

fn container(plugin: &ScopePlugin, settings: &Settings) -> Container {
    let rights = rights(plugin, settings);
    Container {
        name: "agent".into(),
        image: Some(settings.image.name.clone()),
        image_pull_policy: Some(settings.image.pull_policy.clone()),
        args: Some(arguments(plugin, settings)),
        env: Some(vec![
            field("NODE_NAME", "spec.nodeName"),
            field("POD_NAMESPACE", "metadata.namespace"),
        ]),
        ports: Some(vec![ContainerPort {
            name: Some("http".into()),
            container_port: i32::from(AGENT_PORT),
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(Probe {
            http_get: Some(get("/readyz")),
            period_seconds: Some(5),
            timeout_seconds: Some(2),
            ..Probe::default()
        }),
        // Slower than readiness: a node under load should not lose its agent for it.
        liveness_probe: Some(Probe {
            http_get: Some(get("/healthz")),
            initial_delay_seconds: Some(10),
            period_seconds: Some(20),
            timeout_seconds: Some(5),
            failure_threshold: Some(3),
            ..Probe::default()
        }),
        resources: resources(&plugin.spec.agent.resources),
        // Root without any capability but those that are needed: it owns the plugin directory and reads
        // what is readable.
        security_context: Some(SecurityContext {
            app_armor_profile: rights
                .contains(&Right::NoAppArmor)
                .then(|| AppArmorProfile {
                    type_: "Unconfined".into(),
                    localhost_profile: None,
                }),
            run_as_user: Some(0),
            run_as_group: Some(0),
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                add: capabilities(&rights),
            }),
            ..SecurityContext::default()
        }),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts(settings, &rights)),
        ..Container::default()
    }
}

fn capabilities(rights: &BTreeSet<Right>) -> Option<Vec<String>> {
    let names: Vec<String> = rights
        .iter()
        .filter_map(|right| match right {
            Right::Capability(name) => Some((*name).to_owned()),
            Right::WritableCgroups | Right::KubeletPods | Right::NoAppArmor => None,
        })
        .collect();
    (!names.is_empty()).then_some(names)
}

/// The agent's command line.
fn arguments(plugin: &ScopePlugin, settings: &Settings) -> Vec<String> {
    let agent = &plugin.spec.agent;
    let mut arguments = vec![
        "serve".to_owned(),
        format!("--plugin-id={}", names::id(plugin)),
    ];
    if let Some(label) = &plugin.spec.label {
        arguments.push(format!("--label={}", literal(label)));
    }
    if let Some(description) = &plugin.spec.description {
        arguments.push(format!("--description={}", literal(description)));
    }
    arguments.push(format!("--collectors={}", list(&agent.collectors)));
    let counts_http = agent.collectors.contains(&Collector::HTTPStatistics);
    if counts_http && agent.http_statistics.allow_sys_exit {
        arguments.push("--http-allow-sys-exit".to_owned());
    }
    let offered: Vec<Control> = offered(plugin, settings).into_iter().collect();
    if !offered.is_empty() {
        arguments.push(format!("--controls={}", list(&offered)));
    }
    // Only who acts itself needs to know where it must not, and how often it may.
    if offered.iter().any(|control| control.is_node_local()) {
        let mut protected = agent.protected_namespaces.clone();
        protected.push(settings.own_namespace.clone());
        protected.sort();
        protected.dedup();
        arguments.push(format!("--protected-namespaces={}", protected.join(",")));
        arguments.push(format!(
            "--max-actions-per-minute={}",
            agent.max_actions_per_minute
        ));
    }
    if offered.contains(&Control::ShapeTraffic) {
        arguments.push(format!(
            "--traffic-max-duration={}",
            agent.traffic_control.max_duration
        ));
    }
    arguments.extend([
        format!("--sample-interval={}", agent.sample_interval),
        format!("--mend-scope={}", agent.mend_scope),
        format!("--host-name={}", agent.host_name),
        format!("--plugin-dir={}", settings.plugin_directory),
        format!("--cgroup-root={CGROUP_ROOT}"),
    ]);
    if rights(plugin, settings).contains(&Right::KubeletPods) {
        arguments.push(format!("--kubelet-dir={KUBELET}"));
    }
    if settings.totals.is_some() {
        arguments.push(totals::argument());
    }
    arguments
}

/// The entries in a fixed order, so that writing a set differently restarts nothing.
fn list<T: Ord + Copy + ToString>(items: &[T]) -> String {
    let mut items = items.to_vec();
    items.sort();
    let words: Vec<String> = items.iter().map(T::to_string).collect();
    words.join(",")
}

/// Kubernetes puts variables into arguments: `$(NAME)`. A doubled dollar stands for itself.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn resources(resources: &Resources) -> Option<ResourceRequirements> {
    let amounts = |amounts: &Option<Amounts>| -> Option<BTreeMap<String, Quantity>> {
        let Amounts { cpu, memory } = amounts.as_ref()?;
        let entries: BTreeMap<String, Quantity> = [("cpu", cpu), ("memory", memory)]
            .into_iter()
            .filter_map(|(name, amount)| Some((name.to_owned(), amount.clone()?)))
            .collect();
        (!entries.is_empty()).then_some(entries)
    };
    let (requests, limits) = (amounts(&resources.requests), amounts(&resources.limits));
    (requests.is_some() || limits.is_some()).then_some(ResourceRequirements {
        requests,
        limits,
        claims: None,
    })
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.into(),
                // Written out, since the API server would add it.
                api_version: Some("v1".into()),
            }),
            ..EnvVarSource::default()
        }),
        value: None,
    }
}

fn get(path: &str) -> HTTPGetAction {
    HTTPGetAction {
        path: Some(path.into()),
        port: IntOrString::String("http".into()),
        ..HTTPGetAction::default()
    }
}

fn host_path(name: &str, path: &str, type_: &str) -> Volume {
    Volume {
        name: name.into(),
        host_path: Some(HostPathVolumeSource {
            path: path.into(),
            type_: Some(type_.into()),
        }),
        ..Volume::default()
    }
}
