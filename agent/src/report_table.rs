//! A report as a table for people.

use crate::attribution::Usage;
use crate::sample::Mode;

/// How much the table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOptions {
    /// At most so many processes, the busiest and the largest.
    pub processes: usize,
}

impl Default for TableOptions {
    /// Ten processes by CPU and ten by memory fill half a terminal.
    fn default() -> Self {
        TableOptions { processes: 10 }
    }
}

/// The table, with a line break at its end.
pub fn render(usage: &Usage, mode: Mode<'_>, options: TableOptions) -> String {
    let _ = (usage, mode, options);
    String::new()
}
