//! What the library tells a machine's first process, and what that answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::root::RootSpec;

/// No request or answer is longer: a handful of components with their states.
pub(super) const LONGEST_LINE: u64 = 64 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

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
