//! What a look writes down: the plugin's status, and how it stands in figures.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use scope_crds::{ScopeCounts, ScopePlugin, ScopePluginStatus};

use super::Context;
use crate::{
    guarded::RequestError,
    metrics::PluginFigures,
    names,
    status::{self, Progress},
    tell,
    watches::Guarded,
};

/// Counts how the plugin stands. `scope` is what is known of whom Scope asks.
pub(super) fn figures(
    plugin: &ScopePlugin,
    progress: Option<&Progress<'_>>,
    scope: Option<ScopeCounts>,
    context: &Context,
) {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let mut nodes = Vec::new();
    if let Some(progress) = progress {
        let standing = progress.standing;
        let up = standing.desired - standing.down.len();
        nodes.extend([
            ("desired", count(standing.desired)),
            ("updated", count(standing.updated)),
            ("ready", count(standing.ready)),
            ("unavailable", count(up.saturating_sub(standing.serving))),
            ("notready", count(standing.down.len())),
        ]);
    }
    if let Some(scope) = scope {
        nodes.extend([
            ("asked", i64::from(scope.nodes_asked)),
            ("silent", i64::from(scope.nodes_silent)),
        ]);
    }
    let figures = PluginFigures {
        phase: match progress {
            Some(progress) => progress.phase().as_str(),
            None if plugin.spec.suspended => "Suspended",
            None => "Blocked",
        },
        nodes,
    };
    let all = context.memory().stands(names::id(plugin), figures);
    context.metrics.plugins(&all);
}

/// Says that an object cannot be read, and leaves its children as they are.
pub(crate) async fn unreadable(
    object: &Guarded<ScopePlugin>,
    error: &str,
    context: &Context,
) -> Result<Option<Duration>, RequestError> {
    let figures = PluginFigures {
        phase: "Unreadable",
        nodes: Vec::new(),
    };
    let all = context.memory().stands(&object.name_any(), figures);
    context.metrics.plugins(&all);
    let uid = object.uid().unwrap_or_default();
    let status = status::unreadable(object.meta().generation, error, Timestamp::now());
    {
        // Its own conditions cannot be read either: what was written before is all there is.
        let memory = context.memory();
        let before = memory.written(&uid);
        if before.is_some_and(|before| same_but_for_times(before, &status)) {
            return Ok(None);
        }
    }
    let name = object.name_any();
    context.writer.status(&name, &status).await?;
    tell::transitions(object, None, &status, &context.events).await;
    context.memory().wrote(&uid, status, Instant::now());
    Ok(None)
}

/// Writes the status that `assess` makes of the newest one, if it differs, and tells of transitions.
pub(super) async fn write_status(
    plugin: &ScopePlugin,
    uid: &str,
    context: &Context,
    assess: impl FnOnce(Option<&ScopePluginStatus>) -> ScopePluginStatus,
) -> Result<(), RequestError> {
    let previous = context
        .memory()
        .newest_status(uid, plugin.status.as_ref(), Instant::now())
        .cloned();
    let status = assess(previous.as_ref());
    if previous.as_ref() == Some(&status) {
        return Ok(());
    }
    context.writer.status(names::id(plugin), &status).await?;
    context.memory().wrote(uid, status.clone(), Instant::now());
    tell::transitions(plugin, previous.as_ref(), &status, &context.events).await;
    Ok(())
}

fn same_but_for_times(one: &ScopePluginStatus, other: &ScopePluginStatus) -> bool {
    one.observed_generation == other.observed_generation
        && one.conditions.len() == other.conditions.len()
        && one
            .conditions
            .iter()
            .zip(&other.conditions)
            .all(|(one, other)| {
                one.type_ == other.type_
                    && one.status == other.status
                    && one.message == other.message
            })
}
