//! The finished report, as immutable buffers.
//!
//! With [`Demand`](super::Demand) this is all that the sampler's thread and the sockets share: atomic
//! pointers and numbers. Neither side ever waits for the other.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use scope_protocol::ProbeSlots;

/// What a request for a report gets.
#[derive(Debug)]
pub struct Publication {
    current: ArcSwap<Published>,
}

/// A report as it goes out.
#[derive(Debug)]
pub struct Published {
    /// The whole body, for whoever is no known probe.
    pub body: Bytes,
    /// The bodies of known probes, by ID: at most [`MAX_PROBES`](super::MAX_PROBES), each with that ID in its slots.
    copies: Vec<(Arc<str>, Bytes)>,
    /// How many were published before; 0 is the one that was there before the first sample.
    pub sequence: u64,
}

impl Published {
    /// The body for the probe with this ID.
    pub fn body_for(&self, probe_id: Option<&str>) -> &Bytes {
        probe_id
            .and_then(|id| self.copies.iter().find(|(known, _)| **known == *id))
            .map_or(&self.body, |(_, copy)| copy)
    }
}

impl Publication {
    /// Begins with what is to be said before the first sample exists.
    pub fn new(first: impl Into<Bytes>) -> Self {
        Publication {
            current: ArcSwap::from_pointee(Published {
                body: first.into(),
                copies: Vec::new(),
                sequence: 0,
            }),
        }
    }

    /// The newest report.
    pub fn get(&self) -> Arc<Published> {
        self.current.load_full()
    }

    /// Replaces it, with a copy for each of these probes where the body has places for their IDs.
    /// Only the sampler's thread does.
    pub(super) fn publish(&self, body: Vec<u8>, slots: &ProbeSlots, probes: &[Arc<str>]) {
        let copies = match slots.is_empty() {
            true => Vec::new(),
            false => probes
                .iter()
                .map(|id| (id.clone(), Bytes::from(slots.fill(&body, id))))
                .collect(),
        };
        let sequence = self.current.load().sequence + 1;
        self.current.store(Arc::new(Published {
            body: Bytes::from(body),
            copies,
            sequence,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_known_probe_gets_its_own_body() {
        let at = scope_protocol::Timestamp::from_unix_micros(0);
        let mut report = scope_protocol::Report::new(scope_protocol::PluginSpec {
            id: "x".into(),
            label: "x".into(),
            description: String::new(),
            controller: false,
        });
        let containers = report.topology(scope_protocol::Topology::Container);
        let node = containers.node(scope_protocol::NodeId::container("c"));
        node.set("active_controls", at, "x");
        node.control_probe = Some(at);
        let mut body = Vec::new();
        let slots = scope_protocol::encode_for_probes(&report, &mut body);

        let publication = Publication::new("first");
        assert_eq!(publication.get().body_for(Some("ab")), "first");
        publication.publish(body.clone(), &slots, &["ab".into(), "c".into()]);
        let published = publication.get();
        assert_eq!((published.sequence, published.copies.len()), (1, 2));
        for (id, own) in [
            (Some("ab"), true),
            (Some("c"), true),
            (Some("d"), false),
            (None, false),
        ] {
            let got = published.body_for(id);
            let text = std::str::from_utf8(got).expect("UTF-8");
            assert_eq!(text.contains("control_probe_id"), own, "{id:?}: {text}");
            if own {
                assert!(text.contains(&format!("\"value\":\"{}\"}}", id.unwrap_or_default())));
            } else {
                assert_eq!(got, &body);
            }
        }
        publication.publish(body, &ProbeSlots::default(), &["ab".into()]);
        assert!(
            publication.get().copies.is_empty(),
            "nothing to be told apart"
        );
    }
}
