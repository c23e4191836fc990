//! Whatever comes when, how often or not at all: what is merged is what the newest answers of all nodes say.

use proptest::prelude::*;

use super::*;

const FIVE: Duration = Duration::from_secs(5);
const NODE: Node = Node {
    cpus: 1000,
    memory: 1 << 40,
};

fn at(ms: u64) -> Moment {
    Moment::after_start(Duration::from_millis(ms))
}

fn agent(node: u8) -> Agent {
    Agent {
        plugin: "p".into(),
        node: format!("n{node}").into(),
    }
}

/// What a node's pods use at one time. Few different values, so that there are equal ones.
fn look() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..20u8, 0..40)
}

fn pod(node: u8, number: usize, value: u8) -> PodFigure {
    let mut uid = [node; 16];
    uid[0] = number as u8;
    PodFigure {
        uid: Uid::from_bytes(uid),
        namespace: ["a", "a-b", "b"][number % 3].into(),
        name: format!("web-{node}-{number}"),
        value: f64::from(value),
    }
}

/// In the order of the answer.
fn sort(pods: &mut [(u8, PodFigure)]) {
    pods.sort_by(|(_, one), (_, other)| {
        let names = |pod: &PodFigure| (pod.namespace.clone(), pod.name.clone());
        let by_value = other.value.total_cmp(&one.value);
        by_value.then(names(one).cmp(&names(other)))
    });
}

/// As an agent answers: the first of its own.
fn largest(node: u8, pods: &[u8], most: usize) -> Vec<PodFigure> {
    let pods = pods.iter().enumerate();
    let mut pods: Vec<_> = pods
        .map(|(number, value)| (node, pod(node, number, *value)))
        .collect();
    sort(&mut pods);
    pods.into_iter().take(most).map(|(_, pod)| pod).collect()
}

/// A report: of which node, after how much time, whether it is lost, and how often it comes.
type Sent = (u8, u64, bool, usize, Vec<u8>);

proptest! {
    #[test]
    fn what_is_merged_is_the_first_of_all(
        sent in prop::collection::vec((0..6u8, 0..4000u64, prop::bool::weighted(0.2), 1..3usize, look()), 0..40),
        limit in 1..=MAX_ROWS,
    ) {
        let sent: Vec<Sent> = sent;
        let mut questions = Questions::default();
        let wanted = Wanted {
            plugin: "p".into(),
            of: Asked::Pods,
            metric: Metric::Millicores,
            namespace: None,
        };
        let name = Arc::from("jane");
        let (mut now, mut newest) = (0, HashMap::new());
        let mut open = questions.ask(&wanted, Person { name: &name, limit }, 6, 6, at(0), FIVE).unwrap();
        for (node, pause, lost, copies, pods) in sent {
            now += pause;
            open = questions.ask(&wanted, Person { name: &name, limit }, 6, 6, at(now), FIVE).unwrap();
            let most = questions.of("p", at(now), FIVE)[0].most as usize;
            if lost {
                continue;
            }
            let found = Found { id: open.id, pods: largest(node, &pods, most), node: None };
            for _ in 0..copies {
                let dropped = questions.take(&agent(node), std::slice::from_ref(&found), at(now), NODE, |_| true);
                prop_assert_eq!(dropped, 0);
            }
            newest.insert(node, (now, pods));
        }
        let fresh: Vec<_> = newest.iter().filter(|(_, (when, _))| at(*when).within(FIVE * 3, at(now))).collect();
        let mut all: Vec<(u8, PodFigure)> = fresh
            .iter()
            .flat_map(|(node, (_, pods))| {
                pods.iter().enumerate().map(|(number, value)| (**node, pod(**node, number, *value)))
            })
            .collect();
        sort(&mut all);
        all.truncate(limit);
        let (answered, rows) = questions.answer(&open, limit, at(now), FIVE).unwrap();
        prop_assert_eq!(answered, fresh.len());
        prop_assert_eq!(rows.len(), all.len());
        for (row, (node, pod)) in rows.iter().zip(&all) {
            prop_assert_eq!(row.uid, Some(pod.uid));
            prop_assert_eq!(row.value, pod.value);
            prop_assert_eq!(row.namespace.as_deref(), Some(&*pod.namespace));
            prop_assert_eq!(&row.name, &pod.name);
            prop_assert_eq!(row.node.clone(), Some(format!("n{node}")));
        }
        prop_assert_eq!(*open.complete.borrow(), newest.len() == 6 && fresh.len() == 6);
    }
}
