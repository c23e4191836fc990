//! What an agent says of itself to the service.

use std::time::Duration;

use scope_totals_wire::{Health, MAX_OFF, Off};

use crate::Collectors;
use crate::sample::Problems;

/// How the agent is when it reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Present {
    /// Whether the API server does not answer it.
    pub server_away: bool,
    /// Whether anybody asked for a report lately.
    pub watched: bool,
    /// What people should know.
    pub health: Health,
}

/// How the agent is: how long ago a probe asked, if one ever did, and which parts of its collectors bring
/// nothing, in the words of the plugin's description. What the agent takes it does not measure itself.
pub fn health(asked: Option<Duration>, collectors: Collectors, problems: &Problems) -> Health {
    let off = problems.lacking().filter_map(|(datum, cause)| {
        let collector = datum.collector().filter(|c| collectors.has(*c))?;
        Some(Off {
            collector: collector.as_str().to_owned(),
            why: format!("{datum} ({cause})"),
        })
    });
    Health {
        asked_ms_ago: asked.map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX)),
        collectors_off: off.take(MAX_OFF).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        millicores: None,
        memory: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Cause, Datum};

    #[test]
    fn an_agent_says_what_its_description_says() {
        let mut problems = Problems::default();
        for (datum, cause) in [
            (Datum::HttpCounts, Cause::Denied),
            (Datum::BlockDelay, Cause::Absent),
            (Datum::TrafficNetem, Cause::Absent),
            // Of one file, and of no collector.
            (Datum::OpenFiles, Cause::Malformed),
            (Datum::CgroupFrozen, Cause::Denied),
        ] {
            problems.add(datum, cause, || "/proc/x".into());
        }
        let off = |collectors, asked| {
            let health = health(asked, collectors, &problems);
            assert_eq!(health.check(), Ok(()));
            let off = health.collectors_off.into_iter();
            let off = off.map(|off| format!("{}: {}", off.collector, off.why));
            (health.asked_ms_ago, off.collect::<Vec<_>>())
        };
        let delay = "IOWait: block-I/O delay (sysctl kernel.task_delayacct) (not provided by this \
                     kernel or runtime)";
        let netem = "TrafficControl: delay, jitter and loss for pods (sch_netem) (not provided by this \
                     kernel or runtime)";
        let http = "HTTPStatistics: HTTP requests and responses (permission denied)";
        let asked = Some(Duration::from_millis(900));
        assert_eq!(
            off(Collectors::ALL, asked),
            (Some(900), vec![delay.into(), netem.into(), http.into()])
        );
        let none: Collectors = [].into_iter().collect();
        assert_eq!(off(none, None), (None, Vec::new()), "nothing is asked for");
        let said = problems.not_available().expect("something");
        for why in [
            "block-I/O delay (sysctl",
            "HTTP requests and responses (perm",
        ] {
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn whatever_is_missing_the_service_takes_the_report() {
        let mut problems = Problems::default();
        for datum in Datum::ALL {
            for cause in [Cause::Denied, Cause::Absent] {
                problems.add(datum, cause, String::new);
            }
        }
        let health = health(None, Collectors::ALL, &problems);
        assert_eq!(health.collectors_off.len(), MAX_OFF);
        assert_eq!(health.check(), Ok(()));
    }
}
