//! Both sides of a case.

use std::io::{BufRead, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use crate::calls::{read_by, write_by};
use crate::cases::{CASES, Case, Step, TURNS};
use crate::link::{Listener, connect, read_exactly};
use crate::side;

/// The argument that makes this program the server of a case.
pub(crate) const SERVE: &str = "serve";

/// A server of its own process. It is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts the server of this case.
    pub(crate) fn start(case: &str) -> anyhow::Result<Server> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([SERVE, case])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        let mut server = Server {
            child,
            address: String::new(),
        };
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut server.address)?;
        }
        ensure!(!server.address.is_empty(), "the server did not start");
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Is its client for all turns.
    pub(crate) fn ask(&self, case: &Case) -> anyhow::Result<()> {
        let address = self.address.trim();
        let mut connection = None;
        for turn in 0..TURNS {
            if case.reconnects {
                connection = None;
            }
            let socket = match connection.take() {
                Some(socket) => socket,
                None => connect(case.link, address)?,
            };
            speak(&socket, &(case.turn)(turn)).with_context(|| format!("turn {turn}"))?;
            connection = Some(socket);
        }
        Ok(())
    }

    /// Lets it end by itself.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The client's side of a turn: sends at once what the server reads until it writes.
fn speak(socket: &OwnedFd, steps: &[Step]) -> anyhow::Result<()> {
    let mut unsent = Vec::new();
    for step in steps {
        match step {
            Step::Read(_, bytes) => unsent.extend(bytes),
            Step::Write(_, bytes) => {
                if !unsent.is_empty() {
                    let sent = rustix::io::write(socket, &unsent)?;
                    ensure!(sent == unsent.len(), "sent {sent} of {}", unsent.len());
                    unsent.clear();
                }
                let read = read_exactly(socket, bytes.len())?;
                ensure!(&read == bytes, "the server said something else");
            }
        }
    }
    Ok(())
}

/// Is the server of this case, until its input ends.
pub(crate) fn serve(name: &str) -> anyhow::Result<()> {
    if name == side::NAME {
        return side::serve();
    }
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.with_context(|| format!("there is no case {name:?}"))?;
    let listener = Listener::new(case.link)?;
    say(&listener.address()?)?;
    let mut connection = None;
    for turn in 0..TURNS {
        if case.reconnects {
            connection = None;
        }
        let socket = match connection.take() {
            Some(socket) => socket,
            None => listener.accept()?,
        };
        answer(&socket, &(case.turn)(turn)).with_context(|| format!("turn {turn}"))?;
        connection = Some(socket);
    }
    wait_for_the_end()
}

/// The server's side of a turn.
fn answer(socket: &OwnedFd, steps: &[Step]) -> anyhow::Result<()> {
    for step in steps {
        match step {
            Step::Read(how, bytes) => {
                let read = read_by(*how, socket, bytes.len())?;
                ensure!(&read == bytes, "the client said something else");
            }
            Step::Write(how, bytes) => write_by(*how, socket, bytes)?,
        }
    }
    Ok(())
}

/// Tells the client where to ask.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// A process that has ended could not be looked at.
pub(crate) fn wait_for_the_end() -> anyhow::Result<()> {
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}
