//! The sampler: one pass over the node.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use scope_crds::Collector;

use super::cgroup_files::{self, CgroupReader};
use super::cgroup_index::CgroupIndex;
use super::cgroup_inodes::CgroupInodes;
use super::disk::{self, Stacked};
use super::further_files::{Half, Kind};
use super::group_table::GroupTable;
use super::hierarchy::{Hierarchies, Version};
use super::host::HostReader;
use super::kept_file::Room;
use super::pod_network::PodNetworks;
use super::process_io::ProcessIo;
use super::process_table::{ProcessTable, Scan};
use super::reader::{End, ReadError, Reader, path_bytes};
use super::sandboxes::Sandboxes;
use super::wanted::Wanted;
use super::{
    Cause, CgroupSample, Datum, Group, GroupSample, Mode, Moment, PodSample, Problems,
    ProcessSample, Roots, Sample,
};
use crate::Collectors;

/// Reads the node. It keeps what makes the next reading cheaper, and what is read every few seconds
/// only; nothing else that a reading depends on.
pub struct Sampler {
    roots: Roots,
    /// What is read is what these tell.
    collectors: Collectors,
    clock: Box<dyn Fn() -> Moment + Send>,
    reader: Reader,
    processes: ProcessTable,
    groups: GroupTable,
    index: CgroupIndex,
    inodes: CgroupInodes,
    networks: PodNetworks,
    host: HostReader,
    process_io: ProcessIo,
    sandboxes: Sandboxes,
    /// Which devices are no disks.
    stacked: Option<Stacked>,
    room: Room,
    /// The part of the room that is for the files of cgroups.
    cgroup_room: Room,
    /// The time by which turns are taken of what is read every few seconds.
    turns: Duration,
    /// The container that this agent runs in, where it cannot be told from a path.
    own: Option<Arc<str>>,
    problems: Problems,
}

impl Sampler {
    /// A sampler of the node below these roots, for these collectors. Nothing is read yet.
    pub fn new(
        roots: Roots,
        collectors: Collectors,
        clock: impl Fn() -> Moment + Send + 'static,
    ) -> Self {
        let room = Room::new();
        let resources = collectors.has(Collector::Resources);
        Sampler {
            networks: PodNetworks::new(&roots.proc, &room),
            cgroup_room: room.none(),
            room,
            roots,
            collectors,
            clock: Box::new(clock),
            reader: Reader::new(),
            processes: ProcessTable::new(resources),
            groups: GroupTable::default(),
            index: CgroupIndex::default(),
            inodes: CgroupInodes::default(),
            host: HostReader::default(),
            process_io: ProcessIo::default(),
            sandboxes: Sandboxes::default(),
            stacked: None,
            turns: Duration::ZERO,
            own: None,
            problems: Problems::default(),
        }
    }

    /// Reads the node once.
    pub fn take(&mut self, mode: Mode<'_>) -> Sample {
        let at = (self.clock)();
        self.turns = at.monotonic;
        self.read(at, mode)
    }

    /// Reads the node between two times that count: what is read every few seconds is what it was then, but of
    /// what is new. Costs half.
    pub fn take_between(&mut self, mode: Mode<'_>) -> Sample {
        let at = (self.clock)();
        self.read(at, mode)
    }

    fn read(&mut self, at: Moment, mode: Mode<'_>) -> Sample {
        let mut problems = Problems::default();
        let resources = self.collectors.has(Collector::Resources);
        let host = self.host.read(
            &self.roots.proc,
            self.collectors,
            &mut self.reader,
            self.turns,
            |ticks| self.processes.nanoseconds(ticks),
            &*self.clock,
            &mut problems,
        );

        self.groups.begin();
        let Scan {
            mut processes,
            kernel_threads,
            own,
        } = self.processes.scan(
            &self.roots.proc,
            &mut self.reader,
            &mut self.groups,
            (at.monotonic, self.turns),
            &mut problems,
        );
        let mut groups = self.groups.end();

        let wanted = Wanted::new(mode, &groups);
        let walked = self.index.refresh(
            &self.roots.cgroup,
            wanted.ids(),
            at.monotonic,
            &mut problems,
        );
        if walked {
            self.inodes.walked();
            self.cgroup_room = self.index.hierarchies.room(&self.room);
            if resources && self.index.hierarchies.disk.is_some() {
                self.read_devices(&mut problems);
            }
            if resources && !self.blkio_counts_all() {
                self.index.hierarchies.disk = None;
            }
        }
        if wanted.ids().next().is_some() {
            self.note_missing_hierarchies(&mut problems);
        }
        if !own.is_empty() {
            self.place_own(&own, walked, &mut processes, &mut groups);
        }
        self.name_pods(&wanted, &mut groups);
        if matches!(mode, Mode::Standalone) {
            self.tell_sandboxes(at, &processes, &mut groups);
        }
        self.read_groups(&wanted, &mut groups, &mut problems);
        self.add_unseen(&wanted, &mut groups, &mut problems);
        let mut pods = self.read_pods(mode, &groups, &mut problems);
        if resources && self.index.hierarchies.disk.is_none() {
            self.process_io.read(
                &self.roots.proc,
                &mut self.reader,
                (at.monotonic, self.turns),
                &processes,
                &mut groups,
                &mut pods,
                &mut problems,
            );
        }
        if resources {
            self.networks.read(
                mode,
                &mut self.reader,
                &*self.clock,
                &processes,
                &groups,
                &mut pods,
                &mut problems,
            );
        }

        self.problems.absorb(&problems, at.monotonic);
        Sample {
            at,
            host,
            processes,
            kernel_threads,
            groups,
            pods,
            oom_counted: self.index.hierarchies.counts_oom_kills(),
            problems,
        }
    }

    /// Notes what somebody else could not read.
    pub fn note(&mut self, datum: Datum, cause: Cause, path: &str) {
        self.problems.add(datum, cause, || path.to_owned());
    }

    /// The container whose cgroup's directory has this inode, and its pod where the path tells it.
    pub fn container_of_cgroup(&mut self, inode: u64) -> Option<(Arc<str>, Option<Arc<str>>)> {
        self.inodes.container(&self.index, inode)
    }

    /// A time since boot in clock ticks, as [`ProcessSample::start`] has it.
    pub fn ticks(&self, time: Duration) -> u64 {
        self.processes.ticks(time)
    }

    /// Everything that could not be read since the sampler was made.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// Which devices lie on others. A driver may be loaded at any time.
    fn read_devices(&mut self, problems: &mut Problems) {
        let root = path_bytes(&self.roots.proc);
        let text = self.reader.read_path(&root, "devices", End::Records);
        let malformed = ReadError::Missing(Cause::Malformed);
        match text.and_then(|text| Stacked::parse(text).ok_or(malformed)) {
            Ok(stacked) => self.stacked = Some(stacked),
            Err(error) => {
                self.stacked = None;
                problems.add(Datum::CgroupDisk, error.cause(), || {
                    self.roots.proc.join("devices").display().to_string()
                });
            }
        }
    }

    /// Whether `blkio` of v1, where that is what counts, counts at every disk in use. Since Linux 6.10 it
    /// does so only at those for which somebody set a limit, and its root names no others.
    fn blkio_counts_all(&mut self) -> bool {
        let disk = self.index.hierarchies.disk.as_ref();
        let Some(blkio) = disk.filter(|disk| disk.version == Version::V1) else {
            return true;
        };
        let proc = path_bytes(&self.roots.proc);
        let stats = self.reader.read_path(&proc, "diskstats", End::Records);
        let stacked = self.stacked.as_ref();
        let used = stats
            .ok()
            .zip(stacked)
            .and_then(|(text, stacked)| disk::used(text, stacked));
        // Where that cannot be told, what it has is taken for all.
        let Some(used) = used else {
            return true;
        };
        let file = "blkio.throttle.io_service_bytes";
        let root = path_bytes(&blkio.root);
        let named = self.reader.read_path(&root, file, End::Records);
        named.is_ok_and(|text| disk::names_all(text, &used))
    }

    fn note_missing_hierarchies(&self, problems: &mut Problems) {
        let root = || self.roots.cgroup.display().to_string();
        let resources = self.collectors.has(Collector::Resources);
        let Hierarchies {
            cpu,
            memory,
            bandwidth,
            // The processes' own counts stand in.
            disk: _,
            disk_sums: _,
            freezer,
            pressure,
        } = &self.index.hierarchies;
        for (hierarchy, datum) in [
            (cpu, Datum::CgroupCpu),
            (memory, Datum::CgroupMemory),
            (bandwidth, Datum::CgroupThrottling),
            (freezer, Datum::CgroupFrozen),
            (pressure, Datum::CgroupPressure),
        ] {
            let told = match datum {
                Datum::CgroupThrottling => resources,
                Datum::CgroupPressure => resources || self.collectors.has(Collector::IOWait),
                _ => true,
            };
            if told && hierarchy.is_none() {
                problems.add(datum, Cause::Absent, root);
            }
        }
    }

    /// Puts the processes of this agent's own container where they belong: in their own cgroup
    /// namespace their path does not tell.
    fn place_own(
        &mut self,
        own: &[usize],
        walked: bool,
        processes: &mut [ProcessSample],
        groups: &mut Vec<GroupSample>,
    ) {
        if walked {
            self.own = self.find_own();
        }
        let Some(id) = &self.own else {
            return;
        };
        let index = match groups
            .iter()
            .position(|g| g.group.container.as_ref() == Some(id))
        {
            Some(index) => index,
            None => {
                groups.push(self.indexed_group(id));
                groups.len() - 1
            }
        };
        for &process in own {
            processes[process].group = Some(index as u32);
        }
    }

    /// The container whose cgroup lists this process.
    fn find_own(&mut self) -> Option<Arc<str>> {
        let link = std::fs::read_link(self.roots.proc.join("self")).ok()?;
        let pid: u32 = link.to_str()?.parse().ok()?;
        let Sampler { index, reader, .. } = self;
        let mut holding = index
            .containers
            .iter()
            .filter(|(_, container)| cgroup_files::holds(reader, &container.directories, pid))
            .map(|(id, _)| id.clone());
        holding.next()
    }

    fn indexed_group(&self, id: &Arc<str>) -> GroupSample {
        let known = self.index.containers.get(id);
        let group = Group {
            pod: known.and_then(|c| c.pod.clone()),
            container: Some(id.clone()),
            runtime: known.and_then(|c| c.runtime),
        };
        GroupSample {
            group: Arc::new(group),
            cgroup: CgroupSample::default(),
        }
    }

    /// Fills in the pods that a path did not tell: by the place of the container's cgroup, or by
    /// what Kubernetes says.
    fn name_pods(&self, wanted: &Wanted<'_>, groups: &mut [GroupSample]) {
        for sample in groups {
            let Some(id) = &sample.group.container else {
                continue;
            };
            let indexed = self.index.containers.get(id);
            let pod = match wanted {
                Wanted::These(pods) => pods.get(&**id).map(|&pod| Arc::from(pod)),
                Wanted::All(_) => None,
            };
            let pod = pod
                .or_else(|| sample.group.pod.clone())
                .or_else(|| indexed.and_then(|container| container.pod.clone()));
            if pod != sample.group.pod {
                sample.group = Arc::new(Group {
                    pod,
                    container: Some(id.clone()),
                    runtime: sample.group.runtime.or(indexed.and_then(|c| c.runtime)),
                });
            }
        }
    }

    /// Kubernetes would say what the containers of a pod are; without it, that has to be seen.
    fn tell_sandboxes(
        &mut self,
        at: Moment,
        processes: &[ProcessSample],
        groups: &mut [GroupSample],
    ) {
        let containers = &self.index.containers;
        let seen: HashSet<&str> = groups
            .iter()
            .filter_map(|sample| sample.group.container.as_deref())
            .collect();
        self.sandboxes
            .keep(|id| seen.contains(id) || containers.contains_key(id));
        self.sandboxes.tell_apart(
            &self.roots.proc,
            &mut self.reader,
            at.monotonic,
            processes,
            groups,
        );
    }

    /// Reads the cgroups of the wanted containers among these.
    fn read_groups(
        &mut self,
        wanted: &Wanted<'_>,
        groups: &mut [GroupSample],
        problems: &mut Problems,
    ) {
        for sample in groups {
            if let Some(id) = sample
                .group
                .container
                .as_ref()
                .filter(|id| wanted.contains(id))
                && let Some(cgroup) = self.read_container(id, problems)
            {
                sample.cgroup = cgroup;
            }
        }
    }

    /// Adds the wanted containers that have a cgroup but no process that can be seen.
    fn add_unseen(
        &mut self,
        wanted: &Wanted<'_>,
        groups: &mut Vec<GroupSample>,
        problems: &mut Problems,
    ) {
        let seen: HashSet<&str> = groups
            .iter()
            .filter_map(|g| g.group.container.as_deref())
            .collect();
        let mut unseen: Vec<Arc<str>> = match wanted {
            Wanted::These(pods) => {
                let ids = pods.keys().filter(|id| !seen.contains(*id));
                ids.filter_map(|id| Some(self.index.containers.get_key_value(*id)?.0.clone()))
                    .collect()
            }
            Wanted::All(_) => {
                let ids = self.index.containers.keys();
                ids.filter(|id| !seen.contains(&***id) && !self.sandboxes.is(id))
                    .cloned()
                    .collect()
            }
        };
        // Equal trees give equal samples.
        unseen.sort();
        for id in unseen {
            let mut sample = self.indexed_group(&id);
            if let Some(cgroup) = self.read_container(&id, problems) {
                sample.cgroup = cgroup;
                groups.push(sample);
            }
        }
    }

    /// What the container's cgroup says. One that is gone is forgotten.
    fn read_container(&mut self, id: &Arc<str>, problems: &mut Problems) -> Option<CgroupSample> {
        let CgroupIndex {
            hierarchies,
            containers,
            ..
        } = &mut self.index;
        let cgroup = CgroupReader {
            reader: &mut self.reader,
            hierarchies,
            stacked: self.stacked.as_ref(),
            room: &self.cgroup_room,
            clock: &*self.clock,
            turns: self.turns,
            collectors: self.collectors,
            half: Half::default(),
            problems,
        }
        .read(Kind::Container, &mut containers.get_mut(id)?.directories);
        if cgroup.is_none() {
            containers.remove(id);
        }
        cgroup
    }

    /// Reads the cgroups of the pods that something runs in.
    fn read_pods(
        &mut self,
        mode: Mode<'_>,
        groups: &[GroupSample],
        problems: &mut Problems,
    ) -> BTreeMap<Arc<str>, PodSample> {
        let CgroupIndex {
            hierarchies,
            pods: indexed,
            ..
        } = &mut self.index;
        let mut cgroups = CgroupReader {
            reader: &mut self.reader,
            hierarchies,
            stacked: self.stacked.as_ref(),
            room: &self.cgroup_room,
            clock: &*self.clock,
            turns: self.turns,
            collectors: self.collectors,
            half: Half::default(),
            problems,
        };
        let mut pods = BTreeMap::new();
        for id in groups.iter().filter_map(|g| g.group.pod.as_ref()) {
            let ours = match mode {
                Mode::Cluster(inventory) => inventory.pods.contains_key(&**id),
                Mode::Standalone => true,
            };
            if ours && !pods.contains_key(id) {
                let cgroup = indexed
                    .get_mut(id)
                    .and_then(|pod| cgroups.read(Kind::Pod, pod));
                let sample = PodSample {
                    cgroup: cgroup.unwrap_or_default(),
                    network: None,
                };
                pods.insert(id.clone(), sample);
            }
        }
        pods
    }
}
