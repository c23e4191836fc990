//! Which containers a sample is about.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{GroupSample, Mode};

/// Which containers to read, besides those that processes show.
pub(super) enum Wanted<'a> {
    /// Those of the inventory: the pod of each.
    These(HashMap<&'a str, &'a str>),
    /// Whatever is found; these have processes.
    All(HashSet<Arc<str>>),
}

impl<'a> Wanted<'a> {
    pub(super) fn new(mode: Mode<'a>, groups: &[GroupSample]) -> Self {
        match mode {
            Mode::Cluster(inventory) => Wanted::These(
                inventory
                    .pods
                    .values()
                    .flat_map(|pod| pod.containers.keys().map(|id| (&**id, &*pod.id)))
                    .collect(),
            ),
            Mode::Standalone => Wanted::All(
                groups
                    .iter()
                    .filter_map(|sample| sample.group.container.clone())
                    .collect(),
            ),
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &str> + Clone {
        let (these, all) = match self {
            Wanted::These(pods) => (Some(pods), None),
            Wanted::All(ids) => (None, Some(ids)),
        };
        let these = these.into_iter().flat_map(|pods| pods.keys().copied());
        these.chain(all.into_iter().flatten().map(|id| &**id))
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        match self {
            Wanted::These(pods) => pods.contains_key(id),
            Wanted::All(_) => true,
        }
    }
}
