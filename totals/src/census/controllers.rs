//! Controllers by name, and which of them have no pods.

use std::sync::Arc;

use kube::core::PartialObjectMeta;
use scope_process::words::Words;
use scope_totals_wire::{Controller, Kind, Object, Podless, Uid};
use sha2::{Digest, Sha256};

use super::Listed;

/// Where a controller or a Service is found. There are many, so namespaces are shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its own name.
    pub name: Box<str>,
}

/// The controllers, by UID, that a person can do something with when they have no pods. Jobs are not among them: Scope
/// draws each Job that there is by itself, and so it does with those that ended.
#[derive(Debug, Default)]
pub struct Controllers {
    /// Of apps/v1.
    pub deployments: Listed<Uid, Name>,
    /// Of apps/v1.
    pub stateful_sets: Listed<Uid, Name>,
    /// Of apps/v1.
    pub daemon_sets: Listed<Uid, Name>,
    /// Of batch/v1. Scope knows only those of an API that is gone.
    pub cron_jobs: Listed<Uid, Name>,
    /// The UID of each namespace.
    pub namespaces: Listed<Arc<str>, Uid>,
}

/// The controllers that have no pod on any node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WithoutPods {
    version: u64,
    objects: Box<[Controller]>,
    left_out: usize,
}

impl Controllers {
    /// Whether everything was listed once. Totals do not wait for it.
    pub fn is_filled(&self) -> bool {
        self.kinds().iter().all(|(_, listed)| listed.is_filled()) && self.namespaces.is_filled()
    }

    /// Changes whenever something else does.
    pub fn edition(&self) -> u64 {
        let kinds = self.kinds();
        let kinds = kinds.iter().map(|(_, listed)| listed.edition());
        kinds.sum::<u64>() + self.namespaces.edition()
    }

    fn kinds(&self) -> [(Kind, &Listed<Uid, Name>); 4] {
        [
            (Kind::Deployment, &self.deployments),
            (Kind::StatefulSet, &self.stateful_sets),
            (Kind::DaemonSet, &self.daemon_sets),
            (Kind::CronJob, &self.cron_jobs),
        ]
    }

    /// Those of which no pods are known, the first `most` of them by namespace and name. Nothing
    /// before everything was listed. One whose namespace is not known yet is passed over: the watches do not
    /// come in step.
    pub fn without_pods(
        &self,
        has_pods: impl Fn(&Object) -> bool,
        most: usize,
    ) -> Option<WithoutPods> {
        if !self.is_filled() {
            return None;
        }
        let mut found = Vec::new();
        for (kind, listed) in self.kinds() {
            for (&uid, name) in listed.iter() {
                let namespace = self.namespaces.get(&name.namespace);
                if let Some(namespace) = namespace
                    && !has_pods(&Object { kind, uid })
                {
                    found.push((&*name.namespace, &*name.name, kind, uid, *namespace));
                }
            }
        }
        found.sort_unstable();
        let left_out = found.len().saturating_sub(most);
        found.truncate(most);
        let controller =
            |(namespace, name, kind, uid, namespace_uid): (&str, &str, _, _, _)| Controller {
                kind,
                uid,
                name: name.into(),
                namespace: namespace.into(),
                namespace_uid,
            };
        let objects = found.into_iter().map(controller).collect();
        Some(WithoutPods::new(objects, left_out))
    }
}

impl WithoutPods {
    fn new(objects: Box<[Controller]>, left_out: usize) -> Self {
        Self {
            version: version(&objects),
            objects,
            left_out,
        }
    }

    /// What an agent hears that has a list of the version `held`.
    pub fn told(&self, held: Option<u64>, valid_ms: u64) -> Podless {
        let is_held = held == Some(self.version);
        Podless {
            version: self.version,
            valid_ms,
            objects: (!is_held).then(|| self.objects.to_vec()),
            left_out: u32::try_from(self.left_out).unwrap_or(u32::MAX),
        }
    }

    /// The list.
    pub fn objects(&self) -> &[Controller] {
        &self.objects
    }

    /// How many more there are.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The version.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Made of the content, so that a list has one version whichever replica made it, and after a hand-over is not
/// sent again for nothing.
fn version(objects: &[Controller]) -> u64 {
    let mut digest = Sha256::new();
    for object in objects {
        let (kind, uid) = (object.kind as u8, object.uid.as_bytes());
        digest.update([kind]);
        digest.update(uid);
        digest.update(object.namespace_uid.as_bytes());
        // Names have no byte 0 in them.
        for name in [&object.namespace, &object.name] {
            digest.update(name);
            digest.update([0]);
        }
    }
    let digest: [u8; 32] = digest.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Reads the names of a kind's objects; each namespace is kept once.
pub(super) fn names<K>() -> impl FnMut(&PartialObjectMeta<K>) -> Option<(Uid, Option<Name>)> {
    let mut namespaces = Words::default();
    move |object: &PartialObjectMeta<K>| {
        let metadata = &object.metadata;
        let uid = metadata.uid.as_deref()?.parse().ok()?;
        let name = Name {
            namespace: namespaces.shared(metadata.namespace.as_deref()?),
            name: metadata.name.as_deref()?.into(),
        };
        Some((uid, Some(name)))
    }
}

/// Reads the UIDs of namespaces.
pub(super) fn namespace<K>(object: &PartialObjectMeta<K>) -> Option<(Arc<str>, Option<Uid>)> {
    let metadata = &object.metadata;
    let uid = metadata.uid.as_deref()?.parse().ok()?;
    Some((metadata.name.as_deref()?.into(), Some(uid)))
}

#[cfg(test)]
mod tests;
