//! What is done in pods' networks, by threads that may not come back.
//!
//! The kernel has one lock on the networks of the whole machine. Who waits for it cannot be woken, not even by
//! a timeout of the socket. So each question is asked by a thread of its own, which is left to wait when it
//! takes too long: whoever asked goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::handle::Handle;
use super::namespace::{Identity, Namespace, NamespaceError, ask_kernel};
use super::netlink::Root;
use super::setting::Setting;

/// The kernel answers in less than a millisecond, unless somebody holds its lock.
const PATIENCE: Duration = Duration::from_secs(2);
/// Threads that wait at the same time, in one network each. All of them wait for the same lock, so that more of
/// them would not get more answers.
pub const MOST_WAITING: usize = 8;

/// What is to be done in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Look what is set.
    Look,
    /// Set this; the answer is what is set then.
    Set(Setting),
    /// Take away what is ours; the answer is what was there before.
    Clear,
}

/// How the kernel is asked; it may not return for hours.
pub type Ask =
    Arc<dyn Fn(&Namespace, Handle, &Request) -> Result<Root, NamespaceError> + Send + Sync>;

/// Does things in pods' networks for one plugin.
pub struct Networks {
    ours: Handle,
    ask: Ask,
    patience: Duration,
    waiting: Arc<Mutex<Waiting>>,
    late: AtomicU64,
}

/// The questions without an answer.
#[derive(Debug, Default)]
struct Waiting {
    asked: u64,
    /// By their number: where, and whether it took too long already.
    questions: BTreeMap<u64, (Identity, bool)>,
}

/// A question without an answer; dropped when there is one, or when its thread broke off.
struct Question {
    number: u64,
    waiting: Arc<Mutex<Waiting>>,
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.waiting).questions.remove(&self.number);
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Networks").finish_non_exhaustive()
    }
}

impl Networks {
    /// For the plugin with this ID, by the kernel.
    pub fn of_plugin(id: &str) -> Self {
        Networks::new(Handle::of_plugin(id), Arc::new(ask_kernel), PATIENCE)
    }

    /// One that asks like this and waits so long for each answer.
    pub fn new(ours: Handle, ask: Ask, patience: Duration) -> Self {
        Networks {
            ours,
            ask,
            patience,
            waiting: Arc::default(),
            late: AtomicU64::new(0),
        }
    }

    /// What is set there.
    pub fn root(&self, network: &Namespace) -> Result<Root, NamespaceError> {
        self.ask(network, Request::Look)
    }

    /// Sets it; what the kernel says then.
    pub fn set(&self, network: &Namespace, setting: Setting) -> Result<Root, NamespaceError> {
        self.ask(network, Request::Set(setting))
    }

    /// Takes away what is ours; what was there before.
    pub fn clear(&self, network: &Namespace) -> Result<Root, NamespaceError> {
        self.ask(network, Request::Clear)
    }

    /// Questions that did not get their answer in time, and how many wait for it still.
    pub fn late(&self) -> (u64, usize) {
        let waiting = lock(&self.waiting);
        let still = waiting.questions.values().filter(|(_, late)| *late).count();
        (self.late.load(Ordering::Relaxed), still)
    }

    /// One network is not asked again while an earlier question about it waits for too long already: what
    /// was to be done by that may happen at any time.
    fn ask(&self, network: &Namespace, request: Request) -> Result<Root, NamespaceError> {
        let question = self.begin(network.identity())?;
        let number = question.number;
        let (ask, ours, network) = (self.ask.clone(), self.ours, network.clone());
        let (answers, answer) = sync_channel(1);
        std::thread::Builder::new()
            .name("network".into())
            .spawn(move || {
                let said = ask(&network, ours, &request);
                drop(question);
                // Nobody waits for a late one.
                let _ = answers.send(said);
            })
            .map_err(NamespaceError::Thread)?;
        match answer.recv_timeout(self.patience) {
            Ok(said) => said,
            Err(RecvTimeoutError::Disconnected) => Err(NamespaceError::Thread(
                std::io::Error::other("it broke off"),
            )),
            Err(RecvTimeoutError::Timeout) => {
                self.late.fetch_add(1, Ordering::Relaxed);
                if let Some((_, late)) = lock(&self.waiting).questions.get_mut(&number) {
                    *late = true;
                }
                Err(NamespaceError::Late(self.patience))
            }
        }
    }

    fn begin(&self, network: Identity) -> Result<Question, NamespaceError> {
        let mut waiting = lock(&self.waiting);
        let late = || waiting.questions.values().filter(|(_, late)| *late);
        if late().count() >= MOST_WAITING || late().any(|(waits, _)| *waits == network) {
            return Err(NamespaceError::NotAsked);
        }
        waiting.asked += 1;
        let number = waiting.asked;
        waiting.questions.insert(number, (network, false));
        Ok(Question {
            number,
            waiting: self.waiting.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    /// Networks of which some hang until they are let go.
    #[derive(Default)]
    struct Made {
        hanging: Mutex<Vec<u64>>,
        changed: Condvar,
    }

    impl Made {
        fn networks(self: &Arc<Self>, patience: Duration) -> Networks {
            let made = self.clone();
            let ask = move |network: &Namespace, _: Handle, _: &Request| {
                let inode = network.identity().inode;
                assert_ne!(inode, 999, "broken off");
                let mut hanging = made.hanging.lock().expect("whole");
                while hanging.contains(&inode) {
                    hanging = made.changed.wait(hanging).expect("whole");
                }
                Ok(Root::Default)
            };
            let ours = Handle::of_plugin("node-metrics");
            Networks::new(ours, Arc::new(ask), patience)
        }

        fn hang(&self, inodes: impl IntoIterator<Item = u64>) {
            *self.hanging.lock().expect("whole") = inodes.into_iter().collect();
            self.changed.notify_all();
        }
    }

    #[test]
    fn one_that_hangs_holds_up_no_other_and_is_not_asked_again() {
        let made = Arc::new(Made::default());
        let networks = made.networks(SHORT);
        let (hung, other) = (Namespace::made(1), Namespace::made(2));
        made.hang([1]);
        let late = networks.clear(&hung).expect_err("late");
        assert!(late.is_late(), "{late}");
        assert_eq!(
            late.to_string(),
            "the kernel has not answered within 50ms, and may still do it"
        );
        let began = Instant::now();
        let again = networks.clear(&hung).expect_err("not asked");
        assert!(matches!(again, NamespaceError::NotAsked), "{again}");
        assert!(began.elapsed() < SHORT, "nobody waited");
        assert!(matches!(networks.root(&other), Ok(Root::Default)));
        assert_eq!(networks.late(), (1, 1));
        made.hang([]);
        while networks.late().1 > 0 {
            std::thread::yield_now();
        }
        assert!(matches!(networks.clear(&hung), Ok(Root::Default)));
        assert_eq!(networks.late(), (1, 0));
    }

    #[test]
    fn so_many_threads_wait_and_no_more() {
        let made = Arc::new(Made::default());
        let networks = made.networks(SHORT);
        made.hang(0..100);
        for inode in 0..20 {
            let error = networks.root(&Namespace::made(inode)).expect_err("hangs");
            assert_eq!(error.is_late(), inode < MOST_WAITING as u64, "{error}");
        }
        assert_eq!(networks.late(), (MOST_WAITING as u64, MOST_WAITING));
        made.hang([]);
        while networks.late().1 > 0 {
            std::thread::yield_now();
        }
        assert!(networks.root(&Namespace::made(1)).is_ok());
    }

    #[test]
    fn one_that_breaks_off_is_an_error_and_takes_no_place() {
        let networks = Arc::new(Made::default()).networks(Duration::from_secs(60));
        for _ in 0..=MOST_WAITING {
            let error = networks.root(&Namespace::made(999)).expect_err("broke off");
            assert!(matches!(error, NamespaceError::Thread(_)), "{error}");
        }
        assert_eq!(networks.late(), (0, 0));
    }
}
