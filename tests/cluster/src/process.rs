//! Processes by identity: a pid together with its start time, so that a number that was given to
//! another process meanwhile is never signalled.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::patience::Patience;

/// A process of this boot of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its pid in the host's pid namespace.
    pub(crate) pid: i32,
    /// Clock ticks from boot to its start.
    pub(crate) start: u64,
}

impl Process {
    /// The process that has this pid now, unless there is none or it is a zombie.
    pub(crate) fn of(pid: i32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        match parse_stat(&stat)? {
            ('Z' | 'X', _) => None,
            (_, start) => Some(Process { pid, start }),
        }
    }

    #[cfg(test)]
    pub(crate) fn current() -> Option<Process> {
        Process::of(i32::try_from(std::process::id()).ok()?)
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(self) -> bool {
        Process::of(self.pid) == Some(self)
    }

    /// Kills it and waits until it is gone. One that is gone already is no error.
    pub(crate) fn kill(self, limit: Duration) -> io::Result<()> {
        let Some(handle) = self.open()? else {
            return Ok(());
        };
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        if wait_gone(&handle, limit)? {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "process {} is still there {limit:?} after SIGKILL",
                    self.pid
                ),
            ))
        }
    }

    /// A handle that cannot come to mean another process; none when it has ended.
    pub(crate) fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Looked at after opening: if the start time fits now, the handle means this process.
        Ok(self.is_alive().then_some(handle))
    }
}

/// Waits until the process of a pidfd has ended; false when the time is over.
fn wait_gone(handle: impl AsFd, limit: Duration) -> io::Result<bool> {
    const TICK: Timespec = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let mut patience = Patience::new(limit);
    loop {
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&TICK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) if patience.is_over() => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// State and start time (fields 3 and 22) of a line of /proc/PID/stat. The command name may hold
/// spaces and parentheses, so fields are counted from the last `)`.
fn parse_stat(line: &str) -> Option<(char, u64)> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// A name of this boot: start times of different boots cannot be compared.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn stat_with_a_strange_command_name() {
        let line = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 2 3";
        assert_eq!(parse_stat(line), Some(('S', 777)));
        assert_eq!(parse_stat("42 (x"), None);
        assert_eq!(parse_stat("42 (x) S 1"), None);
    }

    #[test]
    fn this_process_is_alive_and_its_double_is_not() {
        let me = Process::current().unwrap();
        assert!(me.is_alive());
        assert!(
            !Process {
                start: me.start + 1,
                ..me
            }
            .is_alive()
        );
    }

    #[test]
    fn a_child_is_killed_and_only_by_its_own_start_time() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id() as i32).unwrap();
        Process {
            start: process.start + 1,
            ..process
        }
        .kill(Duration::from_secs(1))
        .unwrap();
        assert!(process.is_alive());
        process.kill(Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }
}
