//! Images from a Dockerfile, with buildah: no daemon, no registry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::run;
use crate::error::{At, Error, Result};
use crate::layout::{private_directory, remove};

/// Building `FROM scratch` takes a second.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// Builds the image `reference` (with a tag) from a Dockerfile, or one `target` stage of it, and
/// writes it as an archive into `directory`. What buildah keeps is removed again.
///
/// The archive carries the full name, so that containerd knows the image by exactly `reference`.
pub fn build(
    dockerfile: &Path,
    target: Option<&str>,
    context: &Path,
    reference: &str,
    directory: &Path,
) -> Result<PathBuf> {
    let name = archive_name(reference)?;
    std::fs::create_dir_all(directory).at("create directory", directory)?;
    let archive = std::path::absolute(directory)
        .at("find", directory)?
        .join(&name);
    // Beside the archive and named by process: two builds do not meet.
    let storage = archive.with_file_name(format!("{name}.{}.buildah", std::process::id()));
    remove(&storage)?;
    private_directory(&storage)?;
    let result = build_in(&storage, dockerfile, target, context, reference, &archive);
    remove(&storage)?;
    result.map(|()| archive)
}

fn build_in(
    storage: &Path,
    dockerfile: &Path,
    target: Option<&str>,
    context: &Path,
    reference: &str,
    archive: &Path,
) -> Result<()> {
    let buildah = || {
        let mut command = Command::new("buildah");
        // vfs needs no mounts, which a container or another file system may not allow.
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(storage.join("storage"))
            .arg("--runroot")
            .arg(storage.join("run"))
            .env("TMPDIR", storage);
        command
    };
    let mut bud = buildah();
    bud.args([
        "bud",
        "--quiet",
        "--isolation",
        "chroot",
        "-t",
        reference,
        "-f",
    ])
    .arg(dockerfile);
    if let Some(stage) = target {
        bud.args(["--target", stage]);
    }
    run(bud.arg(context), LIMIT)?;
    remove(archive)?;
    let mut push = buildah();
    push.args(["push", "--quiet", reference])
        .arg(format!("oci-archive:{}:{reference}", archive.display()));
    run(&mut push, LIMIT).map(drop)
}

/// `scope-agent-0.1.0.tar` of `example.org/x/scope-agent:0.1.0`.
fn archive_name(reference: &str) -> Result<String> {
    reference
        .rsplit('/')
        .next()
        .and_then(|last| last.split_once(':'))
        .filter(|(name, tag)| !name.is_empty() && !tag.is_empty())
        .map(|(name, tag)| format!("{name}-{tag}.tar"))
        .ok_or_else(|| {
            Error::Invalid(format!(
                "the image name {reference:?} has no tag, as in name:1"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_named_by_image_and_tag() {
        assert_eq!(
            archive_name("harness.local/scope-agent:0.1.0").unwrap(),
            "scope-agent-0.1.0.tar"
        );
        assert_eq!(archive_name("a:1").unwrap(), "a-1.tar");
        assert!(archive_name("localhost:5000/a").is_err());
        assert!(archive_name("a:").is_err());
    }
}
