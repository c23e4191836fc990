//! Who counts HTTP on this machine: the programs of [`crate::bpf`], as the sampler wants them.

use std::time::Duration;

use rustix::io::Errno;

use crate::bpf::http::{HttpCounter, HttpMode, HttpReading, HttpStats};
use crate::bpf::{Refused, Skipped, Why};
use crate::http_rates::{Counters, Off};
use crate::sample::Cause;

/// The best that this kernel and the agent's rights allow, or why there is none.
pub(super) fn count_http(allow_sys_exit: bool) -> Result<Box<dyn Counters>, Off> {
    match HttpCounter::load(allow_sys_exit) {
        Ok(counter) => {
            let said = said(counter.mode(), counter.skipped());
            tracing::info!(mode = counter.mode().word(), "{said}");
            Ok(Box::new(InKernel { counter, said }))
        }
        Err(refused) => {
            let off = off(&refused);
            tracing::warn!("HTTPStatistics is off: {}", off.why);
            Err(off)
        }
    }
}

fn off(refused: &Refused) -> Off {
    let denied = |skipped: &Skipped| match skipped.why {
        Why::System { errno, .. } => {
            [Errno::PERM, Errno::ACCESS].contains(&Errno::from_raw_os_error(errno))
        }
        _ => false,
    };
    let cause = match refused {
        Refused::NoCapability => Cause::Denied,
        Refused::Programs(skipped) if skipped.iter().any(denied) => Cause::Denied,
        Refused::NoBtf(_) | Refused::Programs(_) => Cause::Absent,
    };
    let hint = match refused {
        Refused::Programs(skipped) if skipped.iter().any(|s| s.why == Why::NotAsked) => {
            "spec.agent.httpStatistics.allowSysExit is not set, which would allow the mode sys_exit; else "
        }
        _ => "",
    };
    Off {
        cause,
        // What can be done first: the kernel's words may be long.
        why: format!("{hint}{refused}."),
    }
}

/// How it is counted, and what is not seen for it.
fn said(mode: HttpMode, skipped: &[Skipped]) -> String {
    let mut said = match mode {
        HttpMode::Fexit => "HTTP is counted at the kernel's sockets (fexit).".to_owned(),
        HttpMode::SysExit => {
            "HTTP is counted at the end of system calls (sys_exit), so not that of io_uring."
                .to_owned()
        }
    };
    // Those of another mode say nothing about this one.
    if mode == HttpMode::Fexit && !skipped.is_empty() {
        let missing: Vec<String> = skipped.iter().map(Skipped::to_string).collect();
        said.push_str(" Not seen there: ");
        said.push_str(&missing.join("; "));
        said.push('.');
    }
    said
}

struct InKernel {
    counter: HttpCounter,
    said: String,
}

impl Counters for InKernel {
    fn mode(&self) -> &'static str {
        self.counter.mode().word()
    }

    fn said(&self) -> String {
        self.said.clone()
    }

    fn read(&mut self) -> Result<HttpReading, String> {
        self.counter.read().map_err(|error| error.to_string())
    }

    fn stats(&self) -> HttpStats {
        self.counter.stats()
    }

    fn forget(&mut self, gone: &[(u32, Duration)]) -> Vec<(u32, Duration)> {
        self.counter.forget(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(program: &'static str, why: Why) -> Skipped {
        Skipped { program, why }
    }

    fn refused_by_the_system(errno: Errno) -> Why {
        Why::System {
            call: "loading it",
            errno: errno.raw_os_error(),
            verifier: String::new(),
        }
    }

    #[test]
    fn why_it_is_off_is_a_sentence_with_its_kind() {
        let no_room = refused_by_the_system(Errno::NOMEM);
        for (refused, cause) in [
            (Refused::NoCapability, Cause::Denied),
            (Refused::NoBtf("no such file".into()), Cause::Absent),
            (
                Refused::Programs(vec![skipped("a", refused_by_the_system(Errno::PERM))]),
                Cause::Denied,
            ),
            (
                Refused::Programs(vec![skipped("a", no_room)]),
                Cause::Absent,
            ),
        ] {
            let off = off(&refused);
            assert_eq!(off.cause, cause, "{refused}");
            assert_eq!(off.why, format!("{refused}."));
        }
        let not_asked = off(&Refused::Programs(vec![
            skipped("inet_recvmsg", refused_by_the_system(Errno::PERM)),
            skipped("sys_exit", Why::NotAsked),
        ]));
        assert!(not_asked.why.contains("allowSysExit"), "{}", not_asked.why);
    }

    #[test]
    fn what_is_missing_is_said_with_the_mode_that_lacks_it() {
        let missing = [skipped("unix_stream_recvmsg", Why::NoFunction)];
        let of = |mode| said(mode, &missing);
        assert!(of(HttpMode::Fexit).contains("unix_stream_recvmsg: this kernel has no such"));
        assert!(!of(HttpMode::SysExit).contains("unix_stream_recvmsg"));
        assert!(said(HttpMode::Fexit, &[]).ends_with("(fexit)."));
    }
}
