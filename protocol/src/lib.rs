//! Weave Scope's plugin protocol as Scope 1.13.2 enforces it: the types of a report, the node IDs,
//! the encoder, and the conformance rules.
//!
//! Nothing here does I/O, reads a clock or knows Kubernetes. References such as `report.go` are to
//! files of `github.com/weaveworks/scope` at 1.13.2.

pub mod conformance;
pub mod control;
pub mod encode;
pub mod node_id;
pub mod report;
pub mod time;
pub mod topology;

pub use control::{ControlRequest, ControlRequestError, ControlResponse};
pub use encode::{ProbeSlots, encode, encode_control_response, encode_for_probes};
pub use node_id::{NodeId, NodeIdError};
pub use report::{
    Control, Latest, MetadataTemplate, Metric, MetricTemplate, Node, PluginSpec, Report, Sample,
    TableTemplate, TopologyReport,
};
pub use time::Timestamp;
pub use topology::Topology;

/// The only `api_version` that Scope accepts (`probe/plugins/registry.go`).
pub const API_VERSION: &str = "1";

/// What the probe allows one request in all: dial, headers and the whole body (`registry.go`).
pub const REQUEST_DEADLINE: std::time::Duration = std::time::Duration::from_millis(500);

/// The largest body, after gunzip, that the probe reads (`registry.go`).
pub const MAX_BODY_BYTES: usize = 50 * 1024 * 1024;
