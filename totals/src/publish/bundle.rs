//! Whom agents trust and where they find the service, in a ConfigMap of their namespace: the kubelet brings it to
//! them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use scope_leader::Term;
use serde_json::json;
use tokio::sync::{Mutex, watch};

use super::{Reach, WriteError, Writes};

/// The keys in the ConfigMap: certificates as PEM, and the fields of [`Reach`].
const AUTHORITIES: &str = "ca.crt";
const ADDRESS: &str = "address";
const NAME: &str = "name";

/// Where this is published.
pub struct Bundle {
    maps: Api<ConfigMap>,
    name: String,
    writes: Writes,
    reach: watch::Receiver<Option<Reach>>,
    news: Mutex<News>,
}

/// What has to be published without anything new of the authorities.
struct News {
    terms: watch::Receiver<Term>,
    reach: watch::Receiver<Option<Reach>>,
}

impl Bundle {
    /// In this ConfigMap, which must exist. `reach` is how agents reach the service, once that is known.
    pub fn new(
        maps: Api<ConfigMap>,
        name: String,
        reach: watch::Receiver<Option<Reach>>,
        writes: Writes,
    ) -> Self {
        let news = News {
            terms: writes.claim().terms(),
            reach: reach.clone(),
        };
        Self {
            maps,
            name,
            writes,
            reach,
            news: Mutex::new(news),
        }
    }

    /// Waits until this replica begins to lead, or the service is reached in another way.
    pub async fn due(&self) {
        let News { terms, reach } = &mut *self.news.lock().await;
        tokio::select! {
            Ok(()) = terms.changed() => {}
            Ok(()) = reach.changed() => {}
            // They are closed when the process ends.
            else => std::future::pending().await,
        }
    }

    /// Publishes, if this replica leads and something else is there. Whether it is there now for certain. The
    /// authorities do not wait for the address: who knows it already needs them.
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
        let reach = self.reach.borrow().clone();
        let mut data = BTreeMap::from([(AUTHORITIES, bundle)]);
        if let Some(Reach { name, address, .. }) = &reach {
            data.extend([(NAME, name.as_str()), (ADDRESS, address.as_str())]);
        }
        let published = there.data.unwrap_or_default();
        data.retain(|key, value| published.get(*key).map(String::as_str) != Some(*value));
        if data.is_empty() {
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": there.metadata.resource_version},
            "data": data,
        });
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let write = self.maps.patch(&self.name, &params, &patch);
        self.writes.write(write).await?;
        if data.contains_key(AUTHORITIES) {
            tracing::info!("the ConfigMap {} says whom agents trust", self.name);
        }
        if let Some(Reach { name, address, .. }) = &reach
            && (data.contains_key(ADDRESS) || data.contains_key(NAME))
        {
            tracing::info!(
                name,
                address,
                "the ConfigMap {} says where agents find the service",
                self.name
            );
        }
        Ok(())
    }
}
