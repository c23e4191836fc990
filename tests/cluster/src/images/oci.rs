//! OCI image archives with one layer.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tar::Tar;
use crate::error::{At, Error, Result};

/// An image.
pub(super) struct Image<'a> {
    /// Its full name, with a tag.
    pub(super) reference: &'a str,
    /// The program that always runs.
    pub(super) entrypoint: &'a [&'a str],
    /// What runs unless the pod says something else.
    pub(super) command: &'a [&'a str],
    /// A tar archive of its files.
    pub(super) layer: Vec<u8>,
}

impl Image<'_> {
    /// Writes the archive. The same content gives the same bytes: there are no times, and
    /// serde_json sorts keys.
    pub(super) fn write(self, path: &Path) -> Result<()> {
        let archive = self.archive()?;
        std::fs::write(path, archive).at("write", path)
    }

    fn archive(self) -> Result<Vec<u8>> {
        let tag = self
            .reference
            .rsplit_once(':')
            .map(|(_, tag)| tag)
            .filter(|tag| !tag.contains('/'))
            .ok_or_else(|| {
                Error::Invalid(format!("the image name {:?} has no tag", self.reference))
            })?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let layer = Blob::new(self.layer);
        let config = Blob::json(&json!({
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            // The layer is not compressed, so its digest is that of its content.
            "rootfs": {"type": "layers", "diff_ids": [layer.digest()]},
        }));
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
        }));
        let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        entry["annotations"] = json!({
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        let index = json!({"schemaVersion": 2, "manifests": [entry]});

        let mut tar = Tar::default();
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar.file("index.json", 0o644, index.to_string().as_bytes())?;
        tar.directory("blobs", 0o755)?;
        tar.directory("blobs/sha256", 0o755)?;
        for blob in [layer, config, manifest] {
            tar.file(&format!("blobs/sha256/{}", blob.hex), 0o644, &blob.content)?;
        }
        Ok(tar.finish())
    }
}

/// Content that is named by its digest.
struct Blob {
    content: Vec<u8>,
    hex: String,
}

impl Blob {
    fn new(content: Vec<u8>) -> Blob {
        let hex = Sha256::digest(&content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Blob { content, hex }
    }

    fn json(value: &Value) -> Blob {
        Blob::new(value.to_string().into_bytes())
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hex)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest(), "size": self.content.len()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(reference: &str) -> Image<'_> {
        let mut layer = Tar::default();
        layer.file("a", 0o755, b"content").unwrap();
        Image {
            reference,
            entrypoint: &["/a"],
            command: &[],
            layer: layer.finish(),
        }
    }

    #[test]
    fn the_same_image_has_the_same_bytes() {
        let archive = |reference| image(reference).archive().unwrap();
        assert_eq!(archive("harness.local/a:1"), archive("harness.local/a:1"));
        assert_ne!(archive("harness.local/a:1"), archive("harness.local/a:2"));
    }

    #[test]
    fn the_index_names_the_image_in_full() {
        let archive = image("harness.local/a:1").archive().unwrap();
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains(r#""io.containerd.image.name":"harness.local/a:1""#));
        assert!(text.contains(r#""org.opencontainers.image.ref.name":"1""#));
    }

    #[test]
    fn a_name_without_a_tag_is_refused() {
        assert!(image("harness.local/a").archive().is_err());
        assert!(image("localhost:5000/a").archive().is_err());
    }

    #[test]
    fn a_blob_is_named_by_its_digest() {
        assert_eq!(
            Blob::new(Vec::new()).digest(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
