//! `scope-operator check`: whether the installation works, for `helm test` and for people. It asks the API
//! server and no replica: the kubelet asks each replica's /readyz, and the Deployment says what it heard.
//! A plugin that is not ready is told but is no failure, since the installation is not to blame.
//!
//! # Rights
//!
//! | where | group | resource | verbs | for |
//! | --- | --- | --- | --- | --- |
//! | cluster | apiextensions.k8s.io | customresourcedefinitions, the two of the project | get | whether they are served |
//! | own namespace | apps | deployments, those of the operator and of scope-totals | get | whether all replicas are ready |
//! | own namespace | coordination.k8s.io | leases, those of the operator and of scope-totals | get | whether a replica leads |
//! | cluster | scopeplugins.dev | scopeplugins | list | telling what they say of themselves |

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, CustomResourceExt, Resource, ResourceExt, api::ListParams};
use scope_crds::{ScopeAction, ScopePlugin};
use scope_process::{
    clients::Clients,
    exit::{Code, Failure},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    cli::Check,
    guarded::{self, RequestError},
    watches::Guarded,
};

/// How often is looked while something is missing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for one answer, so that a slow one is not all that the time is spent on.
const ANSWER: Duration = Duration::from_secs(5);
/// The operator's leader renews its Lease every 5 s, and a standby takes over after 15 s; in scope-totals it is 4 s
/// and 12 s.
const RENEWED_WITHIN: Duration = Duration::from_secs(20);
/// ScopePlugins that are told of; a cluster has a handful.
const TOLD: u32 = 20;

/// What keeps a question from a good answer.
#[derive(Debug)]
enum Bad {
    /// It may still become good.
    NotYet(String),
    /// It never will without a hand.
    Never(String),
}

impl From<RequestError> for Bad {
    fn from(error: RequestError) -> Self {
        match error.status() {
            Some(status) if status.is_forbidden() || status.code == 401 => {
                Bad::Never(error.to_string())
            }
            _ => Bad::NotYet(error.to_string()),
        }
    }
}

/// Asks until every answer is good, or the time is over.
pub(crate) async fn run(check: Check) -> Result<(), Failure> {
    let deadline = Instant::now() + check.timeout;
    let client = Clients::new().await?.act;
    loop {
        let missing = match look(&client, &check).await {
            Ok(good) => {
                for line in good {
                    tracing::info!("{line}");
                }
                break;
            }
            Err(Bad::Never(missing)) => return Err(Failure::new(Code::Unavailable, missing)),
            Err(Bad::NotYet(missing)) => missing,
        };
        if Instant::now() + LOOK_EVERY > deadline {
            return Err(Failure::new(
                Code::Unavailable,
                format!("after {} s: {missing}", check.timeout.as_secs()),
            ));
        }
        tracing::debug!("{missing}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for line in plugins(&client).await {
        tracing::info!("{line}");
    }
    Ok(())
}

/// All questions once; the first bad answer ends it.
async fn look(client: &Client, check: &Check) -> Result<Vec<String>, Bad> {
    let namespace = &check.namespace;
    let mut good = Vec::new();
    for (crd, version) in [
        (ScopePlugin::crd_name(), ScopePlugin::version(&())),
        (ScopeAction::crd_name(), ScopeAction::version(&())),
    ] {
        let definition: CustomResourceDefinition = get(Api::all(client.clone()), crd).await?;
        good.push(served(&definition, &version).map_err(Bad::NotYet)?);
    }
    for replicas in std::iter::once(&check.operator).chain(&check.totals) {
        let deployments = Api::namespaced(client.clone(), namespace);
        let deployment: Deployment = get(deployments, &replicas.deployment).await?;
        good.push(ready(&deployment).map_err(Bad::NotYet)?);
        let leases = Api::namespaced(client.clone(), namespace);
        let lease: Lease = get(leases, &replicas.lease_name).await?;
        good.push(led(&lease, Timestamp::now()).map_err(Bad::NotYet)?);
    }
    Ok(good)
}

async fn get<K>(api: Api<K>, name: &str) -> Result<K, Bad>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let what = || format!("reading the {} {name}", K::kind(&()));
    Ok(guarded::read(what, ANSWER, api.get(name)).await?)
}

fn served(definition: &CustomResourceDefinition, version: &str) -> Result<String, String> {
    let name = definition.name_any();
    let established = definition
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Established" && condition.status == "True");
    let known = &definition.spec.versions;
    match known.iter().any(|v| v.name == version && v.served) {
        true if established => Ok(format!("{name} is served as {version}")),
        true => Err(format!("the definition {name} is not established yet")),
        false => Err(format!(
            "the definition {name} serves no {version}, which this operator reads: upgrade the definitions (crds.install=true, or kubectl apply -f crds/)"
        )),
    }
}

fn ready(deployment: &Deployment) -> Result<String, String> {
    let name = deployment.name_any();
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation < deployment.metadata.generation {
        return Err(format!("the Deployment {name} was not looked at yet"));
    }
    let ready = status.ready_replicas.unwrap_or(0);
    let updated = status.updated_replicas.unwrap_or(0);
    if wanted < 1 {
        return Err(format!("the Deployment {name} is scaled to 0"));
    }
    if ready < wanted || updated < wanted {
        return Err(format!(
            "of {wanted} replicas of the Deployment {name} {updated} are of this version and {ready} are ready: look at kubectl describe pods"
        ));
    }
    Ok(format!("{ready} of {wanted} replicas of {name} are ready"))
}

fn led(lease: &Lease, now: Timestamp) -> Result<String, String> {
    let name = lease.name_any();
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let (Some(holder), Some(renewed)) = (holder, spec.renew_time) else {
        return Err(format!("no replica holds the Lease {name} yet"));
    };
    let age = now.duration_since(renewed.0);
    if age.as_secs() > RENEWED_WITHIN.as_secs() as i64 {
        return Err(format!(
            "{holder} holds the Lease {name} but renewed it {} s ago",
            age.as_secs()
        ));
    }
    Ok(format!("{holder} leads"))
}

/// What the ScopePlugins say of themselves, a line each.
async fn plugins(client: &Client) -> Vec<String> {
    let api: Api<Guarded<ScopePlugin>> = Api::all(client.clone());
    let params = ListParams::default().limit(TOLD);
    let what = || "listing the ScopePlugins".to_owned();
    match guarded::read(what, ANSWER, api.list(&params)).await {
        Ok(list) if list.items.is_empty() => vec!["there is no ScopePlugin yet".into()],
        Ok(list) => list.items.iter().map(told).collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn told(plugin: &Guarded<ScopePlugin>) -> String {
    let name = plugin.name_any();
    let Ok(known) = &plugin.0 else {
        return format!("the ScopePlugin {name} cannot be read by this version");
    };
    let conditions = known.status.iter().flat_map(|status| &status.conditions);
    match conditions.into_iter().find(|c| c.type_ == "Ready") {
        Some(ready) => format!(
            "the ScopePlugin {name} is Ready={}: {}",
            ready.status, ready.message
        ),
        None => format!("the ScopePlugin {name} has no status yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn definition(version: &str, established: &str) -> CustomResourceDefinition {
        from_value(json!({
            "metadata": {"name": "scopeplugins.scopeplugins.dev"},
            "spec": {
                "group": "scopeplugins.dev", "scope": "Cluster",
                "names": {"kind": "ScopePlugin", "plural": "scopeplugins"},
                "versions": [{"name": version, "served": true, "storage": true}],
            },
            "status": {"conditions": [{"type": "Established", "status": established}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_definition_is_established_and_has_our_version() {
        assert!(served(&definition("v1alpha1", "True"), "v1alpha1").is_ok());
        let missing = served(&definition("v1alpha1", "False"), "v1alpha1").unwrap_err();
        assert!(missing.contains("not established"), "{missing}");
        let missing = served(&definition("v1", "True"), "v1alpha1").unwrap_err();
        assert!(missing.contains("upgrade the definitions"), "{missing}");
    }

    #[test]
    fn all_replicas_are_of_this_version_and_ready() {
        let deployment = |status: Value| -> Deployment {
            from_value(json!({
                "metadata": {"name": "scope-operator", "generation": 2},
                "spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": status,
            }))
            .unwrap()
        };
        let good = json!({"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 2});
        assert!(ready(&deployment(good)).is_ok());
        for (status, words) in [
            (
                json!({"observedGeneration": 1, "readyReplicas": 2}),
                "not looked at",
            ),
            (
                json!({"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 1}),
                "1 are of this version and 2 are ready",
            ),
            (json!({"observedGeneration": 2}), "0 are ready"),
        ] {
            let missing = ready(&deployment(status)).unwrap_err();
            assert!(missing.contains(words), "{missing}");
        }
    }

    #[test]
    fn the_leader_is_alive() {
        let lease = |spec: Value| -> Lease {
            from_value(json!({"metadata": {"name": "scope-operator"}, "spec": spec})).unwrap()
        };
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let held = |time: &str| lease(json!({"holderIdentity": "p-1", "renewTime": time}));
        assert_eq!(
            led(&held("2026-01-01T00:00:55.000000Z"), now).unwrap(),
            "p-1 leads"
        );
        let missing = led(&held("2026-01-01T00:00:10.000000Z"), now).unwrap_err();
        assert!(missing.contains("50 s ago"), "{missing}");
        assert!(led(&lease(json!({})), now).is_err());
        assert!(
            led(
                &lease(json!({"holderIdentity": "", "renewTime": "2026-01-01T00:00:55.000000Z"})),
                now
            )
            .is_err()
        );
    }
}
