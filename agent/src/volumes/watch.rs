//! The thread that looks at volumes, and what it saw last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::oneshot;

use super::asker::Counts;
use super::look::{Look, Looked, Processes};
use super::{Standing, VolumeUses};
use crate::attribution::Usage;
use crate::inventory::Inventory;
use crate::sample::Cause;

/// From one look to the next: as often as reports carry what rarely changes.
const EVERY: Duration = Duration::from_secs(8);

/// What was seen longer ago than this is not how it is. Even a look in which as many file systems as
/// may begin to hang takes less.
const OLD: Duration = Duration::from_secs(30);

/// What is known of the volumes, by a thread of its own.
#[derive(Debug, Clone, Default)]
pub struct VolumeWatch {
    seen: Arc<ArcSwapOption<Seen>>,
    processes: Arc<ArcSwap<Processes>>,
    stop: Arc<AtomicBool>,
    thread: Arc<ArcSwapOption<Thread>>,
}

/// What the last look saw.
#[derive(Debug)]
struct Seen {
    number: u64,
    at: Instant,
    looked: Looked,
    uses: Arc<VolumeUses>,
}

/// What the last look saw, for a report.
#[derive(Debug, Clone, Default)]
pub struct Now {
    /// Which look it was; 0 before there was one.
    pub number: u64,
    /// How full volumes are.
    pub uses: Arc<VolumeUses>,
    /// What could not be looked at, by its path, and why.
    pub problems: Vec<(Cause, String)>,
}

impl VolumeWatch {
    /// Starts the thread. The receiver gets a value, or is closed, when it ends.
    pub fn start(
        &self,
        mut look: Look,
        inventory: Arc<ArcSwap<Inventory>>,
    ) -> std::io::Result<oneshot::Receiver<()>> {
        let (ended, ends) = oneshot::channel();
        let watch = self.clone();
        let thread = std::thread::Builder::new()
            .name("volumes".into())
            .spawn(move || {
                let mut number = 0;
                while !watch.stop.load(Ordering::SeqCst) {
                    let at = Instant::now();
                    let looked = look.take(&inventory.load_full(), &watch.processes.load_full());
                    number += 1;
                    watch.see(number, at, looked);
                    watch.sleep_until(at + EVERY);
                }
                // After a panic the sender is dropped instead, and the receiver sees that.
                let _ = ended.send(());
            })?;
        self.thread.store(Some(Arc::new(thread.thread().clone())));
        Ok(ends)
    }

    /// Asks the thread to end. It is not waited for.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = &*self.thread.load() {
            thread.unpark();
        }
    }

    fn sleep_until(&self, due: Instant) {
        while !self.stop.load(Ordering::SeqCst) {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
    }

    fn see(&self, number: u64, at: Instant, mut looked: Looked) {
        let uses = Arc::new(std::mem::take(&mut looked.uses));
        self.seen.store(Some(Arc::new(Seen {
            number,
            at,
            looked,
            uses,
        })));
    }

    /// Tells the next look which processes there are.
    pub fn tell_processes(&self, usage: &Usage) {
        let mut processes = Processes::new();
        for process in &usage.processes {
            // The first is the oldest, until the machine's pids begin anew.
            if let Some(container) = &process.container
                && !processes.contains_key(&**container)
            {
                processes.insert(container.to_string(), process.pid);
            }
        }
        self.processes.store(Arc::new(processes));
    }

    /// What the last look saw; as stale once that is long ago.
    pub fn now(&self) -> Now {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Now {
        let Some(seen) = self.seen.load_full() else {
            return Now::default();
        };
        let mut uses = seen.uses.clone();
        if now.saturating_duration_since(seen.at) > OLD {
            for volume in Arc::make_mut(&mut uses)
                .values_mut()
                .flat_map(|pod| pod.values_mut())
            {
                volume.standing = Standing::NotAsked;
            }
        }
        Now {
            number: seen.number,
            uses,
            problems: seen.looked.problems.clone(),
        }
    }

    /// How many file systems answer at present, and what came of asking so far.
    pub fn counts(&self) -> (usize, Counts) {
        let now = self.now();
        let volumes = now.uses.values().flat_map(|pod| pod.values());
        let fresh = volumes.filter(|volume| volume.fresh().is_some()).count();
        let seen = self.seen.load();
        let counts = seen.as_ref().map(|seen| seen.looked.counts);
        (fresh, counts.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::VolumeUse;

    #[test]
    fn what_was_seen_long_ago_is_stale() {
        let watch = VolumeWatch::default();
        assert_eq!(watch.now().number, 0);
        let volume = VolumeUse {
            space: None,
            standing: Standing::Answers,
        };
        let uses = VolumeUses::from([("pod".into(), [("data".into(), volume)].into())]);
        let at = Instant::now();
        let looked = Looked {
            uses,
            ..Looked::default()
        };
        watch.see(7, at, looked);
        let later = OLD + Duration::from_millis(1);
        for (age, standing) in [(OLD, Standing::Answers), (later, Standing::NotAsked)] {
            let now = watch.at(at + age);
            let known = now.uses["pod"]["data"].standing;
            assert_eq!((now.number, known), (7, standing));
        }
        let kept = watch.at(at).uses["pod"]["data"].standing;
        assert_eq!(kept, Standing::Answers, "kept as it was seen");
    }
}
