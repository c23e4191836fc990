//! The table for people.

use scope_agent::attribution::attribute;
use scope_agent::inventory::Inventory;
use scope_agent::report_table::{self, TableOptions};
use scope_agent::sample::Mode;

use crate::made_node::{Layout, MadeNode};
use crate::reported::{known, usage, write};

#[test]
fn the_table_has_the_same_figures() {
    let known = known();
    let mode = Mode::Cluster(&known);
    let options = TableOptions {
        host: "node1".into(),
        processes: 3,
    };
    let text = report_table::render(&usage(mode), mode, &options);
    let row = |start: &str| -> Vec<&str> {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{start} in\n{text}"))
            .split_whitespace()
            .collect()
    };
    assert!(text.starts_with("Host node1: 2 CPUs, CPU 1700.0 millicores (85.00 %), memory 1.0 GiB of 4.0 GiB, 9 processes"), "{text}");
    let pod = row("demo       web-5d-x");
    assert_eq!(pod[..3], ["demo", "web-5d-x", "Deployment/web"]);
    assert!(pod.ends_with(&["9.8", "KiB", "1000", "B"]), "{pod:?}");
    let app = row("app");
    assert_eq!(app[..6], ["app", "100.0", "5.00", "%", "5.0", "MiB"]);
    let waiting = row("demo       db-0");
    assert_eq!(waiting[3..], ["-"; 12]);
    assert!(text.contains("demo/web-5d-x/app"), "{text}");
    assert!(
        text.contains("the first 3 by memory of 9 processes.\n"),
        "{text}"
    );

    let text = report_table::render(&usage(Mode::Standalone), Mode::Standalone, &options);
    assert!(text.contains("dddddddddddd"), "{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')));
}

#[test]
fn the_table_says_what_could_not_be_read() {
    let made = MadeNode::new(Layout::V2Systemd);
    write(&made, 0);
    made.write("proc/meminfo", "");
    made.write("proc/101/stat", "101 (\x1b[2J) nothing");
    made.write("proc/102/stat", "");
    let usage = attribute(
        None,
        &made.sampler().take(Mode::Standalone),
        Mode::Standalone,
    );
    let options = TableOptions {
        host: "\x1b[31mnode".into(),
        processes: TableOptions::PROCESSES,
    };
    let text = report_table::render(&usage, Mode::Standalone, &options);
    assert!(text.contains("memory ? of ?"), "{text}");
    assert!(text.contains("No rates yet"), "{text}");
    assert!(text.contains("CPU and memory of a process: unexpected content, 2 times, first at "));
    assert!(text.contains("proc/101/stat"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");

    let nothing = Inventory::default();
    let empty = report_table::render(&usage, Mode::Cluster(&nothing), &options);
    assert!(empty.contains("No pods are bound to this node."), "{empty}");
}
