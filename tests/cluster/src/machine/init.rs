//! The two processes that every machine begins with. Both have one thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open};

use super::protocol::{Answer, Component, MachineSpec, Request, State, read_line, write_line};
use super::root::enter_shared;
use crate::error::{At, Result};

/// The first argument that makes this program a keeper.
pub(super) const KEEPER_COMMAND: &str = "__machine-keeper";
/// The first argument that makes this program a machine's init.
const INIT_COMMAND: &str = "__machine-init";

/// A client has this long for its one line; it is on this machine.
const CLIENT_LIMIT: Duration = Duration::from_secs(2);

/// How often orphans are reaped when nothing else happens.
const REAP_EVERY: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Where programs are found in a machine.
pub(crate) const PATH: &str =
    "/opt/kubernetes/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes a keeper or an init, and ends as it, when the arguments say so.
pub(crate) fn run_if_asked(arguments: &mut dyn Iterator<Item = std::ffi::OsString>) {
    let result = match (arguments.next(), arguments.next()) {
        (Some(command), Some(spec)) if command == KEEPER_COMMAND => keeper(Path::new(&spec)),
        (Some(command), Some(spec)) if command == INIT_COMMAND => init(Path::new(&spec)),
        _ => return,
    };
    std::process::exit(result.unwrap_or_else(|error| {
        // Standard error is the machine's log; without it there is nobody to tell.
        writeln!(std::io::stderr(), "{error}").ok();
        1
    }))
}

/// Makes the namespaces, starts init in them, says its pid (of the host) and stays as its parent,
/// so that init is reaped by somebody.
fn keeper(spec: &Path) -> Result<i32> {
    // A terminal's Ctrl-C is for the library, which then takes everything down in order.
    rustix::process::setsid().at("start a session for", spec)?;
    unshare(read_spec(spec)?.root.is_some()).at("make namespaces for", spec)?;
    let mut init = Command::new("/proc/self/exe")
        .arg(INIT_COMMAND)
        .arg(spec)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .spawn()
        .at("start init of", spec)?;
    say(&format!("pid {}", init.id()));
    let status = init.wait().at("wait for init of", spec)?;
    Ok(status.code().unwrap_or(1))
}

/// A new network, mount and pid namespace; a node also has a host name and IPC of its own.
#[allow(unsafe_code, reason = "unshare is only offered as unsafe")]
fn unshare(node: bool) -> rustix::io::Result<()> {
    use rustix::thread::UnshareFlags as Flags;
    let mut flags = Flags::NEWNET | Flags::NEWNS | Flags::NEWPID;
    if node {
        flags |= Flags::NEWUTS | Flags::NEWIPC;
    }
    // SAFETY: the hazard of unshare is FILES and other threads that rely on a shared descriptor
    // table or directory; neither flag is used, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Pid 1 of a machine.
fn init(spec: &Path) -> Result<i32> {
    let spec = read_spec(spec)?;
    // Socket and logs are opened before the directories that hold them disappear.
    let listener = bind(&spec.socket)?;
    let mut components = BTreeMap::new();
    for component in spec.components {
        components.insert(component.name.clone(), Supervised::new(component)?);
    }
    match &spec.root {
        Some(root) => root.enter()?,
        None => enter_shared()?,
    }
    let forward = Path::new("/proc/sys/net/ipv4/ip_forward");
    std::fs::write(forward, "1").at("write", forward)?;
    say("ready");
    Init {
        components,
        listener,
        leash: Some(std::io::stdin()),
    }
    .run(&spec.name)
}

/// A line to the library, which reads until the machine is ready. If it has gone, the leash tells.
fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

fn read_spec(path: &Path) -> Result<MachineSpec> {
    let text = std::fs::read(path).at("read", path)?;
    serde_json::from_slice(&text).at("understand", path)
}

/// Listens at a path of any length: the 107 bytes of a socket address are spent on the way
/// through a descriptor of its directory.
fn bind(path: &Path) -> Result<UnixListener> {
    crate::layout::remove(path)?;
    let (directory, short) = super::client::short_path(path)?;
    let listener = UnixListener::bind(short).at("listen at", path)?;
    drop(directory);
    listener.set_nonblocking(true).at("listen at", path)?;
    Ok(listener)
}

/// A component and, while it runs, its process.
struct Supervised {
    component: Component,
    log: File,
    state: State,
    process: Option<(Pid, OwnedFd)>,
}

impl Supervised {
    fn new(component: Component) -> Result<Supervised> {
        let log = File::options()
            .append(true)
            .create(true)
            .open(&component.log)
            .at("open", &component.log)?;
        Ok(Supervised {
            component,
            log,
            state: State::New,
            process: None,
        })
    }

    fn start(&mut self) -> std::result::Result<(), String> {
        let name = &self.component.name;
        let failed = |error: &dyn std::fmt::Display| format!("cannot start {name}: {error}");
        if self.process.is_some() {
            return Err(format!("{name} runs already"));
        }
        let (program, arguments) = self
            .component
            .command
            .split_first()
            .ok_or_else(|| failed(&"it has no command"))?;
        let log = || self.log.try_clone().map_err(|error| failed(&error));
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs([("PATH", PATH), ("HOME", "/root"), ("LANG", "C.UTF-8")])
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .process_group(0)
            .spawn()
            .map_err(|error| failed(&error))?;
        let pid = Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(&error))?;
        // `child` is only a number from here on: everything is reaped in one place.
        self.process = Some((pid, handle));
        self.state = State::Running;
        Ok(())
    }

    fn signal(&self, number: i32) -> std::result::Result<(), String> {
        let name = &self.component.name;
        let signal =
            Signal::from_named_raw(number).ok_or(format!("there is no signal {number}"))?;
        match &self.process {
            None => Ok(()),
            // Not reaped yet, so the pid cannot be another's.
            Some((pid, _)) => rustix::process::kill_process(*pid, signal)
                .map_err(|error| format!("cannot signal {name}: {error}")),
        }
    }
}

struct Init {
    components: BTreeMap<String, Supervised>,
    listener: UnixListener,
    /// The pipe whose end is the library's end; `None` when detached.
    leash: Option<std::io::Stdin>,
}

impl Init {
    fn run(mut self, name: &str) -> Result<i32> {
        loop {
            self.reap();
            let (client, leash) = self.wait().at("wait for events of", name)?;
            if leash && self.leash.is_some() {
                // Nothing is ever written to it: readable means closed.
                return Ok(0);
            }
            if client && let Ok((stream, _)) = self.listener.accept() {
                // A client that went away has nobody to tell.
                self.serve(stream).ok();
            }
        }
    }

    /// Waits for a client, the end of the leash, the end of a component or a second.
    fn wait(&self) -> std::io::Result<(bool, bool)> {
        let mut files = vec![PollFd::new(&self.listener, PollFlags::IN)];
        if let Some(leash) = &self.leash {
            files.push(PollFd::from_borrowed_fd(leash.as_fd(), PollFlags::IN));
        }
        let before_components = files.len();
        for supervised in self.components.values() {
            if let Some((_, handle)) = &supervised.process {
                files.push(PollFd::new(handle, PollFlags::IN));
            }
        }
        match poll(&mut files, Some(&REAP_EVERY)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened = |index: usize| {
            index < before_components && files.get(index).is_some_and(|f| !f.revents().is_empty())
        };
        Ok((happened(0), happened(1)))
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let ended = self
                .components
                .values_mut()
                .find(|supervised| supervised.process.as_ref().is_some_and(|(p, _)| *p == pid));
            if let Some(supervised) = ended {
                supervised.process = None;
                supervised.state = State::Ended(in_words(status));
            }
        }
    }

    fn serve(&mut self, stream: UnixStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        let answer = match read_line(&stream, CLIENT_LIMIT) {
            Ok(request) => self.answer(request),
            Err(error) => Answer::Failed(format!("cannot understand the request: {error}")),
        };
        write_line(&stream, &answer, CLIENT_LIMIT)
    }

    fn answer(&mut self, request: Request) -> Answer {
        self.reap();
        let name = match &request {
            Request::Detach => {
                self.leash = None;
                return Answer::Done;
            }
            Request::Start(name) | Request::Signal(name, _) | Request::State(name) => name,
        };
        let Some(supervised) = self.components.get_mut(name) else {
            return Answer::Failed(format!("there is no component {name:?}"));
        };
        let done = match request {
            Request::State(_) => return Answer::State(supervised.state.clone()),
            Request::Start(_) => supervised.start(),
            Request::Signal(_, number) => supervised.signal(number),
            Request::Detach => Ok(()),
        };
        done.map_or_else(Answer::Failed, |()| Answer::Done)
    }
}

fn in_words(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".into(),
    }
}
