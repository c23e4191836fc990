//! The life of the plugin's directory and sockets: made privately, refused where somebody else is,
//! recovered after a crash, gone at the end.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use scope_agent::exit;
use scope_agent::serve::{PluginDirectory, SocketError, socket_path};
use tempfile::TempDir;

const ID: &str = "node-metrics";

struct Place {
    _tmp: TempDir,
    root: PathBuf,
}

impl Place {
    /// A plugin directory that does not exist yet.
    fn new() -> Self {
        let tmp = tempfile::tempdir().expect("a directory");
        let root = tmp.path().join("scope/plugins");
        Place { _tmp: tmp, root }
    }

    fn dir(&self) -> PathBuf {
        self.root.join(ID)
    }

    fn socket(&self) -> PathBuf {
        self.dir().join(format!("{ID}.sock"))
    }

    fn lock(&self) -> PathBuf {
        self.dir().join(format!("{ID}.lock"))
    }

    fn claim(&self) -> Result<PluginDirectory, SocketError> {
        PluginDirectory::claim(&self.root, ID)
    }

    /// As a killed instance leaves it: files, and nobody behind them.
    fn leave_behind(&self) {
        fs::create_dir_all(self.dir()).expect("a directory");
        drop(UnixListener::bind(self.socket()).expect("binds"));
        fs::write(self.lock(), "4194304\n").expect("writes");
        assert!(self.socket().exists());
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path)
        .expect("exists")
        .permissions()
        .mode()
        & 0o7777
}

#[test]
fn all_is_private_and_all_is_removed() {
    let place = Place::new();
    let mut directory = place.claim().expect("claims");
    let listener = directory.bind(ID).expect("binds");
    let controls = directory.bind(&format!("{ID}-controls")).expect("binds");
    assert_eq!(mode(&place.dir()), 0o700);
    assert_eq!(mode(&place.socket()), 0o600);
    assert_eq!(
        mode(&place.dir().join(format!("{ID}-controls.sock"))),
        0o600
    );
    assert_eq!(mode(&place.lock()), 0o600);
    assert_eq!(
        fs::read_to_string(place.lock()).expect("reads").trim(),
        std::process::id().to_string()
    );
    assert_eq!(mode(&place.root), 0o755, "others have plugins there too");
    UnixStream::connect(place.socket()).expect("serves");

    drop((listener, controls));
    drop(directory);
    assert!(!place.dir().exists());
    assert!(place.root.exists(), "the directory of all plugins stays");
}

#[test]
fn the_socket_is_private_from_its_first_instant() {
    let place = Place::new();
    fs::create_dir_all(place.dir()).expect("a directory");
    let socket = place.socket();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let done = done.clone();
        move || {
            let mut seen = std::collections::BTreeSet::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok(meta) = fs::symlink_metadata(&socket) {
                    seen.insert(meta.permissions().mode() & 0o777);
                }
            }
            seen
        }
    });
    for _ in 0..500 {
        let mut directory = place.claim().expect("claims");
        let _listener = directory.bind(ID).expect("binds");
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let seen = watcher.join().expect("watches");
    assert!(
        seen.iter().all(|mode| *mode == 0o600),
        "modes seen: {seen:?}"
    );
}

#[test]
fn a_killed_instance_is_recovered_from() {
    let place = Place::new();
    place.leave_behind();
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o755)).expect("sets a mode");
    let mut directory = place.claim().expect("claims");
    let _listener = directory.bind(ID).expect("binds over the stale socket");
    assert_eq!(mode(&place.dir()), 0o700);
    UnixStream::connect(place.socket()).expect("serves");
}

#[test]
fn a_second_instance_is_refused_and_harms_nothing() {
    let place = Place::new();
    let mut directory = place.claim().expect("claims");
    let _listener = directory.bind(ID).expect("binds");
    let error = place.claim().expect_err("refused");
    let said = error.to_string();
    assert!(said.contains("another live scope-agent"), "{said}");
    assert!(
        said.contains(&format!("pid {}", std::process::id())),
        "{said}"
    );
    assert!(said.contains(&place.lock().display().to_string()), "{said}");
    assert!(!said.contains('\n'));
    assert_eq!(error.exit_code(), exit::TEMPORARY);
    UnixStream::connect(place.socket()).expect("the first still serves");

    drop(directory);
    place.claim().expect("claims once the first has gone");
}

#[test]
fn a_live_socket_without_our_lock_is_refused() {
    let place = Place::new();
    fs::create_dir_all(place.dir()).expect("a directory");
    let _other = UnixListener::bind(place.socket()).expect("binds");
    let error = place
        .claim()
        .expect("claims")
        .bind(ID)
        .expect_err("refused");
    assert!(matches!(error, SocketError::LivePeer { .. }), "{error}");
    assert_eq!(error.exit_code(), exit::TEMPORARY);
    assert!(place.socket().exists(), "what is served is not removed");
    assert!(place.dir().exists());
}

#[test]
fn a_live_socket_with_a_full_queue_is_refused_without_waiting() {
    let place = Place::new();
    fs::create_dir_all(place.dir()).expect("a directory");
    let _other = UnixListener::bind(place.socket()).expect("binds");
    // Nobody accepts; a blocking connect would hang once the queue is full.
    let mut waiting = Vec::new();
    loop {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .expect("a socket");
        let address = rustix::net::SocketAddrUnix::new(place.socket()).expect("an address");
        match rustix::net::connect(&socket, &address) {
            Ok(()) => waiting.push(socket),
            Err(e) => {
                assert_eq!(e, rustix::io::Errno::AGAIN);
                break;
            }
        }
    }
    let error = place
        .claim()
        .expect("claims")
        .bind(ID)
        .expect_err("refused");
    assert!(matches!(error, SocketError::LivePeer { .. }), "{error}");
}

#[test]
fn a_live_datagram_socket_is_refused() {
    let place = Place::new();
    fs::create_dir_all(place.dir()).expect("a directory");
    let _other = UnixDatagram::bind(place.socket()).expect("binds");
    let error = place
        .claim()
        .expect("claims")
        .bind(ID)
        .expect_err("refused");
    assert!(matches!(error, SocketError::LivePeer { .. }), "{error}");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let place = Place::new();
    fs::create_dir_all(place.dir()).expect("a directory");
    type Obstacle = fn(&Path);
    let obstacles: [(&str, Obstacle); 4] = [
        ("a regular file", |path| {
            fs::write(path, "mine").expect("writes")
        }),
        ("a directory", |path| fs::create_dir(path).expect("makes")),
        ("a symbolic link", |path| {
            symlink("/run/elsewhere.sock", path).expect("links")
        }),
        ("a pipe", |path| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .expect("makes");
        }),
    ];
    for (what, put) in obstacles {
        put(&place.socket());
        let error = place
            .claim()
            .expect("claims")
            .bind(ID)
            .expect_err("refused");
        let said = error.to_string();
        assert!(said.contains(what), "{said}");
        assert!(
            said.contains(&place.socket().display().to_string()),
            "{said}"
        );
        assert_eq!(error.exit_code(), exit::CANNOT_CREATE);
        let still = fs::symlink_metadata(place.socket()).expect("still there");
        if still.is_dir() {
            fs::remove_dir(place.socket()).expect("removes");
        } else {
            fs::remove_file(place.socket()).expect("removes");
        }
    }
}

#[test]
fn a_directory_that_is_not_ours_is_refused() {
    let place = Place::new();
    fs::create_dir_all(&place.root).expect("a directory");

    let elsewhere = place.root.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    symlink(&elsewhere, place.dir()).expect("links");
    let error = place.claim().expect_err("refused");
    assert!(error.to_string().contains("a symbolic link"), "{error}");
    assert_eq!(error.exit_code(), exit::CANNOT_CREATE);
    assert_eq!(fs::read_dir(&elsewhere).expect("reads").count(), 0);
    fs::remove_file(place.dir()).expect("removes");

    fs::write(place.dir(), "").expect("writes");
    let error = place.claim().expect_err("refused");
    assert!(error.to_string().contains("a regular file"), "{error}");
    fs::remove_file(place.dir()).expect("removes");

    if rustix::process::geteuid().is_root() {
        fs::create_dir(place.dir()).expect("a directory");
        std::os::unix::fs::chown(place.dir(), Some(12345), None).expect("gives away");
        let error = place.claim().expect_err("refused");
        assert!(
            error.to_string().contains("belongs to user 12345"),
            "{error}"
        );
    }
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let place = Place::new();
    fs::create_dir_all(place.dir()).expect("a directory");
    let precious = place.root.join("precious");
    fs::write(&precious, "keep").expect("writes");
    symlink(&precious, place.lock()).expect("links");
    let error = place.claim().expect_err("refused");
    assert!(error.to_string().contains("a symbolic link"), "{error}");
    assert_eq!(fs::read_to_string(&precious).expect("reads"), "keep");
}

#[test]
fn only_what_is_ours_is_removed() {
    let place = Place::new();
    let mut directory = place.claim().expect("claims");
    let _listener = directory.bind(ID).expect("binds");
    directory.intact().expect("ours");
    // Somebody clears the directory and serves there himself.
    fs::remove_file(place.socket()).expect("removes");
    assert!(matches!(directory.intact(), Err(SocketError::Lost { .. })));
    let _other = UnixListener::bind(place.socket()).expect("binds");
    let theirs = fs::metadata(place.socket()).expect("exists").ino();
    assert!(matches!(directory.intact(), Err(SocketError::Lost { .. })));
    drop(directory);
    assert_eq!(
        fs::metadata(place.socket()).expect("still there").ino(),
        theirs
    );
    assert!(!place.lock().exists());
}

#[test]
fn instances_that_start_and_end_at_once_never_share_a_socket() {
    let place = Place::new();
    let root = &place.root;
    let served = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    match PluginDirectory::claim(root, ID) {
                        Ok(mut directory) => {
                            let _listener = directory.bind(ID).expect("binds alone");
                            directory.intact().expect("alone");
                            served.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                        Err(SocketError::LiveInstance { .. } | SocketError::Unstable { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
    assert!(served.into_inner() > 0);
    assert!(!place.dir().exists());
}

#[test]
fn a_path_that_is_too_long_is_a_matter_of_configuration() {
    let fits = PathBuf::from(format!("/{}", "d".repeat(107 - 1 - "/p/p.sock".len())));
    assert_eq!(
        socket_path(&fits, "p", "p")
            .expect("fits")
            .as_os_str()
            .len(),
        107
    );
    let error = socket_path(&fits.join("x"), "p", "p").expect_err("too long");
    assert!(error.to_string().contains("has 109 bytes"), "{error}");
    assert_eq!(error.exit_code(), exit::CONFIG);
}
