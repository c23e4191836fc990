//! Freezing and thawing, by click and by time.

use std::time::{Duration, SystemTime};

use scope_crds::{ActionPhase, Control};

use super::super::cgroup::{Cgroup, State};
use super::super::deadlines::{MAX_ENTRIES, millis};
use super::super::entries::Frozen;
use super::super::outcome::{Here, Phase};
use super::super::rules::{DEFAULT_GRACE, Target};
use super::super::times::{boot_clock, in_words, said};
use super::restart::being_ended;
use super::{Changes, Shared};
use crate::control::Click;

/// The kernel freezes in some milliseconds what does not wait for a disk. The answer has to leave in
/// time, so it is not waited for longer.
const SETTLE: Duration = Duration::from_millis(200);
/// A container that cannot be thawed is tried again after this time.
const THAW_AGAIN: Duration = Duration::from_secs(5);

impl Shared {
    pub(super) fn freeze(&self, click: &Click) -> Here {
        self.try_freeze(click).unwrap_or_else(|here| here)
    }

    fn try_freeze(&self, click: &Click) -> Result<Here, Here> {
        let (arguments, target) = self.target(click)?;
        let until = SystemTime::now() + arguments.duration;
        let cgroup = {
            let mut state = self.state();
            self.begins(&target)?;
            let (cgroup, _) = self.cgroup(&target)?;
            let found = cgroup
                .state()
                .map_err(|e| Here::new(Phase::Failed, format!("{target} is not frozen: {e}")))?;
            if found != State::Thawed {
                return Err(Here::refused(already_frozen(&target, &state)));
            }
            if let Some(kill) = state.ending.get(&target.container) {
                return Err(Here::refused(being_ended(&target, *kill)));
            }
            if state.frozen.is_full() {
                return Err(Here::refused(format!(
                    "{MAX_ENTRIES} containers of this node are frozen; thaw one first"
                )));
            }
            let now = boot_clock();
            self.take_place(&mut state, now)?;
            let entry = Frozen {
                pod_uid: target.pod_uid.clone(),
                namespace: target.namespace.clone(),
                pod: target.pod.clone(),
                name: target.name.clone(),
                until_ms: millis(now + arguments.duration),
            };
            if let Err(e) = state.frozen.add(&target.container, entry) {
                state.window.give_back(now);
                let said = format!("{target} is not frozen: its deadline cannot be written: {e}");
                return Err(Here::new(Phase::Failed, said));
            }
            if let Err(e) = cgroup.set_frozen(true) {
                state.frozen.remove(&target.container);
                let said = format!("{target} could not be frozen: {e}");
                self.record(click, &target, ActionPhase::Failed, &said);
                return Err(Here::new(Phase::Failed, said));
            }
            self.publish_frozen(&state);
            cgroup
        };
        let long = in_words(arguments.duration);
        let thaws = said(until);
        let (phase, done, message) = match cgroup.await_state(State::Frozen, SETTLE) {
            Ok(State::Frozen) => (
                Phase::Succeeded,
                ActionPhase::Succeeded,
                format!("{target} is frozen for {long}, until {thaws}"),
            ),
            Ok(State::Freezing) => (
                Phase::Accepted,
                ActionPhase::Succeeded,
                format!(
                    "accepted: {target} is being frozen, one of its processes still waits in the \
                     kernel; it thaws at {thaws}"
                ),
            ),
            Ok(State::Thawed) => (
                Phase::Failed,
                ActionPhase::Failed,
                format!("{target} was frozen and thawed by somebody else"),
            ),
            Err(e) => (
                Phase::Failed,
                ActionPhase::Failed,
                format!("{target} was to be frozen, but: {e}"),
            ),
        };
        self.record(click, &target, done, &message);
        Ok(Here::new(phase, message))
    }

    pub(super) fn thaw(&self, click: &Click) -> Here {
        self.try_thaw(click).unwrap_or_else(|here| here)
    }

    fn try_thaw(&self, click: &Click) -> Result<Here, Here> {
        let (_, target) = self.target(click)?;
        let (cgroup, _) = self.cgroup(&target)?;
        let failed = |e: std::io::Error| {
            Here::new(Phase::Failed, format!("{target} could not be thawed: {e}"))
        };
        {
            let mut state = self.state();
            if cgroup.state().map_err(failed)? == State::Thawed {
                state.frozen.remove(&target.container);
                self.publish_frozen(&state);
                return Err(Here::refused(format!("{target} is not frozen")));
            }
            if let Err(e) = cgroup.set_frozen(false) {
                let here = failed(e);
                self.record(click, &target, ActionPhase::Failed, &here.message);
                return Err(here);
            }
        }
        let here = match cgroup.await_state(State::Thawed, SETTLE) {
            Ok(State::Thawed) => {
                let mut state = self.state();
                state.frozen.remove(&target.container);
                self.publish_frozen(&state);
                Here::new(Phase::Succeeded, format!("{target} is thawed"))
            }
            Ok(_) => Here::new(
                Phase::Failed,
                format!("{target} stays frozen: a cgroup above it is frozen by somebody else"),
            ),
            Err(e) => failed(e),
        };
        let phase = match here.phase {
            Phase::Succeeded => ActionPhase::Succeeded,
            _ => ActionPhase::Failed,
        };
        self.record(click, &target, phase, &here.message);
        Ok(here)
    }

    /// Thaws containers that we froze. Those that are gone, or that somebody else thawed, are
    /// forgotten.
    pub(super) fn thaw_these(&self, these: Vec<(String, Frozen)>, why: &str) {
        for (container, frozen) in these {
            let mut state = self.state();
            // Somebody has thawed it since, or frozen it anew, for another time.
            if state.frozen.get(&container) != Some(&frozen) {
                continue;
            }
            let target = Target {
                container: container.clone(),
                name: frozen.name,
                pod_uid: frozen.pod_uid,
                pod: frozen.pod,
                namespace: frozen.namespace,
                grace: DEFAULT_GRACE,
            };
            match self.thaw_one(&target) {
                Ok(thawed) => {
                    state.frozen.remove(&container);
                    if thawed {
                        let said = format!("{target} was thawed: {why}");
                        self.record_unasked(Control::ThawContainer, &target, &said);
                    }
                }
                Err(e) => {
                    tracing::error!(container, error = %e, "cannot thaw a container");
                    state.frozen.put_off(&container, boot_clock() + THAW_AGAIN);
                }
            }
            self.publish_frozen(&state);
        }
    }

    /// Whether it was frozen and is not any more.
    fn thaw_one(&self, target: &Target) -> std::io::Result<bool> {
        let root = &self.roots.cgroup;
        let Some(cgroup) = Cgroup::find(root, &target.pod_uid, &target.container)? else {
            // Gone.
            return Ok(false);
        };
        if cgroup.state()? == State::Thawed {
            return Ok(false);
        }
        cgroup.set_frozen(false)?;
        match cgroup.await_state(State::Thawed, SETTLE)? {
            State::Thawed => Ok(true),
            _ => Err(std::io::Error::other(
                "a cgroup above it is frozen by somebody else",
            )),
        }
    }
}

fn already_frozen(target: &Target, state: &Changes) -> String {
    match state.frozen.get(&target.container) {
        Some(frozen) => {
            let left = Duration::from_millis(frozen.until_ms).saturating_sub(boot_clock());
            let thaws = said(SystemTime::now() + left);
            format!("{target} is frozen already, and thaws at {thaws}")
        }
        None => format!("{target} is frozen already, by somebody else"),
    }
}
