//! Points in time as reports carry them, read by the rules of Go 1.16, with which Scope is built.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::gotext::time_quote;

/// A point in time to the nanosecond. [`Stamp::ZERO`] is "no time": the first second of year 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Seconds since 1970.
    secs: i64,
    nanos: u32,
}

impl Default for Stamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl From<SystemTime> for Stamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self {
                secs: since.as_secs() as i64,
                nanos: since.subsec_nanos(),
            },
            Err(before) => {
                let before = before.duration();
                let borrow = i64::from(before.subsec_nanos() > 0);
                Self {
                    secs: -(before.as_secs() as i64) - borrow,
                    nanos: (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000,
                }
            }
        }
    }
}

impl From<Stamp> for SystemTime {
    /// Times before 1970 become 1970.
    fn from(stamp: Stamp) -> Self {
        let secs = u64::try_from(stamp.secs).unwrap_or(0);
        UNIX_EPOCH + Duration::new(secs, stamp.nanos)
    }
}

impl Stamp {
    /// The zero time of Go, which stands for "not given".
    pub const ZERO: Stamp = Stamp {
        secs: -62_135_596_800,
        nanos: 0,
    };

    /// The current time.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// This time, later by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let nanos = self.nanos + by.subsec_nanos();
        Self {
            secs: self.secs + by.as_secs() as i64 + i64::from(nanos / 1_000_000_000),
            nanos: nanos % 1_000_000_000,
        }
    }

    /// How long `earlier` is before this time; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = (i128::from(self.secs) - i128::from(earlier.secs)) * 1_000_000_000
            + i128::from(self.nanos)
            - i128::from(earlier.nanos);
        u64::try_from(nanos.max(0)).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// Reads the JSON text of a time, quotes included, as Go's `time.Time` does. On failure it gives
    /// Go's own words.
    pub(crate) fn parse_json(json: &[u8]) -> Result<Self, String> {
        if json == b"null" {
            return Ok(Self::ZERO);
        }
        Parser {
            whole: json,
            rest: json,
        }
        .run()
    }
}

/// RFC 3339 in UTC, with as many decimals as are needed.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.secs.div_euclid(86_400));
        let second = self.secs.rem_euclid(86_400);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )?;
        if self.nanos > 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

const LAYOUT: &str = "\"2006-01-02T15:04:05Z07:00\"";

struct Parser<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl Parser<'_> {
    fn run(mut self) -> Result<Stamp, String> {
        self.literal("\"")?;
        let year = self.year()?;
        self.literal("-")?;
        let month = self.number("01", true)?;
        if !(1..=12).contains(&month) {
            return Err(self.out_of_range("month"));
        }
        self.literal("-")?;
        let day = self.number("02", true)?;
        self.literal("T")?;
        // One digit is enough for the hour: Go is that lenient here.
        let hour = self.number("15", false)?;
        if hour > 23 {
            return Err(self.out_of_range("hour"));
        }
        self.literal(":")?;
        let minute = self.number("04", true)?;
        if minute > 59 {
            return Err(self.out_of_range("minute"));
        }
        self.literal(":")?;
        let second = self.number("05", true)?;
        if second > 59 {
            return Err(self.out_of_range("second"));
        }
        let nanos = self.fraction()?;
        let offset = self.offset()?;
        self.literal("\"")?;
        if !self.rest.is_empty() {
            let extra = time_quote(self.rest);
            return Err(self.range_error(&format!(": extra text: {extra}")));
        }
        if day < 1 || day > days_in(month, year) {
            return Err(self.out_of_range("day"));
        }
        let secs = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
            - offset;
        Ok(Stamp { secs, nanos })
    }

    fn literal(&mut self, wanted: &str) -> Result<(), String> {
        for byte in wanted.bytes() {
            if self.rest.first() != Some(&byte) {
                return Err(self.cannot(wanted));
            }
            self.rest = &self.rest[1..];
        }
        Ok(())
    }

    fn year(&mut self) -> Result<i64, String> {
        if self.rest.len() < 4 || !self.rest[0].is_ascii_digit() {
            return Err(self.cannot("2006"));
        }
        let (digits, rest) = self.rest.split_at(4);
        // Go moves on before it looks at the digits, so its message shows what follows them.
        self.rest = rest;
        decimal(digits).ok_or_else(|| self.cannot("2006"))
    }

    /// One or two digits; `fixed` wants two.
    fn number(&mut self, element: &str, fixed: bool) -> Result<i64, String> {
        let digit = |at: usize| self.rest.get(at).filter(|byte| byte.is_ascii_digit());
        let (value, used) = match (digit(0), digit(1)) {
            (Some(tens), Some(ones)) => (i64::from(tens - b'0') * 10 + i64::from(ones - b'0'), 2),
            (Some(ones), None) if !fixed => (i64::from(ones - b'0'), 1),
            _ => return Err(self.cannot(element)),
        };
        self.rest = &self.rest[used..];
        Ok(value)
    }

    /// An optional fraction after a point. More than nine digits are too many for Go 1.16, unless
    /// the leading ones are zeros.
    fn fraction(&mut self) -> Result<u32, String> {
        if self.rest.first() != Some(&b'.') || !self.rest.get(1).is_some_and(u8::is_ascii_digit) {
            return Ok(0);
        }
        let digits = self.rest[1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let value = decimal(&self.rest[1..=digits]);
        self.rest = &self.rest[1 + digits..];
        let Some(mut nanos) = value else {
            return Err(self.cannot("05"));
        };
        if nanos >= 1_000_000_000 {
            return Err(self.out_of_range("fractional second"));
        }
        for _ in digits..9 {
            nanos *= 10;
        }
        Ok(nanos as u32)
    }

    /// `Z` or an offset, in seconds. Its range is not checked.
    fn offset(&mut self) -> Result<i64, String> {
        if self.rest.first() == Some(&b'Z') {
            self.rest = &self.rest[1..];
            return Ok(0);
        }
        if self.rest.len() < 6 || self.rest[3] != b':' {
            return Err(self.cannot("Z07:00"));
        }
        let (offset, rest) = self.rest.split_at(6);
        self.rest = rest;
        let seconds = signed(&offset[1..3])
            .and_then(|hours| Some((hours * 60 + signed(&offset[4..6])?) * 60));
        match (offset[0], seconds) {
            (b'+', Some(seconds)) => Ok(seconds),
            (b'-', Some(seconds)) => Ok(-seconds),
            _ => Err(self.cannot("Z07:00")),
        }
    }

    fn cannot(&self, element: &str) -> String {
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            time_quote(self.whole),
            time_quote(LAYOUT.as_bytes()),
            time_quote(self.rest),
            time_quote(element.as_bytes())
        )
    }

    fn out_of_range(&self, what: &str) -> String {
        self.range_error(&format!(": {what} out of range"))
    }

    fn range_error(&self, message: &str) -> String {
        format!("parsing time {}{message}", time_quote(self.whole))
    }
}

fn decimal(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value.checked_mul(10)?.checked_add(i64::from(byte - b'0')))
            .flatten()
    })
}

fn signed(digits: &[u8]) -> Option<i64> {
    match digits {
        [b'-', rest @ ..] => decimal(rest).map(|value| -value),
        [b'+', rest @ ..] => decimal(rest),
        _ => decimal(digits),
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; years begin in March for the count,
/// which puts the leap day last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (
        year + era * 400 + i64::from(month <= 2),
        month,
        of_year - (153 * shifted + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        Stamp::parse_json(format!("\"{text}\"").as_bytes()).map(|stamp| stamp.to_string())
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, shown) in [
            ("2016-07-20T15:51:05Z", "2016-07-20T15:51:05Z"),
            ("2016-07-20T15:51:05.250000Z", "2016-07-20T15:51:05.25Z"),
            (
                "2016-07-20T15:51:05.123456789+02:30",
                "2016-07-20T13:21:05.123456789Z",
            ),
            ("2016-02-29T23:59:59-00:01", "2016-03-01T00:00:59Z"),
            ("2016-07-20T5:51:05Z", "2016-07-20T05:51:05Z"),
            (
                "2016-07-20T15:51:05.0000000001Z",
                "2016-07-20T15:51:05.000000001Z",
            ),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("2016-07-20T15:51:05+99:99", "2016-07-16T11:12:05Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(shown), "{text}");
        }
        assert_eq!(Stamp::parse_json(b"null"), Ok(Stamp::ZERO));
    }

    #[test]
    fn refuses_in_the_words_of_go() {
        let start = |text| format!("parsing time \"\\\"{text}\\\"\"");
        let layout = "as \"\\\"2006-01-02T15:04:05Z07:00\\\"\"";
        for (text, end) in [
            (
                "yesterday",
                format!(" {layout}: cannot parse \"yesterday\\\"\" as \"2006\""),
            ),
            (
                "2016-07-20",
                format!(" {layout}: cannot parse \"\\\"\" as \"T\""),
            ),
            (
                "2016-07-20 15:51:05Z",
                format!(" {layout}: cannot parse \" 15:51:05Z\\\"\" as \"T\""),
            ),
            (
                "2016-07-20T15:51:05Z01:00",
                format!(" {layout}: cannot parse \"01:00\\\"\" as \"\\\"\""),
            ),
            (
                "2016-07-20T15:51:05,5Z",
                format!(" {layout}: cannot parse \",5Z\\\"\" as \"Z07:00\""),
            ),
            ("2016-02-30T15:51:05Z", ": day out of range".to_owned()),
            ("2016-13-20T15:51:05Z", ": month out of range".to_owned()),
            ("2016-07-20T24:51:05Z", ": hour out of range".to_owned()),
            ("2016-07-20T15:51:60Z", ": second out of range".to_owned()),
            (
                "2016-07-20T15:51:05.1234567890Z",
                ": fractional second out of range".to_owned(),
            ),
        ] {
            assert_eq!(read(text), Err(start(text) + &end), "{text}");
        }
        assert!(Stamp::parse_json(b"1234567").is_err());
    }

    #[test]
    fn counts() {
        let stamp = Stamp::parse_json(b"\"2024-02-29T12:00:00.5Z\"").unwrap();
        assert_eq!(
            stamp.plus(Duration::from_millis(86_400_500)).to_string(),
            "2024-03-01T12:00:01Z"
        );
        assert_eq!(
            stamp.plus(Duration::from_secs(3)).since(stamp),
            Duration::from_secs(3)
        );
        assert_eq!(
            stamp.since(stamp.plus(Duration::from_secs(3))),
            Duration::ZERO
        );
        assert_eq!(Stamp::from(UNIX_EPOCH).to_string(), "1970-01-01T00:00:00Z");
        let before = UNIX_EPOCH - Duration::from_millis(250);
        assert_eq!(Stamp::from(before).to_string(), "1969-12-31T23:59:59.75Z");
    }
}
