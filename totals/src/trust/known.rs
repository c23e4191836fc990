//! What reviews have said. Tokens themselves are not kept, only their digests.

use std::{collections::HashMap, time::Duration};

use sha2::{Digest, Sha256};

use super::{Refused, Speaker};
use crate::time::Moment;

/// Tokens of agents and of the operator: three of each of 5,000 nodes, since they are replaced before they expire.
const GOOD: usize = 16_384;
/// Tokens that are no good.
const REFUSED: usize = 4096;
/// What was refused may be accepted later, as when an account is made anew; asked again so often.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// A token's digest.
pub(super) type Name = [u8; 32];

pub(super) fn name(token: &str) -> Name {
    Sha256::digest(token).into()
}

/// The verdicts.
#[derive(Default)]
pub(super) struct Known {
    good: HashMap<Name, (Speaker, Moment)>,
    refused: HashMap<Name, (Refused, Moment)>,
}

impl Known {
    /// The verdict on a token, if it still holds.
    pub(super) fn get(&self, name: &Name, now: Moment) -> Option<Result<Speaker, Refused>> {
        if let Some((speaker, until)) = self.good.get(name)
            && *until > now
        {
            return Some(Ok(speaker.clone()));
        }
        let (refused, until) = self.refused.get(name)?;
        (*until > now).then(|| Err(refused.clone()))
    }

    /// Keeps a verdict. A token that is good holds for so long. Where there is no room it is reviewed again.
    pub(super) fn keep(
        &mut self,
        name: Name,
        verdict: &Result<Speaker, Refused>,
        holds: Duration,
        now: Moment,
    ) {
        match verdict {
            Ok(speaker) => insert(&mut self.good, GOOD, name, speaker.clone(), now, holds),
            Err(refused) => {
                let refused = refused.clone();
                insert(&mut self.refused, REFUSED, name, refused, now, REFUSED_FOR);
            }
        }
    }
}

fn insert<V>(
    verdicts: &mut HashMap<Name, (V, Moment)>,
    most: usize,
    name: Name,
    verdict: V,
    now: Moment,
    holds: Duration,
) {
    if verdicts.len() >= most {
        verdicts.retain(|_, (_, until)| *until > now);
    }
    if verdicts.len() < most {
        verdicts.insert(name, (verdict, now.plus(holds)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Agent;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn agent() -> Speaker {
        Speaker::Agent(Agent {
            plugin: "p".into(),
            node: "n".into(),
        })
    }

    #[test]
    fn a_verdict_holds_until_its_end() {
        let mut known = Known::default();
        let (good, bad) = (name("good"), name("bad"));
        assert_eq!(known.get(&good, at(0)), None);
        known.keep(good, &Ok(agent()), Duration::from_secs(60), at(0));
        known.keep(bad, &Err(Refused::Invalid), Duration::from_secs(60), at(0));
        assert_eq!(known.get(&good, at(59)), Some(Ok(agent())));
        assert_eq!(known.get(&good, at(60)), None);
        assert_eq!(known.get(&bad, at(9)), Some(Err(Refused::Invalid)));
        assert_eq!(known.get(&bad, at(10)), None);
    }

    #[test]
    fn there_is_room_for_so_many_and_for_new_ones_when_old_ones_end() {
        let mut known = Known::default();
        let bad = Err(Refused::Invalid);
        for number in 0..REFUSED + 10 {
            known.keep(name(&number.to_string()), &bad, Duration::ZERO, at(0));
        }
        assert_eq!(known.refused.len(), REFUSED);
        known.keep(name("new"), &bad, Duration::ZERO, at(10));
        assert_eq!(known.refused.len(), 1);
    }
}
