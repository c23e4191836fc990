//! Volumes and what hangs on them, which the view of pods shows too if asked for.

use std::sync::Arc;

use super::Scene;
use super::drawn::{Drawn, Nodes, unite};
use crate::kind::Kind;
use crate::report::Node;

/// Draws an edge from each node of one topology to the nodes of another that fit it.
fn link(scene: &Scene, from: Kind, to: Kind, fits: impl Fn(&Node, &Node) -> bool) -> Nodes {
    let mut nodes = scene.select(from);
    for node in nodes.values_mut() {
        for other in scene.reported(to).values() {
            if fits(&node.data, other) {
                node.adjacency.insert(other.id.clone());
                let child = Arc::new(Drawn::of(other));
                node.children.insert(other.id.clone(), child);
            }
        }
    }
    nodes
}

pub(super) fn volumes(scene: &Scene) -> Nodes {
    fn text<'a>(node: &'a Node, key: &str) -> &'a str {
        node.latest(key).unwrap_or_default()
    }
    const NAME: &str = "kubernetes_name";
    const VOLUME: &str = "kubernetes_volume_name";
    // So Scope spells it.
    const SNAPSHOT: &str = "kuberneets_snapshot_data";
    let by = |left: &'static str, right: &'static str| {
        move |from: &Node, to: &Node| text(from, left) == text(to, right)
    };
    let claims = link(
        scene,
        Kind::PersistentVolumeClaim,
        Kind::PersistentVolume,
        by(VOLUME, NAME),
    );
    let mut pods = link(
        scene,
        Kind::Pod,
        Kind::PersistentVolumeClaim,
        |pod, claim| {
            let namespace = "kubernetes_namespace";
            let named = text(pod, "kubernetes_volume_claim").split(';');
            text(pod, namespace) == text(claim, namespace)
                && named.into_iter().any(|name| name == text(claim, NAME))
        },
    );
    pods.retain(|_, pod| pod.latest("kubernetes_volume_claim").is_some());
    let classes = link(
        scene,
        Kind::StorageClass,
        Kind::PersistentVolumeClaim,
        by(NAME, "kubernetes_storage_class_name"),
    );
    let volumes = link(
        scene,
        Kind::PersistentVolume,
        Kind::VolumeSnapshot,
        by(NAME, VOLUME),
    );
    let snapshots = link(
        scene,
        Kind::VolumeSnapshot,
        Kind::VolumeSnapshotData,
        by(SNAPSHOT, NAME),
    );
    let mut all = [pods, classes, volumes].into_iter().fold(claims, unite);
    // Scope shows the data of snapshots only where there are snapshots.
    if !snapshots.is_empty() {
        all = unite(all, scene.select(Kind::VolumeSnapshotData));
    }
    unite(all, snapshots)
}
