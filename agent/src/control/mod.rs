//! Clicks: from the controls socket to a `ScopeAction` and back to the person.
//!
//! Scope sends a click on a pod or a controller to the agent on its cluster probe's node, wherever the
//! pod runs. So an agent does nothing to objects of Kubernetes itself, not even to its own node: it
//! writes down what was asked for, and the operator, which may, carries it out. What is clicked on a
//! container of this node is done here (see [`crate::container_control`]). The answer leaves in time
//! whatever happens.

mod action;
mod answer;
mod click;
mod desk;
mod offer;

pub use action::{Actions, NotRecorded, Outcome};
pub use answer::answer;
pub use click::{Click, OwnNode, Rejection};
pub use desk::{CLICK_WAIT, Counts, Desk};
pub use offer::{
    CONTROLS_SUFFIX, active_on_container, active_on_network, control_ids, controls_report,
    places_of, scope_control_id,
};
