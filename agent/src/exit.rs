//! Exit codes, as `sysexits.h` names them, so that whoever started the agent can tell a mistake in
//! its configuration from a fault of the machine.

/// A wrong flag, argument or environment variable.
pub const USAGE: u8 = 64;
/// Something that was to be read does not exist.
pub const NO_INPUT: u8 = 66;
/// Something that is needed does not answer.
pub const UNAVAILABLE: u8 = 69;
/// A fault of the program itself.
pub const SOFTWARE: u8 = 70;
/// A file, directory or socket cannot be made.
pub const CANNOT_CREATE: u8 = 73;
/// Reading or writing failed.
pub const IO: u8 = 74;
/// May work when tried again.
pub const TEMPORARY: u8 = 75;
/// The rights do not suffice.
pub const NO_PERMISSION: u8 = 77;
/// The configuration is well-formed and cannot work.
pub const CONFIG: u8 = 78;

/// What ends the process: one line for a person, and a code for a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One of the constants of this module.
    pub code: u8,
    /// A sentence that names the object and the remedy.
    pub message: String,
}

impl Failure {
    /// A failure with this code. The message may quote what somebody else gave: control characters
    /// in it, which a terminal would obey, are written as escapes.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.contains(char::is_control) {
            message = message
                .chars()
                .map(|c| match c.is_control() {
                    true => c.escape_default().to_string(),
                    false => c.to_string(),
                })
                .collect();
        }
        Failure { code, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_plain_text() {
        let failure = Failure::new(USAGE, "no \"\u{1b}[31m\u{9b}\n\u{e4}\" here");
        assert_eq!(
            failure.to_string(),
            "no \"\\u{1b}[31m\\u{9b}\\n\u{e4}\" here"
        );
    }
}
