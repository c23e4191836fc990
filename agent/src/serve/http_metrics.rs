//! Metrics of the counting of HTTP.

use super::metrics::{Exposition, Kind};
use crate::http_rates::Standing;

/// How it is counted, what that costs, and what is missing in figures.
pub(super) fn expose_http(standing: &Standing, page: &mut Exposition) {
    page.family(
        "scope_agent_http_statistics_mode",
        Kind::Info,
        "How HTTP is counted: fexit, sys_exit, or off.",
    );
    page.sample(&[("mode", standing.mode)], 1);
    page.family(
        "scope_agent_http_statistics_reads",
        Kind::Counter,
        "Readings of what the kernel counted of HTTP, by outcome.",
    );
    let read = standing.reads - standing.failures;
    for (outcome, n) in [("read", read), ("failed", standing.failures)] {
        page.sample(&[("outcome", outcome)], n);
    }
    page.family(
        "scope_agent_http_statistics_read_seconds",
        Kind::Counter,
        "Time that these readings took, with what is made of them.",
    );
    page.sample(&[], standing.busy.as_secs_f64());
    page.family(
        "scope_agent_http_statistics_missing",
        Kind::Counter,
        "Requests and responses that figures lack: lost found no room in the kernel, unplaced are of \
         processes that ended and of which nothing is known, folded are responses that count as OTHERS \
         since there is no room for their code.",
    );
    for (why, n) in [
        ("lost", standing.stats.lost),
        ("unplaced", standing.unplaced),
        ("folded", standing.folded),
    ] {
        page.sample(&[("why", why)], n);
    }
    page.family(
        "scope_agent_http_statistics_looks",
        Kind::Counter,
        "Reads and writes that the kernel's programs looked at, and those of them that they could not \
         judge: unreadable bytes, a status line in pieces; suppressed looked like a request inside of \
         another one's body, and missed are runs that the kernel left out.",
    );
    let stats = standing.stats;
    for (outcome, n) in [
        ("looked_at", stats.looked_at),
        ("unreadable", stats.skipped),
        ("short", stats.short),
        ("suppressed", stats.suppressed),
    ] {
        page.sample(&[("outcome", outcome)], n);
    }
    if let Some(missed) = stats.missed {
        page.sample(&[("outcome", "missed")], missed);
    }
    page.family(
        "scope_agent_http_statistics_processes_left_out",
        Kind::Gauge,
        "Processes that serve and are not told of by themselves, since too many do.",
    );
    page.sample(&[], standing.left_out);
}
