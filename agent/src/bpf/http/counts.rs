//! The kernel's counters as plain values.

use std::time::Duration;

use super::{HttpCount, HttpWhat};

/// `struct key` of `agent/bpf/http.h`: when the leader started in nanoseconds; pid, kind and code.
pub(super) type Key = [u64; 2];
/// `struct value`: count, cgroup.
pub(super) type Value = [u64; 2];

/// `enum kind`.
const REQUEST: u16 = 0;
const RESPONSE: u16 = 1;
const HTTP2_CONNECTION: u16 = 2;

/// `enum stat`.
pub(super) const LOOKED_AT: u32 = 0;
pub(super) const SKIPPED: u32 = 1;
pub(super) const SHORT: u32 = 2;
pub(super) const SUPPRESSED: u32 = 3;
pub(super) const LOST: u32 = 4;

/// The process of a key.
pub(super) fn process([started, rest]: Key) -> (u32, Duration) {
    (rest as u32, Duration::from_nanos(started))
}

/// A counter; nothing for a key that no program of ours makes. A count of 0 is one that another CPU
/// is just about to make 1.
pub(super) fn count(key: Key, [count, cgroup]: Value) -> Option<HttpCount> {
    let (pid, started) = process(key);
    let (kind, code) = ((key[1] >> 32) as u16, (key[1] >> 48) as u16);
    let what = match kind {
        REQUEST => HttpWhat::Request,
        RESPONSE => HttpWhat::Response(code),
        HTTP2_CONNECTION => HttpWhat::Http2Connection,
        _ => return None,
    };
    Some(HttpCount {
        pid,
        started,
        what,
        count,
        cgroup: (cgroup != 0).then_some(cgroup),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key as the program lays it out.
    fn key(started: u64, pid: u32, kind: u16, code: u16) -> Key {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&started.to_ne_bytes());
        bytes[8..12].copy_from_slice(&pid.to_ne_bytes());
        bytes[12..14].copy_from_slice(&kind.to_ne_bytes());
        bytes[14..].copy_from_slice(&code.to_ne_bytes());
        let (first, second) = bytes.split_at(8);
        [first, second].map(|half| u64::from_ne_bytes(half.try_into().unwrap()))
    }

    #[test]
    fn keys_are_taken_apart() {
        let started = 7_000_000_009;
        let found = count(key(started, 4_194_303, RESPONSE, 999), [12, 0]).unwrap();
        assert_eq!(
            found,
            HttpCount {
                pid: 4_194_303,
                started: Duration::from_nanos(started),
                what: HttpWhat::Response(999),
                count: 12,
                cgroup: None,
            }
        );
        let found = count(key(1, 2, REQUEST, 0), [1, 77]).unwrap();
        assert_eq!((found.what, found.cgroup), (HttpWhat::Request, Some(77)));
        let found = count(key(1, 2, HTTP2_CONNECTION, 0), [1, 0]).unwrap();
        assert_eq!(found.what, HttpWhat::Http2Connection);
        assert_eq!(count(key(1, 2, 3, 0), [1, 0]), None);
    }
}
