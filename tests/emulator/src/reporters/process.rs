//! The reporters of processes and of the connections between them.

use super::{add, measure, templates, with_values};
use crate::kind::Kind;
use crate::report::{Node, Report};
use crate::stamp::Stamp;
use crate::truth::Host;

/// Every process, of whatever container. What container that is, this reporter does not know.
pub(crate) fn processes(report: &mut Report, name: &str, host: &Host, now: Stamp) {
    let processes = report.topology_mut(Kind::Process);
    templates::process(processes);
    for process in &host.processes {
        let (pid, threads) = (process.pid.to_string(), process.threads.to_string());
        let node = Node::new(&format!("{name};{pid}"));
        let mut node = with_values(node, now, &[("pid", &pid), ("threads", &threads)]);
        if !process.name.is_empty() {
            node.set_latest("name", now, &process.name);
        }
        if !process.cmdline.is_empty() {
            node.set_latest("cmdline", now, &process.cmdline);
        }
        if process.ppid > 0 {
            node.set_latest("ppid", now, &process.ppid.to_string());
        }
        measure(
            &mut node,
            now,
            "process_cpu_usage_percent",
            process.cpu_percent,
            100.0,
        );
        measure(
            &mut node,
            now,
            "process_memory_usage_bytes",
            process.memory,
            0.0,
        );
        let files = f64::from(process.open_files);
        measure(&mut node, now, "open_files_count", files, 1024.0);
        add(processes, node);
    }
}

/// The ends of connections. Only those of this host's processes know their host.
pub(crate) fn endpoints(report: &mut Report, name: &str, host: &Host, now: Stamp) {
    let endpoints = report.topology_mut(Kind::Endpoint);
    for endpoint in &host.endpoints {
        let mut node = Node::new(&endpoint.id);
        if let Some(pid) = endpoint.pid {
            node.set_latest("pid", now, &pid.to_string());
            node.set_latest("host_node_id", now, &format!("{name};<host>"));
        }
        node.adjacency.clone_from(&endpoint.to);
        node.adjacency.sort();
        add(endpoints, node);
    }
}
