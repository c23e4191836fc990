//! The Services of this node's pods, as `scope-totals` tells them: no agent watches the whole cluster for it.

use std::sync::Arc;
use std::time::Duration;

use scope_totals_wire::{MAX_MEMBERS, MAX_SERVICES, Members, Services};
use tokio::time::Instant;

/// The list as it came last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServiceList {
    version: u64,
    until: Instant,
    services: Arc<[Members]>,
}

impl ServiceList {
    /// What sums are made by from now on, by what was before and what a reply has of it. A service that knows
    /// nothing yet, as one that has just begun to lead, says nothing: until the list is no longer valid, this
    /// agent goes on. What is no longer so by then is not counted.
    pub(super) fn heard(
        before: Option<&ServiceList>,
        heard: Option<Services>,
        longest: Duration,
        now: Instant,
    ) -> Option<ServiceList> {
        let before = before.filter(|list| list.is_valid(now)).cloned();
        let Some(heard) = heard else {
            return before;
        };
        let until = now + Duration::from_millis(heard.valid_ms).min(longest);
        match (heard.services, before) {
            (Some(services), _) => Some(ServiceList {
                version: heard.version,
                until,
                services: within_bounds(services),
            }),
            (None, Some(known)) if known.version == heard.version => {
                Some(ServiceList { until, ..known })
            }
            // It is another list than this agent has; the next report says so.
            (None, before) => before,
        }
    }

    /// The version, for the next report.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether it may be used at this time.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        now < self.until
    }

    /// The Services.
    pub(super) fn services(&self) -> &[Members] {
        &self.services
    }
}

/// Whole Services, each once: a part of one's pods would make a wrong sum.
fn within_bounds(mut services: Vec<Members>) -> Arc<[Members]> {
    services.sort_by_key(|service| service.uid);
    services.dedup_by_key(|service| service.uid);
    services.truncate(MAX_SERVICES);
    let mut pods = 0;
    services.retain(|service| {
        pods += service.pods.len();
        pods <= MAX_MEMBERS
    });
    services.into()
}

#[cfg(test)]
mod tests {
    use scope_totals_wire::Uid;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(180);

    fn members(number: u16, pods: usize) -> Members {
        let mut uid = [0; 16];
        uid[..2].copy_from_slice(&number.to_be_bytes());
        Members {
            uid: Uid::from_bytes(uid),
            version: 5,
            pods: vec![Uid::from_bytes([1; 16]); pods],
        }
    }

    fn told(version: u64, valid_ms: u64, services: Option<Vec<Members>>) -> Option<Services> {
        Some(Services {
            version,
            valid_ms,
            services,
        })
    }

    #[test]
    fn a_list_is_used_until_it_is_over_or_another_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let heard = |before: Option<&ServiceList>, reply, ms| {
            ServiceList::heard(before, reply, LONGEST, at(ms))
        };
        let shown = |list: &Option<ServiceList>| {
            let list = list.as_ref().expect("a list");
            (list.version, list.services.len(), list.until)
        };
        assert_eq!(heard(None, None, 0), None);
        assert_eq!(heard(None, told(7, 9000, None), 0), None, "not known here");
        let first = heard(None, told(7, 9000, Some(vec![members(1, 1)])), 0);
        assert_eq!(shown(&first), (7, 1, at(9000)));
        let same = heard(first.as_ref(), told(7, 9000, None), 5000);
        assert_eq!(shown(&same), (7, 1, at(14_000)), "valid for longer");
        let silent = heard(same.as_ref(), None, 6000);
        assert_eq!(shown(&silent), (7, 1, at(14_000)), "it knows nothing yet");
        let strange = heard(same.as_ref(), told(8, 9000, None), 6000);
        assert_eq!(shown(&strange), (7, 1, at(14_000)));
        assert_eq!(heard(same.as_ref(), None, 14_000), None);
        assert_eq!(heard(same.as_ref(), told(7, 9000, None), 14_000), None);
        let none = heard(same.as_ref(), told(8, u64::MAX, Some(Vec::new())), 6000);
        assert_eq!(shown(&none), (8, 0, at(186_000)));
    }

    #[test]
    fn there_is_an_end_and_no_service_is_cut() {
        let heard = |services: Vec<Members>| {
            let told = told(1, 1000, Some(services));
            let list = ServiceList::heard(None, told, LONGEST, Instant::now());
            list.expect("a list").services
        };
        let many = (0..2000).map(|number| members(number, 1)).collect();
        assert_eq!(heard(many).len(), MAX_SERVICES);
        let large = vec![members(1, MAX_MEMBERS - 1), members(2, 2), members(2, 1)];
        let kept = heard(large);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].pods.len(), MAX_MEMBERS - 1);
        assert_eq!(heard(vec![members(2, 2), members(2, 1)])[0].pods.len(), 2);
    }
}
