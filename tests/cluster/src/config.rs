//! The configuration files of the components. All but containerd's are JSON, which is YAML too.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::audit::WRITES;
use crate::network::Network;
use crate::pki::Identity;

/// The image of every pod's sandbox.
pub(crate) const PAUSE_IMAGE: &str = "harness.local/pause:1";

/// Where a node keeps its configuration, seen from inside.
pub(crate) const NODE_CONFIG: &str = "/etc/kubernetes";

/// containerd's configuration.
pub(crate) fn containerd() -> String {
    format!(
        "version = 2\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = \"{PAUSE_IMAGE}\"\n\
         # Without CAP_SYS_RESOURCE no process may lower its oom_score_adj, and runc would fail.\n\
         restrict_oom_score_adj = true\n\
         disable_apparmor = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\n\
         bin_dir = \"/usr/lib/cni\"\n\
         conf_dir = \"/etc/cni/net.d\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\n\
         path = \"/var/lib/containerd/opt\"\n"
    )
}

/// The pod network of node N.
pub(crate) fn cni(network: Network, number: usize) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "throwaway",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": network.pods(number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// kubelet's configuration. `changes` replace top-level fields.
pub(crate) fn kubelet(cgroup: &str, cgroups_v2: bool, changes: &Map<String, Value>) -> Value {
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{NODE_CONFIG}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        // Without these kubelet signs its own, and the API server refuses exec and logs.
        "tlsCertFile": format!("{NODE_CONFIG}/node.crt"),
        "tlsPrivateKeyFile": format!("{NODE_CONFIG}/node.key"),
        "oomScoreAdj": 0,
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        // An image that is collected cannot be pulled again: there is no registry.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "nodeStatusUpdateFrequency": "5s",
        // The default lies below /usr, which a node shares with the machine and cannot write.
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "staticPodPath": format!("{NODE_CONFIG}/manifests"),
    });
    if let Some(fields) = config.as_object_mut() {
        if !cgroups_v2 {
            // Since 1.35 the default is to refuse version 1.
            fields.insert("failCgroupV1".into(), false.into());
        }
        fields.extend(changes.clone());
    }
    config
}

/// kube-proxy's configuration.
pub(crate) fn kube_proxy(network: Network) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": format!("{NODE_CONFIG}/kube-proxy.kubeconfig")},
        "clusterCIDR": network.all(),
        // Zero leaves the sysctls alone, which belong to the whole machine.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}

/// The audit policy: one line per request, one more when a watch opens, and one more when a write
/// comes in, so that a test can do something between a write's arrival and its answer.
pub(crate) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "rules": [
            {"level": "Metadata", "verbs": WRITES},
            {"level": "Metadata", "omitStages": ["RequestReceived"]},
        ],
    })
}

/// A kubeconfig that names files.
pub(crate) fn kubeconfig(server: Ipv4Addr, authority: &Path, identity: &Identity) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "throwaway",
            "cluster": {
                "server": format!("https://{server}:{API_PORT}"),
                "certificate-authority": authority,
            },
        }],
        "users": [{
            "name": "user",
            "user": {
                "client-certificate": identity.certificate,
                "client-key": identity.key,
            },
        }],
        "contexts": [{
            "name": "throwaway",
            "context": {"cluster": "throwaway", "user": "user"},
        }],
        "current-context": "throwaway",
    })
}

/// The API server's port.
pub(crate) const API_PORT: u16 = 6443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_on_version_1_is_told_to_accept_it() {
        let config = kubelet("/throwaway-t0/node1", false, &Map::new());
        assert_eq!(config["failCgroupV1"], false);
        assert_eq!(config["cgroupRoot"], "/throwaway-t0/node1");
    }

    #[test]
    fn kubelet_on_version_2_is_not() {
        assert!(
            kubelet("/x", true, &Map::new())
                .get("failCgroupV1")
                .is_none()
        );
    }

    #[test]
    fn changes_replace_fields() {
        let changes = Map::from_iter([("nodeStatusUpdateFrequency".into(), json!("1s"))]);
        let config = kubelet("/x", false, &changes);
        assert_eq!(config["nodeStatusUpdateFrequency"], "1s");
        assert_eq!(config["oomScoreAdj"], 0);
    }

    #[test]
    fn each_node_has_a_pod_network_of_its_own() {
        let subnet = |number| {
            cni(Network { octet: 80 }, number)["plugins"][0]["ipam"]["ranges"][0][0]["subnet"]
                .clone()
        };
        assert_eq!(subnet(1), "10.80.1.0/24");
        assert_eq!(subnet(2), "10.80.2.0/24");
    }

    #[test]
    fn kubeconfigs_name_the_server_and_the_files() {
        let identity = Identity {
            certificate: "/p/a.crt".into(),
            key: "/p/a.key".into(),
        };
        let config = kubeconfig(
            Ipv4Addr::new(10, 77, 0, 1),
            Path::new("/p/ca.crt"),
            &identity,
        );
        assert_eq!(
            config["clusters"][0]["cluster"]["server"],
            "https://10.77.0.1:6443"
        );
        assert_eq!(config["users"][0]["user"]["client-key"], "/p/a.key");
    }
}
