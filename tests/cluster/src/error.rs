//! What can go wrong, each as a sentence that names the object and, where there is one, the remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the throw-away cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be worked on.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as in "cannot *read* FILE".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// A program could not be started at all.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why it failed.
        source: io::Error,
    },

    /// A program ended with an error.
    #[error("`{command}` failed ({status}){}", Said(output))]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        output: String,
    },

    /// A program took longer than it may.
    #[error(
        "`{command}` did not end within {limit:?} and was killed{}",
        Said(output)
    )]
    Slow {
        /// The command line.
        command: String,
        /// The time it had.
        limit: Duration,
        /// The end of what it wrote.
        output: String,
    },

    /// A component of the cluster failed or ended.
    #[error("{component} on {machine} {problem}; its log is {}{}", log.display(), Tail(tail))]
    Component {
        /// The component, for example `kubelet`.
        component: String,
        /// The machine that it runs on, for example `node1`.
        machine: String,
        /// What happened, as in "kubelet on node1 *ended with status 1*".
        problem: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// A machine's first process did not start or does not answer.
    #[error("machine {machine} {problem}; its log is {}{}", log.display(), Tail(tail))]
    Machine {
        /// The machine, for example `node1`.
        machine: String,
        /// What happened.
        problem: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// Something did not come about in time.
    #[error("{what} did not happen within {limit:?}: {last}; the logs are in {}", logs.display())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// The last thing seen.
        last: String,
        /// Where the logs are.
        logs: PathBuf,
    },

    /// The cluster of this prefix is in use.
    #[error("cluster `{prefix}` is in use{by}: take it down first, or choose another prefix")]
    Busy {
        /// The cluster's prefix.
        prefix: String,
        /// By whom, when known.
        by: String,
    },

    /// There is no cluster of this prefix.
    #[error("there is no cluster `{prefix}` that is up: start it first")]
    NotUp {
        /// The cluster's prefix.
        prefix: String,
    },

    /// This machine or this user cannot do it.
    #[error("{0}")]
    Unable(String),

    /// The caller asked for something that does not exist.
    #[error("{0}")]
    Invalid(String),
}

/// Adds the file to an I/O error.
pub(crate) trait At<T> {
    /// Says what was tried with which file.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::File {
            action,
            path: path.as_ref().to_path_buf(),
            source: source.into(),
        })
    }
}

/// `: text`, or nothing.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim() {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// The last lines of a log on lines of their own, or nothing.
struct Tail<'a>(&'a str);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end() {
            "" => Ok(()),
            text => write!(f, " and ends with\n{text}"),
        }
    }
}

/// The last `lines` lines of a file, as far as it can be read: for error messages.
pub fn tail_of(path: &Path, lines: usize) -> String {
    // 16 KiB hold the last lines of any log here; klog lines are some 200 bytes long.
    const WINDOW: u64 = 16 * 1024;
    use std::io::{Read, Seek, SeekFrom};
    let Ok(mut file) = std::fs::File::open(path) else {
        return String::new();
    };
    let length = file.metadata().map_or(0, |m| m.len());
    if file
        .seek(SeekFrom::Start(length.saturating_sub(WINDOW)))
        .is_err()
    {
        return String::new();
    }
    let mut bytes = Vec::new();
    if file.take(WINDOW).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    last_lines(&String::from_utf8_lossy(&bytes), lines).to_owned()
}

/// The last `lines` lines of a text.
pub(crate) fn last_lines(text: &str, lines: usize) -> &str {
    let text = text.trim_end();
    match text.rmatch_indices('\n').nth(lines.saturating_sub(1)) {
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_text() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a\nb", 5), "a\nb");
        assert_eq!(last_lines("", 3), "");
    }

    #[test]
    fn a_component_error_is_a_sentence_with_the_log() {
        let error = Error::Component {
            component: "kubelet".into(),
            machine: "node1".into(),
            problem: "ended with status 1".into(),
            log: "/logs/node1-kubelet.log".into(),
            tail: "E0101 no cgroup\n".into(),
        };
        assert_eq!(
            error.to_string(),
            "kubelet on node1 ended with status 1; its log is /logs/node1-kubelet.log and ends with\nE0101 no cgroup"
        );
    }

    #[test]
    fn a_silent_command_adds_no_colon() {
        let error = Error::Command {
            command: "ip link".into(),
            status: "exit status: 1".into(),
            output: " \n".into(),
        };
        assert_eq!(error.to_string(), "`ip link` failed (exit status: 1)");
    }
}
