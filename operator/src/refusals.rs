//! Why agents refuse to be ready, in their own words.
//!
//! The kubelet asks each agent's `/readyz` as well, but of a refusal it tells only the status code. So of the
//! few failing nodes that a status names, the operator asks those agents itself that run and are not ready.
//! What they say is a stranger's text: bounded, cleaned, marked as theirs, and nothing is decided by it.

mod answer;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::Semaphore;

use crate::{
    desired::AGENT_PORT,
    guarded,
    metrics::Metrics,
    rollout::{Failing, Fleet},
    seen::{self, SeenPod},
};
use answer::Answer;

/// An agent answers from memory, so one that takes longer will not say anything.
const ONE: Duration = Duration::from_secs(1);
/// So long may asking hold up a look, however many there are to ask.
const ALL: Duration = Duration::from_secs(2);
/// Agents that are asked at the same time, by all looks.
const AT_ONCE: usize = 4;
/// An agent is asked again after so long at the earliest.
const AGAIN: Duration = Duration::from_secs(10);
/// Answers that are remembered: those of every node that 64 plugins name.
const REMEMBERED: usize = 640;

/// An agent that runs and is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusing {
    node: String,
    /// UID of its pod.
    pod: String,
    address: IpAddr,
}

/// Of the failing nodes that a status names those whose agents can be asked. `pods` are the plugin's.
pub(crate) fn refusing<'a>(
    failing: &[Failing],
    fleet: &Fleet,
    pods: impl Iterator<Item = &'a SeenPod> + Clone,
) -> Vec<Refusing> {
    failing
        .iter()
        .filter_map(|failing| {
            let pod = fleet.nodes.get(&failing.node)?.pod.as_ref()?;
            let seen = pods.clone().find(|seen| seen.uid() == pod.uid)?;
            Some(Refusing {
                node: failing.node.clone(),
                pod: pod.uid.clone(),
                address: seen::refuses_at(seen)?,
            })
        })
        .collect()
}

/// Puts what agents say in the place of what Kubernetes says of their pods. Whether anything differs.
pub(crate) fn tell(fleet: &mut Fleet, said: &[(Refusing, String)]) -> bool {
    let mut differs = false;
    for (Refusing { node, .. }, words) in said {
        if let Some(pod) = fleet.nodes.get_mut(node).and_then(|node| node.pod.as_mut()) {
            let failure = seen::in_own_words(pod.failure.take(), words);
            pod.failure = Some(failure);
            differs = true;
        }
    }
    differs
}

/// Asks agents, and remembers what they said.
pub(crate) struct Refusals {
    port: u16,
    places: Semaphore,
    answers: Mutex<Answers>,
    metrics: Arc<Metrics>,
}

impl Refusals {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self::at(AGENT_PORT, metrics)
    }

    fn at(port: u16, metrics: Arc<Metrics>) -> Self {
        Self {
            port,
            places: Semaphore::new(AT_ONCE),
            answers: Mutex::default(),
            metrics,
        }
    }

    /// Those of `refusing` that say something, with their words; asked now, or lately.
    pub(crate) async fn said_by(&self, refusing: Vec<Refusing>) -> Vec<(Refusing, String)> {
        let now = Instant::now();
        let due: Vec<&Refusing> = {
            let answers = self.answers();
            let due = |refusing: &&Refusing| !answers.is_fresh(&refusing.pod, now);
            refusing.iter().filter(due).collect()
        };
        if !due.is_empty() {
            guarded::waited(self.ask(&due)).await;
        }
        let answers = self.answers();
        let words: Vec<Option<String>> = refusing
            .iter()
            .map(|refusing| answers.words(&refusing.pod).map(str::to_owned))
            .collect();
        drop(answers);
        let said = refusing.into_iter().zip(words);
        said.filter_map(|(refusing, words)| Some((refusing, words?)))
            .collect()
    }

    async fn ask(&self, due: &[&Refusing]) {
        let begun: Vec<AtomicBool> = due.iter().map(|_| AtomicBool::new(false)).collect();
        let begun = &begun;
        let mut asked: FuturesUnordered<_> = due
            .iter()
            .enumerate()
            .map(|(n, refusing)| async move {
                let address = SocketAddr::new(refusing.address, self.port);
                // It is never closed.
                let _place = self.places.acquire().await.ok();
                begun[n].store(true, Ordering::Relaxed);
                let answer = tokio::time::timeout(ONE, answer::of(address)).await;
                (n, answer.unwrap_or(Answer::Late))
            })
            .collect();
        let mut answers: Vec<Answer> = vec![Answer::Late; due.len()];
        let all = async {
            while let Some((n, answer)) = asked.next().await {
                answers[n] = answer;
            }
        };
        // Whoever is not done by then is late.
        let _ = tokio::time::timeout(ALL, all).await;
        let now = Instant::now();
        let mut known = self.answers();
        for (n, (refusing, answer)) in due.iter().zip(answers).enumerate() {
            // Its turn comes with the next look, before those that were asked.
            if !begun[n].load(Ordering::Relaxed) {
                self.metrics.agent_asked("NotAsked");
                continue;
            }
            self.metrics.agent_asked(answer.outcome());
            tracing::debug!(
                node = refusing.node,
                outcome = answer.outcome(),
                "asked an agent why it is not ready"
            );
            known.put(&refusing.pod, answer.words(), now);
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was said last, by UID of the pod; nothing where nobody said why.
#[derive(Debug, Default)]
struct Answers(HashMap<String, (Instant, Option<String>)>);

impl Answers {
    fn is_fresh(&self, pod: &str, now: Instant) -> bool {
        let known = self.0.get(pod);
        known.is_some_and(|(at, _)| now.saturating_duration_since(*at) < AGAIN)
    }

    fn words(&self, pod: &str) -> Option<&str> {
        self.0.get(pod)?.1.as_deref()
    }

    /// What is not fresh any more makes room, then the oldest.
    fn put(&mut self, pod: &str, words: Option<String>, now: Instant) {
        self.0.insert(pod.to_owned(), (now, words));
        if self.0.len() <= REMEMBERED {
            return;
        }
        self.0
            .retain(|_, (at, _)| now.saturating_duration_since(*at) < AGAIN);
        if self.0.len() > REMEMBERED
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (at, _))| *at)
        {
            let oldest = oldest.0.clone();
            self.0.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
