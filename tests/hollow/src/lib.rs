//! Simulated nodes: a thousand Node objects on a control plane of its own, and one task that says
//! about their pods what a thousand kubelets would say. Nothing runs in those pods.
//!
//! What controllers see is real: pods are made, scheduled, started after a delay, deleted after
//! another one, and fail in the ways that pods do ([`Fault`]). What is missing is what the pods'
//! own programs would ask of the API server.
//!
//! ```no_run
//! # async fn example(client: kube::Client) -> Result<(), hollow_nodes::Error> {
//! use hollow_nodes::{Fate, Fault, Fleet, Profile};
//!
//! let fleet = Fleet::start(client, Profile::new(1000)).await?;
//! fleet.inject(Fault::of(Fate::CrashLoop).image("example.org/bad:1"));
//! fleet.fail_node("hollow-7").await?;
//! # Ok(())
//! # }
//! ```

mod fault;
mod fleet;
mod kubelet;
mod node;
mod said;

pub use fault::{Fate, Fault};
pub use fleet::{Error, Fleet};
pub use node::Profile;
