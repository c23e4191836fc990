//! What is known of the pods' networks, for the report and for metrics.
//!
//! The networks are looked at every few seconds, by a thread of its own: the one that makes reports never
//! enters a namespace and never waits for one. It says which process each pod can be reached through.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::features::Features;
use super::held::{NoNetwork, network_of};
use super::namespace::{Identity, NamespaceError};
use super::netlink::Root;
use super::networks::Networks;
use crate::sample::Cause;

/// How often the networks are looked at. `docs/collectors.md` says what a look costs.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What was seen longer ago than this is not known. A look in which as many networks as may begin to hang
/// takes less, and so does the time between two reports that nobody asks for.
const OLD: Duration = Duration::from_secs(30);

/// Through which process the network of a pod is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The pod's ID.
    pub pod: Arc<str>,
    /// One of its processes.
    pub pid: u32,
}

/// What is known of the pods' networks.
#[derive(Debug)]
pub struct Board {
    features: Features,
    networks: Arc<Networks>,
    ways: ArcSwap<Vec<Way>>,
    known: ArcSwap<Known>,
    looks: watch::Sender<u64>,
    until: ArcSwap<BTreeMap<String, SystemTime>>,
}

/// What is known, however old it is.
#[derive(Debug, Clone, Default)]
struct Known {
    roots: BTreeMap<Arc<str>, Found>,
    failures: BTreeMap<Cause, (u64, String)>,
}

/// What was found in a pod's network.
#[derive(Debug, Clone)]
struct Found {
    at: Instant,
    network: Identity,
    root: Root,
}

/// What is known of the networks at present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The number of the last look; 0 before there was one.
    pub look: u64,
    /// By the pod's ID.
    pub roots: BTreeMap<Arc<str>, Root>,
    /// Networks that the last look could not look at, with an example in words, by cause.
    pub failures: BTreeMap<Cause, (u64, String)>,
}

impl Board {
    /// An empty one of the plugin that these are looked at for, on a node that can do this.
    pub fn new(features: Features, networks: Arc<Networks>) -> Self {
        Board {
            features,
            networks,
            ways: ArcSwap::default(),
            known: ArcSwap::default(),
            looks: watch::Sender::new(0),
            until: ArcSwap::default(),
        }
    }

    /// What this node's kernel can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// How the networks are looked at.
    pub fn networks(&self) -> &Arc<Networks> {
        &self.networks
    }

    /// What is known at present.
    pub fn seen(&self) -> Seen {
        self.seen_at(Instant::now())
    }

    fn seen_at(&self, now: Instant) -> Seen {
        let look = *self.looks.borrow();
        let known = self.known.load();
        let fresh = known
            .roots
            .iter()
            .filter(|(_, found)| now.saturating_duration_since(found.at) <= OLD);
        Seen {
            look,
            roots: fresh
                .map(|(pod, found)| (pod.clone(), found.root.clone()))
                .collect(),
            failures: known.failures.clone(),
        }
    }

    /// The pods whose networks have something of ours, by what is known of them.
    pub(crate) fn ours(&self) -> Vec<(Arc<str>, Identity)> {
        let known = self.known.load();
        let ours = known
            .roots
            .iter()
            .filter(|(_, found)| matches!(found.root, Root::Ours(_)));
        ours.map(|(pod, found)| (pod.clone(), found.network))
            .collect()
    }

    /// The number of the last look, always the newest.
    pub(crate) fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// When what we set is over, by the pod's ID.
    pub fn until(&self) -> Arc<BTreeMap<String, SystemTime>> {
        self.until.load_full()
    }

    /// Says through which processes to look.
    pub fn look_through(&self, ways: Vec<Way>) {
        self.ways.store(Arc::new(ways));
    }

    /// Says when what we set is over.
    pub(crate) fn set_until(&self, until: BTreeMap<String, SystemTime>) {
        self.until.store(Arc::new(until));
    }

    /// Notes what was found at a click, for the next report.
    pub(crate) fn note(&self, pod: &str, network: Identity, root: Root) {
        let found = Found {
            at: Instant::now(),
            network,
            root,
        };
        self.known.rcu(|known| {
            let mut known = Known::clone(known);
            known.roots.insert(pod.into(), found.clone());
            known
        });
    }

    /// Looks until told to end; only when a report was made since the last time.
    pub async fn keep_looking(self: Arc<Self>, proc: PathBuf, ending: CancellationToken) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = Arc::new(Vec::new());
        loop {
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                _ = every.tick() => {}
            }
            let ways = self.ways.load_full();
            if Arc::ptr_eq(&ways, &last) {
                continue;
            }
            last = ways;
            let (board, proc) = (self.clone(), proc.clone());
            let look = tokio::task::spawn_blocking(move || board.look(&proc));
            tokio::select! {
                // It may wait for the kernel, and the process must end all the same.
                () = ending.cancelled() => return,
                looked = look => if let Err(e) = looked {
                    tracing::error!(error = %e, "looking at the networks of pods broke off");
                }
            }
        }
    }

    /// Looks at each network once. One that does not answer stays as it was seen, until that is too old.
    pub fn look(&self, proc: &std::path::Path) {
        let (ways, began) = (self.ways.load_full(), Instant::now());
        let mut looked = Known::default();
        let mut silent = BTreeSet::new();
        for Way { pod, pid } in ways.iter() {
            let at = Instant::now();
            match self.look_at(proc, pod, *pid) {
                Ok((network, root)) => {
                    let found = Found { at, network, root };
                    looked.roots.insert(pod.clone(), found);
                }
                Err(error) => {
                    if error.is_silence() {
                        silent.insert(pod);
                    }
                    // One that ends while it is looked at is no problem.
                    if let Some(cause) = cause(&error) {
                        let new = || (0, format!("pod {pod}: {error}"));
                        looked.failures.entry(cause).or_insert_with(new).0 += 1;
                    }
                }
            }
        }
        self.known.rcu(|known| {
            let mut looked = looked.clone();
            for (pod, found) in &known.roots {
                // What a click found meanwhile is newer.
                let looked_at = looked.roots.get(pod).map_or(began, |now| now.at);
                if found.at > looked_at || silent.contains(pod) {
                    looked.roots.insert(pod.clone(), found.clone());
                }
            }
            looked
        });
        self.looks.send_modify(|look| *look += 1);
    }

    fn look_at(
        &self,
        proc: &std::path::Path,
        pod: &str,
        pid: u32,
    ) -> Result<(Identity, Root), NoNetwork> {
        let network = network_of(proc, pid, |place| place.pod.as_deref() == Some(pod))?;
        Ok((network.identity(), self.networks.root(&network)?))
    }
}

/// Why a network could not be looked at, if that is a problem.
fn cause(error: &NoNetwork) -> Option<Cause> {
    use rustix::io::Errno;
    match error {
        NoNetwork::Gone | NoNetwork::Node | NoNetwork::Own => None,
        NoNetwork::Namespace(NamespaceError::Enter {
            error: Errno::PERM | Errno::ACCESS,
            ..
        }) => Some(Cause::Denied),
        NoNetwork::Namespace(NamespaceError::Netlink(super::NetlinkError::NoDevice(_))) => {
            Some(Cause::Absent)
        }
        NoNetwork::Namespace(_) => Some(Cause::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let features = Features {
            netem: Ok(()),
            tbf: Ok(()),
        };
        Board::new(features, Arc::new(Networks::of_plugin("node-metrics")))
    }

    #[test]
    fn what_was_seen_long_ago_is_not_known() {
        let board = board();
        let network = Identity {
            device: 1,
            inode: 2,
        };
        board.note("pod", network, Root::Default);
        let at = board.known.load().roots["pod"].at;
        assert_eq!(board.seen_at(at + OLD).roots.len(), 1);
        let later = at + OLD + Duration::from_millis(1);
        assert_eq!(board.seen_at(later), Seen::default());
    }
}
