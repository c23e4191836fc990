//! The addresses of a cluster and the links that carry them.
//!
//! ```text
//! control plane's netns: bridge br0 10.X.0.1/24
//!    ├─ v1 ── eth0 10.X.0.101 of node1, whose pods have 10.X.1.0/24
//!    └─ v2 ── eth0 10.X.0.102 of node2, whose pods have 10.X.2.0/24
//! host: PREFIX-MARK 10.X.255.2/30 ── host 10.X.255.1, and one route to 10.X.0.0/16
//! ```
//! Nothing leaves the machine: the control plane has no default route and the host forwards
//! nothing. A node has one, because the addresses of Services need some route before kube-proxy
//! rewrites them.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use crate::command::run_with_input;
use crate::error::{Error, Result};

/// Nodes have the addresses 10.X.0.101 to 10.X.0.199.
pub(crate) const MOST_NODES: usize = 99;

/// The addresses of Services; the same in each cluster, since each has namespaces of its own.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The address of the Service `kubernetes`.
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The second octet of [`SERVICE_RANGE`], which no cluster may have.
const SERVICE_OCTET: u8 = 96;
/// Where the search for a free network starts.
const FIRST_OCTET: u8 = 77;

/// `ip` does its work in milliseconds.
const IP_LIMIT: Duration = Duration::from_secs(20);

/// The network 10.X.0.0/16 of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    /// X.
    pub(crate) octet: u8,
}

impl Network {
    /// The first network that neither another cluster nor this machine's routes use.
    pub(crate) fn free(used: &[u8], routes: &str) -> Result<Network> {
        let routed = routed_networks(routes);
        (FIRST_OCTET..=250)
            .find(|&octet| {
                let first = u32::from(Ipv4Addr::new(10, octet, 0, 0));
                octet != SERVICE_OCTET
                    && !used.contains(&octet)
                    && !routed.iter().any(|&(network, mask)| {
                        first & mask & WIDE == network & WIDE & mask
                    })
            })
            .map(|octet| Network { octet })
            .ok_or_else(|| {
                Error::Unable(
                    "no network 10.X.0.0/16 is free on this machine: take down clusters, or remove routes to 10.0.0.0/8"
                        .into(),
                )
            })
    }

    fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, third, fourth)
    }

    /// The API server's address.
    pub(crate) fn control_plane(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// The address of node N (from 1).
    pub(crate) fn node(self, number: usize) -> Ipv4Addr {
        debug_assert!((1..=MOST_NODES).contains(&number));
        self.address(0, 100 + number as u8)
    }

    /// The addresses of the pods of node N.
    pub(crate) fn pods(self, number: usize) -> String {
        format!("{}/24", self.address(number as u8, 0))
    }

    /// All addresses of the cluster but those of Services.
    pub(crate) fn all(self) -> String {
        format!("{}/16", self.address(0, 0))
    }

    /// The value of `NO_PROXY` with which clients on the host reach the cluster themselves and all
    /// else as `before`. The API server's own address is for clients that know no networks there.
    /// What is in the list already is not repeated, nor is anything put beside `*`, which only
    /// stands for everything when it stands alone.
    pub(crate) fn without_proxy(self, before: &str) -> String {
        let before = before.trim_matches([',', ' ']);
        if before == "*" {
            return before.to_owned();
        }
        let known: Vec<&str> = before.split(',').map(str::trim).collect();
        let mut list = before.to_owned();
        for address in [self.control_plane().to_string(), self.all()] {
            if known.contains(&address.as_str()) {
                continue;
            }
            if !list.is_empty() {
                list.push(',');
            }
            list += &address;
        }
        list
    }

    fn host(self) -> Ipv4Addr {
        self.address(255, 2)
    }

    fn gateway_of_host(self) -> Ipv4Addr {
        self.address(255, 1)
    }

    /// What `ip -batch` does in the control plane's network namespace.
    pub(crate) fn inside_control_plane(self) -> String {
        format!(
            "link set lo up\n\
             link add br0 address {} type bridge\n\
             address add {}/24 dev br0\n\
             link set br0 up\n",
            hardware_address(self.control_plane()),
            self.control_plane()
        )
    }

    /// What it does on the host, once the control plane's namespace is there.
    pub(crate) fn on_host(self, link: &str, control_plane: i32) -> String {
        format!(
            "link add {link} type veth peer name host netns {control_plane}\n\
             address add {}/30 dev {link}\n\
             link set {link} up\n",
            self.host()
        )
    }

    /// What it does in the control plane's namespace after that.
    pub(crate) fn towards_host(self) -> String {
        format!(
            "address add {}/30 dev host\nlink set host up\n",
            self.gateway_of_host()
        )
    }

    /// The host's way to the cluster; it exists as long as both ends of the link are up.
    pub(crate) fn route_on_host(self) -> String {
        format!("route add {} via {}\n", self.all(), self.gateway_of_host())
    }

    /// What it does in the control plane's namespace for node N, whose pid 1 the host calls `pid`.
    pub(crate) fn towards_node(self, number: usize, pid: i32) -> String {
        let link = node_link(number);
        format!(
            "link add {link} type veth peer name eth0 address {} netns {pid}\n\
             link set {link} master br0\n\
             link set {link} up\n\
             route replace {} via {}\n",
            hardware_address(self.node(number)),
            self.pods(number),
            self.node(number)
        )
    }

    /// What it does in the node's namespace after that.
    pub(crate) fn inside_node(self, number: usize) -> String {
        format!(
            "link set lo up\n\
             address add {}/24 dev eth0\n\
             link set eth0 up\n\
             route add default via {}\n",
            self.node(number),
            self.control_plane()
        )
    }
}

/// The link's name on the host; its other end is in the control plane's namespace. `mark` tells
/// the clusters of several caches apart.
pub(crate) fn host_link(prefix: &str, mark: &str) -> String {
    format!("{prefix}-{mark}")
}

/// The link to node N in the control plane's namespace.
pub(crate) fn node_link(number: usize) -> String {
    format!("v{number}")
}

/// The hardware address of the interface that has an address. Fixed, because the others remember
/// it for half a minute: a node that was started again must not get a new one, and a bridge takes
/// that of one of its ports unless it has its own.
fn hardware_address(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    // 02: locally administered.
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Runs `ip -batch` in the network namespace of a process, or in this one.
///
/// With `nsenter`, never `ip netns exec`: that mounts a new /sys, which hides the cgroups.
pub(crate) fn ip(namespace_of: Option<i32>, batch: &str) -> Result<()> {
    let mut command = match namespace_of {
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip");
            command
        }
        None => Command::new("ip"),
    };
    command.args(["-batch", "-"]);
    run_with_input(&mut command, batch, IP_LIMIT).map(drop)
}

const WIDE: u32 = 0xffff_0000;

/// Networks and masks of /proc/net/route, without default routes. The numbers there are
/// hexadecimal in the machine's byte order.
fn routed_networks(table: &str) -> Vec<(u32, u32)> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let network = number(fields.next()?)?;
            let mask = number(fields.nth(5)?)?;
            (mask != 0).then_some((network, mask))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn route(destination: [u8; 4], mask: [u8; 4]) -> String {
        format!(
            "eth0\t{:08X}\t00000000\t0001\t0\t0\t0\t{:08X}\t0\t0\t0\n",
            u32::from_ne_bytes(destination),
            u32::from_ne_bytes(mask)
        )
    }

    #[test]
    fn the_first_free_network() {
        let default = format!("{HEAD}{}", route([0, 0, 0, 0], [0, 0, 0, 0]));
        assert_eq!(Network::free(&[], &default).unwrap().octet, 77);
        assert_eq!(Network::free(&[77, 78], &default).unwrap().octet, 79);
    }

    #[test]
    fn networks_that_this_machine_routes_are_not_taken() {
        let narrow = format!("{HEAD}{}", route([10, 77, 3, 0], [255, 255, 255, 0]));
        assert_eq!(Network::free(&[], &narrow).unwrap().octet, 78);
        let wide = format!("{HEAD}{}", route([10, 76, 0, 0], [255, 252, 0, 0]));
        assert_eq!(Network::free(&[], &wide).unwrap().octet, 80);
        let all = format!("{HEAD}{}", route([10, 0, 0, 0], [255, 0, 0, 0]));
        assert!(Network::free(&[], &all).is_err());
        let other = format!("{HEAD}{}", route([192, 0, 2, 0], [255, 255, 255, 0]));
        assert_eq!(Network::free(&[], &other).unwrap().octet, 77);
    }

    #[test]
    fn services_keep_their_network() {
        let used: Vec<u8> = (77..96).collect();
        assert_eq!(Network::free(&used, HEAD).unwrap().octet, 97);
    }

    #[test]
    fn addresses() {
        let network = Network { octet: 77 };
        assert_eq!(network.control_plane().to_string(), "10.77.0.1");
        assert_eq!(network.node(2).to_string(), "10.77.0.102");
        assert_eq!(network.pods(2), "10.77.2.0/24");
        assert_eq!(network.all(), "10.77.0.0/16");
        assert_eq!(hardware_address(network.node(2)), "02:00:0a:4d:00:66");
    }

    #[test]
    fn only_the_cluster_is_asked_without_a_proxy() {
        let network = Network { octet: 77 };
        for (before, after) in [
            ("", "10.77.0.1,10.77.0.0/16"),
            (" , ", "10.77.0.1,10.77.0.0/16"),
            ("*", "*"),
            (
                "localhost,.example.org",
                "localhost,.example.org,10.77.0.1,10.77.0.0/16",
            ),
            ("localhost,", "localhost,10.77.0.1,10.77.0.0/16"),
            ("10.77.0.0/16, a", "10.77.0.0/16, a,10.77.0.1"),
            ("10.77.0.1,10.77.0.0/16", "10.77.0.1,10.77.0.0/16"),
            ("10.78.0.1", "10.78.0.1,10.77.0.1,10.77.0.0/16"),
        ] {
            assert_eq!(network.without_proxy(before), after, "{before:?}");
        }
    }

    #[test]
    fn link_names_fit() {
        // The kernel takes 15 bytes.
        assert_eq!(host_link("abcdefgh", "123456").len(), 15);
        assert!(node_link(MOST_NODES).len() <= 15);
    }
}
