//! What agents and `scope-totals` say to each other: `POST /v1/exchange`, JSON both ways. And what it tells the
//! operator of them: `GET /v1/fleet`, and people of what uses most: `GET /v1/top`.
//!
//! An agent sends a [`Report`]: for each controller and Service with pods on its node, the sum of what these
//! pods use, and for each image that of their containers of it.
//! The [`Reply`] holds the sums over all nodes, and when to come again. A total is right or absent: what
//! cannot be known of all pods concerned is left out, never guessed.
//!
//! # Services
//!
//! Which pods a controller has on a node the agent knows by itself. Which Services they belong to it is
//! [told](Services), and it names with each sum which [set of pods](Members) that is of: a sum of another set
//! than the present one is not counted.
//!
//! # Images
//!
//! Which images its pods have an agent knows by itself too, and both sides make the same [UID](image_uid) of an image's
//! name. An image is in a report as soon as a container of it runs by the status of its pod: of a node that has one by
//! what the service knows, and says nothing of it, nothing is known.
//!
//! # What adds up
//!
//! Only values that may be added are sent. CPU goes as millicores: percent of nodes of different sizes have
//! no sum. The CPU of a controller in percent (`docker_cpu_total_usage`) is what its pods use, divided by
//! all CPUs of the nodes that they run on ([`Total::cpus`]), which is Scope's own figure where there is one
//! node.
//!
//! # Versions
//!
//! Fields, [kinds](Kind) and [metrics](Metric) may be added without a new [`VERSION`]: whoever does not know
//! them leaves them out. A report of another version is refused with [`Reason::Version`].
//!
//! # When a figure is of
//!
//! Clocks of nodes differ, and a process may be stopped at any point. So a report says how long after the
//! last reply its sample was taken ([`Sampled`]), by the agent's monotonic clock, and the service knows by
//! its own when it gave that reply. A report without that, or with a stamp of another run of the service, is
//! answered but not counted: it is how an agent gets its first stamp, and it may send the next at once.

mod bounds;
mod health;
mod image;
mod metric;
mod podless;
mod reply;
mod report;
mod services;
mod top;
mod uid;

pub use bounds::{
    Bad, MAX_BODY, MAX_BOOT, MAX_CPUS, MAX_FLEET, MAX_IMAGES, MAX_MEMBERS, MAX_MEMORY, MAX_OBJECTS,
    MAX_OFF, MAX_PODLESS, MAX_PODS, MAX_REPLY, MAX_SERVICES, MAX_SILENT, MAX_STAMP, MAX_VALUES,
    MAX_VERSIONS, MAX_WHY, MAX_WORD,
};
pub use health::{ASKED, Fleet, Health, Off, OffNodes, PluginHealth, Share, VersionNodes};
pub use image::{bare_image_id, image_id_uid, image_uid};
pub use metric::{Metric, Values, ValuesOf};
pub use podless::{Controller, Podless};
pub use reply::{Fate, Reason, Refusal, Reply, Total, Warming};
pub use report::{Kind, Node, Object, Partial, Report, Sampled, Stamp};
pub use services::{Members, Services};
pub use top::{
    Answered, Asked, Found, MAX_METRIC, MAX_NAME, MAX_QUESTIONS, MAX_ROWS, PodFigure, Question,
    ROWS, TOKEN_HEADER, TOP_PATH, Top, TopOf, TopRow,
};
pub use uid::{NotAUid, Uid};

/// The version of these types.
pub const VERSION: u32 = 1;
/// Where reports are sent.
pub const PATH: &str = "/v1/exchange";
/// Where the operator asks how the agents are.
pub const FLEET_PATH: &str = "/v1/fleet";
/// The audience that the token of an agent, or of the operator, must have. It goes into the header `Authorization: Bearer …`.
pub const AUDIENCE: &str = "scope-totals";
/// So many intervals after its oldest sample a total is not shown any more, and a node that was not heard
/// of for so long has nothing to say.
pub const INTERVALS: u32 = 3;
