//! What a click on a container may say besides: `ControlArgs`.

use std::collections::BTreeMap;
use std::time::Duration;

use scope_crds::Control;

/// How long a container stays frozen if nothing is said.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(10 * 60);
/// The longest that a container may be frozen: no forgotten one outlasts a meeting.
pub const MAX_DURATION: Duration = Duration::from_secs(60 * 60);

/// Text of others is cut to this many characters.
const SHOWN: usize = 40;

/// A click's arguments, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arguments {
    /// How long to freeze.
    pub duration: Duration,
    /// Whether to freeze even what the kubelet is going to kill for not answering, and to end even what
    /// it does not start again.
    pub force: bool,
}

/// An argument that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// The control has no such argument.
    #[error("{control} has no argument {name:?}; it has {known}. Nothing was changed")]
    Unknown {
        /// The control.
        control: Control,
        /// What was sent.
        name: String,
        /// Those that it has, in words.
        known: &'static str,
    },
    /// Not a time in the range.
    #[error(
        "the argument duration is {0:?}; it is a time from 1s to {max}m, such as 90s or 10m. \
         Nothing was changed",
        max = MAX_DURATION.as_secs() / 60
    )]
    Duration(String),
    /// Neither true nor false.
    #[error("the argument force is {0:?}; it is \"true\" or \"false\". Nothing was changed")]
    Force(String),
}

impl Arguments {
    /// Of a control that has none of these.
    pub const NONE: Arguments = Arguments {
        duration: DEFAULT_DURATION,
        force: false,
    };

    /// Reads the arguments of this control.
    pub fn read(control: Control, args: &BTreeMap<String, String>) -> Result<Self, ArgumentError> {
        let freezes = control == Control::FreezeContainer;
        let can_be_forced = freezes || control == Control::RestartContainer;
        let mut read = Arguments::NONE;
        for (name, value) in args {
            match name.as_str() {
                "duration" if freezes => {
                    let wrong = || ArgumentError::Duration(shown(value));
                    read.duration = whole_time(value, MAX_DURATION).ok_or_else(wrong)?;
                }
                "force" if can_be_forced => {
                    read.force = match value.as_str() {
                        "true" => true,
                        "false" => false,
                        _ => return Err(ArgumentError::Force(shown(value))),
                    }
                }
                _ => {
                    return Err(ArgumentError::Unknown {
                        control,
                        name: shown(name),
                        known: match (freezes, can_be_forced) {
                            (true, _) => "duration and force",
                            (false, true) => "force",
                            (false, false) => "none",
                        },
                    });
                }
            }
        }
        Ok(read)
    }
}

/// `<number>s`, `<number>m` or `<number>h`, from a second to this.
pub(crate) fn whole_time(text: &str, longest: Duration) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let time = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
    (Duration::from_secs(1)..=longest)
        .contains(&time)
        .then_some(time)
}

/// Text of others, for our own sentences.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(control: Control, args: &[(&str, &str)]) -> Result<Arguments, String> {
        let args = args
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Arguments::read(control, &args).map_err(|e| e.to_string())
    }

    #[test]
    fn arguments_that_fit() {
        let default = Arguments {
            duration: DEFAULT_DURATION,
            force: false,
        };
        for control in [
            Control::RestartContainer,
            Control::FreezeContainer,
            Control::ThawContainer,
        ] {
            assert_eq!(read(control, &[]), Ok(default));
        }
        for (text, seconds) in [
            ("1s", 1),
            ("90s", 90),
            ("10m", 600),
            ("60m", 3600),
            ("1h", 3600),
        ] {
            let read = read(Control::FreezeContainer, &[("duration", text)]).expect(text);
            assert_eq!(read.duration, Duration::from_secs(seconds), "{text}");
        }
        let forced = read(
            Control::FreezeContainer,
            &[("force", "true"), ("duration", "5s")],
        );
        assert!(forced.is_ok_and(|read| read.force && read.duration.as_secs() == 5));
        let forced = read(Control::RestartContainer, &[("force", "true")]);
        assert!(forced.is_ok_and(|read| read.force));
        assert_eq!(
            read(Control::FreezeContainer, &[("force", "false")]),
            Ok(default)
        );
    }

    #[test]
    fn others_are_named_with_their_range() {
        for text in [
            "",
            "0s",
            "61m",
            "2h",
            "10",
            "s",
            "-5s",
            "+5s",
            "1.5m",
            " 5s",
            "5 s",
            "5S",
            "1d",
            "18446744073709551615h",
            "99999999999999999999s",
            "5é",
            "１s",
        ] {
            let said = read(Control::FreezeContainer, &[("duration", text)]).expect_err(text);
            assert!(
                said.contains("the argument duration is") && said.contains("1s to 60m"),
                "{said}"
            );
        }
        for text in ["", "TRUE", "1", "yes"] {
            let said = read(Control::FreezeContainer, &[("force", text)]).expect_err(text);
            assert!(said.contains("the argument force is"), "{said}");
        }
        for (control, name, known) in [
            (
                Control::FreezeContainer,
                "durations",
                "it has duration and force",
            ),
            (Control::ThawContainer, "duration", "it has none"),
            (Control::ThawContainer, "force", "it has none"),
            (Control::RestartContainer, "duration", "it has force"),
        ] {
            let said = read(control, &[(name, "1s")]).expect_err(name);
            assert!(
                said.contains(&format!("{control} has no argument {name:?}"))
                    && said.contains(known),
                "{said}"
            );
        }
        let long = "é".repeat(10_000);
        let said = read(Control::FreezeContainer, &[("duration", &long)]).expect_err("long");
        assert!(said.len() < 300, "{said}");
    }
}
