//! From what the API server says of a token to whose it is.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use scope_totals_wire::AUDIENCE;

use crate::ledger::Agent;

/// What the operator calls the account of a plugin's pods, before its name.
const ACCOUNT: &str = "scope-plugin-";
/// Who the node of a token's pod is.
const NODE: &str = "authentication.kubernetes.io/node-name";

/// Who may speak here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Speaker {
    /// An agent, for its own plugin and node.
    Agent(Agent),
    /// The operator, which asks how the agents are.
    Operator,
    /// Somebody who asks what uses most, by the name that the API server knows.
    User(Arc<str>),
}

/// Whose tokens are good.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Where the agents' accounts are.
    pub plugins_namespace: String,
    /// Where the operator's is.
    pub namespace: String,
    /// What it is called.
    pub operator: String,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has not the form of one.
    #[error("there is no service account token in the header Authorization")]
    NotAToken,
    /// It is over.
    #[error("the token has expired: read its file anew")]
    Expired,
    /// It was not made for this service.
    #[error("the token is not for the audience {AUDIENCE}")]
    Audience,
    /// The API server does not confirm it.
    #[error("the API server does not accept the token: read its file anew")]
    Invalid,
    /// It is of someone else.
    #[error("{0}")]
    Account(Arc<str>),
}

impl Refused {
    /// Whether the token is good, and of someone else.
    pub fn is_account(&self) -> bool {
        matches!(self, Self::Account(_))
    }
}

/// Who it is, if it is somebody who may speak.
pub(super) fn speaker(status: &TokenReviewStatus, accounts: &Accounts) -> Result<Speaker, Refused> {
    if status.authenticated != Some(true) {
        return Err(Refused::Invalid);
    }
    // A server that passes over audiences names none.
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(Refused::Audience);
    }
    let user = status.user.as_ref();
    let name = user.and_then(|user| user.username.as_deref());
    let name = name.unwrap_or_default();
    let namespace = &accounts.plugins_namespace;
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'));
    if account == Some((&*accounts.namespace, &*accounts.operator)) {
        return Ok(Speaker::Operator);
    }
    let plugin = account
        .filter(|(found, _)| *found == *namespace)
        .and_then(|(_, account)| account.strip_prefix(ACCOUNT))
        .filter(|plugin| !plugin.is_empty());
    let Some(plugin) = plugin else {
        return Err(Refused::Account(
            format!(
                "the account {name} is not that of a plugin: those are called {ACCOUNT}… and are in the \
                 namespace {namespace}"
            )
            .into(),
        ));
    };
    let node = user
        .and_then(|user| user.extra.as_ref()?.get(NODE))
        .and_then(|nodes| match nodes.as_slice() {
            [node] if !node.is_empty() => Some(node),
            _ => None,
        });
    let Some(node) = node else {
        return Err(Refused::Account(
            "the token does not name the node of its pod: use a projected token of a pod that is on one"
                .into(),
        ));
    };
    Ok(Speaker::Agent(Agent {
        plugin: plugin.into(),
        node: node.as_str().into(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(status: Value) -> Result<Speaker, Refused> {
        let accounts = Accounts {
            plugins_namespace: "scope-plugins".into(),
            namespace: "scope-system".into(),
            operator: "scope-operator".into(),
        };
        speaker(&serde_json::from_value(status).unwrap(), &accounts)
    }

    fn status(name: &str) -> Value {
        json!({
            "authenticated": true,
            "audiences": [AUDIENCE],
            "user": {"username": name, "extra": {NODE: ["n1"]}},
        })
    }

    const OURS: &str = "system:serviceaccount:scope-plugins:scope-plugin-node-metrics";

    #[test]
    fn an_agent_is_of_its_plugin_and_on_its_node() {
        let agent = Agent {
            plugin: "node-metrics".into(),
            node: "n1".into(),
        };
        assert_eq!(judged(status(OURS)), Ok(Speaker::Agent(agent)));
    }

    #[test]
    fn the_operator_is_known_by_its_account_wherever_it_runs() {
        let mut operator = status("system:serviceaccount:scope-system:scope-operator");
        assert_eq!(judged(operator.clone()), Ok(Speaker::Operator));
        operator["user"]["extra"] = json!({});
        assert_eq!(judged(operator.clone()), Ok(Speaker::Operator));
        operator["audiences"] = json!(null);
        assert_eq!(judged(operator), Err(Refused::Audience));
    }

    #[test]
    fn nobody_else_is_one() {
        for name in [
            "",
            "kubernetes-admin",
            "system:serviceaccount:scope-plugins:default",
            "system:serviceaccount:scope-plugins:scope-plugin-",
            "system:serviceaccount:scope-plugins2:scope-plugin-a",
            "system:serviceaccount:other:scope-plugin-a",
            "scope-plugin-a",
            "scope-operator",
            "system:serviceaccount:scope-system:default",
            "system:serviceaccount:scope-system:scope-operator2",
            "system:serviceaccount:scope-system2:scope-operator",
            "system:serviceaccount:scope-plugins:scope-operator",
            "system:serviceaccount:scope-system:scope-plugin-a",
        ] {
            let refused = judged(status(name)).unwrap_err();
            assert!(matches!(refused, Refused::Account(_)), "{name}: {refused}");
        }
        let mut nowhere = status(OURS);
        nowhere["user"]["extra"] = json!({});
        assert!(judged(nowhere).unwrap_err().to_string().contains("node"));
        let mut two = status(OURS);
        two["user"]["extra"][NODE] = json!(["n1", "n2"]);
        assert!(judged(two).is_err());
    }

    #[test]
    fn the_api_server_has_to_say_so() {
        let mut no = status(OURS);
        no["authenticated"] = false.into();
        assert_eq!(judged(no), Err(Refused::Invalid));
        assert_eq!(judged(json!({})), Err(Refused::Invalid));
        let mut other = status(OURS);
        other["audiences"] = json!(["https://kubernetes.default.svc"]);
        assert_eq!(judged(other), Err(Refused::Audience));
        let mut none = status(OURS);
        none["audiences"] = json!(null);
        assert_eq!(judged(none), Err(Refused::Audience));
    }
}
