//! Carrying clicks on containers out, and putting right in time what was done for a time, whatever happens.

mod freezing;
mod leftovers;
mod restart;
mod shaping;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use scope_crds::{ActionPhase, Control};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::arguments::{Arguments, MAX_DURATION};
use super::cgroup::Cgroup;
use super::deadlines::Deadlines;
use super::entries::{Frozen, Shaped};
use super::outcome::{Here, Phase};
use super::record::{Record, RecordCounts, Recorder};
use super::rules::{Rules, Target, judge};
use super::times::boot_clock;
use super::window::Window;
use crate::control::Click;
use crate::inventory::Inventory;
use crate::sample::Roots;
use crate::traffic::{Board, Networks};

/// The boot clock goes on while the machine sleeps, and timers do not: look at it at least so often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

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
    /// The same for whoever shapes traffic: the kernel may let them wait for seconds, which nobody else is to
    /// feel. Taken before `state` by who takes both.
    shaped: Mutex<Deadlines<Shaped>>,
    /// When the next one is due, for those that may not take `state` or `shaped`.
    next_frozen: watch::Sender<Option<Duration>>,
    next_shaped: watch::Sender<Option<Duration>>,
    frozen: Arc<ArcSwap<BTreeSet<String>>>,
    networks: Arc<Networks>,
    /// Where what is known of the pods' networks goes; `None` where nobody looks at them.
    board: Option<Arc<Board>>,
    shaped_pods: AtomicUsize,
    leftovers: AtomicU64,
    recorder: Recorder,
    /// From here on nothing is begun and nothing is waited for. Looked at with `state` or `shaped` held
    /// by whoever begins something: what was begun before is then seen by whoever ends it.
    ending: CancellationToken,
    /// Those that see to the end of a process.
    tasks: TaskTracker,
}

struct Changes {
    frozen: Deadlines<Frozen>,
    window: Window,
    /// Containers that got SIGTERM, and when SIGKILL follows, on the wall clock for people.
    ending: BTreeMap<String, SystemTime>,
}

impl Containers {
    /// The containers of this inventory. `directory` is the plugin's own; what an earlier agent
    /// left frozen or shaped by the files in it is taken over.
    pub fn new(
        rules: Rules,
        roots: Roots,
        inventory: Arc<ArcSwap<Inventory>>,
        directory: &Path,
        recorder: Recorder,
        networks: Arc<Networks>,
        board: Option<Arc<Board>>,
    ) -> Self {
        let frozen: Deadlines<Frozen> = Deadlines::adopt(directory, MAX_DURATION, boot_clock());
        let shaped: Deadlines<Shaped> =
            Deadlines::adopt(directory, rules.longest_shaping, boot_clock());
        for (pod, shaped) in shaped.iter() {
            tracing::info!(
                pod,
                name = shaped.pod,
                "taken over: an earlier agent shaped the traffic of this pod"
            );
        }
        for (container, frozen) in frozen.iter() {
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
                frozen,
                window: Window::default(),
                ending: BTreeMap::new(),
            }),
            shaped: Mutex::new(shaped),
            next_frozen: watch::Sender::new(None),
            next_shaped: watch::Sender::new(None),
            frozen: Arc::default(),
            networks,
            board,
            shaped_pods: AtomicUsize::new(0),
            leftovers: AtomicU64::new(0),
            recorder,
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }));
        containers.0.publish_frozen(&containers.0.state());
        containers.0.publish_shaped(&containers.0.shaped());
        containers
    }

    /// The IDs of the containers that are frozen by us, always the newest.
    pub fn frozen(&self) -> Arc<ArcSwap<BTreeSet<String>>> {
        self.0.frozen.clone()
    }

    /// How many pods have their traffic shaped by us.
    pub fn shaped_pods(&self) -> usize {
        self.0.shaped_pods.load(Ordering::Relaxed)
    }

    /// How often something of ours was cleared that had no deadline.
    pub fn leftovers(&self) -> u64 {
        self.0.leftovers.load(Ordering::Relaxed)
    }

    /// What is known of the networks of pods, where somebody looks at them.
    pub fn board(&self) -> Option<&Arc<Board>> {
        self.0.board.as_ref()
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
            Control::ShapeTraffic => (shared.shape(&click), None),
            Control::RestartContainer => match shared.end(&click) {
                Ok((told, here)) => (here, Some(told)),
                Err(here) => (here, None),
            },
            _ => {
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

    /// Puts right what is due until told to end. Thawing does not wait for a network.
    pub async fn keep_deadlines(self, ending: CancellationToken) {
        let over = "its time was over";
        let thaw = |shared: &Shared| shared.thaw_these(shared.due_frozen(boot_clock()), over);
        let clear = |shared: &Shared| shared.clear_these(shared.due_shaped(boot_clock()), over);
        let (frozen, shaped) = (&self.0.next_frozen, &self.0.next_shaped);
        tokio::join!(
            self.keep(frozen, &ending, thaw),
            self.keep(shaped, &ending, clear)
        );
    }

    async fn keep(
        &self,
        next: &watch::Sender<Option<Duration>>,
        ending: &CancellationToken,
        put_right: impl Fn(&Shared) + Copy + Send + 'static,
    ) {
        let mut published = next.subscribe();
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
            if let Err(e) = tokio::task::spawn_blocking(move || put_right(&shared)).await {
                tracing::error!(error = %e, "putting right what is due broke off");
            }
        }
    }

    /// Thaws whatever we froze and clears whatever we shaped, since nobody would do it later, and waits
    /// for nothing any more. All of it is handed in for the records. Clicks may still come; from here on
    /// they freeze, shape and restart nothing.
    pub async fn end(&self) {
        self.0.ending.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let thaw = |shared: &Shared| {
            let all = shared.due_frozen(Duration::MAX);
            shared.thaw_these(all, "the agent that froze it ends");
            shared.due_frozen(Duration::MAX).is_empty()
        };
        let clear = |shared: &Shared| {
            let all = shared.due_shaped(Duration::MAX);
            shared.clear_these(all, "the agent that set it ends");
            shared.due_shaped(Duration::MAX).is_empty()
        };
        tokio::join!(self.end_all(thaw), self.end_all(clear));
    }

    async fn end_all(&self, put_right: impl Fn(&Shared) -> bool + Copy + Send + 'static) {
        for _ in 0..END_TRIES {
            let shared = self.0.clone();
            match tokio::task::spawn_blocking(move || put_right(&shared)).await {
                Ok(true) => return,
                // A process that it was done through may have ended that moment; another is found.
                Ok(false) => tokio::time::sleep(END_AGAIN).await,
                Err(e) => {
                    tracing::error!(error = %e, "putting right what was done for a time broke off");
                    return;
                }
            }
        }
    }
}

/// At a regular stop what fails is tried so often, and again after so long: two seconds in all.
const END_TRIES: u32 = 20;
const END_AGAIN: Duration = Duration::from_millis(100);

impl Shared {
    fn state(&self) -> MutexGuard<'_, Changes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shaped(&self) -> MutexGuard<'_, Deadlines<Shaped>> {
        self.shaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_frozen(&self, state: &Changes) {
        let ids = state.frozen.iter().map(|(id, _)| id.clone()).collect();
        self.frozen.store(Arc::new(ids));
        self.next_frozen.send_replace(state.frozen.next());
    }

    fn publish_shaped(&self, shaped: &Deadlines<Shaped>) {
        let (now, wall) = (boot_clock(), SystemTime::now());
        let over =
            |shaped: &Shaped| wall + Duration::from_millis(shaped.until_ms).saturating_sub(now);
        let until: BTreeMap<String, SystemTime> = shaped
            .iter()
            .map(|(pod, shaped)| (pod.clone(), over(shaped)))
            .collect();
        self.shaped_pods.store(until.len(), Ordering::Relaxed);
        if let Some(board) = &self.board {
            board.set_until(until);
        }
        self.next_shaped.send_replace(shaped.next());
    }

    /// What is due by then.
    fn due_frozen(&self, then: Duration) -> Vec<(String, Frozen)> {
        self.state().frozen.due(then)
    }

    fn due_shaped(&self, then: Duration) -> Vec<(String, Shaped)> {
        self.shaped().due(then)
    }

    fn target(&self, click: &Click) -> Result<(Arguments, Target), Here> {
        let arguments = Arguments::read(click.control, &click.args)
            .map_err(|e| Here::refused(e.to_string()))?;
        Ok((arguments, self.judged(click, arguments)?))
    }

    /// The container that was clicked, if it may be touched.
    fn judged(&self, click: &Click, arguments: Arguments) -> Result<Target, Here> {
        let inventory = self.inventory.load();
        judge(
            &inventory,
            &click.uid,
            click.control,
            arguments,
            &self.rules,
        )
        .map_err(|e| Here::refused(e.to_string()))
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

    fn record_unasked(&self, control: Control, target: &Target, message: &str) {
        self.recorder.hand_in(Record {
            control,
            target: target.clone(),
            phase: ActionPhase::Succeeded,
            message: message.to_owned(),
            at: SystemTime::now(),
            probe_id: String::new(),
            app_id: String::new(),
        });
    }
}
