//! Times as Go's `time.Time.UnmarshalJSON` reads them in Go 1.16, which built Scope 1.13.2.

/// A point in time, for comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant {
    seconds: i64,
    nanos: u32,
}

/// Reads a JSON text with its quotes: RFC 3339 with an upper-case `T`, an optional fraction, and
/// `Z` or an offset. `None` where Go finds a mistake, among them the `Z01:00` of Scope's own
/// documentation.
pub(super) fn parse(raw: &[u8]) -> Option<Instant> {
    let text = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut rest = Rest(text);
    let year = rest.digits(4)?;
    rest.byte(b'-')?;
    let month = rest.digits(2)?;
    rest.byte(b'-')?;
    let day = rest.digits(2)?;
    rest.byte(b'T')?;
    // The one field that Go takes with a single digit.
    let hour = rest.digits(2).or_else(|| rest.digits(1))?;
    rest.byte(b':')?;
    let minute = rest.digits(2)?;
    rest.byte(b':')?;
    let second = rest.digits(2)?;
    let nanos = rest.fraction()?;
    let offset = rest.offset()?;
    if !rest.0.is_empty() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let seconds =
        days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Instant { seconds, nanos })
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self, wanted: u8) -> Option<()> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        (first == wanted).then_some(())
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    }

    /// The fraction of a second in nanoseconds. Digits after the ninth are an error unless the
    /// nine are leading zeros.
    fn fraction(&mut self) -> Option<u32> {
        let [b'.', after @ ..] = self.0 else {
            return Some(0);
        };
        let count = after.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            return Some(0);
        }
        let (digits, rest) = after.split_at(count);
        self.0 = rest;
        let mut nanos: u32 = 0;
        for digit in digits {
            nanos = nanos
                .checked_mul(10)?
                .checked_add(u32::from(digit - b'0'))?;
            if nanos >= 1_000_000_000 {
                return None;
            }
        }
        for _ in count..9 {
            nanos *= 10;
        }
        Some(nanos)
    }

    /// `Z` or an offset, in seconds. Go checks the form of an offset and not its range.
    fn offset(&mut self) -> Option<i64> {
        if let [b'Z', rest @ ..] = self.0 {
            self.0 = rest;
            return Some(0);
        }
        let sign = match self.0.first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.0 = &self.0[1..];
        let hours = self.signed()?;
        self.byte(b':')?;
        let minutes = self.signed()?;
        Some(sign * (hours * 3600 + minutes * 60))
    }

    /// Two digits, or a sign and one: Go's own helper reads these two bytes as a number.
    fn signed(&mut self) -> Option<i64> {
        let sign = match self.0.first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return self.digits(2),
        };
        self.0 = &self.0[1..];
        self.digits(1).map(|n| sign * n)
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, counted in years that start in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        parse(format!("\"{text}\"").as_bytes()).map(|t| t.seconds)
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-23T01:34:40.764052Z", 1_795_397_680),
            ("2026-11-22T15:51:05+01:00", 1_795_359_065),
            ("2026-11-22T15:51:05-01:30", 1_795_368_065),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799),
            ("1970-01-01T1:00:00Z", 3600),
            ("1970-01-01T00:00:00.0000000001Z", 0),
            ("1970-01-01T00:00:00+99:99", -362_340),
        ] {
            assert_eq!(seconds(text), Some(want), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "yesterday",
            "2016-07-20T15:51:05Z01:00",
            "2016-07-20T15:51:05",
            "2016-07-20 15:51:05Z",
            "2016-07-20t15:51:05z",
            "2016-7-20T15:51:05Z",
            "2016-07-20T15:51Z",
            "2016-07-20T24:00:00Z",
            "2016-07-20T15:60:00Z",
            "2016-07-20T15:51:60Z",
            "2016-13-20T15:51:05Z",
            "2016-02-30T15:51:05Z",
            "1900-02-29T15:51:05Z",
            "2016-07-20T15:51:05+0100",
            "2016-07-20T15:51:05+01",
            "2016-07-20T15:51:05.Z",
            "2016-07-20T15:51:05,5Z",
            "2016-07-20T15:51:05.1234567890Z",
            "12016-07-20T15:51:05Z",
            "2016-07-20T15:51:05Z ",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert_eq!(parse(b"1234567"), None);
        assert_eq!(parse(b"\""), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn orders_by_time() {
        let at = |text: &str| parse(format!("\"{text}\"").as_bytes()).expect(text);
        assert!(at("2026-11-23T01:00:00+01:00") < at("2026-11-23T00:00:00.000000001Z"));
        assert_eq!(at("2026-11-23T01:00:00+01:00"), at("2026-11-23T00:00:00Z"));
    }
}
