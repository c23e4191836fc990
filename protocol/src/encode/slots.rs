//! The places of a body where the ID of the probe that asks for it belongs.

use super::json::{Encoder, Members};
use crate::Timestamp;

/// `latest.control_probe_id` says which probe carries out the controls of a node
/// (`render/detailed/node.go`). Scope's CRI reporter sets none, so that a plugin has to tell each
/// probe its own ID. All else of a report is the same for every probe: so it is written once, and
/// these are the places where the ID is put into a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeSlots(Vec<Slot>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// Offset in the body of the brace that closes the node's `latest`.
    at: usize,
    stamp: Timestamp,
}

/// More than `,"control_probe_id":{"timestamp":"…","value":"…"}` has with any ID of a probe.
const MEMBER_LEN: usize = 96;

impl ProbeSlots {
    pub(super) fn add(&mut self, at: usize, stamp: Timestamp) {
        self.0.push(Slot { at, stamp });
    }

    /// Whether all probes get the same body.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many nodes carry the probe's ID.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How large a copy becomes, at most.
    pub fn filled_len(&self, body: usize) -> usize {
        body + self.0.len() * MEMBER_LEN
    }

    /// A copy of the body for one probe. `body` is what these slots came with.
    pub fn fill(&self, body: &[u8], probe_id: &str) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.filled_len(body.len()));
        let mut copied = 0;
        for slot in &self.0 {
            copy.extend_from_slice(&body[copied..slot.at]);
            copied = slot.at;
            let mut e = Encoder::new(&mut copy);
            let mut members = Members::some();
            e.key(&mut members, "control_probe_id");
            e.latest(slot.stamp, probe_id);
        }
        copy.extend_from_slice(&body[copied..]);
        copy
    }
}
