use std::sync::LazyLock;

use super::*;

const FIVE: Duration = Duration::from_secs(5);
const NODE: Node = Node {
    cpus: 4,
    memory: 1 << 30,
};

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

static JANE: LazyLock<Arc<str>> = LazyLock::new(|| "jane".into());

fn jane(limit: usize) -> Person<'static> {
    Person { name: &JANE, limit }
}

fn agent(node: &str) -> Agent {
    Agent {
        plugin: "p".into(),
        node: node.into(),
    }
}

fn wanted(of: Asked, namespace: Option<&str>) -> Wanted {
    Wanted {
        plugin: "p".into(),
        of,
        metric: Metric::Millicores,
        namespace: namespace.map(str::to_owned),
    }
}

fn row(number: u8, namespace: &str, value: f64) -> PodFigure {
    PodFigure {
        uid: Uid::from_bytes([number; 16]),
        namespace: namespace.into(),
        name: format!("web-{number}"),
        value,
    }
}

fn pods(id: u64, pods: Vec<PodFigure>) -> Found {
    Found {
        id,
        pods,
        node: None,
    }
}

fn everywhere(_: &Uid) -> bool {
    true
}

/// What an answer says, in short.
fn short(answer: Option<(usize, Vec<TopRow>)>) -> Option<(usize, Vec<(String, f64)>)> {
    let (nodes, rows) = answer?;
    let rows = rows.into_iter().map(|row| (row.name, row.value)).collect();
    Some((nodes, rows))
}

fn said(rows: &[(&str, f64)]) -> Vec<(String, f64)> {
    rows.iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

#[test]
fn a_question_is_asked_until_nobody_wants_to_know_for_three_intervals() {
    let mut questions = Questions::default();
    assert_eq!(questions.of("p", at(0), FIVE), []);
    let open = questions
        .ask(&wanted(Asked::Pods, None), jane(3), 2, 2, at(0), FIVE)
        .unwrap();
    assert_eq!(open.until, at(12));
    let asked = questions.of("p", at(14), FIVE);
    assert_eq!(
        (asked.len(), asked[0].most, &*asked[0].metric),
        (1, 10, "cpu_millicores")
    );
    assert_eq!(questions.of("another", at(0), FIVE), []);
    // Somebody who wants to know the same, and a little more.
    let same = questions
        .ask(&wanted(Asked::Pods, None), jane(10), 2, 2, at(14), FIVE)
        .unwrap();
    assert_eq!(same.id, open.id);
    assert_eq!(same.until, at(12), "who comes later waits no longer");
    assert_eq!(questions.of("p", at(28), FIVE), asked);
    assert_eq!(questions.of("p", at(29), FIVE), []);
    questions.forget(at(29), FIVE);
    assert!(questions.is_empty());
    assert_eq!(short(questions.answer(&open, 3, at(29), FIVE)), None);
    let again = questions
        .ask(&wanted(Asked::Pods, None), jane(3), 2, 2, at(29), FIVE)
        .unwrap();
    assert_ne!(again.id, open.id, "late answers are of the question before");
}

#[test]
fn it_is_complete_when_all_have_answered_that_are_heard_of() {
    let mut questions = Questions::default();
    let open = questions
        .ask(&wanted(Asked::Pods, None), jane(3), 2, 3, at(0), FIVE)
        .unwrap();
    let mut take = |node: &str, rows, now: u64| {
        let rows = [pods(open.id, rows)];
        questions.take(&agent(node), &rows, at(now), NODE, everywhere)
    };
    assert_eq!(take("a", vec![row(1, "x", 10.0)], 3), 0);
    assert!(!*open.complete.borrow());
    assert_eq!(take("a", vec![row(1, "x", 11.0), row(2, "x", 4.0)], 8), 0);
    assert!(!*open.complete.borrow(), "one of the two");
    assert_eq!(take("b", vec![row(3, "y", 7.0)], 4), 0);
    assert!(*open.complete.borrow());
    let all = said(&[("web-1", 11.0), ("web-3", 7.0), ("web-2", 4.0)]);
    assert_eq!(
        short(questions.answer(&open, 3, at(9), FIVE)),
        Some((2, all))
    );
    let first = said(&[("web-1", 11.0)]);
    assert_eq!(
        short(questions.answer(&open, 1, at(9), FIVE)),
        Some((2, first))
    );
    let fresh = said(&[("web-1", 11.0), ("web-2", 4.0)]);
    assert_eq!(
        short(questions.answer(&open, 3, at(19), FIVE)),
        Some((1, fresh)),
        "b has been silent for three intervals"
    );
    // Who asks again has to wait for it again.
    let again = questions
        .ask(&wanted(Asked::Pods, None), jane(3), 2, 3, at(14), FIVE)
        .unwrap();
    assert!(*again.complete.borrow(), "both are of the last 15 s");
    let again = questions
        .ask(&wanted(Asked::Pods, None), jane(3), 2, 3, at(19), FIVE)
        .unwrap();
    assert!(!*again.complete.borrow());
}

#[test]
fn an_agent_speaks_of_its_own_pods_alone_and_within_what_its_node_can_do() {
    let mut questions = Questions::default();
    let open = questions
        .ask(&wanted(Asked::Pods, Some("x")), jane(3), 1, 1, at(0), FIVE)
        .unwrap();
    let rows = vec![
        row(1, "x", 10.0),
        row(1, "x", 9.0),
        row(2, "x", 8001.0),
        row(3, "x", f64::NAN),
        row(4, "x", -1.0),
        row(5, "y", 8.0),
        row(6, "x", 7.0),
        row(7, "x", 6.0),
    ];
    let is_here = |uid: &Uid| uid.as_bytes()[0] != 6;
    let mut answer = pods(open.id, rows);
    answer.node = Some(5.0);
    let other = pods(open.id + 1, vec![row(8, "x", 1.0)]);
    let dropped = questions.take(&agent("a"), &[answer, other], at(3), NODE, is_here);
    assert_eq!(dropped, 6, "and what nobody asked is not even looked at");
    let mine = said(&[("web-1", 10.0), ("web-7", 6.0)]);
    assert_eq!(
        short(questions.answer(&open, 9, at(3), FIVE)),
        Some((1, mine))
    );
    let stranger = Agent {
        plugin: "q".into(),
        node: "a".into(),
    };
    let more = [pods(open.id, vec![row(9, "x", 99.0)])];
    questions.take(&stranger, &more, at(4), NODE, everywhere);
    let (_, rows) = questions.answer(&open, 9, at(4), FIVE).unwrap();
    assert_eq!(
        rows.len(),
        2,
        "another plugin's agent is asked other questions"
    );
}

#[test]
fn nodes_are_told_by_their_own_figure() {
    let mut questions = Questions::default();
    let open = questions
        .ask(&wanted(Asked::Node, None), jane(10), 3, 3, at(0), FIVE)
        .unwrap();
    for (node, value) in [("a", 10.0), ("b", 30.0), ("c", 1e9)] {
        let answer = Found {
            id: open.id,
            pods: Vec::new(),
            node: Some(value),
        };
        questions.take(&agent(node), &[answer], at(1), NODE, everywhere);
    }
    let rows = said(&[("b", 30.0), ("a", 10.0)]);
    assert_eq!(
        short(questions.answer(&open, 9, at(2), FIVE)),
        Some((3, rows)),
        "c says more than it can"
    );
}

#[test]
fn there_is_room_for_so_many() {
    let mut questions = Questions::default();
    let mut ask = |namespace: &str, limit, nodes| {
        let wanted = wanted(Asked::Pods, Some(namespace));
        questions
            .ask(&wanted, jane(limit), 1, nodes, at(0), FIVE)
            .is_ok()
    };
    for namespace in ["a", "b", "c", "d"] {
        assert!(ask(namespace, 32, 10), "{namespace}");
    }
    assert!(!ask("e", 1, 10));
    assert!(ask("a", 1, 10), "the same is no more");
    assert_eq!(questions.len(), MAX_QUESTIONS);

    let mut questions = Questions::default();
    let mut ask = |namespace: &str, limit| {
        let wanted = wanted(Asked::Pods, Some(namespace));
        questions
            .ask(&wanted, jane(limit), 1, 5000, at(0), FIVE)
            .is_ok()
    };
    assert!(ask("a", 32));
    assert!(!ask("b", 10), "a large fleet has as many rows already");
    let mut questions = Questions::default();
    let asked = (0..4).filter(|number| {
        let wanted = wanted(Asked::Pods, Some(&number.to_string()));
        questions
            .ask(&wanted, jane(10), 1, 5000, at(0), FIVE)
            .is_ok()
    });
    assert_eq!(asked.count(), 3);
    let mut questions = Questions::default();
    let all = wanted(Asked::Pods, None);
    assert!(
        questions
            .ask(&all, jane(32), 1, 20_000, at(0), FIVE)
            .is_err()
    );
    assert!(
        questions
            .ask(&all, jane(10), 1, 20_000, at(0), FIVE)
            .is_ok()
    );
}

#[test]
fn nobody_waits_longer_than_a_request_may_take() {
    let mut questions = Questions::default();
    let minute = Duration::from_secs(60);
    let open = questions.ask(&wanted(Asked::Node, None), jane(1), 1, 1, at(0), minute);
    assert_eq!(open.unwrap().until, at(20));
    let nobody = questions.ask(&wanted(Asked::Pods, None), jane(1), 0, 1, at(0), minute);
    assert!(
        *nobody.unwrap().complete.borrow(),
        "there is nobody to wait for"
    );
}

#[test]
fn whoever_asks_most_makes_room_for_others() {
    let mut questions = Questions::default();
    let ask = |questions: &mut Questions, name: &str, namespace: &str, limit, second| {
        let (wanted, name) = (wanted(Asked::Pods, Some(namespace)), Arc::from(name));
        let person = Person { name: &name, limit };
        let open = questions.ask(&wanted, person, 1, 10, at(second), FIVE);
        open.map(|open| (open.id, open.displaced))
    };
    let open = |questions: &Questions, second| {
        let all = questions.of("p", at(second), FIVE);
        let all = all.into_iter().filter_map(|question| question.namespace);
        all.collect::<String>()
    };
    for (second, namespace) in (0..).zip(["a", "b", "c", "d", "a"]) {
        ask(&mut questions, "jane", namespace, 10, second).unwrap();
    }
    assert_eq!(ask(&mut questions, "jane", "e", 10, 5), Err(Busy));
    assert_eq!(ask(&mut questions, "joe", "e", 10, 6), Ok((5, 1)));
    assert_eq!(
        open(&questions, 6),
        "acde",
        "b was asked for last the longest ago"
    );
    ask(&mut questions, "joe", "f", 10, 7).unwrap();
    assert_eq!(open(&questions, 7), "adef");
    assert_eq!(
        ask(&mut questions, "joe", "g", 10, 8),
        Err(Busy),
        "they ask as much as jane"
    );
    assert_eq!(ask(&mut questions, "jane", "g", 10, 8), Err(Busy));
    assert_eq!(
        ask(&mut questions, "jim", "a", 10, 8),
        Ok((1, 0)),
        "the same is no more"
    );
    ask(&mut questions, "jim", "g", 10, 8).unwrap();
    assert_eq!(open(&questions, 8), "aefg");
    ask(&mut questions, "ann", "h", 10, 8).unwrap();
    assert_eq!(open(&questions, 8), "afgh", "joe had two");
    assert_eq!(
        ask(&mut questions, "kim", "i", 10, 8),
        Err(Busy),
        "each has one"
    );
}

#[test]
fn nobody_loses_a_question_to_one_that_has_no_room_even_so() {
    let mut questions = Questions::default();
    let ask = |questions: &mut Questions, name: &str, namespace: &str, limit| {
        let (wanted, name) = (wanted(Asked::Pods, Some(namespace)), Arc::from(name));
        let person = Person { name: &name, limit };
        questions.ask(&wanted, person, 1, 5000, at(0), FIVE).is_ok()
    };
    for namespace in ["a", "b", "c"] {
        assert!(ask(&mut questions, "jane", namespace, 10));
    }
    assert!(
        !ask(&mut questions, "joe", "d", 32),
        "it takes all the room"
    );
    assert_eq!(questions.len(), 3);
    assert!(ask(&mut questions, "joe", "d", 10));
    assert_eq!(questions.len(), 3);
}
