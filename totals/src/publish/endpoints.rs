//! The address of the active replica, as the one endpoint of a Service without a selector.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::Stream;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Reach, WriteError, Writes,
    kept::{Kept, keep},
};

/// Who writes it, in its fields and in the label by which Kubernetes asks.
const MANAGER: &str = "scope-totals";
/// The port's name in the Service.
pub(super) const PORT: &str = "exchange";

/// Where this replica is.
#[derive(Clone, Debug)]
pub struct Address {
    /// The namespace of both.
    pub namespace: String,
    /// The Service.
    pub service: String,
    /// The own pod.
    pub pod: String,
    /// Its address and the port of the exchange.
    pub socket: SocketAddr,
}

impl Address {
    /// The EndpointSlice. The family cannot be changed later, so it is in the name.
    pub fn slice(&self) -> String {
        format!("{}-{}", self.service, self.family().to_lowercase())
    }

    /// The own pod, as an address refers to it. The API server's proxy wants the namespace, too.
    pub(super) fn pod(&self) -> Value {
        json!({"kind": "Pod", "namespace": self.namespace, "name": self.pod})
    }

    fn family(&self) -> &'static str {
        match self.socket.ip() {
            IpAddr::V4(_) => "IPv4",
            IpAddr::V6(_) => "IPv6",
        }
    }

    /// What is published. It goes with the Service of this UID.
    fn wanted(&self, service: Option<&str>) -> Value {
        let owner = service.map(
            |uid| json!({"apiVersion": "v1", "kind": "Service", "name": self.service, "uid": uid}),
        );
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.slice(),
                "ownerReferences": owner.as_slice(),
                "labels": {
                    "kubernetes.io/service-name": self.service,
                    "endpointslice.kubernetes.io/managed-by": MANAGER,
                },
            },
            "addressType": self.family(),
            "ports": [{"name": PORT, "port": self.socket.port(), "protocol": "TCP"}],
            "endpoints": [{
                "addresses": [self.socket.ip().to_string()],
                "conditions": {"ready": true},
                "targetRef": self.pod(),
            }],
        })
    }

    /// Whether this replica, and nobody else, is there, and goes with the Service.
    fn is_in(&self, slice: &EndpointSlice, owner: Option<&str>) -> bool {
        let owners = slice.metadata.owner_references.as_deref();
        let owned = |uid| owners.is_some_and(|owners| owners.iter().any(|o| o.uid == uid));
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
        let [endpoint] = slice.endpoints.as_slice() else {
            return false;
        };
        let ports = slice.ports.as_deref().unwrap_or_default();
        let [port] = ports else {
            return false;
        };
        let ready = endpoint
            .conditions
            .as_ref()
            .and_then(|conditions| conditions.ready);
        owner.is_none_or(owned)
            && service == Some(&self.service)
            && endpoint.addresses == [self.socket.ip().to_string()]
            && ready != Some(false)
            && port.name.as_deref() == Some(PORT)
            && port.port == Some(i32::from(self.socket.port()))
    }
}

/// Keeps the address published while this replica leads.
pub struct Endpoints {
    /// EndpointSlices of the own namespace.
    pub slices: Api<EndpointSlice>,
    /// The own address.
    pub address: Address,
    /// The Service, once it is known.
    pub reach: watch::Receiver<Option<Reach>>,
    /// How to write.
    pub writes: Writes,
}

impl Endpoints {
    /// Follows the EndpointSlice, of which `seen` tells each change. Ends only if that does.
    pub async fn run(self, seen: impl Stream<Item = Option<EndpointSlice>>) {
        let Self {
            slices,
            address,
            reach,
            writes,
        } = self;
        keep(Slice { slices, address }, reach, writes, seen).await;
    }
}

struct Slice {
    slices: Api<EndpointSlice>,
    address: Address,
}

impl Kept for Slice {
    type Object = EndpointSlice;

    const AGAIN: Duration = Duration::from_millis(500);

    fn can_be(&self, _: Option<&Reach>) -> bool {
        true
    }

    fn is_right(&self, found: &EndpointSlice, reach: Option<&Reach>) -> bool {
        let owner = reach.and_then(|reach| reach.service.as_deref());
        self.address.is_in(found, owner)
    }

    async fn write(&self, reach: Option<Reach>, writes: &Writes) -> Result<(), WriteError> {
        let owner = reach.and_then(|reach| reach.service);
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(self.address.wanted(owner.as_deref()));
        let slice = self.address.slice();
        let write = self.slices.patch(&slice, &params, &patch);
        writes.write(write).await.map(drop)
    }

    fn written(&self) {
        tracing::info!(address = %self.address.socket, "published where this replica serves");
    }

    fn not_written(&self, error: &WriteError) {
        let slice = self.address.slice();
        tracing::warn!("the EndpointSlice {slice} cannot be written: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(socket: &str) -> Address {
        Address {
            namespace: "scope-system".into(),
            service: "scope-totals".into(),
            pod: "scope-totals-1".into(),
            socket: socket.parse().unwrap(),
        }
    }

    #[test]
    fn what_is_wanted_is_recognised_and_nothing_else() {
        let ours = address("10.1.2.3:8443");
        assert_eq!(ours.slice(), "scope-totals-ipv4");
        assert_eq!(address("[fd00::1]:8443").slice(), "scope-totals-ipv6");
        let wanted = ours.wanted(Some("u-1"));
        let slice = |value: &Value| serde_json::from_value::<EndpointSlice>(value.clone()).unwrap();
        assert!(ours.is_in(&slice(&wanted), Some("u-1")));
        assert!(
            ours.is_in(&slice(&wanted), None),
            "the Service is not known yet"
        );
        assert!(
            !ours.is_in(&slice(&wanted), Some("u-2")),
            "it was made anew"
        );
        let orphan = slice(&ours.wanted(None));
        assert!(!ours.is_in(&orphan, Some("u-1")), "it would be left behind");
        assert!(!address("10.1.2.4:8443").is_in(&slice(&wanted), Some("u-1")));
        assert!(!address("10.1.2.3:8444").is_in(&slice(&wanted), Some("u-1")));
        let mut two = wanted.clone();
        let endpoints = two["endpoints"].as_array_mut().unwrap();
        endpoints.push(wanted["endpoints"][0].clone());
        assert!(!ours.is_in(&slice(&two), Some("u-1")));
        let mut away = wanted.clone();
        away["endpoints"][0]["conditions"]["ready"] = false.into();
        assert!(!ours.is_in(&slice(&away), Some("u-1")));
        let mut other = wanted;
        other["metadata"]["labels"] = json!({});
        assert!(!ours.is_in(&slice(&other), Some("u-1")));
    }
}
