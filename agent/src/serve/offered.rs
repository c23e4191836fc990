//! Which controls all of our processes on this node offer.
//!
//! Scope keeps the active controls of a node in one string, and of several writers the last one
//! wins. So each process lays down what it offers in a file of its plugin's directory, and each names
//! the union, in one order. A file counts while its writer holds the lock on it: the kernel gives the
//! lock back however the writer ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};

use super::socket::SocketError;
use crate::collect::ControlNames;
use crate::control::CONTROLS_SUFFIX;

/// How often the directory is looked at. A process that comes or goes changes the buttons for at
/// most this long more than Scope itself, which looks for sockets as often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Directories looked into. Each is a plugin, and the probe asks plugins one after another: with
/// this many no report is in time.
const MAX_PLUGINS: usize = 64;
/// A file's size. A control's ID has some 40 bytes.
pub(super) const MAX_BYTES: u64 = 16 * 1024;
/// Controls of one kind that one process may offer. Scope shows them in one row.
const MAX_CONTROLS: usize = 32;
/// Bytes of a control's name.
const MAX_NAME: usize = 128;

/// Whether the plugin may offer this. What it says goes into a string that Scope reads.
pub(super) fn is_valid(offer: &ControlNames, plugin: &str) -> bool {
    let ControlNames {
        pod,
        deployment,
        stateful_set,
        daemon_set,
        cron_job,
        host,
        container,
        frozen_container,
        network,
    } = offer;
    [
        pod,
        deployment,
        stateful_set,
        daemon_set,
        cron_job,
        host,
        container,
        frozen_container,
        network,
    ]
    .into_iter()
    .all(|names| names.len() <= MAX_CONTROLS && names.iter().all(|name| is_name_of(plugin, name)))
}

/// Whether it is `<plugin or its controls' socket>~<control>`, of characters that mean nothing to
/// Scope's app. No other suffix: `a-b` may be a plugin beside `a`.
fn is_name_of(plugin: &str, name: &str) -> bool {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= MAX_NAME
        && name.split_once('~').is_some_and(|(socket, control)| {
            plain(socket)
                && plain(control)
                && socket
                    .strip_prefix(plugin)
                    .is_some_and(|rest| rest.is_empty() || rest == CONTROLS_SUFFIX)
        })
}

fn file_name(id: &str) -> String {
    format!("{id}.controls")
}

/// What this process offers, for the others to read. Gone when dropped.
#[derive(Debug)]
pub struct OfferedControls {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

impl OfferedControls {
    /// Lays down what plugin `id` offers, in its directory, which exists.
    pub fn write(directory: &Path, id: &str, names: &ControlNames) -> Result<Self, SocketError> {
        let path = directory.join(file_name(id));
        let new = directory.join(format!("{}.new", file_name(id)));
        let failed = |action, source: std::io::Error| SocketError::Io {
            action,
            path: path.clone(),
            source,
        };
        // Left behind by one that was killed here; the directory's lock is ours.
        match std::fs::remove_file(&new) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("replace", e));
            }
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed("make", e.into()))?;
        // Before it has its name, so that no reader ever holds the lock.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| failed("lock", e.into()))?;
        let mut file = File::from(file);
        serde_json::to_vec(names)
            .map_err(std::io::Error::from)
            .and_then(|text| file.write_all(&text))
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|e| failed("write", e))?;
        Ok(OfferedControls { path, file })
    }
}

impl Drop for OfferedControls {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %e, "cannot remove the list of controls");
        }
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// A file as it was when it was last read.
#[derive(Debug)]
struct Seen {
    /// Which file, and when it was changed.
    version: (u64, u64, i64, i64),
    /// `None` for one that says nothing usable.
    offer: Option<ControlNames>,
}

/// Looks for the other processes' files, for the sampler.
#[derive(Debug)]
pub struct OfferReader {
    plugin_dir: PathBuf,
    id: String,
    own: ControlNames,
    looked: Option<Instant>,
    seen: BTreeMap<String, Seen>,
    united: ControlNames,
}

impl OfferReader {
    /// For plugin `id`, which itself offers `own`.
    pub fn new(plugin_dir: &Path, id: &str, own: ControlNames) -> Self {
        OfferReader {
            plugin_dir: plugin_dir.to_owned(),
            id: id.to_owned(),
            united: own.clone(),
            own,
            looked: None,
            seen: BTreeMap::new(),
        }
    }

    /// The controls to be named in nodes, at this time: ours and the others', where there are some of
    /// ours. Reads the directory when it was last read some seconds before.
    pub fn names(&mut self, now: Instant) -> &ControlNames {
        // Who offers nothing writes into nobody's string.
        let nothing = self.own == ControlNames::default();
        let due = self
            .looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        if !nothing && due {
            self.looked = Some(now);
            self.look();
        }
        &self.united
    }

    fn look(&mut self) {
        let others = self.others();
        self.seen.retain(|id, _| others.contains(id));
        for id in others {
            let seen = self.seen.remove(&id);
            if let Some(now) = read(&self.plugin_dir.join(&id), &id, seen) {
                self.seen.insert(id, now);
            }
        }
        let offers: Vec<&ControlNames> = self
            .seen
            .values()
            .filter_map(|s| s.offer.as_ref())
            .collect();
        let united = unite(&self.own, &offers);
        if united != self.united {
            tracing::info!(
                ?united,
                "the controls that this node's plugins offer changed"
            );
            self.united = united;
        }
    }

    /// The other plugins, by the names of their directories; of too many the first, the same for all
    /// who look.
    fn others(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(&self.plugin_dir).into_iter().flatten();
        let mut first = BTreeSet::new();
        for id in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|id| *id != self.id)
        {
            first.insert(id);
            if first.len() > MAX_PLUGINS {
                first.pop_last();
            }
        }
        first
    }
}

/// What stands in a plugin's file, read anew only when it changed. `None` when nobody holds it.
fn read(directory: &Path, id: &str, seen: Option<Seen>) -> Option<Seen> {
    let file = open(&directory.join(file_name(id)))?;
    // The writer locked it before it had this name: whoever gets the lock has found a dead one's.
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)
        != Err(rustix::io::Errno::WOULDBLOCK)
    {
        return None;
    }
    let stat = rustix::fs::fstat(&file).ok()?;
    let version = (
        stat.st_dev,
        stat.st_ino,
        stat.st_mtime,
        stat.st_mtime_nsec as i64,
    );
    if let Some(seen) = seen.filter(|seen| seen.version == version) {
        return Some(seen);
    }
    let mut text = Vec::new();
    let read = File::from(file).take(MAX_BYTES + 1).read_to_end(&mut text);
    let offer = match read {
        Ok(length) if length as u64 <= MAX_BYTES => parse(&text, id),
        _ => None,
    };
    if offer.is_none() {
        let path = directory.join(file_name(id));
        tracing::warn!(path = %path.display(), "not a list of controls; it is left out");
    }
    Some(Seen { version, offer })
}

/// What this plugin offers, if that is what the text says.
pub(super) fn parse(text: &[u8], id: &str) -> Option<ControlNames> {
    let offer: ControlNames = serde_json::from_slice(text).ok()?;
    is_valid(&offer, id).then_some(offer)
}

/// A regular file of our own user; nothing else is followed, waited for or believed.
fn open(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    (regular && stat.st_uid == rustix::process::geteuid().as_raw()).then_some(file)
}

/// One of the lists.
type List = fn(&ControlNames) -> &Vec<String>;

/// The controls to be named on each kind of node that we offer something on.
fn unite(own: &ControlNames, others: &[&ControlNames]) -> ControlNames {
    let all = |list: List| -> Vec<String> {
        let offers = std::iter::once(own).chain(others.iter().copied());
        let all: BTreeSet<&String> = offers.flat_map(list).collect();
        all.into_iter().cloned().collect()
    };
    let where_ours = |lists: &[List], list: List| match lists.iter().any(|of| !of(own).is_empty()) {
        true => all(list),
        false => Vec::new(),
    };
    let one = |list: List| where_ours(&[list], list);
    // A container goes from one of these to the other.
    let of_containers: [List; 3] = [|n| &n.container, |n| &n.frozen_container, |n| &n.network];
    let [container, frozen_container, network] =
        of_containers.map(|list| where_ours(&of_containers, list));
    ControlNames {
        pod: one(|n| &n.pod),
        deployment: one(|n| &n.deployment),
        stateful_set: one(|n| &n.stateful_set),
        daemon_set: one(|n| &n.daemon_set),
        cron_job: one(|n| &n.cron_job),
        host: one(|n| &n.host),
        container,
        frozen_container,
        network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_names_controls_of_its_own_two_sockets_only() {
        for (name, valid) in [
            ("a~x", true),
            ("a-controls~x", true),
            ("a-b~x", false),
            ("a-b-controls~x", false),
            ("a-controls-controls~x", false),
            ("a-~x", false),
            ("a-Controls~x", false),
            ("acontrols~x", false),
            ("b~x", false),
        ] {
            assert_eq!(is_name_of("a", name), valid, "{name}");
        }
        // The plugin of that name itself may.
        assert!(is_name_of("a-b", "a-b-controls~x"));
    }
}
