//! The page about what is collected is that of the code, and the code does what the page says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use scope_agent::catalogue::{ORIGINS, page};

use crate::lines::lines;
use crate::made_node::Layout;
use crate::node::Golden;

#[test]
fn the_page_is_not_stale() {
    let file = PathBuf::from("../docs/collectors.md");
    if crate::generating() {
        std::fs::write(&file, page()).expect("writes");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page(),
        "docs/collectors.md is stale: run `cargo xtask generate` and commit the result"
    );
}

#[test]
fn a_node_that_has_everything_has_just_the_metrics_of_the_page() {
    let report = lines(&Golden::new(Layout::V2Systemd).report(|_| {}));
    let found: BTreeSet<(&str, &str)> = report
        .iter()
        .filter_map(|line| {
            let (subject, value) = line.split_once(" = ")?;
            let (node, id) = subject.rsplit_once(' ')?;
            let (topology, _) = node.split_once(' ')?;
            // The number of a namespace's pods only keeps it in each publish.
            (value.contains(" of ") && !value.starts_with('"') && topology != "Namespace")
                .then_some((topology, id))
        })
        .collect();
    // The page has one line of text for those of single status codes.
    let code = |id: &str| {
        let code = id.strip_prefix("http_").and_then(|rest| rest.get(..3));
        code.is_some_and(|code| code.bytes().all(|b| b.is_ascii_digit()))
    };
    let (codes, found): (BTreeSet<_>, BTreeSet<_>) =
        found.into_iter().partition(|(_, id)| code(id));
    assert_eq!(codes.len(), 9, "three codes on three nodes");
    let listed: BTreeSet<(&str, &str)> = ORIGINS
        .iter()
        .flat_map(|origin| {
            let nodes = origin.nodes.iter();
            nodes.map(|topology| (topology.key(), origin.metric))
        })
        .collect();
    assert_eq!(found, listed);
}
