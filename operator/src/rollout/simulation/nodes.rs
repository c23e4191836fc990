//! Everybody else: nodes, kubelets, the DaemonSet controller, and people.

use super::*;

impl World {
    pub(super) fn new(nodes: usize, skew: i64, rollout: serde_json::Value) -> Self {
        let now: Timestamp = START.parse().unwrap();
        let mut world = World {
            now,
            nodes: BTreeMap::new(),
            revisions: vec![Behaviour::Good],
            wanted: 0,
            generation: 1,
            rollout,
            carried: None,
            observed: None,
            made: None,
            suspended: false,
            forbidden: 0,
            turn: Turn::Ours,
            leads_since: now,
            bare: BTreeMap::new(),
            in_force: None,
            skew: SignedDuration::from_secs(skew),
            record: Record::default(),
            seen: Fleet::default(),
            deleted: HashSet::new(),
            next: 0,
            made_anew: false,
            steps: 0,
            standing: Standing::default(),
        };
        for _ in 0..nodes {
            world.join();
        }
        world
    }

    pub(super) fn policy(&self) -> Policy {
        Policy::from(&serde_json::from_value(self.rollout.clone()).unwrap())
    }

    pub(super) fn join(&mut self) {
        self.next += 1;
        let node = SimNode {
            up: true,
            since: self.now,
            canary: self.next.is_multiple_of(4),
            number: self.next,
            pods: Vec::new(),
            victim: false,
        };
        self.nodes.insert(format!("n{:03}", self.next), node);
    }

    pub(super) fn pick(&self, number: u8) -> Option<String> {
        let names: Vec<_> = self.nodes.keys().collect();
        names
            .get(usize::from(number) % names.len().max(1))
            .map(|name| (*name).clone())
    }

    /// One second of everybody else's work.
    pub(super) fn second(&mut self) {
        self.now += SignedDuration::from_secs(1);
        self.observed = self.carried;
        let (now, observed) = (self.now, self.observed);
        self.check_what_is_made_anew();
        for node in self.nodes.values_mut() {
            node.pods
                .retain(|pod| pod.gone_at.is_none_or(|at| at > now));
            let made = observed.filter(|revision| *revision >= self.forbidden);
            if let (true, true, Some(revision)) = (node.up, node.pods.is_empty(), made) {
                self.next += 1;
                node.pods.push(SimPod {
                    uid: self.next,
                    revision,
                    created: now,
                    ready_at: None,
                    restarts: 0,
                    gone_at: None,
                });
            }
            let number = node.number;
            let mut dies = false;
            for pod in &mut node.pods {
                let age = now.duration_since(pod.created).as_secs();
                let fine = match self.revisions[pod.revision] {
                    Behaviour::Good | Behaviour::Restarts | Behaviour::KillsNode => true,
                    Behaviour::Picky => !number.is_multiple_of(3),
                    Behaviour::Crashes | Behaviour::Silent => false,
                };
                if node.up && fine && pod.ready_at.is_none() && age >= 2 + (number as i64 % 3) {
                    pod.ready_at = Some(now);
                }
                if self.revisions[pod.revision] == Behaviour::Restarts && age == 25 {
                    pod.restarts += 1;
                }
                dies |= self.revisions[pod.revision] == Behaviour::KillsNode && age == 20;
            }
            if node.up && dies {
                node.up = false;
                node.since = now;
            }
            if !node.up {
                for pod in &mut node.pods {
                    pod.ready_at = None;
                }
            }
        }
        let serving: Vec<_> = self
            .nodes
            .keys()
            .filter(|name| self.serves(name))
            .cloned()
            .collect();
        for name in serving {
            self.nodes.get_mut(&name).unwrap().victim = false;
        }
    }

    /// A clock that is ahead makes `minReady` as much shorter.
    pub(super) fn serves(&self, name: &str) -> bool {
        self.serves_at(name, self.now + self.skew.max(SignedDuration::ZERO))
    }

    /// One that is behind makes it longer: who serves by its own clock only is not known to serve.
    pub(super) fn is_known_to_serve(&self, name: &str) -> bool {
        self.serves_at(name, self.now + self.skew.min(SignedDuration::ZERO))
    }

    pub(super) fn serves_at(&self, name: &str, now: Timestamp) -> bool {
        let min_ready = self.policy().min_ready;
        let node = &self.nodes[name];
        let ready = |pod: &SimPod| {
            let from = |at: Timestamp| at.saturating_add(min_ready).unwrap();
            pod.gone_at.is_none() && pod.ready_at.is_some_and(|at| from(at) <= now)
        };
        node.up && node.pods.iter().any(ready)
    }

    pub(super) fn look(&self) -> Fleet {
        let pod = |pod: &SimPod, number: u64| {
            let age = self.now.duration_since(pod.created).as_secs();
            let crashes = match self.revisions[pod.revision] {
                Behaviour::Crashes => true,
                Behaviour::Picky => number.is_multiple_of(3),
                _ => false,
            };
            Pod {
                name: format!("p{}", pod.uid),
                uid: pod.uid.to_string(),
                resource_version: "1".into(),
                revision: Some(revision(pod.revision)),
                created: whole_seconds(pod.created),
                ready_since: pod.ready_at.map(whole_seconds),
                restarts: pod.restarts,
                failure: (crashes && age >= 4).then(|| Failure {
                    reason: "CrashLoopBackOff".into(),
                    message: "exit 1".into(),
                    certain_after: Some(std::time::Duration::ZERO),
                }),
            }
        };
        let nodes = self.nodes.iter().map(|(name, node)| {
            let there = node.pods.iter().find(|pod| pod.gone_at.is_none());
            let node = Node {
                up: node.up,
                since: whole_seconds(node.since),
                canary: node.canary,
                pod: there.map(|there| pod(there, node.number)),
                bare_since: None,
            };
            (name.clone(), node)
        });
        Fleet {
            nodes: nodes.collect(),
        }
    }

    pub(super) fn happen(&mut self, event: &Event) {
        match event {
            Event::Wait(seconds) => {
                for _ in 0..*seconds {
                    self.second();
                    self.operate(false, usize::MAX);
                }
            }
            Event::Late => {
                self.second();
                self.operate(true, usize::MAX);
            }
            Event::Killed(writes) => {
                self.second();
                self.operate(false, usize::from(*writes));
                self.forget();
            }
            Event::Away(minutes) => {
                for _ in 0..u64::from(*minutes) * 60 {
                    self.second();
                }
                self.forget();
            }
            Event::Suspend(suspended) => {
                if *suspended {
                    self.delete_daemon_set();
                }
                self.generation += i64::from(self.suspended != *suspended);
                self.suspended = *suspended;
            }
            Event::Forbid(forbid) => {
                self.forbidden = if *forbid { self.revisions.len() } else { 0 };
            }
            Event::After(other) => {
                self.turn = if *other {
                    Turn::After("another".into())
                } else {
                    Turn::Ours
                };
            }
            Event::Down(number) => self.turn(*number, false),
            Event::Up(number) => self.turn(*number, true),
            Event::Join if self.nodes.len() < 16 => self.join(),
            Event::Join => {}
            Event::Leave(number) => {
                if self.nodes.len() > 1
                    && let Some(name) = self.pick(*number)
                {
                    self.nodes.remove(&name);
                }
            }
            Event::Drained(number) => {
                let gone = self.now + SignedDuration::from_secs(2);
                if let Some(node) = self
                    .pick(*number)
                    .and_then(|name| self.nodes.get_mut(&name))
                {
                    for pod in &mut node.pods {
                        // From now on it is theirs, not ours, that the node is without.
                        node.victim &= pod.gone_at.is_some() || pod.ready_at.is_none();
                        pod.gone_at.get_or_insert(gone);
                    }
                }
            }
            Event::DaemonSetDeleted => self.delete_daemon_set(),
            Event::GoodLost => self.record.good = None,
            Event::Revise(behaviour) => {
                self.revisions.push(*behaviour);
                self.wanted = self.revisions.len() - 1;
                self.generation += 1;
            }
            Event::Revert => {
                self.wanted = self.wanted.saturating_sub(1);
                self.generation += 1;
            }
            Event::Retry => self.generation += 1,
            Event::Pause(paused) => self.set("paused", json!(paused)),
            Event::Partition(partition) => self.set("partition", json!(partition)),
            Event::Budget(budget) => self.set("maxUnavailable", json!(budget)),
            Event::Forgive(failures) => self.set("maxFailures", json!(failures)),
            Event::OnFailure(back) => {
                let word = if *back { "Rollback" } else { "Halt" };
                self.set("onFailure", json!(word));
            }
        }
    }

    pub(super) fn set(&mut self, field: &str, value: serde_json::Value) {
        self.rollout[field] = value;
        self.generation += 1;
    }

    pub(super) fn delete_daemon_set(&mut self) {
        let gone = self.now + SignedDuration::from_secs(1);
        for node in self.nodes.values_mut() {
            node.victim = false;
            for pod in &mut node.pods {
                pod.gone_at.get_or_insert(gone);
            }
        }
        self.carried = None;
        self.observed = None;
        self.made = None;
        self.made_anew = true;
    }

    pub(super) fn turn(&mut self, number: u8, up: bool) {
        let now = self.now;
        if let Some(node) = self.pick(number).and_then(|name| self.nodes.get_mut(&name))
            && node.up != up
        {
            node.up = up;
            node.since = now;
        }
    }
}
