//! Which containers are no containers of a pod but the sandbox that the runtime keeps for it, mostly a
//! process called `pause`. Only needed where Kubernetes does not say what the pod's containers are.
//!
//! A name or an image would be a guess. Two things are none:
//!
//! * containerd has one shim for a pod, which it calls by the sandbox's ID: `containerd-shim… -namespace
//!   k8s.io -id <ID>`. The shim is the parent of the first process of each of the pod's containers.
//! * The other runtimes (CRI-O, cri-dockerd), and containerd too unless it may not, give the process of a
//!   sandbox an `oom_score_adj` that the kubelet gives to no container of a pod: -997 is the least that
//!   it gives there, -999 it has itself, and between them is the sandbox's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::number::decimal;
use super::reader::{End, Reader, path_bytes};
use super::{Group, GroupSample, ProcessId, ProcessSample};

/// What the kernel says of a sandbox's process.
const SANDBOX: &[u8] = b"-998";
/// What containerd calls those that keep containers, whatever their version.
const SHIM: &[u8] = b"containerd-shim";
/// Its namespace for the containers of pods. Elsewhere a container may well have a shim of its own.
const OF_PODS: &[u8] = b"k8s.io";

/// The value is set while the runtime makes the process, so what is a container at the first look may
/// be a sandbox at a second one after this time.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// The containers that were looked at.
#[derive(Default)]
pub(super) struct Sandboxes {
    looked: HashMap<Arc<str>, Look>,
}

struct Look {
    sandbox: bool,
    /// When it is to be looked at a second time.
    again: Option<Duration>,
}

impl Sandboxes {
    /// Makes the sandboxes among these groups what they are: what runs in a pod beside its containers.
    pub(super) fn tell_apart(
        &mut self,
        proc: &Path,
        reader: &mut Reader,
        now: Duration,
        processes: &[ProcessSample],
        groups: &mut [GroupSample],
    ) {
        let root = path_bytes(proc);
        // The oldest: what came later is no sandbox's process, nor need its parent be a shim.
        let mut first: Vec<Option<ProcessId>> = vec![None; groups.len()];
        for process in processes {
            if let Some(first) = process.group.and_then(|g| first.get_mut(g as usize)) {
                let process = process.identity();
                *first = Some(first.map_or(process, |first| first.min(process)));
            }
        }
        for (group, first) in groups.iter_mut().zip(first) {
            let (Some(_), Some(id), Some(ProcessId { pid, .. })) =
                (&group.group.pod, &group.group.container, first)
            else {
                continue;
            };
            let look = self.looked.get(id);
            let due = look.is_none_or(|look| look.again.is_some_and(|again| now >= again));
            if due {
                let sandbox = is_sandbox(&root, reader, pid, id);
                let again = (look.is_none() && !sandbox).then_some(now + SECOND_LOOK);
                self.looked.insert(id.clone(), Look { sandbox, again });
            }
            if self.is(id) {
                group.group = Arc::new(Group {
                    container: None,
                    ..Group::clone(&group.group)
                });
            }
        }
    }

    /// Whether this was found to be one.
    pub(super) fn is(&self, id: &str) -> bool {
        self.looked.get(id).is_some_and(|look| look.sandbox)
    }

    /// Forgets what does not exist any more.
    pub(super) fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.looked.retain(|id, _| exists(id));
    }
}

/// Whether the container with this process is a sandbox. Who cannot be asked is taken for a container.
fn is_sandbox(root: &[u8], reader: &mut Reader, pid: u32, id: &str) -> bool {
    let score = reader.read_path(root, &format!("{pid}/oom_score_adj"), End::OnePiece);
    if score.is_ok_and(|text| text.trim_ascii() == SANDBOX) {
        return true;
    }
    let stat = reader.read_path(root, &format!("{pid}/stat"), End::OnePiece);
    let Some(parent) = stat.ok().and_then(parent) else {
        return false;
    };
    let arguments = reader.read_path(root, &format!("{parent}/cmdline"), End::Records);
    arguments.is_ok_and(|arguments| sandbox_of_shim(arguments) == Some(id.as_bytes()))
}

/// The fourth field of a `stat` line. The name before it may hold any bytes, so it ends at the last
/// parenthesis.
pub(super) fn parent(stat: &[u8]) -> Option<u32> {
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat[name_ends + 1..]
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    let parent = decimal(fields.nth(1)?)?;
    u32::try_from(parent).ok()
}

/// The ID by which containerd called a shim for a pod, if these are the arguments of one.
pub(super) fn sandbox_of_shim(arguments: &[u8]) -> Option<&[u8]> {
    let mut arguments = arguments.split(|&byte| byte == 0);
    let program = arguments.next()?.rsplit(|&byte| byte == b'/').next()?;
    if !program.starts_with(SHIM) {
        return None;
    }
    let (mut namespace, mut id) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument {
            b"-namespace" => namespace = arguments.next(),
            b"-id" => id = arguments.next(),
            _ => {}
        }
    }
    id.filter(|_| namespace == Some(OF_PODS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_shim_of_a_pod_is_called_by_its_sandbox() {
        for (arguments, id) in [
            (
                "/usr/bin/containerd-shim-runc-v2\0-namespace\0k8s.io\0-id\0abc\0-address\0/x\0",
                Some("abc"),
            ),
            (
                "containerd-shim-kata-v2\0-id\0abc\0-namespace\0k8s.io\0",
                Some("abc"),
            ),
            // Docker's: one for each container.
            (
                "/usr/bin/containerd-shim-runc-v2\0-namespace\0moby\0-id\0abc\0",
                None,
            ),
            (
                "/usr/bin/containerd-shim-runc-v2\0-namespace\0k8s.io\0-id",
                None,
            ),
            ("sh\0-c\0containerd-shim -namespace k8s.io -id abc\0", None),
            ("sleep\0-namespace\0k8s.io\0-id\0abc\0", None),
            ("", None),
        ] {
            let found = sandbox_of_shim(arguments.as_bytes());
            assert_eq!(found, id.map(str::as_bytes), "{arguments:?}");
        }
    }

    #[test]
    fn a_parent_stands_behind_whatever_the_name_is() {
        for (stat, found) in [
            ("7 (pause) S 41 7 7 0", Some(41)),
            ("7 (a) S 9 ) S 41 7 7 0", Some(41)),
            ("7 (pause) S", None),
            ("7 (pause) S x", None),
            ("", None),
        ] {
            assert_eq!(parent(stat.as_bytes()), found, "{stat}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (parent(&bytes), sandbox_of_shim(&bytes));
        }
    }
}
