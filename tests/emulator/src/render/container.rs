//! Containers, and the images they run.

use std::sync::Arc;

use super::Scene;
use super::drawn::{Drawn, Join, Nodes, PSEUDO, unite};
use super::endpoint::{container_addresses, join_by_address};
use super::filter::keep;
use super::pod::UNCONTAINED;
use crate::kind::Kind;
use crate::report::Node;

/// What containers take over from their image.
const FROM_IMAGE: [&str; 5] = [
    "docker_image_name",
    "docker_image_tag",
    "docker_image_size",
    "docker_image_virtual_size",
    "docker_image_label_works.weave.role",
];

/// Containers as they were reported, with the processes that say they are in them. The processes in
/// no container stand together, per host.
pub(super) fn containers(scene: &Scene) -> Nodes {
    let processes = scene.processes();
    let mut join = Join::default();
    for process in processes.values() {
        let above = if process.is_pseudo() {
            process.clone()
        } else if let Some(id) = process.latest("docker_container_id") {
            Drawn::above(
                &format!("{id};<container>"),
                Kind::Container.name(),
                process,
            )
        } else {
            let host = process.id.split_once(';').map_or("", |(host, _)| host);
            Drawn::above(&format!("{UNCONTAINED}{host}"), PSEUDO, process)
        };
        join.add(&process.id, above);
    }
    let of_processes = join.finish(processes.values());
    let by_address = join_by_address(scene, Kind::Container, container_addresses);
    let mut all = unite(of_processes, by_address);
    keep(&mut all, |node| {
        node.is_pseudo() || node.latest("docker_container_state") != Some("deleted")
    });
    all
}

/// The same, with the names of their images.
pub(super) fn named(scene: &Scene) -> Nodes {
    let images = scene.reported(Kind::ContainerImage);
    let mut containers = scene.containers().clone();
    for node in containers.values_mut() {
        let image = node
            .latest("docker_image_id")
            .and_then(|id| images.get(&format!("{id};<container_image>")));
        let Some((image, id)) = image.and_then(|image| Some((image, name_id(image)?))) else {
            continue;
        };
        let data = Arc::make_mut(&mut node.data);
        for key in FROM_IMAGE {
            if let Some(entry) = image.latest.get(key) {
                let known = data.latest.entry(key.to_owned()).or_default();
                if known.stamp < entry.stamp {
                    known.clone_from(entry);
                }
            }
        }
        data.parents
            .insert(Kind::ContainerImage.name().to_owned(), vec![id]);
    }
    containers
}

/// Images by name, each with its containers; an image that nothing runs is not there.
pub(super) fn images(scene: &Scene) -> Nodes {
    let containers = scene.named_containers();
    let mut join = Join::over(scene.select(Kind::ContainerImage));
    for container in containers.values() {
        if container.is_pseudo() {
            join.pass(container);
        } else if let Some(image) = container.latest("docker_image_id") {
            let id = format!("{image};<container_image>");
            join.add_family(container, &id, Kind::ContainerImage.name());
        }
    }
    let by_id = join.finish(containers.values());

    let mut join = Join::default();
    for image in by_id.values() {
        let mut node = image.clone();
        if !image.is_pseudo() {
            let Some(id) = name_id(&image.data) else {
                continue;
            };
            node.id = id;
        }
        join.add(&image.id, node);
    }
    let mut by_name = join.finish(by_id.values());
    keep(&mut by_name, |node| {
        node.is_pseudo() || node.children_of(Kind::Container).next().is_some()
    });
    by_name
}

/// The id of an image in the views, which forgets registry and tag.
fn name_id(image: &Node) -> Option<String> {
    let name = image.latest("docker_image_name")?;
    let name = without_registry(name);
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    Some(format!("{name};<container_image>"))
}

/// A name of three parts loses the first of them. (A name of two keeps its registry.)
fn without_registry(name: &str) -> &str {
    match name.split_once('/') {
        Some((_, rest)) if rest.contains('/') => rest,
        _ => name,
    }
}

/// The name of an image as it is shown.
pub(crate) fn image_name_without_tag(name: &str) -> &str {
    let name = without_registry(name);
    name.split_once(':').map_or(name, |(name, _)| name)
}
