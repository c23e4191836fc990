//! Whole reports of made nodes, line by line, against reports that are checked in; and what of them
//! changes when one file of the node does.
//!
//! `cargo xtask generate` writes the files anew, for a reader to look at.

#[path = "../made_node/mod.rs"]
mod made_node;

mod catalogue;
mod flips;
mod lines;
mod node;

use std::path::PathBuf;

use lines::lines;
use made_node::Layout;
use node::Golden;
use scope_agent::Collectors;
use scope_crds::Collector;

/// Whether the files are to be written, not compared.
fn generating() -> bool {
    std::env::var_os("SCOPE_GENERATE").is_some()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(format!("tests/sample_golden/reports/{name}.txt"))
}

#[test]
fn every_layout_gives_the_report_that_is_checked_in() {
    for (name, layouts) in [
        (
            "v1",
            &[Layout::V1Cgroupfs, Layout::V1Systemd, Layout::Hybrid][..],
        ),
        ("v2", &[Layout::V2Cgroupfs, Layout::V2Systemd]),
        ("memory-v2", &[Layout::HybridMemoryV2]),
    ] {
        for &layout in layouts {
            let body = Golden::new(layout).report(|_| {});
            let again = Golden::new(layout).report(|_| {});
            assert_eq!(body, again, "{layout:?}: not the same bytes");
            let mut text = lines(&body).join("\n");
            text.push('\n');
            let file = file(name);
            if generating() {
                std::fs::write(&file, &text).expect("writes");
            }
            let golden = std::fs::read_to_string(&file).expect("a file that is checked in");
            for (n, (is, should)) in text.lines().zip(golden.lines()).enumerate() {
                assert_eq!(
                    is,
                    should,
                    "{layout:?}: line {} of {}",
                    n + 1,
                    file.display()
                );
            }
            assert_eq!(text.len(), golden.len(), "{layout:?}: {}", file.display());
        }
    }
}

/// Who does not ask for a collector gets the report that there was before it came.
#[test]
fn without_counting_http_a_report_is_as_it_was_before() {
    let golden = Golden::new(Layout::V2Systemd);
    let others = Collectors::ALL
        .iter()
        .filter(|c| *c != Collector::HTTPStatistics);
    let without = lines(&golden.report_of(others.collect(), |_| {}));
    let mut with = lines(&Golden::new(Layout::V2Systemd).report(|_| {}));
    let all = with.len();
    with.retain(|line| !line.contains("http"));
    assert!(all - with.len() > 20, "{} lines", all - with.len());
    assert_eq!(without, with);
}
