//! An operator with nothing to do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use throwaway_cluster::AuditEvent;

use crate::operator::Operator;
use crate::verdict::total;
use crate::world::{USER, World};

/// How long the operator writes nothing before it counts as settled.
const QUIET: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// Waits until the operator leads, has looked at ScopePlugins, and has written nothing for a while.
pub(crate) async fn settle(operator: &Operator) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let metrics = operator.metrics()?;
        let leads = total(&metrics, "scope_operator_is_leader") == Some(1.0);
        let looks = total(&metrics, "scope_operator_reconciles_total");
        let writes = total(&metrics, "scope_operator_writes_total");
        if !leads || looks.is_none() || writes != last {
            (last, since) = (writes, Instant::now());
        } else if since.elapsed() > QUIET {
            return Ok(());
        }
        ensure!(
            began.elapsed() < LIMIT,
            "the operator is not quiet {LIMIT:?} after its start (leads: {leads}, looks: {looks:?}, writes: {writes:?})"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The operator's requests in some time, counted by what they were.
pub(crate) async fn requests_in(
    world: &World,
    time: Duration,
) -> anyhow::Result<BTreeMap<Asked, usize>> {
    let mark = tokio::task::block_in_place(|| world.cluster.audit_mark())?;
    tokio::time::sleep(time).await;
    let events = tokio::task::block_in_place(|| world.cluster.audit_since(mark))?;
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(|e| e.user == USER && e.counts()) {
        *counts.entry(Asked::of(event)).or_default() += 1;
    }
    Ok(counts)
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    /// Whether it counts as a write of an operator that has something to do.
    pub(crate) write: bool,
    pub(crate) verb: String,
    pub(crate) resource: String,
}

impl Asked {
    fn of(event: &AuditEvent) -> Asked {
        Asked {
            write: event.is_write_of(USER),
            verb: event.verb.clone(),
            resource: event.resource.clone(),
        }
    }
}
