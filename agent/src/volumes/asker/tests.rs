use super::*;
use crate::volumes::mounts::parse;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Condvar, Mutex};

/// File systems of which some hang until they are let go.
#[derive(Default)]
struct Made {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hanging: BTreeSet<PathBuf>,
    broken: BTreeSet<PathBuf>,
    gone: BTreeSet<PathBuf>,
    asked: HashMap<PathBuf, usize>,
    waiting: usize,
}

impl Made {
    fn ask(&self, path: &Path) -> io::Result<Option<Space>> {
        let mut state = self.state.lock().unwrap();
        *state.asked.entry(path.into()).or_default() += 1;
        state.waiting += 1;
        while state.hanging.contains(path) {
            state = self.changed.wait(state).unwrap();
        }
        state.waiting -= 1;
        self.changed.notify_all();
        if state.broken.contains(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let answer = space(state.asked[path] as u64);
        Ok((!state.gone.contains(path)).then_some(answer))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn asked(&self, path: &str) -> usize {
        let state = self.state.lock().unwrap();
        state
            .asked
            .get(Path::new(path))
            .copied()
            .unwrap_or_default()
    }

    /// Until no thread waits any more.
    fn all_let_go(&self) {
        let mut state = self.state.lock().unwrap();
        while state.waiting > 0 {
            state = self.changed.wait(state).unwrap();
        }
    }
}

fn space(used: u64) -> Space {
    Space {
        used,
        ..Space::default()
    }
}

fn asker(made: &Arc<Made>) -> Asker {
    let made = made.clone();
    Asker::new(Arc::new(move |place| made.ask(&place.point)), PATIENCE)
}

fn mounts(count: usize) -> Vec<Mount> {
    mounts_of(&vec!["tmpfs a"; count])
}

/// `/v00` and so on, of these kinds and sources.
fn mounts_of(kinds: &[&str]) -> Vec<Mount> {
    let lines: Vec<String> = kinds
        .iter()
        .enumerate()
        .map(|(n, kind)| format!("{} 1 0:{n} / /v{n:02} rw - {kind} rw", n + 2))
        .collect();
    parse(lines.join("\n").as_bytes())
}

fn standings(asker: &mut Asker, mounts: &[Mount]) -> Vec<Standing> {
    let uses = asker.round(&mounts.iter().collect::<Vec<_>>());
    mounts
        .iter()
        .filter_map(|mount| Some(uses.get(&mount.point)?.standing))
        .collect()
}

fn round(asker: &mut Asker, mounts: &[Mount]) -> BTreeMap<String, (Option<u64>, bool)> {
    let uses = asker.round(&mounts.iter().collect::<Vec<_>>());
    uses.into_iter()
        .map(|(path, known)| {
            let used = known.space.map(|space| space.used);
            let stale = known.standing != Standing::Answers;
            (path.display().to_string(), (used, stale))
        })
        .collect()
}

#[test]
fn one_that_hangs_holds_up_no_other_and_is_not_asked_again() {
    let made = Arc::new(Made::default());
    let mut asker = asker(&made);
    let mounts = mounts(3);
    let first = round(&mut asker, &mounts);
    assert!(first.values().all(|&known| known == (Some(1), false)));

    made.change(|state| state.hanging = ["/v01".into()].into());
    for times in 2..5 {
        let began = Instant::now();
        let uses = round(&mut asker, &mounts);
        assert_eq!(uses["/v00"], (Some(times), false));
        assert_eq!(uses["/v01"], (Some(1), true), "the last that is known");
        assert_eq!(uses["/v02"], (Some(times), false));
        assert_eq!(made.asked("/v01"), 2, "once since it hangs");
        assert!(times == 2 || began.elapsed() < PATIENCE);
    }
    assert_eq!((asker.counts().stuck, asker.counts().late), (1, 1));

    made.change(|state| state.hanging.clear());
    made.all_let_go();
    // The answer is under way when the file system lets go.
    let uses = loop {
        let uses = round(&mut asker, &mounts);
        if asker.counts().stuck == 0 {
            break uses;
        }
    };
    let (used, stale) = uses["/v01"];
    assert!(used >= Some(2) && !stale, "asked again");
    assert_eq!(asker.counts().late, 1);
}

#[test]
fn those_that_hang_leave_room_for_those_that_answer() {
    use Standing::{Answers, NotAsked, Silent};
    let made = Arc::new(Made::default());
    let mut asker = asker(&made);
    // Forty of one server that is away; more FUSE processes that stand still than there is room for.
    let mut kinds = vec!["nfs4 away:/x"; 40];
    kinds.extend(["fuse.x y"; MOST_BY_OTHERS]);
    kinds.extend(["tmpfs a", "nfs4 there:/x", "fuse.x y", "nfs4 new:/x"]);
    let all = mounts_of(&kinds);
    let (hanging, well) = (&all[..64], &all[64..67]);
    made.change(|state| {
        state.hanging = hanging.iter().map(|mount| mount.point.clone()).collect();
    });
    let of_one_server = standings(&mut asker, &all[..40]);
    let count = |told: &[Standing], of| told.iter().filter(|told| **told == of).count();
    assert_eq!(count(&of_one_server, Silent), MOST_BY_HOST);
    assert_eq!(count(&of_one_server, NotAsked), 40 - MOST_BY_HOST);
    assert_eq!(asker.counts().not_asked, 40 - MOST_BY_HOST);
    assert_eq!(standings(&mut asker, well), [Answers; 3]);

    for first in [true, false] {
        let began = Instant::now();
        let told = standings(&mut asker, &all[..67]);
        assert_eq!(told[64..], [Answers; 3], "they go on");
        assert_eq!(count(&told, Silent), MOST_BY_DOUBTFUL);
        assert_eq!(asker.counts().stuck, MOST_BY_DOUBTFUL);
        let waited = began.elapsed() >= PATIENCE;
        assert!(first || !waited, "for none of those that hang");
    }
    let told = standings(&mut asker, &all);
    assert_eq!(told[64..], [Answers, Answers, Answers, NotAsked]);

    made.change(|state| state.hanging.clear());
    made.all_let_go();
    while asker.counts().stuck > 0 {
        round(&mut asker, &all);
    }
    let told = standings(&mut asker, &all);
    assert!(told.iter().all(|s| *s == Answers), "{told:?}");
    assert_eq!(asker.counts().not_asked, 0);
}

#[test]
fn so_many_may_hang_that_answered_before_and_no_more() {
    let made = Arc::new(Made::default());
    let mut asker = asker(&made);
    let mounts = mounts_of(&["fuse.x y"; MOST_BY_OTHERS + 4]);
    round(&mut asker, &mounts);
    made.change(|state| {
        state.hanging = mounts.iter().map(|mount| mount.point.clone()).collect();
    });
    let uses = round(&mut asker, &mounts);
    assert!(uses.values().all(|&known| known == (Some(1), true)));
    let counts = asker.counts();
    assert_eq!((counts.stuck, counts.not_asked), (MOST_BY_OTHERS, 4));
    made.change(|state| state.hanging.clear());
    made.all_let_go();
}

#[test]
fn so_many_of_the_kernels_own_may_hang_and_no_more() {
    let made = Arc::new(Made::default());
    let mut asker = asker(&made);
    let mounts = mounts(MOST_BY_KERNEL + 4);
    made.change(|state| {
        state.hanging = mounts.iter().map(|mount| mount.point.clone()).collect();
    });
    let uses = round(&mut asker, &mounts);
    assert!(uses.values().all(|&known| known == (None, true)));
    let counts = asker.counts();
    assert_eq!((counts.stuck, counts.not_asked), (MOST_BY_KERNEL, 4));
    made.change(|state| state.hanging.clear());
    made.all_let_go();
}

#[test]
fn what_is_mounted_no_more_has_no_figures() {
    let made = Arc::new(Made::default());
    let mut asker = asker(&made);
    let mounts = mounts(2);
    round(&mut asker, &mounts);
    made.change(|state| state.gone = ["/v00".into()].into());
    let uses = round(&mut asker, &mounts);
    assert_eq!(uses.keys().collect::<Vec<_>>(), ["/v01"]);
    assert_eq!((asker.counts().gone, asker.known.len()), (1, 1));
}

#[test]
fn what_is_mounted_in_the_place_of_one_that_hangs_is_asked() {
    let made = Arc::new(Made::default());
    let mut asker = asker(&made);
    made.change(|state| state.hanging = ["/v00".into()].into());
    round(&mut asker, &mounts(1));
    let other = parse(b"9 1 0:99 / /v00 rw - tmpfs a rw");
    round(&mut asker, &other);
    assert_eq!((made.asked("/v00"), asker.counts().stuck), (2, 2));
    made.change(|state| state.hanging.clear());
    made.all_let_go();
    while asker.counts().stuck > 0 {
        round(&mut asker, &other);
    }
    assert!(!round(&mut asker, &other)["/v00"].1);
    assert!(round(&mut asker, &[]).is_empty(), "gone is forgotten");
    assert!(asker.known.is_empty());
}

#[test]
fn one_that_refuses_is_stale_and_asked_again() {
    let made = Arc::new(Made::default());
    let mut asker = asker(&made);
    let mounts = mounts(1);
    round(&mut asker, &mounts);
    made.change(|state| state.broken = ["/v00".into()].into());
    assert_eq!(round(&mut asker, &mounts)["/v00"], (Some(1), true));
    let refused = Standing::Refuses(io::ErrorKind::PermissionDenied);
    assert_eq!(standings(&mut asker, &mounts), [refused], "told as such");
    made.change(|state| state.broken.clear());
    assert_eq!(round(&mut asker, &mounts)["/v00"], (Some(4), false));
    let counts = asker.counts();
    assert_eq!((counts.answered, counts.failed, counts.late), (2, 2, 0));
}
