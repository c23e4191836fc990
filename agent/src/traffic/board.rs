//! What is known of the pods' networks, for the report and for metrics.
//!
//! The networks are looked at every few seconds, by a thread of its own: the one that makes reports never
//! enters a namespace and never waits for one. It says which process each pod can be reached through.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::features::Features;
use super::handle::Handle;
use super::held::{NoNetwork, network_of};
use super::namespace::{DEVICE, NamespaceError, on_a_thread};
use super::netlink::{Netlink, Root};
use crate::sample::Cause;

/// How often the networks are looked at. A look takes some 0.1 ms for each pod.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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
    ours: Handle,
    ways: ArcSwap<Vec<Way>>,
    seen: ArcSwap<Seen>,
    until: ArcSwap<BTreeMap<String, SystemTime>>,
}

/// What the last look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// By the pod's ID.
    pub roots: BTreeMap<Arc<str>, Root>,
    /// Networks that could not be looked at, with an example in words, by cause.
    pub failures: BTreeMap<Cause, (u64, String)>,
}

impl Board {
    /// An empty one of the plugin with this handle, on a node that can do this.
    pub fn new(features: Features, ours: Handle) -> Self {
        Board {
            features,
            ours,
            ways: ArcSwap::default(),
            seen: ArcSwap::default(),
            until: ArcSwap::default(),
        }
    }

    /// What this node's kernel can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// What the last look found.
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
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
    pub(crate) fn note(&self, pod: &str, root: Root) {
        self.seen.rcu(|seen| {
            let mut seen = Seen::clone(seen);
            seen.roots.insert(pod.into(), root.clone());
            seen
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
            if let Err(e) = look.await {
                tracing::error!(error = %e, "looking at the networks of pods broke off");
            }
        }
    }

    /// Looks at each network once.
    pub fn look(&self, proc: &std::path::Path) {
        let before = self.seen();
        let ways = self.ways.load_full();
        let mut found = Seen::default();
        // One thread for all: from one network it goes straight to the next.
        let looked = on_a_thread(|| {
            for Way { pod, pid } in ways.iter() {
                match look_at(proc, pod, *pid, self.ours) {
                    Ok(root) => {
                        found.roots.insert(pod.clone(), root);
                    }
                    Err(error) => {
                        // One that ends while it is looked at is no problem.
                        if let Some(cause) = cause(&error) {
                            let new = || (0, format!("pod {pod}: {error}"));
                            found.failures.entry(cause).or_insert_with(new).0 += 1;
                        }
                    }
                }
            }
            Ok(())
        });
        if let Err(error) = looked {
            found.failures.insert(Cause::Failed, (1, error.to_string()));
        }
        // What a click found meanwhile is newer.
        self.seen.rcu(|seen| {
            let mut found = found.clone();
            for (pod, root) in &seen.roots {
                if before.roots.get(pod) != Some(root) {
                    found.roots.insert(pod.clone(), root.clone());
                }
            }
            found
        });
    }
}

fn look_at(proc: &std::path::Path, pod: &str, pid: u32, ours: Handle) -> Result<Root, NoNetwork> {
    let network = network_of(proc, pid, |place| place.pod.as_deref() == Some(pod))?;
    network.enter()?;
    let root = Netlink::open(ours).and_then(|mut netlink| netlink.root(DEVICE));
    Ok(root.map_err(NamespaceError::from)?)
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
