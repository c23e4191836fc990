//! Why the kernel does not take a program.

use std::fmt;
use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// How much of a reason is kept. The verifier's last line is some 80 characters.
const REASON_LIMIT: usize = 200;

/// Why nothing is counted at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The kernel says nothing of its structures, or nothing that can be understood.
    #[error(
        "the kernel's description of itself cannot be read ({0}): BPF programs need a Linux with CONFIG_DEBUG_INFO_BTF and a readable /sys/kernel/btf/vmlinux"
    )]
    NoBtf(String),
    /// The process may not load programs.
    #[error(
        "the agent lacks capabilities: loading BPF programs needs BPF and PERFMON, or SYS_ADMIN"
    )]
    NoCapability,
    /// No way of counting is left.
    #[error("this kernel takes no program that could count: {}", Reasons(.0))]
    Programs(Vec<Skipped>),
}

/// A program that is not at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The function of the kernel that it belongs to, or its own name.
    pub program: &'static str,
    /// Why.
    pub why: Why,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.program, self.why)
    }
}

/// Why a program is not at work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The kernel has no such function or tracepoint.
    #[error("this kernel has no such function")]
    NoFunction,
    /// A system call failed.
    #[error("{} failed: {}{}", .call, io::Error::from_raw_os_error(*.errno), Verifier(.verifier))]
    System {
        /// What was tried.
        call: &'static str,
        /// The error's number.
        errno: i32,
        /// The last thing that the kernel's verifier said, on one line; may be empty.
        verifier: String,
    },
    /// It cannot be made to fit this kernel.
    #[error("it does not fit this kernel ({0})")]
    Unfit(String),
    /// It would give wrong figures without another one.
    #[error("it is of no use without {0}")]
    Without(&'static str),
    /// It was not asked for.
    #[error("it costs more and was not asked for")]
    NotAsked,
    /// There is none for this kind of machine.
    #[error("there is none for this kind of CPU")]
    OtherCpu,
}

impl Why {
    /// Why an object with its maps could not be loaded.
    pub(super) fn of_object(error: &EbpfError) -> Why {
        match error {
            EbpfError::MapError(error) => Why::of_map(error),
            EbpfError::ProgramError(error) => Why::of_program(error),
            error => Why::Unfit(one_line(&chain(error))),
        }
    }

    fn of_map(error: &MapError) -> Why {
        match errno(error) {
            Some(errno) => Why::System {
                call: "making a BPF map",
                errno,
                verifier: String::new(),
            },
            None => Why::Unfit(one_line(&chain(error))),
        }
    }

    /// Why a program could not be loaded or attached.
    pub(super) fn of_program(error: &ProgramError) -> Why {
        match error {
            ProgramError::Btf(aya::BtfError::UnknownBtfTypeName { .. }) => Why::NoFunction,
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => Why::System {
                call: "loading it",
                errno: io_error.raw_os_error().unwrap_or_default(),
                verifier: last_word(&verifier_log.to_string()),
            },
            error => match errno(error) {
                Some(errno) => Why::System {
                    call: "attaching it",
                    errno,
                    verifier: String::new(),
                },
                None => Why::Unfit(one_line(&chain(error))),
            },
        }
    }
}

/// Programs with their reasons; those of one reason stand together.
struct Reasons<'a>(&'a [Skipped]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|skipped| skipped.why == first.why);
            let (same, others) = rest.split_at(same.count());
            let names: Vec<&str> = same.iter().map(|skipped| skipped.program).collect();
            write!(f, "{}: {}", names.join(", "), first.why)?;
            rest = others;
            if !rest.is_empty() {
                f.write_str("; ")?;
            }
        }
        Ok(())
    }
}

struct Verifier<'a>(&'a str);

impl fmt::Display for Verifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            said => write!(f, ", the verifier says: {said}"),
        }
    }
}

/// The number of the system's error that is behind another one.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(io) = this.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        error = this.source();
    }
    None
}

/// An error with those behind it.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(this) = source {
        let more = this.to_string();
        // Some errors say what is behind them by themselves.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = this.source();
    }
    text
}

/// The last line that says something: after it come figures about the verifier's work.
fn last_word(log: &str) -> String {
    let figures = [
        "processed ",
        "verification time ",
        "stack depth ",
        "insns processed",
    ];
    let said =
        log.lines().rev().map(str::trim).find(|line| {
            !line.is_empty() && !figures.iter().any(|figure| line.starts_with(figure))
        });
    one_line(said.unwrap_or_default())
}

/// At most [`REASON_LIMIT`] characters, none of which ends a line.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(REASON_LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_word_is_kept() {
        let log = "func#0 @0\nR1 type=ctx expected=fp\nmath between ptr_ pointer and register\n\
            verification time 31 usec\nstack depth 8\nprocessed 3 insns (limit 1000000)\n";
        assert_eq!(last_word(log), "math between ptr_ pointer and register");
        assert_eq!(last_word(""), "");
        let endless = last_word(&"x".repeat(5000));
        assert_eq!(endless.chars().count(), REASON_LIMIT + 1);
    }

    #[test]
    fn a_refusal_is_one_sentence() {
        let no = |program| Skipped {
            program,
            why: Why::System {
                call: "loading it",
                errno: 1,
                verifier: "invalid program type".into(),
            },
        };
        let refused = Refused::Programs(vec![
            no("inet_recvmsg"),
            no("inet_sendmsg"),
            Skipped {
                program: "sys_exit",
                why: Why::NotAsked,
            },
        ]);
        assert_eq!(
            refused.to_string(),
            "this kernel takes no program that could count: inet_recvmsg, inet_sendmsg: loading it \
             failed: Operation not permitted (os error 1), the verifier says: invalid program type; \
             sys_exit: it costs more and was not asked for"
        );
    }

    #[test]
    fn the_systems_error_is_found_behind_others() {
        let error = EbpfError::MapError(MapError::CreateError {
            name: "counts".into(),
            io_error: io::Error::from_raw_os_error(12),
        });
        assert_eq!(
            Why::of_object(&error).to_string(),
            "making a BPF map failed: Cannot allocate memory (os error 12)"
        );
        let error = EbpfError::NoBTF;
        assert_eq!(
            Why::of_object(&error).to_string(),
            "it does not fit this kernel (no BTF parsed for object)"
        );
    }
}
