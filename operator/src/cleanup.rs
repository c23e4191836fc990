//! `scope-operator cleanup`: what runs before the chart is uninstalled. It stops the operator, which
//! would otherwise bring back what is removed, and scope-totals, while it has the rights to give up what it
//! leads by. Then it removes the agents and waits until no node runs one. Every step may be repeated.
//! ScopePlugins stay, and their status says that nobody looks after them.
//!
//! # Rights
//!
//! | where | group | resource | verbs | for |
//! | --- | --- | --- | --- | --- |
//! | own namespace | apps | deployments/scale, those of operator and scope-totals | patch | stopping both |
//! | own namespace | core | pods | list | waiting until they have stopped |
//! | plugins' namespace | apps | daemonsets | list, delete | removing the agents |
//! | plugins' namespace | core | serviceaccounts | list, delete | removing their accounts |
//! | plugins' namespace | core | pods | list | waiting until they are gone |
//! | cluster | scopeplugins.dev | scopeplugins | list | finding those that stay |
//! | cluster | scopeplugins.dev | scopeplugins/status | patch | telling them |

mod left_behind;
mod stop;

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::DaemonSet,
        core::v1::{Pod, ServiceAccount},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions, PropagationPolicy},
};
use scope_process::{
    clients::Clients,
    exit::{Code, Failure},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::{
    cli::Cleanup,
    guarded::{self, BUDGET, RequestError},
    names,
};

/// How often is looked whether pods are gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pods that are named in a progress line.
const NAMED: usize = 3;
/// A request that fails is repeated after so long, within the deadline: this job has nobody who
/// would start it again in time.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// More than there are plugins, and enough pods to see whether any are left.
const LIST: u32 = 500;

/// Removes everything that the operator made, within the time that is given, and then tells the
/// ScopePlugins that stay.
pub(crate) async fn run(cleanup: Cleanup) -> Result<(), Failure> {
    let deadline = Instant::now() + cleanup.timeout;
    let seconds = cleanup.timeout.as_secs();
    let work = async {
        let client = Clients::new().await?.act;
        stop::stop(&client, &cleanup).await?;
        remove_agents(&client, &cleanup).await?;
        Ok(client)
    };
    let Ok(ended) = timeout_at(deadline, work).await else {
        return Err(Failure::new(
            Code::Unavailable,
            format!("not done within {seconds} s; run it again, or with a longer --timeout"),
        ));
    };
    left_behind::tell(&ended?).await;
    Ok(())
}

async fn remove_agents(client: &Client, cleanup: &Cleanup) -> Result<(), Failure> {
    let namespace = &cleanup.plugins_namespace;
    let ours = format!("{}={}", names::LABEL_MANAGED_BY, names::OPERATOR);
    let daemon_sets = remove::<DaemonSet>(client, namespace, &ours).await?;
    let accounts = remove::<ServiceAccount>(client, namespace, &ours).await?;
    progress(&format!(
        "3/5 {daemon_sets} DaemonSets and {accounts} ServiceAccounts are being removed from {namespace}"
    ));
    gone(client, namespace, &ours, "4/5", "of plugins").await
}

/// Deletes all objects of a kind with these labels; returns how many there were.
async fn remove<K>(client: &Client, namespace: &str, labels: &str) -> Result<usize, Failure>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let kind = K::kind(&()).into_owned();
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(labels).limit(LIST);
    let list = insist(
        || format!("listing the {kind}s in {namespace}"),
        async || api.list_metadata(&params).await,
    )
    .await?;
    let objects = list.map(|list| list.items).unwrap_or_default();
    for object in &objects {
        let name = object.name_any();
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions {
                uid: object.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        insist(
            || format!("deleting the {kind} {namespace}/{name}"),
            async || api.delete(&name, &params).await,
        )
        .await?;
    }
    Ok(objects.len())
}

/// Waits until no pod has these labels any more.
async fn gone(
    client: &Client,
    namespace: &str,
    labels: &str,
    step: &str,
    whose: &str,
) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(labels).limit(LIST);
    let mut said = String::new();
    loop {
        let list = insist(
            || format!("listing the pods in {namespace}"),
            async || pods.list_metadata(&params).await,
        )
        .await?;
        let names: Vec<String> = list
            .map(|list| list.items.iter().map(ResourceExt::name_any).collect())
            .unwrap_or_default();
        let line = waiting(&names);
        if names.is_empty() {
            progress(&format!("{step} no pods {whose} are left in {namespace}"));
            return Ok(());
        }
        if line != said {
            progress(&format!(
                "{step} waiting for pods {whose} in {namespace}: {line}"
            ));
            said = line;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn waiting(names: &[String]) -> String {
    let first = names
        .iter()
        .take(NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().checked_sub(NAMED) {
        None | Some(0) => first,
        Some(more) => format!("{first} and {more} more"),
    }
}

/// Repeats a request that failed until it succeeds or can never; the caller limits the time.
/// What is not there, or changed under our hands, is `None`: nothing is left to do about it.
async fn insist<T>(
    what: impl Fn() -> String,
    request: impl AsyncFn() -> kube::Result<T>,
) -> Result<Option<T>, Failure> {
    loop {
        let error = match guarded::read(&what, BUDGET, request()).await {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        match verdict(&error) {
            Verdict::NothingLeft => return Ok(None),
            Verdict::Never => return Err(Failure::new(Code::Unavailable, error)),
            Verdict::Again => progress(&format!("{error}; trying again")),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    NothingLeft,
    Again,
    Never,
}

fn verdict(error: &RequestError) -> Verdict {
    match error.status() {
        Some(status) if status.is_not_found() || status.is_conflict() => Verdict::NothingLeft,
        Some(status) if status.is_forbidden() || status.is_invalid() || status.code == 401 => {
            Verdict::Never
        }
        _ => Verdict::Again,
    }
}

/// A line for whoever reads the hook's log.
fn progress(line: &str) {
    tracing::info!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_named() {
        let names = |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>();
        assert_eq!(waiting(&names(1)), "p0");
        assert_eq!(waiting(&names(3)), "p0, p1, p2");
        assert_eq!(waiting(&names(5)), "p0, p1, p2 and 2 more");
    }

    #[test]
    fn only_what_can_help_is_repeated() {
        let api = |code: u16, reason: &str| RequestError::Api {
            what: "x".into(),
            source: kube::Error::Api(Box::new(kube::core::Status {
                code,
                reason: reason.into(),
                ..Default::default()
            })),
        };
        assert_eq!(verdict(&api(404, "NotFound")), Verdict::NothingLeft);
        assert_eq!(verdict(&api(409, "Conflict")), Verdict::NothingLeft);
        assert_eq!(verdict(&api(403, "Forbidden")), Verdict::Never);
        assert_eq!(verdict(&api(503, "ServiceUnavailable")), Verdict::Again);
        let timeout = RequestError::Timeout {
            what: "x".into(),
            limit: BUDGET,
        };
        assert_eq!(verdict(&timeout), Verdict::Again);
    }
}
