//! Says what takes long, and how long it took.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Anything shorter is not worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(2);
/// How often a long step says that it is still at it.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Takes lines about what happens.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Hands every line to a function.
    pub fn new(line: impl Fn(&str) + Send + Sync + 'static) -> Progress {
        Progress(Arc::new(line))
    }

    /// Writes every line to standard error.
    pub fn to_stderr() -> Progress {
        Progress::new(|line| eprintln!("{line}"))
    }

    /// Says nothing.
    pub fn silent() -> Progress {
        Progress::new(|_| ())
    }

    /// One line.
    pub fn say(&self, line: &str) {
        (self.0)(line);
    }

    /// Does something, and says so when it takes longer than two seconds: what it is after those
    /// two seconds, then every minute, and at the end how long it took.
    pub fn during<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let (done, waiting) = channel::<()>();
            scope.spawn(move || {
                let mut wait = WORTH_A_LINE;
                while waiting.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    match start.elapsed() {
                        first if first < HEARTBEAT => self.say(&format!("{what} …")),
                        later => self.say(&format!("{what} … {} s so far", later.as_secs())),
                    }
                    wait = HEARTBEAT;
                }
            });
            let result = work();
            drop(done);
            if start.elapsed() >= WORTH_A_LINE {
                self.say(&format!("{what}: {:.1} s", start.elapsed().as_secs_f64()));
            }
            result
        })
    }
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::to_stderr()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn short_steps_are_silent() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let progress = Progress::new(move |line| seen.lock().unwrap().push(line.to_owned()));
        assert_eq!(progress.during("adding", || 1 + 1), 2);
        assert!(lines.lock().unwrap().is_empty());
        progress.say("hello");
        assert_eq!(*lines.lock().unwrap(), ["hello"]);
    }

    #[test]
    fn long_steps_say_what_and_how_long() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let progress = Progress::new(move |line| seen.lock().unwrap().push(line.to_owned()));
        progress.during("sleeping", || {
            std::thread::sleep(WORTH_A_LINE + HEARTBEAT / 120)
        });
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], "sleeping …");
        assert!(lines[1].starts_with("sleeping: 2."), "{lines:?}");
    }
}
