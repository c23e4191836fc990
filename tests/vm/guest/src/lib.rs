//! What the host and its guest must agree on: how a scenario is named and how its end is told.
//!
//! The kernel's messages and whatever programs print go to the first serial port, which is for
//! people. The second one carries only the lines below, so that no message of the kernel can
//! tear them apart.

use std::fmt;

/// The serial port of these lines, in the guest.
pub const PORT: &str = "/dev/ttyS1";
/// What the guest calls itself.
pub const HOST_NAME: &str = "guest";
/// The directory of kernel modules in the guest; they are loaded in the order of their names.
pub const MODULES: &str = "/modules";
/// The agent's program in the guest.
pub const AGENT: &str = "/bin/scope-agent";
/// The HTTP servers and clients, and what counts them.
pub const HTTP_PROGRAM: &str = "/bin/http-acceptance";
/// The guest's own program.
pub const GUEST: &str = "/init";
/// The scenario about the agent on a machine with cgroup version 2 only.
pub const CGROUP_V2: &str = "cgroup-v2";
/// The scenario about shaping the traffic of pods on a kernel with netem.
pub const TRAFFIC: &str = "traffic";
/// The scenario about counting HTTP in the kernel.
pub const HTTP: &str = "http";
/// What counting HTTP costs a server; followed by the number of rounds and the seconds of each load.
pub const HTTP_BENCH: &str = "http-bench";

/// One line from the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// What is being done, for people.
    Step(String),
    /// The last line: all went well.
    Ok,
    /// The last line: what did not.
    Failed(String),
}

impl Line {
    /// Reads a line; `None` if it is none of ours.
    pub fn parse(text: &str) -> Option<Line> {
        let text = text.trim();
        if text == "RESULT ok" {
            return Some(Line::Ok);
        }
        if let Some(why) = text.strip_prefix("RESULT failed: ") {
            return Some(Line::Failed(why.to_owned()));
        }
        Some(Line::Step(text.strip_prefix("STEP ")?.to_owned()))
    }
}

impl fmt::Display for Line {
    /// Always one line: what would end it becomes a blank.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        match self {
            Line::Step(what) => write!(f, "STEP {}", one_line(what)),
            Line::Ok => f.write_str("RESULT ok"),
            Line::Failed(why) => write!(f, "RESULT failed: {}", one_line(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for line in [
            Line::Ok,
            Line::Failed("no memory".into()),
            Line::Step("make pods".into()),
        ] {
            assert_eq!(Line::parse(&format!("{line}\r\n")), Some(line));
        }
        let torn = Line::Failed("two\nlines".into()).to_string();
        assert_eq!(Line::parse(&torn), Some(Line::Failed("two lines".into())));
        for other in ["", "RESULT", "result ok", "random: crng init done"] {
            assert_eq!(Line::parse(other), None, "{other}");
        }
    }
}
