//! Asking file systems how full they are, each of which may never answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::mounts::{Device, Mount};
use super::{Space, VolumeUse};

/// How a file system is asked; it may not return for hours.
pub type Ask = Arc<dyn Fn(&Path) -> io::Result<Space> + Send + Sync>;

/// File systems that hang at the same time, and so threads that wait for one each. A node where more
/// of them hang has one cause for it, and further threads would only wait as well.
pub const MOST_STUCK: usize = 8;

/// A local file system answers in microseconds, and one of the network in milliseconds.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Threads that only call `statvfs`.
const STACK: usize = 64 * 1024;

/// Asks file systems one after the other, with a thread for each that does not answer in time. While a
/// thread waits for one, that is not asked again.
pub struct Asker {
    ask: Ask,
    patience: Duration,
    /// The thread that is asked next; it waits for nothing.
    idle: Option<Sender<Question>>,
    answers: (Sender<Answer>, Receiver<Answer>),
    asked: u64,
    /// By the number of the question.
    stuck: BTreeMap<u64, Key>,
    known: BTreeMap<Key, Option<Space>>,
    counts: Counts,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers in time.
    pub answered: u64,
    /// Answers that say that it failed.
    pub failed: u64,
    /// Questions whose answer did not come in time.
    pub late: u64,
    /// File systems that do not answer at present.
    pub stuck: usize,
    /// File systems that were not asked the last time, since so many others do not answer.
    pub not_asked: usize,
}

/// A mount: what is mounted later in the same place is another one.
type Key = (PathBuf, Device);

struct Question {
    number: u64,
    path: PathBuf,
}

struct Answer {
    number: u64,
    said: io::Result<Space>,
}

impl Asker {
    /// One that asks like this and waits so long for each answer.
    pub fn new(ask: Ask, patience: Duration) -> Self {
        Asker {
            ask,
            patience,
            idle: None,
            answers: channel(),
            asked: 0,
            stuck: BTreeMap::new(),
            known: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// What came of asking so far.
    pub fn counts(&self) -> Counts {
        Counts {
            stuck: self.stuck.len(),
            ..self.counts
        }
    }

    /// Asks all of these. It takes as long as [`PATIENCE`] for each that begins to hang, and so
    /// [`MOST_STUCK`] times that at most.
    pub(super) fn round(&mut self, mounts: &[&Mount]) -> BTreeMap<PathBuf, VolumeUse> {
        while let Ok(answer) = self.answers.1.try_recv() {
            self.take(answer);
        }
        let keys: BTreeSet<Key> = mounts
            .iter()
            .map(|mount| (mount.point.clone(), mount.device))
            .collect();
        self.known.retain(|key, _| keys.contains(key));
        self.counts.not_asked = 0;
        let mut uses = BTreeMap::new();
        for key in keys {
            let fresh = self.ask(&key);
            let space = self.known.get(&key).copied().flatten();
            uses.insert(
                key.0,
                VolumeUse {
                    space,
                    stale: !fresh,
                },
            );
        }
        uses
    }

    /// Asks one, unless a thread waits for it already. Whether it said how full it is.
    fn ask(&mut self, key: &Key) -> bool {
        if self.stuck.values().any(|stuck| stuck == key) {
            return false;
        }
        let Some(thread) = self.thread() else {
            self.counts.not_asked += 1;
            return false;
        };
        self.asked += 1;
        let number = self.asked;
        let path = key.0.clone();
        // From now on it counts as stuck, until its answer is taken.
        self.stuck.insert(number, key.clone());
        if thread.send(Question { number, path }).is_err() {
            // The thread ended, which only a panic makes it do.
            self.stuck.remove(&number);
            self.counts.failed += 1;
            return false;
        }
        let began = Instant::now();
        loop {
            let left = self.patience.saturating_sub(began.elapsed());
            match self.answers.1.recv_timeout(left) {
                Ok(answer) if answer.number == number => {
                    self.idle = Some(thread);
                    let well = answer.said.is_ok();
                    self.take(answer);
                    match well {
                        true => self.counts.answered += 1,
                        false => self.counts.failed += 1,
                    }
                    return well;
                }
                // One that hung until now. Its thread ends.
                Ok(answer) => self.take(answer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.counts.late += 1;
                    return false;
                }
            }
        }
    }

    fn take(&mut self, Answer { number, said }: Answer) {
        if let Some(key) = self.stuck.remove(&number)
            && let Ok(space) = said
        {
            self.known.insert(key, Some(space));
        }
    }

    /// A thread that waits for nothing, if there may be one more.
    fn thread(&mut self) -> Option<Sender<Question>> {
        if self.stuck.len() >= MOST_STUCK {
            return None;
        }
        if let Some(idle) = self.idle.take() {
            return Some(idle);
        }
        let (questions, asked) = channel::<Question>();
        let ask = self.ask.clone();
        let answers = self.answers.0.clone();
        std::thread::Builder::new()
            .name("volume".into())
            .stack_size(STACK)
            .spawn(move || {
                // It ends when nobody has a question for it any more: after a late answer at once.
                while let Ok(Question { number, path }) = asked.recv() {
                    let said = ask(&path);
                    if answers.send(Answer { number, said }).is_err() {
                        break;
                    }
                }
            })
            .ok()?;
        Some(questions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::mounts::parse;
    use std::collections::HashMap;
    use std::sync::{Condvar, Mutex};

    /// File systems of which some hang until they are let go.
    #[derive(Default)]
    struct Made {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct State {
        hanging: BTreeSet<PathBuf>,
        broken: BTreeSet<PathBuf>,
        asked: HashMap<PathBuf, usize>,
        waiting: usize,
    }

    impl Made {
        fn ask(&self, path: &Path) -> io::Result<Space> {
            let mut state = self.state.lock().unwrap();
            *state.asked.entry(path.into()).or_default() += 1;
            state.waiting += 1;
            while state.hanging.contains(path) {
                state = self.changed.wait(state).unwrap();
            }
            state.waiting -= 1;
            self.changed.notify_all();
            if state.broken.contains(path) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            Ok(space(state.asked[path] as u64))
        }

        fn change(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.state.lock().unwrap());
            self.changed.notify_all();
        }

        fn asked(&self, path: &str) -> usize {
            let state = self.state.lock().unwrap();
            state
                .asked
                .get(Path::new(path))
                .copied()
                .unwrap_or_default()
        }

        /// Until no thread waits any more.
        fn all_let_go(&self) {
            let mut state = self.state.lock().unwrap();
            while state.waiting > 0 {
                state = self.changed.wait(state).unwrap();
            }
        }
    }

    fn space(used: u64) -> Space {
        Space {
            used,
            ..Space::default()
        }
    }

    fn asker(made: &Arc<Made>) -> Asker {
        let made = made.clone();
        Asker::new(
            Arc::new(move |path| made.ask(path)),
            Duration::from_millis(50),
        )
    }

    fn mounts(count: usize) -> Vec<Mount> {
        let lines: Vec<String> = (0..count)
            .map(|n| format!("{} 1 0:{n} / /v{n:02} rw - tmpfs a rw", n + 2))
            .collect();
        parse(lines.join("\n").as_bytes())
    }

    fn round(asker: &mut Asker, mounts: &[Mount]) -> BTreeMap<String, (Option<u64>, bool)> {
        let uses = asker.round(&mounts.iter().collect::<Vec<_>>());
        uses.into_iter()
            .map(|(path, known)| {
                let used = known.space.map(|space| space.used);
                (path.display().to_string(), (used, known.stale))
            })
            .collect()
    }

    #[test]
    fn one_that_hangs_holds_up_no_other_and_is_not_asked_again() {
        let made = Arc::new(Made::default());
        let mut asker = asker(&made);
        let mounts = mounts(3);
        let first = round(&mut asker, &mounts);
        assert!(first.values().all(|&known| known == (Some(1), false)));

        made.change(|state| state.hanging = ["/v01".into()].into());
        for times in 2..5 {
            let began = Instant::now();
            let uses = round(&mut asker, &mounts);
            assert_eq!(uses["/v00"], (Some(times), false));
            assert_eq!(uses["/v01"], (Some(1), true), "the last that is known");
            assert_eq!(uses["/v02"], (Some(times), false));
            assert_eq!(made.asked("/v01"), 2, "once since it hangs");
            assert!(times == 2 || began.elapsed() < Duration::from_millis(50));
        }
        assert_eq!((asker.counts().stuck, asker.counts().late), (1, 1));

        made.change(|state| state.hanging.clear());
        made.all_let_go();
        // The answer is under way when the file system lets go.
        let uses = loop {
            let uses = round(&mut asker, &mounts);
            if asker.counts().stuck == 0 {
                break uses;
            }
        };
        let (used, stale) = uses["/v01"];
        assert!(used >= Some(2) && !stale, "asked again");
        assert_eq!(asker.counts().late, 1);
    }

    #[test]
    fn so_many_may_hang_and_then_nobody_else_is_asked() {
        let made = Arc::new(Made::default());
        let mut asker = asker(&made);
        let mounts = mounts(MOST_STUCK + 4);
        made.change(|state| {
            state.hanging = mounts.iter().map(|mount| mount.point.clone()).collect();
        });
        let uses = round(&mut asker, &mounts);
        assert!(uses.values().all(|&known| known == (None, true)));
        assert_eq!(uses.len(), MOST_STUCK + 4);
        let counts = asker.counts();
        assert_eq!((counts.stuck, counts.not_asked), (MOST_STUCK, 4));
        let began = Instant::now();
        round(&mut asker, &mounts);
        assert!(
            began.elapsed() < Duration::from_millis(50),
            "no wait at all"
        );

        made.change(|state| state.hanging.clear());
        made.all_let_go();
        while asker.counts().stuck > 0 {
            round(&mut asker, &mounts);
        }
        let uses = round(&mut asker, &mounts);
        assert!(uses.values().all(|&(used, stale)| used.is_some() && !stale));
        assert_eq!(asker.counts().not_asked, 0);
    }

    #[test]
    fn what_is_mounted_in_the_place_of_one_that_hangs_is_asked() {
        let made = Arc::new(Made::default());
        let mut asker = asker(&made);
        made.change(|state| state.hanging = ["/v00".into()].into());
        round(&mut asker, &mounts(1));
        let other = parse(b"9 1 0:99 / /v00 rw - tmpfs a rw");
        round(&mut asker, &other);
        assert_eq!((made.asked("/v00"), asker.counts().stuck), (2, 2));
        made.change(|state| state.hanging.clear());
        made.all_let_go();
        while asker.counts().stuck > 0 {
            round(&mut asker, &other);
        }
        assert!(!round(&mut asker, &other)["/v00"].1);
        assert!(round(&mut asker, &[]).is_empty(), "gone is forgotten");
        assert!(asker.known.is_empty());
    }

    #[test]
    fn one_that_refuses_is_stale_and_asked_again() {
        let made = Arc::new(Made::default());
        let mut asker = asker(&made);
        let mounts = mounts(1);
        round(&mut asker, &mounts);
        made.change(|state| state.broken = ["/v00".into()].into());
        assert_eq!(round(&mut asker, &mounts)["/v00"], (Some(1), true));
        made.change(|state| state.broken.clear());
        assert_eq!(round(&mut asker, &mounts)["/v00"], (Some(3), false));
        let counts = asker.counts();
        assert_eq!((counts.answered, counts.failed, counts.late), (2, 1, 0));
    }
}
