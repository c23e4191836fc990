//! What the controller remembers between two looks at a plugin. All of it may be lost: it saves
//! requests, gives patience, and mends what somebody else has deleted.

mod missing;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use scope_crds::ScopePluginStatus;

use crate::{
    leader::jitter, metrics::PluginFigures, overlap::Overlap, rolling::Written, rollout::Fleet,
    seen::SeenPod,
};

use missing::Missing;
pub(crate) use missing::Patience;

/// First wait after a failure; doubled with each further one.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Longest wait after failures.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// A cache may be so far behind our own write of a status.
const LAG: Duration = Duration::from_secs(5);

/// By UID of the ScopePlugin.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    plugins: HashMap<String, Remembered>,
    /// How each plugin stands, by its name.
    figures: BTreeMap<String, PluginFigures>,
}

#[derive(Debug, Default)]
struct Remembered {
    failures: u32,
    /// Of our last apply: in which term it was, and UID and generation of the DaemonSet that it returned.
    applied: Option<(u64, String, i64)>,
    wrote: Option<(ScopePluginStatus, Instant)>,
    missing: Option<Missing>,
    /// The rollout record as this process wrote or read it.
    record: Option<Remembrance>,
    /// UIDs of pods that we have deleted and may still see.
    deleted: HashSet<String>,
    /// Nodes without a pod, and since when they have been seen so.
    bare: BTreeMap<String, Timestamp>,
    /// The template that the DaemonSet controller has taken notice of, and since when.
    in_force: Option<(String, Timestamp)>,
    /// What it overlaps with, and of which editions of plugins and nodes that was said.
    overlap: Option<([u64; 2], Option<Overlap>)>,
}

/// A rollout record of one term.
#[derive(Debug)]
struct Remembrance {
    term: u64,
    written: Written,
    /// Whether the cache has had it since.
    cached: bool,
    /// Whether a write of it failed since, so that somebody else may have written.
    doubtful: bool,
}

impl Memory {
    /// Forgets all plugins but these.
    pub(crate) fn keep_only(&mut self, uids: &HashSet<String>) {
        self.plugins.retain(|uid, _| uids.contains(uid));
    }

    /// Remembers how a plugin of this name stands, and tells how all do.
    pub(crate) fn stands(
        &mut self,
        plugin: &str,
        figures: PluginFigures,
    ) -> BTreeMap<String, PluginFigures> {
        self.figures.insert(plugin.to_owned(), figures);
        self.figures.clone()
    }

    /// Forgets how all plugins stand but those of these names, and tells how the others do.
    pub(crate) fn keep_figures(
        &mut self,
        plugins: &HashSet<String>,
    ) -> BTreeMap<String, PluginFigures> {
        self.figures.retain(|plugin, _| plugins.contains(plugin));
        self.figures.clone()
    }

    /// Counts a failure and says how long to wait.
    pub(crate) fn failed(&mut self, plugin: &str) -> Duration {
        let remembered = self.of(plugin);
        let delay = FIRST_DELAY
            .saturating_mul(2_u32.saturating_pow(remembered.failures.min(16)))
            .min(LONGEST_DELAY);
        remembered.failures = remembered.failures.saturating_add(1);
        delay + jitter(delay / 4)
    }

    /// Forgets failures.
    pub(crate) fn succeeded(&mut self, plugin: &str) {
        self.of(plugin).failures = 0;
    }

    /// The generation that our last apply of this term returned, if it was to this very DaemonSet.
    pub(crate) fn known_generation(
        &self,
        plugin: &str,
        daemon_set_uid: Option<&str>,
        term: u64,
    ) -> Option<i64> {
        let (applied_in, uid, generation) = self.plugins.get(plugin)?.applied.as_ref()?;
        (*applied_in == term && Some(uid.as_str()) == daemon_set_uid).then_some(*generation)
    }

    /// Remembers what an apply returned, or a comparison confirmed.
    pub(crate) fn applied(
        &mut self,
        plugin: &str,
        daemon_set_uid: &str,
        generation: i64,
        term: u64,
    ) {
        self.of(plugin).applied = Some((term, daemon_set_uid.to_owned(), generation));
    }

    /// The status to compare with: our own write, while the cache may not have it yet.
    pub(crate) fn newest_status<'a>(
        &'a self,
        plugin: &str,
        cached: Option<&'a ScopePluginStatus>,
        now: Instant,
    ) -> Option<&'a ScopePluginStatus> {
        match self
            .plugins
            .get(plugin)
            .and_then(|remembered| remembered.wrote.as_ref())
        {
            Some((status, at)) if now.saturating_duration_since(*at) < LAG => Some(status),
            _ => cached,
        }
    }

    /// The status that this process wrote last.
    pub(crate) fn written(&self, plugin: &str) -> Option<&ScopePluginStatus> {
        self.plugins
            .get(plugin)?
            .wrote
            .as_ref()
            .map(|(status, _)| status)
    }

    /// Remembers a status that was written.
    pub(crate) fn wrote(&mut self, plugin: &str, status: ScopePluginStatus, now: Instant) {
        self.of(plugin).wrote = Some((status, now));
    }

    /// The rollout record that this process read or wrote in this term: nobody else writes it meanwhile, and
    /// the cache may not have it yet.
    pub(crate) fn record(&self, plugin: &str, term: u64) -> Option<Written> {
        let known = self.plugins.get(plugin)?.record.as_ref()?;
        (known.term == term && !known.doubtful).then(|| known.written.clone())
    }

    /// The same if the API server says that there is none: somebody has deleted it, and knew no other one.
    pub(crate) fn deleted_record(&self, plugin: &str, term: u64) -> Option<Written> {
        let known = self.plugins.get(plugin)?.record.as_ref()?;
        (known.term == term).then(|| Written {
            record: known.written.record.clone(),
            object: None,
        })
    }

    /// Takes in whether the cache has an object of the record. What it had and has no more, somebody
    /// deleted: then the record is known, and its object is not there.
    pub(crate) fn see_record(&mut self, plugin: &str, cached: bool) {
        let Some(known) = self.of(plugin).record.as_mut() else {
            return;
        };
        if !cached && known.cached {
            known.written.object = None;
        }
        known.cached = cached;
    }

    /// Remembers a rollout record that was written or read.
    pub(crate) fn knows_record(&mut self, plugin: &str, term: u64, written: Written) {
        self.of(plugin).record = Some(Remembrance {
            term,
            written,
            cached: false,
            doubtful: false,
        });
    }

    /// Takes it for doubtful: a write of it failed, and somebody else may have written.
    pub(crate) fn doubt_record(&mut self, plugin: &str) {
        if let Some(known) = self.of(plugin).record.as_mut() {
            known.doubtful = true;
        }
    }

    /// Notes on each node of `fleet` since when it has been seen without a pod.
    pub(crate) fn bare_nodes(&mut self, plugin: &str, fleet: &mut Fleet, now: Timestamp) {
        let before = std::mem::take(&mut self.of(plugin).bare);
        let mut bare = BTreeMap::new();
        for (name, node) in &mut fleet.nodes {
            if node.up && node.pod.is_none() {
                let since = before.get(name).copied().unwrap_or(now);
                node.bare_since = Some(since);
                bare.insert(name.clone(), since);
            }
        }
        self.of(plugin).bare = bare;
    }

    /// Since when the template has been known to be the one that pods are made from.
    pub(crate) fn in_force_since(
        &mut self,
        plugin: &str,
        revision: &str,
        now: Timestamp,
    ) -> Timestamp {
        let in_force = &mut self.of(plugin).in_force;
        match in_force {
            Some((known, since)) if known == revision => *since,
            _ => {
                *in_force = Some((revision.to_owned(), now));
                now
            }
        }
    }

    /// Remembers that a pod was deleted.
    pub(crate) fn deleted_pod(&mut self, plugin: &str, pod: &str) {
        self.of(plugin).deleted.insert(pod.to_owned());
    }

    /// The pods that were deleted, as far as they are among those that are still seen.
    pub(crate) fn deleted_pods(&mut self, plugin: &str, seen: &[Arc<SeenPod>]) -> HashSet<String> {
        let deleted = &mut self.of(plugin).deleted;
        if !deleted.is_empty() {
            let seen: HashSet<&str> = seen.iter().map(|pod| pod.uid()).collect();
            deleted.retain(|uid| seen.contains(uid.as_str()));
        }
        deleted.clone()
    }

    /// What the plugin overlaps with, if that was worked out of these editions of plugins and nodes.
    pub(crate) fn overlap(&self, plugin: &str, editions: [u64; 2]) -> Option<Option<Overlap>> {
        let (of, overlap) = self.plugins.get(plugin)?.overlap.as_ref()?;
        (*of == editions).then(|| overlap.clone())
    }

    /// Remembers what it overlaps with.
    pub(crate) fn overlaps(&mut self, plugin: &str, editions: [u64; 2], overlap: Option<Overlap>) {
        self.of(plugin).overlap = Some((editions, overlap));
    }

    /// Says what to do while `missing` pods are not there.
    pub(crate) fn patience(&mut self, plugin: &str, missing: bool, now: Instant) -> Patience {
        let remembered = self.of(plugin);
        if !missing {
            remembered.missing = None;
            return Patience::default();
        }
        let missing = remembered
            .missing
            .get_or_insert_with(|| Missing::since(now));
        missing.patience(now)
    }

    /// What the Events said when they were last read, if pods are missing.
    pub(crate) fn words(&self, plugin: &str) -> Option<String> {
        let missing = self.plugins.get(plugin)?.missing.as_ref()?;
        missing.words.clone()
    }

    /// Remembers what the Events said.
    pub(crate) fn heard(&mut self, plugin: &str, words: Option<String>) {
        if let Some(missing) = self.of(plugin).missing.as_mut() {
            missing.words = words;
        }
    }

    fn of(&mut self, plugin: &str) -> &mut Remembered {
        self.plugins.entry(plugin.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_and_longer() {
        let mut memory = Memory::default();
        let first = memory.failed("a");
        assert!(first >= FIRST_DELAY && first < FIRST_DELAY * 2);
        for _ in 0..40 {
            memory.failed("a");
        }
        let late = memory.failed("a");
        assert!(late >= LONGEST_DELAY && late <= LONGEST_DELAY * 5 / 4);
        assert!(memory.failed("b") < FIRST_DELAY * 2, "per plugin");
        memory.succeeded("a");
        assert!(memory.failed("a") < FIRST_DELAY * 2);
    }

    #[test]
    fn a_generation_belongs_to_one_daemon_set() {
        let mut memory = Memory::default();
        memory.applied("a", "uid-1", 4, 1);
        assert_eq!(memory.known_generation("a", Some("uid-1"), 1), Some(4));
        // Somebody else has led meanwhile, and may have written.
        assert_eq!(memory.known_generation("a", Some("uid-1"), 2), None);
        assert_eq!(memory.known_generation("a", Some("uid-2"), 1), None);
        assert_eq!(memory.known_generation("a", None, 1), None);
        memory.keep_only(&HashSet::new());
        assert_eq!(memory.known_generation("a", Some("uid-1"), 1), None);
    }

    #[test]
    fn our_own_write_is_newer_than_the_cache_for_a_while() {
        let mut memory = Memory::default();
        let now = Instant::now();
        let cached = ScopePluginStatus::default();
        let written = ScopePluginStatus {
            observed_generation: Some(2),
            ..ScopePluginStatus::default()
        };
        assert_eq!(memory.newest_status("a", Some(&cached), now), Some(&cached));
        memory.wrote("a", written.clone(), now);
        assert_eq!(
            memory.newest_status("a", Some(&cached), now),
            Some(&written)
        );
        assert_eq!(
            memory.newest_status("a", Some(&cached), now + LAG),
            Some(&cached)
        );
    }

    #[test]
    fn a_record_that_somebody_deleted_is_known_and_not_there() {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

        let mut memory = Memory::default();
        let written = Written {
            object: Some(ObjectMeta::default()),
            ..Written::default()
        };
        memory.knows_record("a", 1, written);
        let is_there = |memory: &Memory| memory.record("a", 1).unwrap().object.is_some();
        memory.see_record("a", false);
        assert!(is_there(&memory), "the cache is behind");
        memory.see_record("a", true);
        assert!(is_there(&memory));
        memory.see_record("a", false);
        assert!(!is_there(&memory));
        assert!(memory.record("a", 2).is_none(), "somebody else has led");
    }

    #[test]
    fn an_overlap_holds_for_its_editions() {
        let mut memory = Memory::default();
        assert_eq!(memory.overlap("a", [1, 1]), None);
        memory.overlaps("a", [1, 1], None);
        assert_eq!(memory.overlap("a", [1, 1]), Some(None), "there is none");
        assert_eq!(memory.overlap("a", [1, 2]), None);
        assert_eq!(memory.overlap("a", [2, 1]), None);
        assert_eq!(memory.overlap("b", [1, 1]), None);
    }
}
