//! The open connections, so that nobody keeps others out: neither who says nothing, nor who comes often.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::trust::Speaker;

/// Connections on which the same person came first. The API server opens them and uses them for others, too; each of its
/// replicas has its own.
const OF_USER: usize = 16;
/// And on which people came first, whoever they are. A connection takes some 20 KiB, and a few API servers that use
/// theirs again and again need no more.
const OF_USERS: usize = 256;

/// How many connections there may be of which kind.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Without a valid token so far.
    pub unproven: usize,
    /// Of these, from one address.
    pub from_one: usize,
    /// Of an agent, or of the operator.
    pub of_agent: usize,
}

/// The open connections.
#[derive(Debug)]
pub struct Seats {
    places: Places,
    open: Mutex<Open>,
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    /// Oldest first.
    unproven: VecDeque<Place>,
    proven: HashMap<Speaker, VecDeque<Place>>,
    count: usize,
    /// How many of the proven ones are of people.
    of_users: usize,
}

#[derive(Debug)]
struct Place {
    id: u64,
    from: IpAddr,
    leave: Arc<Notify>,
}

/// A connection's place among the open ones; given up when dropped.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    leave: Arc<Notify>,
    speaker: Mutex<Option<Speaker>>,
    all: Arc<Seats>,
}

impl Seats {
    /// With so many places.
    pub fn new(places: Places) -> Arc<Self> {
        Arc::new(Self {
            places,
            open: Mutex::default(),
            evicted: AtomicU64::new(0),
        })
    }

    /// A newcomer. When there is no place for it, the oldest that has not proven itself leaves; one from the
    /// same address if that has too many.
    pub fn enter(self: &Arc<Self>, from: IpAddr) -> Seat {
        let leave = Arc::new(Notify::new());
        let mut open = self.open();
        let same = |place: &Place| place.from == from;
        if open.unproven.iter().filter(|place| same(place)).count() >= self.places.from_one {
            let oldest = open.unproven.iter().position(same);
            let oldest = oldest.and_then(|place| open.unproven.remove(place));
            self.send_away(oldest);
        } else if open.unproven.len() >= self.places.unproven {
            let oldest = open.unproven.pop_front();
            self.send_away(oldest);
        }
        open.last += 1;
        open.count += 1;
        let id = open.last;
        open.unproven.push_back(Place {
            id,
            from,
            leave: Arc::clone(&leave),
        });
        drop(open);
        Seat {
            id,
            leave,
            speaker: Mutex::new(None),
            all: Arc::clone(self),
        }
    }

    /// Sends the oldest away that has not proven itself, as when there are no descriptors left.
    pub fn make_room(&self) {
        let oldest = self.open().unproven.pop_front();
        self.send_away(oldest);
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open().count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were sent away.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn send_away(&self, place: Option<Place>) {
        if let Some(place) = place {
            place.leave.notify_one();
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Whoever of the people has to go so that another one has a place: the oldest of whom has most.
    fn without_room(&mut self) -> Option<Place> {
        if self.of_users < OF_USERS {
            return None;
        }
        let users = self.proven.iter_mut();
        let users = users.filter(|(speaker, _)| is_user(speaker));
        users
            .map(|(_, places)| places)
            .max_by_key(|places| places.len())?
            .pop_front()
    }
}

fn is_user(speaker: &Speaker) -> bool {
    matches!(speaker, Speaker::User(_))
}

impl Seat {
    /// A valid token came on this connection: it is safe from newcomers. Who has too many loses the oldest.
    pub fn prove(&self, speaker: &Speaker) {
        let mut known = self.speaker.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some() {
            return;
        }
        let mut open = self.all.open();
        // One that was sent away in this moment stays away.
        let place = open.unproven.iter().position(|place| place.id == self.id);
        let Some(place) = place.and_then(|place| open.unproven.remove(place)) else {
            return;
        };
        let is_user = is_user(speaker);
        let most = if is_user {
            OF_USER
        } else {
            self.all.places.of_agent
        };
        let places = open.proven.entry(speaker.clone()).or_default();
        let too_many = places.len() >= most;
        let oldest = match too_many {
            true => places.pop_front(),
            false if is_user => open.without_room(),
            false => None,
        };
        open.of_users += usize::from(is_user);
        open.of_users -= usize::from(is_user && oldest.is_some());
        open.proven
            .entry(speaker.clone())
            .or_default()
            .push_back(place);
        self.all.send_away(oldest);
        *known = Some(speaker.clone());
    }

    /// Whether a valid token came.
    pub fn is_proven(&self) -> bool {
        let speaker = self.speaker.lock().unwrap_or_else(PoisonError::into_inner);
        speaker.is_some()
    }

    /// Waits until this connection has to make room.
    pub async fn sent_away(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let speaker = self
            .speaker
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let mut open = self.all.open();
        open.count -= 1;
        match speaker {
            None => open.unproven.retain(|place| place.id != self.id),
            Some(speaker) => {
                let Some(places) = open.proven.get_mut(speaker) else {
                    return;
                };
                let place = places.iter().position(|place| place.id == self.id);
                // Who was sent away has given up the place before.
                let had_place = place.and_then(|place| places.remove(place)).is_some();
                if places.is_empty() {
                    open.proven.remove(speaker);
                }
                open.of_users -= usize::from(had_place && is_user(speaker));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::ledger::Agent;

    fn seats() -> Arc<Seats> {
        Seats::new(Places {
            unproven: 4,
            from_one: 2,
            of_agent: 2,
        })
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn left(seat: &Seat) -> bool {
        seat.sent_away().now_or_never().is_some()
    }

    fn agent(node: &str) -> Speaker {
        Speaker::Agent(Agent {
            plugin: "p".into(),
            node: node.into(),
        })
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_unproven_one() {
        let seats = seats();
        let first = seats.enter(ip(1));
        first.prove(&agent("a"));
        let rest: Vec<Seat> = (2..=6).map(|last| seats.enter(ip(last))).collect();
        assert!(!left(&first), "proven");
        assert!(left(&rest[0]));
        assert!(rest[1..].iter().all(|seat| !left(seat)));
        assert_eq!((seats.len(), seats.evicted()), (6, 1));
        rest[0].prove(&agent("b"));
        assert!(!rest[0].is_proven(), "too late");
        drop(rest);
        drop(first);
        assert!(seats.is_empty());
    }

    #[test]
    fn an_address_keeps_no_other_out() {
        let seats = seats();
        let other = seats.enter(ip(1));
        let many: Vec<Seat> = (0..100).map(|_| seats.enter(ip(2))).collect();
        assert!(!left(&other));
        assert_eq!(many.iter().filter(|seat| !left(seat)).count(), 2);
    }

    #[test]
    fn an_agent_has_so_many() {
        let seats = seats();
        let held: Vec<Seat> = (0..3)
            .map(|_| {
                let seat = seats.enter(ip(1));
                seat.prove(&agent("a"));
                seat
            })
            .collect();
        assert_eq!(
            held.iter().map(left).collect::<Vec<_>>(),
            [true, false, false]
        );
        drop(held);
        assert!(seats.open().proven.is_empty());
    }

    #[test]
    fn people_have_so_many_together_and_who_has_most_makes_room() {
        let seats = seats();
        let come = |name: String| {
            let seat = seats.enter(ip(1));
            seat.prove(&Speaker::User(name.into()));
            seat
        };
        let agent_seat = seats.enter(ip(1));
        agent_seat.prove(&agent("a"));
        let many: Vec<Seat> = (0..2 * OF_USER).map(|_| come("jane".into())).collect();
        assert_eq!(many.iter().filter(|seat| !left(seat)).count(), OF_USER);
        let others = OF_USERS - OF_USER;
        let others: Vec<Seat> = (0..others).map(|one| come(one.to_string())).collect();
        assert_eq!(seats.open().of_users, OF_USERS);
        let one_more = come("joe".into());
        assert!(left(&many[OF_USER]), "the oldest that jane still had");
        assert!(!left(&one_more) && !left(&agent_seat));
        assert!(others.iter().all(|seat| !left(seat)));
        assert_eq!(seats.open().of_users, OF_USERS);
        drop((many, others));
        assert_eq!(seats.open().of_users, 1);
        drop(one_more);
        assert_eq!(seats.open().of_users, 0);
    }
}
