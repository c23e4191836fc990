//! A writer of tar archives (ustar) that gives the same bytes for the same content.

use std::path::Path;

use crate::error::{Error, Result};

const BLOCK: usize = 512;

/// An archive that grows. All entries belong to root and have no time.
#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// Adds a directory.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        self.entry(
            &format!("{}/", path.trim_end_matches('/')),
            b'5',
            mode,
            "",
            b"",
        )
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(path, b'0', mode, "", content)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.entry(path, b'2', 0o777, target, b"")
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, kind: u8, mode: u32, link: &str, content: &[u8]) -> Result<()> {
        let mut header = [0u8; BLOCK];
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        for (offset, room, value) in [
            (0, 100, path.to_owned()),
            (100, 8, format!("{mode:07o}")),
            (108, 8, "0000000".to_owned()),
            (116, 8, "0000000".to_owned()),
            (124, 12, format!("{size:011o}")),
            (136, 12, "00000000000".to_owned()),
            // The sum is counted with blanks in its own place.
            (148, 8, " ".repeat(8)),
            (157, 100, link.to_owned()),
            (257, 8, "ustar\x0000".to_owned()),
        ] {
            if value.len() > room {
                return Err(Error::Invalid(format!(
                    "{value:?} has {} bytes; this field of a tar archive has room for {room}",
                    value.len()
                )));
            }
            header[offset..offset + value.len()].copy_from_slice(value.as_bytes());
        }
        header[156] = kind;
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }
}

/// Reads a file into an archive.
pub(crate) fn add_program(tar: &mut Tar, path: &str, file: &Path) -> Result<()> {
    use crate::error::At;
    let content = std::fs::read(file).at("read", file)?;
    tar.file(path, 0o755, &content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::process::Command;

    fn sample() -> Vec<u8> {
        let mut tar = Tar::default();
        tar.directory("tmp", 0o1777).unwrap();
        tar.file("bin/a", 0o755, &[7; 513]).unwrap();
        tar.link("bin/b", "a").unwrap();
        tar.finish()
    }

    #[test]
    fn the_systems_tar_reads_it() {
        let scratch = Scratch::new();
        let archive = scratch.path().join("x.tar");
        std::fs::write(&archive, sample()).unwrap();
        let listed = Command::new("tar")
            .arg("-tvf")
            .arg(&archive)
            .output()
            .unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.status.success());
        assert!(text.contains("drwxrwxrwt"), "{text}");
        assert!(text.contains("513"), "{text}");
        assert!(text.contains("bin/b -> a"), "{text}");
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        assert_eq!(sample(), sample());
        assert_eq!(sample().len() % BLOCK, 0);
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert!(Tar::default().file(&"x".repeat(101), 0o644, b"").is_err());
    }
}
