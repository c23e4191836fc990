//! Whether this operator is the one of the cluster's installation.
//!
//! ScopePlugins belong to the whole cluster, and a Lease only tells replicas of one namespace apart. An
//! operator of a second installation would apply the same plugins in another namespace, its agents would
//! fight over the same sockets, and each would overwrite the other's status. So the chart writes down, at a
//! ClusterRole of a fixed name, in which namespace the installation is; an operator that is somewhere else
//! ends before it has written anything, and one that cannot tell does not begin.

use std::{pin::pin, sync::Arc};

use futures::{Stream, StreamExt, future};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client, ResourceExt, core::PartialObjectMeta};
use scope_process::exit::{Code, Failure};
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, names, watches};

/// The ClusterRole that says it.
const ROLE: &str = names::OPERATOR;
/// The annotation with the namespace of the installation.
const INSTALLED_IN: &str = "scopeplugins.dev/installed-in";

/// Follows what the cluster says. Cancels `confirmed` when it is this installation, and returns when it
/// is another.
pub(crate) async fn elsewhere(
    client: Client,
    own_namespace: String,
    confirmed: CancellationToken,
    metrics: Arc<Metrics>,
) -> Failure {
    let roles: Api<PartialObjectMeta<ClusterRole>> = Api::all(client);
    let seen = watches::one(roles, ROLE, watches::kind::INSTALLATION, metrics);
    follow(seen, &own_namespace, &confirmed).await
}

async fn follow(
    seen: impl Stream<Item = Option<PartialObjectMeta<ClusterRole>>>,
    own_namespace: &str,
    confirmed: &CancellationToken,
) -> Failure {
    let mut seen = pin!(seen);
    let mut told = false;
    while let Some(role) = seen.next().await {
        let namespace = role
            .as_ref()
            .and_then(|role| role.annotations().get(INSTALLED_IN));
        match namespace {
            Some(namespace) if namespace == own_namespace => {
                confirmed.cancel();
                told = false;
            }
            Some(namespace) => return another(namespace, own_namespace),
            None if told => {}
            None => {
                told = true;
                tracing::warn!(
                    "the ClusterRole {ROLE} does not say in its annotation {INSTALLED_IN} where the \
                     installation of this cluster is; install the chart of this version again, which ships it"
                );
            }
        }
    }
    // Such a stream tries for ever; without it nothing is known.
    future::pending().await
}

fn another(namespace: &str, own_namespace: &str) -> Failure {
    Failure::new(
        Code::Config,
        format!(
            "the installation of this cluster is in the namespace {namespace}, says the ClusterRole {ROLE}, and \
             this operator runs in {own_namespace}. One cluster has room for one installation: remove \
             this one, or the other and then install this one again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;
    use serde_json::json;

    use super::*;

    fn role(namespace: Option<&str>) -> Option<PartialObjectMeta<ClusterRole>> {
        let annotations = namespace.map(|namespace| json!({INSTALLED_IN: namespace}));
        let role = json!({
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadata",
            "metadata": {"name": ROLE, "annotations": annotations},
        });
        Some(serde_json::from_value(role).unwrap())
    }

    /// Whether it was confirmed, and with what words it ended, if it did.
    async fn heard(seen: Vec<Option<PartialObjectMeta<ClusterRole>>>) -> (bool, Option<Failure>) {
        let confirmed = CancellationToken::new();
        let followed = follow(stream::iter(seen), "scope-system", &confirmed);
        let ended = tokio::time::timeout(Duration::from_secs(1), followed).await;
        (confirmed.is_cancelled(), ended.ok())
    }

    #[tokio::test(start_paused = true)]
    async fn ours_is_confirmed() {
        let (confirmed, ended) = heard(vec![role(Some("scope-system"))]).await;
        assert!(confirmed && ended.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn anothers_is_the_end_in_words() {
        let (confirmed, ended) = heard(vec![role(Some("monitoring"))]).await;
        let ended = ended.unwrap();
        assert!(!confirmed);
        assert_eq!(ended.code(), Code::Config);
        let words = ended.to_string();
        for word in [
            "namespace monitoring",
            "runs in scope-system",
            "One cluster",
        ] {
            assert!(words.contains(word), "{words}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_came_later_is_the_end_too() {
        let (confirmed, ended) =
            heard(vec![role(Some("scope-system")), role(Some("monitoring"))]).await;
        assert!(confirmed && ended.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_said_is_waited_for() {
        for unknown in [None, role(None)] {
            let (confirmed, ended) = heard(vec![unknown.clone(), unknown]).await;
            assert!(!confirmed && ended.is_none());
        }
        let (confirmed, _) = heard(vec![None, role(Some("scope-system"))]).await;
        assert!(confirmed, "it came later");
        // Once it runs, an annotation that somebody removed stops nothing.
        let (_, ended) = heard(vec![role(Some("scope-system")), None]).await;
        assert!(ended.is_none());
    }
}
