//! How much there may be of everything, and the check of it.

use crate::{
    VERSION,
    health::Health,
    metric::Metric,
    report::{Node, Partial, Report},
};

/// Bytes of a report. One of a node with 110 pods, each of a controller of its own, takes some 50 KiB.
pub const MAX_BODY: usize = 512 << 10;
/// Bytes of a reply.
pub const MAX_REPLY: usize = 2 << 20;
/// Objects in a report: two controllers for each of 500 pods, and a few; and the Services. Images have what is left.
pub const MAX_OBJECTS: usize = 1024 + MAX_SERVICES;
/// Services with pods on a node: one for each of 500 pods, and a few.
pub const MAX_SERVICES: usize = 512;
/// Pods in the list of a node's Services, one in several of them counted for each: 500 pods in eight
/// Services each. Some 160 KB of text.
pub const MAX_MEMBERS: usize = 4096;
/// Images in a report, where controllers and Services leave room: on average one for each of 500 pods.
pub const MAX_IMAGES: usize = 512;
/// Values of an object: what there is besides HTTP, and 32 status codes.
pub const MAX_VALUES: usize = 64;
/// Pods on a node; the kubelet's default is 110.
pub const MAX_PODS: u32 = 10_000;
/// Controllers without pods in a reply: what a person can still find on a map. Some 100 KB of text, and 260 KB
/// where all names are as long as they can be.
pub const MAX_PODLESS: usize = 500;
/// Collectors that are off, in a report and in what the operator hears: there are five, and some have parts.
pub const MAX_OFF: usize = 16;
/// Characters of the name of a collector and of an agent's version.
pub const MAX_WORD: usize = 64;
/// Characters of a reason.
pub const MAX_WHY: usize = 256;
/// Bytes of what an agent says of itself: as much as it may, were each character written as an escape.
pub(crate) const MAX_HEALTH: usize = 32 << 10;
/// Names of silent nodes that the operator hears of a plugin: enough to begin with.
pub const MAX_SILENT: usize = 10;
/// Versions that the operator hears of a plugin: an upgrade has two.
pub const MAX_VERSIONS: usize = 8;
/// Bytes of what the operator hears. Some 30 KB of a plugin at most, and 64 plugins report at most.
pub const MAX_FLEET: usize = 4 << 20;
/// Characters of a boot ID.
pub const MAX_BOOT: usize = 64;
/// Characters of a stamp.
pub const MAX_STAMP: usize = 64;
/// CPUs of a node: what Linux can have.
pub const MAX_CPUS: u32 = 8192;
/// Bytes of a node's memory.
pub const MAX_MEMORY: u64 = 1 << 50;

/// What is wrong with a report.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Bad {
    /// Of another version.
    #[error(
        "the report has version {0}, and this service speaks {VERSION}: bring agents and operator to the \
         same release"
    )]
    Version(u32),
    /// No boot ID as wanted.
    #[error("the boot ID is not 1 to {MAX_BOOT} letters, digits and dashes")]
    Boot,
    /// Not a stamp that a service ever made.
    #[error("the stamp has more than {MAX_STAMP} characters")]
    Stamp,
    /// A node that cannot be.
    #[error(
        "the node has no CPU, no memory, or more than {MAX_CPUS} CPUs or {MAX_MEMORY} bytes: report what \
         /proc says"
    )]
    Node,
    /// Too long a list.
    #[error("there are {count} {what}, and {most} may be reported")]
    Many {
        /// What the list is of.
        what: &'static str,
        /// Its length.
        count: usize,
        /// What it may be.
        most: usize,
    },
    /// Too many pods.
    #[error("{object} has {counted} pods on one node, and {MAX_PODS} may be reported")]
    Pods {
        /// The UID.
        object: String,
        /// What was reported.
        counted: u32,
    },
    /// A sum that cannot be.
    #[error("{metric} of {object} is {value}: not a number from 0 to what a node can do")]
    Value {
        /// The UID.
        object: String,
        /// The metric's ID.
        metric: String,
        /// What was reported.
        value: f64,
    },
    /// Values of nothing.
    #[error("{0} has values but no pods that were counted")]
    OfNoPods(String),
    /// The same object again.
    #[error("{0} is reported twice")]
    Twice(String),
    /// A text that is too long, missing, or no text.
    #[error("{what} is not 1 to {most} characters without control characters among them")]
    Text {
        /// What it is of.
        what: &'static str,
        /// How long it may be.
        most: usize,
    },
    /// A cost that cannot be.
    #[error(
        "the agent says that it takes {0} millicores: not a number from 0 to what a node can do"
    )]
    Millicores(f64),
    /// A cost that cannot be.
    #[error("the agent says that it takes {0} bytes of memory, and {MAX_MEMORY} may be reported")]
    Memory(u64),
}

impl Report {
    /// Removes what the agent says of itself if that is not within its bounds, and says why: its sums count
    /// all the same.
    pub fn remove_bad_health(&mut self) -> Option<Bad> {
        let bad = self.health.as_ref()?.check().err()?;
        self.health = None;
        Some(bad)
    }

    /// Whether everything in it but the [health](Report::remove_bad_health) is within its bounds.
    pub fn check(&self) -> Result<(), Bad> {
        if self.version != VERSION {
            return Err(Bad::Version(self.version));
        }
        let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(1..=MAX_BOOT).contains(&self.boot.len()) || !self.boot.bytes().all(name) {
            return Err(Bad::Boot);
        }
        if let Some(sampled) = &self.sampled
            && sampled.stamp.0.len() > MAX_STAMP
        {
            return Err(Bad::Stamp);
        }
        if !(1..=MAX_CPUS).contains(&self.node.cpus)
            || !(1..=MAX_MEMORY).contains(&self.node.memory)
        {
            return Err(Bad::Node);
        }
        at_most("objects", self.objects.len(), MAX_OBJECTS)?;
        for partial in &self.objects {
            let object = || partial.uid.to_string();
            at_most("values", partial.values.len(), MAX_VALUES)?;
            if partial.counted > MAX_PODS {
                let counted = partial.counted;
                return Err(Bad::Pods {
                    object: object(),
                    counted,
                });
            }
            if partial.counted == 0 && !partial.values.is_empty() {
                return Err(Bad::OfNoPods(object()));
            }
            for (metric, value) in partial.values.iter() {
                if !(0.0..=self.node.most(metric)).contains(&value) {
                    return Err(Bad::Value {
                        object: object(),
                        metric: metric.id().into_owned(),
                        value,
                    });
                }
            }
        }
        // As agents send them.
        let is_in_order = |pair: &[Partial]| pair[0].object() < pair[1].object();
        if self.objects.windows(2).all(is_in_order) {
            return Ok(());
        }
        let mut uids: Vec<_> = self.objects.iter().map(Partial::object).collect();
        uids.sort_unstable();
        match uids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Bad::Twice(pair[0].uid.to_string())),
            None => Ok(()),
        }
    }
}

impl Node {
    /// What the pods of one object on this node can use at most. Rates are of intervals that are never
    /// measured quite exactly, so there is twice the room.
    pub fn most(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Millicores => 2000.0 * f64::from(self.cpus),
            Metric::Memory => 2.0 * self.memory as f64,
            metric => metric.ceiling(),
        }
    }
}

impl Health {
    /// Whether everything in it is within its bounds.
    pub fn check(&self) -> Result<(), Bad> {
        at_most(
            "collectors that are off",
            self.collectors_off.len(),
            MAX_OFF,
        )?;
        for off in &self.collectors_off {
            text("the name of a collector", &off.collector, MAX_WORD)?;
            text("the reason of a collector", &off.why, MAX_WHY)?;
        }
        text("the agent's version", &self.version, MAX_WORD)?;
        if let Some(millicores) = self.millicores
            && !(0.0..=1000.0 * f64::from(MAX_CPUS)).contains(&millicores)
        {
            return Err(Bad::Millicores(millicores));
        }
        match self.memory {
            Some(memory) if memory > MAX_MEMORY => Err(Bad::Memory(memory)),
            _ => Ok(()),
        }
    }
}

/// What people read, so it may break no line and no terminal.
pub(crate) fn text(what: &'static str, text: &str, most: usize) -> Result<(), Bad> {
    let long = text.chars().nth(most).is_some();
    match text.is_empty() || long || text.chars().any(char::is_control) {
        true => Err(Bad::Text { what, most }),
        false => Ok(()),
    }
}

pub(crate) fn at_most(what: &'static str, count: usize, most: usize) -> Result<(), Bad> {
    if count > most {
        return Err(Bad::Many { what, count, most });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Off, Sampled, Stamp, Uid, Values};

    fn report() -> Report {
        Report {
            version: VERSION,
            boot: "7f3a-1".into(),
            sequence: 1,
            sampled: Some(Sampled {
                stamp: Stamp("1-2".into()),
                after_ms: 100,
            }),
            node: Node {
                cpus: 4,
                memory: 8 << 30,
            },
            objects: vec![partial(1, 2, [(Metric::Millicores, 1500.0)])],
            podless: Some(7),
            server_away: true,
            watched: Some(true),
            services: Some(8),
            health: Some(Health {
                asked_ms_ago: Some(900),
                collectors_off: vec![off("HTTPStatistics", &"é".repeat(MAX_WHY))],
                version: "0.1.0".into(),
                millicores: Some(4.5),
                memory: Some(20 << 20),
            }),
            top: Vec::new(),
        }
    }

    fn off(collector: &str, why: &str) -> Off {
        Off {
            collector: collector.into(),
            why: why.into(),
        }
    }

    fn partial<const N: usize>(uid: u8, counted: u32, values: [(Metric, f64); N]) -> Partial {
        Partial {
            kind: Kind::Deployment,
            uid: Uid::from_bytes([uid; 16]),
            counted,
            members: None,
            values: Values::from_iter(values),
        }
    }

    #[test]
    fn a_report_is_refused_for_anything_beyond_its_bounds() {
        assert_eq!(report().check(), Ok(()));
        type Change = fn(&mut Report);
        let changes: [(&str, Change); 15] = [
            ("version", |r| r.version = 2),
            ("no boot", |r| r.boot.clear()),
            ("long boot", |r| r.boot = "a".repeat(MAX_BOOT + 1)),
            ("odd boot", |r| r.boot = "a\n".into()),
            ("long stamp", |r| {
                r.sampled.as_mut().unwrap().stamp.0 = "1".repeat(MAX_STAMP + 1);
            }),
            ("no CPU", |r| r.node.cpus = 0),
            ("many CPUs", |r| r.node.cpus = u32::MAX),
            ("much memory", |r| r.node.memory = u64::MAX),
            ("pods", |r| r.objects[0].counted = u32::MAX),
            ("of no pods", |r| r.objects[0].counted = 0),
            ("twice", |r| r.objects.push(r.objects[0].clone())),
            ("objects", |r| {
                r.objects = vec![r.objects[0].clone(); MAX_OBJECTS + 1];
            }),
            ("more CPU than there is", |r| {
                r.objects[0] = partial(1, 1, [(Metric::Millicores, 8001.0)]);
            }),
            ("more memory than there is", |r| {
                r.objects[0] = partial(1, 1, [(Metric::Memory, (17_u64 << 30) as f64)]);
            }),
            ("infinite", |r| {
                r.objects[0] = partial(1, 1, [(Metric::Rss, f64::INFINITY)]);
            }),
        ];
        for (what, change) in changes {
            let mut changed = report();
            change(&mut changed);
            assert!(changed.check().is_err(), "{what}");
        }
        for value in [-1.0, f64::NAN, 1e300, f64::NEG_INFINITY, -f64::MIN_POSITIVE] {
            let mut changed = report();
            changed.objects[0] = partial(1, 1, [(Metric::HttpRequests, value)]);
            let bad = changed.check().unwrap_err();
            assert!(matches!(bad, Bad::Value { .. }), "{value}: {bad}");
        }
    }

    #[test]
    fn what_an_agent_says_of_itself_has_bounds_too() {
        type Change = fn(&mut Health);
        let changes: [(&str, Change); 12] = [
            ("collectors", |h| {
                h.collectors_off = vec![off("a", "b"); MAX_OFF + 1];
            }),
            ("no collector", |h| h.collectors_off[0].collector.clear()),
            ("long collector", |h| {
                h.collectors_off[0].collector = "x".repeat(MAX_WORD + 1);
            }),
            ("odd collector", |h| {
                h.collectors_off[0].collector = "a\u{1b}[2J".into();
            }),
            ("no reason", |h| h.collectors_off[0].why.clear()),
            ("long reason", |h| {
                h.collectors_off[0].why = "x".repeat(MAX_WHY + 1);
            }),
            ("lines", |h| h.collectors_off[0].why = "a\nb".into()),
            ("no version", |h| h.version.clear()),
            ("long version", |h| h.version = "1".repeat(MAX_WORD + 1)),
            ("no number", |h| h.millicores = Some(f64::NAN)),
            ("negative", |h| h.millicores = Some(-1.0)),
            ("much memory", |h| h.memory = Some(u64::MAX)),
        ];
        for (what, change) in changes {
            let mut changed = report();
            change(changed.health.as_mut().unwrap());
            assert_eq!(changed.check(), Ok(()), "{what}: the sums count");
            assert!(changed.remove_bad_health().is_some(), "{what}");
            assert_eq!(changed.health, None, "{what}");
        }
        let mut all = report();
        let health = all.health.as_mut().unwrap();
        health.collectors_off = vec![off(&"x".repeat(MAX_WORD), "b"); MAX_OFF];
        health.asked_ms_ago = Some(u64::MAX);
        (health.millicores, health.memory) = (None, None);
        assert_eq!(all.remove_bad_health(), None);
        assert!(all.health.is_some());
    }

    #[test]
    fn a_health_that_cannot_be_read_costs_nothing_but_itself() {
        use serde_json::json;
        for health in [
            json!(7),
            json!("fine"),
            json!([]),
            json!({}),
            json!({"version": 1}),
            json!({"version": "1", "asked_ms_ago": -1}),
            json!({"version": "1", "collectors_off": [{"collector": "IOWait"}]}),
        ] {
            let mut value = serde_json::to_value(report()).unwrap();
            value["health"] = health.clone();
            let mut read: Report = serde_json::from_value(value).unwrap();
            assert_eq!(read.check(), Ok(()), "{health}");
            assert!(read.remove_bad_health().is_some(), "{health}");
            assert_eq!(read.objects, report().objects, "{health}");
        }
        // Deeper than JSON is read, and as long as a report may be.
        let text = serde_json::to_string(&report()).unwrap();
        let health = serde_json::to_string(&report().health).unwrap();
        for odd in [
            "[".repeat(10_000) + &"]".repeat(10_000),
            format!("[{}0]", "[[0]],".repeat(70_000)),
        ] {
            let mut read: Report =
                serde_json::from_slice(text.replace(&health, &odd).as_bytes()).unwrap();
            assert!(read.remove_bad_health().is_some());
            assert_eq!(read.objects, report().objects);
        }
        let mut value = serde_json::to_value(report()).unwrap();
        value["health"] = json!(null);
        let mut read: Report = serde_json::from_value(value).unwrap();
        assert_eq!(read.remove_bad_health(), None);
        assert_eq!(read.health, None);
    }

    #[test]
    fn agents_and_services_from_before_lists_and_health_are_understood() {
        let mut value = serde_json::to_value(report()).unwrap();
        let fields = value.as_object_mut().unwrap();
        for field in ["podless", "services", "health"] {
            assert!(fields.remove(field).is_some(), "{field}");
        }
        let read: Report = serde_json::from_value(value).unwrap();
        assert_eq!(
            (read.podless, read.services, &read.health),
            (None, None, &None)
        );
        assert_eq!(read.check(), Ok(()));
        let reply = r#"{"version":1,"fate":"Taken","stamp":"1-2","interval_ms":5000,"at_ms":1,"totals":[]}"#;
        let read: crate::Reply = serde_json::from_str(reply).unwrap();
        assert_eq!((&read.podless, &read.services), (&None, &None));
        assert_eq!(serde_json::to_string(&read).unwrap(), reply);
    }

    #[test]
    fn what_is_written_is_read_and_what_is_new_is_passed_over() {
        let report = report();
        let mut value = serde_json::to_value(&report).unwrap();
        assert_eq!(
            serde_json::from_value::<Report>(value.clone()).unwrap(),
            report
        );
        value["of_next_year"] = 1.into();
        value["objects"][0]["kind"] = "PodGroup".into();
        let read: Report = serde_json::from_value(value).unwrap();
        assert_eq!(read.objects[0].kind, Kind::Other);
        assert_eq!(read.check(), Ok(()));
    }
}
