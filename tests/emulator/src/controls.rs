//! Renaming of controls, so that two plugins may use the same names.

use std::collections::BTreeSet;

use crate::report::{ACTIVE_CONTROLS, Death, Report};
use crate::stamp::Stamp;
use crate::version::Version;

/// The controls that one report offers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) plugin_id: String,
    /// By the plugin's own names.
    pub(crate) controls: BTreeSet<String>,
}

/// How the app and the probe call a plugin's control.
pub(crate) fn public_id(plugin_id: &str, control: &str) -> String {
    format!("{plugin_id}~{control}")
}

/// Renames what the report of a controller offers. From 1.13 on it also writes the list of active
/// controls on *every* node anew, with the current time; before, each control kept its own stamp.
///
/// # Errors
///
/// Without a plugin in the report Scope reaches into an empty list.
pub(crate) fn rename(report: &mut Report, now: Stamp, version: Version) -> Result<Offer, Death> {
    let Some(plugin_id) = report.plugins.values().next().map(|spec| spec.id.clone()) else {
        return Err(Death::Panic(
            "runtime error: index out of range [0] with length 0".to_owned(),
        ));
    };
    let mut offered = BTreeSet::new();
    for (_, topology) in report.topologies_mut() {
        for (key, node) in &mut topology.nodes {
            node.id.clone_from(key);
            let public = |id: &str| match topology.controls.contains_key(id) {
                true => public_id(&plugin_id, id),
                // Nothing of this topology: perhaps a control of the probe itself.
                false => id.to_owned(),
            };
            if version.joins_controls() {
                let active = node.latest(ACTIVE_CONTROLS).unwrap_or_default();
                let renamed: Vec<String> = active.split(';').map(public).collect();
                node.set_latest(ACTIVE_CONTROLS, now, &renamed.join(";"));
            } else {
                let controls = std::mem::take(&mut node.latest_controls).into_iter();
                let renamed = controls.map(|(id, control)| (public(&id), control));
                node.latest_controls = renamed.collect();
            }
        }
        topology.controls = std::mem::take(&mut topology.controls)
            .into_iter()
            .map(|(id, mut control)| {
                control.id = public_id(&plugin_id, &id);
                offered.insert(id);
                (control.id.clone(), control)
            })
            .collect();
    }
    Ok(Offer {
        plugin_id,
        controls: offered,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode_report;
    use crate::kind::Kind;

    const EARLY: &str = "2020-01-01T00:00:00Z";

    fn report(json: &str) -> Report {
        decode_report(json.as_bytes(), Stamp::ZERO).unwrap()
    }

    #[test]
    fn renames_controls_and_what_nodes_offer_of_them() {
        let mut report = report(&format!(
            r#"{{"Plugins":[{{"id":"p"}}],
                "Pod":{{"controls":{{"evict":{{"id":"other","rank":7}}}},
                        "nodes":{{"a":{{"latestControls":{{"evict":{{"timestamp":"{EARLY}"}},
                                                          "kubernetes_describe":{{"timestamp":"{EARLY}"}},
                                                          "gone":{{"timestamp":"{EARLY}","value":{{"dead":true}}}}}}}},
                                  "b":{{}}}}}},
                "Host":{{"nodes":{{"h":{{"latest":{{"active_controls":{{"value":"evict","timestamp":"{EARLY}"}}}}}}}}}}}}"#
        ));
        let now = Stamp::now();
        let offer = rename(&mut report, now, Version::V1_13).unwrap();
        assert_eq!(offer.plugin_id, "p");
        assert_eq!(offer.controls, BTreeSet::from(["evict".to_owned()]));

        let pods = report.topology(Kind::Pod);
        let control = &pods.controls["p~evict"];
        assert_eq!(
            (control.id.as_str(), control.rank),
            ("p~evict", 7),
            "the key counts, not the id"
        );
        assert_eq!(
            pods.nodes["a"].active_controls(),
            ["p~evict", "kubernetes_describe"]
        );
        assert_eq!(pods.nodes["a"].latest["active_controls"].stamp, now);
        assert_eq!(
            pods.nodes["b"].latest(ACTIVE_CONTROLS),
            Some(""),
            "nodes without any, too"
        );
        assert_eq!(pods.nodes["b"].id, "b");
        // Controls of another topology are not this one's.
        assert_eq!(
            report.node(Kind::Host, "h").unwrap().active_controls(),
            ["evict"]
        );
    }

    #[test]
    fn a_report_without_plugins_is_a_panic() {
        let death = rename(&mut report("{}"), Stamp::now(), Version::V1_13).unwrap_err();
        assert_eq!(
            death.to_string(),
            "panic: runtime error: index out of range [0] with length 0"
        );
    }
}
