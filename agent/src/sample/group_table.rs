//! The groups that processes run in, each once, so that a process holds a number for its group.

use std::collections::HashMap;
use std::sync::Arc;

use super::cgroup_path::Place;
use super::{CgroupSample, Group, GroupSample};

/// A group that some process was in when the last sample was taken.
struct Slot {
    group: Arc<Group>,
    /// The sample that it was last seen in.
    seen: u64,
    /// Its index among that sample's groups.
    index: u32,
}

/// All groups in use. A slot's number stays the same for as long as a process is in its group.
#[derive(Default)]
pub(super) struct GroupTable {
    slots: Vec<Option<Slot>>,
    by_group: HashMap<Arc<Group>, u32>,
    free: Vec<u32>,
    sample: u64,
    groups: Vec<GroupSample>,
}

impl GroupTable {
    /// Begins a sample.
    pub(super) fn begin(&mut self) {
        self.sample += 1;
        self.groups.clear();
    }

    /// The slot of the place's group; `None` for a place outside of containers and pods.
    pub(super) fn intern(&mut self, place: Place) -> Option<u32> {
        let Place {
            pod,
            container,
            runtime,
            ..
        } = place;
        if pod.is_none() && container.is_none() {
            return None;
        }
        let group = Group {
            pod,
            container,
            runtime,
        };
        if let Some(&slot) = self.by_group.get(&group) {
            return Some(slot);
        }
        let group = Arc::new(group);
        let entry = Some(Slot {
            group: group.clone(),
            seen: 0,
            index: 0,
        });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                // One slot per group of a running process: pids do not reach this number.
                (self.slots.len() - 1) as u32
            }
        };
        self.by_group.insert(group, slot);
        Some(slot)
    }

    /// Notes that a process of this sample is in the slot's group; says the group's index in the
    /// sample.
    pub(super) fn seen(&mut self, slot: u32) -> u32 {
        let Some(entry) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            unreachable!("a slot lives as long as a process refers to it");
        };
        if entry.seen != self.sample {
            entry.seen = self.sample;
            entry.index = self.groups.len() as u32;
            self.groups.push(GroupSample {
                group: entry.group.clone(),
                cgroup: CgroupSample::default(),
            });
        }
        entry.index
    }

    /// Ends a sample: its groups, in the order in which they were seen. Slots that no process is
    /// in any more are given back.
    pub(super) fn end(&mut self) -> Vec<GroupSample> {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if let Some(unused) = slot.take_if(|slot| slot.seen != self.sample) {
                self.by_group.remove(&unused.group);
                self.free.push(number as u32);
            }
        }
        std::mem::take(&mut self.groups)
    }
}
