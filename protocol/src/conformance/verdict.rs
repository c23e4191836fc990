//! What was found, and what Scope makes of it.

use std::collections::BTreeSet;
use std::fmt;

use super::rule::{Rule, Severity};

/// How many violations a verdict lists; the rest is counted. More than a person reads, and little
/// enough to log.
pub const MAX_VIOLATIONS: usize = 100;

/// A rule that an answer breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The place in the document as a JSON pointer (RFC 6901); empty for the whole.
    pub path: String,
    /// The byte of the body, where one is to blame.
    pub offset: Option<usize>,
    /// What is there.
    pub problem: String,
}

impl Violation {
    /// What it costs.
    pub fn severity(&self) -> Severity {
        self.rule.severity()
    }

    /// What to do about it, as a sentence.
    pub fn remedy(&self) -> &'static str {
        self.rule.remedy()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.rule, self.severity())?;
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        if let Some(offset) = self.offset {
            write!(f, " (byte {offset})")?;
        }
        write!(f, ": {}. {}", self.problem, self.remedy())
    }
}

/// Everything that is wrong with an answer, and what Scope makes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    pub(super) violations: Vec<Violation>,
    pub(super) unlisted: usize,
    /// Which severities there are, the unlisted included.
    pub(super) severities: BTreeSet<Severity>,
    pub(super) status: Option<String>,
    pub(super) controls: BTreeSet<String>,
}

impl Verdict {
    /// The violations in the order of the document, [`MAX_VIOLATIONS`] at most.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many more there are.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// Whether no rule is broken.
    pub fn conformant(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether Scope takes the answer.
    pub fn accepted(&self) -> bool {
        !self.has(Severity::Rejects)
    }

    /// Whether Scope takes the answer and breaks.
    pub fn breaks(&self) -> bool {
        self.has(Severity::Breaks)
    }

    /// Whether there is a violation of this severity.
    pub fn has(&self, severity: Severity) -> bool {
        self.severities.contains(&severity)
    }

    /// The violation of a rule, where there is one among the listed.
    pub fn violation(&self, rule: Rule) -> Option<&Violation> {
        self.violations.iter().find(|v| v.rule == rule)
    }

    /// The plugin's status in Scope's list: `ok`, or `error: …` in the probe's words. `None` where
    /// it depends on more than the answer, or Scope does not even ask. It is what the probe makes
    /// of the body byte by byte, so an answer whose mistake happens to pass is `ok` here and still
    /// not [`accepted`](Verdict::accepted).
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// The IDs of the controls that the report lists, without the prefix that the probe adds.
    pub fn controls(&self) -> &BTreeSet<String> {
        &self.controls
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.conformant() {
            return f.write_str("conformant");
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        match self.unlisted {
            0 => Ok(()),
            n => writeln!(f, "… and {n} more"),
        }
    }
}

/// Violations while they are being found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    listed: Vec<Violation>,
    unlisted: usize,
    severities: BTreeSet<Severity>,
}

impl Findings {
    /// Adds one. If the list is full, only a more severe one gets a place, that of a milder one.
    pub(super) fn add(&mut self, violation: Violation) {
        let severity = violation.severity();
        self.severities.insert(severity);
        if self.listed.len() < MAX_VIOLATIONS {
            self.listed.push(violation);
            return;
        }
        self.unlisted += 1;
        if severity > Severity::ShowsWrong
            && let Some(at) = self.listed.iter().rposition(|v| v.severity() < severity)
        {
            self.listed[at] = violation;
        }
    }

    /// Whether another mild one would only be counted, so that its text need not be made.
    pub(super) fn full(&self) -> bool {
        self.listed.len() >= MAX_VIOLATIONS
    }

    /// Counts one without listing it.
    pub(super) fn count(&mut self) {
        self.unlisted += 1;
    }

    /// All of them in the order of the document.
    pub(super) fn into_verdict(mut self) -> Verdict {
        self.listed.sort_by_key(|v| v.offset);
        Verdict {
            violations: self.listed,
            unlisted: self.unlisted,
            severities: self.severities,
            ..Verdict::default()
        }
    }
}
