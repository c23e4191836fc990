//! A certificate that the user brings, as a mounted Secret. The kubelet replaces its files, so they are looked
//! at again and again.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::Certificates;
use crate::{metrics::Metrics, publish::Bundle};

/// The kubelet takes a minute to bring a new Secret, so this adds little.
const LOOK: Duration = Duration::from_secs(10);

/// Why a mounted certificate cannot be used.
#[derive(Debug, thiserror::Error)]
enum GivenError {
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    /// A file holds something else.
    #[error("{0} holds no PEM of that kind: {1}")]
    Pem(PathBuf, rustls::pki_types::pem::Error),
    /// They do not belong together, or are of an unknown kind.
    #[error("the certificate and its key cannot be used: {0}")]
    Pair(rustls::Error),
}

/// The mounted Secret.
pub struct Given {
    /// Where `tls.crt` and `tls.key` are, and `ca.crt` for the agents.
    pub directory: PathBuf,
    /// Where new connections get the certificate from.
    pub certificates: Arc<Certificates>,
    /// What agents are told.
    pub bundle: Bundle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

#[derive(PartialEq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Given {
    /// Looks for ever.
    pub async fn run(self) {
        let mut used: Option<Files> = None;
        let mut told = String::new();
        loop {
            let looked = self.look(&mut used).map_err(|error| error.to_string());
            let looked = match (looked, self.authorities()) {
                (Ok(()), Ok(bundle)) => self.bundle.publish(&bundle).await.map(drop),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
            match looked {
                Ok(()) => told.clear(),
                Err(error) => {
                    self.metrics.certificate_failed();
                    if told != error {
                        tracing::warn!("the certificate in --tls-directory: {error}");
                        told = error;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.bundle.due() => {}
            }
        }
    }

    /// Takes the certificate into use if it is another than before.
    fn look(&self, used: &mut Option<Files>) -> Result<(), GivenError> {
        let files = Files {
            certificate: self.read("tls.crt")?,
            key: self.read("tls.key")?,
        };
        if used.as_ref() == Some(&files) {
            return Ok(());
        }
        let no_pem = |name: &str, error| GivenError::Pem(self.directory.join(name), error);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&files.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| no_pem("tls.crt", error))?;
        let key =
            PrivateKeyDer::from_pem_slice(&files.key).map_err(|error| no_pem("tls.key", error))?;
        self.certificates
            .set(chain, key)
            .map_err(GivenError::Pair)?;
        self.metrics.certificate(None);
        tracing::info!("the certificate in --tls-directory is taken into use");
        *used = Some(files);
        Ok(())
    }

    /// What agents are to trust.
    fn authorities(&self) -> Result<String, String> {
        let bundle = self.read("ca.crt").map_err(|error| error.to_string())?;
        String::from_utf8(bundle).map_err(|error| format!("ca.crt is no PEM: {error}"))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, GivenError> {
        let path = self.directory.join(name);
        std::fs::read(&path).map_err(|error| GivenError::File(path, error))
    }
}
