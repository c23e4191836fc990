//! Until when which container is frozen, and which pod's traffic is shaped, on disk, so that the next agent
//! knows after a SIGKILL.
//!
//! Times are of the boot clock, which neither a restart of the agent nor a change of the wall
//! clock touches. An entry is written before its container is frozen: the file may name one that is
//! not frozen, which is harmless, but never lacks one that is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::entries::Entry;

/// Entries at a time: twice what a node runs pods by default. A file with more is not ours.
pub(super) const MAX_ENTRIES: usize = 256;
/// What they take at most in the file.
pub(super) const MAX_BYTES: u64 = 256 * 1024;

/// The entries, and their file.
#[derive(Debug)]
pub(super) struct Deadlines<T> {
    path: PathBuf,
    entries: BTreeMap<String, T>,
}

impl<T: Entry> Deadlines<T> {
    /// What an earlier agent left in this directory. What cannot be true is dropped, and said. Nothing may
    /// be so for longer than `longest` from now on.
    pub(super) fn adopt(directory: &Path, longest: Duration, now: Duration) -> Self {
        let path = directory.join(T::FILE);
        let entries = match read(&path) {
            Ok(Some(text)) => parse(&text, longest, now),
            Ok(None) => BTreeMap::new(),
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "cannot read the file of {}", T::WHAT);
                BTreeMap::new()
            }
        };
        Deadlines { path, entries }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.entries.iter()
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.entries.values().map(until).min()
    }

    /// Those that are due.
    pub(super) fn due(&self, now: Duration) -> Vec<(String, T)> {
        self.iter()
            .filter(|(_, entry)| until(*entry) <= now)
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    }

    /// Adds one and writes the file; without the file nothing is added.
    pub(super) fn add(&mut self, key: &str, entry: T) -> io::Result<()> {
        let before = self.entries.insert(key.to_owned(), entry);
        let written = self.write();
        if written.is_err() {
            match before {
                Some(before) => self.entries.insert(key.to_owned(), before),
                None => self.entries.remove(key),
            };
        }
        written
    }

    /// Puts one off without writing: after a crash it is tried at once.
    pub(super) fn put_off(&mut self, key: &str, to: Duration) {
        if let Some(entry) = self.entries.get_mut(key) {
            *entry.until() = millis(to);
        }
    }

    /// Forgets one that is so no more.
    pub(super) fn remove(&mut self, key: &str) {
        if self.entries.remove(key).is_some()
            && let Err(e) = self.write()
        {
            // The next agent finds out.
            tracing::warn!(path = %self.path.display(), error = %e, "cannot write the file of {}", T::WHAT);
        }
    }

    /// A whole new file under the old name, or none where there is no entry.
    fn write(&self) -> io::Result<()> {
        if self.entries.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec(&self.entries)?;
        let new = self.path.with_extension("json.new");
        // The directory is ours alone; what lies there was left by an agent that was killed here.
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }
}

fn until<T: Entry>(entry: &T) -> Duration {
    Duration::from_millis(*entry.clone().until())
}

/// Milliseconds of a time on the boot clock.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file: File = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is too large to be ours",
        ));
    }
    Ok(Some(text))
}

/// What the text says, as far as it can be true.
pub(super) fn parse<T: Entry>(
    text: &[u8],
    longest: Duration,
    now: Duration,
) -> BTreeMap<String, T> {
    let read: BTreeMap<String, T> = match serde_json::from_slice(text) {
        Ok(read) => read,
        Err(e) => {
            tracing::warn!(error = %e, "the file of {} cannot be read; it is ignored", T::WHAT);
            return BTreeMap::new();
        }
    };
    let all = read.len();
    let latest = millis(now + longest);
    let kept: BTreeMap<_, _> = read
        .into_iter()
        .filter(|(key, entry)| entry.fits(key))
        .take(MAX_ENTRIES)
        .map(|(key, mut entry)| {
            let until = entry.until();
            *until = latest.min(*until);
            (key, entry)
        })
        .collect();
    if kept.len() < all {
        tracing::warn!(
            dropped = all - kept.len(),
            "entries of the file of {} are not ours; they are ignored",
            T::WHAT
        );
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::arguments::MAX_DURATION;
    use super::super::entries::{Frozen, Shaped};
    use super::*;
    use crate::traffic;

    fn frozen(until_ms: u64) -> Frozen {
        Frozen {
            pod_uid: "5aeb7ae0-1d5a".into(),
            namespace: "demo".into(),
            pod: "web-1".into(),
            name: "web".into(),
            until_ms,
        }
    }

    fn id(digit: &str) -> String {
        digit.repeat(64)
    }

    const NOW: Duration = Duration::from_secs(1000);

    fn adopted(directory: &Path) -> Deadlines<Frozen> {
        Deadlines::adopt(directory, MAX_DURATION, NOW)
    }

    #[test]
    fn a_shaped_pod_is_remembered_with_its_network() {
        let dir = tempfile::tempdir().unwrap();
        let shaped = Shaped {
            namespace: "demo".into(),
            pod: "web-1".into(),
            container: id("a"),
            name: "web".into(),
            network: traffic::Identity {
                device: 4,
                inode: 4_026_532_000,
            },
            until_ms: u64::MAX,
        };
        let longest = Duration::from_secs(60);
        let mut first = Deadlines::adopt(dir.path(), longest, NOW);
        first.add("5aeb7ae0-1d5a", shaped.clone()).unwrap();
        let next: Deadlines<Shaped> = Deadlines::adopt(dir.path(), longest, NOW);
        let kept = next.get("5aeb7ae0-1d5a").expect("kept");
        assert_eq!(kept.network, shaped.network);
        assert_eq!(kept.until_ms, 1_060_000, "no longer than is allowed now");
        let of_another_kind = Shaped {
            container: "../x".into(),
            ..shaped
        };
        assert!(!of_another_kind.fits("5aeb7ae0-1d5a"));
    }

    #[test]
    fn the_next_agent_knows_what_is_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = adopted(dir.path());
        assert_eq!(first.next(), None);
        first.add(&id("a"), frozen(1_500_000)).unwrap();
        first.add(&id("b"), frozen(1_200_000)).unwrap();
        fs::write(dir.path().join("frozen.json.new"), "cut off").unwrap();

        let mut next = adopted(dir.path());
        assert_eq!(next.entries, first.entries);
        assert_eq!(next.next(), Some(Duration::from_secs(1200)));
        let due = |at| {
            next.due(Duration::from_secs(at))
                .into_iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        };
        assert_eq!(due(1199), Vec::<String>::new());
        assert_eq!(due(1200), [id("b")]);
        assert_eq!(due(9999), [id("a"), id("b")]);

        next.put_off(&id("b"), Duration::from_secs(1201));
        assert_eq!(next.next(), Some(Duration::from_secs(1201)));
        next.remove(&id("b"));
        next.remove(&id("b"));
        assert_eq!(adopted(dir.path()).entries.len(), 1);
        next.remove(&id("a"));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing is left"
        );
    }

    #[test]
    fn what_cannot_be_true_is_dropped() {
        let adopt = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(Frozen::FILE), text).unwrap();
            adopted(dir.path()).entries
        };
        let one = |id: &str, frozen: &Frozen| {
            serde_json::to_string(&BTreeMap::from([(id, frozen)])).unwrap()
        };
        let mut bad = frozen(1);
        bad.pod = "x\n[evil]".into();
        for text in [
            String::new(),
            "null".into(),
            "[]".into(),
            "{\"a\":1}".into(),
            one("../../etc", &frozen(1)),
            one(&"A".repeat(64), &frozen(1)),
            one(&id("a"), &bad),
            "x".repeat(1 << 20),
        ] {
            assert!(adopt(&text).is_empty(), "{:.80}", text);
        }
        // Days ahead: as long as may be from now on, and not longer.
        let ahead = adopt(&one(&id("a"), &frozen(u64::MAX)));
        assert_eq!(ahead[&id("a")].until_ms, 1_000_000 + 3_600_000);
        let past = adopt(&one(&id("a"), &frozen(0)));
        assert_eq!(past[&id("a")].until_ms, 0);
        let many: BTreeMap<String, Frozen> = (0..1000)
            .map(|n| (format!("{n:064x}"), frozen(1)))
            .collect();
        assert_eq!(
            adopt(&serde_json::to_string(&many).unwrap()).len(),
            MAX_ENTRIES
        );
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(
            &elsewhere,
            serde_json::to_string(&BTreeMap::from([(id("a"), frozen(1))])).unwrap(),
        )
        .unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join(Frozen::FILE)).unwrap();
        assert!(adopted(dir.path()).entries.is_empty());
    }

    #[test]
    fn without_the_file_nothing_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let mut deadlines = adopted(&dir.path().join("missing"));
        assert!(deadlines.add(&id("a"), frozen(1)).is_err());
        assert!(deadlines.get(&id("a")).is_none() && !deadlines.is_full());
    }
}
