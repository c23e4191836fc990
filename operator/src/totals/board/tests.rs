use proptest::{collection::vec, prelude::*};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn health(asked: u32, silent: u32, unknown: u32) -> PluginHealth {
    PluginHealth {
        plugin: "a".into(),
        nodes: asked + silent + unknown,
        asked,
        silent,
        silent_nodes: (0..silent.min(10)).map(|n| format!("n{n}")).collect(),
        unknown,
        ..PluginHealth::default()
    }
}

/// A step of a story: so many seconds later this is heard.
#[derive(Clone, Copy, Debug)]
enum Step {
    Told(u32, u32, u32),
    Warming,
    Absent,
    NoAnswer,
}
use Step::{Absent, NoAnswer, Told, Warming};

fn answer(step: Step) -> Result<Fleet, AskError> {
    let fleet = |warming_ms, plugins| Fleet {
        version: 1,
        warming_ms,
        plugins,
    };
    match step {
        Told(asked, silent, unknown) => Ok(fleet(None, vec![health(asked, silent, unknown)])),
        Warming => Ok(fleet(Some(9_001), vec![health(0, 1, 0)])),
        Absent => Ok(fleet(None, Vec::new())),
        NoAnswer => Err(AskError::TooLarge),
    }
}

fn expected(agents: u32) -> Vec<Expected> {
    vec![Expected {
        uid: "u".into(),
        name: "a".into(),
        agents,
    }]
}

/// What is shown, in a word; a change has a mark. So many agents are ready.
fn play(agents: u32, story: &[(u64, Step)]) -> Vec<String> {
    let (board, mut now) = (Board::default(), Instant::now());
    let mut words = Vec::new();
    for (seconds, step) in story {
        now += SECOND * u32::try_from(*seconds).unwrap();
        let answer = answer(*step);
        let changed = board.hear(1, &expected(agents), answer.as_ref(), now);
        let word = match board.shown("u", 1).as_deref() {
            None => "-".to_owned(),
            Some(Shown::Told(told)) => format!("{}/{}", told.asked, told.silent),
            Some(Shown::Unknown { reason, .. }) => (*reason).to_owned(),
        };
        let mark = if changed.is_empty() { "" } else { "!" };
        words.push(format!("{word}{mark}"));
    }
    words
}

/// A step each half minute.
fn half_minutes(steps: &[Step]) -> Vec<(u64, Step)> {
    steps.iter().map(|step| (30, *step)).collect()
}

#[test]
fn what_is_shown_follows_what_is_heard() {
    for (what, story, wanted) in [
        (
            "known at once, and a verdict changes at once",
            &[
                (0, Told(4, 0, 0)),
                (30, Told(3, 1, 0)),
                (120, Told(4, 0, 0)),
            ][..],
            &["4/0!", "3/1!", "4/0!"][..],
        ),
        (
            "figures change now and then",
            &[
                (0, Told(4, 0, 0)),
                (30, Told(5, 0, 0)),
                (30, Told(6, 0, 0)),
                (59, Told(7, 0, 0)),
                (1, Told(7, 0, 0)),
                (30, Told(7, 0, 0)),
            ],
            &["4/0!", "4/0", "4/0", "4/0", "7/0!", "7/0"],
        ),
        (
            "so do those of silent nodes, but not that there is no other",
            &[(0, Told(3, 1, 0)), (30, Told(2, 2, 0)), (30, Told(0, 4, 0))],
            &["3/1!", "3/1", "0/4!"],
        ),
        (
            "a silent agent that is replaced is not heard, then not known: it stays silent",
            &[
                (0, Told(3, 1, 0)),
                (30, Told(3, 0, 0)),
                (30, Told(3, 0, 1)),
                (30, Told(3, 1, 0)),
            ],
            &["3/1!", "3/1", "3/1", "3/1"],
        ),
        (
            "nor does scope-totals take it back that changes hands",
            &[
                (0, Told(3, 1, 0)),
                (30, NoAnswer),
                (30, Warming),
                (30, Warming),
                (30, Told(2, 0, 0)),
                (30, Told(3, 0, 1)),
                (30, Told(3, 1, 0)),
            ],
            &["3/1!", "3/1", "3/1", "3/1", "3/1", "3/1", "3/1"],
        ),
        (
            "a silent node that is gone for good is forgotten",
            &[
                (0, Told(3, 1, 0)),
                (30, Told(3, 0, 0)),
                (299, Told(3, 0, 0)),
                (1, Told(3, 0, 0)),
            ],
            &["3/1!", "3/1", "3/1", "3/0!"],
        ),
        (
            "a failed question does not hide that it was uncertain for long",
            &[
                (0, Told(3, 0, 1)),
                (100, NoAnswer),
                (100, Told(3, 0, 1)),
                (70, Absent),
                (30, Told(3, 0, 1)),
            ],
            &["-", "-", "-", "-", "3/0!"],
        ),
        (
            "a verdict that is young stays, and what is disputed is to be heard twice",
            &[
                (0, Told(4, 0, 0)),
                (30, Told(3, 1, 0)),
                (30, Told(4, 0, 0)),
                (30, Told(4, 0, 0)),
                (60, Told(3, 1, 0)),
                (30, Told(4, 0, 0)),
                (30, Told(4, 0, 0)),
                (150, Told(3, 1, 0)),
            ],
            &["4/0!", "3/1!", "3/1", "3/1", "3/1", "3/1", "4/0!", "3/1!"],
        ),
        (
            "a new plugin waits until all of its agents tell",
            &[
                (0, Absent),
                (30, Told(1, 0, 3)),
                (30, Told(3, 0, 1)),
                (30, Told(4, 0, 0)),
            ],
            &["-", "-", "-", "4/0!"],
        ),
        (
            "a silent node whose agent begins anew does not look asked meanwhile",
            &[(0, Told(3, 1, 0)), (30, Told(3, 0, 1)), (30, Told(3, 1, 0))],
            &["3/1!", "3/1", "3/1"],
        ),
        (
            "agents that never tell hold nothing up for ever",
            &[
                (0, Told(3, 0, 1)),
                (299, Told(3, 0, 1)),
                (1, Told(3, 0, 1)),
                (30, Told(3, 0, 1)),
            ],
            &["-", "-", "3/0!", "3/0"],
        ),
        (
            "while agents are replaced they count as before",
            &[(0, Told(4, 0, 0)), (30, Told(3, 0, 1)), (90, Told(3, 0, 1))],
            &["4/0!", "4/0", "3/0!"],
        ),
        (
            "no answer for a while takes nothing back",
            &[
                (0, Told(4, 0, 0)),
                (30, NoAnswer),
                (30, Warming),
                (239, Absent),
                (30, Told(4, 0, 0)),
                (30, NoAnswer),
            ],
            &["4/0!", "4/0", "4/0", "4/0", "4/0", "4/0"],
        ),
        (
            "for a longer while it does, and the first reason stays a while",
            &[
                (0, Told(4, 0, 0)),
                (30, NoAnswer),
                (300, NoAnswer),
                (30, Warming),
                (569, Warming),
                (1, Warming),
                (30, Told(4, 0, 0)),
            ],
            &[
                "4/0!",
                "4/0",
                "TotalsTooLarge!",
                "TotalsTooLarge",
                "TotalsTooLarge",
                "TotalsWarming!",
                "4/0!",
            ],
        ),
        (
            "agents of which nothing is known",
            &[(0, Told(0, 0, 4)), (300, Told(0, 0, 4)), (600, Absent)],
            &["-", "AgentsDoNotTell!", "AgentsNotHeard!"],
        ),
    ] {
        assert_eq!(play(0, story), wanted, "{what}");
    }
}

/// A few that are asked are not all: the operator knows how many agents there are.
#[test]
fn who_is_not_heard_is_not_known() {
    for (what, agents, story, wanted) in [
        (
            "the first answer comes before most agents",
            100,
            &[
                (0, Told(12, 0, 0)),
                (30, Told(80, 0, 0)),
                (30, Told(100, 0, 0)),
            ][..],
            &["-", "-", "100/0!"][..],
        ),
        (
            "a rest that is never heard",
            100,
            &[(0, Told(60, 0, 0)), (300, Told(60, 0, 0))],
            &["-", "60/0!"],
        ),
        (
            "most never are",
            100,
            &[(0, Told(10, 0, 0)), (300, Told(10, 0, 0))],
            &["-", "AgentsDoNotTell!"],
        ),
        (
            "most are no more",
            100,
            &[
                (0, Told(100, 0, 0)),
                (30, Told(10, 0, 0)),
                (270, Told(10, 0, 90)),
                (30, Told(10, 0, 90)),
            ],
            &["100/0!", "100/0", "100/0", "AgentsDoNotTell!"],
        ),
        (
            "one that is silent is said at once",
            100,
            &[(0, Told(0, 1, 0))],
            &["0/1!"],
        ),
    ] {
        assert_eq!(play(agents, story), wanted, "{what}");
    }
    let told = |asked, silent, agents| super::Told::of(&health(asked, silent, 0), agents);
    assert_eq!(told(60, 0, 100).unknown, 40);
    assert_eq!(told(60, 0, 50).unknown, 0);
    assert_eq!(told(0, 1, 100).verdict(), Verdict::Some);
    assert_eq!(told(0, 60, 100).verdict(), Verdict::None);
}

/// However figures flutter, there are few changes: here of each plugin one in two minutes.
#[test]
fn figures_that_flutter_are_seldom_shown() {
    let steps: Vec<Step> = (0..240).map(|n| Told(4_000 + n % 7, 0, n % 3)).collect();
    let changes = marks(&play(4_000, &half_minutes(&steps))).len();
    assert!(
        (2..=60).contains(&changes),
        "{changes} changes in two hours"
    );
}

/// Reasons of one trouble that come in turns are one.
#[test]
fn troubles_that_flutter_are_seldom_shown() {
    let steps: Vec<Step> = (0..240)
        .map(|n| [NoAnswer, Warming, Absent, Told(0, 0, n)][n as usize % 4])
        .collect();
    let changes = marks(&play(4, &half_minutes(&steps))).len();
    assert!(
        (2..=12).contains(&changes),
        "{changes} changes in two hours"
    );
}

/// The words of a trouble are not those of its first minute for ever, and do not count down.
#[test]
fn words_of_a_trouble_follow() {
    let (board, begin) = (Board::default(), Instant::now());
    let hear = |seconds: u64, step| {
        let answer = answer(step);
        let now = begin + Duration::from_secs(seconds);
        board.hear(1, &expected(0), answer.as_ref(), now);
        match board.shown("u", 1).as_deref() {
            Some(Shown::Unknown { message, .. }) => message.clone(),
            other => format!("{other:?}"),
        }
    };
    hear(0, Told(0, 0, 4));
    let words = hear(300, Told(0, 0, 4));
    assert!(words.starts_with("On 4 of 4 nodes "), "{words}");
    assert_eq!(hear(899, Told(0, 0, 5)), words);
    let words = hear(900, Told(0, 0, 5));
    assert!(words.starts_with("On 5 of 5 nodes "), "{words}");
    let words = hear(1500, Warming);
    assert!(!words.contains(|c: char| c.is_ascii_digit()), "{words}");
}

/// The steps at which something else was shown.
fn marks(words: &[String]) -> Vec<usize> {
    let numbered = words.iter().enumerate();
    numbered
        .filter(|(_, word)| word.ends_with('!'))
        .map(|(n, _)| n)
        .collect()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Told(4, 0, 0)),
        4 => Just(Told(3, 1, 0)),
        2 => Just(Told(0, 4, 0)),
        2 => (1u32..5, 0u32..3, 0u32..5).prop_map(|(asked, silent, unknown)| Told(asked, silent, unknown)),
        1 => Just(Warming),
        1 => Just(Absent),
        1 => Just(NoAnswer),
    ]
}

proptest! {
    /// Whatever is heard, a verdict that took the place of another one stays for two minutes, and in an hour there
    /// are at most as many writes again for figures.
    #[test]
    fn no_answers_make_many_changes(runs in vec((step(), 1usize..14), 1..60)) {
        let steps: Vec<Step> = runs
            .into_iter()
            .flat_map(|(step, times)| std::iter::repeat_n(step, times))
            .collect();
        let words = play(4, &half_minutes(&steps));
        let marks = marks(&words);
        let verdict = |n: usize| match words[n].trim_end_matches('!').split_once('/') {
            Some((_, "0")) => "all",
            Some(("0", _)) => "none",
            Some(_) => "some",
            None => "unknown",
        };
        let verdicts: Vec<usize> = marks
            .windows(2)
            .filter(|pair| verdict(pair[0]) != verdict(pair[1]))
            .map(|pair| pair[1])
            .collect();
        for pair in verdicts.windows(2) {
            prop_assert!(pair[1] - pair[0] >= 4, "{words:?}");
        }
        // An hour has 120 half minutes.
        for (n, first) in marks.iter().enumerate() {
            let within = marks[n..].iter().take_while(|mark| **mark < first + 120);
            prop_assert!(within.count() <= 61, "{words:?}");
        }
    }
}

#[test]
fn a_term_begins_with_nothing_and_plugins_that_are_gone_are_forgotten() {
    let (board, now) = (Board::default(), Instant::now());
    let told = answer(Told(1, 0, 0));
    assert_eq!(board.hear(1, &expected(0), told.as_ref(), now), ["a"]);
    assert!(board.shown("u", 1).is_some());
    assert!(board.shown("u", 2).is_none(), "another term");
    assert!(board.shown("v", 1).is_none(), "another plugin");
    let no_answer = answer(NoAnswer);
    assert!(
        board
            .hear(2, &expected(0), no_answer.as_ref(), now)
            .is_empty()
    );
    assert!(board.shown("u", 2).is_none());
    board.hear(2, &expected(0), told.as_ref(), now);
    assert!(board.hear(2, &[], told.as_ref(), now).is_empty());
    assert!(board.shown("u", 2).is_none(), "suspended or gone");
}

#[test]
fn what_is_told_is_bounded() {
    let mut much = health(1, 20, 0);
    much.silent_nodes = (0..20).map(|n| n.to_string()).collect();
    much.silent_nodes[0] = format!("n\n{}", "ü".repeat(300));
    let off = OffNodes {
        collector: "IOWait".into(),
        why: "no PSI".into(),
        nodes: 1,
        example: "n1".into(),
    };
    much.off = vec![off; 20];
    much.off_left_out = 3;
    let told = super::Told::of(&much, 0);
    assert_eq!((told.silent_nodes.len(), told.off.len()), (3, 16));
    assert_eq!(told.off_total, 23);
    assert_eq!(told.silent_nodes[0], format!("n {}", "ü".repeat(251)));
}
