//! The traffic of pods: what is set on their networks, and how it is set.
//!
//! All of it is the root qdisc of the pod's `eth0`, through which packets leave the pod; what comes in is
//! not touched. The kernel is asked by rtnetlink ([`wire`], [`netlink`]) from a thread inside of the pod's
//! network namespace ([`namespace`]). Who may click, until when it lasts and the record of it are those of
//! all controls on containers (see [`crate::container_control`]).

mod board;
mod features;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handle;
mod held;
#[cfg(test)]
#[path = "../../tests/made_network/mod.rs"]
mod live;
mod namespace;
mod netlink;
mod networks;
mod order;
mod setting;
mod wire;

pub use board::{Board, Seen, Way};
pub use features::{Features, Lack};
pub use handle::Handle;
pub use held::NoNetwork;
pub(crate) use held::network_of;
pub use namespace::{DEVICE, Identity, Namespace, NamespaceError};
pub use netlink::{Foreign, NetlinkError, Root};
pub use networks::{Ask, MOST_WAITING, Networks, Request};
pub use order::{Button, Change, MAX_DELAY, Order, OrderError, PREFIX};
pub(crate) use setting::time;
pub use setting::{Loss, Rate, Setting};
pub use wire::Kind;
