//! Ways around the rights: each way to an agent's account, to its node, or to what a rollout is decided by
//! that docs/security.md lists, tried by whoever could, cluster admins included.

mod pods;
mod records;
mod rollouts;
mod tokens;
mod totals;

use anyhow::ensure;

pub(super) use pods::{operator_is_restricted, to_a_pod};
pub(super) use records::{in_an_agents_own_words, to_a_record};
pub(super) use rollouts::to_a_rollout;
pub(super) use tokens::to_a_token;
pub(super) use totals::to_the_exchange;

use crate::kubectl::Kubectl;

const DAEMON_SET_CONTROLLER: &str = "system:serviceaccount:kube-system:daemon-set-controller";
const ADMINS: &str = "system:masters";

/// A way around, and the words with which it has to be refused.
struct Way {
    what: &'static str,
    args: Vec<String>,
    manifest: String,
    refusal: &'static str,
}

/// kubectl's arguments and perhaps a manifest.
fn way(what: &'static str, args: &str, manifest: impl ToString, refusal: &'static str) -> Way {
    Way {
        what,
        args: args.split_whitespace().map(str::to_owned).collect(),
        manifest: manifest.to_string(),
        refusal,
    }
}

impl Way {
    /// Somebody with all rights of RBAC, so that only the policies stand in the way.
    fn by(mut self, user: &str) -> Self {
        for (flag, value) in [("--as", user), ("--as-group", ADMINS)] {
            self.args.extend([flag.to_owned(), value.to_owned()]);
        }
        self
    }

    /// A node, with the rights of one.
    fn by_node(mut self, node: &str) -> Self {
        let user = format!("system:node:{node}");
        for (flag, value) in [
            ("--as", user.as_str()),
            ("--as-group", "system:nodes"),
            ("--as-group", "system:authenticated"),
        ] {
            self.args.extend([flag.to_owned(), value.to_owned()]);
        }
        self
    }

    fn output(&self, kubectl: &Kubectl) -> anyhow::Result<std::process::Output> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        if self.manifest.is_empty() {
            kubectl.run(&args)
        } else {
            kubectl.pipe(&args, &self.manifest)
        }
    }

    fn is_refused(&self, kubectl: &Kubectl) -> anyhow::Result<()> {
        let output = self.output(kubectl)?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{} was not refused", self.what);
        ensure!(
            words.contains(self.refusal),
            "{}: refused, but not by {:?}: {words}",
            self.what,
            self.refusal
        );
        Ok(())
    }

    fn is_accepted(&self, kubectl: &Kubectl) -> anyhow::Result<()> {
        let output = self.output(kubectl)?;
        ensure!(
            output.status.success(),
            "{} was refused: {}",
            self.what,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// Creates on trial: policies judge it, nothing is stored.
const CREATE: &str = "create --validate=false --dry-run=server -f -";
