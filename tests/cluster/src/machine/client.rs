//! The library's side of a machine.

use std::io::{PipeWriter, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::init::KEEPER_COMMAND;
use super::protocol::{Answer, LONGEST_LINE, MachineSpec, Request, State, read_line, write_line};
use crate::error::{At, Error, Result, tail_of};
use crate::layout::write_private;
use crate::patience::Patience;
use crate::process::Process;

/// Namespaces and mounts take milliseconds; this is for a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Init answers at once: it never waits for anything but its next event.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long the kernel may take to kill all processes of a machine.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// How many lines of a log go into an error.
const LOG_LINES: usize = 12;

/// A machine that runs, or did.
pub(crate) struct Machine {
    name: String,
    socket: PathBuf,
    logs: PathBuf,
    init: Process,
    /// What only the library that started it has: its parent process and its leash.
    own: Mutex<Option<(Child, PipeWriter)>>,
}

impl Machine {
    /// Starts a machine. `program` is one that calls [`crate::run_internal_command_if_asked`]
    /// first.
    pub(crate) fn start(
        spec: &MachineSpec,
        spec_file: &Path,
        logs: &Path,
        program: &Path,
    ) -> Result<Machine> {
        write_private(
            spec_file,
            &serde_json::to_vec_pretty(spec).at("write", spec_file)?,
        )?;
        let log = machine_log(logs, &spec.name);
        let errors = std::fs::File::options()
            .append(true)
            .create(true)
            .open(&log)
            .at("open", &log)?;
        let (leash_end, leash) = std::io::pipe().at("make a pipe for", &spec.name)?;
        let mut keeper = Command::new(program)
            .arg(KEEPER_COMMAND)
            .arg(spec_file)
            .stdin(leash_end)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|source| Error::Start {
                program: program.display().to_string(),
                source,
            })?;
        let said = keeper
            .stdout
            .take()
            .map(|pipe| read_until_ready(pipe, START_LIMIT))
            .unwrap_or_default();
        let pid = said
            .lines()
            .find_map(|line| line.strip_prefix("pid ")?.parse().ok());
        let ready = said.lines().any(|line| line == "ready");
        let init = pid.and_then(Process::of);
        match init {
            Some(init) if ready => Ok(Machine {
                name: spec.name.clone(),
                socket: spec.socket.clone(),
                logs: logs.to_path_buf(),
                init,
                own: Mutex::new(Some((keeper, leash))),
            }),
            _ => {
                // Init ends without its leash, and the keeper with init.
                drop(leash);
                crate::command::wait(&mut keeper, START_LIMIT).at("wait for", &spec.name)?;
                Err(Error::Machine {
                    machine: spec.name.clone(),
                    problem: format!(
                        "did not start (does {} call run_internal_command_if_asked first?)",
                        program.display()
                    ),
                    tail: tail_of(&log, LOG_LINES),
                    log,
                })
            }
        }
    }

    /// A machine that another process started.
    pub(crate) fn known(name: &str, socket: &Path, logs: &Path, init: Process) -> Machine {
        Machine {
            name: name.to_owned(),
            socket: socket.to_path_buf(),
            logs: logs.to_path_buf(),
            init,
            own: Mutex::new(None),
        }
    }

    /// Its pid 1, as the host sees it.
    pub(crate) fn init(&self) -> Process {
        self.init
    }

    /// Starts a component.
    pub(crate) fn start_component(&self, component: &str) -> Result<()> {
        self.request(component, &Request::Start(component.to_owned()))
            .map(drop)
    }

    /// Ends a component with SIGTERM, or with SIGKILL when it takes longer than `grace`.
    pub(crate) fn stop_component(&self, component: &str, grace: Duration) -> Result<()> {
        const SIGKILL: i32 = 9;
        const SIGTERM: i32 = 15;
        for (signal, limit) in [(SIGTERM, grace), (SIGKILL, KILL_LIMIT)] {
            self.request(component, &Request::Signal(component.to_owned(), signal))?;
            let mut patience = Patience::new(limit);
            loop {
                if self.state(component)? != State::Running {
                    return Ok(());
                }
                if patience.is_over() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Err(self.component_error(component, "does not end, not even by SIGKILL"))
    }

    /// An error unless the component runs.
    pub(crate) fn check(&self, component: &str) -> Result<()> {
        match self.state(component)? {
            State::Running => Ok(()),
            State::New => Err(self.component_error(component, "was not started")),
            State::Ended(how) => Err(self.component_error(component, &how)),
        }
    }

    /// Lets it live on when this process ends.
    pub(crate) fn detach(&self) -> Result<()> {
        self.request("init", &Request::Detach)?;
        // Neither kills nor waits.
        drop(self.take_own());
        Ok(())
    }

    /// Kills everything in it at once, as a power cut would, and waits until it is gone.
    pub(crate) fn kill(&self) -> Result<()> {
        self.init
            .kill(KILL_LIMIT)
            .at("kill the machine", &self.name)?;
        self.reap()
    }

    /// Cuts the leash, at which the machine ends, and waits for that.
    fn reap(&self) -> Result<()> {
        if let Some((mut keeper, leash)) = self.take_own() {
            drop(leash);
            crate::command::wait(&mut keeper, KILL_LIMIT).at("wait for", &self.name)?;
        }
        Ok(())
    }

    fn take_own(&self) -> Option<(Child, PipeWriter)> {
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// An error about a component, with the end of its log.
    pub(crate) fn component_error(&self, component: &str, problem: &str) -> Error {
        let log = component_log(&self.logs, &self.name, component);
        Error::Component {
            component: component.to_owned(),
            machine: self.name.clone(),
            problem: problem.to_owned(),
            tail: tail_of(&log, LOG_LINES),
            log,
        }
    }

    fn state(&self, component: &str) -> Result<State> {
        match self.request(component, &Request::State(component.to_owned()))? {
            Answer::State(state) => Ok(state),
            _ => Err(self.component_error(component, "has no state")),
        }
    }

    fn request(&self, component: &str, request: &Request) -> Result<Answer> {
        let answer = self.exchange(request).map_err(|error| {
            let log = machine_log(&self.logs, &self.name);
            Error::Machine {
                machine: self.name.clone(),
                problem: match error {
                    _ if !self.init.is_alive() => "is down".to_owned(),
                    error => format!("does not answer: {error}"),
                },
                tail: tail_of(&log, LOG_LINES),
                log,
            }
        })?;
        match answer {
            Answer::Failed(why) => Err(self.component_error(component, &format!("failed: {why}"))),
            answer => Ok(answer),
        }
    }

    fn exchange(&self, request: &Request) -> std::io::Result<Answer> {
        let (_directory, short) = short_path(&self.socket).map_err(std::io::Error::other)?;
        let stream = UnixStream::connect(short)?;
        write_line(&stream, request, ANSWER_LIMIT)?;
        read_line(&stream, ANSWER_LIMIT)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What still runs is found by the record.
        self.reap().ok();
    }
}

/// The log of a machine's first processes.
fn machine_log(logs: &Path, machine: &str) -> PathBuf {
    logs.join(format!("{machine}.log"))
}

/// The log of a component.
pub(crate) fn component_log(logs: &Path, machine: &str, component: &str) -> PathBuf {
    logs.join(format!("{machine}-{component}.log"))
}

/// The two lines that keeper and init say, in either order: init's pid and that it is ready. Fewer
/// when one of them ended or the time is over.
fn read_until_ready(mut pipe: ChildStdout, limit: Duration) -> String {
    const TICK: Timespec = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let mut patience = Patience::new(limit);
    let mut said = Vec::new();
    let mut part = [0; 256];
    while said.iter().filter(|&&byte| byte == b'\n').count() < 2 && said.len() < LONGEST_LINE {
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&TICK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) if patience.is_over() => break,
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => break,
        }
        match pipe.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => said.extend_from_slice(&part[..length]),
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// A short name for a path of any length, good while the descriptor is open: the address of a
/// socket has room for 107 bytes.
pub(super) fn short_path(path: &Path) -> Result<(OwnedFd, PathBuf)> {
    use rustix::fs::{Mode, OFlags, open};
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::Invalid(format!(
            "{} is no path of a socket",
            path.display()
        )));
    };
    let descriptor = open(
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open", directory)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).join(name);
    Ok((descriptor, short))
}
