//! How to reach the service, and how to prove oneself: files of a projected volume.
//!
//! The kubelet replaces such a volume as a whole, by a link `..data` to another directory. The files
//! are four and small, so they are simply read again before each exchange.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::HeaderValue;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use super::error::ExchangeError;

/// The link that a kubelet replaces.
const DATA: &str = "..data";

const TOKEN: &str = "token";
const AUTHORITIES: &str = "ca.crt";
const ADDRESS: &str = "address";
const NAME: &str = "name";

/// A token of the API server has some 1,200 bytes; `totals` takes at most 16 KiB of headers.
const MAX_TOKEN: u64 = 8 << 10;
/// Two authorities while one follows the other, of 1 to 2 KiB each, and room for a chain of one's own.
const MAX_AUTHORITIES: u64 = 64 << 10;
/// A name of DNS has at most 253 bytes, and a port five.
const MAX_NAME: u64 = 512;

/// What is in the files.
#[derive(Clone)]
pub(super) struct Credentials {
    /// For the header `Authorization`.
    pub(super) token: HeaderValue,
    /// Whom to ask.
    pub(super) peer: Peer,
}

/// Whom to ask. When it changes, a new connection is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// Host or IP address, and port.
    pub(super) address: String,
    /// What its certificate says.
    pub(super) name: String,
    /// Who signed that, as PEM.
    authorities: Vec<u8>,
    directory: PathBuf,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the files.
    pub(super) fn read(directory: &Path) -> Result<Self, ExchangeError> {
        // All of one generation. If it is gone in the midst of this, the next try finds the new one.
        let data = match directory.join(DATA).canonicalize() {
            Ok(data) => data,
            Err(_) => directory.to_owned(),
        };
        let shown = |name: &str| directory.join(name);
        let text = |name: &str, most: u64| -> Result<String, ExchangeError> {
            let content =
                content(&data.join(name), most).map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => ExchangeError::NotPublished(shown(name)),
                    _ => ExchangeError::Unreadable {
                        path: shown(name),
                        source,
                    },
                })?;
            match content.trim() {
                "" => Err(ExchangeError::NotPublished(shown(name))),
                text => Ok(text.to_owned()),
            }
        };
        let malformed = |name: &str, wanted| ExchangeError::Malformed {
            path: shown(name),
            wanted,
        };
        let address = text(ADDRESS, MAX_NAME)?;
        let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !has_port || address.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(malformed(
                ADDRESS,
                "an address and a port, such as 10.0.0.1:8443",
            ));
        }
        let name = text(NAME, MAX_NAME)?;
        if ServerName::try_from(&*name).is_err() {
            return Err(malformed(NAME, "the name of a server"));
        }
        let authorities = text(AUTHORITIES, MAX_AUTHORITIES)?.into_bytes();
        let mut token = HeaderValue::try_from(format!("Bearer {}", text(TOKEN, MAX_TOKEN)?))
            .map_err(|_| malformed(TOKEN, "a token"))?;
        token.set_sensitive(true);
        Ok(Credentials {
            token,
            peer: Peer {
                address,
                name,
                authorities,
                directory: directory.to_owned(),
            },
        })
    }
}

impl Peer {
    /// Whose signature is good.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>, ExchangeError> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_slice_iter(&self.authorities);
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        match roots.is_empty() {
            true => Err(ExchangeError::Malformed {
                path: self.directory.join(AUTHORITIES),
                wanted: "a list of certificates in PEM",
            }),
            false => Ok(Arc::new(roots)),
        }
    }
}

fn content(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    match u64::try_from(read).is_ok_and(|read| read <= most) {
        true => Ok(text),
        false => Err(io::Error::other(format!("it has more than {most} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(directory: &Path, token: &str, address: &str) {
        fs::create_dir_all(directory).expect("made");
        for (name, content) in [
            (TOKEN, token),
            (ADDRESS, address),
            (NAME, "scope-totals.scope-system.svc"),
            (AUTHORITIES, "-----BEGIN"),
        ] {
            fs::write(directory.join(name), content).expect("written");
        }
    }

    #[test]
    fn files_are_of_one_generation_of_the_volume() {
        let volume = tempfile::tempdir().expect("a directory");
        for (generation, address) in [("..one", "10.0.0.1:8443"), ("..two", "10.0.0.2:8443")] {
            write(&volume.path().join(generation), generation, address);
            let link = volume.path().join("..new");
            symlink(generation, &link).expect("linked");
            fs::rename(&link, volume.path().join(DATA)).expect("swapped");
            let read = Credentials::read(volume.path()).expect("complete");
            assert_eq!(read.peer.address, address);
            assert_eq!(read.token, format!("Bearer {generation}"));
            assert!(
                !format!("{read:?}").contains(generation),
                "the token is not shown"
            );
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let good = || {
            let directory = tempfile::tempdir().expect("a directory");
            write(directory.path(), "t", "totals:8443");
            directory
        };
        assert!(Credentials::read(good().path()).is_ok());
        let long = "x".repeat(10_000);
        for (name, content, label) in [
            (TOKEN, None, "not_published"),
            (ADDRESS, None, "not_published"),
            (ADDRESS, Some("\n"), "not_published"),
            (NAME, None, "not_published"),
            (AUTHORITIES, Some(""), "not_published"),
            (ADDRESS, Some("10.0.0.1"), "credentials"),
            (ADDRESS, Some("10.0.0.1:0"), "credentials"),
            (ADDRESS, Some(":80"), "credentials"),
            (ADDRESS, Some("a b:80"), "credentials"),
            (ADDRESS, Some(&*long), "credentials"),
            (NAME, Some("no name!"), "credentials"),
            (TOKEN, Some("a\u{1}b"), "credentials"),
            (TOKEN, Some(&*long), "credentials"),
        ] {
            let directory = good();
            let path = directory.path().join(name);
            match content {
                Some(content) => fs::write(&path, content).expect("written"),
                None => fs::remove_file(&path).expect("removed"),
            }
            let error = Credentials::read(directory.path()).expect_err(name);
            assert_eq!(error.label(), label, "{name}: {error}");
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
        }
        let peer = Credentials::read(good().path()).expect("complete").peer;
        let error = peer.roots().expect_err("no certificate");
        assert!(error.to_string().contains("ca.crt"), "{error}");
    }
}
