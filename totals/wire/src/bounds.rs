//! How much there may be of everything, and the check of it.

use crate::{
    VERSION,
    metric::Metric,
    report::{Node, Partial, Report},
};

/// Bytes of a report. One of a node with 110 pods, each of a controller of its own, takes some 50 KiB.
pub const MAX_BODY: usize = 512 << 10;
/// Bytes of a reply.
pub const MAX_REPLY: usize = 2 << 20;
/// Objects in a report: two for each of 500 pods, and a few.
pub const MAX_OBJECTS: usize = 1024;
/// Values of an object: what there is besides HTTP, and 32 status codes.
pub const MAX_VALUES: usize = 64;
/// Wanted objects in a report.
pub const MAX_WANTED: usize = 256;
/// Pods on a node; the kubelet's default is 110.
pub const MAX_PODS: u32 = 10_000;
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
}

impl Report {
    /// Whether everything in it is within its bounds.
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
        at_most("wanted objects", self.wanted.len(), MAX_WANTED)?;
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

fn at_most(what: &'static str, count: usize, most: usize) -> Result<(), Bad> {
    if count > most {
        return Err(Bad::Many { what, count, most });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Sampled, Stamp, Uid, Values};

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
            wanted: Vec::new(),
        }
    }

    fn partial<const N: usize>(uid: u8, counted: u32, values: [(Metric, f64); N]) -> Partial {
        Partial {
            kind: Kind::Deployment,
            uid: Uid::from_bytes([uid; 16]),
            counted,
            values: Values::from_iter(values),
        }
    }

    #[test]
    fn a_report_is_refused_for_anything_beyond_its_bounds() {
        assert_eq!(report().check(), Ok(()));
        type Change = fn(&mut Report);
        let changes: [(&str, Change); 16] = [
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
            ("wanted", |r| {
                r.wanted = vec![r.objects[0].object(); MAX_WANTED + 1];
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
