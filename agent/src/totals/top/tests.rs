use proptest::prelude::*;
use scope_protocol::Timestamp;
use scope_totals_wire::Uid;

use super::*;
use crate::attribution::{Cpu, HostUsage, Network};
use crate::http_rates::{HttpRates, HttpUsage};
use crate::sample::Problems;

const NODE: Node = Node {
    cpus: 4,
    memory: 8 << 30,
};

fn uid(number: u8) -> Uid {
    Uid::from_bytes([number; 16])
}

/// A static pod goes by another ID than its UID.
fn pod(number: u8, namespace: &str) -> Pod {
    Pod {
        id: format!("cgroup-{number}"),
        uid: uid(number).to_string(),
        namespace: namespace.into(),
        name: format!("web-{number:03}"),
        mirror: false,
        grace: None,
        host_network: false,
        ips: Vec::new(),
        containers: BTreeMap::new(),
        stopped: BTreeMap::new(),
        volumes: Vec::new(),
        owners: Vec::new(),
    }
}

fn millicores(value: f64) -> Figures {
    Figures {
        cpu: Some(Cpu {
            millicores: value,
            percent: None,
        }),
        ..Figures::default()
    }
}

fn node(pods: impl IntoIterator<Item = (Pod, Figures)>) -> (Inventory, Usage) {
    let (mut inventory, mut figures) = (Inventory::default(), BTreeMap::new());
    for (pod, used) in pods {
        figures.insert(Arc::from(pod.id.as_str()), used);
        inventory.pods.insert(pod.id.clone(), pod);
    }
    let usage = Usage {
        at: Timestamp::from_unix_micros(0),
        interval: Some(Duration::from_secs(1)),
        host: HostUsage {
            cpus: Some(NODE.cpus),
            memory_total: Some(NODE.memory),
            memory_used: Some(5000),
            cpu: millicores(700.0).cpu,
            processes: 30,
            threads: 90,
            ..HostUsage::default()
        },
        pods: figures,
        containers: BTreeMap::new(),
        processes: Vec::new(),
        volumes: Arc::default(),
        http: HttpUsage::default(),
        problems: Problems::default(),
    };
    (inventory, usage)
}

fn question(id: u64, of: Asked, metric: Metric, most: u32) -> Question {
    Question {
        id,
        of,
        metric: metric.id().into_owned(),
        namespace: None,
        most,
    }
}

fn answers(questions: &[Question], inventory: &Inventory, usage: &Usage) -> Vec<Found> {
    found(questions, usage, inventory, Collectors::ALL, NODE)
}

fn numbers(found: &Found) -> Vec<(u8, f64)> {
    let rows = found.pods.iter();
    rows.map(|row| (row.uid.as_bytes()[0], row.value)).collect()
}

#[test]
fn the_largest_of_this_node_are_told_by_the_names_of_the_api_server() {
    let (inventory, usage) = node([
        (pod(1, "a"), millicores(10.0)),
        (pod(2, "b"), millicores(300.0)),
        (pod(3, "a"), millicores(20.000_4)),
        (pod(4, "a"), Figures::default()),
        (pod(5, "b"), millicores(10.0)),
        // More than the node has.
        (pod(6, "b"), millicores(1e6)),
    ]);
    let mut in_a = question(9, Asked::Pods, Metric::Millicores, 10);
    in_a.namespace = Some("a".into());
    let all = question(8, Asked::Pods, Metric::Millicores, 3);
    let later = question(7, Asked::Other, Metric::Millicores, 3);
    let unknown = Question {
        metric: "of_next_year".into(),
        ..all.clone()
    };
    let found = answers(&[in_a, unknown, later, all], &inventory, &usage);
    let [first, second] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((first.id, second.id), (9, 8));
    assert_eq!(numbers(first), [(3, 20.0), (1, 10.0)]);
    assert_eq!(
        numbers(second),
        [(2, 300.0), (3, 20.0), (1, 10.0)],
        "of equal ones the first by namespace"
    );
    assert_eq!(
        (&*first.pods[0].namespace, &*first.pods[0].name),
        ("a", "web-003")
    );
}

#[test]
fn nothing_is_done_for_nobody_or_before_there_are_rates() {
    let (inventory, mut usage) = node([(pod(1, "a"), millicores(10.0))]);
    assert_eq!(answers(&[], &inventory, &usage), []);
    usage.interval = None;
    let asked = question(1, Asked::Pods, Metric::Millicores, 3);
    assert_eq!(answers(&[asked], &inventory, &usage), []);
}

#[test]
fn a_node_has_its_own_figures_or_the_sum_of_its_pods() {
    let used = |sent| Figures {
        network: Some(Network {
            received: 0.0,
            sent,
        }),
        ..millicores(1.0)
    };
    let mut on_the_host = pod(3, "a");
    on_the_host.host_network = true;
    let (inventory, usage) = node([
        (pod(1, "a"), used(5.0)),
        (pod(2, "b"), used(7.0)),
        (on_the_host, used(100.0)),
    ]);
    let of = |metric| {
        let found = answers(&[question(1, Asked::Node, metric, 1)], &inventory, &usage);
        assert!(found[0].pods.is_empty());
        found[0].node
    };
    assert_eq!(of(Metric::Millicores), Some(700.0));
    assert_eq!(of(Metric::Memory), Some(5000.0));
    assert_eq!(of(Metric::Processes), Some(30.0));
    assert_eq!(of(Metric::Threads), Some(90.0));
    assert_eq!(of(Metric::NetworkSent), Some(12.0));
    assert_eq!(of(Metric::OomKills), None, "known of no pod");
}

#[test]
fn who_counts_http_knows_of_every_code() {
    let (inventory, mut usage) = node([
        (pod(1, "a"), millicores(1.0)),
        (pod(2, "a"), millicores(1.0)),
    ]);
    let errors = question(1, Asked::Pods, Metric::HttpClass(5), 9);
    assert_eq!(
        numbers(&answers(std::slice::from_ref(&errors), &inventory, &usage)[0]),
        []
    );
    usage.http.counted = true;
    let rates = HttpRates {
        requests: Some(2.0),
        ..HttpRates::default()
    };
    usage.http.pods.insert("cgroup-2".into(), rates);
    let found = answers(&[errors], &inventory, &usage);
    assert_eq!(numbers(&found[0]), [(1, 0.0), (2, 0.0)]);
}

#[test]
fn a_question_is_answered_for_as_long_as_replies_say_it() {
    let now = Instant::now();
    let after = |seconds| now + Duration::from_secs(seconds);
    let five = Duration::from_secs(5);
    let many = vec![question(1, Asked::Pods, Metric::Rss, 3); MAX_QUESTIONS + 1];
    let heard = Questions::heard(many, five, now);
    assert_eq!(heard.at(after(14)).len(), MAX_QUESTIONS);
    assert!(heard.at(after(15)).is_empty());
    let none = Questions::heard(Vec::new(), five, now);
    assert!(none.at(now).is_empty());
    assert_eq!(none, Questions::default());
}

proptest! {
    /// No pod that is not told uses more than one that is, and all are told if there is room.
    #[test]
    fn what_is_told_is_the_largest(values in prop::collection::vec(0.0..5000.0f64, 0..60), most in 0..40u32) {
        let pods = values.iter().zip(0u8..).map(|(value, number)| {
            let namespace = if number.is_multiple_of(2) { "a" } else { "b" };
            (pod(number, namespace), millicores(*value))
        });
        let (inventory, usage) = node(pods);
        let found = answers(&[question(1, Asked::Pods, Metric::Millicores, most)], &inventory, &usage);
        let told = numbers(&found[0]);
        let room = (most as usize).min(MAX_ROWS);
        prop_assert_eq!(told.len(), values.len().min(room));
        let mut sorted: Vec<f64> = values.iter().map(|value| thousandth(*value)).collect();
        sorted.sort_by(|one, other| other.total_cmp(one));
        let of_told: Vec<f64> = told.iter().map(|(_, value)| *value).collect();
        prop_assert_eq!(&of_told[..], &sorted[..told.len()]);
    }
}
