//! The address of the active replica for the API server's proxy of Services, through which people ask. The proxy goes by
//! Endpoints, which nobody makes of EndpointSlices, and leads only to a pod that they name.

use std::time::Duration;

use futures::Stream;
use k8s_openapi::api::core::v1;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Address, Reach, WriteError, Writes,
    endpoints::PORT,
    kept::{Kept, keep},
};

/// Who writes it.
const MANAGER: &str = "scope-totals";
/// By this Kubernetes makes no EndpointSlice of Endpoints.
const UNMIRRORED: &str = "endpointslice.kubernetes.io/skip-mirror";

/// Keeps the address in the Endpoints of the Service while this replica leads and there is a Service.
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
    /// Follows the Endpoints, of which `seen` tells each change: Kubernetes takes them away with the Service. Ends only if
    /// that does.
    pub async fn run(self, seen: impl Stream<Item = Option<v1::Endpoints>>) {
        let Self {
            endpoints,
            address,
            reach,
            writes,
        } = self;
        keep(ForTheProxy { endpoints, address }, reach, writes, seen).await;
    }
}

struct ForTheProxy {
    endpoints: Api<v1::Endpoints>,
    address: Address,
}

impl Kept for ForTheProxy {
    type Object = v1::Endpoints;

    /// People can wait, and agents do not depend on it.
    const AGAIN: Duration = Duration::from_secs(5);

    /// Kubernetes takes Endpoints away for which there is no Service. One that is gone later is still taken for there, as
    /// it is by what agents are told, and nobody comes by what is left of it.
    fn can_be(&self, reach: Option<&Reach>) -> bool {
        reach.is_some_and(|reach| reach.service.is_some())
    }

    fn is_right(&self, found: &v1::Endpoints, _: Option<&Reach>) -> bool {
        is_in(&self.address, found)
    }

    async fn write(&self, _: Option<Reach>, writes: &Writes) -> Result<(), WriteError> {
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(wanted(&self.address));
        let write = self.endpoints.patch(&self.address.service, &params, &patch);
        writes.write(write).await.map(drop)
    }

    /// The log says already where this replica serves.
    fn written(&self) {}

    fn not_written(&self, error: &WriteError) {
        let service = &self.address.service;
        tracing::warn!(
            "the Endpoints {service} cannot be written, so nobody can ask by the API server's proxy: {error}"
        );
    }
}

/// What is published. Kubernetes would make a second EndpointSlice of it, were that not forbidden.
fn wanted(address: &Address) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": address.service,
            "labels": {UNMIRRORED: "true"},
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

/// Whether these lead to the address, and to nothing else.
fn is_in(address: &Address, found: &v1::Endpoints) -> bool {
    let labels = found.metadata.labels.as_ref();
    let mark = labels.and_then(|labels| labels.get(UNMIRRORED));
    let subsets = serde_json::to_value(&found.subsets);
    mark.is_some_and(|mark| mark == "true")
        && subsets.is_ok_and(|subsets| subsets == wanted(address)["subsets"])
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

    #[test]
    fn endpoints_that_lead_elsewhere_or_are_mirrored_are_seen() {
        let address = |socket: &str| Address {
            namespace: "scope-system".into(),
            service: "scope-totals".into(),
            pod: "scope-totals-1".into(),
            socket: socket.parse().unwrap(),
        };
        let (ours, others) = (address("10.1.2.3:8443"), address("10.1.2.4:8443"));
        let found = |value: Value| serde_json::from_value::<v1::Endpoints>(value).unwrap();
        let mut seen = found(wanted(&ours));
        seen.metadata.resource_version = Some("7".into());
        assert!(is_in(&ours, &seen));
        assert!(!is_in(&others, &seen));
        seen.metadata.labels = None;
        assert!(!is_in(&ours, &seen));
        let mut both = wanted(&ours);
        let other = wanted(&others)["subsets"][0].clone();
        both["subsets"].as_array_mut().unwrap().push(other);
        assert!(!is_in(&ours, &found(both)));
        assert!(!is_in(&ours, &v1::Endpoints::default()));
    }
}
