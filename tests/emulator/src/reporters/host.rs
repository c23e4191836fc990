//! The reporter of a machine.

use super::{add, describe, measure, offer, templates, with_values};
use crate::kind::Kind;
use crate::report::{Node, Report};
use crate::stamp::Stamp;
use crate::truth::Host;

/// The host with its figures, its one control, and the id of the probe.
pub(crate) fn host(report: &mut Report, name: &str, host: &Host, probe_id: &str, now: Stamp) {
    let hosts = report.topology_mut(Kind::Host);
    templates::host(hosts);
    describe(hosts, "host_exec", "Exec shell", "fa fa-terminal", 0);
    let values = [
        ("control_probe_id", probe_id),
        ("ts", &now.to_string()),
        ("host_name", name),
        ("os", "linux"),
        ("kernel_version", host.kernel.as_str()),
        ("uptime", "86400"),
        ("host_scope_version", "1.13.2"),
    ];
    let mut node = with_values(Node::new(&format!("{name};<host>")), now, &values);
    let mut networks = host.local_networks.clone();
    networks.sort();
    node.sets.insert("local_networks".to_owned(), networks);
    measure(
        &mut node,
        now,
        "host_cpu_usage_percent",
        host.cpu_percent,
        100.0,
    );
    measure(
        &mut node,
        now,
        "host_mem_usage_bytes",
        host.memory,
        host.memory_total,
    );
    measure(&mut node, now, "load1", host.load, 0.0);
    offer(&mut node, now, &["host_exec"]);
    add(hosts, node);
}
