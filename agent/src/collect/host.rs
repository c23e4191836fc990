//! The node of this host: what Scope's probe does not tell of it.

use scope_protocol::{Node, Topology};

use super::composer::Composer;
use super::metric::{self, Meter, Scales};

/// Adds the host. Its CPU, memory and names are the probe's.
pub(super) fn add(composer: &mut Composer<'_>) {
    let usage = composer.usage;
    let mut node = Node::default();
    Meter {
        node: &mut node,
        at: usage.at,
        scales: Scales::default(),
    }
    .pressure(usage.host.pressure);
    let id = composer.host.clone();
    let hosts = composer.report.topology(Topology::Host);
    hosts.metric_templates = metric::host_templates();
    if node != Node::default() {
        hosts.nodes.insert(id, node);
    }
}
