//! Disk bytes by the processes' own counts, `/proc/<pid>/io`: for kernels whose v1 `blkio` does not count
//! at all disks, as since Linux 6.10 it does only at those for which somebody set a limit, and for
//! machines without any controller of I/O.
//!
//! A process's counts go to its parent when that waits for it. So the sum over a container's
//! processes grows by what was read and written, whichever of them ended; it steps back only when
//! one ends whose parent is outside, and then there is no rate. To read the files of other users'
//! processes takes `CAP_SYS_PTRACE`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::number::keyed;
use super::reader::{End, ReadError, Reader, path_bytes};
use super::seldom::{Turn, seed};
use super::{Cause, Datum, DiskBytes, GroupSample, PodSample, Problems, ProcessSample, Span};

/// What was read, by the ID of the container or pod.
#[derive(Debug, Default)]
pub(super) struct ProcessIo {
    turns: HashMap<Arc<str>, Turn>,
    spans: HashMap<Arc<str>, Span<DiskBytes>>,
    /// What could not be summed up in its last turn, nor in the tick after it.
    disturbed: HashSet<Arc<str>>,
    /// What is to be read again in the next tick, by what has turns.
    again: HashSet<Arc<str>>,
}

/// Reads `io`.
pub(super) fn parse(text: &[u8]) -> Option<DiskBytes> {
    Some(DiskBytes {
        read: keyed(text, b"read_bytes:")?,
        written: keyed(text, b"write_bytes:")?,
    })
}

/// A sum over processes, as far as each could be read.
#[derive(Debug, Clone, Copy)]
enum Sum {
    Bytes(DiskBytes),
    /// One ended meanwhile: it is read again in the next tick.
    Disturbed,
    /// One cannot be read: the sum would be too low.
    Unknown,
}

impl Sum {
    fn add(&mut self, read: Result<DiskBytes, ReadError>) {
        *self = match (*self, read) {
            (Sum::Unknown, _) | (_, Err(ReadError::Missing(_))) => Sum::Unknown,
            (Sum::Disturbed, _) | (_, Err(ReadError::Gone)) => Sum::Disturbed,
            (Sum::Bytes(sum), Ok(bytes)) => Sum::Bytes(DiskBytes {
                read: sum.read.saturating_add(bytes.read),
                written: sum.written.saturating_add(bytes.written),
            }),
        };
    }
}

impl ProcessIo {
    /// Fills in the disk bytes of these groups and pods, now; `turns` is the time by which turns are taken.
    /// All processes of a pod are read at once.
    #[allow(clippy::too_many_arguments)] // A part of `Sampler::take`, with its borrows.
    pub(super) fn read(
        &mut self,
        proc: &Path,
        reader: &mut Reader,
        (now, turns): (Duration, Duration),
        processes: &[ProcessSample],
        groups: &mut [GroupSample],
        pods: &mut BTreeMap<Arc<str>, PodSample>,
        problems: &mut Problems,
    ) {
        // Whose turn it is: a pod's with all that is in it.
        let keys: Vec<Option<Arc<str>>> = groups
            .iter()
            .map(|sample| {
                let group = &sample.group;
                let ours = group.pod.as_ref().filter(|pod| pods.contains_key(*pod));
                match &group.pod {
                    Some(_) => ours.cloned(),
                    None => group.container.clone(),
                }
            })
            .collect();
        let present: HashSet<&Arc<str>> = keys.iter().flatten().collect();
        self.turns.retain(|key, _| present.contains(key));
        let again = std::mem::take(&mut self.again);
        // Whether it is their turn, or they are read once more after one that was disturbed.
        let due: HashMap<&Arc<str>, bool> = present
            .into_iter()
            .filter_map(|key| {
                let turn = self.turns.entry(key.clone()).or_default();
                let its_turn = turn.take(turns, seed(key.as_bytes()));
                (its_turn || again.contains(key)).then_some((key, its_turn))
            })
            .collect();

        let mut sums: HashMap<Arc<str>, (Sum, &Arc<str>)> = HashMap::new();
        for process in processes {
            let Some(index) = process.group.map(|group| group as usize) else {
                continue;
            };
            let key = keys.get(index).and_then(Option::as_ref);
            let Some(key) = key.filter(|key| due.contains_key(key)) else {
                continue;
            };
            let path = path_bytes(&proc.join(process.pid.to_string()));
            let text = reader.read_path(&path, "io", End::OnePiece);
            let malformed = ReadError::Missing(Cause::Malformed);
            let read = text.and_then(|text| parse(text).ok_or(malformed));
            if let Err(ReadError::Missing(cause)) = read {
                problems.add(Datum::CgroupDisk, cause, || {
                    let directory = proc.join(process.pid.to_string());
                    directory.join("io").display().to_string()
                });
            }
            let group = &groups[index].group;
            for id in group.container.iter().chain(&group.pod) {
                let first = (Sum::Bytes(DiskBytes::default()), key);
                sums.entry(id.clone()).or_insert(first).0.add(read);
            }
        }
        for (id, (sum, key)) in sums {
            let its_turn = due.get(key).copied().unwrap_or_default();
            match sum {
                // What was not disturbed has its figure already.
                Sum::Bytes(_) if !its_turn && !self.disturbed.contains(&id) => {}
                Sum::Bytes(bytes) => {
                    let before = self.spans.get(&id).copied();
                    self.disturbed.remove(&id);
                    self.spans.insert(id, Span::next(before, now, bytes));
                }
                Sum::Disturbed if its_turn => {
                    self.again.insert(key.clone());
                    // In the second turn in a row what is known is too old to be told as of today.
                    if !self.disturbed.insert(id.clone()) {
                        self.spans.remove(&id);
                    }
                }
                Sum::Disturbed => {}
                Sum::Unknown => {
                    self.disturbed.remove(&id);
                    self.spans.remove(&id);
                }
            }
        }

        let mut there: HashSet<Arc<str>> = HashSet::new();
        for sample in groups {
            if let Some(id) = &sample.group.container {
                sample.cgroup.further.disk = self.spans.get(id).copied();
                there.insert(id.clone());
            }
        }
        for (id, pod) in pods {
            pod.cgroup.further.disk = self.spans.get(id).copied();
            there.insert(id.clone());
        }
        self.spans.retain(|id, _| there.contains(id));
        self.disturbed.retain(|id| there.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_disks_are_taken() {
        let text = b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 5\n";
        let want = DiskBytes {
            read: 4096,
            written: 8192,
        };
        assert_eq!(parse(text), Some(want));
        for bad in [
            &b""[..],
            b"read_bytes: 1\n",
            b"read_bytes: x\nwrite_bytes: 1\n",
        ] {
            assert_eq!(parse(bad), None);
        }
    }
}
