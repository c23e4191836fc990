//! What all kubelets of the fleet do: watch the pods of their nodes, start and end them.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fault::{Fate, Fault, fate};
use crate::said::{Containers, node_is_silent, status};

/// Requests in flight: enough to keep an API server on a few cores busy, few enough not to fill its
/// queues.
pub(crate) const IN_FLIGHT: usize = 32;

/// What the nodes have in common.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) start: Duration,
    pub(crate) stop: Duration,
    pub(crate) requests: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: HashSet<String>,
    down: HashSet<String>,
    faults: Vec<Fault>,
    /// How far each pod has come, by UID. One entry per pod that is there.
    pods: HashMap<String, Stage>,
    /// Things that are due later, one or two per pod.
    work: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Stopping,
}

impl Shared {
    pub(crate) fn new(client: Client, start: Duration, stop: Duration) -> Shared {
        Shared {
            client,
            start,
            stop,
            requests: Semaphore::new(IN_FLIGHT),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_node(&self, name: &str) {
        self.state().nodes.insert(name.to_owned());
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub(crate) fn clear_faults(&self) {
        self.state().faults.clear();
    }

    pub(crate) fn set_down(&self, node: &str, down: bool) {
        let mut state = self.state();
        if down {
            state.down.insert(node.to_owned());
        } else {
            state.down.remove(node);
        }
    }

    pub(crate) fn has_node(&self, node: &str) -> bool {
        self.state().nodes.contains(node)
    }

    pub(crate) fn is_down(&self, node: &str) -> bool {
        self.state().down.contains(node)
    }

    /// Nothing that is due later is done any more.
    pub(crate) fn abort(&self) {
        self.state().work.abort_all();
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Makes a request until it is answered; what is gone needs none.
    pub(crate) async fn ask<T, F>(&self, mut request: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = kube::Result<T>>,
    {
        loop {
            let answer = {
                // The semaphore is never closed.
                let _permit = self.requests.acquire().await.ok()?;
                request().await
            };
            match answer {
                Ok(answer) => return Some(answer),
                // Gone, another one of the same name, or refused: kubelet gives up as well.
                Err(kube::Error::Api(refused)) if (400..429).contains(&refused.code) => {
                    return None;
                }
                // An API server that is away or busy.
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }

    /// Does what the kubelet of a pod's node would do now.
    fn see(self: &Arc<Self>, pod: Pod) {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else {
            return;
        };
        let uid = pod.uid().unwrap_or_default();
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let mut state = self.state();
        if !state.nodes.contains(&node) || state.down.contains(&node) {
            return;
        }
        while state.work.try_join_next().is_some() {}
        let stage = state.pods.get(&uid).copied();
        if pod.metadata.deletion_timestamp.is_some() {
            if stage != Some(Stage::Stopping) {
                state.pods.insert(uid, Stage::Stopping);
                let shared = Arc::clone(self);
                state
                    .work
                    .spawn(async move { shared.end(pod, &node).await });
            }
        } else if stage.is_none() && matches!(phase, None | Some("Pending")) {
            state.pods.insert(uid, Stage::Starting);
            let fate = fate(&state.faults, &pod, &node);
            let shared = Arc::clone(self);
            state
                .work
                .spawn(async move { shared.begin(pod, &node, fate).await });
        }
    }

    async fn begin(&self, pod: Pod, node: &str, fate: Option<Fate>) {
        let delay = match fate {
            Some(Fate::Slow(delay)) => delay,
            _ => self.start,
        };
        tokio::time::sleep(delay).await;
        let Some(containers) = Containers::at_start(fate.as_ref()) else {
            return;
        };
        self.say(&pod, node, containers).await;
        if let Some(Fate::ReadyFor(time)) = fate {
            tokio::time::sleep(time).await;
            self.say(&pod, node, Containers::CrashLoop).await;
        }
    }

    async fn end(&self, pod: Pod, node: &str) {
        tokio::time::sleep(self.stop).await;
        if self.is_down(node) {
            return;
        }
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let pods = self.pods(&pod.namespace().unwrap_or_default());
        self.ask(|| {
            pods.delete(
                pod.metadata.name.as_deref().unwrap_or_default(),
                &parameters,
            )
        })
        .await;
    }

    /// Writes a pod's status, unless its node has gone down meanwhile.
    async fn say(&self, pod: &Pod, node: &str, containers: Containers) {
        if !self.is_down(node) {
            self.write(pod, status(pod, containers)).await;
        }
    }

    async fn write(&self, pod: &Pod, mut patch: Value) {
        // A pod of the same name that came later is another one.
        patch["metadata"] = serde_json::json!({"uid": pod.uid()});
        let (patch, parameters) = (Patch::Strategic(patch), PatchParams::default());
        let pods = self.pods(&pod.namespace().unwrap_or_default());
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.ask(|| pods.patch_status(name, &parameters, &patch))
            .await;
    }

    async fn pods_on(&self, node: &str) -> kube::Result<Vec<Pod>> {
        let all = Api::<Pod>::all(self.client.clone());
        let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
        Ok(all.list(&here).await?.items)
    }

    /// Says of the pods of a silent node that they are not ready.
    pub(crate) async fn mark_not_ready(&self, node: &str) -> kube::Result<()> {
        for pod in self.pods_on(node).await? {
            self.write(&pod, node_is_silent()).await;
        }
        Ok(())
    }

    /// The pods of a node that is up again: those that ran are ready once more, all else goes on.
    pub(crate) async fn resume(self: &Arc<Self>, node: &str) -> kube::Result<()> {
        for pod in self.pods_on(node).await? {
            self.state().pods.remove(&pod.uid().unwrap_or_default());
            let ran = pod.metadata.deletion_timestamp.is_none()
                && pod
                    .status
                    .iter()
                    .flat_map(|status| status.container_statuses.iter().flatten())
                    .any(|c| c.ready);
            if ran {
                self.say(&pod, node, Containers::Ready).await;
            } else {
                self.see(pod);
            }
        }
        Ok(())
    }

    /// Watches all pods that are on a node, for ever.
    pub(crate) async fn watch(self: Arc<Self>) {
        let pods = Api::<Pod>::all(self.client.clone());
        let config = watcher::Config::default().fields("spec.nodeName!=");
        let events = watcher(pods, config).default_backoff().into_stream();
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => self.see(pod),
                Ok(watcher::Event::Delete(pod)) => {
                    self.state().pods.remove(&pod.uid().unwrap_or_default());
                }
                // The watcher tries again by itself.
                Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
            }
        }
    }
}
