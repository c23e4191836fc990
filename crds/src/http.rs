//! `spec.agent.httpStatistics`: how HTTP is counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How HTTP is counted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpStatistics {
    /// Whether to count at the end of system calls (`sys_exit`) where the kernel has no better place:
    /// where it refuses `fexit` programs. It makes every system call of the node a little dearer, those
    /// of processes that serve nothing too.
    #[serde(default)]
    pub allow_sys_exit: bool,
}
