//! The modes of what a serving agent makes, whatever umask it inherits and whoever runs it.

mod agent_process;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use agent_process::{Agent, ID};
use rustix::process::Signal;

fn mode(path: &Path) -> u32 {
    let meta = std::fs::symlink_metadata(path).expect("exists");
    meta.permissions().mode() & 0o7777
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    let root = rustix::process::geteuid().is_root();
    for umask in ["0777", "0000", "0077", "0177"] {
        for user in [None, Some(65534)] {
            if user.is_some() && !root {
                continue;
            }
            let tmp = tempfile::tempdir().expect("a directory");
            let binary = tmp.path().join("scope-agent");
            std::fs::copy(env!("CARGO_BIN_EXE_scope-agent"), &binary).expect("copies");
            let writable = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(tmp.path(), writable).expect("sets a mode");
            let plugins = tmp.path().join("scope/plugins");
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", "umask $0 && exec \"$@\"", umask])
                .arg(&binary)
                .args(["serve", "--standalone", "--plugin-id", ID, "--plugin-dir"])
                .arg(&plugins)
                .current_dir("/");
            if let Some(user) = user {
                command.uid(user).gid(user);
            }
            let agent = Agent::spawn(&mut command);
            let dir = plugins.join(ID);
            let socket = dir.join(format!("{ID}.sock"));
            let deadline = Instant::now() + Duration::from_secs(30);
            while std::os::unix::net::UnixStream::connect(&socket).is_err() {
                assert!(Instant::now() < deadline, "{umask} {user:?}: no socket");
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(mode(&dir), 0o700, "{umask} {user:?}");
            assert_eq!(mode(&socket), 0o600, "{umask} {user:?}");
            assert_eq!(
                mode(&dir.join(format!("{ID}.lock"))),
                0o600,
                "{umask} {user:?}"
            );
            assert_eq!(
                mode(&plugins),
                0o755,
                "others have plugins there: {umask} {user:?}"
            );
            agent.signal(Signal::TERM);
            assert!(agent.end().status.success());
            assert!(!dir.exists());
        }
    }
}
