//! The process that a container stands and falls with, held so that no other one is ever hit.
//!
//! A pid alone names whoever has it at the moment. So the process is opened (`pidfd_open`) first
//! and looked at afterwards: if it is still of that container then, the descriptor is of a process
//! of that container, or of one that has ended, which no signal reaches.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::sample::parse_process;

/// The lines of a process are some hundred bytes; one that has thousands of groups has more.
const MAX_BYTES: u64 = 64 * 1024;

/// What tells which process of a container is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    pid: u32,
    parent: u32,
    /// In clock ticks since boot.
    start: u64,
    /// Whether it is process 1 of its innermost namespace.
    is_first: bool,
    has_ended: bool,
}

/// The first process of a container.
#[derive(Debug)]
pub(super) struct FirstProcess {
    /// Its pid, for people.
    pub(super) pid: u32,
    handle: OwnedFd,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoProcess {
    /// None of its processes is there any more.
    #[error("it has no process (any more)")]
    Gone,
    /// It cannot be opened.
    #[error("its first process {pid} cannot be opened: {source}")]
    Open {
        /// Which.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
}

impl FirstProcess {
    /// Opens the first of these processes of the container.
    pub(super) fn open(proc: &Path, pids: &[u32], container: &str) -> Result<Self, NoProcess> {
        let facts: Vec<Facts> = pids.iter().filter_map(|&pid| read(proc, pid)).collect();
        let first = first_of(&facts).ok_or(NoProcess::Gone)?;
        let pid = i32::try_from(first.pid).ok().and_then(Pid::from_raw);
        let handle = match pid_handle(pid) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Err(NoProcess::Gone),
            Err(e) => {
                return Err(NoProcess::Open {
                    pid: first.pid,
                    source: e.into(),
                });
            }
        };
        // The handle is of the process that had the pid at that moment. Is that the one which was
        // chosen, and still in that container?
        let now = read(proc, first.pid);
        let same = now.is_some_and(|now| now.start == first.start && !now.has_ended);
        if same && container_of(proc, first.pid).as_deref() == Some(container) {
            Ok(FirstProcess {
                pid: first.pid,
                handle,
            })
        } else {
            Err(NoProcess::Gone)
        }
    }

    /// Sends the signal. To a process that has ended it is an error, and hits nobody.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.handle, signal)?)
    }

    /// The descriptor, which becomes readable when the process ends.
    pub(super) fn into_handle(self) -> OwnedFd {
        self.handle
    }
}

fn pid_handle(pid: Option<Pid>) -> rustix::io::Result<OwnedFd> {
    pidfd_open(pid.ok_or(rustix::io::Errno::SRCH)?, PidfdFlags::NONBLOCK)
}

/// Of those that came in from outside (the others are children of the container's own), the one
/// that is process 1 of its namespace; where the namespace is the pod's or the host's, the oldest:
/// what was started into the container later is younger.
fn first_of(processes: &[Facts]) -> Option<Facts> {
    let outside = |process: &&Facts| !processes.iter().any(|other| other.pid == process.parent);
    processes
        .iter()
        .filter(|process| !process.has_ended)
        .filter(outside)
        .min_by_key(|process| (!process.is_first, process.start, process.pid))
        .copied()
}

fn read(proc: &Path, pid: u32) -> Option<Facts> {
    let directory = proc.join(pid.to_string());
    let (has_ended, parent, start) = parse_stat(&file(&directory.join("stat"))?)?;
    let is_first = is_first(&file(&directory.join("status"))?);
    Some(Facts {
        pid,
        parent,
        start,
        is_first,
        has_ended,
    })
}

fn container_of(proc: &Path, pid: u32) -> Option<String> {
    let text = file(&proc.join(pid.to_string()).join("cgroup"))?;
    Some(parse_process(&text)?.container?.to_string())
}

fn file(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether it has ended, its parent, and its start, of `/proc/<pid>/stat` (fields 3, 4 and 22 of
/// proc(5)). The name before them may hold any bytes, so it ends at the last parenthesis.
pub(crate) fn parse_stat(line: &[u8]) -> Option<(bool, u32, u64)> {
    let close = line.iter().rposition(|&b| b == b')')?;
    let mut fields = str::from_utf8(&line[close + 1..])
        .ok()?
        .split_ascii_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(22 - 5)?.parse().ok()?;
    Some((has_ended, parent, start))
}

/// Whether `NSpid` of `/proc/<pid>/status` has a namespace below ours in which the process is 1.
pub(super) fn is_first(status: &[u8]) -> bool {
    let line = status
        .split(|&b| b == b'\n')
        .find_map(|line| line.strip_prefix(b"NSpid:"));
    let Some(Ok(line)) = line.map(str::from_utf8) else {
        return false;
    };
    let pids: Vec<&str> = line.split_ascii_whitespace().collect();
    pids.len() > 1 && pids.last() == Some(&"1")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command};

    use super::*;

    fn facts(pid: u32, parent: u32, start: u64, is_first: bool) -> Facts {
        Facts {
            pid,
            parent,
            start,
            is_first,
            has_ended: false,
        }
    }

    fn first(processes: &[Facts]) -> Option<u32> {
        first_of(processes).map(|first| first.pid)
    }

    #[test]
    fn the_first_is_the_one_that_the_runtime_started() {
        // Its own namespace; 31 is its child, 90 was started into it by `exec`.
        let exec = facts(90, 7, 500, false);
        let own = [exec, facts(31, 30, 101, false), facts(30, 7, 100, true)];
        assert_eq!(first(&own), Some(30));
        // A container engine inside of it makes a namespace of its own.
        let nested = [own[0], own[1], own[2], facts(40, 31, 99, true)];
        assert_eq!(first(&nested), Some(30));
        // The pod's namespace, or the host's: nothing is process 1.
        let shared = [exec, facts(31, 30, 101, false), facts(30, 7, 100, false)];
        assert_eq!(first(&shared), Some(30));
        // The first has ended and is not waited for yet.
        let mut zombie = own;
        zombie[2].has_ended = true;
        assert_eq!(first(&zombie), Some(90));
        assert_eq!(first(&zombie[1..]), None);
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn lines_of_the_kernel() {
        let line = |name: &str, state: char| {
            format!("42 ({name}) {state} 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 9 9\n")
        };
        for name in ["sleep", "a b", ") R 1 (", "x) Z 9"] {
            assert_eq!(
                parse_stat(line(name, 'S').as_bytes()),
                Some((false, 7, 12345)),
                "{name}"
            );
        }
        assert_eq!(
            parse_stat(line("x", 'Z').as_bytes()),
            Some((true, 7, 12345))
        );
        for bad in [
            "",
            "42 (x",
            "42 (x) S",
            "42 (x) S a 1",
            "42 (x) S 7 42 42 0",
        ] {
            assert_eq!(parse_stat(bad.as_bytes()), None, "{bad}");
        }
        for (status, want) in [
            ("Name:\tx\nNSpid:\t42\t1\nNSpgid:\t1\n", true),
            ("NSpid:\t42\t17\t1\n", true),
            ("NSpid:\t42\t17\n", false),
            ("NSpid:\t1\n", false),
            ("NSpid:\n", false),
            ("Name:\tNSpid: 3 1\n", false),
            ("", false),
        ] {
            assert_eq!(is_first(status.as_bytes()), want, "{status}");
        }
    }

    const ID: &str = "9ce26da262bbc84ae4df968fe038055a2363edc73207c2a6f85ef13bfbf73bd5";

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn child() -> Killed {
        Killed(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    /// A `/proc` in which the real process is in the container.
    fn made_proc(pid: u32) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let real = Path::new("/proc").join(pid.to_string());
        let made = dir.path().join(pid.to_string());
        fs::create_dir(&made).unwrap();
        let (_, _, start) = parse_stat(&fs::read(real.join("stat")).unwrap()).unwrap();
        let stat = format!(
            "{pid} (sleep) S 1 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 {} 9 9\n",
            start
        );
        fs::write(made.join("stat"), stat).unwrap();
        fs::write(made.join("status"), format!("NSpid:\t{pid}\t1\n")).unwrap();
        let cgroup = format!("4:memory:/kubepods/podtest/{ID}\n0::/\n");
        fs::write(made.join("cgroup"), cgroup).unwrap();
        dir
    }

    #[test]
    fn a_real_process_gets_the_signal() {
        let mut child = child();
        let pid = child.0.id();
        let proc = made_proc(pid);
        let process = FirstProcess::open(proc.path(), &[pid, 4_000_000], ID).unwrap();
        assert_eq!(process.pid, pid);
        process.signal(Signal::TERM).unwrap();
        assert_eq!(child.0.wait().unwrap().signal(), Some(15));
        let again = process.signal(Signal::KILL).unwrap_err();
        assert_eq!(
            again.raw_os_error(),
            Some(rustix::io::Errno::SRCH.raw_os_error())
        );
    }

    #[test]
    fn a_process_of_another_container_is_left_alone() {
        let child = child();
        let pid = child.0.id();
        // By the machine's own /proc it is in no container.
        let real = FirstProcess::open(Path::new("/proc"), &[pid], ID);
        assert!(matches!(real, Err(NoProcess::Gone)), "{real:?}");
        let proc = made_proc(pid);
        let other = FirstProcess::open(proc.path(), &[pid], &"a".repeat(64));
        assert!(matches!(other, Err(NoProcess::Gone)), "{other:?}");
    }

    #[test]
    fn a_process_that_is_gone_is_not_opened() {
        let mut child = child();
        let pid = child.0.id();
        let proc = made_proc(pid);
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        let gone = FirstProcess::open(proc.path(), &[pid], ID);
        assert!(matches!(gone, Err(NoProcess::Gone)), "{gone:?}");
        let nobody = FirstProcess::open(proc.path(), &[], ID);
        assert!(matches!(nobody, Err(NoProcess::Gone)));
    }
}
