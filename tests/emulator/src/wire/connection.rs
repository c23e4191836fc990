//! One connection to a plugin.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::watch::Watch;
use super::{WireError, errno_words};

/// What Go reads at once.
pub(super) const BLOCK: usize = 4096;

/// How long a UNIX socket may take to connect. It does so at once, or not at all for as long as the
/// plugin's backlog is full, which Go, not waiting, sees as EAGAIN.
const DIAL_PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    path: String,
    block: Vec<u8>,
    at: usize,
    /// An answer has come over it before.
    pub(super) kept: bool,
    ended: bool,
}

impl Connection {
    pub(super) fn dial(path: &Path, watch: &mut Watch) -> Result<Self, WireError> {
        let shown = path.display().to_string();
        let target = path.to_owned();
        let (send, receive) = mpsc::sync_channel(1);
        // std can only connect with waiting, so the waiting is left to a thread of its own.
        thread::Builder::new()
            .name("scope-dial".to_owned())
            .spawn(move || drop(send.send(UnixStream::connect(target))))
            .map_err(|error| WireError::Text(format!("dial unix {shown}: {error}")))?;
        let stream = watch
            .wait(|left| receive.recv_timeout(left.min(DIAL_PATIENCE)))
            .ok_or(WireError::Deadline)?;
        let refused = match stream {
            Ok(Ok(stream)) => {
                let (block, path) = (Vec::new(), shown);
                return Ok(Self {
                    stream,
                    path,
                    block,
                    at: 0,
                    kept: false,
                    ended: false,
                });
            }
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidInput => {
                "invalid argument".to_owned()
            }
            Ok(Err(error)) => errno_words(&error),
            Err(_) => "resource temporarily unavailable".to_owned(),
        };
        Err(WireError::Text(format!(
            "dial unix {shown}: connect: {refused}"
        )))
    }

    /// Whether a kept connection is still good: open, and silent.
    pub(super) fn is_quiet(&mut self) -> bool {
        if self.at < self.block.len() || self.stream.set_nonblocking(true).is_err() {
            return false;
        }
        let quiet = match self.stream.read(&mut [0]) {
            Err(error) => error.kind() == ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        quiet && self.stream.set_nonblocking(false).is_ok()
    }

    pub(super) fn send(&mut self, bytes: &[u8], watch: &mut Watch) -> Result<(), WireError> {
        let mut sent = 0;
        while sent < bytes.len() {
            let wrote = watch.wait(|left| {
                self.stream.set_write_timeout(Some(left))?;
                self.stream.write(&bytes[sent..])
            });
            match wrote.ok_or(WireError::Deadline)? {
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(WireError::Deadline),
                Err(error) => {
                    let words = format!(
                        "write unix @->{}: write: {}",
                        self.path,
                        errno_words(&error)
                    );
                    return Err(match sent {
                        0 => WireError::NothingWritten(words),
                        _ => WireError::Text(words),
                    });
                }
            }
        }
        Ok(())
    }

    /// What has come and has not been taken.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.block[self.at..]
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Waits for more; `false` if the other side has closed.
    pub(super) fn fill(&mut self, watch: &mut Watch) -> Result<bool, WireError> {
        if self.ended {
            return Ok(false);
        }
        self.block.drain(..self.at);
        self.at = 0;
        let have = self.block.len();
        self.block.resize(have + BLOCK, 0);
        let read = loop {
            let read = watch.wait(|left| {
                self.stream.set_read_timeout(Some(left))?;
                self.stream.read(&mut self.block[have..])
            });
            match read {
                Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let got = match &read {
            Some(Ok(got)) => *got,
            _ => 0,
        };
        self.block.truncate(have + got);
        match read {
            None => Err(WireError::Deadline),
            Some(Ok(got)) => {
                self.ended = got == 0;
                Ok(got > 0)
            }
            Some(Err(error)) if is_timeout(&error) => Err(WireError::Deadline),
            Some(Err(error)) => {
                let words = errno_words(&error);
                Err(WireError::Text(format!(
                    "read unix @->{}: read: {words}",
                    self.path
                )))
            }
        }
    }

    /// Go's words for reading on after the time was up, when the connection has been closed under
    /// the reader.
    pub(super) fn closed_under_reader(&self) -> String {
        format!(
            "read unix @->{}: use of closed network connection",
            self.path
        )
    }

    /// A line without its end. What is left before the end of the stream counts as a line; `None`
    /// if nothing is left.
    pub(super) fn line(
        &mut self,
        limit: usize,
        watch: &mut Watch,
    ) -> Result<Option<Vec<u8>>, WireError> {
        let mut looked = 0;
        loop {
            let have = self.buffered();
            if let Some(end) = have[looked..].iter().position(|byte| *byte == b'\n') {
                let line = have[..looked + end].to_vec();
                self.take(looked + end + 1);
                return Ok(Some(without_return(line)));
            }
            looked = have.len();
            if looked > limit {
                return Err(WireError::Text("header line too long".to_owned()));
            }
            if !self.fill(watch)? {
                let rest = self.buffered().to_vec();
                self.take(rest.len());
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }
}

fn without_return(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    line
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
