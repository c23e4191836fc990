//! How the probe thins out what it publishes.
//!
//! A probe spies every second and publishes every three: the spied reports of the interval merged.
//! Since 1.11.6 only every third publish is complete; the ones between are reduced by what the last
//! complete one said already. The app keeps fifteen seconds of them, so that the parts add up again.

use std::collections::BTreeMap;

use crate::report::{Death, Node, Report, Topology};

/// Complete publishes among all, as Scope's default has it.
pub const FULL_REPORT_EVERY: u32 = 3;

/// Collects spied reports until the next publish.
#[derive(Debug)]
pub struct Publisher {
    /// One in so many publishes is complete; 1 stands for a probe older than 1.11.6.
    full_every: u32,
    spied: Option<Report>,
    count: u32,
    last_full: Report,
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new(FULL_REPORT_EVERY)
    }
}

impl Publisher {
    /// A publisher that has not published yet; `full_every` of 0 counts as 1.
    pub fn new(full_every: u32) -> Self {
        Self {
            full_every: full_every.max(1),
            spied: None,
            count: 0,
            last_full: Report::empty(),
        }
    }

    /// Adds what was spied in one tick.
    ///
    /// # Errors
    ///
    /// Two nodes of one key that name different topologies.
    pub fn spied(&mut self, report: Report) -> Result<(), Death> {
        match &mut self.spied {
            Some(spied) => spied.merge(report),
            None => {
                self.spied = Some(report);
                Ok(())
            }
        }
    }

    /// What leaves the probe now; nothing if nothing was spied since the last time.
    pub fn publish(&mut self) -> Option<Report> {
        let mut report = self.spied.take()?;
        if self.count.is_multiple_of(self.full_every) {
            self.last_full = report.clone();
        } else {
            reduce(&mut report, &self.last_full);
        }
        self.count = self.count.wrapping_add(1);
        Some(report)
    }

    /// The app could not be reached: the next publish is complete.
    pub fn failed(&mut self) {
        self.count = 0;
    }
}

/// Takes out of a report what another one has already. Controls, names and plugins stay.
fn reduce(report: &mut Report, full: &Report) {
    for ((_, ours), (_, theirs)) in report.topologies_mut().zip(full.topologies()) {
        reduce_topology(ours, theirs);
    }
}

fn reduce_topology(ours: &mut Topology, theirs: &Topology) {
    if ours.shape == theirs.shape {
        ours.shape.clear();
    }
    if ours.label == theirs.label && ours.label_plural == theirs.label_plural {
        ours.label.clear();
        ours.label_plural.clear();
    }
    if ours.tag == theirs.tag {
        ours.tag.clear();
    }
    ours.nodes.retain(|key, node| match theirs.nodes.get(key) {
        Some(known) => !reduce_node(node, known),
        None => true,
    });
    // Templates are taken to be constant, whatever they are.
    ours.metadata_templates = BTreeMap::new();
    ours.metric_templates = BTreeMap::new();
    ours.table_templates = BTreeMap::new();
}

/// Empties each section that is unchanged, and says whether nothing is left. Values count without
/// their stamps, and one that differs keeps all of them.
fn reduce_node(node: &mut Node, known: &Node) -> bool {
    if node.id != known.id || node.topology != known.topology {
        return false;
    }
    node.id.clear();
    node.topology.clear();
    let mut all = true;
    let mut drop_if = |same: bool, clear: &mut dyn FnMut()| {
        if same {
            clear();
        } else {
            all = false;
        }
    };
    let same = node.latest.len() == known.latest.len()
        && node
            .latest
            .iter()
            .zip(&known.latest)
            .all(|((key, entry), (other, known))| key == other && entry.value == known.value);
    drop_if(same, &mut || node.latest.clear());
    let same = node.latest_controls.len() == known.latest_controls.len()
        && node
            .latest_controls
            .iter()
            .zip(&known.latest_controls)
            .all(|((id, control), (other, known))| id == other && control.dead == known.dead);
    drop_if(same, &mut || node.latest_controls.clear());
    drop_if(node.sets == known.sets, &mut || node.sets.clear());
    drop_if(node.parents == known.parents, &mut || node.parents.clear());
    drop_if(node.adjacency == known.adjacency, &mut || {
        node.adjacency.clear();
    });
    all && node.metrics.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::report::{Metric, MetricTemplate, Sample};
    use crate::stamp::Stamp;
    use std::time::Duration;

    fn at(second: u64) -> Stamp {
        Stamp::ZERO.plus(Duration::from_secs(second))
    }

    fn spy(second: u64) -> Report {
        let mut report = Report::empty();
        let pods = report.topology_mut(Kind::Pod);
        let template = MetricTemplate {
            id: "m".to_owned(),
            ..MetricTemplate::default()
        };
        pods.metric_templates.insert("m".to_owned(), template);
        let mut constant = Node::new("constant").with_latest("k", at(second), "same");
        constant.topology = "pod".to_owned();
        let mut measured = Node {
            id: "measured".to_owned(),
            ..constant.clone()
        };
        let samples = vec![Sample {
            date: at(second),
            value: 1.0,
        }];
        let metric = Metric {
            samples,
            ..Metric::default()
        };
        measured.metrics.insert("m".to_owned(), metric);
        let mut changing = constant
            .clone()
            .with_latest("tick", at(second), &second.to_string());
        changing.id = "changing".to_owned();
        for node in [constant, measured, changing] {
            pods.nodes.insert(node.id.clone(), node);
        }
        report
    }

    #[test]
    fn every_third_publish_is_complete() {
        let mut publisher = Publisher::default();
        assert_eq!(publisher.publish(), None, "nothing was spied");
        for round in 0..9 {
            for second in 0..3 {
                publisher.spied(spy(round * 3 + second)).unwrap();
            }
            let report = publisher.publish().unwrap();
            let pods = report.topology(Kind::Pod);
            let complete = round % 3 == 0;
            assert_eq!(pods.nodes.contains_key("constant"), complete, "{round}");
            assert_eq!(pods.metric_templates.is_empty(), !complete);
            let measured = &pods.nodes["measured"];
            assert_eq!(measured.metrics["m"].samples.len(), 3);
            assert_eq!(
                (measured.id.is_empty(), measured.latest.is_empty()),
                (!complete, !complete)
            );
            assert_eq!(pods.nodes["changing"].latest.len(), 2);
        }
    }

    #[test]
    fn a_failed_publish_makes_the_next_one_complete() {
        let mut publisher = Publisher::default();
        for failed in [false, true, false] {
            publisher.spied(spy(0)).unwrap();
            let report = publisher.publish().unwrap();
            let complete = report.topology(Kind::Pod).nodes.contains_key("constant");
            assert_eq!(complete, !failed);
            if failed {
                publisher.failed();
            }
        }
    }
}
