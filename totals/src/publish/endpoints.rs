//! The address of the active replica, as the one endpoint of a Service without a selector.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{WriteError, Writes};

/// Who writes it, in its fields and in the label by which Kubernetes asks.
const MANAGER: &str = "scope-totals";
/// The port's name in the Service.
pub(super) const PORT: &str = "exchange";
/// What failed is tried again so soon.
const AGAIN: Duration = Duration::from_millis(500);
/// And what was done is looked at again, besides each change of it.
const LOOK: Duration = Duration::from_secs(60);

/// Where this replica is.
#[derive(Clone, Debug)]
pub struct Address {
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

    fn family(&self) -> &'static str {
        match self.socket.ip() {
            IpAddr::V4(_) => "IPv4",
            IpAddr::V6(_) => "IPv6",
        }
    }

    fn wanted(&self) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.slice(),
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
                "targetRef": {"kind": "Pod", "name": self.pod},
            }],
        })
    }

    /// Whether this replica, and nobody else, is there.
    fn is_in(&self, slice: &EndpointSlice) -> bool {
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
        service == Some(&self.service)
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
    /// How to write.
    pub writes: Writes,
}

impl Endpoints {
    /// Follows the EndpointSlice, of which `seen` tells each change. Ends only if that does.
    pub async fn run(self, seen: impl Stream<Item = Option<EndpointSlice>>) {
        let mut seen = std::pin::pin!(seen);
        let mut terms = self.writes.claim().terms();
        let mut there = false;
        let mut told = false;
        loop {
            let mut again = LOOK;
            if self.writes.may() && !there {
                match self.publish().await {
                    Ok(()) => {
                        tracing::info!(address = %self.address.socket, "published where this replica serves");
                        (there, told) = (true, false);
                    }
                    // Another replica does it now.
                    Err(WriteError::NotLeading(_)) => {}
                    Err(error) => {
                        if !told {
                            let slice = self.address.slice();
                            tracing::warn!("the EndpointSlice {slice} cannot be written: {error}");
                            told = true;
                        }
                        again = AGAIN;
                    }
                }
            }
            tokio::select! {
                changed = seen.next() => match changed {
                    Some(slice) => there = slice.is_some_and(|slice| self.address.is_in(&slice)),
                    None => return,
                },
                changed = terms.changed() => match changed {
                    // What the other replica wrote may not have been seen yet.
                    Ok(()) => there = false,
                    Err(_) => return,
                },
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    async fn publish(&self) -> Result<(), WriteError> {
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(self.address.wanted());
        let slice = self.address.slice();
        let write = self.slices.patch(&slice, &params, &patch);
        self.writes.write(write).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(socket: &str) -> Address {
        Address {
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
        let wanted = ours.wanted();
        let slice = |value: &Value| serde_json::from_value::<EndpointSlice>(value.clone()).unwrap();
        assert!(ours.is_in(&slice(&wanted)));
        assert!(!address("10.1.2.4:8443").is_in(&slice(&wanted)));
        assert!(!address("10.1.2.3:8444").is_in(&slice(&wanted)));
        let mut two = wanted.clone();
        let endpoints = two["endpoints"].as_array_mut().unwrap();
        endpoints.push(wanted["endpoints"][0].clone());
        assert!(!ours.is_in(&slice(&two)));
        let mut away = wanted.clone();
        away["endpoints"][0]["conditions"]["ready"] = false.into();
        assert!(!ours.is_in(&slice(&away)));
        let mut other = wanted;
        other["metadata"]["labels"] = json!({});
        assert!(!ours.is_in(&slice(&other)));
    }
}
