//! The audit log as it is written: what a test needs to act in the middle of somebody's work.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use super::Cluster;
use super::requests::MARKER;
use crate::audit::{AuditEvent, AuditMark, Stage};
use crate::error::{At, Error, Result};
use crate::patience::Patience;

/// A line at the level of metadata has a few kilobytes.
const LONGEST_LINE: usize = 1024 * 1024;

/// The events of the audit log, each as soon as the API server has written it.
///
/// The API server goes on only when the line is written, so an event comes here at its stage: a
/// write's [`Stage::RequestReceived`] before it is carried out, and its
/// [`Stage::ResponseComplete`] when it is carried out and the answer is about to leave.
/// Nothing waits for the reader, though. Who kills a client at a write's arrival therefore cannot
/// say whether that write is still carried out; at the answer it was, and the client has hardly
/// seen it.
#[derive(Debug)]
pub struct AuditFollow {
    file: File,
    path: PathBuf,
    logs: PathBuf,
    /// Tells that the file has grown.
    changes: OwnedFd,
    /// What was read and is no complete line yet, or not handed out.
    read: Vec<u8>,
    /// How much of that has been handed out.
    used: usize,
}

impl Cluster {
    /// The audit log from a mark on, for as long as somebody reads it.
    pub fn audit_follow(&self, from: AuditMark) -> Result<AuditFollow> {
        AuditFollow::open(&self.site.audit_log(), &self.logs(), from)
    }
}

impl AuditFollow {
    fn open(path: &Path, logs: &Path, from: AuditMark) -> Result<AuditFollow> {
        use inotify::{CreateFlags, WatchFlags};
        let mut file = File::open(path).at("open", path)?;
        file.seek(SeekFrom::Start(from.0)).at("read", path)?;
        let changes =
            inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).at("watch", path)?;
        inotify::add_watch(&changes, path, WatchFlags::MODIFY).at("watch", path)?;
        Ok(AuditFollow {
            file,
            path: path.to_owned(),
            logs: logs.to_owned(),
            changes,
            read: Vec::new(),
            used: 0,
        })
    }

    /// The next event, or nothing when none comes in this time.
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<AuditEvent>> {
        let mut patience = Patience::new(limit);
        loop {
            if let Some(event) = self.next_read()? {
                return Ok(Some(event));
            }
            if self.read_more()? == 0 {
                if patience.is_over() {
                    return Ok(None);
                }
                self.wait_for_change()?;
            }
        }
    }

    /// The next event that is wanted; the others before it are skipped. An error when it does not
    /// come in this time, however much else does.
    pub fn find(
        &mut self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&AuditEvent) -> bool,
    ) -> Result<AuditEvent> {
        let mut patience = Patience::new(limit);
        let mut seen = 0_u64;
        while !patience.is_over() {
            if let Some(event) = self.next_within(TICK)? {
                if wanted(&event) {
                    return Ok(event);
                }
                seen += 1;
            }
        }
        Err(Error::Timeout {
            what: what.to_owned(),
            limit,
            last: format!("{seen} other events came into the audit log"),
            logs: self.logs.clone(),
        })
    }

    /// The stage of the n-th write of a user from here on, counted from 1, renewals of Leases left
    /// out: the place to kill that user at. Where the writes come one after the other, all
    /// [`Stage::RequestReceived`] from 1 on are the moments before each write, and all
    /// [`Stage::ResponseComplete`] those after.
    pub fn nth_write(
        &mut self,
        user: &str,
        n: usize,
        stage: Stage,
        limit: Duration,
    ) -> Result<AuditEvent> {
        let mut seen = 0;
        let what = format!("write {n} of {user}");
        self.find(&what, limit, |event| {
            seen += usize::from(event.is_write_of(user) && event.stage == stage);
            seen == n.max(1)
        })
    }

    /// The next event among what has been read.
    fn next_read(&mut self) -> Result<Option<AuditEvent>> {
        while let Some(length) = self.read[self.used..].iter().position(|&b| b == b'\n') {
            let line = String::from_utf8_lossy(&self.read[self.used..self.used + length]);
            let event = (!line.contains(MARKER)).then(|| AuditEvent::parse(&line));
            self.used += length + 1;
            if let Some(event) = event {
                return event.at("understand a line of", &self.path).map(Some);
            }
        }
        Ok(None)
    }

    fn read_more(&mut self) -> Result<usize> {
        self.read.drain(..self.used);
        self.used = 0;
        if self.read.len() > LONGEST_LINE {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge))
                .at("understand a line of", &self.path);
        }
        let mut part = [0; 64 * 1024];
        let length = self.file.read(&mut part).at("read", &self.path)?;
        self.read.extend_from_slice(&part[..length]);
        Ok(length)
    }

    /// Waits until the file has grown since the last wait, or for a moment.
    fn wait_for_change(&self) -> Result<()> {
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::new(&self.changes, PollFlags::IN)],
            Some(&limit),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).at("watch", &self.path),
        }
        // How often it grew does not matter: the rest of the file is read in any case.
        let mut notes = [0; 4096];
        while rustix::io::read(&self.changes, &mut notes).is_ok_and(|length| length > 0) {}
        Ok(())
    }
}

/// How often the patience is asked when nothing happens.
const TICK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::scratch::Scratch;

    fn line(name: &str) -> String {
        format!(
            r#"{{"stage":"ResponseComplete","requestURI":"/{name}","verb":"get","requestReceivedTimestamp":"2026-01-02T03:04:05Z","stageTimestamp":"2026-01-02T03:04:05Z"}}"#
        )
    }

    #[test]
    fn lines_are_handed_out_when_they_are_complete() {
        let scratch = Scratch::new();
        let path = scratch.path().join("audit.log");
        std::fs::write(&path, format!("{}\n", line("before"))).unwrap();
        let from = AuditMark(std::fs::metadata(&path).unwrap().len());
        let mut follow = AuditFollow::open(&path, scratch.path(), from).unwrap();
        assert_eq!(follow.next_within(Duration::ZERO).unwrap(), None);

        let mut log = File::options().append(true).open(&path).unwrap();
        let (a, b) = (line("a"), line("b"));
        write!(log, "{a}\n{}\n{}", line(MARKER), &b[..20]).unwrap();
        let limit = Duration::from_secs(5);
        assert_eq!(follow.next_within(limit).unwrap().unwrap().uri, "/a");
        assert_eq!(follow.next_within(Duration::ZERO).unwrap(), None);

        let rest = format!("{}\n{}\n", &b[20..], line("c"));
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            log.write_all(rest.as_bytes()).unwrap();
        });
        let found = follow.find("c", limit, |event| event.uri == "/c").unwrap();
        assert_eq!(found.uri, "/c");
        writer.join().unwrap();
        let error = follow.find("d", Duration::from_millis(1), |_| true);
        assert!(error.unwrap_err().to_string().starts_with("d did not"));
    }
}
