//! The API server's audit log: who asked for what, when, and what came of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// The verbs that change something.
pub const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// One line of the audit log.
///
/// A watch gives [`Stage::ResponseStarted`] when it opens and [`Stage::ResponseComplete`] only
/// when it ends, so count watches by the first and everything else by the second. A write also
/// gives [`Stage::RequestReceived`] when it comes in, before anything is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// The user's name; empty for requests that were refused before anybody was recognised.
    pub user: String,
    /// The pod whose token the request carried; empty for anybody else's.
    pub pod: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// get, list, watch, create, update, patch, delete, …
    pub verb: String,
    /// The API group of the object; empty for the core group and for paths without objects.
    pub group: String,
    /// The plural name of the object's kind; empty for paths without objects.
    pub resource: String,
    /// status, log, …; mostly empty.
    pub subresource: String,
    /// The object's namespace; empty for cluster-scoped objects and lists over all namespaces.
    pub namespace: String,
    /// The object's name; empty for lists and most creations.
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// The HTTP status, once there is one.
    pub code: Option<u16>,
    /// The stage of the request that this line is about.
    pub stage: Stage,
    /// When the request came in.
    pub received: Timestamp,
    /// When this stage was reached.
    pub reached: Timestamp,
    /// `allow` or `forbid`; empty when nobody decided.
    pub decision: String,
    /// Why, as in "RBAC: allowed by ClusterRoleBinding …".
    pub reason: String,
}

/// The stage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// It came in.
    RequestReceived,
    /// The head of a long answer (of a watch, say) was sent.
    ResponseStarted,
    /// The answer was sent.
    ResponseComplete,
    /// The API server broke down over it.
    Panic,
}

impl AuditEvent {
    /// Whether the event belongs to a request that should be counted once: a watch when it opens,
    /// anything else when it is answered.
    pub fn counts(&self) -> bool {
        match self.verb.as_str() {
            "watch" => self.stage == Stage::ResponseStarted,
            _ => matches!(self.stage, Stage::ResponseComplete | Stage::Panic),
        }
    }

    /// Whether the request changes something, or would have.
    pub fn is_write(&self) -> bool {
        WRITES.contains(&self.verb.as_str())
    }

    /// Whether it is a write by this user, other than the renewal of a Lease, which says only that
    /// the user is there.
    pub fn is_write_of(&self, user: &str) -> bool {
        self.user == user && self.is_write() && self.resource != "leases"
    }

    /// Reads one line of the log.
    pub(crate) fn parse(line: &str) -> serde_json::Result<AuditEvent> {
        let line: Line = serde_json::from_str(line)?;
        let object = line.object_ref.unwrap_or_default();
        let annotation = |name: &str| line.annotations.get(name).cloned().unwrap_or_default();
        let user = line.user.unwrap_or_default();
        let pod = user.extra.get(POD_OF_TOKEN).and_then(|pods| pods.first());
        Ok(AuditEvent {
            pod: pod.cloned().unwrap_or_default(),
            decision: annotation("authorization.k8s.io/decision"),
            reason: annotation("authorization.k8s.io/reason"),
            user: user.username,
            user_agent: line.user_agent,
            verb: line.verb,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            uri: line.request_uri,
            code: line.response_status.and_then(|status| status.code),
            stage: line.stage,
            received: line.request_received_timestamp,
            reached: line.stage_timestamp,
        })
    }
}

/// A place in the audit log. Everything that was answered before it was taken lies before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditMark(pub(crate) u64);

impl AuditMark {
    /// The start of the log.
    pub const START: AuditMark = AuditMark(0);
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: Option<User>,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

/// Where the API server writes down the pod that a token is bound to.
const POD_OF_TOKEN: &str = "authentication.kubernetes.io/pod-name";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments/b/status","verb":"get","user":{"username":"system:serviceaccount:x:y","groups":["system:authenticated"],"extra":{"authentication.kubernetes.io/pod-name":["y-1"]}},"sourceIPs":["10.77.0.101"],"userAgent":"agent/0.1","objectRef":{"resource":"deployments","namespace":"a","name":"b","apiGroup":"apps","apiVersion":"v1","subresource":"status"},"responseStatus":{"metadata":{},"code":403},"requestReceivedTimestamp":"2026-01-02T03:04:05.000006Z","stageTimestamp":"2026-01-02T03:04:05.100000Z","annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":""}}"#;

    #[test]
    fn a_request_about_an_object() {
        let event = AuditEvent::parse(GET).unwrap();
        assert_eq!(event.user, "system:serviceaccount:x:y");
        assert_eq!(event.pod, "y-1");
        assert_eq!(
            (event.group.as_str(), event.resource.as_str()),
            ("apps", "deployments")
        );
        assert_eq!((event.namespace.as_str(), event.name.as_str()), ("a", "b"));
        assert_eq!(
            (event.subresource.as_str(), event.code),
            ("status", Some(403))
        );
        assert_eq!(event.decision, "forbid");
        assert_eq!(event.received.subsec_microsecond(), 6);
        assert!(event.reached > event.received);
        assert!(event.counts());
        assert!(!event.is_write());
    }

    #[test]
    fn a_write_is_told_from_the_renewal_of_a_lease() {
        let patch = GET.replace("\"verb\":\"get\"", "\"verb\":\"patch\"");
        let event = AuditEvent::parse(&patch).unwrap();
        assert!(event.is_write_of("system:serviceaccount:x:y"));
        assert!(!event.is_write_of("admin"));
        let lease = AuditEvent::parse(&patch.replace("deployments\",", "leases\",")).unwrap();
        assert!(lease.is_write() && !lease.is_write_of("system:serviceaccount:x:y"));
    }

    #[test]
    fn a_write_counts_when_it_is_answered() {
        let write = GET.replace("\"verb\":\"get\"", "\"verb\":\"delete\"");
        let came = AuditEvent::parse(&write.replace("ResponseComplete", "RequestReceived"));
        assert!(!came.unwrap().counts());
        assert!(AuditEvent::parse(&write).unwrap().counts());
    }

    #[test]
    fn a_watch_counts_when_it_opens() {
        let line = GET
            .replace("\"verb\":\"get\"", "\"verb\":\"watch\"")
            .replace("ResponseComplete", "ResponseStarted");
        assert!(AuditEvent::parse(&line).unwrap().counts());
        let ended = line.replace("ResponseStarted", "ResponseComplete");
        assert!(!AuditEvent::parse(&ended).unwrap().counts());
    }

    #[test]
    fn a_request_by_nobody_about_no_object() {
        let event = AuditEvent::parse(
            r#"{"stage":"ResponseComplete","requestURI":"/readyz","verb":"get","user":{},"responseStatus":{"code":401},"requestReceivedTimestamp":"2026-01-02T03:04:05.000006Z","stageTimestamp":"2026-01-02T03:04:05.100000Z"}"#,
        )
        .unwrap();
        assert_eq!((event.user.as_str(), event.resource.as_str()), ("", ""));
        assert_eq!(event.code, Some(401));
    }

    #[test]
    fn half_a_line_is_no_event() {
        assert!(AuditEvent::parse(&GET[..100]).is_err());
    }
}
