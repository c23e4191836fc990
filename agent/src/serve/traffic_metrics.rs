//! Metrics of traffic control.

use super::metrics::{Exposition, Kind};
use crate::traffic::{Board, Root};

/// What the kernel can do, and whose the root qdiscs of pods are.
pub(super) fn expose_traffic(board: &Board, page: &mut Exposition) {
    page.family(
        "scope_agent_traffic_available",
        Kind::Gauge,
        "1 when this kernel can set it on a pod's network: netem has delay, jitter and loss, tbf a rate.",
    );
    let features = board.features();
    for (feature, works) in [
        ("netem", features.netem.is_ok()),
        ("tbf", features.tbf.is_ok()),
    ] {
        page.sample(&[("qdisc", feature)], u8::from(works));
    }
    page.family(
        "scope_agent_traffic_pods",
        Kind::Gauge,
        "Networks of pods by whose root qdisc they had when they were last looked at.",
    );
    let seen = board.seen();
    let (mut default, mut ours, mut foreign) = (0u64, 0u64, 0u64);
    for root in seen.roots.values() {
        *match root {
            Root::Default => &mut default,
            Root::Ours(_) => &mut ours,
            Root::Foreign(_) => &mut foreign,
        } += 1;
    }
    for (whose, n) in [("default", default), ("ours", ours), ("foreign", foreign)] {
        page.sample(&[("root", whose)], n);
    }
    let (late, waiting) = board.networks().late();
    page.family(
        "scope_agent_traffic_late",
        Kind::Counter,
        "Questions to the kernel about pods' networks that it did not answer in time.",
    );
    page.sample(&[], late);
    page.family(
        "scope_agent_traffic_waiting",
        Kind::Gauge,
        "Threads that wait for such an answer still. At 8 the kernel is not asked any more.",
    );
    page.sample(&[], waiting);
}
