//! The certificates that agents trust, in a ConfigMap of their namespace: the kubelet brings it to them.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use scope_leader::Term;
use serde_json::json;
use tokio::sync::{Mutex, watch};

use super::{WriteError, Writes};

/// The key in the ConfigMap.
const KEY: &str = "ca.crt";

/// Where the certificates are published.
pub struct Bundle {
    maps: Api<ConfigMap>,
    name: String,
    writes: Writes,
    terms: Mutex<watch::Receiver<Term>>,
}

impl Bundle {
    /// In this ConfigMap, which must exist.
    pub fn new(maps: Api<ConfigMap>, name: String, writes: Writes) -> Self {
        let terms = Mutex::new(writes.claim().terms());
        Self {
            maps,
            name,
            writes,
            terms,
        }
    }

    /// Waits until this replica begins to lead.
    pub async fn term(&self) {
        // It is closed when the process ends.
        if self.terms.lock().await.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Publishes, if this replica leads and something else is there. Whether it is there now for certain.
    pub async fn publish(&self, bundle: &str) -> Result<bool, String> {
        if !self.writes.may() {
            return Ok(false);
        }
        match self.look_and_write(bundle).await {
            Ok(()) => Ok(true),
            Err(WriteError::Refused(kube::Error::Api(status))) if status.is_not_found() => {
                Err(format!(
                    "the ConfigMap {} is missing: install the chart again, which ships it",
                    self.name
                ))
            }
            Err(error) => Err(format!("the ConfigMap {}: {error}", self.name)),
        }
    }

    async fn look_and_write(&self, bundle: &str) -> Result<(), WriteError> {
        let there = self.writes.write(self.maps.get(&self.name)).await?;
        let published = there.data.as_ref().and_then(|data| data.get(KEY));
        if published.map(String::as_str) == Some(bundle) {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": there.metadata.resource_version},
            "data": {KEY: bundle},
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let write = self.maps.patch(&self.name, &params, &patch);
        self.writes.write(write).await?;
        tracing::info!("the ConfigMap {} says whom agents trust", self.name);
        Ok(())
    }
}
