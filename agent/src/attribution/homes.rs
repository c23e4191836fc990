//! Where what was sampled belongs, and what it sums up to there.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Memory, ProcessTotals};
use crate::sample::{CgroupSample, Mode, ProcessSample, Runtime, Sample};

/// Where what was sampled belongs: the containers and pods that are reported, and for each group
/// of the sample which of them it counts for.
pub(super) struct Homes<'a> {
    pub(super) containers: Vec<Home<'a>>,
    pub(super) pods: Pods,
    pub(super) of_group: Vec<GroupHome>,
}

/// The pods in the order in which they were met.
#[derive(Default)]
pub(super) struct Pods {
    pub(super) ids: Vec<Arc<str>>,
    pub(super) by_id: HashMap<Arc<str>, usize>,
}

impl Pods {
    fn index(&mut self, id: &Arc<str>) -> usize {
        *self.by_id.entry(id.clone()).or_insert_with(|| {
            self.ids.push(id.clone());
            self.ids.len() - 1
        })
    }
}

pub(super) struct Home<'a> {
    pub(super) id: Arc<str>,
    pub(super) pod: Option<usize>,
    pub(super) runtime: Option<Runtime>,
    pub(super) cgroup: &'a CgroupSample,
}

/// Indices into the containers and pods.
#[derive(Clone, Copy, Default)]
pub(super) struct GroupHome {
    pub(super) container: Option<usize>,
    pub(super) pod: Option<usize>,
}

impl<'a> Homes<'a> {
    pub(super) fn new(current: &'a Sample, mode: Mode<'_>) -> Self {
        let pod_of: HashMap<&str, &str> = match mode {
            Mode::Cluster(inventory) => inventory
                .pods
                .values()
                .flat_map(|pod| pod.containers.keys().map(|id| (&**id, &*pod.id)))
                .collect(),
            Mode::Standalone => HashMap::new(),
        };
        let standalone = matches!(mode, Mode::Standalone);
        let mut homes = Homes {
            containers: Vec::new(),
            pods: Pods::default(),
            of_group: Vec::new(),
        };
        let mut containers: HashMap<&str, usize> = HashMap::new();

        // First the containers, since in a cluster a pod is reported with its first container.
        for sample in &current.groups {
            let mut home = GroupHome::default();
            if let Some(id) = &sample.group.container {
                let ours = pod_of.get(&**id);
                if ours.is_some() || standalone {
                    let pod = match ours {
                        Some(&pod) => Some(Arc::from(pod)),
                        None => sample.group.pod.clone(),
                    };
                    home.pod = pod.map(|pod| homes.pods.index(&pod));
                    let index = *containers.entry(&**id).or_insert_with(|| {
                        homes.containers.push(Home {
                            id: id.clone(),
                            pod: home.pod,
                            runtime: sample.group.runtime,
                            cgroup: &sample.cgroup,
                        });
                        homes.containers.len() - 1
                    });
                    home.container = Some(index);
                }
            }
            homes.of_group.push(home);
        }
        // Then what else runs in those pods.
        for (group, sample) in current.groups.iter().enumerate() {
            if homes.of_group[group].pod.is_none()
                && let Some(pod) = &sample.group.pod
                && (standalone || homes.pods.by_id.contains_key(pod))
            {
                homes.of_group[group].pod = Some(homes.pods.index(pod));
            }
        }
        homes
    }

    /// The sum over the containers of each pod, for those without a cgroup of their own; only
    /// where all of the pod's containers have it.
    pub(super) fn memory_by_pod(&self) -> Vec<Option<Memory>> {
        let mut sums = vec![None; self.pods.ids.len()];
        let mut complete = vec![true; self.pods.ids.len()];
        for home in &self.containers {
            let Some(pod) = home.pod else {
                continue;
            };
            match home.cgroup.memory {
                Some(memory) => {
                    let sum = sums[pod].get_or_insert(Memory {
                        working_set: 0,
                        limit: None,
                    });
                    sum.working_set = sum.working_set.saturating_add(memory.working_set);
                }
                None => complete[pod] = false,
            }
        }
        sums.into_iter()
            .zip(complete)
            .map(|(sum, complete)| sum.filter(|_| complete))
            .collect()
    }
}

/// What the processes of a container or pod sum up to.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum {
    /// Nanoseconds of CPU in the interval; `None` while no process has a rate.
    pub(super) cpu: Option<u64>,
    pub(super) totals: ProcessTotals,
    /// Open descriptors of those whose number is known.
    files: u64,
    /// How many these are.
    files_known: u64,
    /// Nanoseconds that they waited for block I/O in the interval; `None` while no process has a
    /// rate.
    delay: Option<u64>,
    /// Whether any of them ever waited.
    delayed: bool,
}

/// What a process did in the interval; `None` where that cannot be told.
#[derive(Clone, Copy)]
pub(super) struct Growth {
    /// Nanoseconds of CPU.
    pub(super) cpu: Option<u64>,
    /// Nanoseconds of waiting for block I/O.
    pub(super) delay: Option<u64>,
}

impl Sum {
    pub(super) fn add(&mut self, process: &ProcessSample, growth: Growth) {
        let add = |sum: &mut Option<u64>, grown: Option<u64>| {
            if let Some(grown) = grown {
                *sum = Some(sum.unwrap_or_default().saturating_add(grown));
            }
        };
        add(&mut self.cpu, growth.cpu);
        add(&mut self.delay, growth.delay);
        self.delayed |= process.block_delay > 0;
        if let Some(files) = process.files {
            self.files = self.files.saturating_add(files);
            self.files_known += 1;
        }
        self.totals.count += 1;
        self.totals.threads += u64::from(process.threads);
        self.totals.rss = self.totals.rss.saturating_add(process.rss);
    }

    /// What runs has a process: none seen means that they cannot be seen, not that there is none.
    pub(super) fn seen(&self) -> Option<ProcessTotals> {
        (self.totals.count > 0).then_some(self.totals)
    }

    /// Their open descriptors; a sum over some of them would be too low.
    pub(super) fn files(&self) -> Option<u64> {
        (self.totals.count > 0 && self.files_known == self.totals.count).then_some(self.files)
    }

    /// Nanoseconds that they waited for block I/O. Where none ever did, they may be older than the
    /// counting, which then leaves them out.
    pub(super) fn delay(&self) -> Option<u64> {
        self.delay.filter(|_| self.delayed)
    }
}

pub(super) struct Sums {
    pub(super) containers: Vec<Sum>,
    pub(super) pods: Vec<Sum>,
}

impl Sums {
    pub(super) fn new(homes: &Homes<'_>) -> Self {
        Sums {
            containers: vec![Sum::default(); homes.containers.len()],
            pods: vec![Sum::default(); homes.pods.ids.len()],
        }
    }
}
