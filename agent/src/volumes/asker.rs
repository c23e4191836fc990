//! Asking file systems how full they are, each of which may never answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::kernel::Place;
use super::mounts::{Mount, Server};
use super::{Space, Standing, VolumeUse};

/// How a file system is asked; it may not return for hours. `None` says that it is mounted there no more.
pub type Ask = Arc<dyn Fn(&Place) -> io::Result<Option<Space>> + Send + Sync>;

/// File systems that hang at the same time, and so threads that wait for one each.
pub const MOST_STUCK: usize = MOST_BY_OTHERS + MOST_BY_KERNEL;
/// Of those for which another machine or a process answers. Further threads would most likely only wait as well.
const MOST_BY_OTHERS: usize = 24;
/// Of these, those that did not answer when they were asked the last time: the others' places are kept for them.
const MOST_BY_DOUBTFUL: usize = 16;
/// Of those for which the kernel answers by itself. None of them waits for one of the others, so they have places
/// of their own.
const MOST_BY_KERNEL: usize = 8;
/// Of those that one machine answers for: when it is away, all of them hang. One may hang by itself.
const MOST_BY_HOST: usize = 2;

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
    stuck: BTreeMap<u64, (Place, Server)>,
    known: BTreeMap<Place, Space>,
    /// Those that answered the last time.
    answering: BTreeSet<Place>,
    counts: Counts,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers in time.
    pub answered: u64,
    /// Answers that it is refused, or failed.
    pub failed: u64,
    /// Answers that it is mounted no more.
    pub gone: u64,
    /// Questions whose answer did not come in time.
    pub late: u64,
    /// File systems that do not answer at present.
    pub stuck: usize,
    /// File systems that were not asked the last time, since so many others do not answer.
    pub not_asked: usize,
}

struct Question {
    number: u64,
    place: Place,
}

struct Answer {
    number: u64,
    said: io::Result<Option<Space>>,
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
            answering: BTreeSet::new(),
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

    /// Asks all of these; of what is mounted no more there is nothing in the answer. It takes as long as
    /// [`PATIENCE`] for each that begins to hang, and so [`MOST_STUCK`] times that at most.
    pub(super) fn round(&mut self, mounts: &[&Mount]) -> BTreeMap<PathBuf, VolumeUse> {
        while let Ok(answer) = self.answers.1.try_recv() {
            self.take(answer);
        }
        // Those that the kernel answers for come first: they are waited for least.
        let asked: BTreeSet<(&Server, Place)> = mounts
            .iter()
            .map(|mount| (&mount.server, Place::of(mount)))
            .collect();
        let places: BTreeSet<&Place> = asked.iter().map(|(_, place)| place).collect();
        self.known.retain(|place, _| places.contains(place));
        self.answering.retain(|place| places.contains(place));
        self.counts.not_asked = 0;
        let mut uses = BTreeMap::new();
        for (server, place) in &asked {
            if let Some(standing) = self.ask(place, server) {
                let space = self.known.get(place).copied();
                uses.insert(place.point.clone(), VolumeUse { space, standing });
            }
        }
        uses
    }

    /// Asks one, unless a thread waits for it already. `None` says that it is gone.
    fn ask(&mut self, place: &Place, server: &Server) -> Option<Standing> {
        if self.stuck.values().any(|(stuck, _)| stuck == place) {
            return Some(Standing::Silent);
        }
        let may_wait = self.may_wait_for(place, server);
        let Some(thread) = may_wait.then(|| self.thread()).flatten() else {
            self.counts.not_asked += 1;
            return Some(Standing::NotAsked);
        };
        self.asked += 1;
        let number = self.asked;
        // From now on it counts as stuck, until its answer is taken.
        self.stuck.insert(number, (place.clone(), server.clone()));
        self.answering.remove(place);
        let question = Question {
            number,
            place: place.clone(),
        };
        if thread.send(question).is_err() {
            // The thread ended, which only a panic makes it do.
            self.stuck.remove(&number);
            self.counts.failed += 1;
            return Some(Standing::Refuses(io::ErrorKind::Other));
        }
        let began = Instant::now();
        loop {
            let left = self.patience.saturating_sub(began.elapsed());
            match self.answers.1.recv_timeout(left) {
                Ok(answer) if answer.number == number => {
                    self.idle = Some(thread);
                    let standing = match &answer.said {
                        Ok(Some(_)) => Some(Standing::Answers),
                        Ok(None) => None,
                        Err(e) => Some(Standing::Refuses(e.kind())),
                    };
                    self.take(answer);
                    match standing {
                        Some(Standing::Answers) => {
                            self.counts.answered += 1;
                            self.answering.insert(place.clone());
                        }
                        Some(_) => self.counts.failed += 1,
                        None => self.counts.gone += 1,
                    }
                    return standing;
                }
                // One that hung until now. Its thread ends.
                Ok(answer) => self.take(answer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.counts.late += 1;
                    return Some(Standing::Silent);
                }
            }
        }
    }

    fn take(&mut self, Answer { number, said }: Answer) {
        if let Some((place, _)) = self.stuck.remove(&number) {
            match said {
                Ok(Some(space)) => {
                    self.known.insert(place, space);
                }
                Ok(None) => {
                    self.known.remove(&place);
                }
                Err(_) => {}
            }
        }
    }

    /// Whether one more may hang of those that this one answers for.
    fn may_wait_for(&self, place: &Place, server: &Server) -> bool {
        let servers = || self.stuck.values().map(|(_, stuck)| stuck);
        let by_kernel = servers().filter(|stuck| **stuck == Server::Kernel).count();
        if *server == Server::Kernel {
            return by_kernel < MOST_BY_KERNEL;
        }
        let most = match self.answering.contains(place) {
            true => MOST_BY_OTHERS,
            false => MOST_BY_DOUBTFUL,
        };
        let of_this = || servers().filter(|stuck| *stuck == server).count();
        self.stuck.len() - by_kernel < most && (*server == Server::Own || of_this() < MOST_BY_HOST)
    }

    /// A thread that waits for nothing, if there can be one more.
    fn thread(&mut self) -> Option<Sender<Question>> {
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
                while let Ok(Question { number, place }) = asked.recv() {
                    let said = ask(&place);
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
mod tests;
