//! What holds for each parser of [`super`], whatever stands in the file.

use std::time::Duration;

use super::arguments::{Arguments, MAX_DURATION};
use super::cgroup::{self, State};
use super::deadlines::{self, MAX_BYTES, MAX_ENTRIES, millis};
use super::entries::{Entry, Frozen, Shaped};
use super::first_process;
use crate::control::Click;
use crate::traffic::{MAX_DELAY, Order};

/// `/proc/<pid>/stat`, up to the first NUL, and `/proc/<pid>/status` behind it.
pub(crate) fn first_process(text: &[u8]) {
    let nul = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    let (stat, status) = text.split_at(nul);
    if let Some((has_ended, parent, start)) = first_process::parse_stat(stat) {
        let state = if has_ended { 'Z' } else { 'S' };
        let line = format!(
            "1 (x) {state} {parent}{} {start} 0 0\n",
            " 0".repeat(22 - 5)
        );
        let read = first_process::parse_stat(line.as_bytes());
        assert_eq!(read, Some((has_ended, parent, start)));
    }
    if first_process::is_first(status) {
        assert!(status.windows(6).any(|word| word == b"NSpid:"));
    }
}

/// `freezer.state`; `cgroup.freeze`, up to the first NUL, and `cgroup.events` behind it.
pub(crate) fn freezer(text: &[u8]) {
    // What is not text is an error of the read.
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    if let Some(state) = cgroup::state_v1(text) {
        let word = format!("{state:?}\n").to_uppercase();
        assert_eq!(cgroup::state_v1(&word), Some(state));
    }
    let (asked, events) = text.split_once('\0').unwrap_or((text, ""));
    if let Some(state) = cgroup::state_v2(asked, events) {
        let frozen = u8::from(state == State::Frozen);
        let asked = u8::from(state != State::Thawed);
        let events = format!("populated 1\nfrozen {frozen}\n");
        assert_eq!(
            cgroup::state_v2(&format!("{asked}\n"), &events),
            Some(state)
        );
    }
}

/// The file of the frozen containers.
pub(crate) fn frozen_file(text: &[u8]) {
    deadlines_file::<Frozen>(text);
}

/// The file of the pods with shaped traffic.
pub(crate) fn shaped_file(text: &[u8]) {
    deadlines_file::<Shaped>(text);
}

fn deadlines_file<T: Entry + PartialEq + std::fmt::Debug>(text: &[u8]) {
    let now = Duration::from_secs(1_000);
    let mut read = deadlines::parse::<T>(text, MAX_DURATION, now);
    assert!(read.len() <= MAX_ENTRIES);
    for (key, entry) in &mut read {
        assert!(entry.fits(key));
        assert!(*entry.until() <= millis(now + MAX_DURATION));
    }
    let Ok(written) = serde_json::to_vec(&read) else {
        panic!("what was read cannot be written");
    };
    assert!(written.len() as u64 <= MAX_BYTES);
    assert_eq!(deadlines::parse(&written, MAX_DURATION, now), read);
}

/// The arguments of a click.
pub(crate) fn arguments(click: &Click) {
    if let Some(button) = click.button {
        match Order::read(button, &click.args, MAX_DURATION) {
            Ok(Order::Change(change, duration)) => {
                assert!((Duration::from_secs(1)..=MAX_DURATION).contains(&duration));
                assert!(change.delay.is_none_or(|delay| delay <= MAX_DELAY));
            }
            Ok(Order::Clear) => {}
            Err(error) => assert!(error.to_string().len() < 700, "{error}"),
        }
        return;
    }
    match Arguments::read(click.control, &click.args) {
        Ok(read) => {
            assert!((Duration::from_secs(1)..=MAX_DURATION).contains(&read.duration));
            assert!(!read.force || click.args["force"] == "true");
        }
        // Each character may be shown as an escape of ten.
        Err(error) => assert!(error.to_string().len() < 700, "{error}"),
    }
}
