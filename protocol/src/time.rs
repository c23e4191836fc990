//! Points in time as Scope reads them: RFC 3339 in UTC.

use std::time::Duration;

/// Length of a timestamp's text.
pub(crate) const TEXT_LEN: usize = "2026-11-23T01:34:40.764052Z".len();

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970 (UTC).
    pub fn from_unix_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// Microseconds since 1970 (UTC).
    pub fn unix_micros(self) -> i64 {
        self.0
    }

    /// This much later. Stays at the largest value instead of wrapping.
    pub fn plus(self, by: Duration) -> Self {
        Timestamp(
            self.0
                .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(t: std::time::SystemTime) -> Self {
        let micros = match t.duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
            Err(e) => -i64::try_from(e.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Timestamp(micros)
    }
}

impl Timestamp {
    /// The text that [`Display`](std::fmt::Display) writes, without a formatter in the way: a
    /// report has thousands of these.
    pub(crate) fn to_text(self) -> [u8; TEXT_LEN] {
        const MIN: i64 = -62_167_219_200_000_000; // 0000-01-01
        const MAX: i64 = 253_402_300_799_999_999; // 9999-12-31T23:59:59.999999
        let t = self.0.clamp(MIN, MAX);
        let (secs, micros) = (t.div_euclid(1_000_000), t.rem_euclid(1_000_000));
        let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        let (y, m, d) = civil(days);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let fields = [
            (0, 4, y),
            (5, 2, m),
            (8, 2, d),
            (11, 2, of_day / 3600),
            (14, 2, of_day / 60 % 60),
            (17, 2, of_day % 60),
            (20, 6, micros),
        ];
        for (start, width, mut value) in fields {
            for digit in text[start..start + width].iter_mut().rev() {
                *digit += (value % 10) as u8;
                value /= 10;
            }
        }
        text
    }
}

impl std::fmt::Display for Timestamp {
    /// `2026-11-23T01:34:40.764052Z`: always six digits of a second, so that equal times are equal
    /// bytes. Years outside 0–9999 are clamped, since Go's parser refuses them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).expect("digits and separators are ASCII"))
    }
}

/// Days since 1970-01-01 as (year, month, day) of the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Count from 0000-03-01, so that the leap day is the last day of a year.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * of_year + 2) / 153;
    let day = of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_rfc3339() {
        for (micros, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_795_397_680_764_052, "2026-11-23T01:34:40.764052Z"),
            (951_827_696_000_000, "2000-02-29T12:34:56.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Timestamp::from_unix_micros(micros).to_string(), want);
        }
    }
}
