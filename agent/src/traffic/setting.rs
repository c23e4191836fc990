//! What can be set on a network, and how it is said.

use std::fmt;
use std::time::Duration;

/// What the packets that leave a pod go through. What is zero is not set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Setting {
    /// How long each packet waits.
    pub delay: Duration,
    /// By how much, at most, that varies to either side.
    pub jitter: Duration,
    /// The share of packets that get lost.
    pub loss: Loss,
    /// The most that gets through.
    pub rate: Rate,
}

impl Setting {
    /// Whether there is anything that only `sch_netem` does.
    pub fn needs_netem(&self) -> bool {
        *self
            != Setting {
                rate: self.rate,
                ..Setting::default()
            }
    }

    /// Whether nothing is set.
    pub fn is_nothing(&self) -> bool {
        *self == Setting::default()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (!self.delay.is_zero()).then(|| format!("delay {}", time(self.delay))),
            (!self.jitter.is_zero()).then(|| format!("jitter {}", time(self.jitter))),
            (self.loss != Loss::default()).then(|| format!("loss {}", self.loss)),
            (self.rate != Rate::default()).then(|| format!("rate {}", self.rate)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => f.write_str("nothing"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

/// A share of packets, as the kernel counts it: of 2³² − 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss(pub u32);

impl Loss {
    /// This many thousandths of a percent; all packets where that is more.
    pub fn from_milli_percent(share: u32) -> Self {
        let parts = u64::from(share) * u64::from(u32::MAX) / 100_000;
        Loss(u32::try_from(parts).unwrap_or(u32::MAX))
    }

    /// In thousandths of a percent, to the nearest.
    pub fn milli_percent(self) -> u32 {
        let all = u64::from(u32::MAX);
        u32::try_from((u64::from(self.0) * 100_000 + all / 2) / all).unwrap_or(100_000)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.milli_percent();
        let digits = format!("{}.{:03}", share / 1000, share % 1000);
        write!(f, "{}%", digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Bytes per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl Rate {
    /// This many bits per second.
    pub const fn from_bits(bits: u64) -> Self {
        Rate(bits / 8)
    }
}

impl fmt::Display for Rate {
    /// As `tc` does: in the largest unit in which it is a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.saturating_mul(8);
        let unit = [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1000, "kbit")]
            .into_iter()
            .find(|(unit, _)| bits > 0 && bits.is_multiple_of(*unit));
        match unit {
            Some((unit, name)) => write!(f, "{}{name}", bits / unit),
            None => write!(f, "{bits}bit"),
        }
    }
}

/// A time as the original table has it: `2000ms`.
pub(crate) fn time(time: Duration) -> String {
    let micros = time.as_micros();
    match micros.is_multiple_of(1000) {
        true => format!("{}ms", micros / 1000),
        false => format!("{micros}us"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_said_as_people_type_it() {
        let setting = Setting {
            delay: Duration::from_millis(2000),
            jitter: Duration::from_micros(1500),
            loss: Loss::from_milli_percent(12_500),
            rate: Rate::from_bits(8_000_000),
        };
        assert_eq!(
            setting.to_string(),
            "delay 2000ms, jitter 1500us, loss 12.5%, rate 8mbit"
        );
        assert_eq!(Setting::default().to_string(), "nothing");
        for (bits, said) in [
            (8, "8bit"),
            (8_000, "8kbit"),
            (1_500_000, "1500kbit"),
            (10_000_000_000, "10gbit"),
        ] {
            assert_eq!(Rate::from_bits(bits).to_string(), said);
        }
        for (share, said) in [(0, "0%"), (1, "0.001%"), (10_000, "10%"), (100_000, "100%")] {
            assert_eq!(Loss::from_milli_percent(share).to_string(), said);
        }
        assert_eq!(Loss(u32::MAX).to_string(), "100%");
    }

    #[test]
    fn a_rate_alone_needs_no_netem() {
        let rate = Setting {
            rate: Rate(1),
            ..Setting::default()
        };
        assert!(!rate.needs_netem() && !rate.is_nothing());
        for with in [
            Setting {
                delay: Duration::from_millis(1),
                ..rate
            },
            Setting {
                loss: Loss(1),
                ..rate
            },
        ] {
            assert!(with.needs_netem());
        }
    }

    proptest! {
        #[test]
        fn a_share_survives_the_kernels_unit(share in 0u32..=100_000) {
            prop_assert_eq!(Loss::from_milli_percent(share).milli_percent(), share);
        }
    }
}
