//! Keys and certificates: one authority, P-256, a life of days.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::error::{Error, Result};
use crate::layout::write_private;

/// How long certificates are good. A cluster is thrown away long before.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The certificate authority of one cluster, and the directory where it leaves what it issues.
pub(crate) struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The file of the certificate.
    pub(crate) certificate: PathBuf,
    /// The file of the key.
    pub(crate) key: PathBuf,
}

/// Who a certificate is for.
pub(crate) struct Subject<'a> {
    /// The user name, or the server's.
    pub(crate) name: &'a str,
    /// The group, for clients.
    pub(crate) group: Option<&'a str>,
    /// The names and addresses that a server has.
    pub(crate) served: &'a [String],
}

impl Authority {
    /// Makes a new authority; its certificate becomes `ca.crt` in the directory.
    pub(crate) fn create(directory: &Path) -> Result<Authority> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params("throwaway-cluster")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key).map_err(failed)?;
        let authority = Authority {
            directory: directory.to_path_buf(),
            issuer: Issuer::new(params, key),
        };
        write_private(&authority.certificate(), certificate.pem().as_bytes())?;
        Ok(authority)
    }

    /// The authority's own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// Issues `FILE.crt` and `FILE.key`: for a client, and for a server when it serves something.
    pub(crate) fn issue(&self, file: &str, subject: &Subject<'_>) -> Result<Identity> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(subject.name)?;
        if let Some(group) = subject.group {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !subject.served.is_empty() {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
            params.subject_alt_names = CertificateParams::new(subject.served.to_vec())
                .map_err(failed)?
                .subject_alt_names;
        }
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let identity = Identity {
            certificate: self.directory.join(format!("{file}.crt")),
            key: self.directory.join(format!("{file}.key")),
        };
        write_private(&identity.certificate, certificate.pem().as_bytes())?;
        write_private(&identity.key, key.serialize_pem().as_bytes())?;
        Ok(identity)
    }

    /// The pair that signs and verifies the tokens of service accounts: `sa.key`, `sa.pub`.
    pub(crate) fn service_account_pair(&self) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate().map_err(failed)?;
        let (private, public) = (self.directory.join("sa.key"), self.directory.join("sa.pub"));
        write_private(&private, key.serialize_pem().as_bytes())?;
        write_private(&public, key.public_key_pem().as_bytes())?;
        Ok((private, public))
    }
}

/// The names that the API server is called by.
pub(crate) fn api_server_names(addresses: &[IpAddr]) -> Vec<String> {
    [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(addresses.iter().map(IpAddr::to_string))
    .collect()
}

fn params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // From yesterday, so that no clock or time zone makes it "not yet valid".
    let (year, month, day) = yesterday();
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = params.not_before + LIFETIME;
    Ok(params)
}

fn yesterday() -> (i32, u8, u8) {
    let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let date = time.to_zoned(jiff::tz::TimeZone::UTC).date();
    (i32::from(date.year()), date.month() as u8, date.day() as u8)
}

fn failed(error: rcgen::Error) -> Error {
    Error::Unable(format!("cannot make a certificate: {error}"))
}
