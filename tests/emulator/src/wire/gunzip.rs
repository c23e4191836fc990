//! Unpacking, which Go does by itself because it has asked for gzip.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::body::Body;
use crate::decode::{Source, Stop};

/// What is unpacked at once.
const BLOCK: usize = 4096;

pub(super) struct Gunzip {
    pub(super) body: Body,
    inflate: Decompress,
    packed: Vec<u8>,
    at: usize,
    /// Inside a member; else its header or the end comes next.
    inside: bool,
    crc: Crc,
    broken: Option<Stop>,
}

impl Gunzip {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            inflate: Decompress::new(false),
            packed: Vec::new(),
            at: 0,
            inside: false,
            crc: Crc::new(),
            broken: None,
        }
    }

    fn more(&mut self) -> Result<bool, Stop> {
        self.packed.clear();
        self.at = 0;
        self.body.next_block(&mut self.packed)
    }

    fn byte(&mut self) -> Result<Option<u8>, Stop> {
        if self.at == self.packed.len() && !self.more()? {
            return Ok(None);
        }
        self.at += 1;
        Ok(self.packed.get(self.at - 1).copied())
    }

    fn need(&mut self) -> Result<u8, Stop> {
        self.byte()?.ok_or_else(|| Stop::text("unexpected EOF"))
    }

    /// Reads the header of a member; `false` if there is none.
    fn header(&mut self) -> Result<bool, Stop> {
        let Some(magic) = self.byte()? else {
            return Ok(false);
        };
        let mut fixed = [magic; 10];
        for slot in &mut fixed[1..] {
            *slot = self.need()?;
        }
        let [0x1f, 0x8b, 8, flags, ..] = fixed else {
            return Err(Stop::text("gzip: invalid header"));
        };
        if flags & 4 != 0 {
            let length = usize::from(self.need()?) | usize::from(self.need()?) << 8;
            for _ in 0..length {
                self.need()?;
            }
        }
        for flag in [8, 16] {
            while flags & flag != 0 && self.need()? != 0 {}
        }
        if flags & 2 != 0 {
            self.need()?;
            self.need()?;
        }
        self.inside = true;
        self.inflate.reset(false);
        self.crc.reset();
        Ok(true)
    }

    fn trailer(&mut self) -> Result<(), Stop> {
        let mut trailer = [0u8; 8];
        for slot in &mut trailer {
            *slot = self.need()?;
        }
        let (sum, size) = trailer.split_at(4);
        let sound = sum == self.crc.sum().to_le_bytes() && size == self.crc.amount().to_le_bytes();
        if sound {
            Ok(())
        } else {
            Err(Stop::text("gzip: invalid checksum"))
        }
    }

    fn read(&mut self, block: &mut Vec<u8>) -> Result<bool, Stop> {
        loop {
            if !self.inside && !self.header()? {
                return Ok(false);
            }
            block.reserve(BLOCK);
            let before = (self.inflate.total_in(), block.len());
            let input = &self.packed[self.at..];
            let status = self
                .inflate
                .decompress_vec(input, block, FlushDecompress::None);
            let taken = (self.inflate.total_in() - before.0) as usize;
            self.at += taken;
            self.crc.update(&block[before.1..]);
            match status {
                Ok(Status::StreamEnd) => {
                    self.inside = false;
                    // Go looks for another member at once.
                    if let Err(stop) = self.trailer().and_then(|()| self.header()) {
                        // Go notices together with the very last byte.
                        if block.pop().is_none() || block.is_empty() {
                            return Err(stop);
                        }
                        self.broken = Some(stop);
                    }
                }
                Ok(_) => {}
                Err(_) => {
                    let offset = self.inflate.total_in();
                    return Err(Stop::Text(format!(
                        "flate: corrupt input before offset {offset}"
                    )));
                }
            }
            if !block.is_empty() {
                return Ok(true);
            }
            let stuck = self.inside && taken == 0;
            if stuck && !self.more()? {
                return Err(Stop::text("unexpected EOF"));
            }
        }
    }
}

impl Source for Gunzip {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, Stop> {
        if let Some(stop) = &self.broken {
            return Err(stop.clone());
        }
        self.read(block)
            .inspect_err(|stop| self.broken = Some(stop.clone()))
    }

    fn decoded(&mut self, bytes: usize) {
        self.body.decoded(bytes);
    }
}
