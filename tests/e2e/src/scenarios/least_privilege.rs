//! Least privilege, both ways: nobody of ours was forbidden what they asked for, and nobody of ours may
//! do what they never did. The audit log of the whole run is held against the chart as it is rendered, so a
//! rule that is added there is looked for here.

use anyhow::ensure;

use crate::audit;
use crate::grants::{Grant, grants};
use crate::world::World;

/// What no run of the scenarios can use, by the words of the grant, and what shows that it is needed.
const UNUSED_FOR_A_REASON: &[(&str, &str)] = &[
    (
        "Role scope-operator/scope-plugins: delete scopeactions (scopeplugins.dev)",
        "a record is removed an hour after it was made; the operator's test `records_are_kept_for_an_hour`",
    ),
    (
        "ClusterRole scope-operator: get jobs (batch)",
        "only where the answer to a Job's creation is lost; the operator's test `a_lost_answer_is_read_from_what_is_there`",
    ),
    (
        "Role scope-totals/scope-system: delete endpointslices (discovery.k8s.io)",
        "asked of whoever gives an object an owner by the admission plugin OwnerReferencesPermissionEnforcement, \
         which is off here",
    ),
    (
        "Role scope-totals/scope-system: create endpointslices/restricted (discovery.k8s.io)",
        "asked of whoever publishes addresses of pods by OpenShift",
    ),
    (
        "Role scope-totals/scope-system: create endpoints/restricted (core)",
        "asked of whoever publishes addresses of pods by OpenShift",
    ),
];

/// Of the whole run, apart from what was refused on purpose.
pub(super) fn both_ways(world: &mut World) -> anyhow::Result<()> {
    let requests = world.audit_without_refusals()?;
    audit::nothing_forbidden(&requests)?;
    let rendered = world.product.render(&world.kubectl)?;
    let grants = grants(&world.kubectl, &rendered)?;
    ensure!(grants.len() > 20, "the chart grants too little: {grants:?}");
    let used = |grant: &Grant| requests.iter().any(|request| grant.allowed(request));
    if !world.whole_run {
        eprintln!(
            "    {} of {} granted verbs used; only some scenarios ran, so the others are no fault",
            grants.iter().filter(|grant| used(grant)).count(),
            grants.len()
        );
        return Ok(());
    }
    let (mut unused, mut excused) = (Vec::new(), Vec::new());
    for grant in &grants {
        if used(grant) {
            continue;
        }
        let words = grant.in_words();
        match UNUSED_FOR_A_REASON
            .iter()
            .find(|(rule, _)| words.starts_with(rule))
        {
            Some((rule, _)) => excused.push(*rule),
            None => unused.push(words),
        }
    }
    for (rule, _) in UNUSED_FOR_A_REASON {
        ensure!(
            excused.contains(rule),
            "{rule} was used, or is granted no more: take it off the list of exceptions"
        );
    }
    let writes = grants.iter().filter(|g| g.writes()).count();
    eprintln!(
        "    {} verbs granted, {writes} of them to write; {} used, {} excused",
        grants.len(),
        grants.len() - unused.len() - excused.len(),
        excused.len()
    );
    ensure!(
        unused.is_empty(),
        "granted and never used:\n      {}",
        unused.join("\n      ")
    );
    Ok(())
}
