//! The bytes of a body, one by one, with one step back.

/// The largest body that the probe reads, after unpacking.
pub(crate) const MAX_BODY: u64 = 50 * 1024 * 1024;

/// Why reading ended early. Which words come out decides what Scope shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    TooLarge,
    /// It does not end at all: the codec goes round in circles.
    Endless,
    Text(String),
}

impl Stop {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Stop::Text(text.into())
    }
}

/// Where the bytes come from.
pub(crate) trait Source: Send {
    /// Replaces `block` by the next bytes; `false` at the end of the body. After an error it may be
    /// asked again and then gives whatever a broken connection gives.
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Stop>;

    /// Says that so many more bytes have been decoded.
    fn decoded(&mut self, bytes: usize);
}

/// A body in memory.
pub(crate) struct Whole<'a>(Option<&'a [u8]>);

impl<'a> Whole<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self(Some(body))
    }
}

impl Source for Whole<'_> {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Stop> {
        block.clear();
        block.extend_from_slice(self.0.take().unwrap_or_default());
        Ok(!block.is_empty())
    }

    fn decoded(&mut self, _bytes: usize) {}
}

/// Whether the last byte can be put back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    /// Nothing has been read.
    Nothing,
    /// It has been put back already and comes next.
    Done,
    Possible,
}

/// Reads byte by byte, counts, and takes one byte back. The codec can even take a byte back after it
/// has met the end of the body, and then reads it once more; some of its error messages come of that.
pub(crate) struct Feed<'a> {
    source: &'a mut dyn Source,
    block: Vec<u8>,
    at: usize,
    last: u8,
    back: Back,
    /// Bytes read, as the codec counts them for its `[pos N]`.
    read: i64,
    /// What may still come before the body is too large.
    remaining: u64,
    ended: bool,
    track: Option<Vec<u8>>,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(source: &'a mut dyn Source) -> Self {
        Self {
            source,
            block: Vec::new(),
            at: 0,
            last: 0,
            back: Back::Nothing,
            read: 0,
            remaining: MAX_BODY,
            ended: false,
            track: None,
        }
    }

    pub(crate) fn position(&self) -> i64 {
        self.read
    }

    /// Whether every byte that has come has been taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.at == self.block.len() && self.back != Back::Done
    }

    /// Whether the end of the body has been met.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Makes at least one byte available in the block; `false` at the end.
    fn fill(&mut self) -> Result<bool, Stop> {
        while self.at == self.block.len() {
            if self.remaining == 0 {
                return Err(Stop::TooLarge);
            }
            self.source.decoded(self.block.len());
            self.block.clear();
            self.at = 0;
            if !self.source.next_block(&mut self.block)? {
                self.ended = true;
                return Ok(false);
            }
            let room = usize::try_from(self.remaining).unwrap_or(usize::MAX);
            self.block.truncate(room);
            self.remaining -= self.block.len() as u64;
        }
        Ok(true)
    }

    /// The next byte; `None` at the end.
    pub(crate) fn byte(&mut self) -> Result<Option<u8>, Stop> {
        if self.back != Back::Done {
            if !self.fill()? {
                return Ok(None);
            }
            self.last = self.block[self.at];
            self.at += 1;
        }
        self.back = Back::Possible;
        self.read += 1;
        if let Some(track) = &mut self.track {
            track.push(self.last);
        }
        Ok(Some(self.last))
    }

    /// Puts the last byte back.
    pub(crate) fn unread(&mut self) -> Result<(), Stop> {
        match self.back {
            Back::Nothing => Err(Stop::text("cannot unread - nothing has been read")),
            Back::Done => Err(Stop::text("cannot unread - last byte has not been read")),
            Back::Possible => {
                self.back = Back::Done;
                self.read -= 1;
                if let Some(track) = &mut self.track {
                    track.pop();
                }
                Ok(())
            }
        }
    }

    /// Exactly so many bytes, which count only if they all come.
    pub(crate) fn exactly<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut out = [0; N];
        let before = self.read;
        for (at, slot) in out.iter_mut().enumerate() {
            match self.byte() {
                Ok(Some(byte)) => *slot = byte,
                Ok(None) => {
                    self.read = before;
                    return Err(Stop::text(if at == 0 { "EOF" } else { "unexpected EOF" }));
                }
                Err(stop) => {
                    self.read = before;
                    return Err(stop);
                }
            }
        }
        Ok(out)
    }

    /// Appends everything up to and including `stop`.
    pub(crate) fn until(&mut self, stop: u8, out: &mut Vec<u8>) -> Result<(), Stop> {
        loop {
            // One byte the slow way keeps the step back right, the rest of the block goes at once.
            match self.byte()? {
                None => return Err(Stop::text("EOF")),
                Some(byte) => out.push(byte),
            }
            if self.last == stop {
                return Ok(());
            }
            let rest = &self.block[self.at..];
            let taken = rest
                .iter()
                .position(|byte| *byte == stop)
                .unwrap_or(rest.len());
            let Some(last) = rest[..taken].last() else {
                continue;
            };
            self.last = *last;
            out.extend_from_slice(&rest[..taken]);
            if let Some(track) = &mut self.track {
                track.extend_from_slice(&rest[..taken]);
            }
            self.at += taken;
            self.read += taken as i64;
        }
    }

    /// From here on remembers what is read.
    pub(crate) fn start_tracking(&mut self) {
        self.track = Some(Vec::new());
    }

    /// What has been read since.
    pub(crate) fn tracked(&mut self) -> Vec<u8> {
        self.track.take().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_back_once_even_after_the_end() {
        let mut whole = Whole::new(b"ab");
        let mut feed = Feed::new(&mut whole);
        assert!(feed.unread().is_err(), "nothing has been read");
        assert_eq!(feed.byte(), Ok(Some(b'a')));
        assert_eq!(feed.byte(), Ok(Some(b'b')));
        assert_eq!(feed.byte(), Ok(None));
        feed.unread().unwrap();
        assert!(feed.unread().is_err(), "twice");
        assert_eq!(feed.position(), 1);
        assert_eq!(feed.byte(), Ok(Some(b'b')));
        assert_eq!(feed.byte(), Ok(None));
    }

    #[test]
    fn tracks_and_takes_whole_runs() {
        let mut whole = Whole::new(b"x=\"y z\"!");
        let mut feed = Feed::new(&mut whole);
        assert_eq!(feed.byte(), Ok(Some(b'x')));
        feed.start_tracking();
        let mut out = Vec::new();
        feed.until(b'"', &mut out).unwrap();
        feed.until(b'"', &mut out).unwrap();
        assert_eq!(out, b"=\"y z\"");
        assert_eq!(feed.byte(), Ok(Some(b'!')));
        feed.unread().unwrap();
        assert_eq!(feed.tracked(), b"=\"y z\"");
        assert_eq!(feed.position(), 7);
        assert_eq!(feed.until(b'"', &mut out), Err(Stop::text("EOF")));
    }

    #[test]
    fn ends_after_fifty_megabytes() {
        let body = vec![b'a'; MAX_BODY as usize + 1];
        let mut whole = Whole::new(&body);
        let mut feed = Feed::new(&mut whole);
        assert_eq!(feed.until(b'"', &mut Vec::new()), Err(Stop::TooLarge));
        assert_eq!(feed.byte(), Err(Stop::TooLarge));
        assert_eq!(feed.position(), MAX_BODY as i64);
    }
}
