//! What a person may do to a container of this node by a click: restart, freeze and thaw it.
//!
//! Scope sends a click on a container to the agent of its node, which carries it out itself. Every
//! answer is what the kernel says, not what was asked of it. What was done is written down
//! afterwards as a `ScopeAction` that is done already, of which the operator makes the Event.

mod arguments;
mod cgroup;
mod containers;
mod deadlines;
mod entries;
mod first_process;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod outcome;
mod record;
mod rules;
mod times;
mod window;

pub use arguments::{ArgumentError, Arguments, DEFAULT_DURATION, MAX_DURATION};
pub(crate) use arguments::{shown, whole_time};
pub use containers::Containers;
pub(crate) use entries::is_container_id;
pub(crate) use first_process::parse_stat;
pub use outcome::{Here, Phase};
pub use record::{Clerk, Record, RecordCounts, Recorder, records};
pub use rules::{DEFAULT_GRACE, Refusal, Rules, Spared, SparedPods, Target, judge};
pub(crate) use times::said;
