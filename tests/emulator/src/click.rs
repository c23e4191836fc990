//! What becomes of a click.

use std::collections::BTreeMap;

use crate::decode::{Answer, Value};
use crate::gotext::json_string;
use crate::report::Report;
use crate::wire::Exchange;

/// A click, as an app passes it to the probe.
#[derive(Clone, Copy, Debug)]
pub struct Click<'a> {
    /// The app that asks.
    pub app_id: &'a str,
    /// The node that the button stands on.
    pub node_id: &'a str,
    /// The public id of the control, such as `plugin~control`.
    pub control: &'a str,
    /// Arguments; only API callers send any.
    pub args: Option<&'a BTreeMap<String, String>>,
}

/// What the app answers to whoever clicked, and what happened on the way.
#[derive(Clone, Debug)]
pub struct ClickOutcome {
    /// The HTTP status of the app's answer: 200 or 400.
    pub http: u16,
    /// The body of the app's answer, in JSON.
    pub body: String,
    /// What the user sees, if the click failed.
    pub error: Option<String>,
    /// The value that the plugin passed to the caller.
    pub value: Option<Value>,
    /// Set if the panel of the node is to be closed.
    pub removed_node: Option<String>,
    /// The shortcut report, renamed and tagged, as it would be published at once.
    pub shortcut: Option<Report>,
    /// The request to the plugin, if one was sent.
    pub exchange: Option<Exchange>,
}

impl ClickOutcome {
    pub(crate) fn failed(error: String) -> Self {
        let mut body = String::new();
        json_string(&error, &mut body);
        Self {
            http: 400,
            body,
            error: Some(error),
            value: None,
            removed_node: None,
            shortcut: None,
            exchange: None,
        }
    }

    pub(crate) fn answered(answer: Answer) -> Self {
        if !answer.error.is_empty() {
            return Self::failed(answer.error);
        }
        Self {
            http: 200,
            body: answer.to_json(),
            error: None,
            removed_node: Some(answer.removed_node).filter(|node| !node.is_empty()),
            value: answer.value,
            shortcut: None,
            exchange: None,
        }
    }
}
