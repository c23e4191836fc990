//! Reading small files of the kernel's file systems without allocating for each.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, statat};
use rustix::io::Errno;

use super::Cause;
use super::kept_file::{KeptFile, Room};

/// Why a file could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadError {
    /// What it describes ended between being listed and being read, or never was.
    Gone,
    /// Anything else.
    Missing(Cause),
}

impl ReadError {
    /// The cause where what the file describes is known to be there.
    pub(super) fn cause(self) -> Cause {
        match self {
            ReadError::Gone => Cause::Absent,
            ReadError::Missing(cause) => cause,
        }
    }
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        match errno {
            // ESRCH: the process of an open file ended. ENODEV: the cgroup of one was removed.
            Errno::NOENT | Errno::SRCH | Errno::NODEV | Errno::NOTDIR => ReadError::Gone,
            Errno::ACCESS | Errno::PERM => ReadError::Missing(Cause::Denied),
            // A file of pressure where the kernel was booted with `psi=0`.
            Errno::OPNOTSUPP => ReadError::Missing(Cause::Absent),
            _ => ReadError::Missing(Cause::Failed),
        }
    }
}

/// How a file is known to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The kernel makes it in one piece: a read that does not fill the buffer has it all.
    OnePiece,
    /// The kernel makes it record by record and may return a part of it.
    Records,
}

/// More than any file that is read here has on a sane machine: the largest are `memory.stat` with
/// 6 KiB, `/proc/stat` with 10 bytes per interrupt of the machine, and `net/dev` of a network
/// namespace with thousands of interfaces.
const MAX_FILE: usize = 1 << 20;

/// Long enough for every file of a process and of a cgroup; it grows for the rare others.
const FIRST_BUFFER: usize = 8 << 10;

/// A buffer for the file being read and one for its path.
pub(super) struct Reader {
    text: Vec<u8>,
    path: Vec<u8>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Reader {
            text: vec![0; FIRST_BUFFER],
            path: Vec::with_capacity(512),
        }
    }

    /// The content of the file at the concatenation of these parts, relative to the directory.
    pub(super) fn read_at(
        &mut self,
        directory: impl AsFd,
        parts: &[&[u8]],
        end: End,
    ) -> Result<&[u8], ReadError> {
        let file = self.open(directory, parts)?;
        let len = self.fill(&file, end)?;
        Ok(&self.text[..len])
    }

    /// The content of the file at this path.
    pub(super) fn read_path(
        &mut self,
        path: &[u8],
        file: &str,
        end: End,
    ) -> Result<&[u8], ReadError> {
        self.read_at(CWD, &[path, b"/", file.as_bytes()], end)
    }

    /// The content of the file at this path, which is kept open if there is room.
    pub(super) fn read_kept(
        &mut self,
        kept: &mut KeptFile,
        room: &Room,
        path: &[u8],
        file: &str,
        end: End,
    ) -> Result<&[u8], ReadError> {
        let len = match kept.open() {
            Some(open) => match self.fill(open, end) {
                Ok(len) => len,
                Err(error) => {
                    kept.close();
                    return Err(error);
                }
            },
            None => {
                let open = self.open(CWD, &[path, b"/", file.as_bytes()])?;
                let len = self.fill(&open, end)?;
                kept.keep(open, room);
                len
            }
        };
        Ok(&self.text[..len])
    }

    /// The size of what is at the concatenation of these parts, without opening it.
    pub(super) fn size_at(
        &mut self,
        directory: impl AsFd,
        parts: &[&[u8]],
    ) -> Result<u64, ReadError> {
        let status = statat(directory, self.joined(parts)?, AtFlags::empty())?;
        Ok(u64::try_from(status.st_size).unwrap_or(0))
    }

    /// How many entries the directory at the concatenation of these parts has; `None` if more than
    /// `most`.
    pub(super) fn entries_at(
        &mut self,
        directory: impl AsFd,
        parts: &[&[u8]],
        most: usize,
    ) -> Result<Option<usize>, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(directory, self.joined(parts)?, flags, Mode::empty())?;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 8 << 10];
        let mut listing = RawDir::new(directory, &mut buffer);
        let mut entries = 0;
        while let Some(entry) = listing.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                entries += 1;
            }
            if entries > most {
                return Ok(None);
            }
        }
        Ok(Some(entries))
    }

    fn open(&mut self, directory: impl AsFd, parts: &[&[u8]]) -> Result<OwnedFd, ReadError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        Ok(openat(
            directory,
            self.joined(parts)?,
            flags,
            Mode::empty(),
        )?)
    }

    fn joined(&mut self, parts: &[&[u8]]) -> Result<&CStr, ReadError> {
        self.path.clear();
        for part in parts {
            self.path.extend_from_slice(part);
        }
        self.path.push(0);
        // A NUL inside cannot be in a name of a file.
        CStr::from_bytes_with_nul(&self.path).map_err(|_| ReadError::Gone)
    }

    /// Reads the file from its start; says how long it is.
    fn fill(&mut self, file: &OwnedFd, end: End) -> Result<usize, ReadError> {
        let mut len = 0;
        loop {
            if len == self.text.len() {
                if len >= MAX_FILE {
                    return Err(ReadError::Missing(Cause::TooLarge));
                }
                self.text.resize(len * 2, 0);
            }
            let n = match rustix::io::pread(file, &mut self.text[len..], len as u64) {
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            len += n;
            if n == 0 || (end == End::OnePiece && len < self.text.len()) {
                return Ok(len);
            }
        }
    }
}

/// The path as the bytes that [`Reader::read_path`] wants.
pub(super) fn path_bytes(path: &Path) -> Box<[u8]> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().into()
}

/// The bytes as a path.
pub(super) fn bytes_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Opens a directory for listing it or as the base of other paths.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, ReadError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whole_files_of_any_size_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::new();
        let base = path_bytes(dir.path());
        for size in [
            0,
            1,
            FIRST_BUFFER - 1,
            FIRST_BUFFER,
            FIRST_BUFFER + 1,
            MAX_FILE - 1,
        ] {
            std::fs::write(dir.path().join("f"), vec![b'x'; size]).unwrap();
            for end in [End::OnePiece, End::Records] {
                assert_eq!(reader.read_path(&base, "f", end).unwrap().len(), size);
            }
        }
        std::fs::write(dir.path().join("f"), vec![b'x'; MAX_FILE + 1]).unwrap();
        assert_eq!(
            reader.read_path(&base, "f", End::OnePiece),
            Err(ReadError::Missing(Cause::TooLarge))
        );
        // A small file after a large one has nothing of it.
        std::fs::write(dir.path().join("f"), "small").unwrap();
        assert_eq!(
            reader.read_path(&base, "f", End::Records),
            Ok(&b"small"[..])
        );
    }

    #[test]
    fn what_is_not_there_is_gone_and_the_rest_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let base = path_bytes(dir.path());
        let mut reader = Reader::new();
        assert_eq!(
            reader.read_path(&base, "none", End::OnePiece),
            Err(ReadError::Gone)
        );
        assert_eq!(
            reader.read_path(&base, "a\0b", End::OnePiece),
            Err(ReadError::Gone)
        );
        std::fs::create_dir(dir.path().join("d")).unwrap();
        assert_eq!(
            reader.read_path(&base, "d", End::OnePiece),
            Err(ReadError::Missing(Cause::Failed))
        );
    }
}
