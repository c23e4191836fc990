//! A node made of files in a temporary directory: `/proc` and the cgroup file systems as the
//! kernel would show them, written file by file.

// Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod inventory;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scope_agent::Collectors;
use scope_agent::sample::{Moment, Roots, Sampler};
use scope_protocol::Timestamp;

pub const MIB: u64 = 1 << 20;

/// The wall clock at the made node's start.
pub const EPOCH_MICROS: i64 = 1_795_397_680_000_000;

/// Which cgroup file systems the node has and who names the cgroups in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    V1Cgroupfs,
    V1Systemd,
    V2Systemd,
    V2Cgroupfs,
    /// v2, read from within a cgroup namespace of the agent's own.
    V2Namespaced,
    /// v1 controllers and a v2 tree without any, in which the runtime makes the cgroups too.
    Hybrid,
    /// The memory controller is in the v2 tree, the rest in v1.
    HybridMemoryV2,
}

impl Layout {
    pub const ALL: [Layout; 7] = [
        Layout::V1Cgroupfs,
        Layout::V1Systemd,
        Layout::V2Systemd,
        Layout::V2Cgroupfs,
        Layout::V2Namespaced,
        Layout::Hybrid,
        Layout::HybridMemoryV2,
    ];

    fn systemd(self) -> bool {
        matches!(
            self,
            Layout::V1Systemd | Layout::V2Systemd | Layout::V2Namespaced
        )
    }

    /// Whether there is nothing but the one tree.
    pub fn v2(self) -> bool {
        matches!(
            self,
            Layout::V2Systemd | Layout::V2Cgroupfs | Layout::V2Namespaced
        )
    }

    /// Below the root of the cgroup mounts: where CPU is counted.
    fn cpu_root(self) -> &'static str {
        match self {
            Layout::V1Cgroupfs | Layout::HybridMemoryV2 => "cpuacct",
            Layout::V1Systemd | Layout::Hybrid => "cpu,cpuacct",
            Layout::V2Systemd | Layout::V2Cgroupfs | Layout::V2Namespaced => "",
        }
    }

    /// Where CPU is limited.
    fn bandwidth_root(self) -> &'static str {
        match self {
            Layout::V1Cgroupfs | Layout::HybridMemoryV2 => "cpu",
            Layout::V1Systemd | Layout::Hybrid => "cpu,cpuacct",
            Layout::V2Systemd | Layout::V2Cgroupfs | Layout::V2Namespaced => "",
        }
    }

    fn disk_root(self) -> &'static str {
        if self.v2() { "" } else { "blkio" }
    }

    fn freezer_root(self) -> &'static str {
        if self.v2() { "" } else { "freezer" }
    }

    fn memory_root(self) -> &'static str {
        match self {
            Layout::V1Cgroupfs | Layout::V1Systemd | Layout::Hybrid => "memory",
            Layout::HybridMemoryV2 => "unified",
            Layout::V2Systemd | Layout::V2Cgroupfs | Layout::V2Namespaced => "",
        }
    }
}

/// Quality-of-service class of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// A 64-hex container ID that is easy to tell from others.
pub fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A UID that is easy to tell from others.
pub fn uid(digit: char) -> String {
    let d = |n: usize| digit.to_string().repeat(n);
    format!("{}-{}-{}-{}-{}", d(8), d(4), d(4), d(4), d(12))
}

/// What a cgroup's files are to say.
#[derive(Debug, Clone, Copy)]
pub struct Cgroup {
    pub cpu_ns: u64,
    pub usage: u64,
    pub inactive_file: u64,
    pub limit: Option<u64>,
    pub further: Further,
}

/// What the files are to say that are read every few seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Further {
    pub read: u64,
    pub written: u64,
    pub periods: u64,
    pub throttled: u64,
    /// Microseconds of CPU in each tenth of a second.
    pub quota: Option<u64>,
    /// Microseconds of waiting for a CPU; half of that for memory, a quarter for I/O; all of them
    /// waited for half as long as some.
    pub waited: u64,
    pub oom_kills: u64,
    pub frozen: bool,
}

/// A file of pressure.
pub fn pressure(some: u64, full: u64) -> String {
    format!(
        "some avg10=0.00 avg60=0.00 avg300=0.00 total={some}\n\
         full avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"
    )
}

impl Default for Cgroup {
    fn default() -> Self {
        Cgroup {
            cpu_ns: 0,
            usage: 8 * MIB,
            inactive_file: 3 * MIB,
            limit: None,
            further: Further::default(),
        }
    }
}

/// What a process's files are to say.
#[derive(Debug, Clone)]
pub struct Process {
    pub name: String,
    pub flags: u64,
    pub ticks: u64,
    pub rss_pages: u64,
    pub threads: u64,
    pub start: u64,
    /// Clock ticks of waiting for block I/O.
    pub delay_ticks: u64,
    pub files: u64,
}

impl Default for Process {
    fn default() -> Self {
        let name = "worker".to_owned();
        Process {
            name,
            flags: 0x400000,
            ticks: 0,
            rss_pages: 256,
            threads: 1,
            start: 1000,
            delay_ticks: 0,
            files: 3,
        }
    }
}

pub struct MadeNode {
    pub layout: Layout,
    /// What stands before `kubepods`, without slashes around it; cgroupfs only.
    pub prefix: &'static str,
    dir: tempfile::TempDir,
    millis: Arc<AtomicU64>,
}

impl MadeNode {
    pub fn new(layout: Layout) -> MadeNode {
        Self::within(layout, tempfile::tempdir().unwrap())
    }

    /// In memory where the machine has a place for that: a disk takes a minute for 200,000 files.
    pub fn of_many_files(layout: Layout) -> MadeNode {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::within(layout, dir.unwrap())
    }

    fn within(layout: Layout, dir: tempfile::TempDir) -> MadeNode {
        let node = MadeNode {
            layout,
            prefix: "t0/node1",
            dir,
            millis: Arc::new(AtomicU64::new(1_000_000)),
        };
        node.write(
            "proc/meminfo",
            "MemTotal: 4194304 kB\nMemFree: 1 kB\nMemAvailable: 3145728 kB\n",
        );
        node.host_ticks(1000);
        symlink("4242", node.path("proc/self")).unwrap();
        node.write("proc/uptime", "1.0 1.0\n");
        node.write(
            "proc/devices",
            "Character devices:\n  1 mem\n\nBlock devices:\n  7 loop\n  8 sd\n253 device-mapper\n",
        );
        node.write("proc/sys/kernel/task_delayacct", "1\n");
        node.host_waits(0);
        if layout.v2() {
            node.write("cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
            node.write("cgroup/cpu.stat", "usage_usec 999\n");
        } else {
            node.write(
                &format!("cgroup/{}/cpuacct.usage", layout.cpu_root()),
                "999\n",
            );
            node.write("cgroup/pids/tasks", "");
            let bandwidth = format!("cgroup/{}/cpu.cfs_quota_us", layout.bandwidth_root());
            node.write(&bandwidth, "-1\n");
            for file in ["io_service_bytes", "io_service_bytes_recursive"] {
                let file = format!("cgroup/blkio/blkio.throttle.{file}");
                node.write(&file, "8:0 Read 0\n8:0 Write 0\nTotal 0\n");
            }
            node.write("cgroup/freezer/cgroup.procs", "");
        }
        match layout {
            Layout::V1Cgroupfs | Layout::V1Systemd => {
                node.write("cgroup/memory/memory.usage_in_bytes", "999\n");
            }
            Layout::Hybrid => {
                node.write("cgroup/memory/memory.usage_in_bytes", "999\n");
                node.write("cgroup/unified/cgroup.controllers", "");
            }
            Layout::HybridMemoryV2 => {
                node.write("cgroup/unified/cgroup.controllers", "memory\n");
            }
            Layout::V2Systemd | Layout::V2Cgroupfs | Layout::V2Namespaced => {}
        }
        if layout == Layout::V2Namespaced {
            // The machine's first process, and so the proof that paths lead out.
            node.process_at(1, "0::/../../../init.scope\n", &Process::default());
        }
        node
    }

    pub fn roots(&self) -> Roots {
        Roots {
            proc: self.path("proc"),
            cgroup: self.path("cgroup"),
        }
    }

    pub fn sampler(&self) -> Sampler {
        self.sampler_for(Collectors::ALL)
    }

    pub fn sampler_for(&self, collectors: Collectors) -> Sampler {
        let millis = self.millis.clone();
        Sampler::new(self.roots(), collectors, move || {
            let millis = millis.load(Ordering::Relaxed);
            Moment {
                monotonic: Duration::from_millis(millis),
                wall: Timestamp::from_unix_micros(EPOCH_MICROS + millis as i64 * 1000),
            }
        })
    }

    /// Lets time pass.
    pub fn pass(&self, duration: Duration) {
        self.millis
            .fetch_add(duration.as_millis() as u64, Ordering::Relaxed);
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn write(&self, relative: &str, text: impl AsRef<[u8]>) {
        let path = self.path(relative);
        if fs::write(&path, &text).is_err() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    /// Two CPUs that were busy for so many ticks together.
    pub fn host_ticks(&self, busy: u64) {
        self.cpu_times(busy, 5000, 10);
    }

    /// The ticks of both CPUs since boot.
    pub fn cpu_times(&self, busy: u64, idle: u64, io_wait: u64) {
        self.write(
            "proc/stat",
            format!(
                "cpu  {busy} 0 0 {idle} {io_wait} 0 0 3 0 0\ncpu0 {busy} 0 0 {idle} 5 0 0 1 0 0\n\
                 cpu1 0 0 0 2500 5 0 0 2 0 0\nintr 12345 1 2 3\nctxt 1\n"
            ),
        );
    }

    /// Processes that waited for so many microseconds for a CPU, as [`Further::waited`] has it.
    pub fn host_waits(&self, waited: u64) {
        self.write("proc/pressure/cpu", pressure(waited, 0));
        self.write("proc/pressure/memory", pressure(waited / 2, waited / 4));
        self.write("proc/pressure/io", pressure(waited / 4, waited / 8));
    }

    /// Path of a pod's cgroup in each hierarchy, from its root.
    pub fn pod_path(&self, class: Class, pod: &str) -> String {
        if self.layout.systemd() {
            let pod = pod.replace('-', "_");
            match class {
                Class::Guaranteed => format!("/kubepods.slice/kubepods-pod{pod}.slice"),
                Class::Burstable => format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod}.slice"
                ),
                Class::BestEffort => format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{pod}.slice"
                ),
            }
        } else {
            let class = match class {
                Class::Guaranteed => "",
                Class::Burstable => "burstable/",
                Class::BestEffort => "besteffort/",
            };
            format!("/{}/kubepods/{class}pod{pod}", self.prefix)
        }
    }

    /// Path of a container's cgroup in each hierarchy, from its root.
    pub fn container_path(&self, class: Class, pod: &str, id: &str) -> String {
        let pod = self.pod_path(class, pod);
        if self.layout.systemd() {
            format!("{pod}/cri-containerd-{id}.scope")
        } else {
            format!("{pod}/{id}")
        }
    }

    /// Writes the files of the cgroup at this path in the hierarchies that count.
    pub fn cgroup(&self, path: &str, cgroup: Cgroup) {
        let Cgroup {
            cpu_ns,
            usage,
            inactive_file,
            limit,
            further,
        } = cgroup;
        self.further(path, cpu_ns, further);
        let cpu = format!("cgroup/{}{path}", self.layout.cpu_root());
        if !self.layout.v2() {
            self.write(&format!("{cpu}/cpuacct.usage"), format!("{cpu_ns}\n"));
        }
        let memory = format!("cgroup/{}{path}", self.layout.memory_root());
        if self.layout.v2() || self.layout == Layout::HybridMemoryV2 {
            let limit = limit.map_or("max".to_owned(), |limit| limit.to_string());
            self.write(&format!("{memory}/memory.current"), format!("{usage}\n"));
            self.write(&format!("{memory}/memory.max"), format!("{limit}\n"));
            self.write(
                &format!("{memory}/memory.stat"),
                format!("anon 1\nfile 2\ninactive_anon 0\ninactive_file {inactive_file}\n"),
            );
        } else {
            let limit = limit.unwrap_or(9_223_372_036_854_771_712);
            self.write(
                &format!("{memory}/memory.usage_in_bytes"),
                format!("{usage}\n"),
            );
            self.write(
                &format!("{memory}/memory.limit_in_bytes"),
                format!("{limit}\n"),
            );
            self.write(
                &format!("{memory}/memory.stat"),
                format!("cache 1\ninactive_file 0\ntotal_inactive_file {inactive_file}\n"),
            );
        }
        if self.layout.v2() || self.layout == Layout::HybridMemoryV2 {
            self.write(
                &format!("{memory}/memory.events"),
                format!(
                    "low 0\nhigh 0\nmax 0\noom 0\noom_kill {}\n",
                    further.oom_kills
                ),
            );
        }
        if self.layout == Layout::Hybrid {
            fs::create_dir_all(self.path(&format!("cgroup/unified{path}"))).unwrap();
        }
    }

    /// Writes the files of the cgroup that are read every few seconds.
    fn further(&self, path: &str, cpu_ns: u64, further: Further) {
        let Further {
            read,
            written,
            periods,
            throttled,
            quota,
            waited,
            oom_kills: _,
            frozen,
        } = further;
        let file = |root: &str, file: &str| format!("cgroup/{root}{path}/{file}");
        let bandwidth = |name| file(self.layout.bandwidth_root(), name);
        let periods = format!("nr_periods {periods}\nnr_throttled {throttled}\n");
        // Through a volume, hence counted at two devices.
        if self.layout.v2() {
            let micros = cpu_ns / 1000;
            self.write(
                &bandwidth("cpu.stat"),
                format!(
                    "usage_usec {micros}\nuser_usec 1\nsystem_usec 1\n{periods}throttled_usec 5\n"
                ),
            );
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            self.write(&bandwidth("cpu.max"), format!("{quota} 100000\n"));
            let device =
                |device| format!("{device} rbytes={read} wbytes={written} rios=1 wios=1\n");
            self.write(&file("", "io.stat"), device("8:0") + &device("253:0"));
            self.write(
                &file("", "cgroup.events"),
                format!("populated 1\nfrozen {}\n", u8::from(frozen)),
            );
            self.write(&file("", "cpu.pressure"), pressure(waited, waited / 2));
            self.write(
                &file("", "memory.pressure"),
                pressure(waited / 2, waited / 4),
            );
            self.write(&file("", "io.pressure"), pressure(waited / 4, waited / 8));
        } else {
            self.write(
                &bandwidth("cpu.stat"),
                format!("{periods}throttled_time 5\n"),
            );
            let quota = quota.map_or("-1".to_owned(), |quota| quota.to_string());
            self.write(&bandwidth("cpu.cfs_quota_us"), format!("{quota}\n"));
            self.write(&bandwidth("cpu.cfs_period_us"), "100000\n");
            let device = |device| format!("{device} Read {read}\n{device} Write {written}\n");
            self.write(
                &self.disk_file(path),
                format!("{}{}Total 1\n", device("8:0"), device("253:0")),
            );
            let state = if frozen { "FROZEN\n" } else { "THAWED\n" };
            self.write(&self.freezer_file(path), state);
        }
    }

    /// Where the bytes of disks of a cgroup are.
    pub fn disk_file(&self, path: &str) -> String {
        let file = if self.layout.v2() {
            "io.stat"
        } else {
            "blkio.throttle.io_service_bytes_recursive"
        };
        format!("cgroup/{}{path}/{file}", self.layout.disk_root())
    }

    /// Where it is told whether a cgroup is frozen.
    pub fn freezer_file(&self, path: &str) -> String {
        let file = if self.layout.v2() {
            "cgroup.events"
        } else {
            "freezer.state"
        };
        format!("cgroup/{}{path}/{file}", self.layout.freezer_root())
    }

    /// A file of the controller that limits CPU.
    pub fn bandwidth_file(&self, path: &str, file: &str) -> String {
        format!("cgroup/{}{path}/{file}", self.layout.bandwidth_root())
    }

    /// Where a file of a container's or pod's cgroup lies that counts memory.
    pub fn memory_file(&self, path: &str, file: &str) -> String {
        format!("cgroup/{}{path}/{file}", self.layout.memory_root())
    }

    /// Where a file of a container's or pod's cgroup lies that counts CPU.
    pub fn cpu_file(&self, path: &str) -> String {
        let file = if self.layout.v2() {
            "cpu.stat"
        } else {
            "cpuacct.usage"
        };
        format!("cgroup/{}{path}/{file}", self.layout.cpu_root())
    }

    /// Removes the cgroup from every hierarchy.
    pub fn remove_cgroup(&self, path: &str) {
        for root in [
            self.layout.cpu_root(),
            self.layout.memory_root(),
            self.layout.bandwidth_root(),
            self.layout.disk_root(),
            self.layout.freezer_root(),
            "unified",
        ] {
            let _ = fs::remove_dir_all(self.path(&format!("cgroup/{root}{path}")));
        }
    }

    /// Adds a process in the cgroup at this path.
    pub fn process(&self, pid: u32, path: &str, process: &Process) {
        let lines = match self.layout {
            Layout::V1Cgroupfs | Layout::V1Systemd => format!(
                "9:name=systemd:{path}\n4:memory:{path}\n3:cpuset:/\n2:cpu,cpuacct:{path}\n"
            ),
            Layout::Hybrid | Layout::HybridMemoryV2 => {
                format!("4:memory:{path}\n2:cpu,cpuacct:{path}\n1:name=systemd:/\n0::{path}\n")
            }
            Layout::V2Systemd | Layout::V2Cgroupfs => format!("0::{path}\n"),
            Layout::V2Namespaced => format!("0::{}\n", relative_to(&self.own_path(), path)),
        };
        self.process_at(pid, &lines, process);
    }

    /// Where the agent itself runs in [`Layout::V2Namespaced`].
    pub fn own_path(&self) -> String {
        self.container_path(Class::Burstable, &uid('a'), &id('a'))
    }

    /// Adds a process with these lines in its `cgroup`.
    pub fn process_at(&self, pid: u32, lines: &str, process: &Process) {
        let Process {
            name,
            flags,
            ticks,
            rss_pages,
            threads,
            start,
            delay_ticks,
            files,
        } = process;
        let (user, system) = (ticks / 2, ticks - ticks / 2);
        self.write(
            &format!("proc/{pid}/stat"),
            format!(
                "{pid} ({name}) S 1 {pid} {pid} 0 -1 {flags} 5 0 0 0 {user} {system} 0 0 20 0 \
                 {threads} 0 {start} 1000000 {rss_pages} 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 \
                 {delay_ticks} 0 0\n"
            ),
        );
        self.write(&format!("proc/{pid}/cgroup"), lines);
        let open = self.path(&format!("proc/{pid}/fd"));
        if fs::read_dir(&open).is_ok_and(|open| open.count() as u64 == *files) {
            return;
        }
        let _ = fs::remove_dir_all(&open).or_else(|_| fs::remove_file(&open));
        fs::create_dir_all(&open).unwrap();
        for file in 0..*files {
            fs::write(open.join(file.to_string()), "").unwrap();
        }
    }

    /// Gives a process a network namespace that has moved so many bytes.
    pub fn network(&self, pid: u32, namespace: u64, received: u64, sent: u64) {
        self.write(
            &format!("proc/{pid}/net/dev"),
            format!(
                "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n    \
                 lo: 777 1 0 0 0 0 0 0 777 1 0 0 0 0 0 0\n  \
                 eth0: {received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0\n"
            ),
        );
        let link = self.path(&format!("proc/{pid}/ns/net"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&link);
        symlink(format!("net:[{namespace}]"), link).unwrap();
    }

    pub fn remove_process(&self, pid: u32) {
        fs::remove_dir_all(self.path(&format!("proc/{pid}"))).unwrap();
    }
}

/// The path as a reader sees it whose cgroup namespace begins at `own`.
fn relative_to(own: &str, path: &str) -> String {
    let own: Vec<&str> = own.split('/').skip(1).collect();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    let shared = own.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let up = vec![".."; own.len() - shared];
    let parts: Vec<&str> = up
        .into_iter()
        .chain(path[shared..].iter().copied())
        .collect();
    format!("/{}", parts.join("/"))
}
