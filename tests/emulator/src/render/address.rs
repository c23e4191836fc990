//! Which addresses are ours, and which are the internet.

use std::net::{IpAddr, Ipv4Addr};

use crate::kind::Kind;
use crate::report::{DnsRecord, Report};

pub(crate) const INCOMING_INTERNET: &str = "in-theinternet";
pub(crate) const OUTGOING_INTERNET: &str = "out-theinternet";
/// How the ids of well-known services begin.
pub(crate) const SERVICE_PREFIX: &str = "service-";

/// Domains of clouds whose names are shown instead of the internet.
const KNOWN_SERVICES: [&str; 10] = [
    "amazonaws.com",
    "googleapis.com",
    "weave.works",
    "core.windows.net",
    "servicebus.windows.net",
    "azure-api.net",
    "onmicrosoft.com",
    "cloudapp.azure.com",
    "database.windows.net",
    "documents.azure.com",
];

/// Scope, address and port of an endpoint's id.
pub(crate) fn endpoint_parts(id: &str) -> Option<(&str, &str, &str)> {
    let (scope, rest) = id.split_once(';')?;
    let (address, port) = rest.split_once(';')?;
    Some((scope, address, port))
}

/// Networks that belong to the hosts of a report.
#[derive(Debug, Default)]
pub(crate) struct Networks(Vec<(IpAddr, u32)>);

impl Networks {
    fn add(&mut self, text: &str) {
        let parsed = text
            .split_once('/')
            .and_then(|(ip, bits)| Some((ip.parse().ok()?, bits.parse().ok()?)));
        self.0.extend(parsed);
    }

    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|(network, bits)| match (network, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let differ = u32::from(*network) ^ u32::from(ip);
                differ.leading_zeros() >= *bits
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let differ = u128::from(*network) ^ u128::from(ip);
                differ.leading_zeros() >= *bits
            }
            _ => false,
        })
    }
}

/// The networks of all hosts, and the smallest one that holds the addresses of all services.
pub(crate) fn local_networks(report: &Report) -> Networks {
    let mut networks = Networks::default();
    for kind in [Kind::Host, Kind::Overlay] {
        for node in report.topology(kind).nodes.values() {
            for network in node.sets.get("local_networks").into_iter().flatten() {
                networks.add(network);
            }
        }
    }
    let services = report.topology(Kind::Service).nodes.values();
    let addresses = services.filter_map(|node| node.latest("kubernetes_ip")?.parse().ok());
    let all = addresses
        .map(|address: Ipv4Addr| (u32::from(address), 32))
        .reduce(|(network, bits), (address, _)| {
            let bits = bits.min((network ^ address).leading_zeros());
            (network, bits)
        });
    if let Some((network, bits)) = all {
        networks.0.push((Ipv4Addr::from(network).into(), bits));
    }
    networks
}

/// The id of the node that stands for an address outside.
pub(crate) fn outside(
    id: &str,
    begins_connections: bool,
    local: &Networks,
    names: Option<&DnsRecord>,
) -> Option<String> {
    let (_, address, _) = endpoint_parts(id)?;
    let all = names
        .into_iter()
        .flat_map(|record| record.forward.iter().chain(&record.reverse));
    if let Some(name) = all.into_iter().find(|name| is_known_service(name)) {
        return Some(format!("{SERVICE_PREFIX}{name}"));
    }
    let ip: IpAddr = address.parse().ok()?;
    if local.contains(ip) {
        return None;
    }
    let end = match begins_connections {
        true => INCOMING_INTERNET,
        false => OUTGOING_INTERNET,
    };
    Some(end.to_owned())
}

fn is_known_service(name: &str) -> bool {
    let inside = |domain: &str| {
        name.strip_suffix(domain)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|rest| !rest.is_empty())
    };
    let machine = name.starts_with("ec2") && name.ends_with(".amazonaws.com");
    !machine && KNOWN_SERVICES.iter().any(|domain| inside(domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Node;
    use crate::stamp::Stamp;

    #[test]
    fn tells_ours_from_the_internet() {
        let mut report = Report::empty();
        let mut host = Node::new("h");
        let networks = vec!["10.0.0.0/16".to_owned(), "fd00::/8".to_owned()];
        host.sets.insert("local_networks".to_owned(), networks);
        let hosts = report.topology_mut(Kind::Host);
        hosts.nodes.insert("h".to_owned(), host);
        for (id, ip) in [("a", "10.96.0.1"), ("b", "10.96.124.93"), ("c", "None")] {
            let node = Node::new(id).with_latest("kubernetes_ip", Stamp::ZERO, ip);
            let services = report.topology_mut(Kind::Service);
            services.nodes.insert(id.to_owned(), node);
        }
        let local = local_networks(&report);
        for (address, begins, place) in [
            ("10.0.255.255", false, None),
            ("10.1.0.0", false, Some(OUTGOING_INTERNET)),
            ("10.96.127.255", false, None),
            ("10.96.128.0", true, Some(INCOMING_INTERNET)),
            ("fd12::1", true, None),
            ("fe80::1", false, Some(OUTGOING_INTERNET)),
            ("name", false, None),
        ] {
            let id = format!(";{address};80");
            let found = outside(&id, begins, &local, None);
            assert_eq!(found.as_deref(), place, "{address}");
        }
        let named = |name: &str| {
            let record = DnsRecord {
                reverse: vec![name.to_owned()],
                ..DnsRecord::default()
            };
            outside(";1.2.3.4;80", false, &local, Some(&record)).unwrap()
        };
        assert_eq!(named("s3.amazonaws.com"), "service-s3.amazonaws.com");
        assert_eq!(named("amazonaws.com"), OUTGOING_INTERNET);
        assert_eq!(named("ec2-1.eu.amazonaws.com"), OUTGOING_INTERNET);
    }
}
