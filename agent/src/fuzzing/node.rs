//! A whole node, some files of which the bytes replace: whatever the kernel says, the report made
//! of it is one that Scope takes, and no figure in it is negative.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io};

use scope_protocol::conformance::{Answer, check_report};
use scope_protocol::{Report, Timestamp, encode};

use crate::Collectors;
use crate::attribution::attribute;
use crate::collect::{self, ControlNames, Mend, Settings, Share};
use crate::container_control::SparedPods;
use crate::inventory::{Container, ContainerKind, Inventory, Pod};
use crate::sample::{Mode, Moment, Roots, Sample, Sampler};

/// A node with cgroup v1, the same whose disk I/O its processes have to tell, and one with v2. A
/// file's text stands behind a line `== <name>`, in which `{p}` and `{c}` are the paths of the pod's
/// and the container's cgroup. A file of the second name is left out.
const NODES: [(&str, &str); 3] = [
    (V1, ""),
    (V1, "cgroup/blkio/blkio.throttle.io_service_bytes"),
    (include_str!("node_v2.txt"), ""),
];
const V1: &str = include_str!("node_v1.txt");

/// The only pod.
const POD: &str = "11111111-1111-1111-1111-111111111111";

/// Its only container.
fn container() -> String {
    "b".repeat(64)
}

/// Half way to the year 2100.
const START_MICROS: i64 = 2_000_000_000_000_000;

thread_local! {
    static MADE: RefCell<Vec<Made>> = RefCell::new(made());
}

fn made() -> Vec<Made> {
    let made = NODES.map(|(text, without)| match Made::new(text, without) {
        Ok(made) => made,
        Err(error) => panic!("the files cannot be written: {error}"),
    });
    made.into()
}

/// The target: blocks of files, as in [`NODES`], that replace those of the nodes for one sample.
pub(super) fn node(data: &[u8]) {
    let changes = blocks(data);
    MADE.with_borrow(|made| {
        let inventory = inventory();
        let cluster = Mode::Cluster(&inventory);
        for (made, mode) in made.iter().zip([cluster, Mode::Standalone, cluster]) {
            if let Err(error) = made.sampled(mode, &changes) {
                panic!("the files cannot be written: {error}");
            }
        }
    });
}

/// The names and texts of files; what stands before the first is nothing.
fn blocks(text: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut blocks = Vec::new();
    let mut rest = text;
    // The name that the text before the next one belongs to.
    let mut name = None;
    let mut length = 0;
    for line in text.split_inclusive(|&b| b == b'\n') {
        let Some(next) = line.strip_prefix(b"== ") else {
            length += line.len();
            continue;
        };
        let (of_name, from_here) = rest.split_at(length);
        blocks.extend(name.map(|name| (name, of_name)));
        name = Some(next.trim_ascii_end());
        rest = &from_here[line.len()..];
        length = 0;
    }
    blocks.extend(name.map(|name| (name, rest)));
    blocks
}

/// A node in a directory of its own, which is gone with it.
struct Made {
    root: PathBuf,
    /// By name.
    files: BTreeMap<Vec<u8>, (PathBuf, String)>,
}

impl Made {
    fn new(text: &str, without: &str) -> io::Result<Made> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("scope-agent-fuzz-{}-{number}", std::process::id());
        let mut made = Made {
            root: std::env::temp_dir().join(name),
            files: BTreeMap::new(),
        };
        let pod = format!("kubepods/burstable/pod{POD}");
        let inner = format!("{pod}/{}", container());
        let expand = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.replace("{c}", &inner).replace("{p}", &pod)
        };
        for (name, text) in blocks(text.as_bytes()) {
            if name == without.as_bytes() {
                continue;
            }
            let path = made.root.join(expand(name));
            fs::create_dir_all(path.parent().unwrap_or(&made.root))?;
            fs::write(&path, expand(text))?;
            made.files.insert(name.to_owned(), (path, expand(text)));
        }
        // The pod's process has a network namespace of its own.
        for (process, namespace) in [("1", "net:[1]"), ("100", "net:[100]")] {
            let directory = made.root.join("proc").join(process).join("ns");
            fs::create_dir_all(&directory)?;
            symlink(namespace, directory.join("net"))?;
        }
        Ok(made)
    }

    /// Samples of it, each a second later.
    fn samples<'a>(&self, mode: Mode<'a>) -> impl FnMut() -> Sample + use<'a> {
        let seconds = Arc::new(AtomicU64::new(100));
        let clock = seconds.clone();
        let roots = Roots {
            proc: self.root.join("proc"),
            cgroup: self.root.join("cgroup"),
        };
        let mut sampler = Sampler::new(roots, Collectors::ALL, move || {
            let seconds = clock.load(Ordering::Relaxed);
            Moment {
                monotonic: Duration::from_secs(seconds),
                wall: Timestamp::from_unix_micros(START_MICROS + seconds as i64 * 1_000_000),
            }
        });
        move || {
            seconds.fetch_add(1, Ordering::Relaxed);
            sampler.take(mode)
        }
    }

    /// Three samples, the second with the changes.
    fn sampled(&self, mode: Mode<'_>, changes: &[(&[u8], &[u8])]) -> io::Result<()> {
        let mut take = self.samples(mode);
        let usual = take();
        for (name, text) in changes {
            if let Some((path, _)) = self.files.get(*name) {
                fs::write(path, text)?;
            }
        }
        let changed = take();
        for (name, _) in changes {
            if let Some((path, text)) = self.files.get(*name) {
                fs::write(path, text)?;
            }
        }
        let again = take();
        for (previous, current) in [
            (None, &changed),
            (Some(&usual), &changed),
            (Some(&changed), &again),
        ] {
            let usage = attribute(previous, current, mode);
            reported(&collect::report(&usage, mode, &settings()));
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Of no use to anybody, and of no harm.
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn reported(report: &Report) {
    for topology in report.topologies.values() {
        for (id, node) in &topology.nodes {
            for (key, metric) in &node.metrics {
                let values = metric.samples.iter().map(|sample| sample.value);
                for value in values.chain([metric.min, metric.max]) {
                    assert!(value.is_finite() && value >= 0.0, "{id} {key}: {value}");
                }
            }
        }
    }
    let mut body = Vec::new();
    encode(report, &mut body);
    let verdict = check_report("fuzz.sock", &Answer::ok(&body, Duration::ZERO));
    assert!(verdict.conformant(), "{verdict}");
}

fn settings() -> Settings {
    Settings {
        plugin_id: "fuzz".into(),
        label: "Fuzz".into(),
        description: None,
        host: "node1".into(),
        collectors: Collectors::ALL,
        mend: Mend::Always,
        cadence: Duration::from_secs(1),
        controls: ControlNames::default(),
        spared: SparedPods::default(),
        traffic: None,
        totals: None,
        share: Share::Whole,
    }
}

fn inventory() -> Inventory {
    let app = Container {
        name: "app".into(),
        image: "registry.example/app:1".into(),
        image_id: "1234".into(),
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
    let pod = Pod {
        id: POD.into(),
        uid: POD.into(),
        namespace: "demo".into(),
        name: "web".into(),
        mirror: false,
        grace: None,
        host_network: false,
        ips: vec!["10.1.2.3".into()],
        containers: [(container(), app)].into(),
        stopped: BTreeMap::new(),
        volumes: Vec::new(),
        owners: Vec::new(),
    };
    Inventory {
        pods: [(POD.into(), pod)].into(),
        namespaces: [("demo".into(), "demo-uid".into())].into(),
        node: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Cause, Datum};

    #[test]
    fn the_made_nodes_lack_nothing() {
        let inventory = inventory();
        for made in made() {
            let sample = made.samples(Mode::Cluster(&inventory))();
            let mut problems = sample.problems.iter();
            // With v1 there is none.
            let known = |datum, cause| (datum, cause) == (Datum::CgroupPressure, Cause::Absent);
            assert!(problems.all(|(datum, cause, _)| known(datum, cause)));
            assert_eq!((sample.processes.len(), sample.kernel_threads), (2, 1));
            let (cgroup, pod) = (sample.groups[0].cgroup, sample.pods[POD]);
            assert!(cgroup.cpu.is_some() && cgroup.memory.is_some());
            assert!(cgroup.further.disk.is_some() && cgroup.further.throttling.is_some());
            assert!(cgroup.further.cpu_limit.is_some() && cgroup.further.frozen == Some(false));
            assert!(pod.network.is_some() && pod.cgroup.further.disk.is_some());
            assert_eq!(sample.oom_counted, pod.cgroup.further.oom_kills == Some(1));
        }
    }

    #[test]
    fn files_stand_behind_their_names() {
        let text = b"no name\n== a\n== b\nx\ny\n== c d\nz";
        let want: [(&[u8], &[u8]); 3] = [(b"a", b""), (b"b", b"x\ny\n"), (b"c d", b"z")];
        assert_eq!(blocks(text), want);
        assert_eq!(blocks(b"=="), []);
    }
}
