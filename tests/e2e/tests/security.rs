//! docs/security.md names a test for each of its claims, and each of them exists.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{fs, path::Path};

use scope_e2e::scenarios;

/// What stands in backquotes in the last column of the tables that say by which test something is shown.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut told = false;
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|') else {
            told = false;
            continue;
        };
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').collect();
        let last = cells.last().unwrap().trim();
        if ["shown by", "scenario"].contains(&last) {
            told = true;
        } else if told {
            names.extend(last.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    names
}

/// All Rust code below a directory, one file after the other.
fn code(directory: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push_str(&code(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    all
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new("../..");
    let text = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let names = named(&text);
    assert!(names.len() > 20, "only {names:?}");
    let code: String = ["agent/src", "operator/src", "totals", "tests"]
        .map(|directory| code(&root.join(directory)))
        .concat();
    let is_scenario = |name: &str| {
        let mut all = scenarios::ALL.iter().flat_map(|suite| suite.scenarios);
        all.any(|scenario| scenario.name == name)
    };
    for name in names {
        let exists = is_scenario(&name) || code.contains(&format!("fn {name}("));
        assert!(exists, "docs/security.md names {name}, which is no test");
    }
}
