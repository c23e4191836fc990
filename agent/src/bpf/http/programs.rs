//! The programs that count HTTP, and which of them are put to work together.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::programs::{BtfTracePoint, FExit};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};

use crate::bpf::{Skipped, Why};

const FEXIT: &[u8] =
    include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/http_fexit.bpf.o"));
const SYS_EXIT: &[u8] = include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/bpf/http_sys_exit.bpf.o"
));
/// Its program, and the tracepoint.
const SYS_EXIT_PROGRAM: &str = "http_sys_exit";
const SYS_EXIT_POINT: &str = "sys_exit";

/// Where the sockets of a family are written and read: never one without the other, or requests that
/// wait for their response would do so for ever.
const FAMILIES: [[&str; 2]; 3] = [
    ["inet_sendmsg", "inet_recvmsg"],
    ["inet6_sendmsg", "inet6_recvmsg"],
    ["unix_stream_sendmsg", "unix_stream_recvmsg"],
];
/// Where whole pages are written, which Linux 6.5 does otherwise.
const PAGES: [&str; 2] = ["inet_sendpage", "unix_stream_sendpage"];

/// An object with programs at work, and those that are not.
pub(super) type Loaded = (Ebpf, Vec<Skipped>);

/// Puts programs at the functions of sockets, family by family; fails if there is none.
pub(super) fn fexit<'btf>(
    loader: &mut EbpfLoader<'btf>,
    btf: &'btf Btf,
) -> Result<Loaded, Vec<Skipped>> {
    let mut ebpf = loader.load(FEXIT).map_err(|error| {
        let why = Why::of_object(&error);
        skip_all(&why)
    })?;
    let mut skipped = Vec::new();
    let mut at_work = false;
    for page in PAGES {
        match start(&mut ebpf, page, btf) {
            Ok(()) | Err(Why::NoFunction) => {}
            Err(why) => skipped.push(Skipped { program: page, why }),
        }
    }
    for [send, receive] in FAMILIES {
        let started = start(&mut ebpf, send, btf)
            .map_err(|why| (send, why, receive))
            .and_then(|()| {
                start(&mut ebpf, receive, btf).map_err(|why| {
                    stop(&mut ebpf, send);
                    (receive, why, send)
                })
            });
        match started {
            Ok(()) => at_work = true,
            Err((program, why, other)) => skipped.extend([
                Skipped { program, why },
                Skipped {
                    program: other,
                    why: Why::Without(program),
                },
            ]),
        }
    }
    if at_work {
        Ok((ebpf, skipped))
    } else {
        // That each lacks the other one says nothing new.
        skipped.retain(|skipped| !matches!(skipped.why, Why::Without(_)));
        Err(skipped)
    }
}

/// Puts a program at the end of system calls.
pub(super) fn sys_exit<'btf>(
    loader: &mut EbpfLoader<'btf>,
    btf: &'btf Btf,
) -> Result<Ebpf, Skipped> {
    let skipped = |why| Skipped {
        program: SYS_EXIT_PROGRAM,
        why,
    };
    if !cfg!(target_arch = "x86_64") {
        return Err(skipped(Why::OtherCpu));
    }
    let mut ebpf = loader
        .load(SYS_EXIT)
        .map_err(|error| skipped(Why::of_object(&error)))?;
    let program = ebpf.program_mut(SYS_EXIT_PROGRAM);
    let program: &mut BtfTracePoint = program
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| skipped(not_in_object()))?;
    program
        .load(SYS_EXIT_POINT, btf)
        .and_then(|()| program.attach())
        .map_err(|error| skipped(Why::of_program(&error)))?;
    Ok(ebpf)
}

/// What is not tried, since nobody has asked for it.
pub(super) fn sys_exit_not_asked() -> Skipped {
    Skipped {
        program: SYS_EXIT_PROGRAM,
        why: Why::NotAsked,
    }
}

/// How often the kernel has left programs out, if it tells: the descriptor of a program says so.
pub(super) fn missed(ebpf: &Ebpf) -> Option<u64> {
    let mut sum = 0;
    for (_, program) in ebpf.programs() {
        // Those that are not at work have none.
        let Ok(descriptor) = program.fd() else {
            continue;
        };
        let path = format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd());
        sum += recursion_misses(&std::fs::read_to_string(path).ok()?)?;
    }
    Some(sum)
}

fn recursion_misses(text: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"));
    value?.trim().parse().ok()
}

fn start(ebpf: &mut Ebpf, function: &str, btf: &Btf) -> Result<(), Why> {
    let program = at_function(ebpf, function).ok_or_else(not_in_object)?;
    program
        .load(function, btf)
        .and_then(|()| program.attach())
        .map(|_link| ())
        .map_err(|error| Why::of_program(&error))
}

fn stop(ebpf: &mut Ebpf, function: &str) {
    if let Some(program) = at_function(ebpf, function) {
        // It fails only for a program that is not loaded.
        program.unload().ok();
    }
}

/// Programs bear the names of their functions.
fn at_function<'a>(ebpf: &'a mut Ebpf, function: &str) -> Option<&'a mut FExit> {
    ebpf.program_mut(function)?.try_into().ok()
}

fn skip_all(why: &Why) -> Vec<Skipped> {
    FAMILIES
        .into_iter()
        .flatten()
        .map(|program| Skipped {
            program,
            why: why.clone(),
        })
        .collect()
}

/// The objects are part of this program, and a test loads them.
fn not_in_object() -> Why {
    Why::Unfit("the object has no such program".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_read_off_the_descriptor() {
        let text = "pos:\t0\nprog_id:\t7\nrun_cnt:\t5\nrecursion_misses:\t12\n";
        assert_eq!(recursion_misses(text), Some(12));
        assert_eq!(recursion_misses("pos:\t0\n"), None);
    }
}
