//! What holds for what is read of the kernel's answers, whatever stands in them.

use super::wire::{self, Answer};

/// The kernel's answer to a request with the number 1.
pub(crate) fn netlink_answers(bytes: &[u8]) {
    for answer in wire::answers(bytes, 1) {
        let Answer::Qdisc(qdisc) = answer else {
            continue;
        };
        // Each byte may be shown as an escape of four.
        assert!(qdisc.kind.len() <= 60 && qdisc.kind.is_ascii());
        let Some(setting) = qdisc.setting else {
            continue;
        };
        assert!(matches!(qdisc.kind.as_str(), "netem" | "tbf"));
        assert!(setting.to_string().len() < 200);
    }
}
