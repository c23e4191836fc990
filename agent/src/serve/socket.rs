//! The plugin's directory and its sockets.
//!
//! Whoever may connect to a plugin's socket may click its controls, and the protocol has no other
//! access control: so the directory is 0700, the sockets are 0600 from their first instant, and a
//! directory that belongs to somebody else is not used. A lock file decides which of two instances
//! serves an ID; what a killed instance left behind is recognised by a refused connect and removed.
//! Everything is taken away again when [`PluginDirectory`] is dropped.

mod error;

use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

pub use error::SocketError;

/// `sun_path` holds 108 bytes and ends with a zero byte.
const MAX_SOCKET_PATH: usize = 107;
/// Connections that wait to be accepted. A probe has one; the rest is room for a burst while the
/// runtime is busy.
const BACKLOG: i32 = 256;
/// How often a directory or lock file may vanish under us, because another instance is just
/// ending, before that counts as a fault.
const MAX_ATTEMPTS: usize = 16;

/// Makes the modes with which files are made their final ones, for the whole process: an inherited
/// umask could only take bits away that the agent itself needs, and each file is made with no more
/// than it should have.
pub fn use_modes_as_given() {
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
}

/// Whether somebody listens on the socket at this path; tells without waiting.
pub fn is_served(path: &Path) -> std::io::Result<bool> {
    match connect(path) {
        // AGAIN: its queue is full.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Where the socket called `name` of plugin `id` lies, if that can be a socket's path.
pub fn socket_path(plugin_dir: &Path, id: &str, name: &str) -> Result<PathBuf, SocketError> {
    let path = plugin_dir.join(id).join(format!("{name}.sock"));
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        return Err(SocketError::PathTooLong { path, length });
    }
    Ok(path)
}

/// A plugin's own directory, held by a lock.
#[derive(Debug)]
pub struct PluginDirectory {
    plugin_dir: PathBuf,
    id: String,
    path: PathBuf,
    dir: OwnedFd,
    lock: std::fs::File,
    bound: Vec<Bound>,
}

#[derive(Debug)]
struct Bound {
    path: PathBuf,
    file_name: String,
    identity: Identity,
}

/// Which file it is, whatever its name.
type Identity = (u64, u64);

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

impl PluginDirectory {
    /// Makes the plugin's directory where it is missing, and takes its lock.
    pub fn claim(plugin_dir: &Path, id: &str) -> Result<Self, SocketError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(plugin_dir)
            .map_err(|e| SocketError::io("make the plugin directory", plugin_dir, e))?;
        let path = plugin_dir.join(id);
        for _ in 0..MAX_ATTEMPTS {
            let Some(dir) = open_private_directory(&path)? else {
                continue;
            };
            let Some(lock) = take_lock(&dir, &path, id)? else {
                continue;
            };
            return Ok(PluginDirectory {
                plugin_dir: plugin_dir.to_owned(),
                id: id.to_owned(),
                path,
                dir,
                lock,
                bound: Vec::new(),
            });
        }
        Err(SocketError::Unstable { path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens on `<name>.sock` in the directory. A socket that nobody serves is replaced.
    pub fn bind(&mut self, name: &str) -> Result<UnixListener, SocketError> {
        let path = socket_path(&self.plugin_dir, &self.id, name)?;
        let file_name = format!("{name}.sock");
        self.remove_stale(&path, &file_name)?;

        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(|e| SocketError::io("make a socket for", &path, e))?;
        // The file that `bind` makes takes its mode from the descriptor: set here, there is no instant
        // in which others could connect. A umask may narrow it; see `use_modes_as_given`.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
            .map_err(|e| SocketError::io("restrict the mode of the socket", &path, e))?;
        let address =
            SocketAddrUnix::new(&path).map_err(|e| SocketError::io("address", &path, e))?;
        rustix::net::bind(&socket, &address)
            .map_err(|e| SocketError::io("bind the socket", &path, e))?;
        let stat = rustix::fs::statat(&self.dir, &file_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| SocketError::io("look at the new socket", &path, e))?;
        self.bound.push(Bound {
            path: path.clone(),
            file_name,
            identity: identity(&stat),
        });
        rustix::net::listen(&socket, BACKLOG)
            .map_err(|e| SocketError::io("listen on", &path, e))?;
        Ok(UnixListener::from(socket))
    }

    /// Whether every socket is still the one that we bound. Others may clear the directory that all
    /// plugins share, and a socket without its name serves nobody.
    pub fn intact(&self) -> Result<(), SocketError> {
        for bound in &self.bound {
            match rustix::fs::lstat(&bound.path) {
                Ok(stat) if identity(&stat) == bound.identity => {}
                _ => {
                    return Err(SocketError::Lost {
                        path: bound.path.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes the sockets' names away, so that nobody new connects. Only what is still ours.
    pub fn remove_sockets(&mut self) {
        for bound in self.bound.drain(..) {
            let found = rustix::fs::statat(&self.dir, &bound.file_name, AtFlags::SYMLINK_NOFOLLOW);
            if found.is_ok_and(|stat| identity(&stat) == bound.identity)
                && let Err(e) = rustix::fs::unlinkat(&self.dir, &bound.file_name, AtFlags::empty())
            {
                tracing::warn!(path = %bound.path.display(), error = %e, "cannot remove the socket");
            }
        }
    }

    /// Removes what an earlier instance left under a socket's name, or says what is in the way.
    fn remove_stale(&self, path: &Path, file_name: &str) -> Result<(), SocketError> {
        let stat = match rustix::fs::statat(&self.dir, file_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(SocketError::io("look at", path, e)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Socket {
            return Err(SocketError::InTheWay {
                path: path.to_owned(),
                what: describe(kind),
            });
        }
        match connect(path) {
            Err(Errno::CONNREFUSED) => {}
            Err(Errno::NOENT) => return Ok(()),
            // AGAIN: served, and its queue is full. PROTOTYPE: served as another type of socket.
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
                return Err(SocketError::LivePeer {
                    path: path.to_owned(),
                });
            }
            Err(e) => return Err(SocketError::io("find out who serves", path, e)),
        }
        tracing::info!(path = %path.display(), "removing a socket that nobody serves");
        match rustix::fs::unlinkat(&self.dir, file_name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(SocketError::io("remove the stale socket", path, e)),
        }
    }
}

impl Drop for PluginDirectory {
    fn drop(&mut self) {
        self.remove_sockets();
        // The lock file goes while the lock is held: whoever opened it before finds that its name
        // has gone and starts over.
        let _ = rustix::fs::unlinkat(&self.dir, lock_name(&self.id), AtFlags::empty());
        // Not empty when somebody else keeps files in it; then it is theirs.
        let _ = rustix::fs::rmdir(&self.path);
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

fn lock_name(id: &str) -> String {
    format!("{id}.lock")
}

/// The directory, made if missing; `None` when it vanished in between.
fn open_private_directory(path: &Path) -> Result<Option<OwnedFd>, SocketError> {
    let private = Mode::RWXU;
    match rustix::fs::mkdir(path, private) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(SocketError::io("make the directory", path, e)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let what = rustix::fs::lstat(path).map_or("no directory", |s| {
                describe(FileType::from_raw_mode(s.st_mode))
            });
            return Err(SocketError::NoDirectory {
                path: path.to_owned(),
                what,
            });
        }
        Err(e) => return Err(SocketError::io("open the directory", path, e)),
    };
    let stat =
        rustix::fs::fstat(&dir).map_err(|e| SocketError::io("look at the directory", path, e))?;
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != me {
        return Err(SocketError::Foreign {
            path: path.to_owned(),
            owner: stat.st_uid,
            me,
        });
    }
    if Mode::from_raw_mode(stat.st_mode) != private {
        rustix::fs::fchmod(&dir, private)
            .map_err(|e| SocketError::io("restrict the mode of the directory", path, e))?;
    }
    Ok(Some(dir))
}

/// The lock, with our pid in it; `None` when its file or directory vanished in between, which means
/// that its last holder is just ending.
fn take_lock(
    dir: &OwnedFd,
    dir_path: &Path,
    id: &str,
) -> Result<Option<std::fs::File>, SocketError> {
    let name = lock_name(id);
    let path = dir_path.join(&name);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::openat(dir, &name, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => {
            return Err(SocketError::InTheWay {
                path,
                what: "a symbolic link",
            });
        }
        Err(e) => return Err(SocketError::io("open the lock file", &path, e)),
    };
    let mut file = std::fs::File::from(fd);
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            let pid = text.trim().parse().ok();
            return Err(SocketError::LiveInstance {
                id: id.to_owned(),
                path,
                pid,
            });
        }
        Err(e) => return Err(SocketError::io("lock", &path, e)),
    }
    // Locked; but is it still the file, and the directory still the directory, of that name?
    let same = |a: rustix::io::Result<Stat>, b: rustix::io::Result<Stat>| match (a, b) {
        (Ok(a), Ok(b)) => identity(&a) == identity(&b),
        _ => false,
    };
    if !same(
        rustix::fs::fstat(&file),
        rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW),
    ) || !same(rustix::fs::fstat(dir), rustix::fs::lstat(dir_path))
    {
        return Ok(None);
    }
    let write_pid = |file: &mut std::fs::File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write_pid(&mut file).map_err(|e| SocketError::io("write the lock file", &path, e))?;
    Ok(Some(file))
}

/// Connects without waiting: a listener with a full queue would keep a blocking connect for ever.
fn connect(path: &Path) -> rustix::io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    }
}
