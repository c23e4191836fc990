//! The body of an answer, without its framing.

use super::WireError;
use super::connection::{BLOCK, Connection};
use super::head::Framing;
use super::watch::Watch;
use crate::decode::{Source, Stop};

/// The longest line that announces a chunk.
const MAX_CHUNK_LINE: usize = 4096;

pub(super) struct Body {
    pub(super) connection: Connection,
    pub(super) watch: Watch,
    framing: Framing,
    /// What is left of the current chunk.
    chunk: u64,
    /// A chunk has been taken whole, and its line end comes next.
    chunk_over: bool,
    complete: bool,
    /// What every further read gives.
    broken: Option<Stop>,
}

impl Body {
    pub(super) fn new(connection: Connection, watch: Watch, framing: Framing) -> Self {
        let complete = framing == Framing::Nothing;
        Self {
            connection,
            watch,
            framing,
            chunk: 0,
            chunk_over: false,
            complete,
            broken: None,
        }
    }

    /// Whether the connection stands before the next answer, without waiting for anything.
    pub(super) fn is_over(&mut self) -> bool {
        if self.broken.is_some() {
            return false;
        }
        match self.framing {
            Framing::Nothing | Framing::Length(0) => true,
            Framing::Chunked => {
                let rest = self.connection.buffered();
                let trailer = match (self.complete, self.chunk_over && self.chunk == 0) {
                    (true, _) => Some(rest),
                    (false, true) => rest.strip_prefix(b"\r\n0\r\n"),
                    (false, false) => None,
                };
                let over = trailer.is_some_and(|end| end == b"\r\n" || end.ends_with(b"\r\n\r\n"));
                if over {
                    self.connection.take(self.connection.buffered().len());
                }
                over
            }
            Framing::Length(_) | Framing::UntilClose => false,
        }
    }

    /// Takes up to `most` bytes of what has come.
    fn piece(&mut self, most: u64, block: &mut Vec<u8>) -> Result<usize, WireError> {
        if self.connection.buffered().is_empty() && !self.connection.fill(&mut self.watch)? {
            return Ok(0);
        }
        let have = self.connection.buffered();
        let size = have
            .len()
            .min(BLOCK)
            .min(usize::try_from(most).unwrap_or(BLOCK));
        block.extend_from_slice(&have[..size]);
        self.connection.take(size);
        Ok(size)
    }

    fn read(&mut self, block: &mut Vec<u8>) -> Result<bool, WireError> {
        match self.framing {
            Framing::Nothing | Framing::Length(0) => Ok(false),
            Framing::UntilClose => self.piece(u64::MAX, block).map(|size| size > 0),
            Framing::Length(left) => match self.piece(left, block)? {
                0 => Err(unexpected_end()),
                size => {
                    self.framing = Framing::Length(left - size as u64);
                    Ok(true)
                }
            },
            Framing::Chunked => self.chunked(block),
        }
    }

    fn chunked(&mut self, block: &mut Vec<u8>) -> Result<bool, WireError> {
        if self.complete {
            return Ok(false);
        }
        if self.chunk == 0 {
            if self.chunk_over {
                self.chunk_end()?;
            }
            self.chunk = self.chunk_size()?;
            if self.chunk == 0 {
                self.complete = true;
                return Ok(false);
            }
        }
        match self.piece(self.chunk, block)? {
            0 => Err(unexpected_end()),
            size => {
                self.chunk -= size as u64;
                self.chunk_over = self.chunk == 0;
                Ok(true)
            }
        }
    }

    fn chunk_end(&mut self) -> Result<(), WireError> {
        while self.connection.buffered().len() < 2 {
            if !self.connection.fill(&mut self.watch)? {
                return Err(unexpected_end());
            }
        }
        if !self.connection.buffered().starts_with(b"\r\n") {
            return Err(WireError::Text("malformed chunked encoding".to_owned()));
        }
        self.connection.take(2);
        self.chunk_over = false;
        Ok(())
    }

    fn chunk_size(&mut self) -> Result<u64, WireError> {
        let line = self.connection.line(MAX_CHUNK_LINE, &mut self.watch)?;
        let line = line.ok_or_else(unexpected_end)?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let digits = digits.trim_ascii_end();
        let text = std::str::from_utf8(digits).unwrap_or("?");
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WireError::Text("invalid byte in chunk length".to_owned()));
        }
        match text {
            "" => Ok(0),
            _ => u64::from_str_radix(text, 16)
                .map_err(|_| WireError::Text("http chunk length too large".to_owned())),
        }
    }
}

fn unexpected_end() -> WireError {
    WireError::Text("unexpected EOF".to_owned())
}

impl Source for Body {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Stop> {
        if let Some(stop) = &self.broken {
            return Err(stop.clone());
        }
        self.read(block).map_err(|error| match error {
            WireError::Deadline => {
                // Only the first read is told why; whoever swallowed that and reads on meets a
                // connection that has been closed meanwhile.
                self.broken = Some(Stop::Text(self.connection.closed_under_reader()));
                Stop::text("context deadline exceeded")
            }
            WireError::Text(words)
            | WireError::NoAnswer(words)
            | WireError::NothingWritten(words) => {
                let stop = Stop::Text(words);
                self.broken = Some(stop.clone());
                stop
            }
        })
    }

    fn decoded(&mut self, bytes: usize) {
        self.watch.decoded(bytes);
    }
}
