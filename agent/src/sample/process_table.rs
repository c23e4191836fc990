//! The processes: the only part of a sample that is large, hence with a path of its own to it.
//!
//! Per process and tick one `stat` is read. Its cgroup, the dearer of the two files, is remembered
//! for as long as the pid and the start are the same, and its descriptors are counted every few
//! seconds.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::RawDir;

use super::cgroup_path;
use super::group_table::GroupTable;
use super::number::decimal;
use super::open_files::{Counted, FileCounter};
use super::process_stat;
use super::reader::{End, ReadError, Reader, open_directory};
use super::seldom::Turn;
use super::{Cause, Datum, Problems, ProcessSample};

/// A runtime moves a container's first process into its cgroup after making it.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Processes are rarely moved later; each is looked at again once in so many samples.
const LOOK_AGAIN: u64 = 60;

/// Room for some 1,300 entries of `/proc` at a time.
const LISTING_BUFFER: usize = 32 << 10;

/// What is remembered of a process between samples.
#[derive(Debug, Clone, Copy)]
struct Known {
    pid: u32,
    /// Of its directory in `/proc`: another process of the same pid has another.
    inode: u64,
    start: u64,
    place: KnownPlace,
    /// When its cgroup is to be read the second time.
    second_look: Option<Duration>,
    /// Its open descriptors, as far as they could be counted.
    files: Option<u64>,
    /// When they are to be counted.
    files_turn: Turn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownPlace {
    /// A thread of the kernel.
    Kernel,
    /// In no container or pod.
    Outside,
    /// In none that its path tells, but within the cgroup namespace of this agent.
    OwnNamespace,
    /// Slot of the group table.
    Group(u32),
}

/// The processes of the last sample and how to read the next.
pub(super) struct ProcessTable {
    ticks_per_second: u64,
    page_size: u64,
    listing: Vec<u8>,
    pids: Vec<(u32, u64)>,
    known: Vec<Known>,
    next: Vec<Known>,
    turn: u64,
    files: FileCounter,
    /// Whether open descriptors are counted.
    counts_files: bool,
    /// Whether a path was seen that leads out of this agent's own cgroup namespace: then it has
    /// one, and a path that does not lead out is inside of the agent's own container.
    namespaced: bool,
}

/// What a scan found.
pub(super) struct Scan {
    pub(super) processes: Vec<ProcessSample>,
    pub(super) kernel_threads: u32,
    /// Indices of the processes that run in the agent's own container.
    pub(super) own: Vec<usize>,
}

impl ProcessTable {
    pub(super) fn new(counts_files: bool) -> Self {
        ProcessTable {
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            page_size: rustix::param::page_size() as u64,
            listing: Vec::with_capacity(LISTING_BUFFER),
            pids: Vec::new(),
            known: Vec::new(),
            next: Vec::new(),
            turn: 0,
            files: FileCounter::new(),
            counts_files,
            namespaced: false,
        }
    }

    /// Nanoseconds in so many clock ticks.
    pub(super) fn nanoseconds(&self, ticks: u64) -> u64 {
        // Exact for the one rate in use, 100 a second, and for any other that divides a second.
        ticks.saturating_mul(1_000_000_000 / self.ticks_per_second)
    }

    /// The clock ticks in so long a time, as the kernel writes them.
    pub(super) fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos() / u128::from(1_000_000_000 / self.ticks_per_second);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Reads all processes below this root, now; `turns` is the time by which turns are taken.
    pub(super) fn scan(
        &mut self,
        root: &Path,
        reader: &mut Reader,
        groups: &mut GroupTable,
        (now, turns): (Duration, Duration),
        problems: &mut Problems,
    ) -> Scan {
        let mut scan = Scan {
            processes: Vec::with_capacity(self.known.len() + 16),
            kernel_threads: 0,
            own: Vec::new(),
        };
        let proc = match self.list(root) {
            Ok(proc) => proc,
            Err(error) => {
                problems.add(Datum::ProcessList, error.cause(), || {
                    root.display().to_string()
                });
                self.known.clear();
                return scan;
            }
        };
        self.turn += 1;
        self.files.begin(root, &proc, reader);
        let pids = std::mem::take(&mut self.pids);
        let known = std::mem::take(&mut self.known);
        let mut known_from = 0;
        for &(pid, inode) in &pids {
            while known.get(known_from).is_some_and(|k| k.pid < pid) {
                known_from += 1;
            }
            let before = known.get(known_from).filter(|k| k.pid == pid).copied();
            self.read(
                root,
                &proc,
                (pid, inode),
                before,
                reader,
                groups,
                (now, turns),
                problems,
                &mut scan,
            );
        }
        self.pids = pids;
        self.known = std::mem::replace(&mut self.next, known);
        self.next.clear();
        scan
    }

    /// Fills the list of pids in ascending order.
    fn list(&mut self, root: &Path) -> Result<OwnedFd, ReadError> {
        self.pids.clear();
        let proc = open_directory(root)?;
        let mut entries = RawDir::new(&proc, self.listing.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let pid = decimal(entry.file_name().to_bytes()).and_then(|pid| u32::try_from(pid).ok());
            if let Some(pid) = pid {
                self.pids.push((pid, entry.ino()));
            }
        }
        // The kernel lists them in order; other file systems need not.
        if !self.pids.is_sorted() {
            self.pids.sort_unstable();
        }
        Ok(proc)
    }

    #[allow(clippy::too_many_arguments)] // One process's part of `scan`, with its borrows.
    fn read(
        &mut self,
        root: &Path,
        proc: &OwnedFd,
        (pid, inode): (u32, u64),
        before: Option<Known>,
        reader: &mut Reader,
        groups: &mut GroupTable,
        (now, turns): (Duration, Duration),
        problems: &mut Problems,
        scan: &mut Scan,
    ) {
        let again = (u64::from(pid) + self.turn).is_multiple_of(LOOK_AGAIN);
        if let Some(known) = before
            && known.place == KnownPlace::Kernel
            && known.inode == inode
            && !again
        {
            scan.kernel_threads += 1;
            self.next.push(known);
            return;
        }
        let mut digits = [0; 10];
        let name = digits_of(pid, &mut digits);
        let mut missing = |datum, error, file: &str| {
            if let ReadError::Missing(cause) = error {
                let path = root.join(pid.to_string()).join(file);
                problems.add(datum, cause, || path.display().to_string());
            }
        };
        let stat = match reader.read_at(proc, &[name, b"/stat"], End::OnePiece) {
            Ok(text) => process_stat::parse(text),
            Err(error) => return missing(Datum::ProcessStat, error, "stat"),
        };
        let Some(stat) = stat else {
            let error = ReadError::Missing(Cause::Malformed);
            return missing(Datum::ProcessStat, error, "stat");
        };
        let mut known = before
            .filter(|known| known.start == stat.start)
            .map(|known| Known { inode, ..known })
            .unwrap_or(Known {
                pid,
                inode,
                start: stat.start,
                place: KnownPlace::Outside,
                second_look: None,
                files: None,
                files_turn: Turn::default(),
            });
        if stat.kernel {
            scan.kernel_threads += 1;
            known.place = KnownPlace::Kernel;
            self.next.push(known);
            return;
        }
        let new = before.is_none_or(|before| before.start != stat.start);
        let second = known.second_look.is_some_and(|due| now >= due);
        if new || second || again || known.place == KnownPlace::Kernel {
            known.second_look = if new {
                Some(now + SECOND_LOOK)
            } else {
                known.second_look.filter(|_| !second)
            };
            let text = reader.read_at(proc, &[name, b"/cgroup"], End::OnePiece);
            match text.map(cgroup_path::parse_process) {
                Ok(Some(place)) => {
                    self.namespaced |= place.relative;
                    let relative = place.relative;
                    known.place = match groups.intern(place) {
                        Some(slot) => KnownPlace::Group(slot),
                        None if relative => KnownPlace::Outside,
                        None => KnownPlace::OwnNamespace,
                    };
                }
                Ok(None) => {
                    missing(
                        Datum::ProcessCgroup,
                        ReadError::Missing(Cause::Malformed),
                        "cgroup",
                    );
                }
                Err(ReadError::Gone) => return,
                Err(error) => missing(Datum::ProcessCgroup, error, "cgroup"),
            }
        }
        if known.place == KnownPlace::OwnNamespace && self.namespaced {
            scan.own.push(scan.processes.len());
        }
        if self.counts_files && known.place != KnownPlace::Outside {
            let before = known.files_turn;
            if known.files_turn.take(turns, u64::from(pid)) {
                match self.files.count(root, proc, name, reader, problems) {
                    Counted::Files(files) => known.files = Some(files),
                    Counted::Unknown => known.files = None,
                    Counted::Later => known.files_turn = before,
                }
            }
        }
        scan.processes.push(ProcessSample {
            pid,
            start: stat.start,
            name: stat.name,
            cpu: self.nanoseconds(stat.cpu_ticks),
            rss: stat.rss_pages.saturating_mul(self.page_size),
            threads: stat.threads,
            block_delay: self.nanoseconds(stat.block_delay_ticks),
            files: known.files,
            group: match known.place {
                KnownPlace::Group(slot) => Some(groups.seen(slot)),
                _ => None,
            },
        });
        self.next.push(known);
    }
}

/// The pid in decimal.
fn digits_of(pid: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut rest = pid;
    let mut from = buffer.len();
    loop {
        from -= 1;
        buffer[from] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &buffer[from..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_are_written_in_decimal() {
        for pid in [0, 1, 9, 10, 4_194_304, u32::MAX] {
            assert_eq!(digits_of(pid, &mut [0; 10]), pid.to_string().as_bytes());
        }
    }
}
