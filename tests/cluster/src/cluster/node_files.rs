//! What a node needs before it starts: its machine, and the files on its disk.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::control_plane::write_json;
use super::site::Site;
use crate::config::{NODE_CONFIG, cni, containerd, kube_proxy, kubeconfig, kubelet};
use crate::error::{At, Result};
use crate::layout::{private_directory, write_private};
use crate::machine::{Bind, Component, MachineSpec, RootSpec, component_log};
use crate::pki::{Authority, Identity, Subject};

pub(super) const CONTAINERD: &str = "containerd";
pub(super) const KUBELET: &str = "kubelet";
pub(super) const KUBE_PROXY: &str = "kube-proxy";

/// The files of node N.
pub(super) struct NodeFiles<'a> {
    site: &'a Site,
    number: usize,
    name: String,
}

impl NodeFiles<'_> {
    /// Those of node N, whether they are written or not.
    pub(super) fn new(site: &Site, number: usize) -> NodeFiles<'_> {
        NodeFiles {
            site,
            number,
            name: name(number),
        }
    }

    /// The directory that is the node's root.
    pub(super) fn disk(&self) -> PathBuf {
        self.site.machine_directory(&self.name).join("root")
    }

    /// Writes everything.
    pub(super) fn write(&self, authority: &Authority, changes: &Map<String, Value>) -> Result<()> {
        private_directory(&self.site.machine_directory(&self.name))?;
        self.root().prepare(
            &format!("127.0.0.1 localhost\n{} {}\n", self.address(), self.name),
            // 32 hexadecimal digits, different on every node.
            &format!("{:016x}{:016x}", self.site.network.octet, self.number),
        )?;
        self.configure(authority, changes)
    }

    /// The node's machine.
    pub(super) fn machine(&self) -> MachineSpec {
        let logs = self.site.logs();
        let component = |name: &str, command: &[&str]| Component {
            name: name.into(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            log: component_log(&logs, &self.name, name),
        };
        let kubelet = [
            "/opt/kubernetes/bin/kubelet".to_owned(),
            format!("--config={NODE_CONFIG}/kubelet.json"),
            format!("--kubeconfig={NODE_CONFIG}/kubelet.kubeconfig"),
            format!("--node-ip={}", self.address()),
            "--v=2".to_owned(),
        ];
        let proxy = format!("--config={NODE_CONFIG}/kube-proxy.json");
        MachineSpec {
            name: self.name.clone(),
            socket: self.site.socket(&self.name),
            root: Some(self.root()),
            components: vec![
                component(
                    CONTAINERD,
                    &["containerd", "--config=/etc/containerd/config.toml"],
                ),
                component(KUBELET, &kubelet.each_ref().map(String::as_str)),
                component(KUBE_PROXY, &["/opt/kubernetes/bin/kube-proxy", &proxy]),
            ],
        }
    }

    fn root(&self) -> RootSpec {
        RootSpec {
            host_name: self.name.clone(),
            directory: self.disk(),
            binds: vec![Bind {
                source: self.site.tools().kube_directory().to_path_buf(),
                target: "opt/kubernetes/bin".into(),
            }],
        }
    }

    fn address(&self) -> Ipv4Addr {
        self.site.network.node(self.number)
    }

    /// Keys and configuration, where they lie on a real node.
    fn configure(&self, authority: &Authority, changes: &Map<String, Value>) -> Result<()> {
        let network = self.site.network;
        let etc = self.disk().join("etc");
        let own = etc.join("kubernetes");
        let user = format!("system:node:{}", self.name);
        let node = authority.issue(
            &self.name,
            &Subject {
                name: &user,
                group: Some("system:nodes"),
                served: &[self.name.clone(), self.address().to_string()],
            },
        )?;
        let proxy = authority.issue(
            &format!("{}-kube-proxy", self.name),
            &Subject {
                name: "system:kube-proxy",
                group: None,
                served: &[],
            },
        )?;
        copy(&authority.certificate(), &own.join("ca.crt"))?;
        let inside = Path::new(NODE_CONFIG);
        for (issued, name, file) in [
            (node, "node", "kubelet.kubeconfig"),
            (proxy, "kube-proxy", "kube-proxy.kubeconfig"),
        ] {
            let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
            copy(&issued.certificate, &own.join(&certificate))?;
            copy(&issued.key, &own.join(&key))?;
            let identity = Identity {
                certificate: inside.join(certificate),
                key: inside.join(key),
            };
            let config = kubeconfig(network.control_plane(), &inside.join("ca.crt"), &identity);
            write_json(&own.join(file), &config)?;
        }
        let cgroups = &self.site.cgroups;
        let config = kubelet(&cgroups.of_node(&self.name), cgroups.are_v2(), changes);
        write_json(&own.join("kubelet.json"), &config)?;
        write_json(&own.join("kube-proxy.json"), &kube_proxy(network))?;
        write_json(
            &etc.join("cni/net.d/10-throwaway.conflist"),
            &cni(network, self.number),
        )?;
        write_private(&etc.join("containerd/config.toml"), containerd().as_bytes())
    }
}

/// The name of node N.
pub(super) fn name(number: usize) -> String {
    format!("node{number}")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    write_private(to, &std::fs::read(from).at("read", from)?)
}
