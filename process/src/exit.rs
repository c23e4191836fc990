//! How the process ends: one line on stderr and a code of sysexits.

use std::{fmt, process::ExitCode};

/// Codes of sysexits.h that these programs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The command line is wrong.
    Usage = 64,
    /// The cluster cannot be reached or does not answer in time.
    Unavailable = 69,
    /// A part of the program ended that should not.
    Software = 70,
    /// The system refused something, such as a port.
    OsError = 71,
    /// The environment or a setting is wrong.
    Config = 78,
}

/// Why the process ends, as one line.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    /// With this code. The message becomes one line.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self {
            code,
            message: message.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new(Code::Config, "first\n  second\n");
        assert_eq!(failure.to_string(), "first second");
    }
}
