//! The controllers and Services that use most, of the totals that there are.

use scope_totals_wire::{Kind, Metric, Object, TopOf, TopRow, Uid};

use super::order;
use crate::census::{Census, Holdings, Name};

/// What is known of an object's total by one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totalled {
    /// Its pods.
    pub pods: u32,
    /// Those that the value is of.
    pub counted: u32,
    /// The value.
    pub value: f64,
}

/// The first `limit` of a kind, in the namespace or in all, by what `total` says of them; and how many there are that
/// have pods and no total. Jobs have no names here, and are in their CronJob.
pub fn controllers(
    census: &Census,
    holdings: &Holdings,
    of: TopOf,
    namespace: Option<&str>,
    limit: usize,
    total: impl Fn(Object) -> Option<Totalled>,
) -> (Vec<TopRow>, usize) {
    let mut found: Vec<(Totalled, Kind, Uid, &Name)> = Vec::new();
    let mut left_out = 0;
    let mut look = |kind, uid: Uid, name| {
        let object = Object { kind, uid };
        match total(object) {
            Some(total) => found.push((total, kind, uid, name)),
            None => left_out += usize::from(holdings.objects.get(&object).is_some()),
        }
    };
    let is_asked = |name: &Name| namespace.is_none_or(|namespace| *name.namespace == *namespace);
    let names = &census.controllers;
    for (kind, word, listed) in [
        (Kind::Deployment, TopOf::Deployments, &names.deployments),
        (Kind::StatefulSet, TopOf::StatefulSets, &names.stateful_sets),
        (Kind::DaemonSet, TopOf::DaemonSets, &names.daemon_sets),
        (Kind::CronJob, TopOf::CronJobs, &names.cron_jobs),
    ] {
        if of == word || of == TopOf::Controllers {
            let asked = listed.iter().filter(|(_, name)| is_asked(name));
            asked.for_each(|(uid, name)| look(kind, *uid, name));
        }
    }
    if of == TopOf::Services {
        let asked = census
            .services
            .names
            .iter()
            .filter(|(name, _)| is_asked(name));
        asked.for_each(|(name, uid)| look(Kind::Service, *uid, name));
    }
    found.sort_unstable_by(|(one, kind, _, name), (other, its_kind, _, its_name)| {
        let key = |total: &Totalled| total.value;
        order(
            (key(one), &name.namespace, &name.name),
            (key(other), &its_name.namespace, &its_name.name),
        )
        .then(kind.cmp(its_kind))
    });
    let row = |(total, kind, uid, name): &(Totalled, Kind, Uid, &Name)| TopRow {
        kind: Some(*kind),
        namespace: Some(name.namespace.as_ref().into()),
        name: name.name.as_ref().into(),
        uid: Some(*uid),
        node: None,
        pods: Some(total.pods),
        counted: Some(total.counted),
        value: total.value,
    };
    (found.iter().take(limit).map(row).collect(), left_out)
}

/// What a total says of a metric: of HTTP all is known where the requests are.
pub(crate) fn value(metric: Metric, of: impl Fn(Metric) -> Option<f64>) -> Option<f64> {
    let none_of_it = || {
        let is_known = metric.is_part_of_http() && of(Metric::HttpRequests).is_some();
        is_known.then_some(0.0)
    };
    of(metric).or_else(none_of_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::Place;

    fn uid(number: u8) -> Uid {
        Uid::from_bytes([number; 16])
    }

    fn name(namespace: &str, name: &str) -> Name {
        Name {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Two Deployments, a DaemonSet without a total, a CronJob without pods and a Service.
    fn world() -> (Census, Holdings) {
        let mut census = Census::default();
        let names = &mut census.controllers;
        names.deployments.put(uid(1), name("a", "web"));
        names.deployments.put(uid(2), name("b", "web"));
        names.daemon_sets.put(uid(3), name("a", "log"));
        names.cron_jobs.put(uid(4), name("a", "tidy"));
        census.services.names.put(name("a", "web"), uid(5));
        let place = |(kind, number)| {
            let uid = uid(number);
            (Object { kind, uid }, Place { node: 0, pods: 1 })
        };
        let objects = [
            (Kind::Deployment, 1),
            (Kind::Deployment, 2),
            (Kind::DaemonSet, 3),
            (Kind::Service, 5),
        ];
        let holdings = Holdings {
            objects: objects.map(place).into_iter().collect(),
            ..Holdings::default()
        };
        (census, holdings)
    }

    #[test]
    fn the_largest_come_first_and_who_has_no_total_is_counted() {
        let (census, holdings) = world();
        let total = |object: Object| {
            let value = match object.uid.as_bytes()[0] {
                1 => 5.0,
                2 => 9.0,
                5 => 5.0,
                _ => return None,
            };
            Some(Totalled {
                pods: 2,
                counted: 1,
                value,
            })
        };
        let ask = |of, namespace, limit| {
            let (rows, left_out) = controllers(&census, &holdings, of, namespace, limit, total);
            let rows: Vec<_> = rows
                .into_iter()
                .map(|row| {
                    assert_eq!((row.pods, row.counted), (Some(2), Some(1)));
                    (row.kind.unwrap(), row.namespace.unwrap(), row.value)
                })
                .collect();
            (rows, left_out)
        };
        let row = |kind, namespace: &str, value| (kind, namespace.to_owned(), value);
        let (first, second) = (
            row(Kind::Deployment, "b", 9.0),
            row(Kind::Deployment, "a", 5.0),
        );
        let both = vec![first.clone(), second.clone()];
        assert_eq!(ask(TopOf::Controllers, None, 10), (both.clone(), 1));
        assert_eq!(ask(TopOf::Deployments, None, 10), (both, 0));
        assert_eq!(ask(TopOf::Controllers, None, 1), (vec![first], 1));
        assert_eq!(ask(TopOf::Controllers, Some("a"), 10), (vec![second], 1));
        let service = vec![row(Kind::Service, "a", 5.0)];
        assert_eq!(ask(TopOf::Services, None, 10), (service, 0));
        assert_eq!(ask(TopOf::CronJobs, None, 10), (Vec::new(), 0));
    }

    #[test]
    fn a_code_that_nobody_sent_is_nothing_where_http_is_counted() {
        let of = |known: &'static [Metric]| move |metric| known.contains(&metric).then_some(1.0);
        let http = of(&[Metric::HttpRequests]);
        assert_eq!(value(Metric::HttpClass(5), http), Some(0.0));
        assert_eq!(value(Metric::HttpRequests, http), Some(1.0));
        assert_eq!(value(Metric::Rss, http), None);
        assert_eq!(value(Metric::HttpClass(5), of(&[Metric::Rss])), None);
    }
}
