//! How many descriptors a process has open.
//!
//! Since Linux 6.2 the size of `/proc/<pid>/fd` is that number, and anybody may ask for it. Before,
//! the directory has to be listed, which is dear and, for the processes of other users, needs
//! `CAP_DAC_READ_SEARCH` (and `CAP_SYS_PTRACE` where `/proc` is mounted with `hidepid`).

use std::os::fd::OwnedFd;
use std::path::Path;

use super::kept_file::is_proc;
use super::reader::{ReadError, Reader};
use super::{Cause, Datum, Problems};

/// Descriptors that are listed in one sample: some 5 ms. What is left is listed in the next.
const LISTED_PER_SAMPLE: usize = 10_000;
/// A process with more is not listed: it alone would take that long.
const LISTED_PER_PROCESS: usize = 5_000;

/// How the descriptors are counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the size of the directory.
    Size,
    /// By listing the directory.
    List,
}

/// Counts descriptors.
#[derive(Debug)]
pub(super) struct FileCounter {
    way: Option<Way>,
    left: usize,
}

/// What came of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// So many.
    Files(u64),
    /// It cannot be told.
    Unknown,
    /// Not now: enough was listed already.
    Later,
}

impl FileCounter {
    pub(super) fn new() -> Self {
        FileCounter { way: None, left: 0 }
    }

    /// Begins a sample of the processes below this root.
    pub(super) fn begin(&mut self, root: &Path, proc: &OwnedFd, reader: &mut Reader) {
        self.left = LISTED_PER_SAMPLE;
        // This process has some open, so a size of 0 is a kernel that does not tell.
        self.way.get_or_insert_with(|| {
            let told = reader.size_at(proc, &[b"self/fd"]);
            match is_proc(root) && told.is_ok_and(|size| size > 0) {
                true => Way::Size,
                false => Way::List,
            }
        });
    }

    /// Counts those of the process whose directory has this name.
    pub(super) fn count(
        &mut self,
        root: &Path,
        proc: &OwnedFd,
        name: &[u8],
        reader: &mut Reader,
        problems: &mut Problems,
    ) -> Counted {
        let parts = [name, b"/fd"];
        let result = match self.way {
            Some(Way::Size) => reader.size_at(proc, &parts),
            _ if self.left == 0 => return Counted::Later,
            _ => {
                let most = self.left.min(LISTED_PER_PROCESS);
                match reader.entries_at(proc, &parts, most) {
                    Ok(Some(entries)) => {
                        self.left -= entries;
                        Ok(entries as u64)
                    }
                    // More than are left, which may still be few enough for the next sample.
                    Ok(None) if most < LISTED_PER_PROCESS => {
                        self.left = 0;
                        return Counted::Later;
                    }
                    Ok(None) => {
                        self.left -= most;
                        Err(ReadError::Missing(Cause::TooLarge))
                    }
                    Err(error) => Err(error),
                }
            }
        };
        match result {
            Ok(files) => Counted::Files(files),
            Err(ReadError::Gone) => Counted::Unknown,
            Err(ReadError::Missing(cause)) => {
                problems.add(Datum::OpenFiles, cause, || {
                    let name = String::from_utf8_lossy(name);
                    root.join(&*name).join("fd").display().to_string()
                });
                Counted::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::open_directory;
    use super::*;

    fn count(counter: &mut FileCounter, root: &Path, pid: &str) -> (Counted, Problems) {
        let (proc, mut reader) = (open_directory(root).unwrap(), Reader::new());
        let mut problems = Problems::default();
        let counted = counter.count(root, &proc, pid.as_bytes(), &mut reader, &mut problems);
        (counted, problems)
    }

    fn made(files: &[(&str, usize)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (pid, files) in files {
            let directory = root.path().join(pid).join("fd");
            std::fs::create_dir_all(&directory).unwrap();
            for n in 0..*files {
                std::fs::write(directory.join(n.to_string()), "").unwrap();
            }
        }
        root
    }

    fn begun(root: &Path) -> FileCounter {
        let mut counter = FileCounter::new();
        let proc = open_directory(root).unwrap();
        counter.begin(root, &proc, &mut Reader::new());
        counter
    }

    #[test]
    fn lists_where_the_size_does_not_tell() {
        let root = made(&[("1", 0), ("2", 3)]);
        let mut counter = begun(root.path());
        assert_eq!(count(&mut counter, root.path(), "1").0, Counted::Files(0));
        assert_eq!(count(&mut counter, root.path(), "2").0, Counted::Files(3));
        let (counted, problems) = count(&mut counter, root.path(), "3");
        assert_eq!(counted, Counted::Unknown);
        assert!(problems.is_empty(), "it ended");
        std::fs::create_dir(root.path().join("4")).unwrap();
        std::os::unix::fs::symlink("fd", root.path().join("4/fd")).unwrap();
        let (counted, problems) = count(&mut counter, root.path(), "4");
        assert_eq!(counted, Counted::Unknown);
        assert!(problems.get(Datum::OpenFiles, Cause::Failed).is_some());
    }

    #[test]
    fn lists_only_so_many() {
        let root = made(&[("1", 30), ("2", LISTED_PER_PROCESS + 1)]);
        let mut counter = begun(root.path());
        let (counted, problems) = count(&mut counter, root.path(), "2");
        assert_eq!(counted, Counted::Unknown);
        assert!(problems.get(Datum::OpenFiles, Cause::TooLarge).is_some());
        counter.left = 29;
        assert_eq!(count(&mut counter, root.path(), "1").0, Counted::Later);
        assert_eq!(count(&mut counter, root.path(), "1").0, Counted::Later);
        counter.left = 30;
        assert_eq!(count(&mut counter, root.path(), "1").0, Counted::Files(30));
    }

    #[test]
    fn the_kernels_own_count_is_that_of_the_list() {
        let root = Path::new("/proc");
        let pid = std::process::id().to_string();
        let mut counter = begun(root);
        // Other tests open and close files meanwhile.
        let agree = (0..1000).any(|_| {
            counter.left = LISTED_PER_SAMPLE;
            let way = counter.way;
            let told = count(&mut counter, root, &pid).0;
            counter.way = Some(Way::List);
            let listed = count(&mut counter, root, &pid).0;
            counter.way = way;
            // Listing opens the directory.
            matches!((told, listed), (Counted::Files(a), Counted::Files(b)) if a.abs_diff(b) <= 1)
        });
        assert!(agree);
    }
}
