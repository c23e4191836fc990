//! Names that Scope knows, and names that people write instead.

use crate::Topology;

/// Whether somebody who wrote one of these names meant the other: they differ in case, in `_` and
/// `-`, or in a plural `s`.
pub(super) fn alike(known: &str, written: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = char> + '_ {
        let singular = name.strip_suffix(['s', 'S']).unwrap_or(name);
        singular
            .chars()
            .filter(|c| !matches!(c, '_' | '-'))
            .map(|c| c.to_ascii_lowercase())
    }
    letters(known).eq(letters(written))
}

/// Whether this is a plugin ID (`registry.go`): letters and digits with single dashes between.
pub(super) fn is_plugin_id(id: &str) -> bool {
    id.split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether a control's ID reaches the plugin as it was sent.
pub(super) fn is_control_id(id: &str) -> bool {
    !id.is_empty()
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Whether an active control's ID is sound: a built-in one, a plugin's own, or another plugin's
/// with its prefix.
pub(super) fn is_active_control(id: &str) -> bool {
    match id.split_once('~') {
        Some((plugin, control)) => is_plugin_id(plugin) && is_control_id(control),
        None => is_control_id(id),
    }
}

/// The topology that a wrong key of `parents` seems to mean.
pub(super) fn topology_alike(written: &str) -> Option<Topology> {
    Topology::ALL
        .iter()
        .copied()
        .find(|t| alike(t.name(), written) || t.id_tag().is_some_and(|tag| alike(tag, written)))
}

/// Metrics for which Scope's own probe sends the templates of a topology. Those of `Container`
/// are not among them: only the Docker reporter has some.
pub(super) fn has_builtin_template(topology: Topology, metric: &str) -> bool {
    use Topology::*;
    match topology {
        Host => matches!(
            metric,
            "host_cpu_usage_percent" | "host_mem_usage_bytes" | "load1"
        ),
        Process => matches!(
            metric,
            "process_cpu_usage_percent" | "process_memory_usage_bytes" | "open_files_count"
        ),
        Pod | Service | Deployment | DaemonSet | StatefulSet | CronJob | Job => {
            matches!(metric, "docker_cpu_total_usage" | "docker_memory_usage")
        }
        _ => false,
    }
}

/// `latest` keys that Scope's own probe puts on nodes of a topology.
pub(super) fn builtin_keys(topology: Topology) -> &'static [&'static str] {
    use Topology::*;
    match topology {
        Host => &[
            "active_controls",
            "control_probe_id",
            "host_name",
            "host_node_id",
        ],
        Process | ContainerImage => &["host_node_id"],
        Container => &[
            "active_controls",
            "control_probe_id",
            "docker_container_id",
            "docker_container_name",
            "docker_container_state",
            "docker_image_id",
            "host_node_id",
        ],
        Pod | Service | Deployment | DaemonSet | StatefulSet | CronJob | Job => &[
            "active_controls",
            "control_probe_id",
            "kubernetes_created",
            "kubernetes_name",
            "kubernetes_namespace",
        ],
        _ => &[],
    }
}

/// A text in quotes as Go's `%q` writes it.
pub(super) fn go_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_ids_are_letters_and_digits_with_single_dashes() {
        for id in ["fx", "A-1", "P-L-U-G-I-N", "0"] {
            assert!(is_plugin_id(id), "{id:?}");
        }
        for id in ["", "-a", "a-", "a--b", "a_b", "a.b", "fx~1", "é", "a b"] {
            assert!(!is_plugin_id(id), "{id:?}");
        }
    }

    #[test]
    fn names_are_alike_but_for_case_separators_and_plural() {
        for (known, written) in [
            ("Pod", "Pods"),
            ("latestControls", "latest_controls"),
            ("metric_templates", "metricTemplate"),
            ("daemon_set", "DaemonSet"),
            ("api_version", "apiVersion"),
        ] {
            assert!(alike(known, written), "{known} {written}");
        }
        assert!(!alike("Pod", "Post"));
        assert!(!alike("id", "ip"));
    }
}
