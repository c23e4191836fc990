use super::*;
use crate::sample::{
    CpuLimit, CpuTimes, DiskBytes, Group, GroupSample, MemorySample, Moment, NetworkSample,
    PressureSample, Problems, ProcessId, ProcessName, ProcessSample, Span, Stall, Throttling,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use scope_protocol::Timestamp;

fn counter() -> impl Strategy<Value = Counter> {
    (0u64..4_000_000_000, any::<u64>()).prop_map(|(at, value)| Counter {
        at: Duration::from_nanos(at),
        value,
    })
}

fn cgroup() -> impl Strategy<Value = CgroupSample> {
    let memory = (any::<u64>(), option::of(any::<u64>()))
        .prop_map(|(working_set, limit)| MemorySample { working_set, limit });
    (option::of(counter()), option::of(memory), further()).prop_map(|(cpu, memory, further)| {
        CgroupSample {
            cpu,
            memory,
            further,
        }
    })
}

fn span<T: Copy + std::fmt::Debug>(
    value: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = Option<Span<T>>> {
    let reading = || (0u64..4_000_000_000).prop_map(Duration::from_nanos);
    let before = option::of((reading(), value.clone()));
    option::of(
        (reading(), value, before).prop_map(|(at, value, before)| Span { at, value, before }),
    )
}

fn pressure() -> impl Strategy<Value = PressureSample> {
    let stall =
        (any::<u64>(), option::of(any::<u64>())).prop_map(|(some, full)| Stall { some, full });
    (span(stall.clone()), span(stall.clone()), span(stall))
        .prop_map(|(cpu, memory, io)| PressureSample { cpu, memory, io })
}

fn further() -> impl Strategy<Value = FurtherSample> {
    let pair = || (any::<u64>(), any::<u64>());
    let disk = pair().prop_map(|(read, written)| DiskBytes { read, written });
    let throttling = pair().prop_map(|(periods, throttled)| Throttling { periods, throttled });
    let limit = (1..u64::MAX, 1..u64::MAX).prop_map(|(quota, period)| CpuLimit { quota, period });
    (span(disk), span(throttling), option::of(limit), pressure()).prop_map(
        |(disk, throttling, cpu_limit, pressure)| FurtherSample {
            disk,
            throttling,
            cpu_limit,
            pressure,
            ..FurtherSample::default()
        },
    )
}

fn cpu_times() -> impl Strategy<Value = CpuTimes> {
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(busy, idle, io_wait, stolen)| CpuTimes {
            busy,
            idle,
            io_wait,
            stolen,
        },
    )
}

fn process() -> impl Strategy<Value = ProcessSample> {
    (
        0u32..8,
        0u64..4,
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
        any::<u64>(),
        option::of(any::<u64>()),
        option::of(0u32..6),
    )
        .prop_map(
            |(pid, start, cpu, rss, threads, block_delay, files, group)| {
                let name = ProcessName::default();
                ProcessSample {
                    pid,
                    start,
                    name,
                    cpu,
                    rss,
                    threads,
                    block_delay,
                    files,
                    group,
                }
            },
        )
}

fn group() -> impl Strategy<Value = GroupSample> {
    (option::of("[ab]"), option::of("[cd]"), cgroup()).prop_map(|(pod, container, cgroup)| {
        let (pod, container) = (pod.map(Arc::from), container.map(Arc::from));
        GroupSample {
            group: Arc::new(Group {
                pod,
                container,
                runtime: None,
            }),
            cgroup,
        }
    })
}

fn pod() -> impl Strategy<Value = (Arc<str>, PodSample)> {
    let network = (0u32..2, 0u64..4_000_000_000, any::<u64>(), any::<u64>()).prop_map(
        |(pid, at, received, sent)| NetworkSample {
            process: ProcessId { start: 1, pid },
            at: Duration::from_nanos(at),
            received,
            sent,
        },
    );
    ("[ab]", cgroup(), option::of(network))
        .prop_map(|(id, cgroup, network)| (Arc::from(id), PodSample { cgroup, network }))
}

prop_compose! {
    /// Any sample that the types allow, consistent or not.
    fn sample()(
        at in 0u64..4_000_000_000,
        (cpu, cpu_times) in (option::of(counter()), option::of(cpu_times())),
        cpus in option::of(0u32..4),
        memory_total in option::of(any::<u64>()),
        memory_available in option::of(any::<u64>()),
        pressure in pressure(),
        delay_accounting in any::<bool>(),
        mut processes in vec(process(), 0..8),
        groups in vec(group(), 0..5),
        pods in vec(pod(), 0..3),
    ) -> Sample {
        processes.sort_by_key(|process| process.pid);
        Sample {
            at: Moment {
                monotonic: Duration::from_nanos(at),
                wall: Timestamp::from_unix_micros(0),
            },
            host: HostSample {
                cpu,
                cpu_times,
                cpus,
                memory_total,
                memory_available,
                pressure,
                delay_accounting,
            },
            processes,
            kernel_threads: 0,
            groups,
            pods: pods.into_iter().collect(),
            oom_counted: false,
            problems: Problems::default(),
        }
    }
}

fn sane(cpu: Option<Cpu>, cpus: Option<u32>) -> bool {
    cpu.is_none_or(|cpu| {
        let known = cpus.is_some_and(|cpus| cpus > 0);
        cpu.millicores.is_finite()
            && cpu.millicores >= 0.0
            && cpu.percent.is_some() == known
            && cpu
                .percent
                .is_none_or(|percent| (0.0..=100.0).contains(&percent))
    })
}

fn sane_share(share: Option<f64>) -> bool {
    share.is_none_or(|share| (0.0..=100.0).contains(&share))
}

fn sane_pressure(pressure: Pressure) -> bool {
    [pressure.cpu, pressure.memory, pressure.io]
        .into_iter()
        .flatten()
        .all(|stalled| sane_share(Some(stalled.some)) && sane_share(stalled.full))
}

fn sane_figures(figures: &Figures, cpus: Option<u32>) -> bool {
    let positive = |value: Option<f64>| value.is_none_or(|value| value.is_finite() && value >= 0.0);
    sane(figures.cpu, cpus)
        && figures
            .disk
            .is_none_or(|disk| positive(Some(disk.read)) && positive(Some(disk.written)))
        && figures
            .network
            .is_none_or(|network| positive(Some(network.received)) && positive(Some(network.sent)))
        && sane_share(figures.throttled)
        && positive(figures.cpu_limit_use)
        && positive(figures.memory_limit_use)
        && positive(figures.block_delay)
        && sane_pressure(figures.pressure)
}

proptest! {
    #[test]
    fn no_samples_give_nonsense(first in option::of(sample()), second in sample()) {
        let usage = attribute(first.as_ref(), &second, Mode::Standalone);
        let cpus = second.host.cpus;
        prop_assert!(usage.processes.iter().all(|p| sane(p.cpu, cpus)));
        prop_assert!(usage.containers.values().all(|c| sane_figures(&c.figures, cpus)));
        prop_assert!(usage.pods.values().all(|pod| sane_figures(pod, cpus)));
        prop_assert!(sane(usage.host.cpu, cpus) && sane_pressure(usage.host.pressure));
        let waiting = usage.host.waiting;
        prop_assert!(waiting.is_none_or(|w| sane_share(Some(w.io)) && sane_share(Some(w.idle))));
        let counted: u64 = usage.pods.values().filter_map(|p| p.processes).map(|p| p.count).sum();
        prop_assert!(counted <= second.processes.len() as u64);
        if usage.interval.is_none() {
            prop_assert!(usage.processes.iter().all(|p| p.cpu.is_none()));
            prop_assert!(usage.containers.values().all(|c| c.figures.cpu.is_none()));
        }
    }
}
