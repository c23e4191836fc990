//! How a cluster shall be.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::network::MOST_NODES;
use crate::progress::Progress;
use crate::record::check_prefix;
use crate::tools::Tools;

/// How a cluster shall be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Part of the names of everything outside the cache: 1 to 8 small letters and digits.
    pub prefix: String,
    /// How many nodes it has; they are called node1, node2, … None is a control plane alone, for
    /// nodes that are simulated.
    pub nodes: usize,
    /// Archives of images that every node gets, besides [`crate::images::BOX_IMAGE`].
    pub images: Vec<PathBuf>,
    /// Whether the API server writes an audit log.
    pub audit: bool,
    /// More flags for the API server, as in `--default-unreachable-toleration-seconds=2`.
    pub api_server_flags: Vec<String>,
    /// More flags for the controller manager, as in `--node-monitor-grace-period=8s`.
    pub controller_manager_flags: Vec<String>,
    /// Top-level fields of kubelet's configuration that replace the usual ones.
    pub kubelet: Map<String, Value>,
    /// The programs, when they are known already; else they are looked for.
    pub tools: Option<Tools>,
    /// A program that calls [`crate::run_internal_command_if_asked`] first; the calling program
    /// when nothing is said. A test under `cargo test` must name one.
    pub helper: Option<PathBuf>,
    /// Takes lines about what takes long.
    pub progress: Progress,
}

impl Options {
    /// Two nodes, with an audit log.
    pub fn new(prefix: &str) -> Options {
        Options {
            prefix: prefix.to_owned(),
            nodes: 2,
            images: Vec::new(),
            audit: true,
            api_server_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
            kubelet: Map::new(),
            tools: None,
            helper: None,
            progress: Progress::default(),
        }
    }

    /// Lets the cluster notice within seconds that a node has gone, where the usual settings take
    /// most of a minute: kubelet reports every 2 s, and after 8 s of silence the node is not ready.
    pub fn notice_lost_nodes_soon(&mut self) {
        self.controller_manager_flags.extend(
            ["--node-monitor-grace-period=8s", "--node-monitor-period=1s"].map(str::to_owned),
        );
        // The Lease is renewed four times in its duration.
        self.kubelet.extend([
            ("nodeStatusUpdateFrequency".to_owned(), "2s".into()),
            ("nodeLeaseDurationSeconds".to_owned(), 8.into()),
        ]);
    }

    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<()> {
        check_prefix(&self.prefix)?;
        if self.nodes > MOST_NODES {
            return Err(Error::Invalid(format!(
                "a cluster has at most {MOST_NODES} nodes, not {}",
                self.nodes
            )));
        }
        match crate::obstacle() {
            Some(why) => Err(Error::Unable(why)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let wrong = |change: fn(&mut Options)| {
            let mut options = Options::new("t0");
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(wrong(|options| options.prefix = "T".into()).contains("no prefix"));
        assert!(wrong(|options| options.nodes = 100).contains("at most 99 nodes"));
    }
}
