//! A click on a control: what the probe sends to `POST /control`, and the answer
//! (`common/xfer/controls.go`, `probe/plugins/registry.go`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::{NodeId, Report};

/// An error about a body shows this many characters: it is told to the person who clicked.
const MAX_SHOWN: usize = 200;

/// The body of `POST /control`. Keys are matched with their exact case, unknown ones ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ControlRequest {
    /// The app that forwarded the click.
    #[serde(rename = "AppID", default)]
    pub app_id: String,
    /// The node whose control was clicked, as the UI knows it.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// The plugin's own control ID, without the prefix that the probe adds.
    #[serde(rename = "Control")]
    pub control: String,
    /// What the caller posted to the app; the UI sends nothing.
    #[serde(rename = "ControlArgs", default, deserialize_with = "null_is_empty")]
    pub control_args: BTreeMap<String, String>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

impl ControlRequest {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, ControlRequestError> {
        let request: ControlRequest =
            serde_json::from_slice(body).map_err(|e| ControlRequestError::Json(shown(&e)))?;
        for (key, value) in [("NodeID", &request.node_id), ("Control", &request.control)] {
            if value.is_empty() {
                return Err(ControlRequestError::Empty(key));
            }
        }
        Ok(request)
    }
}

/// What serde says, which repeats a wrong value as a whole: that is cut.
fn shown(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        None => text,
        Some((end, _)) => {
            let (line, column) = (error.line(), error.column());
            format!("{}… at line {line} column {column}", &text[..end])
        }
    }
}

/// Why a body is no control request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlRequestError {
    /// The body is not JSON, or a key is missing or of the wrong type.
    #[error(
        "the control request cannot be read ({0}): post an object with AppID, NodeID, Control and \
         ControlArgs"
    )]
    Json(String),
    /// A key that must have a value is empty.
    #[error("the control request has an empty {0}: name the node and the control")]
    Empty(&'static str),
}

/// The answer to `POST /control`. It must arrive with status 200 within
/// [`REQUEST_DEADLINE`](crate::REQUEST_DEADLINE), failures too.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ControlResponse {
    /// Shown to the person who clicked, for 10 s.
    pub error: Option<String>,
    /// Handed to whoever called the app's API; the UI ignores it.
    pub value: Option<serde_json::Value>,
    /// The node that is gone now: the UI closes its panel.
    pub removed_node: Option<NodeId>,
    /// A report that the probe publishes at once. Its controls replace the registered ones, so it
    /// lists all of them.
    pub shortcut_report: Option<Report>,
}

impl ControlResponse {
    /// A refusal or failure in words.
    pub fn error(sentence: impl Into<String>) -> Self {
        ControlResponse {
            error: Some(sentence.into()),
            ..Default::default()
        }
    }
}
