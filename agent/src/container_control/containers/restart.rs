//! Ending a container's first process, which is how a container is restarted.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::{Signal, pidfd_send_signal};
use scope_crds::ActionPhase;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::cgroup::State;
use super::super::first_process::FirstProcess;
use super::super::outcome::{Here, Phase};
use super::super::rules::Target;
use super::super::times::{boot_clock, in_words, said};
use super::{Containers, Shared};
use crate::control::Click;

/// A program that heeds SIGTERM often ends within this time; then the answer can say so.
const ENDS_AT_ONCE: Duration = Duration::from_millis(200);
/// After SIGKILL a process ends at once, unless it waits in the kernel.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// Containers that are being ended at a time. Each holds a descriptor for its grace period.
const MAX_ENDING: usize = 128;

/// What follows on an end is not the agent's: with `Never`, or `OnFailure` and an exit in order, nothing
/// does.
const STARTED_AGAIN: &str =
    "the kubelet starts the container again if the pod's restart policy says so";
/// A first process that was told to end.
pub(super) struct Told {
    target: Target,
    pid: u32,
    handle: OwnedFd,
    click: Click,
    /// The end waits for whoever holds it.
    token: TaskTrackerToken,
}

impl Containers {
    /// Follows a process to its end, in a task of its own; what is known of it soon.
    pub(super) async fn follow(&self, told: Told) -> Here {
        let accepted = Here::new(
            Phase::Accepted,
            format!(
                "accepted: {} got SIGTERM (process {}); if it has not ended by {}, it gets SIGKILL",
                told.target,
                told.pid,
                said(SystemTime::now() + told.target.grace)
            ),
        );
        let (tell, ended) = oneshot::channel();
        self.0
            .tasks
            .spawn(self.0.clone().see_to_its_end(told, tell));
        match tokio::time::timeout(ENDS_AT_ONCE, ended).await {
            Ok(Ok(here)) => here,
            _ => accepted,
        }
    }
}

impl Shared {
    /// Tells the first process to end.
    pub(super) fn end(&self, click: &Click) -> Result<(Told, Here), Here> {
        let (_, target) = self.target(click)?;
        // Before the look at `ending`: whoever ends waits for it, or it is seen here.
        let token = self.tasks.token();
        let mut state = self.state();
        self.begins(&target)?;
        let (cgroup, processes) = self.cgroup(&target)?;
        if cgroup.can_freeze() && cgroup.state().is_ok_and(|state| state != State::Thawed) {
            return Err(Here::refused(format!(
                "{target} is frozen and would not hear of it: thaw it first"
            )));
        }
        if let Some(kill) = state.ending.get(&target.container) {
            return Err(Here::refused(being_ended(&target, *kill)));
        }
        if state.ending.len() >= MAX_ENDING {
            return Err(Here::refused(format!(
                "{MAX_ENDING} containers of this node are being ended; wait for one of them"
            )));
        }
        let process = FirstProcess::open(&self.roots.proc, &processes, &target.container)
            .map_err(|e| Here::new(Phase::Failed, format!("{target} is not restarted: {e}")))?;
        self.take_place(&mut state, boot_clock())?;
        if let Err(e) = process.signal(Signal::TERM) {
            let said = format!("{target} is not restarted: SIGTERM was not sent: {e}");
            self.record(click, &target, ActionPhase::Failed, &said);
            return Err(Here::new(Phase::Failed, said));
        }
        let kill = SystemTime::now() + target.grace;
        state.ending.insert(target.container.clone(), kill);
        let here = Here::new(Phase::Accepted, being_ended(&target, kill));
        let told = Told {
            pid: process.pid,
            handle: process.into_handle(),
            target,
            click: click.clone(),
            token,
        };
        Ok((told, here))
    }

    /// Waits for the process, kills it after its grace period, and writes down how it went.
    async fn see_to_its_end(self: Arc<Self>, told: Told, tell: oneshot::Sender<Here>) {
        let Told {
            target,
            pid,
            handle,
            click,
            token: _token,
        } = told;
        let began = tokio::time::Instant::now();
        let grace = in_words(target.grace);
        let (phase, message) = match watched(handle) {
            // Without a wait the process may only be killed after the grace period, which by the
            // descriptor hits it or nobody; but there is none left to hold then.
            Err(e) => (
                ActionPhase::Failed,
                format!("{target} got SIGTERM, but is not waited for: {e}"),
            ),
            Ok(handle) => tokio::select! {
                biased;
                _ = handle.readable() => (
                    ActionPhase::Succeeded,
                    format!(
                        "{target} was ended: its first process {pid} ended {:.1} s after SIGTERM; \
                         {STARTED_AGAIN}",
                        began.elapsed().as_secs_f64()
                    ),
                ),
                () = self.ending.cancelled() => (
                    ActionPhase::Failed,
                    format!(
                        "{target} got SIGTERM and had not ended when this agent ended, so that no \
                         SIGKILL follows"
                    ),
                ),
                () = tokio::time::sleep(target.grace) => self.kill(&target, pid, &handle, &grace).await,
            },
        };
        self.record(&click, &target, phase, &message);
        let phase = match phase {
            ActionPhase::Succeeded => Phase::Succeeded,
            _ => Phase::Failed,
        };
        // Nobody waits for it any more, most often.
        let _ = tell.send(Here::new(phase, message));
        let forget = move || self.state().ending.remove(&target.container);
        if let Err(e) = tokio::task::spawn_blocking(forget).await {
            tracing::error!(error = %e, "forgetting a container that was ended broke off");
        }
    }

    async fn kill(
        &self,
        target: &Target,
        pid: u32,
        handle: &AsyncFd<OwnedFd>,
        grace: &str,
    ) -> (ActionPhase, String) {
        if let Err(e) = pidfd_send_signal(handle.get_ref(), Signal::KILL)
            && e != rustix::io::Errno::SRCH
        {
            let said =
                format!("{target} heeded no SIGTERM for {grace}, and SIGKILL was not sent: {e}");
            return (ActionPhase::Failed, said);
        }
        match tokio::time::timeout(AFTER_KILL, handle.readable()).await {
            Ok(_) => (
                ActionPhase::Succeeded,
                format!(
                    "{target} was ended: its first process {pid} heeded no SIGTERM for {grace} \
                     and got SIGKILL; {STARTED_AGAIN}"
                ),
            ),
            Err(_) => (
                ActionPhase::Failed,
                format!(
                    "{target} does not end: its first process {pid} got SIGKILL {} s ago and waits \
                     in the kernel",
                    AFTER_KILL.as_secs()
                ),
            ),
        }
    }
}

/// The descriptor of a process as something that can be waited for.
#[expect(
    deprecated,
    reason = "deprecated for types that may give another descriptor each time, which an owned one \
              never does; the way for those is unsafe code"
)]
fn watched(handle: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(handle, Interest::READABLE)
}

pub(super) fn being_ended(target: &Target, kill: SystemTime) -> String {
    format!(
        "{target} is being ended already: it got SIGTERM, and gets SIGKILL at {}",
        said(kill)
    )
}
