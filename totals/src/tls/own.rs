//! The own authorities, in a Secret that both replicas read and the active one writes.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    Certificates,
    keyring::{Issued, Keyring, KeyringError, Lives},
};
use crate::{
    metrics::Metrics,
    publish::{Bundle, WriteError, Writes},
};

/// The authorities' key in the Secret.
const KEY: &str = "authorities.json";
/// Nothing here is in more of a hurry, and what failed is tried again.
const LOOK: Duration = Duration::from_secs(10);

/// Keeps the authorities and the certificate.
pub struct Own {
    /// Secrets of the own namespace.
    pub secrets: Api<Secret>,
    /// The one with the authorities.
    pub secret: String,
    /// The DNS names of the service.
    pub names: Vec<String>,
    /// How long things live.
    pub lives: Lives,
    /// Where new connections get the certificate from.
    pub certificates: Arc<Certificates>,
    /// What agents are told.
    pub bundle: Bundle,
    /// How to write.
    pub writes: Writes,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// What keeps a certificate from being made.
#[derive(Debug, thiserror::Error)]
enum OwnError {
    #[error("the Secret is missing: install the chart again, which ships it")]
    Missing,
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the Secret cannot be written: {0}")]
    Write(#[from] WriteError),
    #[error("the authorities cannot be published: {0}")]
    Publish(String),
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// What is known between two looks.
#[derive(Default)]
struct Known {
    in_use: Option<InUse>,
    /// The version of the Secret that was overwritten last: as long as it is the one that is seen, the watch
    /// has not brought what was written.
    overwritten: Option<String>,
}

/// The certificate in use: by which authority, and when the next one is due.
struct InUse {
    signer: String,
    renew: Timestamp,
}

impl Own {
    /// Follows the Secret, of which `seen` tells each change. Ends only if that does.
    pub async fn run(self, seen: impl Stream<Item = Option<Secret>>) {
        let mut seen = std::pin::pin!(seen);
        let mut secret: Option<Option<Secret>> = None;
        let mut known = Known::default();
        let mut told = String::new();
        let quarter = Duration::try_from(self.lives.certificate / 4).unwrap_or(LOOK);
        loop {
            if let Some(secret) = &secret {
                match self.look(secret.as_ref(), &mut known).await {
                    Ok(()) => told.clear(),
                    Err(error) => {
                        self.metrics.certificate_failed();
                        let error = error.to_string();
                        if told != error {
                            tracing::warn!(
                                "the Secret {} for the certificate: {error}",
                                self.secret
                            );
                            told = error;
                        }
                    }
                }
            }
            tokio::select! {
                changed = seen.next() => match changed {
                    Some(changed) => secret = Some(changed),
                    None => return,
                },
                () = tokio::time::sleep(LOOK.min(quarter)) => {}
                () = self.bundle.due() => {}
            }
        }
    }

    async fn look(&self, secret: Option<&Secret>, known: &mut Known) -> Result<(), OwnError> {
        let secret = secret.ok_or(OwnError::Missing)?;
        let text = secret.data.as_ref().and_then(|data| data.get(KEY));
        let mut keyring = match text {
            Some(ByteString(text)) => Keyring::from_text(text)?,
            None => Keyring::default(),
        };
        let now = Timestamp::now();
        let version = &secret.metadata.resource_version;
        if self.writes.may() && known.overwritten != *version {
            if let Some(renewed) = keyring.renewed(self.lives, now)? {
                self.write(secret, &renewed).await?;
                // The watch brings it back, and what follows is done with it then.
                known.overwritten.clone_from(version);
                return Ok(());
            }
            let published = self.bundle.publish(&keyring.bundle()).await;
            if published.map_err(OwnError::Publish)?
                && let Some(published) = keyring.published(now)
            {
                self.write(secret, &published).await?;
                known.overwritten.clone_from(version);
                keyring = published;
            }
        }
        let Some(signer) = keyring.signer(self.lives, now) else {
            return Ok(());
        };
        let name = signer.name();
        let due = |used: &InUse| used.signer != name || used.renew <= now;
        if known.in_use.as_ref().is_none_or(due) {
            let Issued {
                chain,
                key,
                renew,
                ends,
            } = signer.issue(&self.names, self.lives, now)?;
            self.certificates.set(chain, key)?;
            self.metrics.certificate(Some(ends.as_second()));
            tracing::info!(%ends, authority = name, "a certificate is taken into use");
            known.in_use = Some(InUse {
                signer: name,
                renew,
            });
        }
        Ok(())
    }

    /// Writes the authorities unless the Secret was changed in between.
    async fn write(&self, secret: &Secret, keyring: &Keyring) -> Result<(), OwnError> {
        let patch = json!({
            "metadata": {"resourceVersion": secret.metadata.resource_version},
            "data": {KEY: ByteString(keyring.to_text()?)},
        });
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        let write = self.secrets.patch(&self.secret, &params, &patch);
        self.writes.write(write).await?;
        tracing::info!("the authorities in the Secret {} are renewed", self.secret);
        Ok(())
    }
}
