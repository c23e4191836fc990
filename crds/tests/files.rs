//! The committed YAML is what the types say.

#![allow(clippy::unwrap_used)]

use std::fs;

#[test]
fn the_committed_files_are_up_to_date() {
    for (name, yaml) in scope_crds::generated() {
        let committed = fs::read_to_string(&name).unwrap_or_default();
        assert!(
            committed == yaml,
            "crds/{name} is stale: run `cargo xtask generate` and commit the result"
        );
    }
}

#[test]
fn no_other_yaml_lies_beside_them() {
    let mut wanted: Vec<_> = scope_crds::generated()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let mut found: Vec<_> = fs::read_dir(".")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted, "`kubectl apply -f crds/` takes every file");
}
