//! The own certificate authorities: when a new one is made, which one signs, and which ones agents trust. Two
//! live side by side for months, so there is no moment at which an agent knows only the wrong one.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

/// A node's clock may be behind by so much.
const SKEW: SignedDuration = SignedDuration::from_hours(1);
/// The longest time that a new authority is only published: the kubelets bring it to all agents in minutes.
const SPREAD: SignedDuration = SignedDuration::from_hours(24);
/// Authorities at once; two are the rule.
const MOST: usize = 8;

/// How long authorities and certificates live.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    /// An authority. After half of it the next one is made.
    pub authority: SignedDuration,
    /// A certificate. After half of it the next one is made.
    pub certificate: SignedDuration,
}

impl Lives {
    fn spread(self) -> SignedDuration {
        (self.authority / 8).min(SPREAD)
    }
}

/// An authority, as it is kept in the Secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Authority {
    certificate: String,
    key: String,
    from: Timestamp,
    until: Timestamp,
    /// Since when agents can know it.
    #[serde(default)]
    published: Option<Timestamp>,
}

impl fmt::Debug for Authority {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({} to {})", self.from, self.until)
    }
}

/// All authorities that are not expired, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keyring {
    authorities: Vec<Authority>,
}

/// What cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The Secret holds something else.
    #[error("what it holds are no authorities: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// No key or certificate could be made.
    #[error("no certificate can be made: {0}")]
    NotMade(#[from] rcgen::Error),
}

/// A certificate for the service.
pub struct Issued {
    /// The certificate.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// When to make the next one.
    pub renew: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
}

impl Keyring {
    /// As it is written in the Secret.
    pub fn from_text(text: &[u8]) -> Result<Self, KeyringError> {
        Ok(serde_json::from_slice(text)?)
    }

    /// To be written there.
    pub fn to_text(&self) -> Result<Vec<u8>, KeyringError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Without what has expired, and with a new authority if it is time for one. Nothing if all may stay.
    pub fn renewed(&self, lives: Lives, now: Timestamp) -> Result<Option<Self>, KeyringError> {
        let mut authorities = self.authorities.clone();
        authorities.retain(|authority| authority.until > now);
        let half = |authority: &Authority| authority.until - lives.authority / 2 <= now;
        if authorities.last().is_none_or(half) && authorities.len() < MOST {
            authorities.push(Authority::new(lives, now)?);
        }
        let renewed = Self { authorities };
        Ok((renewed != *self).then_some(renewed))
    }

    /// With all authorities published, now at the latest. Nothing if they were before.
    pub fn published(&self, now: Timestamp) -> Option<Self> {
        let mut published = self.clone();
        for authority in &mut published.authorities {
            authority.published.get_or_insert(now);
        }
        (published != *self).then_some(published)
    }

    /// What agents trust, as PEM.
    pub fn bundle(&self) -> String {
        self.authorities
            .iter()
            .map(|authority| &*authority.certificate)
            .collect()
    }

    /// Who signs: the newest authority that was published long enough ago; in a new installation the first.
    pub fn signer(&self, lives: Lives, now: Timestamp) -> Option<&Authority> {
        let valid = || self.authorities.iter().filter(|one| one.until > now);
        let spread = |authority: &&Authority| {
            let published = authority.published;
            published.is_some_and(|published| published + lives.spread() <= now)
        };
        valid().rfind(spread).or_else(|| valid().next())
    }
}

impl Authority {
    fn new(lives: Lives, now: Timestamp) -> Result<Self, KeyringError> {
        let key = KeyPair::generate()?;
        let until = now + lives.authority;
        let mut params = authority_params(now);
        valid(&mut params, now, until);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            from: now,
            until,
            published: None,
        })
    }

    /// Which one it is.
    pub fn name(&self) -> String {
        self.from.to_string()
    }

    /// Signs a certificate for these names.
    pub fn issue(
        &self,
        names: &[String],
        lives: Lives,
        now: Timestamp,
    ) -> Result<Issued, KeyringError> {
        let issuer = Issuer::new(authority_params(self.from), KeyPair::from_pem(&self.key)?);
        let key = KeyPair::generate()?;
        let ends = (now + lives.certificate).min(self.until);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named("scope-totals".into());
        valid(&mut params, now, ends);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Issued {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            renew: now + ends.duration_since(now) / 2,
            ends,
        })
    }
}

/// All of an authority that what it signs has to agree with.
fn authority_params(from: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(format!("scope-totals authority of {}", from.as_second()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From an hour ago, since clocks differ, until then.
fn valid(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let since_1970 = |at: Timestamp| Duration::from_secs(at.as_second().max(0).unsigned_abs());
    params.not_before = date_time_ymd(1970, 1, 1) + since_1970(from - SKEW);
    // Certificates know whole seconds; it ends in no case before its time.
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(until) + Duration::from_secs(1);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        pki_types::{ServerName, UnixTime, pem::PemObject},
    };

    use super::*;

    const LIVES: Lives = Lives {
        authority: SignedDuration::from_hours(24 * 365),
        certificate: SignedDuration::from_hours(24),
    };

    fn at(days: i64) -> Timestamp {
        let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        start + SignedDuration::from_hours(24 * days)
    }

    /// Whether an agent that trusts the bundle accepts the certificate at that time.
    fn accepted(bundle: &str, issued: &Issued, name: &str, now: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let since_1970 = Duration::from_secs(now.as_second() as u64);
        verifier
            .build()
            .unwrap()
            .verify_server_cert(
                &issued.chain[0],
                &[],
                &ServerName::try_from(name.to_owned()).unwrap(),
                &[],
                UnixTime::since_unix_epoch(since_1970),
            )
            .is_ok()
    }

    fn names() -> Vec<String> {
        vec!["scope-totals.scope-system.svc".into()]
    }

    #[test]
    fn a_certificate_is_accepted_in_its_time_and_for_its_names() {
        let keyring = Keyring::default().renewed(LIVES, at(0)).unwrap().unwrap();
        let signer = keyring.signer(LIVES, at(0)).unwrap();
        let issued = signer.issue(&names(), LIVES, at(0)).unwrap();
        let bundle = keyring.bundle();
        assert!(accepted(&bundle, &issued, &names()[0], at(0)));
        assert!(!accepted(&bundle, &issued, "other.scope-system.svc", at(0)));
        assert!(!accepted(&bundle, &issued, &names()[0], at(2)));
        assert_eq!(
            (issued.ends, issued.renew),
            (at(1), at(0) + SignedDuration::from_hours(12))
        );
    }

    #[test]
    fn what_is_written_is_read_and_signs_the_same() {
        let keyring = Keyring::default().renewed(LIVES, at(0)).unwrap().unwrap();
        let read = Keyring::from_text(&keyring.to_text().unwrap()).unwrap();
        assert_eq!(read, keyring);
        let signer = read.signer(LIVES, at(0)).unwrap();
        let issued = signer.issue(&names(), LIVES, at(0)).unwrap();
        assert!(accepted(&keyring.bundle(), &issued, &names()[0], at(0)));
        assert!(Keyring::from_text(b"{").is_err());
        assert!(!format!("{keyring:?}").contains("PRIVATE"));
    }

    /// Five years in steps of six hours. Agents have a bundle that is up to twelve hours old, and the service
    /// may be down for a month.
    #[test]
    fn rotation_never_leaves_an_agent_with_the_wrong_authority() {
        let mut keyring = Keyring::default();
        let mut certificate: Option<Issued> = None;
        let mut bundles: Vec<String> = Vec::new();
        let mut made = 0;
        for step in 0..4 * 365 * 5 {
            let now = at(0) + SignedDuration::from_hours(6 * step);
            if (4 * 400..4 * 430).contains(&step) {
                bundles.push(bundles.last().unwrap().clone());
                continue;
            }
            if let Some(renewed) = keyring.renewed(LIVES, now).unwrap() {
                keyring = renewed;
                made += 1;
            }
            bundles.push(keyring.bundle());
            keyring = keyring.published(now).unwrap_or(keyring);
            assert!(keyring.authorities.len() <= 3, "{keyring:?}");
            if certificate
                .as_ref()
                .is_none_or(|issued| issued.renew <= now)
            {
                let signer = keyring.signer(LIVES, now).unwrap();
                assert!(signer.until - SignedDuration::from_hours(24 * 30) > now);
                certificate = Some(signer.issue(&names(), LIVES, now).unwrap());
            }
            let old = &bundles[bundles.len().saturating_sub(3)];
            let issued = certificate.as_ref().unwrap();
            assert!(accepted(old, issued, &names()[0], now), "step {step}");
        }
        assert!(made > 8, "{made}");
    }
}
