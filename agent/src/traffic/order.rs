//! What a click on one of the buttons asks for: the presets of Scope's old Traffic Control plugin under
//! their old names, and any value by `ControlArgs`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::setting::{Loss, Rate, Setting, time};
use crate::container_control::{shown, whole_time};

/// Begins the keys of the table and the IDs of the buttons, and is the table's ID.
pub const PREFIX: &str = "traffic-control-table-";

/// The longest delay: of what waits longer, most programs have given up.
pub const MAX_DELAY: Duration = Duration::from_secs(10);
/// The lowest rate: a full packet takes a second and a half.
const MIN_RATE: Rate = Rate::from_bits(8_000);
/// The highest rate.
const MAX_RATE: Rate = Rate::from_bits(100_000_000_000);

/// A button. All but [`Button::Set`] are on Scope's page; that one is for programs, since Scope's page sends
/// no arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Button {
    /// A delay of 2 s.
    Slow,
    /// A delay of 1 s.
    Medium,
    /// A delay of half a second.
    Fast,
    /// A tenth of the packets gets lost.
    PktDropLow,
    /// Nothing of ours is left.
    Clear,
    /// What the arguments say.
    Set,
}

impl Button {
    /// All of them, in the order of their ranks.
    pub const ALL: [Button; 6] = [
        Button::Slow,
        Button::Medium,
        Button::Fast,
        Button::PktDropLow,
        Button::Clear,
        Button::Set,
    ];

    /// Its ID on the wire.
    pub const fn id(self) -> &'static str {
        match self {
            Button::Slow => "traffic-control-table-slow",
            Button::Medium => "traffic-control-table-medium",
            Button::Fast => "traffic-control-table-fast",
            Button::PktDropLow => "traffic-control-table-pkt-drop-low",
            Button::Clear => "traffic-control-table-clear",
            Button::Set => "traffic-control-table-set",
        }
    }

    /// What a preset changes.
    fn preset(self) -> Change {
        let delay = |millis| Change {
            delay: Some(Duration::from_millis(millis)),
            ..Change::default()
        };
        match self {
            Button::Slow => delay(2000),
            Button::Medium => delay(1000),
            Button::Fast => delay(500),
            Button::PktDropLow => Change {
                loss: Some(Loss::from_milli_percent(10_000)),
                ..Change::default()
            },
            Button::Clear | Button::Set => Change::default(),
        }
    }

    /// Whether only a kernel with `sch_netem` can do what it always does.
    pub fn needs_netem(self) -> bool {
        self.preset() != Change::default()
    }

    /// The arguments that it has, in words.
    fn arguments(self) -> &'static str {
        match self {
            Button::Clear => "none",
            Button::Set => "delay, jitter, loss, rate and duration",
            _ => "duration",
        }
    }
}

/// What is to be different. What is not named stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// The delay.
    pub delay: Option<Duration>,
    /// The jitter.
    pub jitter: Option<Duration>,
    /// The loss.
    pub loss: Option<Loss>,
    /// The rate.
    pub rate: Option<Rate>,
}

/// What a click asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// To change something, for so long.
    Change(Change, Duration),
    /// To take everything away.
    Clear,
}

/// An argument that does not fit. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The button has no such argument.
    #[error("{button} has no argument {name:?}; it has {known}. Nothing was changed")]
    Unknown {
        /// Which button.
        button: &'static str,
        /// What was sent.
        name: String,
        /// Those that it has, in words.
        known: &'static str,
    },
    /// It has none of the values that are needed.
    #[error(
        "{0} changes nothing without an argument: delay, jitter, loss or rate (and duration). Nothing \
         was changed"
    )]
    Nothing(&'static str),
    /// Not in the range.
    #[error("the argument {name} is {value:?}; it is {range}. Nothing was changed")]
    Value {
        /// Which.
        name: &'static str,
        /// What was sent.
        value: String,
        /// What fits.
        range: String,
    },
    /// More jitter than delay.
    #[error(
        "the jitter would be {jitter} and the delay {delay}: no packet can be early, so the argument \
         delay has to be at least the jitter. Nothing was changed"
    )]
    Jitter {
        /// One.
        jitter: String,
        /// The other.
        delay: String,
    },
}

impl Order {
    /// Reads the arguments of this button. No setting lasts longer than `longest`, which is also what it
    /// lasts where nothing is said.
    pub fn read(
        button: Button,
        args: &BTreeMap<String, String>,
        longest: Duration,
    ) -> Result<Self, OrderError> {
        let mut change = button.preset();
        let mut duration = longest;
        for (name, value) in args {
            let wrong = |name, range: &str| OrderError::Value {
                name,
                value: shown(value),
                range: range.to_owned(),
            };
            const TIME: &str = "a time from 1ms to 10s, such as 100ms, or 0 for none";
            match (name.as_str(), button) {
                ("duration", button) if button != Button::Clear => {
                    duration = whole_time(value, longest).ok_or_else(|| {
                        let seconds = longest.as_secs();
                        wrong(
                            "duration",
                            &format!("a time from 1s to {seconds}s, such as 90s or 10m"),
                        )
                    })?;
                }
                ("delay", Button::Set) => {
                    change.delay = Some(delay(value).ok_or_else(|| wrong("delay", TIME))?);
                }
                ("jitter", Button::Set) => {
                    change.jitter = Some(delay(value).ok_or_else(|| wrong("jitter", TIME))?);
                }
                ("loss", Button::Set) => {
                    let range = "a share from 0.001% to 100%, or 0 for none";
                    change.loss = Some(loss(value).ok_or_else(|| wrong("loss", range))?);
                }
                ("rate", Button::Set) => {
                    let range = "a rate from 8kbit to 100gbit, such as 8mbit, or 0 for none";
                    change.rate = Some(rate(value).ok_or_else(|| wrong("rate", range))?);
                }
                _ => {
                    return Err(OrderError::Unknown {
                        button: button.id(),
                        name: shown(name),
                        known: button.arguments(),
                    });
                }
            }
        }
        match (button, change == Change::default()) {
            (Button::Clear, _) => Ok(Order::Clear),
            (_, true) => Err(OrderError::Nothing(button.id())),
            (_, false) => Ok(Order::Change(change, duration)),
        }
    }
}

impl Change {
    /// What becomes of this setting.
    pub fn applied_to(self, before: Setting) -> Result<Setting, OrderError> {
        let mut after = Setting {
            delay: self.delay.unwrap_or(before.delay),
            jitter: self.jitter.unwrap_or(before.jitter),
            loss: self.loss.unwrap_or(before.loss),
            rate: self.rate.unwrap_or(before.rate),
        };
        if self.jitter.is_none() && self.delay.is_some() {
            // A preset is not refused for an older jitter.
            after.jitter = after.jitter.min(after.delay);
        }
        if after.jitter > after.delay {
            return Err(OrderError::Jitter {
                jitter: time(after.jitter),
                delay: time(after.delay),
            });
        }
        Ok(after)
    }
}

/// `<number>ms` or `<number>s`.
fn delay(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (number, unit) = number(text)?;
    let millis = match unit {
        "ms" => number,
        "s" => number.checked_mul(1000)?,
        _ => return None,
    };
    let time = Duration::from_millis(millis);
    (time <= MAX_DELAY).then_some(time)
}

/// `<number>%`, with three decimals at most.
fn loss(text: &str) -> Option<Loss> {
    if text == "0" {
        return Some(Loss::default());
    }
    let text = text.strip_suffix('%')?;
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return None;
    }
    let thousandths: u32 = format!("{decimals:0<3}").parse().ok()?;
    let share = whole
        .parse::<u32>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(thousandths)?;
    (share <= 100_000).then(|| Loss::from_milli_percent(share))
}

/// `<number>bit`, `kbit`, `mbit` or `gbit`, as `tc` has them.
fn rate(text: &str) -> Option<Rate> {
    if text == "0" {
        return Some(Rate::default());
    }
    let (number, unit) = number(text)?;
    let bits = number.checked_mul(match unit.to_ascii_lowercase().as_str() {
        "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return None,
    })?;
    let rate = Rate::from_bits(bits);
    (MIN_RATE..=MAX_RATE).contains(&rate).then_some(rate)
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests;
