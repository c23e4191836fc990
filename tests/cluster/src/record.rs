//! What belongs to a cluster, on disk: so that another process can use it, and so that a run that
//! was killed can be cleaned up after.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::layout::{Layout, write_private};
use crate::process::{Process, boot_id};

/// The name of the machine with the API server.
pub(crate) const CONTROL_PLANE: &str = "control-plane";

/// A cluster's record. It is written before what it names is made. Fields that another version did
/// not write are empty: what is needed to clean up is in all of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// The cluster's prefix.
    pub(crate) prefix: String,
    /// The boot in which its processes were started.
    pub(crate) boot: String,
    /// X of its network 10.X.0.0/16.
    pub(crate) octet: u8,
    /// Its logs.
    pub(crate) logs: PathBuf,
    /// Where kubectl and others are: the programs that it was started with.
    pub(crate) programs: crate::tools::Tools,
    /// What the command that starts machines again must be.
    pub(crate) helper: PathBuf,
    /// How many nodes it has.
    pub(crate) nodes: usize,
    /// Whether it stays when the process that started it ends.
    pub(crate) detached: bool,
    /// Whether the API server writes an audit log.
    pub(crate) audit: bool,
    /// The pid 1 of every machine.
    pub(crate) machines: Vec<MachineRecord>,
}

/// A machine of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MachineRecord {
    /// Its name.
    pub(crate) name: String,
    /// Its pid 1.
    pub(crate) init: Process,
}

impl Record {
    /// Reads a record; `None` when there is none. One that is broken, or not of the cluster that
    /// its file is named after, is none: everything but processes is found by the prefix too.
    pub(crate) fn read(path: &Path) -> Result<Option<Record>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("read", path),
        };
        let record: Option<Record> = serde_json::from_slice(&text).ok();
        Ok(record.filter(|record| {
            check_prefix(&record.prefix).is_ok()
                && path
                    .file_stem()
                    .is_some_and(|name| name == record.prefix.as_str())
        }))
    }

    /// Writes the record in one step, so that no reader ever sees half of it.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("json.new");
        write_private(&new, &serde_json::to_vec_pretty(self).at("write", &new)?)?;
        std::fs::rename(&new, path).at("replace", path)
    }

    /// The machines that still run.
    pub(crate) fn running(&self) -> Vec<MachineRecord> {
        if self.boot != boot_id() {
            return Vec::new();
        }
        self.machines
            .iter()
            .filter(|machine| machine.init.is_alive())
            .cloned()
            .collect()
    }

    /// Whether its control plane runs.
    pub(crate) fn runs(&self) -> bool {
        self.running()
            .iter()
            .any(|machine| machine.name == CONTROL_PLANE)
    }

    /// Puts a machine in, in the place of an older one of its name.
    pub(crate) fn set_machine(&mut self, name: &str, init: Process) {
        self.machines.retain(|machine| machine.name != name);
        self.machines.push(MachineRecord {
            name: name.to_owned(),
            init,
        });
    }
}

/// The records of all clusters of this user.
pub(crate) fn all(layout: &Layout) -> Result<Vec<Record>> {
    let directory = layout.clusters();
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read directory", &directory)?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.at("read directory", &directory)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            records.extend(Record::read(&path)?);
        }
    }
    Ok(records)
}

/// The right to work on the cluster of one prefix. The kernel takes it back from a process that
/// ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says that another process has it.
    pub(crate) fn take(layout: &Layout, prefix: &str) -> Result<Lock> {
        Lock::try_take(layout, prefix)?.ok_or_else(|| Error::Busy {
            prefix: prefix.to_owned(),
            by: " by another process".to_owned(),
        })
    }

    /// Takes the lock if nobody has it.
    pub(crate) fn try_take(layout: &Layout, prefix: &str) -> Result<Option<Lock>> {
        let path = layout.lock(prefix);
        let file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).at("lock", &path),
        }
    }
}

/// Opens a file to lock it.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).at("create directory", directory)?;
    }
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .at("open", path)
}

/// Checks a prefix: it becomes part of the names of links, cgroups and directories.
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    let fits = !prefix.is_empty()
        && prefix.len() <= 8
        && prefix.starts_with(|c: char| c.is_ascii_lowercase())
        && prefix
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if fits {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{prefix:?} is no prefix of a cluster: use 1 to 8 small letters and digits that begin with a letter"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn record(prefix: &str) -> Record {
        Record {
            prefix: prefix.into(),
            boot: boot_id(),
            octet: 77,
            logs: "/l".into(),
            programs: crate::tools::Tools::in_directory(Path::new("/bin")),
            helper: "/x".into(),
            nodes: 2,
            detached: true,
            audit: true,
            machines: Vec::new(),
        }
    }

    #[test]
    fn a_record_is_read_back() {
        let scratch = Scratch::new();
        let layout = Layout::at(scratch.path());
        std::fs::create_dir(layout.clusters()).unwrap();
        record("t0").write(&layout.record("t0")).unwrap();
        record("t1").write(&layout.record("t1")).unwrap();
        assert_eq!(
            Record::read(&layout.record("t0")).unwrap().unwrap().prefix,
            "t0"
        );
        assert!(Record::read(&layout.record("t2")).unwrap().is_none());
        assert_eq!(all(&layout).unwrap().len(), 2);
    }

    #[test]
    fn a_broken_record_is_none() {
        let scratch = Scratch::new();
        let path = scratch.path().join("t0.json");
        for text in [
            "{\"prefix\":",
            "{}",
            r#"{"prefix":"t1"}"#,
            r#"{"prefix":".."}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(Record::read(&path).unwrap().is_none(), "{text}");
        }
    }

    #[test]
    fn a_record_of_another_version_says_what_to_clean_up() {
        let scratch = Scratch::new();
        let path = scratch.path().join("t0.json");
        let text = r#"{"prefix":"t0","boot":"b","new":1,"machines":[{"name":"node1","init":{"pid":7,"start":8}}]}"#;
        std::fs::write(&path, text).unwrap();
        let record = Record::read(&path).unwrap().unwrap();
        assert_eq!(record.machines[0].init, Process { pid: 7, start: 8 });
    }

    #[test]
    fn processes_of_another_boot_do_not_run() {
        let mut record = record("t0");
        record.set_machine("node1", Process::current().unwrap());
        assert_eq!(record.running().len(), 1);
        record.boot = "another".into();
        assert!(record.running().is_empty());
    }

    #[test]
    fn a_machine_started_again_replaces_itself() {
        let mut record = record("t0");
        record.set_machine("node1", Process { pid: 1, start: 1 });
        record.set_machine("node1", Process { pid: 2, start: 2 });
        assert_eq!(record.machines.len(), 1);
        assert_eq!(record.machines[0].init.pid, 2);
    }

    #[test]
    fn one_process_at_a_time() {
        let scratch = Scratch::new();
        let layout = Layout::at(scratch.path());
        let lock = Lock::take(&layout, "t0").unwrap();
        assert!(matches!(Lock::take(&layout, "t0"), Err(Error::Busy { .. })));
        assert!(Lock::try_take(&layout, "t1").unwrap().is_some());
        drop(lock);
        Lock::take(&layout, "t0").unwrap();
    }

    #[test]
    fn prefixes() {
        for good in ["t", "t0", "demo", "abcdefg8"] {
            check_prefix(good).unwrap();
        }
        for bad in ["", "0t", "a-b", "../x", "abcdefghi", "T0", "ü"] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }
}
