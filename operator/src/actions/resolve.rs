//! From a UID to a pod. Scope knows pods by their UID alone, and no request selects by UID, so the
//! pods of the cluster are listed page by page until it comes by.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams, core::PartialObjectMeta};

use super::decide::is_target;
use crate::guarded::{self, RequestError};

/// Pods a page: what Kubernetes' own clients take.
const PAGE: u32 = 500;
/// 150,000 pods, the largest cluster that Kubernetes is made for, with room to spare.
const MAX_PAGES: usize = 400;
/// Longest wait for one page.
const PAGE_LIMIT: Duration = Duration::from_secs(5);
/// People click the same few pods again, if any.
const CACHED: usize = 128;

/// Where a pod is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodName {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Finds pods by UID.
pub(super) struct Resolver {
    client: Client,
    /// One list at a time, however many people click.
    turn: tokio::sync::Mutex<()>,
    hits: Mutex<Hits>,
}

impl Resolver {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            turn: tokio::sync::Mutex::default(),
            hits: Mutex::default(),
        }
    }

    /// Where the pod was when it was last seen.
    pub(super) fn remembered(&self, uid: &str) -> Option<PodName> {
        self.hits().get(uid)
    }

    /// The pod is not there any more.
    pub(super) fn forget(&self, uid: &str) {
        self.hits().remove(uid);
    }

    /// Lists pods until the one with this UID comes by; failing that, the mirror of the static pod with
    /// this hash. The caller limits the time.
    pub(super) async fn find(&self, uid: &str) -> Result<Option<PodName>, RequestError> {
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have found it.
        if let Some(found) = self.remembered(uid) {
            return Ok(Some(found));
        }
        let pods: Api<Pod> = Api::all(self.client.clone());
        let mut params = ListParams::default().limit(PAGE);
        let named = |pod: &PartialObjectMeta<Pod>| PodName {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        };
        let mut mirror = None;
        for _ in 0..MAX_PAGES {
            let page = guarded::read(
                || "looking for the pod".into(),
                PAGE_LIMIT,
                pods.list_metadata(&params),
            )
            .await?;
            let exact = |pod: &&PartialObjectMeta<Pod>| pod.metadata.uid.as_deref() == Some(uid);
            if let Some(found) = page.items.iter().find(exact).map(named) {
                self.hits().put(uid, found.clone());
                return Ok(Some(found));
            }
            // An annotation is anybody's to write: it counts only where no pod has the UID.
            let target = |pod: &&PartialObjectMeta<Pod>| is_target(&pod.metadata, uid);
            mirror = mirror.or_else(|| page.items.iter().find(target).map(named));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        Ok(mirror)
    }

    fn hits(&self) -> MutexGuard<'_, Hits> {
        self.hits
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The last hits, oldest first.
#[derive(Debug, Default)]
struct Hits(VecDeque<(String, PodName)>);

impl Hits {
    fn get(&self, uid: &str) -> Option<PodName> {
        self.0
            .iter()
            .find(|(known, _)| known == uid)
            .map(|(_, pod)| pod.clone())
    }

    fn put(&mut self, uid: &str, pod: PodName) {
        self.remove(uid);
        if self.0.len() >= CACHED {
            self.0.pop_front();
        }
        self.0.push_back((uid.to_owned(), pod));
    }

    fn remove(&mut self, uid: &str) {
        self.0.retain(|(known, _)| known != uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_the_newest() {
        let mut hits = Hits::default();
        let pod = |number: usize| PodName {
            namespace: "demo".into(),
            name: format!("pod-{number}"),
        };
        for number in 0..=CACHED {
            hits.put(&number.to_string(), pod(number));
        }
        assert_eq!(hits.0.len(), CACHED);
        assert_eq!(hits.get("0"), None);
        assert_eq!(hits.get("1"), Some(pod(1)));
        hits.put("1", pod(7));
        assert_eq!((hits.get("1"), hits.0.len()), (Some(pod(7)), CACHED));
        hits.remove("1");
        assert_eq!(hits.get("1"), None);
    }
}
