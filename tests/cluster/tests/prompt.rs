//! The command at a prompt, where there is no cluster.
#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A cache of its own, so that neither clusters nor locks of this user are touched.
struct Cache(PathBuf);

impl Cache {
    fn new(name: &str) -> Cache {
        let path = std::env::temp_dir().join(format!("prompt-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Cache(path)
    }

    fn clusters(&self) -> PathBuf {
        self.0.join("scope-plugins/harness/clusters")
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(Path::new(env!("CARGO_BIN_EXE_throwaway-cluster")))
            .args(["--prefix", "tp"])
            .args(words)
            .env("XDG_CACHE_HOME", &self.0)
            .output()
            .unwrap()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn taking_down_what_is_not_there_is_no_failure() {
    let cache = Cache::new("none");
    assert_eq!(
        said(&cache.run(&["down"])),
        (
            Some(0),
            "there is no cluster `tp`: nothing to take down\n".into(),
            String::new()
        )
    );
}

#[test]
fn what_was_taken_down_is_gone() {
    let cache = Cache::new("record");
    let record = cache.clusters().join("tp.json");
    std::fs::create_dir_all(cache.clusters()).unwrap();
    // As a run leaves it whose machine was switched off.
    std::fs::write(&record, r#"{"prefix":"tp","boot":"another"}"#).unwrap();
    assert_eq!(
        said(&cache.run(&["down"])),
        (Some(0), "cluster `tp` is gone\n".into(), String::new())
    );
    assert!(!record.exists());
}

#[test]
fn a_client_wants_a_cluster() {
    let cache = Cache::new("client");
    for words in [
        &["kubectl", "get", "pods"] as &[_],
        &["helm", "list"],
        &["env"],
        &["--as", "x", "env"],
    ] {
        assert_eq!(
            said(&cache.run(words)),
            (
                Some(1),
                String::new(),
                "there is no cluster `tp` that is up: start it first\n".into()
            ),
            "{words:?}"
        );
    }
}
