//! The ScopePlugins that an uninstall leaves behind. What the operator wrote last, "2 of 2 nodes ready", is
//! untrue once the agents are gone, and nobody is there to correct it later. It is the one step that may
//! fail: an uninstall does not hang on what a status says.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use scope_crds::ScopePlugin;
use tokio::time::{Instant, timeout_at};

use super::{LIST, insist, progress};
use crate::{apply, status, watches::Guarded};

/// All of it may take this long, beyond the time for the agents: the Job has a minute more than that.
const WITHIN: Duration = Duration::from_secs(20);
/// One that cannot be told may take this long from the others.
const EACH: Duration = Duration::from_secs(5);

/// Writes to each ScopePlugin that no operator looks after it. What cannot be told is said and left.
pub(super) async fn tell(client: &Client) {
    let deadline = Instant::now() + WITHIN;
    let plugins: Api<Guarded<ScopePlugin>> = Api::all(client.clone());
    let params = ListParams::default().limit(LIST);
    let listed = insist(
        || "listing the ScopePlugins".into(),
        async || plugins.list(&params).await,
    );
    let left = match timeout_at(deadline, listed).await {
        Ok(Ok(list)) => list.map(|list| list.items).unwrap_or_default(),
        Ok(Err(error)) => return progress(&format!("5/5 ScopePlugins keep their status: {error}")),
        Err(_) => {
            return progress("5/5 ScopePlugins keep their status: they were not listed in time");
        }
    };
    let mut told = 0;
    for plugin in &left {
        match tell_one(client, plugin, deadline).await {
            Ok(()) => told += 1,
            Err(why) => progress(&format!(
                "the ScopePlugin {} keeps its status: {why}",
                plugin.name_any()
            )),
        }
    }
    progress(&format!(
        "5/5 {told} of {} ScopePlugins that stay say that the operator is gone",
        left.len()
    ));
}

/// One that vanished meanwhile needs no words, and one that this version cannot read gets the same.
async fn tell_one(
    client: &Client,
    plugin: &Guarded<ScopePlugin>,
    deadline: Instant,
) -> Result<(), String> {
    let name = plugin.name_any();
    let known = plugin.0.as_ref().ok();
    let status = status::operator_uninstalled(
        known.and_then(|plugin| plugin.status.as_ref()),
        plugin.meta().generation,
        Timestamp::now(),
    );
    let written = insist(
        || format!("writing the status of the ScopePlugin {name}"),
        async || apply::apply_status(client, &name, &status).await,
    );
    match timeout_at(deadline.min(Instant::now() + EACH), written).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it was not written in time".into()),
    }
}

#[cfg(test)]
mod tests;
