//! The address of the active replica for the API server's proxy of Services, through which people ask. The proxy goes by
//! Endpoints, which nobody makes of EndpointSlices, and leads only to a pod that they name.

use std::time::Duration;

use k8s_openapi::api::core::v1;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Address, Reach, WriteError, Writes, endpoints::PORT};

/// Who writes it.
const MANAGER: &str = "scope-totals";
/// What failed is tried again so soon.
const AGAIN: Duration = Duration::from_secs(5);
/// And what was written after this time: somebody may have taken it away, or Kubernetes with a Service of that name. What
/// is as it should be is not written by that.
const ANEW: Duration = Duration::from_secs(60);

/// Writes the Endpoints of the Service when this replica begins to lead, when the Service was made anew, since then
/// Kubernetes takes them away, and now and then.
pub struct Proxied {
    /// Endpoints of the own namespace.
    pub endpoints: Api<v1::Endpoints>,
    /// The own address.
    pub address: Address,
    /// The Service, once it is known.
    pub reach: watch::Receiver<Option<Reach>>,
    /// How to write.
    pub writes: Writes,
}

impl Proxied {
    /// Ends only if the process does.
    pub async fn run(mut self) {
        let mut terms = self.writes.claim().terms();
        let (mut written, mut told) = (None, false);
        loop {
            terms.mark_unchanged();
            let term = self.writes.claim().term();
            let service = self.reach.borrow_and_update().clone();
            // Before a term of its own, what another replica wrote leads to that.
            let due = service.and_then(|reach| Some((term, reach.service?)));
            let is_due = self.writes.may() && due.is_some() && written != due;
            let again = is_due && !self.publish(&mut told).await;
            if is_due && !again {
                written = due;
            }
            tokio::select! {
                changed = terms.changed() => if changed.is_err() {
                    return;
                },
                Ok(()) = self.reach.changed() => {}
                () = tokio::time::sleep(AGAIN), if again => {}
                () = tokio::time::sleep(ANEW), if !again => written = None,
            }
        }
    }

    /// Whether that is done, or is for another replica.
    async fn publish(&self, told: &mut bool) -> bool {
        match self.write().await {
            Ok(()) => *told = false,
            Err(WriteError::NotLeading(_)) => {}
            Err(error) => {
                let service = &self.address.service;
                if !std::mem::replace(told, true) {
                    tracing::warn!(
                        "the Endpoints {service} cannot be written, so nobody can ask by the API server's proxy: {error}"
                    );
                }
                return false;
            }
        }
        true
    }

    async fn write(&self) -> Result<(), WriteError> {
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(wanted(&self.address));
        let write = self.endpoints.patch(&self.address.service, &params, &patch);
        self.writes.write(write).await.map(drop)
    }
}

/// What is published. Kubernetes would make a second EndpointSlice of it, were that not forbidden.
fn wanted(address: &Address) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": address.service,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{
                "ip": address.socket.ip().to_string(),
                "targetRef": address.pod(),
            }],
            "ports": [{"name": PORT, "port": address.socket.port(), "protocol": "TCP"}],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_finds_the_pod_and_nothing_is_mirrored() {
        let address = Address {
            namespace: "scope-system".into(),
            service: "scope-totals".into(),
            pod: "scope-totals-1".into(),
            socket: "10.1.2.3:8443".parse().unwrap(),
        };
        let endpoints: v1::Endpoints = serde_json::from_value(wanted(&address)).unwrap();
        let [subset] = &endpoints.subsets.unwrap()[..] else {
            panic!("one subset");
        };
        let pod = subset.addresses.as_ref().unwrap()[0].target_ref.as_ref();
        let pod = pod.map(|pod| (pod.namespace.as_deref(), pod.name.as_deref()));
        assert_eq!(pod, Some((Some("scope-system"), Some("scope-totals-1"))));
        let port = &subset.ports.as_ref().unwrap()[0];
        assert_eq!((port.name.as_deref(), port.port), (Some("exchange"), 8443));
        let labels = endpoints.metadata.labels.unwrap();
        assert_eq!(labels["endpointslice.kubernetes.io/skip-mirror"], "true");
    }
}
