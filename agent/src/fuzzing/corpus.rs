//! The corpus of every target, and each of its files changed in a few hundred ways.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use super::{Check, TARGETS};

/// Changed files for each target, shared by the files of its corpus.
const CHANGED: usize = 3_000;
/// The same for the target that writes and reads hundreds of files each time.
const CHANGED_NODES: usize = 60;
/// The largest file that the corpus keeps, and that a change makes.
const MAX_FILE: usize = 4 * 1024;
/// Files that the corpus of one target keeps.
const MAX_FILES: usize = 20;

fn corpus() -> PathBuf {
    PathBuf::from("../fuzz/corpus")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory of the sources");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
}

fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = corpus().join(target);
    names(&directory)
        .into_iter()
        .map(|name| {
            let text = fs::read(directory.join(&name)).expect("a file of the sources");
            (name, text)
        })
        .collect()
}

/// Xorshift: the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// What parsers stumble over.
const TOKENS: [&[u8]; 20] = [
    b"",
    b"\0",
    b"\n",
    b" ",
    b"  ",
    b"\t",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"max",
    b":",
    b"=",
    b")",
    b"/",
    b"..",
    b"\"",
    b"{",
    b"\xff",
    b"\xc3\xa9",
];

/// The text with one to four changes; a change may take a piece of another text of the corpus.
fn changed(text: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(text.len() + 1);
        let end = at + dice.below((text.len() - at).min(24) + 1);
        match dice.below(6) {
            0 => {
                text.drain(at..end);
            }
            1 => {
                let token = TOKENS[dice.below(TOKENS.len())];
                text.splice(at..end, token.iter().copied());
            }
            2 => {
                let again = text[at..end].to_vec();
                text.splice(at..at, again);
            }
            3 => text.truncate(at),
            4 => {
                let from = dice.below(other.len() + 1);
                let to = from + dice.below((other.len() - from).min(200) + 1);
                text.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                if let Some(byte) = text.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
    text.truncate(MAX_FILE);
    text
}

/// Runs the check; a failure says which bytes it was about.
fn holds(target: &str, of: &str, check: Check, text: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(text))) {
        eprintln!(
            "{target}, made of {of}: {:?}",
            String::from_utf8_lossy(text)
        );
        resume_unwind(panic);
    }
}

#[test]
fn every_target_holds_for_its_corpus_and_what_is_near_it() {
    for (target, check) in TARGETS {
        let files = files(target);
        let changes = if target == "node" {
            CHANGED_NODES
        } else {
            CHANGED
        };
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for (name, text) in &files {
            holds(target, name, check, text);
            for _ in 0..changes / files.len() {
                let (_, other) = &files[dice.below(files.len())];
                let text = changed(text, other, &mut dice);
                holds(target, name, check, &text);
            }
        }
    }
}

#[test]
fn every_target_has_a_program_and_a_small_corpus() {
    let targets = TARGETS.map(|(target, _)| target);
    assert!(targets.is_sorted());
    assert_eq!(names(&corpus()), targets);
    let programs = targets.map(|target| format!("{target}.rs"));
    assert_eq!(names(&corpus().join("../fuzz_targets")), programs);
    let manifest = fs::read_to_string(corpus().join("../Cargo.toml")).expect("the manifest");
    for target in targets {
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "{target}"
        );
        let files = files(target);
        assert!((1..=MAX_FILES).contains(&files.len()), "{target}");
        for (name, text) in files {
            assert!(text.len() <= MAX_FILE, "{target}/{name}");
        }
    }
}
