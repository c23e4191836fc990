//! One recorded answer, and how it was sent.

use std::time::{Duration, SystemTime};

use scope_emulator::Stamp;
use serde_json::Value;

/// How an answer is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transport {
    pub(crate) status: Option<u64>,
    /// Before anything is sent.
    pub(crate) delay: Duration,
    /// Over the whole of the body.
    pub(crate) drip: Duration,
    pub(crate) gzip: bool,
    pub(crate) chunked: bool,
    pub http10: bool,
    pub(crate) no_length: bool,
    pub(crate) content_type: Option<String>,
    pub(crate) hang_up: bool,
    /// Bytes of the body that are sent of those announced.
    pub(crate) truncate: Option<usize>,
    pub(crate) redirect: bool,
    /// The rest is about the socket.
    pub(crate) regular_file: bool,
    pub(crate) stale: bool,
    pub(crate) symlink: bool,
    pub(crate) twice: bool,
}

impl Transport {
    fn read(json: &Value) -> Self {
        let known = [
            "status", "delay", "drip", "gzip", "chunked", "http10", "nolen", "ctype", "hangup",
            "truncate", "redirect", "regular", "stale", "symlink", "twice",
        ];
        for key in json.as_object().into_iter().flatten().map(|(key, _)| key) {
            assert!(
                known.contains(&key.as_str()),
                "this test cannot send an answer with {key:?}"
            );
        }
        let is_set = |key: &str| json[key].as_bool().unwrap_or(false);
        let seconds = |key: &str| Duration::from_secs_f64(json[key].as_f64().unwrap_or(0.0));
        Self {
            status: json["status"].as_u64(),
            delay: seconds("delay"),
            drip: seconds("drip"),
            gzip: is_set("gzip"),
            chunked: is_set("chunked"),
            http10: is_set("http10"),
            no_length: is_set("nolen"),
            content_type: json["ctype"].as_str().map(str::to_owned),
            hang_up: is_set("hangup"),
            truncate: json["truncate"].as_u64().map(|bytes| bytes as usize),
            redirect: is_set("redirect"),
            regular_file: is_set("regular"),
            stale: is_set("stale"),
            symlink: is_set("symlink"),
            twice: is_set("twice"),
        }
    }
}

/// One entry of the recording.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Below the plugin directory.
    pub(crate) socket: String,
    pub(crate) transport: Transport,
    pub(crate) report: Body,
    pub(crate) control_answer: Option<Body>,
    pub(crate) control_transport: Transport,
    /// What Scope said.
    pub(crate) scope: Value,
}

impl Entry {
    pub(crate) fn read(json: &Value) -> Self {
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        let size = name
            .strip_prefix("size-")
            .and_then(|size| size.strip_suffix("MB"));
        let report = match size.and_then(|size| size.parse().ok()) {
            Some(megabytes) => Body::Padded { megabytes },
            None => Body::Template(text("report")),
        };
        Self {
            name,
            socket: text("socket"),
            transport: Transport::read(&json["transport"]),
            report,
            control_answer: json["control_answer"]
                .as_str()
                .map(|text| Body::Template(text.into())),
            control_transport: Transport::read(&json["control_transport"]),
            scope: json["scope"].clone(),
        }
    }

    /// Whether it takes more of the machine than the others.
    pub(crate) fn is_heavy(&self) -> bool {
        matches!(self.report, Body::Padded { .. })
    }
}

/// A body that knows what time it is.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// With `@NOW@` and the like.
    Template(String),
    /// The recording only says: a good report, padded to the size by an unknown key.
    Padded { megabytes: usize },
}

impl Body {
    pub(crate) fn at(&self, now: SystemTime) -> Vec<u8> {
        match self {
            Body::Template(template) => fill_in(template, now).into_bytes(),
            Body::Padded { megabytes } => {
                let mut body = fill_in(GOOD, now).into_bytes();
                body.extend_from_slice(b",\"Pad\":\"");
                body.resize((megabytes * 1024 * 1024).saturating_sub(2), b'x');
                body.extend_from_slice(b"\"}");
                body
            }
        }
    }
}

/// A good report without its last bracket.
const GOOD: &str = r#"{"Plugins":[{"id":"fx","label":"Fx","interfaces":["reporter"],"api_version":"1"}],
    "Host":{"nodes":{"fxhost;<host>":{"id":"fxhost;<host>",
        "metrics":{"m":{"samples":[{"date":"@NOW@","value":5}],"min":0,"max":10}}}},
        "metric_templates":{"m":{"id":"m","label":"M","priority":0.1}}}"#;

/// Replaces `@NOW@` and `@NOW+seconds@`.
fn fill_in(template: &str, now: SystemTime) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find("@NOW") {
        let (before, mark) = rest.split_at(at);
        out.push_str(before);
        let end = mark[1..].find('@').map_or(mark.len(), |end| end + 2);
        let (mark, after) = mark.split_at(end);
        let offset = mark.trim_start_matches("@NOW").trim_matches(['+', '@']);
        let later = Duration::from_secs_f64(offset.parse().unwrap_or(0.0));
        out.push_str(&Stamp::from(now + later).to_string());
        rest = after;
    }
    out + rest
}

#[test]
fn fills_in_the_time() {
    let now = SystemTime::UNIX_EPOCH;
    assert_eq!(
        fill_in("a @NOW@ b @NOW+30@ c", now),
        "a 1970-01-01T00:00:00Z b 1970-01-01T00:00:30Z c"
    );
}
