//! Status codes: their classes, and which of them have a figure of their own.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Codes that IANA has in its registry. They always have a figure of their own: some sixty.
const REGISTERED: [RangeInclusive<u16>; 11] = [
    100..=104,
    200..=208,
    226..=226,
    300..=308,
    400..=418,
    421..=426,
    428..=429,
    431..=431,
    451..=451,
    500..=508,
    510..=511,
];

/// Other codes with a figure of their own on one node. Some proxies have a few of their own (444, 499,
/// 520 to 527). A server may send any of the 900 that three digits can say, and each costs a template
/// in every report.
pub const MAX_ODD_CODES: usize = 16;

/// Codes that one process, container or pod tells of in a report: those that it sends most. A real
/// server sends three or four; each costs some 100 bytes.
pub const MAX_CODES_OF_NODE: usize = 12;

/// A class of final responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
}

impl Class {
    /// All of them, in their order.
    pub const ALL: [Class; 4] = [
        Class::Success,
        Class::Redirection,
        Class::ClientError,
        Class::ServerError,
    ];

    /// The first digit of its codes.
    pub fn digit(self) -> u8 {
        match self {
            Class::Success => 2,
            Class::Redirection => 3,
            Class::ClientError => 4,
            Class::ServerError => 5,
        }
    }

    /// The class of a status code.
    pub fn of(code: u16) -> Option<Class> {
        match code {
            200..=299 => Some(Class::Success),
            300..=399 => Some(Class::Redirection),
            400..=499 => Some(Class::ClientError),
            500..=599 => Some(Class::ServerError),
            _ => None,
        }
    }
}

/// Whether a response with this code answers a request: those that only precede another do not. 101
/// is the last that HTTP says on its connection.
pub(super) fn is_final(code: u16) -> bool {
    !(100..=199).contains(&code) || code == 101
}

/// The codes that have a figure of their own.
#[derive(Debug, Default)]
pub(super) struct Codes {
    told: BTreeSet<u16>,
    odd: usize,
}

impl Codes {
    /// Whether the code has one, from now on if there is room. 0, which stands for none, never has.
    pub(super) fn admit(&mut self, code: u16) -> bool {
        if code == 0 || self.told.contains(&code) {
            return code != 0;
        }
        if !REGISTERED.iter().any(|range| range.contains(&code)) {
            if self.odd >= MAX_ODD_CODES {
                return false;
            }
            self.odd += 1;
        }
        self.told.insert(code);
        true
    }

    pub(super) fn told(&self) -> &BTreeSet<u16> {
        &self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_answer_a_request() {
        for (code, answers) in [
            (0, true),
            (100, false),
            (101, true),
            (103, false),
            (200, true),
            (304, true),
            (599, true),
            (999, true),
        ] {
            assert_eq!(is_final(code), answers, "{code}");
        }
    }

    #[test]
    fn classes_are_by_the_first_digit() {
        for code in 100..=999 {
            let digit = usize::from(code / 100);
            let class = digit
                .checked_sub(2)
                .and_then(|n| Class::ALL.get(n).copied());
            assert_eq!(Class::of(code), class, "{code}");
        }
        assert_eq!(Class::of(0), None);
    }

    #[test]
    fn who_invents_codes_does_not_take_the_room_of_others() {
        let mut codes = Codes::default();
        let admitted = (100..=999).rev().filter(|&code| codes.admit(code)).count();
        let registered: usize = REGISTERED.iter().map(|range| range.len()).sum();
        assert_eq!(admitted, registered + MAX_ODD_CODES);
        assert!(
            [200, 404, 500, 511]
                .into_iter()
                .all(|code| codes.admit(code))
        );
        assert!(
            codes.admit(999) && !codes.admit(600),
            "who came first stays"
        );
        assert!(!codes.admit(0));
        assert_eq!(codes.told().len(), admitted);
    }
}
