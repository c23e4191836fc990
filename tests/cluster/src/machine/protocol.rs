//! What the library tells a machine's first process, and what that answers.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::root::RootSpec;
use crate::patience::Patience;

/// No request or answer is longer: a handful of components with their states.
pub(super) const LONGEST_LINE: usize = 64 * 1024;

/// A machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MachineSpec {
    /// Its name, for messages.
    pub(crate) name: String,
    /// The socket that takes requests.
    pub(crate) socket: PathBuf,
    /// Its own host name and file system; without it shares the machine's.
    pub(crate) root: Option<RootSpec>,
    /// What it can run.
    pub(crate) components: Vec<Component>,
}

/// A program that a machine runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Component {
    /// Its name in requests and messages.
    pub(crate) name: String,
    /// Program and arguments, seen from inside.
    pub(crate) command: Vec<String>,
    /// Its log, seen from outside.
    pub(crate) log: PathBuf,
}

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Request {
    /// Start a component that does not run.
    Start(String),
    /// Send a signal to a component.
    Signal(String, i32),
    /// Say how a component is.
    State(String),
    /// Live on when the leash is cut.
    Detach,
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    /// Done, or nothing to do.
    Done,
    /// The component's state.
    State(State),
    /// It could not be done.
    Failed(String),
}

/// The state of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    /// It was not started yet.
    New,
    /// It runs.
    Running,
    /// It has ended, in these words.
    Ended(String),
}

/// Sends a value as a line.
pub(super) fn write_line(
    mut stream: &UnixStream,
    value: &impl Serialize,
    limit: Duration,
) -> io::Result<()> {
    stream.set_write_timeout(Some(limit))?;
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    // Far less than the socket's buffer, so it does not wait for the other side.
    stream.write_all(&line)
}

/// Reads the one line that the other side sends.
pub(super) fn read_line<T: DeserializeOwned>(
    mut stream: &UnixStream,
    limit: Duration,
) -> io::Result<T> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut patience = Patience::new(limit);
    let mut line = Vec::new();
    let mut part = [0; 4096];
    while line.last() != Some(&b'\n') {
        match stream.read(&mut part) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => line.extend_from_slice(&part[..length]),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock | ErrorKind::TimedOut if !patience.is_over() => {}
                _ => return Err(error),
            },
        }
        if line.len() > LONGEST_LINE {
            return Err(ErrorKind::FileTooLarge.into());
        }
    }
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_through_in_pieces() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            for piece in [r#"{"start":"#, "\"kubelet\"}\n"] {
                client.write_all(piece.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let request: Request = read_line(&server, Duration::from_secs(5)).unwrap();
        assert!(matches!(request, Request::Start(name) if name == "kubelet"));
        writer.join().unwrap();
    }

    #[test]
    fn silence_half_lines_and_long_lines_end() {
        let (client, server) = UnixStream::pair().unwrap();
        let read = || read_line::<Request>(&server, Duration::from_millis(1));
        assert_eq!(read().unwrap_err().kind(), ErrorKind::WouldBlock);
        let writer = std::thread::spawn(move || {
            (&client).write_all(&[b' '; LONGEST_LINE + 4096]).unwrap();
        });
        assert_eq!(read().unwrap_err().kind(), ErrorKind::FileTooLarge);
        writer.join().unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        (&client).write_all(b"{").unwrap();
        drop(client);
        let half = read_line::<Request>(&server, Duration::from_secs(1));
        assert_eq!(half.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn answers_survive_the_wire() {
        for answer in [
            Answer::Done,
            Answer::State(State::Ended("ended with status 1".into())),
            Answer::Failed("no component \"x\"".into()),
        ] {
            let line = serde_json::to_string(&answer).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
        }
    }
}
