//! The rollout of one plugin as the controller sees it: what is known of its nodes and pods goes to the
//! planner, and the record that comes of it is written before anything else.

mod templates;
mod written;

use std::sync::Arc;

use futures::{TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use scope_crds::ScopePlugin;

use crate::{
    apply::Deleted,
    desired::{self, Revision},
    guarded::RequestError,
    look::Context,
    names, refusals,
    rollout::{self, Carried, Decision, Input, Other, Policy, Record, Stage, Turn},
    seen::{self, SeenPod},
    status::Trouble,
};

use templates::Templates;
pub(crate) use written::{Written, record_of};

/// A look plans again at once after it has written the record, so that what depends on it need not wait for
/// the next; each turn of this can only take the rollout one stage further.
const TURNS: usize = 4;
/// Deletes under way at once: one after the other, their answers would take a third of a rollout on a
/// thousand nodes, and by eight still a tenth, in which no other node is looked at. The DaemonSet controller has up
/// to 250 under way.
const AT_ONCE: usize = 32;
/// Deletes in one look. Where they take their time, what is seen meanwhile may end the rollout.
const IN_A_LOOK: usize = 64;

/// Where a plugin's rollout is.
pub(crate) struct Rolling {
    pub(crate) decision: Decision,
    /// The template that the DaemonSet has to carry.
    pub(crate) carry: Revision,
    /// The revision that the plugin asks for.
    pub(crate) wanted: String,
    /// Whether a node is named whose agent runs and is not ready.
    pub(crate) refused: bool,
}

/// What one look found.
pub(crate) enum Found {
    Rolling(Box<Rolling>),
    /// Nothing can be planned, and nothing is touched.
    Stuck(Trouble),
}

/// Writes down that a spec is acted on by which nothing is rolled out.
pub(crate) async fn suspend(
    plugin: &ScopePlugin,
    written: Written,
    context: &Context,
) -> Result<(), RequestError> {
    let Written { mut record, object } = written;
    let generation = plugin.metadata.generation.unwrap_or_default();
    let older = |run: &&mut rollout::Run| run.generation < generation;
    let Some(run) = record.run.as_mut().filter(older) else {
        return Ok(());
    };
    run.generation = generation;
    written::write(plugin, &record, object.as_ref(), context).await?;
    Ok(())
}

/// Plans by what is written, and writes down what comes of it.
pub(crate) async fn look(
    plugin: &ScopePlugin,
    mut written: Written,
    daemon_set: Option<&DaemonSet>,
    context: &Context,
) -> Result<Found, RequestError> {
    let uid = plugin.uid().unwrap_or_default();
    let generation = plugin.metadata.generation.unwrap_or_default();
    let mut templates = Templates::of(plugin, context);
    let wanted = templates.wanted.id.clone();
    // What is known, which differs from what is written where a template was lost.
    let mut record = written.record.clone();
    if let Some(good) = &record.good
        && templates.find(good, plugin, context).await?.is_none()
    {
        tracing::warn!(
            plugin = names::id(plugin),
            revision = good,
            "the template of the last good revision is gone"
        );
        record.good = None;
    }

    let policy = Policy::from(&plugin.spec.rollout);
    let nodes = context.nodes.state();
    let pods = pods_of(daemon_set, context);
    let deleted = context.memory().deleted_pods(&uid, &pods);
    let mut fleet = seen::fleet(
        plugin,
        &policy,
        &nodes,
        pods.iter().map(|pod| &**pod),
        &deleted,
    );
    let seen_at = Timestamp::now();
    context.memory().bare_nodes(&uid, &mut fleet, seen_at);
    let strays = seen::strays(&fleet, pods.iter().map(|pod| &**pod));
    if fleet.nodes.is_empty() && strays > 0 {
        return Ok(Found::Stuck(Trouble::PlacementMatchesNothing {
            pods: strays,
        }));
    }
    let turn = match &record.run {
        Some(run) if run.target != wanted => {
            match templates.find(&run.target, plugin, context).await? {
                Some(_) => turn(plugin, context).await?,
                None => Turn::Ours,
            }
        }
        _ => Turn::Ours,
    };
    let leads_for = context.writer.claim.leads_for();
    let leads_since = Timestamp::now()
        .saturating_sub(leads_for)
        .unwrap_or(Timestamp::MIN);
    let not_created = context.memory().words(&uid);
    let mut carried = daemon_set.map_or_else(Carried::default, carried);
    if let (true, Some(revision)) = (carried.observed, &carried.revision) {
        let since = context.memory().in_force_since(&uid, revision, seen_at);
        carried.since = Some(since);
    }
    let mut turns = 0;
    // None before they were looked for.
    let mut refused = None;
    let decision = loop {
        let input = Input {
            policy: &policy,
            wanted: &wanted,
            generation,
            turn: &turn,
            carried: &carried,
            fleet: &fleet,
            record: &record,
            leads_since,
            refused: not_created.as_deref(),
        };
        let now = Timestamp::now();
        let mut decision = rollout::plan(&input, now);
        if refused.is_none() {
            let failing = decision.standing.failing.worst();
            let refusing = refusals::refusing(failing, &fleet, pods.iter().map(|pod| &**pod));
            refused = Some(!refusing.is_empty());
            // Before anything is written, since what ends a rollout is written once.
            let said = context.refusals.said_by(refusing).await;
            if refusals::tell(&mut fleet, &said) {
                continue;
            }
        }
        if decision.record == written.record && written.object.is_some() {
            break decision;
        }
        turns += 1;
        if turns > TURNS {
            // Nothing is done by a record that is not written; the next look goes on from here.
            decision.delete.clear();
            decision.carry = carried.revision.clone().unwrap_or(decision.carry);
            decision.again = Some(now);
            break decision;
        }
        if written.record.run.as_ref().map(|run| &run.target)
            != decision.record.run.as_ref().map(|run| &run.target)
        {
            templates.keep(plugin, context).await?;
        }
        let over = written.object.as_ref();
        let now_written = written::write(plugin, &decision.record, over, context).await?;
        tell(plugin, &written.record, &now_written.record, context);
        written = now_written;
        record.clone_from(&written.record);
    };
    let Some(carry) = templates.find(&decision.carry, plugin, context).await? else {
        return Ok(Found::Stuck(Trouble::TemplateLost {
            revision: decision.carry,
        }));
    };
    templates.prune(&decision, context).await?;
    Ok(Found::Rolling(Box::new(Rolling {
        decision,
        carry,
        wanted,
        refused: refused.unwrap_or_default(),
    })))
}

/// Deletes the pods that the decision names, all of which the written record covers. A pod that has changed
/// meanwhile is seen again. Returns whether some are left for the next look.
pub(crate) async fn replace(
    plugin: &ScopePlugin,
    decision: &Decision,
    context: &Context,
) -> Result<bool, RequestError> {
    let uid = plugin.uid().unwrap_or_default();
    let uid = &uid;
    let delete = |deletion| async move {
        if let Deleted::Gone = context.writer.delete_pod(deletion).await? {
            context.memory().deleted_pod(uid, &deletion.uid);
        }
        Ok(())
    };
    let deletes: Vec<_> = decision
        .delete
        .iter()
        .take(IN_A_LOOK)
        .map(delete)
        .map(Ok::<_, RequestError>)
        .collect();
    // None is begun after one has failed.
    let all = stream::iter(deletes).try_for_each_concurrent(AT_ONCE, |delete| delete);
    all.await?;
    Ok(decision.delete.len() > IN_A_LOOK)
}

fn carried(daemon_set: &DaemonSet) -> Carried {
    let status = daemon_set.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    Carried {
        revision: desired::carried(daemon_set).map(str::to_owned),
        observed: observed.is_some() && observed >= daemon_set.metadata.generation,
        made: daemon_set
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|at| at.0),
        since: None,
    }
}

/// The pods that the DaemonSet has made.
fn pods_of(daemon_set: Option<&DaemonSet>, context: &Context) -> Vec<Arc<SeenPod>> {
    let Some(uid) = daemon_set.and_then(|daemon_set| daemon_set.metadata.uid.as_deref()) else {
        return Vec::new();
    };
    context.pods.of(uid)
}

/// Counts the rollouts that end.
fn tell(plugin: &ScopePlugin, before: &Record, after: &Record, context: &Context) {
    let (Some(then), Some(now)) = (&before.run, &after.run) else {
        return;
    };
    let took = || Timestamp::now().duration_since(now.started);
    if then.target != now.target {
        if then.stage.is_under_way() {
            context.metrics.rollout_ended("Superseded", None);
        }
        return;
    }
    let outcome = match (&then.stage, &now.stage) {
        (then, now) if then == now => return,
        (_, Stage::Done) => "Completed",
        (_, Stage::Halted { .. }) => "Halted",
        (_, Stage::RollingBack { .. }) => "RolledBack",
        _ => return,
    };
    let took = took().try_into().ok();
    context.metrics.rollout_ended(outcome, took);
    tracing::info!(
        plugin = names::id(plugin),
        outcome,
        ?took,
        "the rollout ended"
    );
}

/// Whether the plugin's rollout is paused or held by its spec, or there is no node to roll it out to.
fn stands(plugin: &ScopePlugin, context: &Context) -> bool {
    let rollout = &plugin.spec.rollout;
    let child = names::child(names::id(plugin));
    let daemon_set = ObjectRef::new(&child).within(&context.settings.plugins_namespace);
    let daemon_set = context.daemon_sets.get(&daemon_set);
    let status = daemon_set.as_ref().and_then(|live| live.status.as_ref());
    let nowhere = status.is_some_and(|status| status.desired_number_scheduled == 0);
    rollout.paused || rollout.partition > 0 || nowhere
}

/// Whether what a new operator brings may begin for this plugin.
async fn turn(plugin: &ScopePlugin, context: &Context) -> Result<Turn, RequestError> {
    let id = names::id(plugin);
    let all = context.plugins.state();
    let rolled_out = all
        .iter()
        .filter_map(|other| other.0.as_ref().ok())
        .filter(|other| names::id(other) != id && !other.spec.suspended)
        .filter(|other| other.metadata.deletion_timestamp.is_none());
    let mut others = Vec::new();
    for other in rolled_out {
        let known = written::record_of(other, context).await?;
        if let Some(run) = known.ok().and_then(|written| written.record.run) {
            let wanted = Revision::wanted(other, &context.settings).id;
            others.push((other, run, wanted));
        }
    }
    let others = others.iter().map(|(other, run, wanted)| Other {
        name: names::id(other),
        run,
        wanted,
        generation: other.metadata.generation.unwrap_or_default(),
        stands: stands(other, context),
    });
    Ok(rollout::turn(id, others))
}
