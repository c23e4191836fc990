//! Carrying clicks on containers out, and thawing in time whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustix::process::{Signal, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};
use scope_crds::{ActionPhase, Control};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::arguments::Arguments;
use super::cgroup::{Cgroup, State};
use super::deadlines::{Deadlines, Frozen, MAX_FROZEN, millis};
use super::first_process::FirstProcess;
use super::record::{Record, RecordCounts, Recorder};
use super::rules::{DEFAULT_GRACE, Rules, Target, judge};
use super::window::Window;
use crate::control::Click;
use crate::inventory::Inventory;
use crate::sample::Roots;

/// The kernel freezes in some milliseconds what does not wait for a disk. The answer has to leave in
/// time, so it is not waited for longer.
const SETTLE: Duration = Duration::from_millis(200);
/// A program that heeds SIGTERM often ends within this time; then the answer can say so.
const ENDS_AT_ONCE: Duration = Duration::from_millis(200);
/// After SIGKILL a process ends at once, unless it waits in the kernel.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// A container that cannot be thawed is tried again after this time.
const THAW_AGAIN: Duration = Duration::from_secs(5);
/// The boot clock goes on while the machine sleeps, and timers do not: look at it at least so often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);
/// Containers that are being ended at a time. Each holds a descriptor for its grace period.
const MAX_ENDING: usize = 128;

/// What follows on an end is not the agent's: with `Never`, or `OnFailure` and an exit in order, nothing
/// does.
const STARTED_AGAIN: &str =
    "the kubelet starts the container again if the pod's restart policy says so";

/// What came of a click, as far as is known when it has to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// How it went.
    pub phase: Phase,
    /// The same for the person who clicked.
    pub message: String,
}

/// How a click on a container went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Done, and the kernel says so.
    Succeeded,
    /// Begun; what will happen is said.
    Accepted,
    /// Not done: a rule or the state of the container is against it.
    Refused,
    /// Tried, and did not work.
    Failed,
}

impl Phase {
    /// As a word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Succeeded => "Succeeded",
            Phase::Accepted => "Accepted",
            Phase::Refused => "Refused",
            Phase::Failed => "Failed",
        }
    }
}

impl Here {
    fn new(phase: Phase, message: impl Into<String>) -> Self {
        Here {
            phase,
            message: message.into(),
        }
    }

    fn refused(message: impl Into<String>) -> Self {
        Here::new(Phase::Refused, message)
    }

    /// The answer when carrying it out takes longer than the person can wait.
    pub(crate) fn late() -> Self {
        let said = "not known yet: this node is slow. See the container's state, and the Events of \
                    its pod";
        Here::new(Phase::Accepted, said)
    }
}

/// The containers of this node, as far as they may be touched.
#[derive(Clone)]
pub struct Containers(Arc<Shared>);

struct Shared {
    rules: Rules,
    roots: Roots,
    inventory: Arc<ArcSwap<Inventory>>,
    /// Held by whoever changes a container, while the kernel and the disk are waited for: taken only
    /// on a thread that may wait, never on the one that serves the probe.
    state: Mutex<Changes>,
    /// When the next container thaws, for those that may not take `state`.
    next: watch::Sender<Option<Duration>>,
    frozen: Arc<ArcSwap<BTreeSet<String>>>,
    recorder: Recorder,
    /// From here on nothing is begun and nothing is waited for. Looked at with `state` held by
    /// whoever begins something: what was begun before is then seen by whoever ends it.
    ending: CancellationToken,
    /// Those that see to the end of a process.
    tasks: TaskTracker,
}

struct Changes {
    deadlines: Deadlines,
    window: Window,
    /// Containers that got SIGTERM, and when SIGKILL follows, on the wall clock for people.
    ending: BTreeMap<String, SystemTime>,
}

/// A first process that was told to end.
struct Told {
    target: Target,
    pid: u32,
    handle: OwnedFd,
    click: Click,
    /// The end waits for whoever holds it.
    token: TaskTrackerToken,
}

impl Containers {
    /// The containers of this inventory. `directory` is the plugin's own; what an earlier agent
    /// left frozen by the file in it is taken over.
    pub fn new(
        rules: Rules,
        roots: Roots,
        inventory: Arc<ArcSwap<Inventory>>,
        directory: &Path,
        recorder: Recorder,
    ) -> Self {
        let deadlines = Deadlines::adopt(directory, boot_clock());
        for (container, frozen) in deadlines.iter() {
            tracing::info!(
                container,
                pod = frozen.pod_uid,
                "taken over: an earlier agent froze this container"
            );
        }
        let containers = Containers(Arc::new(Shared {
            rules,
            roots,
            inventory,
            state: Mutex::new(Changes {
                deadlines,
                window: Window::default(),
                ending: BTreeMap::new(),
            }),
            next: watch::Sender::new(None),
            frozen: Arc::default(),
            recorder,
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }));
        containers.0.publish(&containers.0.state());
        containers
    }

    /// The IDs of the containers that are frozen by us, always the newest.
    pub fn frozen(&self) -> Arc<ArcSwap<BTreeSet<String>>> {
        self.0.frozen.clone()
    }

    /// What became of the records of what was done.
    pub fn records(&self) -> Arc<RecordCounts> {
        self.0.recorder.counts()
    }

    /// Carries a click out, or begins to.
    pub async fn carry_out(&self, click: &Click) -> Here {
        let (shared, click) = (self.0.clone(), click.clone());
        let control = click.control;
        let work = move || match control {
            Control::FreezeContainer => (shared.freeze(&click), None),
            Control::ThawContainer => (shared.thaw(&click), None),
            Control::RestartContainer => match shared.end(&click) {
                Ok((told, here)) => (here, Some(told)),
                Err(here) => (here, None),
            },
            Control::DeletePod => {
                let said = format!("{control} is not for containers");
                (Here::refused(said), None)
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok((_, Some(told))) => self.follow(told).await,
            Ok((here, None)) => here,
            Err(e) => Here::new(Phase::Failed, format!("{control} broke off: {e}")),
        }
    }

    /// Follows a process to its end, in a task of its own; what is known of it soon.
    async fn follow(&self, told: Told) -> Here {
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

    /// Thaws what is due until told to end.
    pub async fn keep_deadlines(self, ending: CancellationToken) {
        let mut published = self.0.next.subscribe();
        loop {
            let next = *published.borrow_and_update();
            let left = next.map_or(LOOK_AT_CLOCK, |next| {
                next.saturating_sub(boot_clock()).min(LOOK_AT_CLOCK)
            });
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                // Its sender is ours, too.
                _ = published.changed() => continue,
                () = tokio::time::sleep(left) => {}
            }
            let shared = self.0.clone();
            let work = move || {
                let due = shared.state().deadlines.due(boot_clock());
                shared.thaw_these(due, "its time was over");
            };
            if let Err(e) = tokio::task::spawn_blocking(work).await {
                tracing::error!(error = %e, "thawing broke off");
            }
        }
    }

    /// Thaws whatever we froze, since nobody would do it later, and waits for nothing any more. All
    /// of it is handed in for the records. Clicks may still come; from here on they freeze and
    /// restart nothing.
    pub async fn end(&self) {
        self.0.ending.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let shared = self.0.clone();
        let work = move || {
            let all = shared.state().deadlines.due(Duration::MAX);
            shared.thaw_these(all, "the agent that froze it ends");
        };
        if let Err(e) = tokio::task::spawn_blocking(work).await {
            tracing::error!(error = %e, "thawing broke off");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Changes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &Changes) {
        let ids = state.deadlines.iter().map(|(id, _)| id.clone()).collect();
        self.frozen.store(Arc::new(ids));
        self.next.send_replace(state.deadlines.next());
    }

    fn target(&self, click: &Click) -> Result<(Arguments, Target), Here> {
        let refused = |said: String| Here::refused(said);
        let arguments =
            Arguments::read(click.control, &click.args).map_err(|e| refused(e.to_string()))?;
        let inventory = self.inventory.load();
        let target = judge(
            &inventory,
            &click.uid,
            click.control,
            arguments,
            &self.rules,
        )
        .map_err(|e| refused(e.to_string()))?;
        Ok((arguments, target))
    }

    /// The target's cgroup and processes, if the agent is not among them.
    fn cgroup(&self, target: &Target) -> Result<(Cgroup, Vec<u32>), Here> {
        let gone = || Here::refused(format!("{target} has no process (any more)"));
        let cgroup = Cgroup::find(&self.roots.cgroup, &target.pod_uid, &target.container)
            .map_err(|e| {
                let said = format!("nothing was done to {target}, whose cgroup is not found: {e}");
                Here::new(Phase::Failed, said)
            })?
            .ok_or_else(gone)?;
        let processes = cgroup.processes();
        if processes.contains(&std::process::id()) {
            return Err(Here::refused(format!(
                "{target} is this agent's own container"
            )));
        }
        if processes.is_empty() {
            return Err(gone());
        }
        Ok((cgroup, processes))
    }

    fn take_place(&self, state: &mut Changes, now: Duration) -> Result<(), Here> {
        let limit = self.rules.per_minute;
        state.window.take(limit, now).map_err(|wait| {
            Here::refused(format!(
                "this node has had its {limit} actions of this minute \
                 (spec.agent.maxActionsPerMinute). Nothing was done; click again in {} s",
                wait.as_secs() + 1
            ))
        })
    }

    /// Nobody would see to the end of what is begun while the agent ends.
    fn begins(&self, target: &Target) -> Result<(), Here> {
        if self.ending.is_cancelled() {
            return Err(Here::refused(format!(
                "nothing was done to {target}: the agent of its node is ending. Click again when \
                 the next one is ready"
            )));
        }
        Ok(())
    }

    fn freeze(&self, click: &Click) -> Here {
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
            if state.deadlines.is_full() {
                return Err(Here::refused(format!(
                    "{MAX_FROZEN} containers of this node are frozen; thaw one first"
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
            if let Err(e) = state.deadlines.add(&target.container, entry) {
                state.window.give_back(now);
                let said = format!("{target} is not frozen: its deadline cannot be written: {e}");
                return Err(Here::new(Phase::Failed, said));
            }
            if let Err(e) = cgroup.set_frozen(true) {
                state.deadlines.remove(&target.container);
                let said = format!("{target} could not be frozen: {e}");
                self.record(click, &target, ActionPhase::Failed, &said);
                return Err(Here::new(Phase::Failed, said));
            }
            self.publish(&state);
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

    fn thaw(&self, click: &Click) -> Here {
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
                state.deadlines.remove(&target.container);
                self.publish(&state);
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
                state.deadlines.remove(&target.container);
                self.publish(&state);
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

    /// Tells the first process to end.
    fn end(&self, click: &Click) -> Result<(Told, Here), Here> {
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

    /// Thaws containers that we froze. Those that are gone, or that somebody else thawed, are
    /// forgotten.
    fn thaw_these(&self, these: Vec<(String, Frozen)>, why: &str) {
        for (container, frozen) in these {
            let target = Target {
                container: container.clone(),
                name: frozen.name,
                pod_uid: frozen.pod_uid,
                pod: frozen.pod,
                namespace: frozen.namespace,
                grace: DEFAULT_GRACE,
            };
            let mut state = self.state();
            match self.thaw_one(&target) {
                Ok(thawed) => {
                    state.deadlines.remove(&container);
                    if thawed {
                        let said = format!("{target} was thawed: {why}");
                        self.record_unasked(&target, &said);
                    }
                }
                Err(e) => {
                    tracing::error!(container, error = %e, "cannot thaw a container");
                    state
                        .deadlines
                        .put_off(&container, boot_clock() + THAW_AGAIN);
                }
            }
            self.publish(&state);
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

    fn record(&self, click: &Click, target: &Target, phase: ActionPhase, message: &str) {
        self.recorder.hand_in(Record {
            control: click.control,
            target: target.clone(),
            phase,
            message: message.to_owned(),
            at: SystemTime::now(),
            probe_id: click.probe_id.clone(),
            app_id: click.app_id.clone(),
        });
    }

    fn record_unasked(&self, target: &Target, message: &str) {
        self.recorder.hand_in(Record {
            control: Control::ThawContainer,
            target: target.clone(),
            phase: ActionPhase::Succeeded,
            message: message.to_owned(),
            at: SystemTime::now(),
            probe_id: String::new(),
            app_id: String::new(),
        });
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

fn already_frozen(target: &Target, state: &Changes) -> String {
    match state.deadlines.get(&target.container) {
        Some(frozen) => {
            let left = Duration::from_millis(frozen.until_ms).saturating_sub(boot_clock());
            let thaws = said(SystemTime::now() + left);
            format!("{target} is frozen already, and thaws at {thaws}")
        }
        None => format!("{target} is frozen already, by somebody else"),
    }
}

fn being_ended(target: &Target, kill: SystemTime) -> String {
    format!(
        "{target} is being ended already: it got SIGTERM, and gets SIGKILL at {}",
        said(kill)
    )
}

/// Time since boot, sleep included.
fn boot_clock() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A time for people.
fn said(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%H:%M:%S UTC").to_string()
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}
