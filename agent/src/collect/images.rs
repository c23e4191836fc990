//! What the containers of an image use in the whole cluster. Scope draws one node for all versions of an image, and so
//! all of them have the total of the name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use scope_protocol::{NodeId, Topology};
use scope_totals_wire::{Kind, Object, Uid, image_uid};

use super::composer::{Composer, Detail};
use super::controllers::{COUNTED, add_total, row};
use super::metric;
use super::share::Load;
use crate::inventory::Inventory;

/// Adds the totals of the images that are drawn here, with their templates. The row is known where there is one.
pub(super) fn add(composer: &mut Composer<'_>, inventory: &Inventory, load: &Load) {
    let settings = composer.settings;
    let Some(totals) = &settings.totals else {
        return;
    };
    let Some(at) = totals.at() else {
        return;
    };
    let topology = Topology::ContainerImage;
    if !is_drawn(composer) {
        return;
    }
    let images = drawn(composer, inventory);
    if !images.is_empty() {
        let rows = &mut composer.report.topology(topology).metadata_templates;
        rows.insert(COUNTED.to_owned(), row());
    }
    for (uid, image) in images {
        let kind = Kind::Image;
        let Some(total) = totals.get(Object { kind, uid }) else {
            continue;
        };
        for id in image.ids {
            let id = NodeId::container_image(id).to_string();
            if composer.has_totals(&id, load, image.pods, total.pods) {
                add_total(composer, topology, id, total, at);
            }
        }
    }
}

/// Gives images the templates of what totals there are of them.
pub(super) fn add_templates(composer: &mut Composer<'_>) {
    if composer.settings.totals.is_some() && is_drawn(composer) {
        let images = composer.report.topology(Topology::ContainerImage);
        images.metric_templates = metric::essential_templates();
    }
}

/// On Docker nodes Scope's probe draws images, under other IDs.
fn is_drawn(composer: &Composer<'_>) -> bool {
    composer.mending && composer.detail < Detail::Pods
}

/// An image that is drawn here.
#[derive(Default)]
struct Drawn<'a> {
    /// In so many pods a container of it runs.
    pods: u32,
    /// The IDs of its versions.
    ids: BTreeSet<&'a str>,
}

/// By what totals go by. One that goes by several names has none.
fn drawn<'a>(composer: &Composer<'_>, inventory: &'a Inventory) -> BTreeMap<Uid, Drawn<'a>> {
    let found = &composer.usage.containers;
    let mut uids: HashMap<&str, Uid> = HashMap::new();
    let mut images: BTreeMap<Uid, Drawn<'_>> = BTreeMap::new();
    for pod in inventory.pods.values() {
        let mut counted = BTreeSet::new();
        let containers = pod.containers.iter();
        let containers = containers.filter(|(id, of)| {
            let is_named = !of.image_id.is_empty();
            is_named && found.contains_key(id.as_str())
        });
        for (_, container) in containers {
            let name = &*container.image;
            let uid = *uids.entry(name).or_insert_with(|| image_uid(name));
            let image = images.entry(uid).or_default();
            image.ids.insert(&container.image_id);
            image.pods += u32::from(counted.insert(uid));
        }
    }
    images
}
