//! A report as a table for people.

use crate::attribution::{Figures, HostUsage, ProcessTotals, ProcessUsage, Stalled, Usage};
use crate::collect::short_id;
use crate::inventory::Inventory;
use crate::sample::Mode;
use crate::text_table::{Align, FigureCells, Table, bytes, line, percent, printable, unknown};

/// How much the table shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOptions {
    /// What the host is called.
    pub host: String,
    /// At most so many processes by CPU, and as many by memory.
    pub processes: usize,
}

impl TableOptions {
    /// Ten processes by CPU and ten by memory fill half a terminal.
    pub const PROCESSES: usize = 10;
}

/// The table, with a line break at its end.
pub fn render(usage: &Usage, mode: Mode<'_>, options: &TableOptions) -> String {
    let mut text = String::new();
    host(&mut text, usage, &options.host);
    match mode {
        Mode::Cluster(inventory) => pods(&mut text, usage, inventory),
        Mode::Standalone => containers(&mut text, usage),
    }
    processes(&mut text, usage, mode, options.processes);
    problems(&mut text, usage);
    text
}

fn host(text: &mut String, usage: &Usage, name: &str) {
    let HostUsage {
        cpus,
        memory_total,
        memory_used,
        cpu,
        processes,
        threads,
        kernel_threads,
        pressure,
        waiting,
    } = usage.host;
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
    let cpu_text = cpu.map(|cpu| {
        let share = cpu.percent.map_or_else(unknown, percent);
        format!("{:.1} millicores ({share})", cpu.millicores)
    });
    line(
        text,
        &format!(
            "Host {}: {} CPUs, CPU {}, memory {} of {}, {processes} processes with {threads} \
             threads, {kernel_threads} kernel threads",
            printable(name),
            or_unknown(cpus.map(|cpus| cpus.to_string())),
            or_unknown(cpu_text),
            or_unknown(memory_used.map(bytes)),
            or_unknown(memory_total.map(bytes)),
        ),
    );
    let waited = |stalled: Option<Stalled>| or_unknown(stalled.map(|s| percent(s.some)));
    line(
        text,
        &format!(
            "Waiting (PSI, some): for a CPU {}, for memory {}, for I/O {}; CPUs idle {}, idle with \
             something waiting for I/O {}",
            waited(pressure.cpu),
            waited(pressure.memory),
            waited(pressure.io),
            or_unknown(waiting.map(|waiting| percent(waiting.idle))),
            or_unknown(waiting.map(|waiting| percent(waiting.io))),
        ),
    );
    line(
        text,
        &match usage.interval {
            Some(interval) => {
                format!(
                    "Rates over {:.3} s up to {}",
                    interval.as_secs_f64(),
                    usage.at
                )
            }
            None => format!(
                "No rates yet: the first look at the node was at {}",
                usage.at
            ),
        },
    );
}

fn pods(text: &mut String, usage: &Usage, inventory: &Inventory) {
    let mut table = Table::with_figures(&[
        ("NAMESPACE", Align::Left),
        ("POD", Align::Left),
        ("CONTROLLER", Align::Left),
        ("CONTAINER", Align::Left),
    ]);
    let mut by_name: Vec<_> = inventory.pods.values().collect();
    by_name.sort_by_key(|pod| (&pod.namespace, &pod.name, &pod.id));
    for pod in by_name {
        let used = usage.pods.get(&*pod.id).copied().unwrap_or_default();
        let controller = pod
            .owners
            .last()
            .map(|owner| format!("{}/{}", owner.topology, owner.name));
        let mut row = vec![
            pod.namespace.clone(),
            pod.name.clone(),
            controller.unwrap_or_else(unknown),
            String::new(),
        ];
        row.extend(cells(&used).cells());
        table.row(row);
        for (id, container) in &pod.containers {
            let mut row = vec![
                String::new(),
                String::new(),
                String::new(),
                container.name.clone(),
            ];
            let used = usage.containers.get(&**id).map(|used| used.figures);
            row.extend(cells(&used.unwrap_or_default()).cells());
            table.row(row);
        }
    }
    table.write(text, "No pods are bound to this node.");
}

fn containers(text: &mut String, usage: &Usage) {
    let mut table = Table::with_figures(&[
        ("CONTAINER", Align::Left),
        ("RUNTIME", Align::Left),
        ("POD", Align::Left),
    ]);
    let mut by_pod: Vec<_> = usage.containers.iter().collect();
    by_pod.sort_by_key(|(id, container)| (&container.pod, *id));
    for (id, container) in by_pod {
        let pod = container.pod.as_ref();
        let mut row = vec![
            short_id(id).to_owned(),
            container
                .runtime
                .map_or_else(unknown, |runtime| runtime.as_str().to_owned()),
            pod.map_or_else(unknown, |pod| pod.to_string()),
        ];
        // Containers have no network of their own.
        let network = pod.and_then(|pod| usage.pods.get(pod)?.network);
        row.extend(
            cells(&Figures {
                network,
                ..container.figures
            })
            .cells(),
        );
        table.row(row);
    }
    table.write(text, "No containers were found.");
}

fn processes(text: &mut String, usage: &Usage, mode: Mode<'_>, count: usize) {
    let shown = top(&usage.processes, count);
    let mut table = Table::new(&[
        ("PID", Align::Right),
        ("PROCESS", Align::Left),
        ("CONTAINER", Align::Left),
        ("CPU m", Align::Right),
        ("CPU %", Align::Right),
        ("RSS", Align::Right),
        ("THREADS", Align::Right),
    ]);
    for process in &shown {
        let FigureCells {
            millicores, cpu, ..
        } = cells(&Figures {
            cpu: process.cpu,
            ..Figures::default()
        });
        table.row(vec![
            process.pid.to_string(),
            process.name.to_string(),
            process
                .container
                .as_deref()
                .map_or_else(unknown, |id| container_name(mode, id)),
            millicores.map_or_else(unknown, |value| format!("{value:.1}")),
            cpu.map_or_else(unknown, percent),
            bytes(process.rss),
            process.threads.to_string(),
        ]);
    }
    table.write(text, "No processes could be seen.");
    if shown.len() < usage.processes.len() {
        line(
            text,
            &format!(
                "These are the first {count} by CPU and the first {count} by memory of {} processes.",
                usage.processes.len(),
            ),
        );
    }
}

/// The first by CPU, then what is not among them of the first by memory.
fn top(processes: &[ProcessUsage], count: usize) -> Vec<&ProcessUsage> {
    let mut by_memory: Vec<&ProcessUsage> = processes.iter().collect();
    let mut by_cpu = by_memory.clone();
    let used = |process: &ProcessUsage| process.cpu.map_or(0.0, |cpu| cpu.millicores);
    by_cpu.sort_by(|a, b| used(b).total_cmp(&used(a)).then(b.rss.cmp(&a.rss)));
    by_cpu.truncate(count);
    by_memory.sort_by_key(|process| std::cmp::Reverse(process.rss));
    by_memory.truncate(count);
    by_memory.retain(|process| !by_cpu.iter().any(|shown| shown.pid == process.pid));
    by_cpu.extend(by_memory);
    by_cpu
}

fn container_name(mode: Mode<'_>, id: &str) -> String {
    let known = match mode {
        Mode::Cluster(inventory) => inventory
            .pods
            .values()
            .find_map(|pod| Some((pod, pod.containers.get(id)?))),
        Mode::Standalone => None,
    };
    match known {
        Some((pod, container)) => format!("{}/{}/{}", pod.namespace, pod.name, container.name),
        None => short_id(id).to_owned(),
    }
}

fn problems(text: &mut String, usage: &Usage) {
    if usage.problems.is_empty() {
        return;
    }
    text.push('\n');
    line(text, "Could not be read:");
    for (datum, cause, problem) in usage.problems.iter() {
        let times = match problem.count {
            1 => String::new(),
            count => format!(", {count} times, first"),
        };
        let path = printable(&problem.example);
        line(text, &format!("  {datum}: {cause}{times} at {path}"));
    }
}

fn cells(figures: &Figures) -> FigureCells {
    let count = |value: fn(ProcessTotals) -> u64| figures.processes.map(|t| value(t) as f64);
    FigureCells {
        millicores: figures.cpu.map(|cpu| cpu.millicores),
        cpu: figures.cpu.and_then(|cpu| cpu.percent),
        memory: figures.memory.map(|memory| memory.working_set as f64),
        memory_limit_use: figures.memory_limit_use,
        throttled: figures.throttled,
        processes: count(|totals| totals.count),
        threads: count(|totals| totals.threads),
        files: figures.files.map(|files| files as f64),
        disk: [
            figures.disk.map(|disk| disk.read),
            figures.disk.map(|disk| disk.written),
        ],
        network: [
            figures.network.map(|network| network.received),
            figures.network.map(|network| network.sent),
        ],
    }
}
