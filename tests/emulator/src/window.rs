//! What the app remembers: the reports of the last fifteen seconds.

use std::time::Duration;

use crate::app::upgrade;
use crate::report::{Death, Report};
use crate::stamp::Stamp;

/// How far back the app looks, by default.
pub const APP_WINDOW: Duration = Duration::from_secs(15);

/// Reports that come within this time are merged into one as soon as somebody looks. What is older
/// than the window then goes all at once.
const QUANTUM: Duration = Duration::from_secs(3);

/// The reports of the window, with the time at which each came, by the app's clock.
#[derive(Debug)]
pub struct Window {
    length: Duration,
    reports: Vec<(Stamp, Report)>,
}

impl Default for Window {
    fn default() -> Self {
        Self::new(APP_WINDOW)
    }
}

impl Window {
    /// A window without reports.
    pub fn new(length: Duration) -> Self {
        Self {
            length,
            reports: Vec::new(),
        }
    }

    /// Takes a report that has come at `now`.
    pub fn add(&mut self, report: Report, now: Stamp) {
        self.reports.push((now, report));
        self.forget(now);
    }

    /// Whether there is anything to show.
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    fn forget(&mut self, now: Stamp) {
        let length = self.length;
        self.reports.retain(|(came, _)| now.since(*came) < length);
    }

    /// What the app does whenever somebody asks it for something: it drops what is too old, merges
    /// what came close together, and adapts each of the resulting reports.
    ///
    /// # Errors
    ///
    /// Nodes of one key that name different topologies make the app panic.
    pub fn touch(&mut self, now: Stamp) -> Result<(), Death> {
        self.forget(now);
        let mut quanta: Vec<(Stamp, Report)> = Vec::new();
        for (came, report) in self.reports.drain(..) {
            match quanta.last_mut() {
                Some((begun, merged)) if came.since(*begun) < QUANTUM => merged.merge(report)?,
                _ => quanta.push((came, report)),
            }
        }
        for (_, report) in &mut quanta {
            upgrade(report, now);
        }
        self.reports = quanta;
        Ok(())
    }

    /// All reports of the window in one, which is what is drawn.
    ///
    /// # Errors
    ///
    /// As for [`touch`](Self::touch).
    pub fn report(&mut self, now: Stamp) -> Result<Report, Death> {
        self.touch(now)?;
        let mut all = Report::empty();
        for (_, report) in &self.reports {
            all.merge(report.clone())?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::report::Node;

    fn at(second: u64) -> Stamp {
        Stamp::ZERO.plus(Duration::from_secs(100 + second))
    }

    fn report(host: &str) -> Report {
        let mut report = Report::empty();
        let hosts = report.topology_mut(Kind::Host);
        hosts.nodes.insert(host.to_owned(), Node::new(host));
        report
    }

    fn hosts(window: &mut Window, second: u64) -> Vec<String> {
        let report = window.report(at(second)).unwrap();
        report.topology(Kind::Host).nodes.keys().cloned().collect()
    }

    #[test]
    fn what_came_close_together_goes_together() {
        let mut window = Window::default();
        for (second, host) in [(0, "a"), (2, "b"), (3, "c")] {
            window.add(report(host), at(second));
        }
        assert_eq!(hosts(&mut window, 14), ["a", "b", "c"]);
        assert_eq!(hosts(&mut window, 15), ["c"], "b came two seconds after a");
        assert_eq!(hosts(&mut window, 18), [""; 0]);
        assert!(window.is_empty());
    }

    #[test]
    fn nobody_looking_keeps_reports_apart() {
        let mut window = Window::default();
        for (second, host) in [(0, "a"), (2, "b")] {
            window.add(report(host), at(second));
        }
        assert_eq!(hosts(&mut window, 15), ["b"]);
    }
}
