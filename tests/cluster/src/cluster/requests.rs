//! What was asked of the API server.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Cluster;
use crate::audit::{AuditEvent, AuditMark};
use crate::error::{At, Error, Result};

/// The audit log is written before the answer is sent; this is for the file system.
const LIMIT: Duration = Duration::from_secs(10);

/// In the query of requests that mark a place in the audit log.
pub(super) const MARKER: &str = "throwaway-cluster-mark";

impl Cluster {
    /// Everything in the audit log up to now.
    pub fn audit(&self) -> Result<Vec<AuditEvent>> {
        self.audit_since(AuditMark::START)
    }

    /// What has come into the audit log since a mark was taken.
    pub fn audit_since(&self, mark: AuditMark) -> Result<Vec<AuditEvent>> {
        self.audit_between(mark, self.audit_mark()?)
    }

    /// What came into the audit log between two marks, without the requests that make marks.
    pub fn audit_between(&self, from: AuditMark, to: AuditMark) -> Result<Vec<AuditEvent>> {
        let path = self.site.audit_log();
        let text = read_from(&path, from.0, Some(to.0))?;
        let mut events = Vec::new();
        for line in text.lines().filter(|line| !line.contains(MARKER)) {
            events.push(AuditEvent::parse(line).at("understand a line of", &path)?);
        }
        Ok(events)
    }

    /// The place in the audit log that has been reached now.
    pub fn audit_mark(&self) -> Result<AuditMark> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !self.site.record().audit {
            return Err(Error::Invalid(format!(
                "cluster `{}` was started without an audit log",
                self.site.prefix
            )));
        }
        let path = self.site.audit_log();
        let before = std::fs::metadata(&path).at("look at", &path)?.len();
        // A request that nobody else makes: what came before it lies before it in the log.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let uri = format!("/version?{MARKER}={}-{number}", std::process::id());
        self.site.ask(&["get", "--raw", &uri])?;
        self.site.wait_for("a complete audit log", LIMIT, || {
            let text = read_from(&path, before, None)?;
            Ok(end_of_line_with(&text, &format!("{uri}\""))
                .map(|end| AuditMark(before + end as u64))
                .ok_or_else(|| format!("{} does not have the marker {uri} yet", path.display())))
        })
    }
}

fn read_from(path: &Path, from: u64, to: Option<u64>) -> Result<String> {
    let mut file = std::fs::File::open(path).at("open", path)?;
    file.seek(SeekFrom::Start(from)).at("read", path)?;
    let mut bytes = Vec::new();
    let length = to.map_or(u64::MAX, |to| to.saturating_sub(from));
    file.take(length).read_to_end(&mut bytes).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where the first complete line that contains `part` ends.
fn end_of_line_with(text: &str, part: &str) -> Option<usize> {
    let at = text.find(part)?;
    text[at..].find('\n').map(|length| at + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_lines_are_marks() {
        assert_eq!(end_of_line_with("a\nxy\nb\n", "x"), Some(5));
        assert_eq!(end_of_line_with("a\nxy", "x"), None);
        assert_eq!(end_of_line_with("a\n", "x"), None);
    }
}
