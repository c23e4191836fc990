//! Reports one after the other, as an agent that serves makes them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use scope_agent::Collectors;
use scope_agent::collect::Mend;
use scope_agent::inventory::Inventory;
use scope_agent::serve::{Config, Render, Tick, renderer};
use scope_agent::volumes::VolumeWatch;

use crate::made_node::{Class, Layout, MadeNode, id, uid};
use crate::reported::{known, write};

fn config(node: &MadeNode) -> Config {
    Config {
        plugin_id: "node-metrics".into(),
        label: "Node metrics".into(),
        description: None,
        collectors: Collectors::default(),
        http_allow_sys_exit: false,
        sample_interval: Duration::from_secs(1),
        mend: Mend::Auto,
        host: "node1".into(),
        roots: node.roots(),
        kubelet_dir: "/nonexistent".into(),
        plugin_dir: node.path("plugins"),
        http_listen: None,
        cluster: None,
    }
}

/// The next report's body.
fn next(render: &mut Render, number: u64) -> String {
    let tick = Tick {
        number,
        cadence: Duration::from_secs(1),
        turn: number,
        pace: None,
        for_totals: false,
        reported: true,
    };
    String::from_utf8((render)(&tick).body).unwrap()
}

fn description(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let text = body["Plugins"][0]["description"].as_str();
    text.unwrap().to_owned()
}

/// The ticks follow at once, so that after the second one nothing has its turn.
#[test]
fn what_is_not_available_is_said_in_every_report() {
    for own in [None, Some("Mine.".to_owned())] {
        let node = MadeNode::new(Layout::V2Systemd);
        write(&node, 0);
        node.write("proc/sys/kernel/task_delayacct", "0\n");
        let app = node.container_path(Class::Burstable, &uid('1'), &id('b'));
        std::fs::remove_file(node.path(&format!("cgroup{app}/cpu.pressure"))).unwrap();
        let mut render = renderer(
            &Config {
                description: own,
                ..config(&node)
            },
            None,
            VolumeWatch::default(),
            None,
            None,
            None,
        );
        let first = description(&next(&mut render, 0));
        let missing = "pressure (PSI) of a container or pod (not provided by this kernel";
        assert!(first.contains(missing), "{first}");
        for number in 1..10 {
            assert_eq!(description(&next(&mut render, number)), first);
        }
    }
}

/// With the first container it is known whether Scope knows containers itself, and then for good.
#[test]
fn whether_to_mend_does_not_change_while_no_container_runs() {
    for (runtime, mends) in [("docker", false), ("containerd", true)] {
        let mut running = known();
        for pod in running.pods.values_mut() {
            let containers = pod.containers.values_mut();
            containers.for_each(|container| container.runtime = runtime.into());
        }
        let node = MadeNode::new(Layout::V1Cgroupfs);
        write(&node, 0);
        let inventory = Arc::new(ArcSwap::from_pointee(Inventory::default()));
        let mut render = renderer(
            &config(&node),
            Some(inventory.clone()),
            VolumeWatch::default(),
            None,
            None,
            None,
        );
        let mut seen = Vec::new();
        for (number, known) in [Inventory::default(), running, Inventory::default()]
            .into_iter()
            .enumerate()
        {
            inventory.store(Arc::new(known));
            let body = next(&mut render, number as u64);
            seen.push(body.contains("docker_cpu_total_usage"));
        }
        assert_eq!(seen, [false, mends, mends], "{runtime}");
    }
}
