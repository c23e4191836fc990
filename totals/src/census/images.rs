//! Which images the containers of pods run, by the pods' status, as agents read it too.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use scope_totals_wire::{Uid, image_id_uid, image_uid};
use serde::{Deserialize, de::IgnoredAny};

/// The image of a container that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Image {
    /// What its total goes by: its name as Scope shows it.
    pub name: Uid,
    /// What Scope knows it by before that.
    pub id: Uid,
}

/// The images of a pod, in order and each once. Pods of one template have the same ones, so they share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images(Option<Arc<Set>>);

/// One pointer to it is all that a pod has to hold.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Set(Box<[Image]>);

impl Images {
    /// Of a pod with these, for itself.
    #[cfg(test)]
    pub(crate) fn of(images: &[Image]) -> Self {
        Pool::default().shared(images)
    }

    fn all(&self) -> &[Image] {
        self.0.as_ref().map_or(&[], |set| &set.0)
    }

    /// The names, each once.
    pub fn names(&self) -> impl Iterator<Item = Uid> {
        let same = |one: &Image, other: &Image| one.name == other.name;
        self.all().chunk_by(same).map(|of_one| of_one[0].name)
    }
}

/// The sets in use. As with words, those that nobody uses any more go when there are twice as many as were in use the
/// last time.
#[derive(Debug, Default)]
pub(super) struct Pool {
    known: HashSet<Arc<Set>>,
    clear_at: usize,
}

/// Fewer are not worth a look.
const FEW: usize = 256;

impl Pool {
    /// The one copy of this set.
    pub(super) fn shared(&mut self, images: &[Image]) -> Images {
        if images.is_empty() {
            return Images::default();
        }
        let mut set = images.to_vec();
        set.sort_unstable();
        set.dedup();
        let set = Set(set.into());
        if let Some(known) = self.known.get(&set) {
            return Images(Some(Arc::clone(known)));
        }
        if self.known.len() >= self.clear_at.max(FEW) {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.clear_at = 2 * self.known.len();
        }
        let set = Arc::new(set);
        self.known.insert(Arc::clone(&set));
        Images(Some(set))
    }
}

/// Under how many names each image goes. Scope draws all containers of an image under one of its names, whichever it
/// heard last, so that no total of either name would be of what is drawn.
#[derive(Debug, Default)]
pub(super) struct Named {
    seen: HashSet<*const Set>,
    names: HashMap<Uid, Uid>,
    ambiguous: HashSet<Uid>,
}

impl Named {
    /// A pod has these.
    pub(super) fn see(&mut self, images: &Images) {
        let Some(set) = &images.0 else {
            return;
        };
        if !self.seen.insert(Arc::as_ptr(set)) {
            return;
        }
        for image in &set.0 {
            let first = *self.names.entry(image.id).or_insert(image.name);
            if first != image.name {
                self.ambiguous.extend([first, image.name]);
            }
        }
    }

    /// Whether an image that goes by this name goes by another one, too.
    pub(super) fn is_ambiguous(&self, name: &Uid) -> bool {
        self.ambiguous.contains(name)
    }

    /// How many such names there are.
    pub(super) fn ambiguous(&self) -> usize {
        self.ambiguous.len()
    }
}

/// A container as a pod's spec has it.
#[derive(Deserialize)]
pub(super) struct Container {
    name: Box<str>,
    image: Option<Box<str>>,
}

/// And as its status has it.
#[derive(Deserialize)]
pub(super) struct Status {
    name: Box<str>,
    image: Option<Box<str>>,
    #[serde(rename = "imageID")]
    image_id: Option<Box<str>>,
    state: Option<State>,
}

#[derive(Deserialize)]
struct State {
    running: Option<IgnoredAny>,
}

/// The images of the containers of any list that run. The rules are those by which an agent draws images: the name is
/// that of the spec, and of one whose ID is not told yet nothing is drawn.
pub(super) fn running(
    spec: &[Option<Vec<Container>>],
    status: &[Option<Vec<Status>>],
) -> Vec<Image> {
    let told = |text: &&str| !text.is_empty();
    let image = |status: &Status| {
        status.state.as_ref()?.running.as_ref()?;
        let id = status.image_id.as_deref().filter(told)?;
        let mut containers = spec.iter().flatten().flatten();
        let container = containers.find(|one| one.name == status.name);
        let name = container.and_then(|one| one.image.as_deref());
        let name = name.filter(told).or(status.image.as_deref());
        Some(Image {
            name: image_uid(name.unwrap_or_default()),
            id: image_id_uid(id),
        })
    };
    status
        .iter()
        .flatten()
        .flatten()
        .filter_map(image)
        .collect()
}

#[cfg(test)]
mod tests;
