//! The plugin's description, the one place in Scope where the agent can say something in words.

use crate::sample::{Cause, Problems};

/// Version, node, what data is on which nodes, and what could not be read.
pub(super) fn describe(host: &str, problems: &Problems) -> String {
    let mut text = format!(
        "scope-agent {} on {host}. On containers and pods: CPU, memory, processes, descriptors, \
         disk, limits and throttling, pressure; on pods also network and OOM kills; on the host \
         pressure.",
        env!("CARGO_PKG_VERSION"),
    );
    // What one file or one moment lacks is in the log and the counters; what the machine or its
    // rights lack is here, since someone looks for that data.
    let lasting = problems
        .iter()
        .filter(|(_, cause, _)| matches!(cause, Cause::Denied | Cause::Absent))
        .map(|(datum, cause, _)| format!("{datum} ({cause})"))
        .collect::<Vec<_>>();
    if !lasting.is_empty() {
        text.push_str(" Not available: ");
        text.push_str(&lasting.join(", "));
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Datum;

    #[test]
    fn says_what_is_missing_for_good() {
        let mut problems = Problems::default();
        assert!(!describe("node1", &problems).contains("Not available"));
        problems.add(Datum::ProcessStat, Cause::Malformed, String::new);
        assert!(!describe("node1", &problems).contains("Not available"));
        problems.add(Datum::PodNetwork, Cause::Denied, String::new);
        let text = describe("node1", &problems);
        assert!(text.starts_with("scope-agent 0."), "{text}");
        assert!(text.contains(" on node1."), "{text}");
        assert!(
            text.contains("Not available: network of a pod (permission denied)."),
            "{text}"
        );
    }
}
