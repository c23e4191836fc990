//! A writer of the archives that Linux takes for its first file system (`newc`, see
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that grows. All entries belong to root and have no time.
#[derive(Debug, Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Cpio {
    /// Adds a directory and those above it, each once.
    pub(crate) fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            if end > 0 && self.directories.insert(path[..end].to_owned()) {
                self.entry(&path[..end], DIRECTORY | 0o755, (0, 0), b"");
            }
        }
    }

    /// Adds a program, and the directories above it.
    pub(crate) fn program(&mut self, path: &str, content: &[u8]) {
        self.file(path, 0o755, content);
    }

    /// Adds a file, and the directories above it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        let path = self.below_its_directories(path);
        self.entry(&path, FILE | mode, (0, 0), content);
    }

    /// Adds a character device, and the directories above it.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        let path = self.below_its_directories(path);
        self.entry(&path, CHARACTER_DEVICE | 0o600, (major, minor), b"");
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), b"");
        self.bytes
    }

    fn below_its_directories(&mut self, path: &str) -> String {
        let path = path.trim_matches('/');
        if let Some((directory, _)) = path.rsplit_once('/') {
            self.directory(directory);
        }
        path.to_owned()
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        // Nothing here comes near 4 GiB, which is where the format ends.
        let (size, name) = (content.len() as u32, path.len() as u32 + 1);
        let (major, minor) = device;
        self.bytes.extend_from_slice(b"070701");
        // inode, mode, uid, gid, links, time, size, device of the file, device that it is,
        // length of the name, checksum (only used by another form of the format).
        for field in [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            major,
            minor,
            name,
            0,
        ] {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn sample() -> Vec<u8> {
        let mut cpio = Cpio::default();
        cpio.directory("/proc");
        cpio.program("/usr/bin/a", &[7; 513]);
        cpio.program("usr/bin/b", b"x");
        cpio.character_device("/dev/console", 5, 1);
        cpio.finish()
    }

    #[test]
    fn directories_come_first_and_once() {
        let bytes = sample();
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name:?}"));
        assert!(at("usr\0") < at("usr/bin\0"));
        assert!(at("usr/bin\0") < at("usr/bin/a\0"));
        assert_eq!(text.matches("usr/bin\0").count(), 1);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn busybox_reads_it() {
        let unpack = Command::new("busybox")
            .args(["cpio", "-tv"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        // It is one of the packages of the harness, but unit tests run anywhere.
        let Ok(mut unpack) = unpack else {
            println!("SKIPPED: busybox is not installed");
            return;
        };
        unpack.stdin.take().unwrap().write_all(&sample()).unwrap();
        let output = unpack.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        assert!(lines[0].starts_with("drwxr-xr-x") && lines[0].ends_with("proc"));
        assert!(lines[3].starts_with("-rwxr-xr-x") && lines[3].contains("513"));
        assert!(text.contains("crw-------"), "{text}");
    }
}
