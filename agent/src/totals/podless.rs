//! The controllers that have no pod on any node, as far as this agent is to draw them.

use std::sync::Arc;
use std::time::Duration;

use scope_protocol::Topology;
use scope_totals_wire::{Controller, Kind, MAX_PODLESS, Podless};
use tokio::time::Instant;

/// Characters of a name of Kubernetes at most.
const MAX_NAME: usize = 253;

/// The list as it came last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PodlessList {
    version: u64,
    until: Instant,
    controllers: Arc<[Controller]>,
}

impl PodlessList {
    /// What is to be drawn from now on, by what was before and what a reply has of it. An agent that is not
    /// asked any more goes on until its list is no longer valid, so that nothing flickers while another
    /// takes over.
    pub(super) fn heard(
        before: Option<&PodlessList>,
        heard: Option<Podless>,
        longest: Duration,
        now: Instant,
    ) -> Option<PodlessList> {
        let before = before.filter(|list| list.is_valid(now)).cloned();
        let Some(heard) = heard else {
            return before;
        };
        let until = now + Duration::from_millis(heard.valid_ms).min(longest);
        match (heard.objects, before) {
            (Some(objects), _) => Some(PodlessList {
                version: heard.version,
                until,
                controllers: objects
                    .into_iter()
                    .filter(is_possible)
                    .take(MAX_PODLESS)
                    .collect(),
            }),
            (None, Some(known)) if known.version == heard.version => {
                Some(PodlessList { until, ..known })
            }
            // It is another list than this agent has; the next report says so.
            (None, before) => before,
        }
    }

    /// The version, for the next report.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether it may be shown at this time.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        now < self.until
    }

    /// The controllers.
    pub(super) fn controllers(&self) -> &[Controller] {
        &self.controllers
    }
}

/// The topology of a controller that can be without pods; `None` of kinds that are not drawn.
pub fn podless_topology(kind: Kind) -> Option<Topology> {
    match kind {
        Kind::Deployment => Some(Topology::Deployment),
        Kind::StatefulSet => Some(Topology::StatefulSet),
        Kind::DaemonSet => Some(Topology::DaemonSet),
        Kind::CronJob => Some(Topology::CronJob),
        Kind::Job | Kind::Service | Kind::Image | Kind::Other => None,
    }
}

/// Whether it is of a kind that is drawn, with names as Kubernetes gives them.
fn is_possible(controller: &Controller) -> bool {
    let is_name = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_part)
    };
    podless_topology(controller.kind).is_some()
        && is_name(&controller.name)
        && is_name(&controller.namespace)
}

#[cfg(test)]
mod tests {
    use scope_totals_wire::Uid;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(180);

    fn controller(number: u16, kind: Kind, name: &str) -> Controller {
        let mut uid = [0; 16];
        uid[..2].copy_from_slice(&number.to_be_bytes());
        Controller {
            kind,
            uid: Uid::from_bytes(uid),
            name: name.into(),
            namespace: "shop".into(),
            namespace_uid: Uid::from_bytes([9; 16]),
        }
    }

    fn podless(version: u64, valid_ms: u64, objects: Option<Vec<Controller>>) -> Option<Podless> {
        Some(Podless {
            version,
            valid_ms,
            objects,
            left_out: 0,
        })
    }

    #[test]
    fn a_list_is_drawn_until_it_is_over_or_another_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let heard = |before: Option<&PodlessList>, reply, ms| {
            PodlessList::heard(before, reply, LONGEST, at(ms))
        };
        let told = |list: &Option<PodlessList>| {
            let list = list.as_ref().expect("a list");
            (list.version, list.controllers.len(), list.until)
        };
        assert_eq!(heard(None, None, 0), None);
        assert_eq!(
            heard(None, podless(7, 9000, None), 0),
            None,
            "not known here"
        );

        let one = Some(vec![controller(1, Kind::CronJob, "night")]);
        let first = heard(None, podless(7, 9000, one), 0);
        assert_eq!(told(&first), (7, 1, at(9000)));
        let same = heard(first.as_ref(), podless(7, 9000, None), 5000);
        assert_eq!(told(&same), (7, 1, at(14_000)), "valid for longer");
        let silent = heard(same.as_ref(), None, 6000);
        assert_eq!(
            told(&silent),
            (7, 1, at(14_000)),
            "another one draws it now"
        );
        let strange = heard(same.as_ref(), podless(8, 9000, None), 6000);
        assert_eq!(told(&strange), (7, 1, at(14_000)));
        assert_eq!(heard(same.as_ref(), None, 14_000), None);
        assert_eq!(heard(same.as_ref(), podless(7, 9000, None), 14_000), None);

        let none = heard(same.as_ref(), podless(8, u64::MAX, Some(Vec::new())), 6000);
        assert_eq!(told(&none), (8, 0, at(186_000)));
    }

    #[test]
    fn what_cannot_be_is_not_drawn_and_there_is_an_end() {
        let long = "x".repeat(MAX_NAME + 1);
        let objects = [
            (Kind::Deployment, "web"),
            (Kind::Job, "once"),
            (Kind::Other, "later"),
            (Kind::StatefulSet, ""),
            (Kind::StatefulSet, "a\nb"),
            (Kind::DaemonSet, "a;<pod>"),
            (Kind::DaemonSet, &long),
            (Kind::CronJob, "db.backup-1"),
        ];
        let objects = objects.map(|(kind, name)| controller(1, kind, name));
        let heard = |objects| {
            PodlessList::heard(
                None,
                podless(1, 1000, Some(objects)),
                LONGEST,
                Instant::now(),
            )
            .expect("a list")
        };
        let list = heard(objects.into());
        let names: Vec<&str> = list.controllers().iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["web", "db.backup-1"]);
        let many = (0..600).map(|n| controller(n, Kind::Deployment, "web"));
        assert_eq!(heard(many.collect()).controllers().len(), MAX_PODLESS);
    }
}
