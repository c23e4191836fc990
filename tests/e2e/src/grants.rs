//! What the chart grants to our accounts, rule by rule, and whether anybody has used it.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::audit::Request;
use crate::kubectl::Kubectl;

/// One verb on one resource for one account or group of accounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// A user's name, or the beginning of the names of a group of accounts.
    holder: Holder,
    /// The role, as `ClusterRole scope-operator` or `Role scope-operator/scope-plugins`.
    role: String,
    /// The binding in the words of the audit log.
    binding: String,
    group: String,
    resource: String,
    verb: String,
    /// The objects that it is limited to, if it is.
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    User(String),
    AccountsOf(String),
}

impl Grant {
    /// Whether it lets its holder change something.
    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }

    /// The rule as a person looks it up.
    pub fn in_words(&self) -> String {
        let holder = match &self.holder {
            Holder::User(user) => user.clone(),
            Holder::AccountsOf(namespace) => format!("the accounts of {namespace}"),
        };
        let group = if self.group.is_empty() {
            "core"
        } else {
            &self.group
        };
        let names = if self.names.is_empty() {
            String::new()
        } else {
            format!(" named {}", self.names.join(", "))
        };
        format!(
            "{}: {} {} ({group}){names} for {holder}",
            self.role, self.verb, self.resource
        )
    }

    /// Whether this request was made by right of it.
    pub fn allowed(&self, request: &Request) -> bool {
        let holder = match &self.holder {
            Holder::User(user) => request.user == *user,
            Holder::AccountsOf(namespace) => request
                .user
                .starts_with(&format!("system:serviceaccount:{namespace}:")),
        };
        let verb = request.verb == self.verb
            // An apply that makes an object is a patch in the log and takes the right to create too.
            || (self.verb == "create" && request.verb == "patch" && request.code == 201);
        holder
            && verb
            && request.code != 403
            && request.group == self.group
            && request.resource == self.resource
            && request.allowed_by.contains(&self.binding)
            && (self.names.is_empty()
                || request.name.is_empty()
                || self.names.contains(&request.name))
    }
}

/// All that a rendered chart grants to accounts. Roles that nobody is bound to, such as those that are
/// aggregated, grant nothing by themselves.
///
/// # Errors
/// When kubectl cannot read it, or a binding names a role that is not in it.
pub fn grants(kubectl: &Kubectl, rendered: &str) -> anyhow::Result<Vec<Grant>> {
    let of_rbac = |document: &&str| {
        document.lines().any(|line| {
            [
                "kind: Role",
                "kind: RoleBinding",
                "kind: ClusterRole",
                "kind: ClusterRoleBinding",
            ]
            .contains(&line.trim_end())
        })
    };
    let documents: Vec<&str> = rendered.split("\n---\n").filter(of_rbac).collect();
    let output = kubectl.pipe(
        &[
            "create",
            "--dry-run=client",
            "--validate=false",
            "-o",
            "json",
            "-f",
            "-",
        ],
        &documents.join("\n---\n"),
    )?;
    ensure!(
        output.status.success(),
        "the chart's roles: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut objects = Vec::new();
    for value in serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>() {
        let mut value = value?;
        match value["items"].take() {
            Value::Array(items) => objects.extend(items),
            _ => objects.push(value),
        }
    }
    granted(&objects)
}

fn granted(objects: &[Value]) -> anyhow::Result<Vec<Grant>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(text).collect()
    };
    let key = |kind: &str, namespace: &str, name: &str| match kind {
        "Role" => format!("Role {name}/{namespace}"),
        kind => format!("{kind} {name}"),
    };
    let roles: BTreeMap<String, &Value> = objects
        .iter()
        .map(|o| {
            let meta = &o["metadata"];
            let name = text(&meta["name"]);
            (key(&text(&o["kind"]), &text(&meta["namespace"]), &name), o)
        })
        .collect();
    let mut grants = Vec::new();
    for binding in objects {
        let namespace = text(&binding["metadata"]["namespace"]);
        let name = text(&binding["metadata"]["name"]);
        let (namespace, in_log) = match binding["kind"].as_str() {
            Some("RoleBinding") => {
                let in_log = format!("RoleBinding \"{name}/{namespace}\" ");
                (Some(namespace), in_log)
            }
            Some("ClusterRoleBinding") => (None, format!("ClusterRoleBinding \"{name}\" ")),
            _ => continue,
        };
        let role = &binding["roleRef"];
        let role = key(
            &text(&role["kind"]),
            namespace.as_deref().unwrap_or_default(),
            &text(&role["name"]),
        );
        let rules = roles.get(&role).with_context(|| {
            format!("the binding {name} names {role}, which the chart does not have")
        })?;
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let subject_name = text(&subject["name"]);
            let holder = match subject["kind"].as_str() {
                Some("ServiceAccount") => Holder::User(format!(
                    "system:serviceaccount:{}:{subject_name}",
                    text(&subject["namespace"])
                )),
                _ => Holder::AccountsOf(
                    subject_name
                        .strip_prefix("system:serviceaccounts:")
                        .with_context(|| format!("{name} binds {subject}"))?
                        .to_owned(),
                ),
            };
            for rule in rules["rules"].as_array().into_iter().flatten() {
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        for verb in texts(&rule["verbs"]) {
                            grants.push(Grant {
                                holder: holder.clone(),
                                role: role.clone(),
                                binding: in_log.clone(),
                                group: group.clone(),
                                resource: resource.clone(),
                                verb,
                                names: texts(&rule["resourceNames"]),
                            });
                        }
                    }
                }
            }
        }
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Vec<Value> {
        vec![
            json!({"kind": "Role", "metadata": {"name": "r", "namespace": "n"}, "rules": [
                {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["create", "list"]},
                {"apiGroups": [""], "resources": ["pods/eviction"], "resourceNames": ["p"], "verbs": ["create"]},
            ]}),
            json!({"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "n"},
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "ServiceAccount", "name": "op", "namespace": "sys"}]}),
            json!({"kind": "ClusterRole", "metadata": {"name": "c"}, "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}]}),
            json!({"kind": "ClusterRoleBinding", "metadata": {"name": "b"},
                "roleRef": {"kind": "ClusterRole", "name": "c"},
                "subjects": [{"kind": "Group", "name": "system:serviceaccounts:n"}]}),
            json!({"kind": "ClusterRole", "metadata": {"name": "unbound"}, "rules": [
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["delete"]}]}),
        ]
    }

    fn request(user: &str, verb: &str, group: &str, resource: &str, by: &str) -> Request {
        Request {
            pod: String::new(),
            user: user.into(),
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            namespace: "n".into(),
            name: "p".into(),
            uri: String::new(),
            code: 200,
            allowed_by: format!("RBAC: allowed by {by} of …"),
        }
    }

    #[test]
    fn each_verb_of_a_bound_rule_is_a_grant() {
        let grants = granted(&objects()).unwrap();
        let words: Vec<String> = grants.iter().map(Grant::in_words).collect();
        assert_eq!(
            words,
            [
                "Role r/n: create daemonsets (apps) for system:serviceaccount:sys:op",
                "Role r/n: list daemonsets (apps) for system:serviceaccount:sys:op",
                "Role r/n: create pods/eviction (core) named p for system:serviceaccount:sys:op",
                "ClusterRole c: delete pods (core) for the accounts of n",
            ]
        );
        let writes: Vec<bool> = grants.iter().map(Grant::writes).collect();
        assert_eq!(writes, [true, false, true, true]);
    }

    #[test]
    fn a_request_uses_the_grant_that_allowed_it() {
        let grants = granted(&objects()).unwrap();
        let op = "system:serviceaccount:sys:op";
        let by = "RoleBinding \"b/n\"";
        let used = |request: &Request| -> Vec<usize> {
            (0..grants.len())
                .filter(|i| grants[*i].allowed(request))
                .collect()
        };
        let list = request(op, "list", "apps", "daemonsets", by);
        assert_eq!(used(&list), [1]);
        let mut apply = request(op, "patch", "apps", "daemonsets", by);
        assert!(used(&apply).is_empty(), "it changed what was there");
        apply.code = 201;
        assert_eq!(used(&apply), [0], "it made the object");
        let mut evict = request(op, "create", "", "pods/eviction", by);
        assert_eq!(used(&evict), [2]);
        evict.name = "q".into();
        assert!(used(&evict).is_empty(), "another object");
        let agent = "system:serviceaccount:n:a";
        let by = "ClusterRoleBinding \"b\"";
        assert_eq!(used(&request(agent, "delete", "", "pods", by)), [3]);
        assert!(used(&request(op, "delete", "", "pods", by)).is_empty());
        let by = "ClusterRoleBinding \"other\"";
        assert!(used(&request(agent, "delete", "", "pods", by)).is_empty());
        let mut forbidden = request(agent, "delete", "", "pods", "ClusterRoleBinding \"b\"");
        forbidden.code = 403;
        assert!(used(&forbidden).is_empty());
    }

    #[test]
    fn a_binding_to_nothing_is_an_error() {
        let error = granted(&objects()[1..2]).unwrap_err().to_string();
        assert!(error.contains("Role r/n"), "{error}");
    }
}
