//! What has to stand still before anything is removed. The operator would bring back what is removed; scope-totals
//! gives up at its end what it leads by, for which Helm takes it the rights afterwards.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use scope_process::exit::{Code, Failure};
use serde_json::json;

use super::{gone, insist, progress};
use crate::cli::Cleanup;

/// Stops the operator and scope-totals, both at once, and waits until both have.
pub(super) async fn stop(client: &Client, cleanup: &Cleanup) -> Result<(), Failure> {
    let namespace = &cleanup.namespace;
    let operator = Some((&cleanup.deployment, "of the operator"));
    let totals = cleanup.totals_deployment.as_ref();
    let totals = totals.map(|deployment| (deployment, "of scope-totals"));
    let mut stopping = Vec::new();
    for (deployment, whose) in [operator, totals].into_iter().flatten() {
        if let Some(selector) = scale_to_nothing(client, namespace, deployment).await? {
            stopping.push((selector, whose));
        }
    }
    for (selector, whose) in stopping {
        gone(client, namespace, &selector, "2/5", whose).await?;
    }
    Ok(())
}

/// Scales a Deployment to 0. By which labels it finds its pods, if there is one.
async fn scale_to_nothing(
    client: &Client,
    namespace: &str,
    deployment: &str,
) -> Result<Option<String>, Failure> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let nothing = json!({"spec": {"replicas": 0}});
    let scaled = insist(
        || format!("scaling the Deployment {namespace}/{deployment} to 0"),
        async || {
            deployments
                .patch_scale(deployment, &PatchParams::default(), &Patch::Merge(&nothing))
                .await
        },
    )
    .await?;
    let Some(scale) = scaled else {
        progress(&format!(
            "1/5 there is no Deployment {namespace}/{deployment}: nothing of it runs"
        ));
        return Ok(None);
    };
    let selector = scale
        .status
        .and_then(|status| status.selector)
        .unwrap_or_default();
    if selector.is_empty() {
        return Err(Failure::new(
            Code::Software,
            format!(
                "the API server did not say by which labels the Deployment {namespace}/{deployment} finds its pods"
            ),
        ));
    }
    progress(&format!(
        "1/5 the Deployment {namespace}/{deployment} is scaled to 0"
    ));
    Ok(Some(selector))
}

#[cfg(test)]
mod tests;
