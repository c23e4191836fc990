//! The templates that are kept of a plugin, for rollbacks and to see what ran.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::api::apps::v1::ControllerRevision;
use scope_crds::ScopePlugin;

use super::written;
use crate::{
    desired::Revision, guarded::RequestError, look::Context, names, ownership, rollout::Decision,
};

/// How many are kept of each plugin.
const KEPT: usize = 10;

/// The templates of one plugin: what it asks for, and what is kept.
pub(super) struct Templates {
    pub(super) wanted: Revision,
    /// Oldest first.
    kept: Vec<Arc<ControllerRevision>>,
    /// Those that the cache had not got.
    found: Vec<Revision>,
}

impl Templates {
    pub(super) fn of(plugin: &ScopePlugin, context: &Context) -> Self {
        let uid = plugin.metadata.uid.as_deref().unwrap_or_default();
        let mut kept = context
            .revisions
            .state_filter(|kept| ownership::is_child(&kept.metadata, uid));
        kept.sort_by_key(|kept| kept.revision);
        Self {
            wanted: Revision::wanted(plugin, &context.settings),
            kept,
            found: Vec::new(),
        }
    }

    fn known(&self, id: &str) -> Option<Revision> {
        let mut known = std::iter::once(&self.wanted).chain(&self.found);
        if let Some(known) = known.find(|known| known.id == id) {
            return Some(known.clone());
        }
        // To read one is to hash it, so only those that say to be it are read.
        let mut named = self.kept.iter().filter(|kept| names_it(kept, id));
        named.find_map(|kept| Revision::read(kept))
    }

    /// The template of this name, or nothing if it is gone. What the cache has not got, the API server is asked
    /// for: what cannot be made again is no place to go back to, and that is never forgiven.
    pub(super) async fn find(
        &mut self,
        id: &str,
        plugin: &ScopePlugin,
        context: &Context,
    ) -> Result<Option<Revision>, RequestError> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        let name = Revision::name(plugin, id);
        let kept = written::by_name::<ControllerRevision>(&name, "the template", context).await?;
        let uid = plugin.metadata.uid.as_deref().unwrap_or_default();
        let found = kept
            .filter(|kept| ownership::is_child(&kept.metadata, uid))
            .and_then(|kept| Revision::read(&kept))
            .filter(|revision| revision.id == id);
        self.found.extend(found.clone());
        Ok(found)
    }

    /// Keeps the one that is wanted, unless it is kept.
    pub(super) async fn keep(
        &self,
        plugin: &ScopePlugin,
        context: &Context,
    ) -> Result<(), RequestError> {
        let wanted = &self.wanted;
        let mut named = self.kept.iter().filter(|kept| names_it(kept, &wanted.id));
        if named.any(|kept| Revision::read(kept).as_ref() == Some(wanted)) {
            return Ok(());
        }
        let newest = self.kept.last();
        let number = newest.map_or(1, |newest| newest.revision.saturating_add(1));
        let object = self.wanted.kept(plugin, &context.settings, number);
        context.writer.keep(object).await.map(|_| ())
    }

    /// Forgets the oldest beyond those that are kept or needed.
    pub(super) async fn prune(
        &self,
        decision: &Decision,
        context: &Context,
    ) -> Result<(), RequestError> {
        let run = decision.record.run.as_ref();
        let needed: HashSet<&str> = decision
            .record
            .good
            .iter()
            .chain(run.map(|run| &run.target))
            .chain([&decision.carry])
            .map(String::as_str)
            .collect();
        let excess = self.kept.len().saturating_sub(KEPT);
        for old in &self.kept[..excess] {
            if !needed.iter().any(|id| names_it(old, id)) {
                context.writer.forget(old).await?;
            }
        }
        Ok(())
    }
}

/// Whether the object says that it keeps the template of this name.
fn names_it(kept: &ControllerRevision, id: &str) -> bool {
    let labels = kept.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(names::LABEL_REVISION))
        .map(String::as_str)
        == Some(id)
}
