//! Messages of rtnetlink about queueing disciplines (qdiscs), as bytes. Only what is needed: the root
//! qdisc of one device is listed, set by `netem` or `tbf`, and deleted.
//!
//! Numbers are in the machine's own byte order (`linux/netlink.h`, `linux/pkt_sched.h`).

use std::time::Duration;

use super::handle::Handle;
use super::setting::{Loss, Rate, Setting};

/// More than a pod's devices have qdiscs; a dump with more is not looked at to its end.
pub(super) const MAX_DUMP: usize = 1 << 20;

const NEWQDISC: u16 = 36;
const DELQDISC: u16 = 37;
const GETQDISC: u16 = 38;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;

const ROOT: u32 = u32::MAX;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;

const HEADER: usize = 16;
const TCMSG: usize = 20;

const TBF_PARMS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
/// Bytes of `struct tc_tbf_qopt`.
const TBF_QOPT: usize = 36;
/// The unit of packets is an Ethernet frame. (0 stands for tables of an old `tc`.)
const ETHERNET: u8 = 1;

const NETEM_RATE: u16 = 6;
const NETEM_RATE64: u16 = 8;
const NETEM_LATENCY64: u16 = 10;
const NETEM_JITTER64: u16 = 11;
/// Bytes of `struct tc_netem_qopt`.
const NETEM_QOPT: usize = 24;
/// A tick of the packet scheduler, since Linux 2.6.31.
const NANOS_PER_TICK: u64 = 64;

/// What may be sent at once: below it, interrupts of the timer would not keep up with a fast rate.
const LEAST_BURST: u64 = 32 * 1024;
/// A burst lasts so long at a fast rate.
const BURST: Duration = Duration::from_millis(4);
/// How long a packet waits for `tbf` at most; what would wait longer is dropped, as by a full link.
const TBF_WAIT: Duration = Duration::from_millis(50);

/// Packets that wait in `netem` at the least (its own default) and at the most: 50,000 full ones are 115 MB
/// of the senders' socket memory.
const LEAST_PACKETS: u64 = 1000;
const MOST_PACKETS: u64 = 50_000;
/// Where no rate is set: 200 Mbit/s of full packets.
const USUAL_PACKETS: u64 = 16_000;
/// Of a rate, a packet is taken for this many bytes.
const PACKET_BYTES: u64 = 1000;

/// The qdiscs that we set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `netem`: delay, jitter, loss, and a rate beside them.
    Netem,
    /// `tbf`: a rate alone.
    Tbf,
}

impl Kind {
    /// The one that a setting needs. A rate alone is better held by `tbf`, which lets bursts through.
    pub fn of(setting: &Setting) -> Self {
        match setting.needs_netem() {
            true => Kind::Netem,
            false => Kind::Tbf,
        }
    }

    /// Its name in the kernel.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Netem => "netem",
            Kind::Tbf => "tbf",
        }
    }
}

/// A qdisc as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Qdisc {
    /// Index of its device.
    pub(super) device: u32,
    /// Major and minor number, 0 for what the kernel put there by itself.
    pub(super) handle: u32,
    /// Whether it is the device's root.
    pub(super) root: bool,
    /// Its kind, cut to what kernel kinds may have.
    pub(super) kind: String,
    /// What it does, where we can read that.
    pub(super) setting: Option<Setting>,
}

/// A message that the kernel answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A qdisc of a list.
    Qdisc(Qdisc),
    /// The end of a list.
    Done,
    /// The end of a request: 0, or the number of the error.
    Ack(i32),
    /// Something else.
    Other,
}

/// Lists all qdiscs.
pub(super) fn list(sequence: u32) -> Vec<u8> {
    Message::new(GETQDISC, DUMP, sequence, 0, 0, 0).finish()
}

/// Sets the root of this device where it is the kernel's own default; [`change`]s it where it is ours
/// already. The kernel refuses the first where somebody else's is there, since REPLACE is not said.
pub(super) fn create(sequence: u32, device: u32, ours: Handle, setting: &Setting) -> Vec<u8> {
    set(sequence, CREATE, device, ours, setting)
}

/// Changes the root of this device where it is ours and of this kind.
pub(super) fn change(sequence: u32, device: u32, ours: Handle, setting: &Setting) -> Vec<u8> {
    set(sequence, 0, device, ours, setting)
}

/// Deletes the root of this device where it has our handle; the kernel refuses another.
pub(super) fn delete(sequence: u32, device: u32, ours: Handle) -> Vec<u8> {
    Message::new(DELQDISC, ACK, sequence, device, ours.number(), ROOT).finish()
}

fn set(sequence: u32, flags: u16, device: u32, ours: Handle, setting: &Setting) -> Vec<u8> {
    let kind = Kind::of(setting);
    let mut message = Message::new(NEWQDISC, ACK | flags, sequence, device, ours.number(), ROOT);
    let mut name = kind.as_str().as_bytes().to_vec();
    name.push(0);
    message.attribute(KIND, &name);
    message.attribute(
        OPTIONS,
        &match kind {
            Kind::Netem => netem(setting),
            Kind::Tbf => tbf(setting.rate),
        },
    );
    message.finish()
}

fn netem(setting: &Setting) -> Vec<u8> {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let ticks = |time| u32::try_from(nanos(time) / NANOS_PER_TICK).unwrap_or(u32::MAX);
    let mut options = Vec::with_capacity(96);
    let words = [
        ticks(setting.delay),
        packets(setting),
        setting.loss.0,
        0, // gap
        0, // duplicate
        ticks(setting.jitter),
    ];
    words
        .iter()
        .for_each(|word| put(&mut options, word.to_ne_bytes()));
    attribute(
        &mut options,
        NETEM_LATENCY64,
        &nanos(setting.delay).to_ne_bytes(),
    );
    attribute(
        &mut options,
        NETEM_JITTER64,
        &nanos(setting.jitter).to_ne_bytes(),
    );
    // Said in every case: what is not said stays as it was. The 64-bit one counts only with the other.
    let (low, high) = rate_words(setting.rate);
    if let Some(high) = high {
        attribute(&mut options, NETEM_RATE64, &high.to_ne_bytes());
    }
    let mut rate = low.to_ne_bytes().to_vec();
    rate.extend([0; 12]); // No overhead, no cells.
    attribute(&mut options, NETEM_RATE, &rate);
    options
}

/// How many packets may wait: those of the time that one waits, so that the delay drops none.
fn packets(setting: &Setting) -> u32 {
    let per_second = match setting.rate {
        Rate(0) => USUAL_PACKETS,
        Rate(bytes) => bytes / PACKET_BYTES,
    };
    let millis = (setting.delay + setting.jitter).as_millis();
    let waiting = u64::try_from(millis)
        .unwrap_or(u64::MAX)
        .saturating_mul(per_second)
        / 1000;
    let packets = LEAST_PACKETS.saturating_add(waiting).min(MOST_PACKETS);
    u32::try_from(packets).unwrap_or(u32::MAX)
}

fn tbf(rate: Rate) -> Vec<u8> {
    let within = |time: Duration| {
        let bytes = u128::from(rate.0) * time.as_micros() / 1_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    };
    let word = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let burst = within(BURST).max(LEAST_BURST);
    let limit = within(TBF_WAIT).saturating_add(burst);
    let (low, high) = rate_words(rate);
    let mut parms = Vec::with_capacity(TBF_QOPT);
    // struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate.
    parms.extend([0, ETHERNET, 0, 0, 0, 0, 0, 0]);
    put(&mut parms, low.to_ne_bytes());
    parms.extend([0; 12]); // No rate of peaks.
    put(&mut parms, word(limit).to_ne_bytes());
    parms.extend([0; 8]); // The burst is said in bytes below, and there is no burst of peaks.
    let mut options = Vec::with_capacity(64);
    attribute(&mut options, TBF_PARMS, &parms);
    attribute(&mut options, TBF_BURST, &word(burst).to_ne_bytes());
    if let Some(high) = high {
        attribute(&mut options, TBF_RATE64, &high.to_ne_bytes());
    }
    options
}

/// A rate in the 32-bit field, and in the other where it does not fit there.
fn rate_words(rate: Rate) -> (u32, Option<u64>) {
    match u32::try_from(rate.0) {
        Ok(low) if low < u32::MAX => (low, None),
        _ => (u32::MAX, Some(rate.0)),
    }
}

struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, sequence: u32, device: u32, handle: u32, parent: u32) -> Self {
        let mut bytes = Vec::with_capacity(256);
        put(&mut bytes, 0u32.to_ne_bytes()); // The length, see `finish`.
        put(&mut bytes, kind.to_ne_bytes());
        put(&mut bytes, (REQUEST | flags).to_ne_bytes());
        put(&mut bytes, sequence.to_ne_bytes());
        put(&mut bytes, 0u32.to_ne_bytes());
        // struct tcmsg: family and padding, then these and `info`.
        for word in [0, device, handle, parent, 0] {
            put(&mut bytes, word.to_ne_bytes());
        }
        Message(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        attribute(&mut self.0, kind, value);
    }

    fn finish(mut self) -> Vec<u8> {
        // A message of ours has some hundred bytes.
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

fn put<const N: usize>(bytes: &mut Vec<u8>, word: [u8; N]) {
    bytes.extend_from_slice(&word);
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Ours are short.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    put(bytes, length.to_ne_bytes());
    put(bytes, kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The messages in these bytes that answer this request, as far as they are whole.
pub(super) fn answers(mut bytes: &[u8], sequence: u32) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(length) = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER) else {
            break;
        };
        if u32_at(message, 8) == Some(sequence) {
            answers.push(answer(message).unwrap_or(Answer::Other));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    answers
}

fn answer(message: &[u8]) -> Option<Answer> {
    let body = &message[HEADER..];
    Some(match u16_at(message, 4)? {
        NEWQDISC => Answer::Qdisc(qdisc(body)?),
        DONE => Answer::Done,
        ERROR => Answer::Ack(u32_at(body, 0)?.cast_signed().saturating_neg()),
        _ => Answer::Other,
    })
}

fn qdisc(body: &[u8]) -> Option<Qdisc> {
    let attributes = body.get(TCMSG..)?;
    let name = find(attributes, KIND)?;
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    // The kernel's own limit is 16 bytes with the NUL.
    let name = &name[..name.len().min(15)];
    let options = find(attributes, OPTIONS).unwrap_or_default();
    let setting = match name {
        b"netem" => read_netem(options),
        b"tbf" => read_tbf(options),
        _ => None,
    };
    Some(Qdisc {
        device: u32_at(body, 4)?,
        handle: u32_at(body, 8)?,
        root: u32_at(body, 12)? == ROOT,
        kind: name.escape_ascii().to_string(),
        setting,
    })
}

fn read_netem(options: &[u8]) -> Option<Setting> {
    let attributes = options.get(NETEM_QOPT..)?;
    let time = |word: usize, wide: u16| {
        let ticks = u64::from(u32_at(options, word)?) * NANOS_PER_TICK;
        let nanos = find(attributes, wide).and_then(|value| u64_at(value, 0));
        Some(Duration::from_nanos(nanos.unwrap_or(ticks)))
    };
    let rate = find(attributes, NETEM_RATE).and_then(|value| u32_at(value, 0));
    let wide = find(attributes, NETEM_RATE64).and_then(|value| u64_at(value, 0));
    Some(Setting {
        delay: time(0, NETEM_LATENCY64)?,
        jitter: time(20, NETEM_JITTER64)?,
        loss: Loss(u32_at(options, 8)?),
        rate: Rate(wide.unwrap_or(u64::from(rate.unwrap_or(0)))),
    })
}

fn read_tbf(options: &[u8]) -> Option<Setting> {
    let parms = find(options, TBF_PARMS)?;
    let wide = find(options, TBF_RATE64).and_then(|value| u64_at(value, 0));
    Some(Setting {
        rate: Rate(wide.unwrap_or(u64::from(u32_at(parms, 8)?))),
        ..Setting::default()
    })
}

/// The value of the first attribute of this kind.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    /// The upper bits say whether it is nested, and in which order its bytes are.
    const KIND_BITS: u16 = 0x3FFF;
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? & KIND_BITS == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
