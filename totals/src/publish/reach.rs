//! How agents reach the service without asking a DNS server: the address of its Service, as the cluster says it
//! ([decision 19](../../../docs/decisions/0019-the-address-beside-the-authorities.md)).

use std::net::{IpAddr, SocketAddr};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Service;
use tokio::sync::watch;

use super::endpoints::PORT;

/// Under which name and where agents call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// What the certificate has to be for: `<service>.<namespace>.svc`.
    pub name: String,
    /// `IP:port`, an IPv6 address in brackets; `<name>:<port>` where the Service has no address of its own.
    pub address: String,
    /// The UID of the Service, with which what is published for it goes.
    pub service: Option<String>,
}

/// Why agents cannot be told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// Nothing leads to this service.
    #[error("it is missing: install the chart again, which ships it")]
    Missing,
    /// It is there for something else.
    #[error(
        "it has no port named {} from 1 to 65535: install the chart again, which ships one",
        PORT
    )]
    Port,
}

/// How a Service is reached that is called `name`.
pub fn reach(service: Option<&Service>, name: &str) -> Result<Reach, ReachError> {
    let service = service.ok_or(ReachError::Missing)?;
    let spec = service.spec.as_ref();
    let port = spec
        .and_then(|spec| spec.ports.as_deref())
        .and_then(|ports| ports.iter().find(|port| port.name.as_deref() == Some(PORT)))
        .and_then(|port| u16::try_from(port.port).ok())
        .filter(|port| *port != 0)
        .ok_or(ReachError::Port)?;
    // A headless one says `None`.
    let ip = spec
        .and_then(|spec| spec.cluster_ip.as_deref())
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    let address = match ip {
        Some(ip) => SocketAddr::new(ip, port).to_string(),
        None => format!("{name}:{port}"),
    };
    Ok(Reach {
        name: name.to_owned(),
        address,
        service: service.metadata.uid.clone(),
    })
}

/// Follows the Service that is called `name`, of which `seen` tells each change, and tells whoever publishes it.
/// What was known stays as long as nothing else is: an address that leads nowhere harms nobody. Ends only if
/// `seen` does.
pub async fn follow(
    seen: impl Stream<Item = Option<Service>>,
    name: String,
    known: watch::Sender<Option<Reach>>,
) {
    let mut seen = std::pin::pin!(seen);
    let mut told = None;
    while let Some(service) = seen.next().await {
        match reach(service.as_ref(), &name) {
            Ok(reach) => {
                told = None;
                known.send_if_modified(|known| {
                    let changed = known.as_ref() != Some(&reach);
                    *known = Some(reach);
                    changed
                });
            }
            Err(error) if told.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::warn!("the Service of {name}, by which agents find it: {error}");
                told = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use serde_json::{Value, json};

    use super::*;

    const NAME: &str = "scope-totals.scope-system.svc";

    fn service(ip: Option<&str>, ports: Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "scope-totals", "namespace": "scope-system", "uid": "u-1"},
            "spec": {"clusterIP": ip, "ports": ports},
        }))
        .unwrap()
    }

    #[test]
    fn the_address_is_that_of_the_cluster_or_the_name() {
        let exchange = json!([
            {"name": "metrics", "port": 8080},
            {"name": "exchange", "port": 8443, "targetPort": "x"},
        ]);
        let other = json!([{"name": "metrics", "port": 8080}]);
        let unnamed = json!([{"port": 8443}]);
        let odd = json!([{"name": "exchange", "port": 70000}]);
        let zero = json!([{"name": "exchange", "port": 0}]);
        for (ip, ports, wanted) in [
            (Some("10.96.0.7"), &exchange, Ok("10.96.0.7:8443")),
            (Some("fd00:10::7"), &exchange, Ok("[fd00:10::7]:8443")),
            (
                Some("None"),
                &exchange,
                Ok("scope-totals.scope-system.svc:8443"),
            ),
            (
                Some(""),
                &exchange,
                Ok("scope-totals.scope-system.svc:8443"),
            ),
            (None, &exchange, Ok("scope-totals.scope-system.svc:8443")),
            (Some("10.96.0.7"), &other, Err(ReachError::Port)),
            (Some("10.96.0.7"), &unnamed, Err(ReachError::Port)),
            (Some("10.96.0.7"), &odd, Err(ReachError::Port)),
            (Some("10.96.0.7"), &zero, Err(ReachError::Port)),
            (None, &Value::Null, Err(ReachError::Port)),
        ] {
            let service = service(ip, ports.clone());
            let found = reach(Some(&service), NAME);
            let wanted = wanted.map(|address: &str| Reach {
                name: NAME.into(),
                address: address.into(),
                service: Some("u-1".into()),
            });
            assert_eq!(found, wanted, "{ip:?} {ports}");
        }
        assert_eq!(
            reach(Some(&Service::default()), NAME),
            Err(ReachError::Port)
        );
        assert_eq!(reach(None, NAME), Err(ReachError::Missing));
    }

    #[tokio::test]
    async fn changes_are_told_once_and_a_missing_service_takes_nothing_back() {
        let exchange = || json!([{"name": "exchange", "port": 8443}]);
        let one = || Some(service(Some("10.96.0.7"), exchange()));
        let (known, told) = watch::channel(None);
        let heard = async |seen: Vec<Option<Service>>| {
            let mut told = told.clone();
            told.mark_unchanged();
            follow(stream::iter(seen), NAME.into(), known.clone()).await;
            let changed = told.has_changed().unwrap();
            let address = told.borrow().as_ref().map(|reach| reach.address.clone());
            (changed, address)
        };
        assert_eq!(heard(vec![None, None]).await, (false, None));
        let first = Some("10.96.0.7:8443".to_owned());
        assert_eq!(heard(vec![one()]).await, (true, first.clone()));
        assert_eq!(heard(vec![one(), None, one()]).await, (false, first));
        let other = Some(service(Some("10.96.0.8"), exchange()));
        let second = Some("10.96.0.8:8443".to_owned());
        assert_eq!(heard(vec![other]).await, (true, second));
    }
}
