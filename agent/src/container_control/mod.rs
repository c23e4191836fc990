//! What a person may do to a container of this node by a click: restart, freeze and thaw it.
//!
//! Scope sends a click on a container to the agent of its node, which carries it out itself. Every
//! answer is what the kernel says, not what was asked of it. What was done is written down
//! afterwards as a `ScopeAction` that is done already, of which the operator makes the Event.

mod arguments;
mod cgroup;
mod containers;
mod deadlines;
mod first_process;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod record;
mod rules;
mod window;

pub use arguments::{ArgumentError, Arguments, DEFAULT_DURATION, MAX_DURATION};
pub use containers::{Containers, Here, Phase};
pub(crate) use deadlines::is_container_id;
pub use record::{Clerk, Record, RecordCounts, Recorder, records};
pub use rules::{DEFAULT_GRACE, Refusal, Rules, Target, judge};
