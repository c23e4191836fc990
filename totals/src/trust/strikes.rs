//! Addresses that send tokens which are not good: each costs the API server a review.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use crate::time::Moment;

/// Bad tokens from one address in [`FOR`]; more are not reviewed.
const MOST: u32 = 20;
const FOR: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const ADDRESSES: usize = 4096;

/// Bad tokens by address, and since when they are counted.
#[derive(Default)]
pub(crate) struct Strikes {
    of: HashMap<IpAddr, (u32, Moment)>,
}

impl Strikes {
    /// Whether a token from there is worth a review.
    pub(crate) fn may_ask(&self, from: IpAddr, now: Moment) -> bool {
        self.of
            .get(&from)
            .is_none_or(|(count, since)| *count < MOST || !since.within(FOR, now))
    }

    /// A token from there was no good.
    pub(crate) fn strike(&mut self, from: IpAddr, now: Moment) {
        if self.of.len() >= ADDRESSES && !self.of.contains_key(&from) {
            self.of.retain(|_, (_, since)| since.within(FOR, now));
            if self.of.len() >= ADDRESSES {
                return;
            }
        }
        let (count, since) = self.of.entry(from).or_insert((0, now));
        if !since.within(FOR, now) {
            (*count, *since) = (0, now);
        }
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_in_a_minute() {
        let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
        let (bad, good) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut strikes = Strikes::default();
        for _ in 0..MOST {
            assert!(strikes.may_ask(bad, at(0)));
            strikes.strike(bad, at(0));
        }
        assert!(!strikes.may_ask(bad, at(59)));
        assert!(strikes.may_ask(good, at(59)));
        assert!(strikes.may_ask(bad, at(60)));
        strikes.strike(bad, at(60));
        assert!(strikes.may_ask(bad, at(61)));
    }

    #[test]
    fn there_is_room_for_so_many_addresses() {
        let mut strikes = Strikes::default();
        for number in 0..ADDRESSES as u32 + 5 {
            strikes.strike(IpAddr::from(number.to_be_bytes()), Moment::default());
        }
        assert_eq!(strikes.of.len(), ADDRESSES);
    }
}
