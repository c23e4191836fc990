//! What an agent says.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::{bounds::MAX_HEALTH, health::Health, metric::Values, top::Found, uid::Uid};

/// The partial sums of a node, complete: an object that is not in it has no pods there any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`](crate::VERSION).
    pub version: u32,
    /// A name that the process gave itself at its start by chance; 1 to [`MAX_BOOT`](crate::MAX_BOOT)
    /// letters, digits and dashes.
    pub boot: String,
    /// Grows with each report of this process, but not when one is sent again because no reply came. A
    /// report that was taken already is answered, not taken twice.
    pub sequence: u64,
    /// When the sample was taken. Nothing until the first reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
    /// The node itself.
    pub node: Node,
    /// What the pods of this node use, by controller, Service and image.
    pub objects: Vec<Partial>,
    /// The version of the list of controllers without pods that this agent has, if it has one that is still
    /// valid: then it is not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub podless: Option<u64>,
    /// Whether the API server does not answer this agent at present. As long as it answers any agent, it is
    /// the service that is cut off, and then others may know better.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server_away: bool,
    /// Whether anybody asked this agent for a report of its node just now, so that somebody looks at totals. While
    /// nobody does on any node, the service lets all [rest](crate::Reply::resting). Nothing: the agent does not tell,
    /// and somebody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<bool>,
    /// The version of the list of this node's [Services](crate::Services) that this agent has, if that is still
    /// valid: then it is not sent again. 0 while it has none. Nothing: it cannot read one, and is sent none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<u64>,
    /// How the agent itself is. What cannot be read is taken for a health without a version, which
    /// [is no health](Report::remove_bad_health): the sums do not suffer for it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "readable"
    )]
    pub health: Option<Health>,
    /// Answers to the [questions](crate::Question) of the last reply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Found>,
}

/// When a sample was taken, in a way that needs no two clocks to agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// That of the last reply.
    pub stamp: Stamp,
    /// So long after that reply was received the sample was taken, by the agent's monotonic clock. A sample
    /// from before that goes with the stamp of the reply before.
    pub after_ms: u64,
}

/// A moment of the service, to be given back as it is; at most [`MAX_STAMP`](crate::MAX_STAMP) characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub String);

/// The size of a node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// CPUs that are online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// A kind of what totals are of: controllers, Services and images. Others are left out on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Of apps/v1; its pods are those of its ReplicaSets.
    Deployment,
    /// Of apps/v1.
    StatefulSet,
    /// Of apps/v1.
    DaemonSet,
    /// Of batch/v1.
    Job,
    /// Of batch/v1; its pods are those of its Jobs.
    CronJob,
    /// Of v1; its pods are those that its EndpointSlices name.
    Service,
    /// An image of containers, by the name that Scope shows; see [`image_uid`](crate::image_uid). Its pods are those in
    /// which a container of it runs, and its values are of these containers alone.
    Image,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

/// What totals are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its UID.
    pub uid: Uid,
}

/// What the pods of one controller, Service or image on one node use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    /// What it is.
    pub kind: Kind,
    /// Its UID.
    pub uid: Uid,
    /// Its pods on this node that the values are of: those that were found and measured; of an image those of which each
    /// running container of it was.
    pub counted: u32,
    /// Of a Service: the [version of the set of pods](crate::Members::version) that it is of. Of all else
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u64>,
    /// Sums over just those pods. A metric that is not known of each of them is left out; what is
    /// [part of HTTP](crate::Metric::is_part_of_http) is known of each whose requests are.
    pub values: Values,
}

impl Partial {
    /// What it is of.
    pub fn object(&self) -> Object {
        Object {
            kind: self.kind,
            uid: self.uid,
        }
    }
}

/// It is kept as text first: a tree of whatever JSON somebody sends would take fifty times as much room.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Health>, D::Error> {
    let Some(said) = Option::<Box<RawValue>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let is_long = said.get().len() > MAX_HEALTH;
    let health = (!is_long).then(|| serde_json::from_str(said.get()).ok());
    Ok(Some(health.flatten().unwrap_or_default()))
}
