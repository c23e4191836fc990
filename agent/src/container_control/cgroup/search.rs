//! Where the cgroup of a container lies.
//!
//! The walk is made for each click, since a click is rare and has to be right: it is led by the
//! pod, so that it looks at the directories of one pod only, and the container is known by its
//! whole ID.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Version, at};
use crate::sample::Place;

/// More hierarchies than v1 has controllers: a limit for a root that is something else.
const MAX_MOUNTS: usize = 64;
/// A node holds a few thousand cgroups (500 pods, and the host's services).
pub(super) const MAX_DIRECTORIES: usize = 20_000;
/// Kubernetes inside of a container of another Kubernetes is ten levels deep.
const MAX_DEPTH: usize = 16;

/// The mounted hierarchies, those with a freezer first. There is one at least.
pub(super) fn hierarchies(root: &Path) -> io::Result<Vec<(PathBuf, Option<Version>)>> {
    let unified = |path: &Path| path.join("cgroup.controllers").is_file();
    if unified(root) {
        return Ok(vec![(root.to_owned(), Some(Version::V2))]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(|e| at(root, &e))? {
        let path = entry.map_err(|e| at(root, &e))?.path();
        let Some(name) = path.file_name().filter(|_| path.is_dir()) else {
            continue;
        };
        if found.len() == MAX_MOUNTS {
            return Err(too_many(root, MAX_MOUNTS));
        }
        // The root of the freezer has no file of its own, so there the name has to tell.
        let mut controllers = name.as_bytes().split(|&b| b == b',');
        let freezer = if controllers.any(|part| part == b"freezer") {
            Some(Version::V1)
        } else {
            unified(&path).then_some(Version::V2)
        };
        found.push((path, freezer));
    }
    if found.is_empty() {
        let said = format!("{}: no cgroup hierarchy is there", root.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, said));
    }
    found.sort_by_key(|(path, freezer)| {
        let order = match freezer {
            Some(Version::V1) => 0,
            Some(Version::V2) => 1,
            None => 2,
        };
        (order, path.clone())
    });
    Ok(found)
}

/// The directory of the container, or of the pod as a whole, in one hierarchy, of which so many directories
/// are looked at. What was not found for an error may be there; a directory that goes meanwhile took its
/// inner ones along.
pub(super) fn find_below(
    root: &Path,
    pod: &str,
    container: Option<&str>,
    most: usize,
) -> io::Result<Option<PathBuf>> {
    let mut pending = vec![(root.to_owned(), Place::default(), 0)];
    let mut seen = 0;
    let mut unseen: Option<io::Error> = None;
    let mut note = |path: &Path, error: &io::Error| {
        if error.kind() != io::ErrorKind::NotFound {
            unseen.get_or_insert_with(|| at(path, error));
        }
    };
    while let Some((directory, place, depth)) = pending.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) => {
                note(&directory, &e);
                continue;
            }
        };
        for entry in entries {
            let kind = entry.and_then(|entry| Ok((entry.file_type()?, entry)));
            let (kind, entry) = match kind {
                Ok(known) => known,
                Err(e) => {
                    note(&directory, &e);
                    continue;
                }
            };
            if !kind.is_dir() {
                continue;
            }
            seen += 1;
            let inner = place.enter(entry.file_name().as_bytes());
            let of_pod = inner.pod.as_deref().is_none_or(|found| found == pod);
            let found = match container {
                Some(container) => of_pod && inner.container.as_deref() == Some(container),
                None => inner.pod.as_deref() == Some(pod),
            };
            if found {
                return Ok(Some(entry.path()));
            }
            if seen > most {
                return Err(too_many(root, most));
            }
            // Deeper ones are no error: none of them was ever found, and so none was frozen.
            if of_pod && !inner.is_final() && depth < MAX_DEPTH {
                pending.push((entry.path(), inner, depth + 1));
            }
        }
    }
    unseen.map_or(Ok(None), Err)
}

fn too_many(root: &Path, most: usize) -> io::Error {
    io::Error::other(format!(
        "{}: more than {most} directories, not all of which are looked at",
        root.display()
    ))
}
