//! Text tables for people, and the columns of figures that they have in common.

use std::fmt::Write as _;

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
pub(crate) fn printable(text: &str) -> String {
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

/// What stands for a figure that is not known.
pub(crate) fn unknown() -> String {
    "-".to_owned()
}

pub(crate) fn percent(value: f64) -> String {
    format!("{value:.2} %")
}

pub(crate) fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// The figures of one pod or container; those that are not known are `None`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FigureCells {
    /// Thousandths of a CPU.
    pub(crate) millicores: Option<f64>,
    /// Percent of the node's CPUs.
    pub(crate) cpu: Option<f64>,
    /// Bytes of memory.
    pub(crate) memory: Option<f64>,
    /// Memory in percent of its limit.
    pub(crate) memory_limit_use: Option<f64>,
    /// Percent of periods.
    pub(crate) throttled: Option<f64>,
    /// Number of processes.
    pub(crate) processes: Option<f64>,
    /// Number of threads.
    pub(crate) threads: Option<f64>,
    /// Number of open descriptors.
    pub(crate) files: Option<f64>,
    /// Bytes read from and written to disks per second.
    pub(crate) disk: [Option<f64>; 2],
    /// Bytes received and sent per second.
    pub(crate) network: [Option<f64>; 2],
}

/// The headings over [`FigureCells::cells`].
pub(crate) const FIGURES: [(&str, Align); 12] = [
    ("CPU m", Align::Right),
    ("CPU %", Align::Right),
    ("MEMORY", Align::Right),
    ("OF LIMIT", Align::Right),
    ("THROTTLED", Align::Right),
    ("PROCS", Align::Right),
    ("THREADS", Align::Right),
    ("FILES", Align::Right),
    ("READ/s", Align::Right),
    ("WRITE/s", Align::Right),
    ("RECV/s", Align::Right),
    ("SENT/s", Align::Right),
];

impl FigureCells {
    pub(crate) fn cells(self) -> [String; FIGURES.len()] {
        let shown = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(unknown, show);
        let tenths = |value: f64| format!("{value:.1}");
        let number = |value: f64| format!("{value:.0}");
        // A float beyond the largest integer becomes that.
        let size = |value: f64| bytes(value as u64);
        let FigureCells {
            millicores,
            cpu,
            memory,
            memory_limit_use,
            throttled,
            processes,
            threads,
            files,
            disk: [read, written],
            network: [received, sent],
        } = self;
        [
            shown(millicores, tenths),
            shown(cpu, percent),
            shown(memory, size),
            shown(memory_limit_use, percent),
            shown(throttled, percent),
            shown(processes, number),
            shown(threads, number),
            shown(files, number),
            shown(read, size),
            shown(written, size),
            shown(received, size),
            shown(sent, size),
        ]
    }
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

    /// With these columns and then those of figures.
    pub(crate) fn with_figures(columns: &[(&'static str, Align)]) -> Self {
        Table {
            columns: columns.iter().chain(&FIGURES).copied().collect(),
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
