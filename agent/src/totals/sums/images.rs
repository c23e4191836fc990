//! What the containers of this node's pods use, by image.

use std::collections::BTreeMap;

use scope_totals_wire::{
    Kind, MAX_IMAGES, MAX_OBJECTS, Metric, Node, Object, Partial, Uid, image_uid,
};

use super::Sum;
use crate::attribution::{Figures, Usage};
use crate::inventory::{Inventory, Pod};

/// Adds the images that containers here run, as far as there is room. How many there is none for.
pub(super) fn add(
    objects: &mut Vec<Partial>,
    usage: &Usage,
    inventory: &Inventory,
    node: Node,
) -> usize {
    let mut images: BTreeMap<Uid, Sum> = BTreeMap::new();
    for pod in inventory.pods.values() {
        for (uid, sum) in of_pod(pod, usage) {
            // One of which nothing was measured is told as well: that says that this agent knows of images.
            let image = images.entry(uid).or_default();
            if let Some(sum) = sum {
                image.add(&sum.values);
            }
        }
    }
    let room = MAX_OBJECTS.saturating_sub(objects.len()).min(MAX_IMAGES);
    let left_out = images.len().saturating_sub(room);
    let kind = Kind::Image;
    let told = images.into_iter().take(room);
    objects.extend(told.map(|(uid, sum)| sum.finish(Object { kind, uid }, node)));
    left_out
}

/// What a pod's containers use, by image; nothing of an image of which not every container was measured. A container
/// has one image for its whole life and is known by an ID of its own, so that nothing can be of another image.
fn of_pod(pod: &Pod, usage: &Usage) -> BTreeMap<Uid, Option<Sum>> {
    let mut images: BTreeMap<Uid, Option<Sum>> = BTreeMap::new();
    for (id, container) in &pod.containers {
        // One of no known ID is drawn nowhere.
        if container.image_id.is_empty() {
            continue;
        }
        let used = usage.containers.get(id.as_str());
        let values = used.and_then(|used| values(&used.figures));
        let uid = image_uid(&container.image);
        let sum = images.entry(uid).or_insert_with(|| Some(Sum::default()));
        match values {
            Some(values) => sum.iter_mut().for_each(|sum| sum.add(&values)),
            None => *sum = None,
        }
    }
    images
}

/// All else is in the totals of the controllers.
fn values(used: &Figures) -> Option<BTreeMap<Metric, f64>> {
    let cpu = (Metric::Millicores, used.cpu?.millicores);
    let memory = used.memory.map(|memory| memory.working_set as f64);
    let memory = memory.map(|memory| (Metric::Memory, memory));
    Some([cpu].into_iter().chain(memory).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::attribution::{ContainerUsage, Cpu, Memory};
    use crate::inventory::{Container, ContainerKind};

    const NODE: Node = Node {
        cpus: 4,
        memory: 8 << 30,
    };

    /// A container and what it runs; its ID is the number.
    fn container(number: u8, image: &str, image_id: &str) -> (String, Container) {
        let container = Container {
            name: format!("c{number}"),
            image: image.into(),
            image_id: image_id.into(),
            runtime: "containerd".into(),
            started: None,
            kind: ContainerKind::App,
            liveness: false,
            starting: false,
            runs_once: false,
            restarts: 0,
            last_termination: None,
            volumes: Vec::new(),
        };
        (number.to_string(), container)
    }

    fn inventory(pods: &[&[(u8, &str, &str)]]) -> Inventory {
        let pod = |(number, containers): (usize, &&[(u8, &str, &str)])| {
            let mut pod = super::super::tests::pod(&number.to_string(), &[]);
            let containers = containers.iter();
            let containers = containers.map(|(number, image, id)| container(*number, image, id));
            pod.containers = containers.collect();
            pod
        };
        super::super::tests::inventory(pods.iter().enumerate().map(pod))
    }

    /// What containers use: number, millicores, memory.
    fn usage(containers: &[(u8, Option<f64>, Option<u64>)]) -> Usage {
        let mut usage = super::super::tests::usage(&[]);
        let containers = containers.iter().map(|(number, cpu, memory)| {
            let figures = Figures {
                cpu: cpu.map(|millicores| Cpu {
                    millicores,
                    percent: None,
                }),
                memory: memory.map(|working_set| Memory {
                    working_set,
                    limit: None,
                }),
                ..Figures::default()
            };
            let usage = ContainerUsage {
                figures,
                ..ContainerUsage::default()
            };
            (Arc::from(number.to_string()), usage)
        });
        usage.containers = containers.collect();
        usage
    }

    /// How many pods count, and the values.
    type Told = (u32, Vec<(Metric, f64)>);

    /// What is told of each of these images.
    fn told<const N: usize>(
        inventory: &Inventory,
        usage: &Usage,
        images: [&str; N],
    ) -> [Option<Told>; N] {
        let mut objects = Vec::new();
        assert_eq!(add(&mut objects, usage, inventory, NODE), 0);
        assert!(
            objects
                .iter()
                .all(|one| one.kind == Kind::Image && one.members.is_none())
        );
        images.map(|image| {
            let of = objects.iter().find(|one| one.uid == image_uid(image))?;
            Some((of.counted, of.values.iter().collect()))
        })
    }

    const CPU: Metric = Metric::Millicores;
    const MEMORY: Metric = Metric::Memory;

    #[test]
    fn versions_of_an_image_and_containers_of_a_pod_are_added_up() {
        let inventory = inventory(&[
            &[(1, "shop/app:1", "a"), (2, "mesh:1", "m")],
            &[
                (3, "shop/app:2", "b"),
                (4, "mesh:1", "m"),
                (5, "mesh:1", "m"),
            ],
            &[(6, "none:1", "")],
        ]);
        let all = [1, 2, 3, 4, 5, 6].map(|number| {
            let value = f64::from(10_u32.pow(u32::from(number)));
            (number, Some(value / 10.0), Some(value as u64))
        });
        let images = ["shop/app", "mesh", "none"];
        let app = Some((2, vec![(CPU, 101.0), (MEMORY, 1010.0)]));
        let mesh = Some((2, vec![(CPU, 11_010.0), (MEMORY, 110_100.0)]));
        // More than four CPUs can do in any interval.
        let mesh = mesh.map(|(pods, values)| (pods, values[1..].to_vec()));
        assert_eq!(told(&inventory, &usage(&all), images), [app, mesh, None]);
    }

    #[test]
    fn a_pod_counts_when_each_of_its_containers_of_the_image_does() {
        let inventory = inventory(&[
            &[(1, "app", "a"), (2, "app", "a"), (3, "mesh", "m")],
            &[(4, "app", "a")],
        ]);
        let with = |second: Option<(u8, Option<f64>, Option<u64>)>| {
            let others = [1, 3, 4].map(|number| (number, Some(1.0), Some(5)));
            let all: Vec<_> = others.into_iter().chain(second).collect();
            told(&inventory, &usage(&all), ["app", "mesh"])
        };
        let mesh = Some((1, vec![(CPU, 1.0), (MEMORY, 5.0)]));
        let one = Some((1, vec![(CPU, 1.0), (MEMORY, 5.0)]));
        for unknown in [None, Some((2, None, Some(7)))] {
            assert_eq!(with(unknown), [one.clone(), mesh.clone()]);
        }
        let both = Some((2, vec![(CPU, 4.0), (MEMORY, 17.0)]));
        assert_eq!(with(Some((2, Some(2.0), Some(7)))), [both, mesh.clone()]);
        // What is not known of one container is not known of all.
        let cpu = Some((2, vec![(CPU, 4.0)]));
        assert_eq!(with(Some((2, Some(2.0), None))), [cpu, mesh]);
    }

    #[test]
    fn an_image_is_told_before_anything_is_measured() {
        let inventory = inventory(&[&[(1, "app", "a")]]);
        let nothing = Some((0, Vec::new()));
        assert_eq!(told(&inventory, &usage(&[]), ["app"]), [nothing]);
    }

    #[test]
    fn there_is_an_end_and_controllers_and_services_come_first() {
        let names: Vec<String> = (0..MAX_IMAGES + 3).map(|n| format!("i{n}")).collect();
        let pods: Vec<_> = names.iter().map(|name| [(1, name.as_str(), "a")]).collect();
        let pods: Vec<&[(u8, &str, &str)]> = pods.iter().map(|pod| &pod[..]).collect();
        let (inventory, usage) = (inventory(&pods), usage(&[]));
        let mut objects = Vec::new();
        assert_eq!(add(&mut objects, &usage, &inventory, NODE), 3);
        assert_eq!(objects.len(), MAX_IMAGES);
        let before = MAX_OBJECTS - 2;
        let mut objects = vec![objects[0].clone(); before];
        assert_eq!(add(&mut objects, &usage, &inventory, NODE), MAX_IMAGES + 1);
        assert_eq!(objects.len(), MAX_OBJECTS);
    }
}
