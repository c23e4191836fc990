//! Where clicks are taken: in time, not too many at once, and the same one not twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use scope_crds::{Control, TargetKind};
use scope_protocol::{ControlRequest, ControlResponse, NodeId, Report};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::action::{Actions, Outcome, expiry};
use super::answer::answer;
use super::click::{Click, OwnNode, Rejection};
use crate::container_control::{Arguments, Containers, Here, MAX_DURATION};
use crate::inventory::InventoryWatch;
use crate::traffic::Order;

/// For the API server and the operator together. The probe gives up after 500 ms, dial included.
pub const CLICK_WAIT: Duration = Duration::from_millis(400);
/// The same click within this time is the first one again: a double click, or a person who saw
/// nothing happen. Of a freeze that is shorter, as long as that.
const SAME_CLICK: Duration = Duration::from_secs(5);
/// Clicks under way at once. Each is two requests to the API server; people are slower than this.
const AT_ONCE: usize = 8;
/// Clicks remembered for [`SAME_CLICK`]; more than [`AT_ONCE`] can become in that time if each
/// takes as long as it may.
const REMEMBERED: usize = 128;

/// Clicks by outcome, for metrics.
pub type Counts = BTreeMap<&'static str, u64>;

/// Takes clicks.
pub struct Desk {
    actions: Actions,
    containers: Containers,
    offered: BTreeSet<Control>,
    report: Report,
    wait: Duration,
    host: String,
    inventory: InventoryWatch,
    permits: Arc<Semaphore>,
    recent: Mutex<VecDeque<Recent>>,
    counts: Mutex<Counts>,
}

struct Recent {
    id: &'static str,
    node: NodeId,
    args: BTreeMap<String, String>,
    control: Control,
    /// The same click is a new one from here on.
    until: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Recent {
    /// Whether this click is the same one again.
    fn is_of(&self, click: &Click) -> bool {
        self.id == click.id && self.node == click.node && self.args == click.args
    }

    /// Whether what it led to may still be so.
    fn holds(&self) -> bool {
        let known = self.outcome.borrow();
        Instant::now() < self.until && known.as_ref().is_none_or(Outcome::may_exist)
    }
}

impl Desk {
    /// A desk for these controls that waits so long for an outcome, see [`CLICK_WAIT`]. `report` is
    /// the controls socket's, `host` what Scope's probe calls this node, and the inventory says which
    /// object of Kubernetes that is.
    pub fn new(
        actions: Actions,
        containers: Containers,
        offered: BTreeSet<Control>,
        report: Report,
        wait: Duration,
        host: String,
        inventory: InventoryWatch,
    ) -> Self {
        Desk {
            actions,
            containers,
            offered,
            report,
            wait,
            host,
            inventory,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            recent: Mutex::new(VecDeque::new()),
            counts: Mutex::new(Counts::new()),
        }
    }

    /// Where clicks on containers go.
    pub fn containers(&self) -> &Containers {
        &self.containers
    }

    /// Clicks so far, by outcome.
    pub fn counts(&self) -> Counts {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers a click. Takes little longer than it may wait.
    pub async fn take(&self, request: &ControlRequest, probe_id: &str) -> ControlResponse {
        let began = Instant::now();
        let click = match self.read(request, probe_id) {
            Ok(click) => click,
            Err(rejection) => {
                tracing::warn!(%rejection, "click rejected");
                self.count("rejected");
                return ControlResponse::error(rejection.to_string());
            }
        };
        let deadline = began + self.wait;
        let (outcome, again) = match self.earlier(&click) {
            Some(first) => (self.outcome_of_first(first, &click, deadline).await, true),
            None => match self.begin(&click, deadline) {
                Some(first) => (wait(first, &click, deadline).await, false),
                None => {
                    self.count("overloaded");
                    return ControlResponse::error(format!(
                        "nothing was done: {AT_ONCE} clicks are being carried out already. Try \
                         again in a second"
                    ));
                }
            },
        };
        self.count(if again { "repeated" } else { outcome.as_str() });
        if click.kind == TargetKind::Node && outcome.is_success() {
            self.inventory.node_changed.notify_one();
        }
        let (action, said) = match &outcome {
            Outcome::Done {
                action, message, ..
            } => (action.as_str(), message.as_str()),
            Outcome::Pending { action, .. } => (action.as_str(), ""),
            Outcome::Unknown { .. } => ("", ""),
            Outcome::Denied(why) | Outcome::Unavailable(why) => ("", why.as_str()),
            Outcome::Here(here) => ("", here.message.as_str()),
        };
        tracing::info!(
            control = click.id,
            node = click.node.as_str(),
            app = click.app_id,
            probe = click.probe_id,
            action,
            outcome = outcome.as_str(),
            repeated = again,
            said,
            ms = began.elapsed().as_millis() as u64,
            "click"
        );
        answer(
            &click,
            &outcome,
            self.actions.namespace(),
            &self.report,
            SystemTime::now().into(),
        )
    }

    fn read(&self, request: &ControlRequest, probe_id: &str) -> Result<Click, Rejection> {
        let inventory = self.inventory.inventory.load();
        let own = OwnNode {
            host: &self.host,
            uid: inventory.node_uid(),
        };
        Click::read(request, probe_id, &self.offered, own)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, VecDeque<Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same click a moment ago.
    fn earlier(&self, click: &Click) -> Option<watch::Receiver<Option<Outcome>>> {
        let mut recent = self.recent();
        recent.retain(Recent::holds);
        recent
            .iter()
            .find(|r| r.is_of(click))
            .map(|r| r.outcome.clone())
    }

    /// Submits the click in a task of its own, so that it is carried to its end even when the probe
    /// hangs up. `None` when too many are under way.
    fn begin(&self, click: &Click, deadline: Instant) -> Option<watch::Receiver<Option<Outcome>>> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        let (told, outcome) = watch::channel(None);
        let (actions, containers) = (self.actions.clone(), self.containers.clone());
        let task = click.clone();
        tokio::spawn(async move {
            let outcome = if task.control.is_node_local() {
                Outcome::Here(containers.carry_out(&task).await)
            } else {
                actions.submit(&task, deadline).await
            };
            let _ = told.send(Some(outcome));
            drop(permit);
        });
        let mut recent = self.recent();
        // Frozen, thawed, and frozen again, or one replica more, one less, and one more: the third is
        // not the first again. What is set on a container's network is set for its whole pod.
        let shapes = click.control == Control::ShapeTraffic;
        recent.retain(|r| r.node != click.node && !(shapes && r.control == click.control));
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(Recent {
            id: click.id,
            node: click.node.clone(),
            args: click.args.clone(),
            control: click.control,
            until: Instant::now() + remembered_for(click),
            outcome: outcome.clone(),
        });
        Some(outcome)
    }

    /// The outcome of an earlier click; of one that was pending, its outcome by now.
    async fn outcome_of_first(
        &self,
        first: watch::Receiver<Option<Outcome>>,
        click: &Click,
        deadline: Instant,
    ) -> Outcome {
        match wait(first, click, deadline).await {
            Outcome::Pending { action, not_after } => {
                self.actions.look_again(&action, &not_after, deadline).await
            }
            outcome => outcome,
        }
    }

    fn count(&self, outcome: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(outcome).or_default() += 1;
    }
}

/// How long the same click is the first one again. What thaws earlier may be frozen again then.
fn remembered_for(click: &Click) -> Duration {
    if let Some(button) = click.button {
        return match Order::read(button, &click.args, MAX_DURATION) {
            Ok(Order::Change(_, duration)) => duration.min(SAME_CLICK),
            Ok(Order::Clear) | Err(_) => SAME_CLICK,
        };
    }
    Arguments::read(click.control, &click.args).map_or(SAME_CLICK, |read| {
        // That of controls that freeze nothing is a long one.
        read.duration.min(SAME_CLICK)
    })
}

/// Waits for the task that submits the click. It keeps its own deadline; the margin is for a task
/// that was not run in time.
async fn wait(
    mut outcome: watch::Receiver<Option<Outcome>>,
    click: &Click,
    deadline: Instant,
) -> Outcome {
    const MARGIN: Duration = Duration::from_millis(30);
    let told = tokio::time::timeout_at(deadline + MARGIN, outcome.wait_for(Option::is_some)).await;
    let told = told
        .ok()
        .and_then(Result::ok)
        .and_then(|outcome| outcome.clone());
    told.unwrap_or_else(|| {
        if click.control.is_node_local() {
            return Outcome::Here(Here::late());
        }
        Outcome::Unknown {
            not_after: expiry(SystemTime::now()).1,
        }
    })
}
