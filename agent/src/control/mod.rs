//! Clicks: from the controls socket to a `ScopeAction` and back to the person.
//!
//! Scope sends a click on a pod to the agent on its cluster probe's node, wherever the pod runs. So
//! an agent does nothing itself: it writes down what was asked for, and the operator, which may,
//! carries it out. The answer leaves in time whatever happens.

mod action;
mod answer;
mod click;
mod desk;
mod offer;

pub use action::{Actions, Outcome};
pub use answer::answer;
pub use click::{Click, Rejection};
pub use desk::{CLICK_WAIT, Counts, Desk};
pub use offer::{CONTROLS_SUFFIX, control_id, controls_report, scope_control_id};
