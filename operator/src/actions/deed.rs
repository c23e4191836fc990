//! What a click does to an object: pure rules from what the object is now to the one request that makes it
//! what the person wants, with words for the person.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::core::DynamicObject;
use scope_crds::{Control, ScopeAction, TargetKind};
use serde_json::{Value, json};

use super::{decide::Outcome, target::Seen};

/// As `kubectl rollout restart` writes it, so that its history is one with ours.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// As `kubectl create job --from` writes it.
const INSTANTIATE: &str = "cronjob.kubernetes.io/instantiate";
/// The longest name that a Job may have for its pods to be named after it.
const MAX_JOB_NAME: usize = 63;

/// One request, and what is said when it was taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Deed {
    pub(super) way: Way,
    pub(super) said: String,
}

/// The request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Way {
    /// Delete the object.
    Delete,
    /// Delete the pod as far as disruption budgets let it.
    Evict,
    /// Merge this into the object, or into its subresource. Its `metadata` is added by whoever sends it.
    Merge {
        subresource: Option<&'static str>,
        body: Value,
    },
    /// Make this Job.
    MakeJob {
        name: String,
        job: Box<DynamicObject>,
    },
}

/// Whether the control changes how many replicas its object has.
pub(super) fn scales(control: Control) -> bool {
    matches!(control, Control::ScaleUp | Control::ScaleDown)
}

/// What `control` asks for on this object. `scaler` is the autoscaler that decides on its replicas, if one
/// does. Nothing to do, and what must not be done, is an outcome.
pub(super) fn deed(
    action: &ScopeAction,
    seen: &Seen,
    scaler: Option<&str>,
    now: Timestamp,
) -> Result<Deed, Outcome> {
    let control = action.spec.control;
    let object = seen.in_words();
    if !control.kinds().contains(&seen.kind) {
        return Err(Outcome::refused(format!(
            "{control} is not for a {}",
            seen.kind
        )));
    }
    if seen.is_going() {
        let said = format!("{object} was being deleted already");
        return Err(match control {
            Control::DeletePod | Control::EvictPod => Outcome::succeeded(said),
            _ => Outcome::failed(said),
        });
    }
    // Scope sends a click on a host to the probe of that host. One that comes through another node is none, and
    // no node's token shall be worth the others.
    if seen.kind == TargetKind::Node && seen.name() != action.spec.node {
        return Err(Outcome::refused(format!(
            "{object} is acted on through its own agent only; this came through node {}",
            action.spec.node
        )));
    }
    match control {
        Control::DeletePod => Ok(Deed {
            way: Way::Delete,
            said: format!("{object} is being deleted"),
        }),
        Control::EvictPod => Ok(Deed {
            way: Way::Evict,
            said: format!("{object} is being evicted"),
        }),
        Control::RestartRollout => restart(seen, &object, now),
        Control::ScaleUp | Control::ScaleDown => scale(control, seen, &object, scaler),
        Control::PauseRollout => switch(
            seen,
            "/spec/paused",
            true,
            format!("The rollout of {object}"),
            "paused",
        ),
        Control::ResumeRollout => switch(
            seen,
            "/spec/paused",
            false,
            format!("The rollout of {object}"),
            "resumed",
        ),
        Control::SuspendCronJob => switch(seen, "/spec/suspend", true, object, "suspended"),
        Control::ResumeCronJob => switch(seen, "/spec/suspend", false, object, "resumed"),
        Control::CordonNode => switch(seen, "/spec/unschedulable", true, object, "cordoned"),
        Control::UncordonNode => switch(seen, "/spec/unschedulable", false, object, "uncordoned"),
        Control::TriggerCronJob => trigger(action, seen, &object),
        Control::RestartContainer
        | Control::FreezeContainer
        | Control::ThawContainer
        | Control::ShapeTraffic => Err(Outcome::refused(format!(
            "{control} is carried out by the agent of the container's node"
        ))),
    }
}

/// Sets a field that is true or false, unless it is that already.
fn switch(
    seen: &Seen,
    pointer: &'static str,
    on: bool,
    object: String,
    done: &str,
) -> Result<Deed, Outcome> {
    let is = seen.field(pointer).and_then(Value::as_bool);
    if is.unwrap_or(false) == on {
        return Err(Outcome::succeeded(match on {
            true => format!("{object} was {done} already"),
            false => format!("{object} did not have to be {done}"),
        }));
    }
    let field = pointer.trim_start_matches("/spec/");
    Ok(Deed {
        way: merge(None, json!({"spec": {field: on}})),
        said: format!("{object} is {done}"),
    })
}

fn merge(subresource: Option<&'static str>, body: Value) -> Way {
    Way::Merge { subresource, body }
}

fn restart(seen: &Seen, object: &str, now: Timestamp) -> Result<Deed, Outcome> {
    if seen.kind == TargetKind::Deployment
        && seen.field("/spec/paused").and_then(Value::as_bool) == Some(true)
    {
        return Err(Outcome::refused(format!(
            "{object} is paused: nothing would be restarted before its rollout is resumed"
        )));
    }
    // Its template would be another one, and every pod would stay as it is until somebody deletes it.
    let strategy = seen.field("/spec/updateStrategy/type");
    if strategy.and_then(Value::as_str) == Some("OnDelete") {
        return Err(Outcome::refused(format!(
            "{object} replaces a pod only after somebody has deleted it (updateStrategy OnDelete): delete its \
             pods instead"
        )));
    }
    let at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Ok(Deed {
        way: merge(
            None,
            json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at}}}}}),
        ),
        said: format!("{object} is being restarted, pod by pod"),
    })
}

fn scale(
    control: Control,
    seen: &Seen,
    object: &str,
    scaler: Option<&str>,
) -> Result<Deed, Outcome> {
    if let Some(scaler) = scaler {
        return Err(Outcome::refused(format!(
            "{object} is not scaled: the HorizontalPodAutoscaler {scaler} decides how many replicas it has and \
             would take this back. Change its minReplicas or maxReplicas"
        )));
    }
    // What the API server takes for an absent one.
    let before = seen.field("/spec/replicas").map_or(Some(1), Value::as_i64);
    let Some(before) = before.filter(|count| (0..=i64::from(i32::MAX)).contains(count)) else {
        return Err(Outcome::failed(format!(
            "{object} has no readable number of replicas"
        )));
    };
    let after = match control {
        Control::ScaleDown => before - 1,
        _ => before + 1,
    };
    if after < 0 {
        return Err(Outcome::refused(format!(
            "{object} has no replica to take away"
        )));
    }
    if after > i64::from(i32::MAX) {
        return Err(Outcome::refused(format!(
            "{object} has as many replicas as can be"
        )));
    }
    Ok(Deed {
        way: merge(Some("scale"), json!({"spec": {"replicas": after}})),
        said: format!("{object} is scaled from {before} to {after} replicas"),
    })
}

/// The Job that `kubectl create job --from` makes: of the CronJob's template its labels, annotations and
/// spec, and the CronJob as its controller, so that it counts for the history limits and goes with it.
fn trigger(action: &ScopeAction, seen: &Seen, object: &str) -> Result<Deed, Outcome> {
    let Some(template) = seen.field("/spec/jobTemplate") else {
        return Err(Outcome::failed(format!(
            "{object} has no template of a Job"
        )));
    };
    let name = job_name(
        seen.name(),
        action.metadata.uid.as_deref().unwrap_or_default(),
    );
    let of_template = |pointer| {
        let strings: Option<BTreeMap<String, String>> = template
            .pointer(pointer)
            .and_then(|map| serde_json::from_value(map.clone()).ok());
        strings.unwrap_or_default()
    };
    let mut annotations = of_template("/metadata/annotations");
    annotations.insert(INSTANTIATE.into(), "manual".into());
    let job = serde_json::from_value(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": seen.namespace(),
            "labels": of_template("/metadata/labels"),
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "name": seen.name(),
                "uid": seen.uid(),
                "controller": true,
            }],
        },
        "spec": template.get("spec").cloned().unwrap_or_default(),
    }));
    let job = job.map_err(|error| {
        Outcome::failed(format!("The template of {object} makes no Job: {error}"))
    })?;
    Ok(Deed {
        said: format!("Job {}/{name} is made of {object}", seen.namespace()),
        way: Way::MakeJob { name, job },
    })
}

/// A name that the same click makes again: a request that is repeated finds its Job there.
fn job_name(cron_job: &str, action: &str) -> String {
    // The last digits of a UID are random ones.
    let digits: String = action.chars().filter(char::is_ascii_hexdigit).collect();
    let tail = &digits[digits.len().saturating_sub(8)..];
    let suffix = format!("-manual-{}", tail.to_lowercase());
    let room = MAX_JOB_NAME - suffix.len();
    let name = &cron_job[..cron_job.floor_char_boundary(room)];
    format!("{}{suffix}", name.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests;
