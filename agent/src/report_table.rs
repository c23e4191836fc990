//! A report as a table for people.

use std::fmt::Write as _;

use crate::attribution::{Cpu, HostUsage, Memory, Network, ProcessTotals, ProcessUsage, Usage};
use crate::collect::short_id;
use crate::inventory::Inventory;
use crate::sample::Mode;

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
    } = usage.host;
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
    let cpu_text = cpu.map(|cpu| format!("{} millicores ({})", millicores(cpu), percent(cpu)));
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
    let mut table = Table::new(&[
        ("NAMESPACE", Align::Left),
        ("POD", Align::Left),
        ("CONTROLLER", Align::Left),
        ("CONTAINER", Align::Left),
        ("CPU m", Align::Right),
        ("CPU %", Align::Right),
        ("MEMORY", Align::Right),
        ("LIMIT", Align::Right),
        ("PROCESSES", Align::Right),
        ("THREADS", Align::Right),
        ("RECEIVED/s", Align::Right),
        ("SENT/s", Align::Right),
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
        row.extend(usage_columns(used.cpu, used.memory, used.processes));
        row.extend(network_columns(used.network));
        table.row(row);
        for (id, container) in &pod.containers {
            let mut row = vec![
                String::new(),
                String::new(),
                String::new(),
                container.name.clone(),
            ];
            match usage.containers.get(&**id) {
                Some(used) => {
                    row.extend(usage_columns(used.cpu, used.memory, used.processes));
                }
                None => row.extend(usage_columns(None, None, None)),
            }
            row.extend([String::new(), String::new()]);
            table.row(row);
        }
    }
    table.write(text, "No pods are bound to this node.");
}

fn containers(text: &mut String, usage: &Usage) {
    let mut table = Table::new(&[
        ("CONTAINER", Align::Left),
        ("RUNTIME", Align::Left),
        ("POD", Align::Left),
        ("CPU m", Align::Right),
        ("CPU %", Align::Right),
        ("MEMORY", Align::Right),
        ("LIMIT", Align::Right),
        ("PROCESSES", Align::Right),
        ("THREADS", Align::Right),
        ("POD RECEIVED/s", Align::Right),
        ("POD SENT/s", Align::Right),
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
        row.extend(usage_columns(
            container.cpu,
            container.memory,
            container.processes,
        ));
        row.extend(network_columns(
            pod.and_then(|pod| usage.pods.get(pod)?.network),
        ));
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
        let [millicores, percent] = cpu_columns(process.cpu);
        table.row(vec![
            process.pid.to_string(),
            process.name.to_string(),
            process
                .container
                .as_deref()
                .map_or_else(unknown, |id| container_name(mode, id)),
            millicores,
            percent,
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

fn usage_columns(
    cpu: Option<Cpu>,
    memory: Option<Memory>,
    processes: Option<ProcessTotals>,
) -> [String; 6] {
    let [millicores, percent] = cpu_columns(cpu);
    [
        millicores,
        percent,
        memory.map_or_else(unknown, |memory| bytes(memory.working_set)),
        memory
            .and_then(|memory| memory.limit)
            .map_or_else(unknown, bytes),
        processes.map_or_else(unknown, |totals| totals.count.to_string()),
        processes.map_or_else(unknown, |totals| totals.threads.to_string()),
    ]
}

fn cpu_columns(cpu: Option<Cpu>) -> [String; 2] {
    [
        cpu.map_or_else(unknown, millicores),
        cpu.map_or_else(unknown, percent),
    ]
}

fn network_columns(network: Option<Network>) -> [String; 2] {
    // A float beyond the largest integer becomes that.
    [
        network.map_or_else(unknown, |network| bytes(network.received as u64)),
        network.map_or_else(unknown, |network| bytes(network.sent as u64)),
    ]
}

fn unknown() -> String {
    "-".to_owned()
}

fn millicores(cpu: Cpu) -> String {
    format!("{:.1}", cpu.millicores)
}

fn percent(cpu: Cpu) -> String {
    cpu.percent
        .map_or_else(unknown, |percent| format!("{percent:.2} %"))
}

pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Paths can hold anything that their owner likes, such as what moves a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under headings, columns as wide as their widest cell.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "one cell for each column");
        self.rows.push(cells);
    }

    pub(crate) fn write(&self, text: &mut String, if_empty: &str) {
        text.push('\n');
        if self.rows.is_empty() {
            return line(text, if_empty);
        }
        let headings: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).into())
            .collect();
        let all = || std::iter::once(&headings).chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|n| {
                all()
                    .map(|row| row[n].chars().count())
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        for row in all() {
            let mut out = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                // Writing to a string cannot fail.
                let _ = match align {
                    Align::Left => write!(out, "{cell:<width$}  "),
                    Align::Right => write!(out, "{cell:>width$}  "),
                };
            }
            line(text, out.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        for (value, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (64 << 20, "64.0 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(value), want);
        }
    }

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let mut table = Table::new(&[("NAME", Align::Left), ("N", Align::Right)]);
        table.row(vec!["größer".into(), "5".into()]);
        table.row(vec!["x".into(), "12345".into()]);
        let mut text = String::new();
        table.write(&mut text, "none");
        assert_eq!(text, "\nNAME        N\ngrößer      5\nx       12345\n");
        let mut text = String::new();
        Table::new(&[("NAME", Align::Left)]).write(&mut text, "none");
        assert_eq!(text, "\nnone\n");
    }
}
