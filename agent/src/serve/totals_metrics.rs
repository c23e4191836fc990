//! Metrics of the exchange of totals.

use tokio::time::Instant;

use super::metrics::{Exposition, Kind};
use crate::totals::TotalsBoard;

/// How the exchange goes, and what came of it.
pub(super) fn expose_totals(board: &TotalsBoard, page: &mut Exposition) {
    let (standing, now) = (board.standing(), Instant::now());
    page.family(
        "scope_agent_totals_exchanges",
        Kind::Counter,
        "Reports for scope-totals, by what became of them: taken, old, unstamped and late were answered, \
         refused_* were refused, all others got no answer.",
    );
    for (outcome, n) in &standing.outcomes {
        page.sample(&[("outcome", outcome)], n);
    }
    page.family(
        "scope_agent_totals_connected",
        Kind::Gauge,
        "1 while there is a connection to scope-totals.",
    );
    page.sample(&[], u8::from(standing.connected));
    page.family(
        "scope_agent_totals_unpublished",
        Kind::Gauge,
        "1 while scope-totals has not published how to reach it.",
    );
    page.sample(&[], u8::from(standing.unpublished));
    page.family(
        "scope_agent_totals_reply_age_seconds",
        Kind::Gauge,
        "Since the last reply of scope-totals; absent before the first.",
    );
    if let Some(replied) = standing.replied {
        let age = now.saturating_duration_since(replied);
        page.sample(&[], age.as_secs_f64());
    }
    page.family(
        "scope_agent_totals_interval_seconds",
        Kind::Gauge,
        "How often scope-totals asks for a report; absent before the first reply.",
    );
    if let Some(interval) = standing.interval {
        page.sample(&[], interval.as_secs_f64());
    }
    page.family(
        "scope_agent_totals_held",
        Kind::Gauge,
        "Controllers, Services and images whose totals are shown at present.",
    );
    page.sample(&[], board.shown(now));
    page.family(
        "scope_agent_totals_left_out",
        Kind::Gauge,
        "Controllers and images with pods here that the last report had no room for.",
    );
    page.sample(&[], standing.left_out);
    page.family(
        "scope_agent_totals_podless",
        Kind::Gauge,
        "Controllers without pods on any node that this agent is to draw.",
    );
    page.sample(&[], board.drawn(now));
    page.family(
        "scope_agent_totals_services",
        Kind::Gauge,
        "Services with pods here that scope-totals has told of.",
    );
    page.sample(&[], board.known_services(now));
}
