//! etcd, API server, controller manager and scheduler, in one machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Options;
use super::site::Site;
use crate::config::{API_PORT, audit_policy, kubeconfig};
use crate::error::{At, Error, Result};
use crate::layout::{private_directory, write_private};
use crate::machine::{Component, Machine, MachineSpec, component_log};
use crate::network::{API_SERVICE, SERVICE_RANGE, ip};
use crate::pki::{Authority, Subject, api_server_names};
use crate::record::CONTROL_PLANE as NAME;

const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";
const CONTROLLERS: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

/// It is ready 4 s after its start; a machine with much else to do may take ten times that.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// A terminating API server closes its port at once, but goes on with watches for a minute. Who
/// stops it wants it to be away. Where a lost node is noticed soon, one that cannot renew its lease
/// for some seconds is taken for lost.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// The control plane of a cluster.
pub(super) struct ControlPlane {
    site: Arc<Site>,
    machine: Machine,
}

impl ControlPlane {
    /// Makes keys and configuration, starts the machine with etcd and the API server in it, and
    /// connects it to the host. It is not ready yet.
    pub(super) fn start(
        site: &Arc<Site>,
        authority: &Authority,
        options: &Options,
    ) -> Result<ControlPlane> {
        let directory = site.machine_directory(NAME);
        private_directory(&directory)?;
        let components = Setup {
            site,
            authority,
            options,
        }
        .components()?;
        let machine = site.start_machine(&MachineSpec {
            name: NAME.into(),
            socket: site.socket(NAME),
            root: None,
            components,
        })?;
        let (network, pid) = (site.network, machine.init().pid);
        ip(Some(pid), &network.inside_control_plane())?;
        ip(None, &network.on_host(&site.host_link(), pid))?;
        ip(Some(pid), &network.towards_host())?;
        ip(None, &network.route_on_host())?;
        machine.start_component(ETCD)?;
        machine.start_component(API_SERVER)?;
        Ok(ControlPlane {
            site: Arc::clone(site),
            machine,
        })
    }

    /// The control plane that another process started.
    pub(super) fn known(site: &Arc<Site>) -> Option<ControlPlane> {
        let machine = site.known_machine(NAME)?;
        Some(ControlPlane {
            site: Arc::clone(site),
            machine,
        })
    }

    /// The pid 1 of the machine, whose network namespace all links go to.
    pub(super) fn pid(&self) -> i32 {
        self.machine.init().pid
    }

    /// The machine.
    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Waits until the API server says that it is ready.
    pub(super) fn wait_until_ready(&self) -> Result<()> {
        let address = SocketAddr::from((self.site.network.control_plane(), API_PORT));
        self.site.wait_for("a ready API server", READY_LIMIT, || {
            self.machine.check(ETCD)?;
            self.machine.check(API_SERVER)?;
            // Cheaper than kubectl, as long as nobody listens.
            if let Err(error) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
                return Ok(Err(format!("cannot connect to {address}: {error}")));
            }
            Ok(self
                .site
                .ask(&["get", "--raw", "/readyz"])
                .map(drop)
                .map_err(|e| e.to_string()))
        })
    }

    /// Starts what only works with an API server.
    pub(super) fn start_controllers(&self) -> Result<()> {
        CONTROLLERS
            .iter()
            .try_for_each(|name| self.machine.start_component(name))
    }

    /// Waits until pods can be made: each needs the account that a controller makes.
    pub(super) fn wait_for_default_account(&self) -> Result<()> {
        self.site
            .wait_for("a ServiceAccount `default`", READY_LIMIT, || {
                CONTROLLERS
                    .iter()
                    .try_for_each(|name| self.machine.check(name))?;
                let get = [
                    "get",
                    "serviceaccount",
                    "default",
                    "--namespace=default",
                    "-o",
                    "name",
                ];
                Ok(self.site.ask(&get).map(drop).map_err(|e| e.to_string()))
            })
    }

    /// Stops the API server.
    pub(super) fn stop_api_server(&self) -> Result<()> {
        self.machine.stop_component(API_SERVER, STOP_GRACE)
    }

    /// Starts the API server and waits until it is ready.
    pub(super) fn start_api_server(&self) -> Result<()> {
        self.machine.start_component(API_SERVER)?;
        self.wait_until_ready()
    }
}

/// Removes the host's end of the link, if it is still there. It vanishes with the control plane's
/// namespace, but the kernel takes its time.
pub(super) fn remove_host_link(link: &str) -> Result<()> {
    let exists = || std::path::Path::new("/sys/class/net").join(link).exists();
    if !exists() {
        return Ok(());
    }
    match ip(None, &format!("link delete {link}\n")) {
        Err(error) if exists() => Err(error),
        _ => Ok(()),
    }
}

struct Setup<'a> {
    site: &'a Site,
    authority: &'a Authority,
    options: &'a Options,
}

impl Setup<'_> {
    fn components(&self) -> Result<Vec<Component>> {
        let kube = |name: &str| {
            self.site
                .tools()
                .kube_directory()
                .join(name)
                .display()
                .to_string()
        };
        let etcd = self.site.tools().etcd().display().to_string();
        let (api_server, service_account_key) = self.api_server()?;
        let mut manager = flags(&[
            ("kubeconfig", self.client("kube-controller-manager")?),
            ("leader-elect", "false".into()),
            ("use-service-account-credentials", "true".into()),
            ("service-account-private-key-file", service_account_key),
            ("root-ca-file", path(self.authority.certificate())),
            ("bind-address", Ipv4Addr::LOCALHOST.to_string()),
            ("kube-api-qps", "500".into()),
            ("kube-api-burst", "1000".into()),
        ]);
        manager.extend(self.options.controller_manager_flags.iter().cloned());
        let scheduler = flags(&[
            ("kubeconfig", self.client("kube-scheduler")?),
            ("leader-elect", "false".into()),
            ("bind-address", Ipv4Addr::LOCALHOST.to_string()),
            ("kube-api-qps", "500".into()),
            ("kube-api-burst", "1000".into()),
        ]);
        let component = |name: &str, program: String, flags: Vec<String>| Component {
            name: name.into(),
            command: std::iter::once(program).chain(flags).collect(),
            log: component_log(&self.site.logs(), NAME, name),
        };
        Ok(vec![
            component(ETCD, etcd, self.etcd()),
            component(API_SERVER, kube(API_SERVER), api_server),
            component(CONTROLLERS[0], kube(CONTROLLERS[0]), manager),
            component(CONTROLLERS[1], kube(CONTROLLERS[1]), scheduler),
        ])
    }

    fn etcd(&self) -> Vec<String> {
        let mut all = flags(&[
            (
                "data-dir",
                path(self.site.machine_directory(NAME).join("etcd")),
            ),
            ("log-level", "warn".into()),
            ("listen-client-urls", ETCD_URL.into()),
            ("advertise-client-urls", ETCD_URL.into()),
        ]);
        // Nothing has to survive the machine.
        all.push("--unsafe-no-fsync".into());
        all
    }

    /// The flags of the API server, and the key that signs service accounts' tokens.
    fn api_server(&self) -> Result<(Vec<String>, String)> {
        let address = self.site.network.control_plane();
        let names = api_server_names(&[
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(API_SERVICE),
            IpAddr::V4(address),
        ]);
        let server = self.authority.issue(
            "kube-apiserver",
            &Subject {
                name: "kube-apiserver",
                group: None,
                served: &names,
            },
        )?;
        let to_kubelet = self.authority.issue(
            "kube-apiserver-to-kubelet",
            &Subject {
                name: "kube-apiserver-to-kubelet",
                group: Some("system:masters"),
                served: &[],
            },
        )?;
        let (signing, verifying) = self.authority.service_account_pair()?;
        let authority = path(self.authority.certificate());
        let mut all = flags(&[
            ("etcd-servers", ETCD_URL.into()),
            ("bind-address", address.to_string()),
            ("advertise-address", address.to_string()),
            ("secure-port", API_PORT.to_string()),
            ("tls-cert-file", path(server.certificate)),
            ("tls-private-key-file", path(server.key)),
            ("client-ca-file", authority.clone()),
            ("service-cluster-ip-range", SERVICE_RANGE.into()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".into(),
            ),
            ("service-account-key-file", path(verifying)),
            ("service-account-signing-key-file", path(&signing)),
            ("authorization-mode", "Node,RBAC".into()),
            ("enable-admission-plugins", "NodeRestriction".into()),
            ("allow-privileged", "true".into()),
            ("anonymous-auth", "false".into()),
            ("enable-aggregator-routing", "true".into()),
            ("kubelet-client-certificate", path(to_kubelet.certificate)),
            ("kubelet-client-key", path(to_kubelet.key)),
            ("kubelet-certificate-authority", authority),
            ("kubelet-preferred-address-types", "InternalIP".into()),
        ]);
        if self.options.audit {
            let policy = self.site.machine_directory(NAME).join("audit-policy.json");
            write_json(&policy, &audit_policy())?;
            all.extend(flags(&[
                ("audit-policy-file", path(policy)),
                ("audit-log-path", path(self.site.audit_log())),
                // One file however long the run is: no rotation at 100 MB.
                ("audit-log-maxsize", "0".into()),
            ]));
        }
        all.extend(self.options.api_server_flags.iter().cloned());
        Ok((all, path(signing)))
    }

    /// The kubeconfig of a component, with a certificate for the user of its name.
    fn client(&self, component: &str) -> Result<String> {
        let name = format!("system:{component}");
        let identity = self.authority.issue(
            component,
            &Subject {
                name: &name,
                group: None,
                served: &[],
            },
        )?;
        let file = self
            .site
            .machine_directory(NAME)
            .join(format!("{component}.kubeconfig"));
        let server = self.site.network.control_plane();
        write_json(
            &file,
            &kubeconfig(server, &self.authority.certificate(), &identity),
        )?;
        Ok(path(file))
    }
}

/// Each control plane has a loopback of its own.
const ETCD_URL: &str = "http://127.0.0.1:2379";

/// Writes a configuration file.
pub(super) fn write_json(file: &std::path::Path, value: &Value) -> Result<()> {
    write_private(file, &serde_json::to_vec_pretty(value).at("write", file)?)
}

fn flags(pairs: &[(&str, String)]) -> Vec<String> {
    pairs
        .iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

fn path(path: impl AsRef<std::path::Path>) -> String {
    path.as_ref().display().to_string()
}

/// The administrator's kubeconfig, good on the host and wherever the files can be read.
pub(super) fn write_admin_kubeconfig(site: &Site, authority: &Authority) -> Result<()> {
    let admin = authority.issue(
        "admin",
        &Subject {
            name: "admin",
            group: Some("system:masters"),
            served: &[],
        },
    )?;
    let server = site.network.control_plane();
    write_json(
        &site.kubeconfig(),
        &kubeconfig(server, &authority.certificate(), &admin),
    )
}

impl ControlPlane {
    /// An error unless the machine runs.
    pub(super) fn check(&self) -> Result<()> {
        if self.machine.init().is_alive() {
            return Ok(());
        }
        Err(Error::NotUp {
            prefix: self.site.prefix.clone(),
        })
    }
}
