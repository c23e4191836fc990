//! What came of a click on a container.

/// What came of a click, as far as is known when it has to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// How it went.
    pub phase: Phase,
    /// The same for the person who clicked.
    pub message: String,
}

/// How a click on a container went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Done, and the kernel says so.
    Succeeded,
    /// Begun; what will happen is said.
    Accepted,
    /// Not done: a rule or the state of the container is against it.
    Refused,
    /// Tried, and did not work.
    Failed,
}

impl Phase {
    /// As a word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Succeeded => "Succeeded",
            Phase::Accepted => "Accepted",
            Phase::Refused => "Refused",
            Phase::Failed => "Failed",
        }
    }
}

impl Here {
    pub(super) fn new(phase: Phase, message: impl Into<String>) -> Self {
        Here {
            phase,
            message: message.into(),
        }
    }

    pub(super) fn refused(message: impl Into<String>) -> Self {
        Here::new(Phase::Refused, message)
    }

    /// The answer when carrying it out takes longer than the person can wait.
    pub(crate) fn late() -> Self {
        let said = "not known yet: this node is slow. See the container's state, and the Events of \
                    its pod";
        Here::new(Phase::Accepted, said)
    }
}
