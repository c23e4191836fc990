//! What the probe reports by itself, beside its plugins.

use std::fmt;
use std::sync::Arc;

use crate::kind::Kind;
use crate::report::{ACTIVE_CONTROLS, Control, Node, Report};
use crate::stamp::Stamp;

/// Makes the report of the probe's own reporters; it gets the time of the tick.
#[derive(Clone)]
pub struct OwnReporter(Arc<dyn Fn(Stamp) -> Report + Send + Sync>);

impl OwnReporter {
    /// A reporter that calls `make` once a tick.
    pub fn new(make: impl Fn(Stamp) -> Report + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(crate) fn report(&self, now: Stamp) -> Report {
        (self.0)(now)
    }
}

impl fmt::Debug for OwnReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnReporter")
    }
}

/// What the host reporter of a probe says, as far as a plugin can meet it: the node of the host with
/// the probe's id and its one control, a shell.
pub fn host_reporter(host: &str, probe_id: &str) -> OwnReporter {
    let (host, probe_id) = (host.to_owned(), probe_id.to_owned());
    OwnReporter::new(move |now| {
        let mut report = Report::empty();
        let id = format!("{host};<host>");
        let node = Node::new(&id)
            .with_latest("control_probe_id", now, &probe_id)
            .with_latest("host_name", now, &host)
            .with_latest(ACTIVE_CONTROLS, now, "host_exec");
        let hosts = report.topology_mut(Kind::Host);
        hosts.nodes.insert(id, node);
        let shell = Control {
            id: "host_exec".to_owned(),
            human: "Exec shell".to_owned(),
            icon: "fa fa-terminal".to_owned(),
            ..Control::default()
        };
        hosts.controls.insert(shell.id.clone(), shell);
        report
    })
}
