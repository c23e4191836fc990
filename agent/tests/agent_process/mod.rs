//! The real binary, without Kubernetes, in a directory of its own.

#![allow(dead_code, reason = "each test crate uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const ID: &str = "node-metrics";

/// Directories of one test. Short, since a socket's path may have 107 bytes.
pub(crate) struct Place {
    _tmp: TempDir,
    pub(crate) plugins: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let tmp = tempfile::tempdir().expect("a directory");
        let plugins = tmp.path().join("plugins");
        Place { _tmp: tmp, plugins }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.plugins.join(ID)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join(format!("{ID}.sock"))
    }

    /// The agent with nothing of this process's environment that it would read.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = bare_command();
        command
            .arg(subcommand)
            .env("SCOPE_AGENT_PLUGIN_DIR", &self.plugins);
        command
    }

    pub(crate) fn serve(&self) -> Command {
        let mut command = self.command("serve");
        command.args(["--standalone", "--plugin-id", ID]);
        command
    }

    /// Starts it and waits until its socket is there.
    pub(crate) fn start(&self) -> Agent {
        let mut agent = Agent::spawn(&mut self.serve());
        agent.wait_for(&self.socket());
        agent
    }
}

pub(crate) fn bare_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scope-agent"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SCOPE_AGENT_")
            || [
                "NODE_NAME",
                "POD_NAMESPACE",
                "KUBECONFIG",
                "KUBERNETES_SERVICE_HOST",
            ]
            .contains(&&*text)
        {
            command.env_remove(&name);
        }
    }
    command
}

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    child: Child,
}

impl Agent {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let child = command.stderr(Stdio::piped()).spawn().expect("starts");
        Agent { child }
    }

    fn wait_for(&mut self, socket: &Path) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            if let Some(status) = self.child.try_wait().expect("waits") {
                panic!("the agent ended: {status}");
            }
            assert!(Instant::now() < deadline, "no socket");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signals");
    }

    /// Waits for its end. What it printed to standard error is in the output.
    pub(crate) fn end(mut self) -> Output {
        let deadline = Instant::now() + Duration::from_secs(30);
        // It logs little: the pipe does not fill up.
        while self.child.try_wait().expect("waits").is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut stderr = Vec::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            std::io::Read::read_to_end(&mut pipe, &mut stderr).expect("reads");
        }
        let status = self.child.wait().expect("waits");
        Output {
            status,
            stdout: Vec::new(),
            stderr,
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
