//! The plugin's description, the one place in Scope where the agent can say something in words.

use crate::sample::Problems;

/// The operator's own words, or else version, node, and what data is on which nodes; and after either
/// what cannot be read, since someone looks for that data.
pub(super) fn describe(own: Option<&str>, host: &str, problems: &Problems) -> String {
    let mut text = match own {
        Some(own) => own.to_owned(),
        None => format!(
            "scope-agent {} on {host}. On containers and pods: CPU, memory, processes, \
             descriptors, disk, limits and throttling, pressure; on pods also network and OOM \
             kills; on the host pressure.",
            env!("CARGO_PKG_VERSION"),
        ),
    };
    if let Some(lacking) = problems.not_available() {
        text.push_str(" Not available: ");
        text.push_str(&lacking);
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Cause, Datum};

    #[test]
    fn says_what_is_missing_for_good() {
        let mut problems = Problems::default();
        assert!(!describe(None, "node1", &problems).contains("Not available"));
        problems.add(Datum::ProcessStat, Cause::Malformed, String::new);
        assert!(!describe(None, "node1", &problems).contains("Not available"));
        assert_eq!(describe(Some("Mine."), "node1", &problems), "Mine.");
        problems.add(Datum::PodNetwork, Cause::Denied, String::new);
        let text = describe(None, "node1", &problems);
        assert!(text.starts_with("scope-agent 0."), "{text}");
        assert!(text.contains(" on node1."), "{text}");
        let missing = " Not available: network of a pod (permission denied).";
        assert!(text.ends_with(missing), "{text}");
        assert_eq!(
            describe(Some("Mine."), "node1", &problems),
            format!("Mine.{missing}")
        );
    }
}
