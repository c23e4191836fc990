//! The Services of a node's pods. An agent watches its own node alone, so it is told.

use serde::{Deserialize, Serialize};

use crate::uid::Uid;

/// Which pods of the agent's node belong to which Services: to all Services with a pod there, at most
/// [`MAX_SERVICES`](crate::MAX_SERVICES) with [`MAX_MEMBERS`](crate::MAX_MEMBERS) pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Another one for every other list, whichever replica made it, and never 0. It goes into the next
    /// [`Report::services`](crate::Report::services).
    pub version: u64,
    /// So long after this reply sums may be made by the list, in milliseconds, unless another one comes.
    pub valid_ms: u64,
    /// The list, in the order of UIDs. Nothing if the report said that the agent has this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<Members>>,
}

/// The pods of a Service on the agent's node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The Service's UID.
    pub uid: Uid,
    /// Another one for every other set of pods, whichever replica made it, and never 0. It goes into
    /// [`Partial::members`](crate::Partial::members) of each sum over this set.
    pub version: u64,
    /// The UIDs of the pods, in order and each once.
    pub pods: Vec<Uid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_kept_to_the_last_digit_and_what_is_held_takes_no_room() {
        let held = Services {
            version: u64::MAX - 1,
            valid_ms: 15_000,
            services: None,
        };
        let text = serde_json::to_string(&held).unwrap();
        assert_eq!(text, r#"{"version":18446744073709551614,"valid_ms":15000}"#);
        assert_eq!(serde_json::from_str::<Services>(&text).unwrap(), held);
        let told = Services {
            services: Some(vec![Members {
                uid: Uid::from_bytes([1; 16]),
                version: u64::MAX,
                pods: vec![Uid::from_bytes([2; 16])],
            }]),
            ..held
        };
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Services>(&text).unwrap(), told);
    }
}
