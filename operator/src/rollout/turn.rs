//! With a new operator the agents of all plugins change at once. They do so one plugin after the other, in the
//! order of their names, and none follows one that failed.

use super::{Run, Stage, Turn};

/// Another plugin, as far as it matters here.
pub(crate) struct Other<'a> {
    pub(crate) name: &'a str,
    /// Its newest rollout.
    pub(crate) run: &'a Run,
    /// The revision that it asks for.
    pub(crate) wanted: &'a str,
    pub(crate) generation: i64,
    /// Whether it stands still as its spec asks, or has no nodes: it will not be done, and nobody waits for it.
    pub(crate) stands: bool,
}

/// Whether the plugin of this name may begin what a new operator brings.
pub(crate) fn turn<'a>(name: &str, others: impl IntoIterator<Item = Other<'a>>) -> Turn {
    let before = others.into_iter().find(|other| {
        let Other { run, wanted, .. } = other;
        let pending = run.target != *wanted && run.generation == other.generation;
        if other.stands {
            return false;
        }
        let unfinished = run.upgrade && run.target == *wanted && run.stage != Stage::Done;
        unfinished || (pending && other.name < name)
    });
    before.map_or(Turn::Ours, |other| Turn::After(other.name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(target: &str, upgrade: bool, stage: Stage) -> Run {
        Run {
            target: target.into(),
            generation: 1,
            upgrade,
            started: "2030-01-01T00:00:00Z".parse().unwrap(),
            stage,
            canary: Default::default(),
            in_flight: Default::default(),
        }
    }

    fn of_b(name: &str, run: &Run, generation: i64) -> Turn {
        let other = Other {
            name,
            run,
            wanted: "new",
            generation,
            stands: false,
        };
        turn("b", [other])
    }

    #[test]
    fn nobody_waits_for_what_stands_still() {
        for (name, run) in [
            ("a", run("old", false, Stage::Done)),
            ("c", run("new", true, Stage::Rolling)),
        ] {
            let other = Other {
                name,
                run: &run,
                wanted: "new",
                generation: 1,
                stands: true,
            };
            assert_eq!(turn("b", [other]), Turn::Ours, "{name}");
        }
    }

    #[test]
    fn plugins_follow_one_another_by_name() {
        let after = |name: &str| Turn::After(name.into());
        let pending = run("old", false, Stage::Done);
        assert_eq!(of_b("a", &pending, 1), after("a"));
        assert_eq!(of_b("c", &pending, 1), Turn::Ours, "it comes later");
        assert_eq!(
            of_b("a", &pending, 2),
            Turn::Ours,
            "its spec changed, no upgrade"
        );
        assert_eq!(of_b("c", &run("new", true, Stage::Rolling), 1), after("c"));
        assert_eq!(of_b("a", &run("new", true, Stage::Done), 1), Turn::Ours);
        let halted = Stage::Halted { why: "no".into() };
        assert_eq!(of_b("a", &run("new", true, halted.clone()), 1), after("a"));
        assert_eq!(
            of_b("a", &run("new", false, halted), 1),
            Turn::Ours,
            "its own affair"
        );
    }
}
