//! What uses most of something: what people ask ([`Top`]), and what agents are asked for it ([`Question`]).
//!
//! Agents report by controller and Service, and nothing by pod. While somebody asks about pods or nodes, the replies
//! carry the question, and each agent answers it in its next report with the largest of its own node alone: the
//! largest of all nodes are among these.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    bounds::{Bad, at_most, text},
    metric::Metric,
    report::{Kind, Report},
    uid::Uid,
};

/// Where people ask, through the API server's proxy of Services.
pub const TOP_PATH: &str = "/v1/top";
/// The header with their token. The API server passes no `Authorization` on, nor anybody's name.
pub const TOKEN_HEADER: &str = "x-scope-token";
/// Questions that an agent is asked at once.
pub const MAX_QUESTIONS: usize = 4;
/// Rows of an answer: what a person reads at a glance.
pub const MAX_ROWS: usize = 32;
/// Rows where nothing is said of it.
pub const ROWS: usize = 10;
/// Characters of the name of a pod or namespace, as Kubernetes has it.
pub const MAX_NAME: usize = 253;
/// Characters of a metric's ID.
pub const MAX_METRIC: usize = 64;

/// What an agent is asked beside its sums. It answers in each report for as long as replies say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// For the answer.
    pub id: u64,
    /// What it is of.
    pub of: Asked,
    /// The [ID](Metric::id) of a metric. Who does not know it does not answer.
    pub metric: String,
    /// Only pods of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// So many pods at most, at most [`MAX_ROWS`].
    pub most: u32,
}

/// What a question is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Asked {
    /// The pods of the node that use most.
    Pods,
    /// The node as a whole.
    Node,
    /// A word of a later version: it is not answered.
    #[serde(other)]
    Other,
}

/// An agent's answer, of the sample that its report is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The question's.
    pub id: u64,
    /// The pods with the largest values, each of which was measured and has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodFigure>,
    /// What the node uses: of CPU, memory, processes and threads its own figure, and otherwise the sum over those of its
    /// pods of which it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<f64>,
}

/// What one pod uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodFigure {
    /// Its UID, as the API server has it.
    pub uid: Uid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The value.
    pub value: f64,
}

/// What people may ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopOf {
    /// Pods.
    Pods,
    /// Deployments, StatefulSets, DaemonSets and CronJobs.
    Controllers,
    /// Of apps/v1.
    Deployments,
    /// Of apps/v1.
    StatefulSets,
    /// Of apps/v1.
    DaemonSets,
    /// Of batch/v1.
    CronJobs,
    /// Services.
    Services,
    /// Nodes.
    Nodes,
}

impl TopOf {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pods,
        Self::Controllers,
        Self::Deployments,
        Self::StatefulSets,
        Self::DaemonSets,
        Self::CronJobs,
        Self::Services,
        Self::Nodes,
    ];

    /// The word of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Controllers => "controllers",
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::DaemonSets => "daemonsets",
            Self::CronJobs => "cronjobs",
            Self::Services => "services",
            Self::Nodes => "nodes",
        }
    }
}

impl fmt::Display for TopOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What people are answered, with status 200.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// The plugin whose agents measured.
    pub plugin: String,
    /// What the rows are of.
    pub of: TopOf,
    /// The [ID](Metric::id) of the metric.
    pub metric: String,
    /// The [unit](Metric::unit) of the values.
    pub unit: String,
    /// Where only one namespace was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// So many rows there may be.
    pub limit: u32,
    /// When it was put together, in milliseconds since 1970 by the service's clock: of controllers and Services the
    /// [date of the totals](crate::Reply::at_ms). No sample in it is older than three intervals.
    pub at_ms: i64,
    /// Whose figures are in it.
    pub nodes: Answered,
    /// Controllers or Services that have pods and no total of this metric at present, as when a node with a pod of
    /// theirs is silent.
    pub left_out: u32,
    /// The largest first; of equal ones in the order of namespaces and names.
    pub rows: Vec<TopRow>,
}

/// How many nodes an answer is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Nodes whose agent said something within three intervals.
    pub answered: u32,
    /// Nodes that there are.
    pub of: u32,
}

/// One of those that use most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopRow {
    /// Of controllers and Services: what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Its namespace; of a node nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its UID; of a node nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Of a pod: the node that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Of controllers and Services: [their pods](crate::Total::pods).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<u32>,
    /// And [how many of them](crate::Total::counted) the value is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u32>,
    /// What it uses.
    pub value: f64,
}

impl Metric {
    /// What its values count.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Millicores => "millicores",
            Self::Memory | Self::MemoryLimit | Self::Rss => "bytes",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::OpenFiles => "files",
            Self::OomKills => "kills",
            Self::NetworkReceived | Self::NetworkSent | Self::DiskRead | Self::DiskWritten => {
                "bytes/s"
            }
            Self::BlockDelay => "ms/s",
            Self::HttpRequests => "requests/s",
            Self::HttpClass(_) | Self::HttpCode(_) | Self::HttpOthers => "responses/s",
            Self::Http2Connections => "connections/s",
        }
    }
}

impl Report {
    /// Removes the answers if they are not within their bounds, and says why: the sums count all the same.
    pub fn remove_bad_answers(&mut self) -> Option<Bad> {
        let bad = check(&self.top).err()?;
        self.top.clear();
        Some(bad)
    }
}

/// Whether answers are within their bounds. What the values may be depends on the question.
fn check(answers: &[Found]) -> Result<(), Bad> {
    at_most("answers", answers.len(), MAX_QUESTIONS)?;
    for found in answers {
        at_most("rows of an answer", found.pods.len(), MAX_ROWS)?;
        for row in &found.pods {
            text("the namespace of a pod", &row.namespace, MAX_NAME)?;
            text("the name of a pod", &row.name, MAX_NAME)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Node, Reply};

    fn report() -> Report {
        Report {
            version: crate::VERSION,
            boot: "b".into(),
            sequence: 1,
            sampled: None,
            node: Node { cpus: 1, memory: 1 },
            objects: Vec::new(),
            podless: None,
            server_away: false,
            watched: None,
            services: None,
            health: None,
            top: vec![Found {
                id: u64::MAX,
                pods: vec![PodFigure {
                    uid: Uid::from_bytes([1; 16]),
                    namespace: "apps".into(),
                    name: "web-1".into(),
                    value: 1.5,
                }],
                node: Some(2.0),
            }],
        }
    }

    #[test]
    fn answers_out_of_bounds_go_alone() {
        type Change = fn(&mut Vec<Found>);
        let changes: [(&str, Change); 5] = [
            ("answers", |top| {
                *top = vec![top[0].clone(); MAX_QUESTIONS + 1]
            }),
            ("rows", |top| {
                top[0].pods = vec![top[0].pods[0].clone(); MAX_ROWS + 1];
            }),
            ("no name", |top| top[0].pods[0].name.clear()),
            ("long name", |top| {
                top[0].pods[0].name = "x".repeat(MAX_NAME + 1)
            }),
            ("odd namespace", |top| {
                top[0].pods[0].namespace = "a\u{1b}[2J".into();
            }),
        ];
        let mut good = report();
        assert_eq!(good.remove_bad_answers(), None);
        assert_eq!(good, report());
        for (what, change) in changes {
            let mut changed = report();
            change(&mut changed.top);
            assert_eq!(changed.check(), Ok(()), "{what}: the sums count");
            assert!(changed.remove_bad_answers().is_some(), "{what}");
            assert_eq!(changed.top, [], "{what}");
        }
    }

    #[test]
    fn who_does_not_know_of_it_says_and_hears_nothing() {
        let mut quiet = report();
        quiet.top.clear();
        let text = serde_json::to_string(&quiet).unwrap();
        assert!(!text.contains("top"), "{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), quiet);
        let reply = r#"{"version":1,"fate":"Taken","stamp":"1-2","interval_ms":5000,"at_ms":1,"totals":[]}"#;
        let read: Reply = serde_json::from_str(reply).unwrap();
        assert_eq!(read.top, []);
        assert_eq!(serde_json::to_string(&read).unwrap(), reply);
        let later = r#"{"id":1,"of":"Volumes","metric":"of_next_year","most":3,"more":{}}"#;
        let later: Question = serde_json::from_str(later).unwrap();
        assert_eq!(
            (later.of, Metric::from_id(&later.metric)),
            (Asked::Other, None)
        );
    }

    #[test]
    fn words_are_those_of_the_answer() {
        for of in TopOf::ALL {
            let word = serde_json::to_value(of).unwrap();
            assert_eq!(word, of.as_str());
        }
    }
}
