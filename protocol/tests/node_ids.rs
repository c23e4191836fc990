//! Node IDs: each kind made, read back, and told apart.

mod models;

use proptest::prelude::*;
use scope_protocol::{NodeId, NodeIdError, Topology};

#[test]
fn each_kind_has_its_form() {
    for (id, want) in [
        (NodeId::pod("6b1a"), "6b1a;<pod>"),
        (NodeId::container("c0ffee"), "c0ffee;<container>"),
        (
            NodeId::container_image("sha256:1"),
            "sha256:1;<container_image>",
        ),
        (NodeId::host("worker-1"), "worker-1;<host>"),
        (NodeId::process("worker-1", 42), "worker-1;42"),
        (NodeId::endpoint("", "10.0.0.1", 80), ";10.0.0.1;80"),
        (NodeId::endpoint("worker-1", "::1", 443), "worker-1;::1;443"),
        (NodeId::overlay("docker_peer_x"), "#docker_peer_x"),
        (NodeId::ecs_service("c", "s"), "c;s"),
    ] {
        assert_eq!(id.as_str(), want);
        assert_eq!(id.to_string(), want);
        assert_eq!(NodeId::parse_in(id.topology(), want), Ok(id));
    }
    for (topology, want) in [
        (Topology::Service, "u;<service>"),
        (Topology::Deployment, "u;<deployment>"),
        (Topology::ReplicaSet, "u;<replica_set>"),
        (Topology::DaemonSet, "u;<daemonset>"),
        (Topology::StatefulSet, "u;<statefulset>"),
        (Topology::CronJob, "u;<cronjob>"),
        (Topology::Job, "u;<job>"),
        (Topology::Namespace, "u;<namespace>"),
        (Topology::PersistentVolume, "u;<persistent_volume>"),
        (
            Topology::PersistentVolumeClaim,
            "u;<persistent_volume_claim>",
        ),
        (Topology::StorageClass, "u;<storage_class>"),
        (Topology::VolumeSnapshot, "u;<volume_snapshot>"),
        (Topology::VolumeSnapshotData, "u;<volume_snapshot_data>"),
        (Topology::EcsTask, "u;<ecs_task>"),
        (Topology::SwarmService, "u;<swarm_service>"),
    ] {
        assert_eq!(
            NodeId::object(topology, "u").map(String::from).as_deref(),
            Some(want)
        );
    }
    for other in [
        Topology::Process,
        Topology::Endpoint,
        Topology::Overlay,
        Topology::EcsService,
    ] {
        assert_eq!(NodeId::object(other, "u"), None);
    }
}

#[test]
fn parts_are_told() {
    let process = NodeId::process("worker-1", 42);
    assert_eq!(
        (process.scope(), process.name(), process.pid()),
        (Some("worker-1"), "42", Some(42))
    );
    let endpoint = NodeId::endpoint("", "::1", 80);
    assert_eq!(
        (endpoint.scope(), endpoint.name(), endpoint.port()),
        (Some(""), "::1", Some(80))
    );
    let service = NodeId::ecs_service("c", "s");
    assert_eq!(
        (service.scope(), service.name(), service.pid()),
        (Some("c"), "s", None)
    );
    assert_eq!(NodeId::overlay("peer").name(), "peer");
    let pod = NodeId::pod("u");
    assert_eq!((pod.scope(), pod.name(), pod.port()), (None, "u", None));
}

#[test]
fn other_forms_are_refused() {
    for (topology, id) in [
        (Topology::Pod, ""),
        (Topology::Pod, "u"),
        (Topology::Pod, ";<pod>"),
        (Topology::Pod, "u;<host>"),
        (Topology::Pod, "u;pod"),
        (Topology::Pod, "default;name;<pod>"),
        (Topology::Pod, "u;<pod>;"),
        (Topology::Process, "h"),
        (Topology::Process, "h;"),
        (Topology::Process, ";1"),
        (Topology::Process, "h;01"),
        (Topology::Process, "h;0"),
        (Topology::Process, "h;-1"),
        (Topology::Process, "h;+1"),
        (Topology::Process, "h;4294967296"),
        (Topology::Endpoint, "1.2.3.4;80"),
        (Topology::Endpoint, ";;80"),
        (Topology::Endpoint, ";1.2.3.4;65536"),
        (Topology::Endpoint, ";1.2.3.4;+1"),
        (Topology::Endpoint, ";1.2.3.4;80;1"),
        (Topology::Overlay, "peer"),
        (Topology::Overlay, "#"),
        (Topology::EcsService, "s"),
        (Topology::EcsService, "c;<ecs_service>"),
        (Topology::EcsService, "c;s;t"),
    ] {
        let error = NodeId::parse_in(topology, id).expect_err(id);
        assert!(
            matches!(&error, NodeIdError::Form { id: named, .. } if named == id),
            "{error}"
        );
    }
}

#[test]
fn an_id_that_says_what_it_is_needs_no_topology() {
    assert_eq!(
        "u;<daemonset>".parse(),
        Ok(NodeId::object(Topology::DaemonSet, "u").expect("a tag"))
    );
    assert_eq!(
        ";1.2.3.4;80".parse(),
        Ok(NodeId::endpoint("", "1.2.3.4", 80))
    );
    assert_eq!("#peer".parse(), Ok(NodeId::overlay("peer")));
    for (id, want) in [
        ("u", "is no node ID"),
        ("u;<daemon_set>", "which no topology of Scope has"),
        ("host;42", "may be a process or an ECS service"),
        (
            ";<pod>",
            "has not the form of the topology Pod: write <name>;<pod>",
        ),
    ] {
        let error = id.parse::<NodeId>().expect_err(id);
        assert!(error.to_string().contains(want), "{error}");
    }
}

proptest! {
    #[test]
    fn what_is_made_reads_back(
        id in proptest::sample::select(Topology::ALL).prop_flat_map(models::node_id)
    ) {
        prop_assert_eq!(NodeId::parse_in(id.topology(), id.as_str()), Ok(id.clone()));
        match id.as_str().parse::<NodeId>() {
            Ok(read) => prop_assert_eq!(read, id),
            Err(e) => prop_assert!(
                matches!(e, NodeIdError::Ambiguous(_)) && id.as_str().matches(';').count() == 1
            ),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,12}|[a;<>#0-9]{0,12}") {
        for &topology in Topology::ALL {
            if let Ok(id) = NodeId::parse_in(topology, &text) {
                prop_assert_eq!(id.as_str(), &*text);
                prop_assert!(!id.name().is_empty());
            }
        }
        if let Ok(id) = text.parse::<NodeId>() {
            prop_assert_eq!(NodeId::parse_in(id.topology(), &text), Ok(id));
        }
    }
}
