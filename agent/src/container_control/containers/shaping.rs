//! Shaping the traffic of the pod of a container, by click and until its time is over.

use std::time::{Duration, SystemTime};

use scope_crds::{ActionPhase, Control};

use super::super::arguments::Arguments;
use super::super::cgroup::Cgroup;
use super::super::deadlines::{Deadlines, MAX_ENTRIES, millis};
use super::super::entries::Shaped;
use super::super::first_process::{FirstProcess, NoProcess};
use super::super::outcome::{Here, Phase};
use super::super::rules::{DEFAULT_GRACE, Target};
use super::super::times::{boot_clock, in_words, said};
use super::Shared;
use crate::control::Click;
use crate::sample::Cause;
use crate::traffic::{
    Change, Identity, Namespace, NamespaceError, NetlinkError, NoNetwork, Order, Root, Setting,
    network_of,
};

/// A pod whose network cannot be put right is tried again after this time.
const CLEAR_AGAIN: Duration = Duration::from_secs(5);
/// Of a pod, so many processes are looked at for its network; nearly all of them are in it.
const MAX_TRIED: usize = 1_000;

impl Shared {
    pub(super) fn shape(&self, click: &Click) -> Here {
        self.try_shape(click).unwrap_or_else(|here| here)
    }

    fn try_shape(&self, click: &Click) -> Result<Here, Here> {
        let longest = self.rules.longest_shaping;
        let button = click
            .button
            .ok_or_else(|| Here::refused(format!("{} has no such button", click.control)))?;
        let order =
            Order::read(button, &click.args, longest).map_err(|e| Here::refused(e.to_string()))?;
        let target = self.judged(click, Arguments::NONE)?;
        // From here on one click after the other, from the look at the process to what is set.
        let mut shaped = self.shaped();
        let network = self.network(&target)?;
        match order {
            Order::Clear => self.clear(click, &target, &network, &mut shaped),
            Order::Change(change, duration) => {
                self.begins(&target)?;
                self.change(click, &target, &network, change, duration, &mut shaped)
            }
        }
    }

    /// The network of the container that was clicked, held open: whatever becomes of the process.
    fn network(&self, target: &Target) -> Result<Namespace, Here> {
        let (_, processes) = self.cgroup(target)?;
        let gone = || Here::refused(format!("{target} has no process (any more)"));
        let first = FirstProcess::open(&self.roots.proc, &processes, &target.container).map_err(
            |e| match e {
                NoProcess::Gone => gone(),
                NoProcess::Open { .. } => Here::new(
                    Phase::Failed,
                    format!("the traffic of {target} is as it was: {e}"),
                ),
            },
        )?;
        let is_meant = |place: &crate::sample::Place| {
            place.container.as_deref() == Some(target.container.as_str())
        };
        network_of(&self.roots.proc, first.pid, is_meant).map_err(|e| match e {
            NoNetwork::Gone => gone(),
            NoNetwork::Node | NoNetwork::Own => {
                Here::refused(format!("the traffic of {target} is not touched: {e}"))
            }
            NoNetwork::Namespace(e) => failed(target, &e),
        })
    }

    fn change(
        &self,
        click: &Click,
        target: &Target,
        network: &Namespace,
        change: Change,
        duration: Duration,
        shaped: &mut Deadlines<Shaped>,
    ) -> Result<Here, Here> {
        let before = match self
            .networks
            .root(network)
            .map_err(|e| failed(target, &e))?
        {
            Root::Default => Setting::default(),
            Root::Ours(setting) => setting,
            Root::Foreign(foreign) => return Err(not_ours(target, &foreign)),
        };
        let after = change
            .applied_to(before)
            .map_err(|e| Here::refused(e.to_string()))?;
        if after.is_nothing() {
            return self.clear(click, target, network, shaped);
        }
        // Before anything is taken away for it.
        if let Some(lack) = self
            .board
            .as_ref()
            .and_then(|b| b.features().lacking_for(&after))
            && lack.cause == Cause::Absent
        {
            return Err(cannot(target, &after, lack));
        }
        if shaped.is_full() && shaped.get(&target.pod_uid).is_none() {
            return Err(Here::refused(format!(
                "the traffic of {MAX_ENTRIES} pods of this node is shaped; clear one first"
            )));
        }
        self.of_no_other_network(target, network.identity(), shaped)?;
        let now = boot_clock();
        self.take_place(&mut self.state(), now)?;
        let earlier = shaped.get(&target.pod_uid).cloned();
        let entry = Shaped {
            namespace: target.namespace.clone(),
            pod: target.pod.clone(),
            container: target.container.clone(),
            name: target.name.clone(),
            network: network.identity(),
            until_ms: millis(now + duration),
        };
        if let Err(e) = shaped.add(&target.pod_uid, entry) {
            self.state().window.give_back(now);
            return Err(Here::new(
                Phase::Failed,
                format!(
                    "the traffic of {target} is as it was: its deadline cannot be written: {e}"
                ),
            ));
        }
        let until = SystemTime::now() + duration;
        let set = self.networks.set(network, after);
        // The kernel may have done it all the same: then it ends in time as well.
        let undone = |error: &NamespaceError| match error {
            NamespaceError::Netlink(NetlinkError::NoModule(_) | NetlinkError::Foreign { .. }) => {
                true
            }
            _ => matches!(
                self.networks.root(network),
                Ok(Root::Default | Root::Foreign(_))
            ),
        };
        if let Err(error) = &set
            && (earlier.is_some() || undone(error))
        {
            // What was set before, if anything, keeps its own deadline.
            match earlier {
                Some(earlier) => {
                    if let Err(e) = shaped.add(&target.pod_uid, earlier) {
                        tracing::warn!(error = %e, "a deadline could not be written: the traffic of a pod is cleared later than it said");
                    }
                }
                None => shaped.remove(&target.pod_uid),
            }
        }
        let here = match set {
            Ok(Root::Ours(now_set)) => {
                self.board_note(target, network.identity(), Root::Ours(now_set));
                let long = in_words(duration);
                let ends = said(until);
                Here::new(
                    Phase::Succeeded,
                    format!(
                        "what leaves the pod of {target} has {now_set} for {long}, until {ends}"
                    ),
                )
            }
            Ok(other) => {
                self.board_note(target, network.identity(), other);
                Here::new(
                    Phase::Failed,
                    format!(
                        "the traffic of {target} was shaped, and somebody else changed it at once"
                    ),
                )
            }
            Err(NamespaceError::Netlink(e @ NetlinkError::NoModule(_))) => {
                self.state().window.give_back(now);
                cannot(target, &after, &e)
            }
            Err(NamespaceError::Netlink(NetlinkError::Foreign { foreign, .. })) => {
                not_ours(target, &foreign)
            }
            Err(e) => failed(target, &e),
        };
        self.publish_shaped(shaped);
        match here.phase {
            Phase::Succeeded => self.record(click, target, ActionPhase::Succeeded, &here.message),
            Phase::Failed => self.record(click, target, ActionPhase::Failed, &here.message),
            Phase::Accepted | Phase::Refused => {}
        }
        Ok(here)
    }

    fn clear(
        &self,
        click: &Click,
        target: &Target,
        network: &Namespace,
        shaped: &mut Deadlines<Shaped>,
    ) -> Result<Here, Here> {
        let before = match self.networks.clear(network) {
            Ok(before) => before,
            Err(e) => {
                let here = failed(target, &e);
                self.record(click, target, ActionPhase::Failed, &here.message);
                return Err(here);
            }
        };
        // One of another network of the pod stays.
        if let Some(entry) = shaped.get(&target.pod_uid)
            && entry.network == network.identity()
        {
            shaped.remove(&target.pod_uid);
            self.publish_shaped(shaped);
        }
        match before {
            Root::Ours(setting) => {
                self.board_note(target, network.identity(), Root::Default);
                let said = format!(
                    "what leaves the pod of {target} is as before again, without {setting}"
                );
                self.record(click, target, ActionPhase::Succeeded, &said);
                Ok(Here::new(Phase::Succeeded, said))
            }
            Root::Default => Err(Here::refused(format!(
                "nothing is set on the traffic of {target}"
            ))),
            Root::Foreign(foreign) => Err(not_ours(target, &foreign)),
        }
    }

    /// Clears pods whose traffic we shaped. Those that are gone, or have another network by now, are
    /// forgotten.
    pub(super) fn clear_these(&self, these: Vec<(String, Shaped)>, why: &str) {
        for (pod_uid, entry) in these {
            let mut shaped = self.shaped();
            // Somebody has cleared it since, or set it anew, for another time.
            if shaped.get(&pod_uid) != Some(&entry) {
                continue;
            }
            let network = entry.network;
            let target = Target {
                container: entry.container,
                name: entry.name,
                pod_uid,
                pod: entry.pod,
                namespace: entry.namespace,
                grace: DEFAULT_GRACE,
            };
            match self.clear_one(&target.pod_uid, network) {
                Ok(cleared) => {
                    shaped.remove(&target.pod_uid);
                    if let Some(setting) = cleared {
                        self.board_note(&target, network, Root::Default);
                        let said = format!(
                            "what leaves the pod of {target} is as before again, without {setting}: {why}"
                        );
                        self.record_unasked(Control::ShapeTraffic, &target, &said);
                    }
                }
                Err(error) => {
                    tracing::error!(
                        pod = target.pod_uid,
                        error,
                        "cannot clear what shapes the traffic of a pod"
                    );
                    shaped.put_off(&target.pod_uid, boot_clock() + CLEAR_AGAIN);
                }
            }
            self.publish_shaped(&shaped);
        }
    }

    /// A pod has one entry. Where it is for another network that the pod still has, nobody would clear that
    /// one any more.
    fn of_no_other_network(
        &self,
        target: &Target,
        network: Identity,
        shaped: &mut Deadlines<Shaped>,
    ) -> Result<(), Here> {
        let Some(earlier) = shaped.get(&target.pod_uid) else {
            return Ok(());
        };
        if earlier.network == network {
            return Ok(());
        }
        let as_it_was = |why: String| {
            format!(
                "the traffic of {target} is as it was: container {} of the same pod has another network, {why}",
                earlier.name
            )
        };
        match self.network_by_now(&target.pod_uid, earlier.network) {
            Ok(Some(_)) => Err(Here::refused(as_it_was(
                "which is shaped; clear that one first".to_owned(),
            ))),
            Ok(None) => {
                shaped.remove(&target.pod_uid);
                Ok(())
            }
            Err(e) => Err(Here::new(
                Phase::Failed,
                as_it_was(format!("of which nothing is known now: {e}")),
            )),
        }
    }

    /// What was cleared on this network, if the pod still has it.
    pub(super) fn clear_one(
        &self,
        pod: &str,
        network: Identity,
    ) -> Result<Option<Setting>, String> {
        let Some(network) = self.network_by_now(pod, network)? else {
            return Ok(None);
        };
        match self.networks.clear(&network).map_err(|e| e.to_string())? {
            Root::Ours(setting) => Ok(Some(setting)),
            Root::Default | Root::Foreign(_) => Ok(None),
        }
    }

    /// This network, if the pod still has it. A network can outlive the processes in it,
    /// as where a runtime keeps no process of the sandbox: without one that is in another network it is not
    /// known to be gone.
    fn network_by_now(&self, pod: &str, network: Identity) -> Result<Option<Namespace>, String> {
        let cgroup = Cgroup::of_pod(&self.roots.cgroup, pod).map_err(|e| e.to_string())?;
        let Some(cgroup) = cgroup else {
            return Ok(None);
        };
        let mut unseen =
            Some("the pod has no process (any more), and its cgroup is there".to_owned());
        for pid in cgroup.processes().into_iter().take(MAX_TRIED) {
            let is_meant = |place: &crate::sample::Place| place.pod.as_deref() == Some(pod);
            match network_of(&self.roots.proc, pid, is_meant) {
                Ok(found) if found.identity() == network => return Ok(Some(found)),
                // Its sandbox was made anew.
                Ok(_) => unseen = None,
                Err(NoNetwork::Gone | NoNetwork::Node | NoNetwork::Own) => {}
                Err(NoNetwork::Namespace(e)) => {
                    unseen = unseen.map(|_| e.to_string());
                }
            }
        }
        unseen.map_or(Ok(None), Err)
    }

    fn board_note(&self, target: &Target, network: Identity, root: Root) {
        if let Some(board) = &self.board {
            board.note(&target.pod_uid, network, root);
        }
    }
}

/// The kernel lacks what this setting needs.
fn cannot(target: &Target, setting: &Setting, why: &dyn std::fmt::Display) -> Here {
    let rate_only = match setting.needs_netem() {
        true => ", so that only a rate can be set on it",
        false => "",
    };
    Here::refused(format!(
        "the traffic of {target} is as it was: {why}{rate_only}"
    ))
}

fn failed(target: &Target, error: &NamespaceError) -> Here {
    let so = match error.is_late() {
        true => "changed or as it was",
        false => "as it was",
    };
    Here::new(
        Phase::Failed,
        format!("the traffic of {target} is {so}: {error}"),
    )
}

fn not_ours(target: &Target, foreign: &crate::traffic::Foreign) -> Here {
    Here::refused(format!(
        "the traffic of {target} is as it was: it is shaped by somebody else already, with {foreign}. \
         That is left alone; whoever set it has to remove it first"
    ))
}
