//! The plugin's description, the one place in Scope where the agent can say something in words.

use scope_crds::Collector;

use super::Settings;
use crate::Collectors;
use crate::sample::Problems;

/// The operator's own words, or else version, node, and what data is on which nodes; and after either
/// what cannot be read, since someone looks for that data.
pub(super) fn describe(settings: &Settings, http: Option<&str>, problems: &Problems) -> String {
    let mut text = match &settings.description {
        Some(own) => own.clone(),
        None => format!(
            "scope-agent {} on {}. {}",
            env!("CARGO_PKG_VERSION"),
            settings.host,
            data(settings.collectors)
        ),
    };
    if let Some(said) = http {
        text.push(' ');
        text.push_str(said);
    }
    if let Some(said) = settings
        .totals
        .as_ref()
        .and_then(|totals| totals.said.as_ref())
    {
        text.push(' ');
        text.push_str(said);
    }
    if let Some(lacking) = problems.not_available() {
        text.push_str(" Not available: ");
        text.push_str(&lacking);
        text.push('.');
    }
    text
}

/// What data is on which nodes.
fn data(collectors: Collectors) -> String {
    let of = |collector| match collector {
        Collector::Resources => {
            "On containers and pods: CPU, memory, processes, descriptors, disk, limits and \
             throttling, pressure; on pods also network and OOM kills; on the host pressure."
        }
        Collector::VolumeCount => {
            "On containers and pods: number and kinds of volumes; on pods also how full they are."
        }
        Collector::IOWait => {
            "On the host: idle time and waiting for I/O; on containers and pods waiting for I/O."
        }
        Collector::HTTPStatistics => {
            "On processes, containers and pods: HTTP/1 requests and responses per second, not those \
             in TLS."
        }
        Collector::TrafficControl => {
            "On containers: what is set on the network of their pod, delay, jitter, loss, rate."
        }
    };
    collectors.iter().map(of).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::collect::settings;
    use crate::sample::{Cause, Datum};
    use crate::totals::TotalsBoard;

    #[test]
    fn says_what_is_missing() {
        let mut settings = settings();
        let own = settings.clone();
        settings.description = None;
        let mut problems = Problems::default();
        assert!(!describe(&settings, None, &problems).contains("Not available"));
        problems.add(Datum::ProcessStat, Cause::Malformed, String::new);
        assert!(!describe(&settings, None, &problems).contains("Not available"));
        assert_eq!(describe(&own, None, &problems), "Mine.");
        problems.add(Datum::PodNetwork, Cause::Denied, String::new);
        let text = describe(&settings, None, &problems);
        assert!(text.starts_with("scope-agent 0."), "{text}");
        assert!(text.contains(" on node1."), "{text}");
        let missing = " Not available: network of a pod (permission denied).";
        assert!(text.ends_with(missing), "{text}");
        assert_eq!(describe(&own, None, &problems), format!("Mine.{missing}"));
        let board = TotalsBoard::new();
        let mut silent = own.clone();
        silent.totals = Some(board.totals(Instant::now()));
        assert_eq!(
            describe(&silent, None, &problems),
            format!("Mine.{missing}")
        );
        let later = Instant::now() + Duration::from_secs(600);
        silent.totals = Some(board.totals(later));
        let said = describe(&silent, None, &problems);
        assert!(
            said.starts_with("Mine. Totals of controllers are absent: no answer"),
            "{said}"
        );
        assert!(said.ends_with(missing), "{said}");
        let with = describe(&own, Some("By counting."), &problems);
        assert_eq!(with, format!("Mine. By counting.{missing}"));
    }

    #[test]
    fn each_collector_says_what_it_brings() {
        let all = data(Collectors::ALL);
        for collector in Collector::ALL {
            let one = data([collector].into_iter().collect());
            assert!(one.ends_with('.') && all.contains(&one), "{one}");
        }
    }
}
