//! HTTP in reports of a made node: what the kernel counted, by processes that live and by one that
//! nobody saw.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use scope_agent::Collectors;
use scope_agent::bpf::http::{HttpCount, HttpReading, HttpStats, HttpWhat};
use scope_agent::collect::Mend;
use scope_agent::http_rates::{Counters, HttpLook, Off};
use scope_agent::sample::Cause;
use scope_agent::serve::{Config, Render, Tick, renderer};
use scope_agent::volumes::VolumeWatch;
use scope_crds::Collector;
use scope_protocol::conformance::{Answer, check_report};
use serde_json::Value;

use crate::made_node::{Class, Layout, MadeNode, Process, id, uid};
use crate::reported::{known, write};

/// A kernel that counts what it is told.
#[derive(Clone, Default)]
struct Kernel(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    seconds: u64,
    counts: Vec<HttpCount>,
    forgotten: Vec<(u32, Duration)>,
}

impl Kernel {
    /// In the same second as all further requests until the next one.
    fn serve(&self, pid: u32, what: HttpWhat, more: u64, cgroup: Option<u64>) {
        let mut counted = self.0.lock().unwrap();
        let mut counts = counted.counts.iter_mut();
        match counts.find(|c| c.pid == pid && c.what == what) {
            Some(count) => count.count += more,
            None => counted.counts.push(HttpCount {
                pid,
                started: started(),
                what,
                count: more,
                cgroup,
            }),
        }
    }
}

impl Counters for Kernel {
    fn mode(&self) -> &'static str {
        "made"
    }

    fn said(&self) -> String {
        "HTTP is counted as made.".into()
    }

    fn read(&mut self) -> Result<HttpReading, String> {
        let mut counted = self.0.lock().unwrap();
        counted.seconds += 1;
        Ok(HttpReading {
            at: Duration::from_secs(1000 + counted.seconds),
            since: Duration::from_secs(1000),
            counts: counted.counts.clone(),
            lost: 0,
        })
    }

    fn stats(&self) -> HttpStats {
        HttpStats::default()
    }

    fn forget(&mut self, gone: &[(u32, Duration)]) -> Vec<(u32, Duration)> {
        let mut counted = self.0.lock().unwrap();
        counted.forgotten.extend_from_slice(gone);
        counted
            .counts
            .retain(|c| !gone.contains(&(c.pid, c.started)));
        gone.to_vec()
    }
}

/// When all processes started: in the middle of a clock tick.
fn started() -> Duration {
    Duration::from_millis(Process::default().start * 10 + 7)
}

fn renderer_of(node: &MadeNode, http: HttpLook) -> Render {
    let config = Config {
        plugin_id: "node-metrics".into(),
        label: "Node metrics".into(),
        description: Some("Mine.".into()),
        collectors: [Collector::HTTPStatistics]
            .into_iter()
            .collect::<Collectors>(),
        http_allow_sys_exit: false,
        sample_interval: Duration::from_secs(1),
        mend: Mend::Always,
        host: "node1".into(),
        roots: node.roots(),
        kubelet_dir: "/nonexistent".into(),
        plugin_dir: node.path("plugins"),
        http_listen: None,
        cluster: None,
    };
    let inventory = Arc::new(ArcSwap::from_pointee(known()));
    renderer(
        &config,
        Some(inventory),
        VolumeWatch::default(),
        None,
        Some(http),
        None,
    )
}

fn next(render: &mut Render, number: u64) -> Value {
    let tick = Tick {
        number,
        cadence: Duration::from_secs(1),
        turn: number,
        pace: None,
        for_totals: false,
        reported: true,
    };
    let body = (render)(&tick).body;
    let answer = Answer::ok(&body, Duration::ZERO);
    let verdict = check_report("/run/node-metrics/node-metrics.sock", &answer);
    assert!(verdict.conformant(), "{verdict}");
    serde_json::from_slice(&body).unwrap()
}

/// A metric's value.
fn rate(report: &Value, topology: &str, node: &str, metric: &str) -> Option<f64> {
    report[topology]["nodes"][node]["metrics"][metric]["samples"][0]["value"].as_f64()
}

const REQUESTS: &str = "http_requests_per_second";

#[test]
fn what_the_kernel_counted_is_told_of_who_did_it() {
    for layout in [Layout::V1Cgroupfs, Layout::Hybrid, Layout::V2Systemd] {
        let node = MadeNode::new(layout);
        write(&node, 0);
        let kernel = Kernel::default();
        let mut render = renderer_of(&node, HttpLook::new(Ok(Box::new(kernel.clone()))));
        let container = format!("{};<container>", id('b'));
        let pod = format!("{};<pod>", uid('1'));
        let sidecar = format!("{};<container>", id('c'));
        let first = next(&mut render, 0);
        assert_eq!(rate(&first, "Pod", &pod, REQUESTS), None, "nobody serves");
        assert_eq!(first["Process"]["metric_templates"], Value::Null);
        assert_eq!(
            first["Plugins"][0]["description"],
            "Mine. HTTP is counted as made."
        );

        // 101 and 102 run in the first container, 103 in its sidecar, 50 is the host's; nobody ever
        // sees 999, which ran in the first.
        let path = node.container_path(Class::Burstable, &uid('1'), &id('b'));
        let directory = node.path(&node.memory_file(&path, ""));
        let inode = std::fs::metadata(&directory).unwrap().ino();
        let ok = HttpWhat::Response(200);
        for (pid, what, n, cgroup) in [
            (101, HttpWhat::Request, 5, None),
            (101, ok, 4, None),
            (101, HttpWhat::Response(500), 1, None),
            (103, HttpWhat::Request, 2, None),
            (50, HttpWhat::Request, 9, None),
            (999, ok, 3, Some(inode)),
            (998, ok, 7, Some(1)),
        ] {
            kernel.serve(pid, what, n, cgroup);
        }
        let report = next(&mut render, 1);
        let of = |topology, node: &str, metric| rate(&report, topology, node, metric);
        assert_eq!(
            of("Process", "node1;101", REQUESTS),
            Some(5.0),
            "{layout:?}"
        );
        assert_eq!(of("Process", "node1;50", REQUESTS), Some(9.0));
        assert_eq!(of("Process", "node1;102", REQUESTS), None);
        assert_eq!(of("Process", "node1;999", REQUESTS), None, "it is gone");
        assert_eq!(of("Container", &container, REQUESTS), Some(8.0));
        let ok = "http_200_responses_per_second";
        assert_eq!(of("Container", &container, ok), Some(7.0));
        assert_eq!(of("Container", &container, "http_error_ratio"), Some(12.5));
        assert_eq!(of("Container", &sidecar, REQUESTS), Some(2.0));
        assert_eq!(of("Pod", &pod, REQUESTS), Some(10.0));
        let other = format!("{};<pod>", uid('2'));
        assert_eq!(of("Pod", &other, REQUESTS), None);
        let process = &report["Process"]["nodes"]["node1;101"];
        assert_eq!(process["parents"]["container"][0], container);
        let templates = &report["Process"]["metric_templates"];
        assert_eq!(templates[ok]["label"], "HTTP Resp 200/Second");
        assert_eq!(templates["http_404_responses_per_second"], Value::Null);

        // A server that does nothing stays, with 0; and who is gone is forgotten two readings later.
        node.remove_process(103);
        let idle = next(&mut render, 2);
        assert_eq!(rate(&idle, "Process", "node1;101", REQUESTS), Some(0.0));
        assert_eq!(rate(&idle, "Pod", &pod, REQUESTS), Some(0.0));
        assert_eq!(rate(&idle, "Pod", &pod, ok), None, "a code with rate 0");
        assert_eq!(rate(&idle, "Process", "node1;103", REQUESTS), None);
        next(&mut render, 3);
        let forgotten: Vec<u32> = {
            let counted = kernel.0.lock().unwrap();
            counted.forgotten.iter().map(|(pid, _)| *pid).collect()
        };
        assert_eq!(forgotten, [998, 999, 103]);
    }
}

/// The rest goes on.
#[test]
fn where_nothing_is_counted_it_is_said_why_and_no_figure_is_0() {
    let node = MadeNode::new(Layout::V2Systemd);
    write(&node, 0);
    let off = Off {
        cause: Cause::Denied,
        why: "the agent lacks capabilities.".into(),
    };
    let mut render = renderer_of(&node, HttpLook::new(Err(off)));
    for number in 0..3 {
        let report = next(&mut render, number);
        let said = report["Plugins"][0]["description"].as_str().unwrap();
        assert_eq!(
            said,
            "Mine. HTTPStatistics is off: the agent lacks capabilities. Not available: HTTP requests \
             and responses (permission denied)."
        );
        let text = report.to_string();
        assert!(!text.contains("_per_second"), "{text}");
        let pod = format!("{};<pod>", uid('1'));
        let memory = rate(&report, "Pod", &pod, "docker_memory_usage");
        assert!(memory.is_some(), "the rest goes on");
    }
}
