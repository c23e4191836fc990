//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the throw-away virtual machine.
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

    /// What both harnesses have in common failed.
    #[error(transparent)]
    Harness(#[from] throwaway_cluster::Error),

    /// The emulator could not be started or watched.
    #[error("cannot run the virtual machine: {0}")]
    Emulator(io::Error),

    /// The scenario said that something is wrong.
    #[error("{scenario}: {why}; the guest's console is in {}", console.display())]
    Failed {
        /// The scenario's name.
        scenario: String,
        /// What it said.
        why: String,
        /// What the guest printed.
        console: PathBuf,
    },

    /// The guest ended without saying how it went.
    #[error("{scenario}: the virtual machine ended without a result ({status}) after \"{last}\"; its console is {} and ends with\n{tail}", console.display())]
    NoResult {
        /// The scenario's name.
        scenario: String,
        /// How the emulator ended.
        status: String,
        /// The last step that was begun.
        last: String,
        /// What the guest printed.
        console: PathBuf,
        /// The end of it.
        tail: String,
    },

    /// The guest was too slow.
    #[error("{scenario}: the virtual machine did not end within {limit:?}, the last step was \"{last}\"; its console is {} and ends with\n{tail}", console.display())]
    Slow {
        /// The scenario's name.
        scenario: String,
        /// The time that it had.
        limit: Duration,
        /// The last step that was begun.
        last: String,
        /// What the guest printed.
        console: PathBuf,
        /// The end of it.
        tail: String,
    },

    /// This machine or this user cannot do it.
    #[error("{0}")]
    Unable(String),
}

/// Adds the file to an I/O error.
pub(crate) trait At<T> {
    /// Says what was tried with which file.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::File {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        })
    }
}
