//! The yardstick: a plain scan of /proc as anybody would write it who knows what he does. `stat` and
//! `cgroup` of every process, opened, read once, parsed and closed; no descriptor is kept, nothing is
//! allocated per process, nothing is remembered from scan to scan.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};

/// What a scan found of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PodTotals {
    /// Processes.
    pub(crate) processes: u64,
    /// Their threads.
    pub(crate) threads: u64,
    /// Their resident bytes.
    pub(crate) resident: u64,
}

/// Everything that a scan found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Processes, kernel threads included.
    pub(crate) processes: u64,
    /// CPU that they have used, in clock ticks.
    pub(crate) ticks: u64,
    /// Pods by the part of the cgroup's name that holds their UID.
    pub(crate) pods: BTreeMap<Vec<u8>, PodTotals>,
}

/// Buffers for [`scan`].
pub(crate) struct Scanner {
    names: Box<[MaybeUninit<u8>]>,
    text: Box<[u8]>,
    page: u64,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Scanner {
            names: Box::new_uninit_slice(32 << 10),
            text: vec![0; 8 << 10].into(),
            page: rustix::param::page_size() as u64,
        }
    }

    /// One scan of all processes.
    pub(crate) fn scan(&mut self) -> anyhow::Result<Found> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let proc = openat(CWD, "/proc", flags | OFlags::DIRECTORY, Mode::empty())?;
        let mut found = Found::default();
        let mut entries = RawDir::new(&proc, &mut self.names);
        while let Some(entry) = entries.next() {
            let entry = entry.context("/proc")?;
            let pid = entry.file_name().to_bytes();
            if !pid.iter().all(u8::is_ascii_digit) {
                continue;
            }
            let Some(text) = read(&proc, pid, b"/stat\0", &mut self.text) else {
                continue;
            };
            let Some(stat) = Stat::parse(text) else {
                continue;
            };
            found.processes += 1;
            found.ticks += stat.ticks;
            let Some(text) = read(&proc, pid, b"/cgroup\0", &mut self.text) else {
                continue;
            };
            if let Some(pod) = pod(text) {
                if !found.pods.contains_key(pod) {
                    found.pods.insert(pod.to_vec(), PodTotals::default());
                }
                if let Some(totals) = found.pods.get_mut(pod) {
                    totals.processes += 1;
                    totals.threads += stat.threads;
                    totals.resident += stat.pages * self.page;
                }
            }
        }
        Ok(found)
    }
}

/// Reads a file of a process; `None` when the process is gone.
fn read<'a>(proc: &OwnedFd, pid: &[u8], file: &[u8], text: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut path = [0; 32];
    path.get_mut(..pid.len())?.copy_from_slice(pid);
    path.get_mut(pid.len()..pid.len() + file.len())?
        .copy_from_slice(file);
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    let file = openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let read = rustix::io::read(&file, &mut *text).ok()?;
    Some(&text[..read])
}

struct Stat {
    ticks: u64,
    threads: u64,
    pages: u64,
}

impl Stat {
    /// The name may hold blanks and brackets: the fields begin after the last bracket.
    fn parse(text: &[u8]) -> Option<Stat> {
        let end = text.iter().rposition(|&b| b == b')')?;
        let mut fields = text[end + 1..]
            .split(|&b| b == b' ')
            .filter(|f| !f.is_empty());
        let mut number = |skip| -> Option<u64> {
            let field = fields.nth(skip)?;
            std::str::from_utf8(field).ok()?.parse().ok()
        };
        // Of the fields after the name: utime is the 12th, stime the 13th, then threads, then rss.
        let ticks = number(11)? + number(0)?;
        let threads = number(4)?;
        let pages = number(3)?;
        Some(Stat {
            ticks,
            threads,
            pages,
        })
    }
}

/// What stands behind `-pod` in the path of a cgroup, up to the dot.
fn pod(text: &[u8]) -> Option<&[u8]> {
    let at = text.windows(4).position(|w| w == b"-pod")?;
    let rest = &text[at + 4..];
    let end = rest.iter().position(|&b| b == b'.' || b == b'\n')?;
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_process() {
        let found = Scanner::new().scan().unwrap();
        assert!(found.processes >= 1);
        assert!(found.ticks > 0);
    }

    #[test]
    fn stat_with_a_strange_name() {
        let text =
            b"7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 3 4 0 0 20 0 5 0 100 4096 12 18446744073709551615";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.ticks, stat.threads, stat.pages), (7, 5, 12));
    }

    #[test]
    fn pods_of_cgroups() {
        let path = b"3:memory:/x/kubepods.slice/kubepods-podaa_bb.slice/cri-containerd-00.scope\n";
        assert_eq!(pod(path), Some(&b"aa_bb"[..]));
        assert_eq!(pod(b"0::/init.scope\n"), None);
    }
}
