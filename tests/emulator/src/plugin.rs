//! One plugin as the probe sees it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::decode::{self, Answer, Refusal};
use crate::gotext::quote;
use crate::report::{PluginSpec, Report};
use crate::script::{Ask, ScriptedClick, SharedScript};
use crate::stamp::Stamp;
use crate::wire::{Client, Exchange, Failure, Request, control_body};

/// The version that a plugin must speak.
const API_VERSION: &str = "1";

/// A socket and what is known of the plugin behind it.
#[derive(Clone, Debug)]
pub struct PluginState {
    /// The socket, which is what makes a plugin the same one as before.
    pub path: PathBuf,
    /// What the plugin last said of itself, with the status that the probe gave it. Before the first
    /// good answer there is only the id.
    pub spec: PluginSpec,
    /// The last request for a report.
    pub last: Option<Exchange>,
}

#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) state: PluginState,
    way: Way,
}

/// How a plugin is reached.
#[derive(Debug)]
enum Way {
    Socket(Client),
    Script(SharedScript),
}

/// The id that a socket gives its plugin: the file's name without its last extension.
pub(crate) fn id_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.rfind('.') {
        Some(dot) => name[..dot].to_owned(),
        None => name.into_owned(),
    }
}

/// Letters and digits, with single dashes between them.
pub(crate) fn is_valid_id(id: &str) -> bool {
    id.split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

impl Plugin {
    pub(crate) fn new(path: &Path, decode_speed: Option<u64>) -> Result<Self, String> {
        Self::by(path, Way::Socket(Client::new(path, decode_speed)))
    }

    /// A plugin that would have its socket at this path, if it had one.
    pub(crate) fn scripted(path: &Path, script: SharedScript) -> Result<Self, String> {
        Self::by(path, Way::Script(script))
    }

    fn by(path: &Path, way: Way) -> Result<Self, String> {
        let id = id_of(path);
        if !is_valid_id(&id) {
            return Err(format!("invalid plugin id {}", quote(&id)));
        }
        let spec = PluginSpec {
            label: id.clone(),
            id,
            ..PluginSpec::default()
        };
        let state = PluginState {
            path: path.to_owned(),
            spec,
            last: None,
        };
        Ok(Self { state, way })
    }

    /// Asks for a report. What comes back holds the plugin's spec in any case; after a failure, the
    /// spec is all it holds.
    pub(crate) fn report(&mut self, probe_id: &str, now: Stamp) -> (Report, Result<(), Failure>) {
        let answer = match &mut self.way {
            Way::Socket(client) => {
                let (facts, answer) = client.exchange(Request::report(probe_id), |feed| {
                    decode::read_report(feed, now)
                });
                self.state.last = Some(facts);
                answer
            }
            Way::Script(script) => {
                let ask = ask(probe_id, now);
                let body = script.with(|script| script.report(&ask));
                decode_script(body, |body| decode::decode_report(body, now))
            }
        };
        let judged = answer.and_then(|report| match self.judge(&report) {
            Ok(()) => Ok(report),
            Err(words) => Err(Failure::Words(words)),
        });
        let spec = &mut self.state.spec;
        spec.status = status(judged.as_ref().map(drop));
        let (mut report, outcome) = match judged {
            Ok(report) => (report, Ok(())),
            Err(failure) => (Report::empty(), Err(failure)),
        };
        report.plugins.insert(spec.id.clone(), spec.clone());
        (report, outcome)
    }

    /// Looks at the spec in a report, in Scope's order. From the moment the id is right the spec
    /// counts, even if the rest of it is refused.
    fn judge(&mut self, report: &Report) -> Result<(), String> {
        let mut specs = report.plugins.values();
        let (Some(spec), None) = (specs.next(), specs.next()) else {
            let found = report.plugins.len();
            return Err(format!(
                "report must contain exactly one plugin (found {found})"
            ));
        };
        let known = &mut self.state.spec;
        if spec.id != known.id {
            let (is, should_be) = (quote(&spec.id), quote(&known.id));
            return Err(format!(
                "plugin must not change its id (is {is}, should be {should_be})"
            ));
        }
        *known = spec.clone();
        if spec.api_version != API_VERSION {
            let (expected, got) = (quote(API_VERSION), quote(&spec.api_version));
            return Err(format!(
                "incorrect API version: expected {expected}, got {got}"
            ));
        }
        if spec.label.is_empty() {
            return Err("spec must contain a label".to_owned());
        }
        if !spec.implements("reporter") {
            return Err("spec must implement the \"reporter\" interface".to_owned());
        }
        Ok(())
    }

    /// Passes a click on.
    pub(crate) fn control(
        &mut self,
        probe_id: &str,
        click: Clicked<'_>,
        now: Stamp,
    ) -> (Option<Exchange>, Result<Answer, Failure>) {
        let (facts, answer) = if self.state.spec.implements("controller") {
            match &mut self.way {
                Way::Socket(client) => {
                    let (app, node) = (click.app_id, click.node_id);
                    let body = control_body(app, node, click.control, click.args);
                    let request = Request::control(probe_id, body);
                    let (facts, answer) =
                        client.exchange(request, |feed| decode::read_answer(feed, now));
                    (Some(facts), answer)
                }
                Way::Script(script) => {
                    let click = ScriptedClick {
                        app_id: click.app_id.to_owned(),
                        node_id: click.node_id.to_owned(),
                        control: click.control.to_owned(),
                        args: click.args.cloned(),
                    };
                    let ask = ask(probe_id, now);
                    let body = script.with(|script| script.control(&ask, &click));
                    let answer = decode_script(body, |body| decode::decode_answer(body, now));
                    (None, answer)
                }
            }
        } else {
            let label = &self.state.spec.label;
            let words = format!("the {label} plugin does not implement the controller interface");
            (None, Err(Failure::Words(words)))
        };
        self.state.spec.status = status(answer.as_ref().map(drop));
        (facts, answer)
    }
}

fn ask(probe_id: &str, now: Stamp) -> Ask {
    Ask {
        probe_id: probe_id.to_owned(),
        now: now.into(),
    }
}

fn decode_script<T>(
    body: Result<Vec<u8>, String>,
    decode: impl FnOnce(&[u8]) -> Result<T, Refusal>,
) -> Result<T, Failure> {
    let body = body.map_err(Failure::Words)?;
    decode(&body).map_err(|refusal| match refusal {
        Refusal::Endless => Failure::Endless(refusal.to_string()),
        refusal => Failure::Words(refusal.to_string()),
    })
}

/// What a click says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clicked<'a> {
    pub(crate) app_id: &'a str,
    pub(crate) node_id: &'a str,
    /// By the plugin's own name.
    pub(crate) control: &'a str,
    pub(crate) args: Option<&'a BTreeMap<String, String>>,
}

fn status(outcome: Result<(), &Failure>) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(Failure::Words(words) | Failure::Endless(words)) => format!("error: {words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_file_names() {
        for (path, id, valid) in [
            ("/p/fx.sock", "fx", true),
            ("/p/fx", "fx", true),
            ("/p/P-L-U-G-I-N.x", "P-L-U-G-I-N", true),
            ("/p/a.b.sock", "a.b", false),
            ("/p/a_b.sock", "a_b", false),
            ("/p/-a.sock", "-a", false),
            ("/p/a--b.sock", "a--b", false),
            ("/p/.sock", "", false),
            ("/p/é.sock", "é", false),
            ("/p/fx~1.sock", "fx~1", false),
        ] {
            assert_eq!(id_of(Path::new(path)), id, "{path}");
            assert_eq!(is_valid_id(id), valid, "{path}");
        }
    }
}
