//! What this machine's kernel counts of HTTP, and what it says where it does not.
#![allow(clippy::unwrap_used, reason = "a test may end at once")]

use std::process::{Command, Output};

use scope_agent::bpf::http::{HttpCounter, HttpMode, HttpSetup};
use scope_agent::bpf::{Refused, Why};

const PROGRAM: &str = env!("CARGO_BIN_EXE_http-acceptance");
/// What it ends with where the kernel or the rights do not allow a mode.
const UNABLE: i32 = 77;

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn play(mode: &str, required: bool) {
    let output = Command::new(PROGRAM).arg(mode).output().unwrap();
    let said = text(&output);
    match output.status.code() {
        Some(0) => println!("{said}"),
        Some(UNABLE) if !required => eprintln!("skipped: the table in mode {mode}: {said}"),
        _ => panic!("{said}"),
    }
}

#[test]
fn the_table_holds_in_each_mode_that_this_kernel_has() {
    // Many kernels refuse the second, which is why it is played on a virtual machine too.
    play("sys_exit", throwaway_cluster::required("nodes"));
    play("fexit", false);
}

#[test]
fn the_ladder_ends_where_the_kernel_allows_and_says_why_not_before() {
    match HttpCounter::load(true) {
        Ok(counter) if counter.mode() == HttpMode::Fexit => {}
        Ok(counter) => {
            assert_eq!(counter.mode(), HttpMode::SysExit);
            assert_eq!(counter.skipped().len(), 3, "{:?}", counter.skipped());
            for skipped in counter.skipped() {
                assert!(matches!(skipped.why, Why::System { .. } | Why::NoFunction));
            }
            let Err(Refused::Programs(tried)) = HttpCounter::load(false) else {
                panic!("there must be nothing left");
            };
            assert_eq!(tried.len(), 4);
            assert_eq!(tried[3].why, Why::NotAsked);
        }
        Err(refused) => eprintln!("skipped: no program can be loaded here: {refused}"),
    }
}

#[test]
fn nothing_to_try_is_a_refusal() {
    let nothing = HttpSetup {
        fexit: false,
        ..HttpSetup::default()
    };
    let said = HttpCounter::with(nothing).unwrap_err().to_string();
    assert!(!said.contains('\n'), "{said}");
}

#[test]
fn without_capabilities_it_says_which() {
    let output = Command::new("setpriv")
        .args([
            "--bounding-set=-all",
            "--inh-caps=-all",
            PROGRAM,
            "sys_exit",
        ])
        .output()
        .unwrap();
    let said = text(&output);
    if said.contains("setpriv:") {
        eprintln!("skipped: this user cannot give capabilities up: {said}");
        return;
    }
    assert_eq!(output.status.code(), Some(UNABLE), "{said}");
    assert!(said.contains("needs BPF and PERFMON"), "{said}");
}
