//! How to reach scope-totals, and how to prove oneself there.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use hyper::header::HeaderValue;
use k8s_openapi::api::core::v1::ConfigMap;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use super::{Whereabouts, error::AskError};

const AUTHORITIES: &str = "ca.crt";
const ADDRESS: &str = "address";
const NAME: &str = "name";

/// A token of the API server has some 1,200 bytes; scope-totals takes at most 16 KiB of headers.
const MAX_TOKEN: u64 = 8 << 10;
/// A name of DNS has at most 253 bytes, and a port five.
const MAX_NAME: usize = 512;

/// Whom to ask, whom to trust for that, and with which token.
#[derive(Debug)]
pub(super) struct Reach {
    /// Host or IP address, and port.
    pub(super) address: String,
    /// What the certificate there has to be for.
    pub(super) name: ServerName<'static>,
    /// The same for the header `Host`.
    pub(super) host: HeaderValue,
    /// Who may have signed it.
    pub(super) roots: RootCertStore,
    /// For the header `Authorization`; it is not shown.
    pub(super) token: HeaderValue,
}

impl Reach {
    /// From the ConfigMap, if there is one, and the token's file, which the kubelet replaces in time.
    pub(super) fn read(map: Option<&ConfigMap>, at: &Whereabouts) -> Result<Self, AskError> {
        let value = |key: &'static str| {
            let data = map.and_then(|map| map.data.as_ref());
            let value = data
                .and_then(|data| data.get(key))
                .map(|value| value.trim());
            value
                .filter(|value| !value.is_empty())
                .ok_or_else(|| AskError::NotPublished {
                    namespace: at.namespace.clone(),
                    config_map: at.config_map.clone(),
                    key,
                })
        };
        let malformed = |key, wanted| AskError::Malformed {
            namespace: at.namespace.clone(),
            config_map: at.config_map.clone(),
            key,
            wanted,
        };
        let address = value(ADDRESS)?;
        let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !has_port || address.len() > MAX_NAME || !address.chars().all(|c| c.is_ascii_graphic()) {
            let wanted = "an address and a port, such as 10.0.0.1:8443";
            return Err(malformed(ADDRESS, wanted));
        }
        let no_name = || malformed(NAME, "the name of a server");
        let host = value(NAME)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| no_name())?;
        let host = HeaderValue::try_from(host).map_err(|_| no_name())?;
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_slice_iter(value(AUTHORITIES)?.as_bytes());
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        if roots.is_empty() {
            return Err(malformed(AUTHORITIES, "a list of certificates in PEM"));
        }
        let token = token(&at.token).map_err(|source| AskError::Token {
            path: at.token.clone(),
            source,
        })?;
        Ok(Self {
            address: address.to_owned(),
            name,
            host,
            roots,
            token,
        })
    }
}

fn token(path: &Path) -> io::Result<HeaderValue> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(MAX_TOKEN + 1)
        .read_to_string(&mut text)?;
    if !u64::try_from(read).is_ok_and(|read| read <= MAX_TOKEN) {
        let words = format!("it has more than {MAX_TOKEN} bytes");
        return Err(io::Error::other(words));
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    let mut token = HeaderValue::try_from(format!("Bearer {text}"))
        .map_err(|_| io::Error::other("it is no token"))?;
    token.set_sensitive(true);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = Whereabouts {
            namespace: "scope-plugins".into(),
            config_map: "scope-totals-ca".into(),
            token: directory.path().join("token"),
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap()
            .pem();
        let good = json!({"address": "10.0.0.1:8443", "name": "scope-totals.scope-system.svc", "ca.crt": pem});
        let read = |map: Option<&serde_json::Value>| {
            let map = map.map(|data| serde_json::from_value(json!({"data": data})).unwrap());
            Reach::read(map.as_ref(), &at)
        };
        let error = read(Some(&good)).unwrap_err();
        assert_eq!(error.reason(), "NoToken", "{error}");
        for (content, good) in [("\n", false), ("a\u{1}b", false), ("secret\n", true)] {
            fs::write(&at.token, content).unwrap();
            assert_eq!(read(Some(&good_map(&pem))).is_ok(), good, "{content:?}");
        }
        fs::write(&at.token, "x".repeat(10_000)).unwrap();
        assert_eq!(read(Some(&good)).unwrap_err().reason(), "NoToken");
        fs::write(&at.token, "secret").unwrap();
        let reach = read(Some(&good)).unwrap();
        assert_eq!(reach.token, "Bearer secret");
        assert!(!format!("{reach:?}").contains("secret"), "it is not shown");

        assert_eq!(read(None).unwrap_err().reason(), "TotalsNotPublished");
        let long = format!("{}:1", "x".repeat(600));
        for (key, value, reason) in [
            ("address", None, "TotalsNotPublished"),
            ("address", Some(" "), "TotalsNotPublished"),
            ("name", None, "TotalsNotPublished"),
            ("ca.crt", None, "TotalsNotPublished"),
            ("address", Some("10.0.0.1"), "TotalsMalformed"),
            ("address", Some("10.0.0.1:0"), "TotalsMalformed"),
            ("address", Some(":80"), "TotalsMalformed"),
            ("address", Some("a b:80"), "TotalsMalformed"),
            ("address", Some(&*long), "TotalsMalformed"),
            ("name", Some("no name!"), "TotalsMalformed"),
            ("ca.crt", Some("-----BEGIN"), "TotalsMalformed"),
        ] {
            let mut data = good.clone();
            match value {
                Some(value) => data[key] = json!(value),
                None => drop(data.as_object_mut().unwrap().remove(key)),
            }
            let error = read(Some(&data)).unwrap_err();
            assert_eq!(error.reason(), reason, "{key}: {error}");
            let words = error.to_string();
            assert!(
                words.contains(key) && words.contains("scope-totals-ca"),
                "{words}"
            );
        }
    }

    fn good_map(pem: &str) -> serde_json::Value {
        json!({"address": "totals:8443", "name": "scope-totals.scope-system.svc", "ca.crt": pem})
    }
}
