//! What Services use in the whole cluster. Scope's probe draws them and tells their names, so that here are only
//! their totals.

use scope_protocol::{NodeId, Topology};
use scope_totals_wire::{Kind, Members, Object};

use super::composer::Composer;
use super::controllers::{COUNTED, add_total, row};
use super::http;
use super::metric;
use super::share::Load;

/// Gives Services the templates of what totals there are of them, which is also what Scope lifts to a Service from
/// its only pod.
pub(super) fn add_templates(composer: &mut Composer<'_>) {
    if composer.settings.totals.is_none() {
        return;
    }
    let mut templates = metric::essential_templates();
    templates.extend(http::templates(composer, Topology::Service));
    let service = composer.report.topology(Topology::Service);
    service.metric_templates = templates;
}

/// Adds the totals of the Services with pods here. The row is known where there is such a Service.
pub(super) fn add(composer: &mut Composer<'_>, load: &Load) {
    let settings = composer.settings;
    let Some(totals) = &settings.totals else {
        return;
    };
    let Some(at) = totals.at() else {
        return;
    };
    for Members { uid, pods, .. } in totals.services() {
        let topology = Topology::Service;
        let rows = &mut composer.report.topology(topology).metadata_templates;
        if !rows.contains_key(COUNTED) {
            rows.insert(COUNTED.to_owned(), row());
        }
        let (kind, uid) = (Kind::Service, *uid);
        let own = u32::try_from(pods.len()).unwrap_or(u32::MAX);
        if let Some(total) = totals.get(Object { kind, uid })
            && let Some(id) = NodeId::object(topology, &uid.to_string())
        {
            let id = id.to_string();
            if composer.has_totals(&id, load, own, total.pods) {
                add_total(composer, topology, id, total, at);
            }
        }
    }
}
