//! Images of containers. Agents and the service each read them in the status of pods, and name them alike.

use sha2::{Digest, Sha256};

use crate::uid::Uid;

/// What totals of images go by, in the place of a UID: the name under which Scope shows the image. It draws one node for
/// all versions of an image, and a total of one version would be taken for that of all.
pub fn image_uid(reference: &str) -> Uid {
    digest(shown_name(reference))
}

/// The same for the ID of an image, as a runtime reports it.
pub fn image_id_uid(id: &str) -> Uid {
    digest(bare_image_id(id))
}

/// The bare ID in what runtimes report: `sha256:<hex>`, `docker.io/library/nginx@sha256:<hex>`,
/// `docker-pullable://…@sha256:<hex>`, or already bare.
pub fn bare_image_id(id: &str) -> &str {
    let id = id.split_once("://").map_or(id, |(_, rest)| rest);
    let id = id.rsplit_once('@').map_or(id, |(_, digest)| digest);
    id.strip_prefix("sha256:").unwrap_or(id)
}

/// As Scope's app has it: without what is before the first of two or more slashes, and up to the first colon.
fn shown_name(reference: &str) -> &str {
    let name = match reference.split_once('/') {
        Some((_, rest)) if rest.contains('/') => rest,
        _ => reference,
    };
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// Names are chosen by people, so that a cheap hash would let somebody put his image into the total of another.
fn digest(text: &str) -> Uid {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Uid::from_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_scope_shows_them() {
        for (reference, name) in [
            ("", ""),
            ("nginx", "nginx"),
            ("nginx:1.27", "nginx"),
            ("library/nginx:1.27", "library/nginx"),
            ("docker.io/library/nginx:1.27", "library/nginx"),
            ("docker.io/library/nginx@sha256:ab", "library/nginx@sha256"),
            ("registry:5000/a/b/c:1", "a/b/c"),
            ("quay.io/app:1", "quay.io/app"),
            ("localhost:5000/app:1", "localhost"),
            ("a//b:1", "/b"),
        ] {
            assert_eq!(shown_name(reference), name, "{reference}");
        }
        let same = image_uid("docker.io/library/nginx:1.27");
        assert_eq!(same, image_uid("mirror.example/library/nginx:1.28"));
        assert_ne!(same, image_uid("nginx:1.27"));
        // Agents and the service may be of different releases.
        assert_eq!(
            image_uid("nginx").to_string(),
            "5be1ecc7-935f-1dd8-5635-d4feedaf6605"
        );
    }

    #[test]
    fn ids_are_bare() {
        for (id, bare) in [
            ("", ""),
            ("sha256:abc", "abc"),
            ("abc", "abc"),
            ("docker.io/library/nginx@sha256:abc", "abc"),
            ("docker-pullable://nginx@sha256:abc", "abc"),
            ("docker://sha256:abc", "abc"),
            ("registry:5000/a/b@sha256:abc", "abc"),
        ] {
            assert_eq!(bare_image_id(id), bare, "{id}");
            assert_eq!(image_id_uid(id), image_id_uid(bare), "{id}");
        }
    }
}
