//! Which pods belong to which Services: by EndpointSlices, as whatever sends traffic to a Service sees it.

use std::collections::{HashMap, HashSet};

use kube::core::PartialObjectMeta;
use scope_process::words::Words;
use scope_totals_wire::Uid;

use super::{Listed, Name, NamespaceMark, Namespaces, Pod, SeenSlice};

/// What an EndpointSlice says of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The Service that it names.
    pub service: Name,
    /// The namespace of both.
    pub namespace: NamespaceMark,
    /// The UID of the Service that owns it, if one does. A slice may outlive its Service for a while, and another
    /// one may have taken the name.
    pub owner: Option<Uid>,
    /// The pods that its endpoints are, ready or not. Nothing if that cannot be told of one of them.
    pub pods: Option<Box<[Uid]>>,
}

/// The Services and what belongs to them.
#[derive(Debug, Default)]
pub struct Services {
    /// The slices that name a Service, and pods, by UID.
    pub slices: Listed<Uid, Slice>,
    /// The UID of each Service.
    pub names: Listed<Name, Uid>,
}

/// A pod of a Service that is on the node of that number. There are hundreds of thousands, so Services go by number, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    pub(super) node: u32,
    pub(super) service: u32,
    pub(super) pod: Uid,
}

/// What slices say of the pods that count.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The Services, in any order. Their number is their place.
    pub(super) services: Vec<Uid>,
    /// In any order, and some twice.
    pub(super) members: Vec<Member>,
    /// Services of whose pods not all can be told.
    pub(super) left_out: HashSet<u32>,
}

impl Services {
    /// Whether both were listed once. Totals of controllers do not wait for it.
    pub fn is_filled(&self) -> bool {
        self.slices.is_filled() && self.names.is_filled()
    }

    /// Changes whenever something else does.
    pub fn edition(&self) -> u64 {
        self.slices.edition() + self.names.edition()
    }

    /// What the slices say of the `pods` that are `on` a node that there is, by its number. Nothing before all was
    /// listed.
    pub(super) fn members(
        &self,
        pods: &Listed<Uid, Pod>,
        on: impl Fn(&Pod) -> Option<u32>,
    ) -> Option<Found> {
        if !self.is_filled() {
            return None;
        }
        let named = self
            .slices
            .iter()
            .filter_map(|(_, slice)| slice.pods.as_ref());
        let mut found = Found {
            members: Vec::with_capacity(named.map(|pods| pods.len()).sum()),
            ..Found::default()
        };
        let mut numbers = HashMap::new();
        for (_, slice) in self.slices.iter() {
            let Some(&uid) = self.names.get(&slice.service) else {
                continue;
            };
            if slice.owner.is_some_and(|owner| owner != uid) {
                continue;
            }
            let service = *numbers.entry(uid).or_insert_with(|| {
                found.services.push(uid);
                // Fewer than 2^32: each takes more than one byte.
                found.services.len() as u32 - 1
            });
            let Some(named) = &slice.pods else {
                found.left_out.insert(service);
                continue;
            };
            // Whoever may write slices in one namespace could otherwise have pods of another added up.
            let ours = |pod: &&Pod| pod.namespace == slice.namespace;
            found.members.extend(named.iter().filter_map(|&pod| {
                let node = on(pods.get(&pod).filter(ours)?)?;
                Some(Member { node, service, pod })
            }));
        }
        Some(found)
    }
}

/// Reads the UIDs of Services; each namespace is kept once.
pub(super) fn service<K>() -> impl FnMut(&PartialObjectMeta<K>) -> Option<(Name, Option<Uid>)> {
    let mut namespaces = Words::default();
    move |object: &PartialObjectMeta<K>| {
        let metadata = &object.metadata;
        let name = Name {
            namespace: namespaces.shared(metadata.namespace.as_deref()?),
            name: metadata.name.as_deref()?.into(),
        };
        Some((
            name,
            metadata.uid.as_deref().and_then(|uid| uid.parse().ok()),
        ))
    }
}

/// Reads slices; those that name no Service or no pods are not kept.
pub(super) fn slice(marks: Namespaces) -> impl FnMut(&SeenSlice) -> Option<(Uid, Option<Slice>)> {
    let mut namespaces = Words::default();
    move |seen: &SeenSlice| {
        let slice = seen.names_pods().map(|named| Slice {
            namespace: marks.mark(named.namespace),
            service: Name {
                namespace: namespaces.shared(named.namespace),
                name: named.service.into(),
            },
            owner: named.owner,
            pods: named.pods.map(Into::into),
        });
        Some((seen.uid()?, slice))
    }
}

#[cfg(test)]
mod tests;
