//! To the exchange of scope-totals: to have agents trust somebody else, or report somewhere else.

use serde_json::json;

use super::{CREATE, way};
use crate::audit::{agent, operator, totals};
use crate::product::PLUGINS;
use crate::world::World;

const MAP: &str = "configmap/scope-totals-ca";

/// What the ConfigMap says, which decides both.
pub(in crate::scenarios) fn to_the_exchange(world: &mut World) -> anyhow::Result<()> {
    world.refused_on_purpose(|world| try_the_map(world))
}

fn try_the_map(world: &World) -> anyhow::Result<()> {
    let merged = |change: &str| {
        format!("patch --dry-run=server -n {PLUGINS} {MAP} --type=merge -p {change}")
    };
    let forged = merged(r#"{"data":{"address":"192.0.2.1:8443","ca.crt":"x"}}"#);
    way("what scope-totals publishes", &forged, "", "")
        .by(&totals())
        .is_accepted(&world.kubectl)?;
    let labelled = format!("label --dry-run=server -n {PLUGINS} {MAP} a=b");
    way("a label, as Helm sets some", &labelled, "", "").is_accepted(&world.kubectl)?;

    let said = "and only scope-totals writes";
    let map = |more: serde_json::Value| {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "scope-totals-ca", "namespace": PLUGINS}});
        for (key, value) in more.as_object().into_iter().flatten() {
            map[key.as_str()] = value.clone();
        }
        map
    };
    let nothing = merged(r#"{"data":null}"#);
    let ways = [
        way("another authority, by an admin", &forged, "", said),
        way("the same by the operator", &forged, "", said).by(&operator()),
        way("the same by an agent", &forged, "", said).by(&agent("node-metrics")),
        way("nobody to trust", &nothing, "", said),
        way(
            "other keys",
            &merged(r#"{"binaryData":{"another":"eA=="}}"#),
            "",
            said,
        ),
        way(
            "a new one, filled",
            CREATE,
            map(json!({"data": {"name": "x"}})),
            said,
        ),
        way(
            "one for ever",
            &merged(r#"{"immutable":true}"#),
            "",
            "may not be immutable",
        ),
    ];
    for way in &ways {
        way.is_refused(&world.kubectl)?;
    }
    eprintln!("    {} ways to the exchange, each refused", ways.len());
    Ok(())
}
