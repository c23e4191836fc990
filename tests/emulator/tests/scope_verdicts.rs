//! Puts before the emulator what has been put before a real Scope 1.13.2, and compares what they say.
//!
//! Every recorded answer is really served over a UNIX socket, the way it was then. The recording is
//! `tests/fixtures/scope-verdicts.json`; the variable `SCOPE_VERDICTS` names another file instead.
//!
//! The recorded probe was that of a host `fxhost` without containers, which also reported the host
//! itself with one control of its own, `host_exec`. Three things in the recording are races:
//!
//! * Which of two lists of active controls a *controller* plugin and the host reporter left on the
//!   host: each writes its own in every tick, the newer one wins. The emulator fixes the order, so
//!   each such entry is tried in both orders and has to come out in one of them. Everything else has
//!   to be the same in both.
//! * Whether a body too large for its time ran into the end of the 500 ms before or after its head
//!   was there, on a machine that took about that long to make it. Both are the same refusal.
//! * In which order ids are joined and objects written: Scope's is random.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "verdicts/entry.rs"]
mod entry;
#[path = "verdicts/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use std::{env, fs, thread};

use entry::Entry;
use scope_emulator::{
    Click, Kind, Options, OwnStamps, Probe, Report, Role, Stamp, host_reporter, summary_panic,
    upgrade,
};
use serde_json::{Value, json};
use server::Server;

const HOST: &str = "fxhost;<host>";

/// Entries at a time. More would crowd out those that measure time on a machine with two cores.
const WORKERS: usize = 12;

#[test]
fn every_recorded_answer_gets_scopes_verdict() {
    let entries = recording();
    let interest = Interest::of(&entries);
    let failures = Mutex::new(Vec::new());
    let judge = |entry: &Entry| {
        if let Err(differences) = compare(entry, &interest) {
            let text = format!("{}:\n    {}", entry.name, differences.join("\n    "));
            failures.lock().unwrap().push(text);
        }
    };
    let (heavy, light): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.is_heavy());
    let queue = Mutex::new(light);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(entry) = { queue.lock().unwrap().pop() } {
                    judge(entry);
                }
            });
        }
    });
    heavy.into_iter().for_each(judge);
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} answers are judged otherwise than by Scope:\n{}",
        failures.len(),
        entries.len(),
        failures.join("\n")
    );
}

fn recording() -> Vec<Entry> {
    let default = "../fixtures/scope-verdicts.json";
    let path = env::var("SCOPE_VERDICTS").unwrap_or_else(|_| default.to_owned());
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let json: Vec<Value> = serde_json::from_slice(&text).unwrap();
    assert!(!json.is_empty(), "{path} is empty");
    json.iter().map(Entry::read).collect()
}

/// What the recording looked at: it names keys only where they were there.
struct Interest {
    latest: BTreeSet<String>,
    sets: BTreeSet<String>,
}

impl Interest {
    fn of(entries: &[Entry]) -> Self {
        let keys = |field: &str| {
            let maps = entries
                .iter()
                .filter_map(|entry| entry.scope[field].as_object());
            maps.flat_map(|map| map.keys().cloned()).collect()
        };
        Self {
            latest: keys("latest"),
            sets: keys("sets"),
        }
    }
}

fn compare(entry: &Entry, interest: &Interest) -> Result<(), Vec<String>> {
    // The order in time can make no difference to what takes all the time there is.
    let orders: &[OwnStamps] = match entry.is_heavy() {
        true => &[OwnStamps::BeforeRenaming],
        false => &[OwnStamps::BeforeRenaming, OwnStamps::Last],
    };
    let mut tries: Vec<Vec<String>> = orders
        .iter()
        .map(|order| differences(entry, &World::new(entry).ask(entry, *order, interest)))
        .collect();
    let one_agrees = tries.iter().any(Vec::is_empty);
    let others_race = tries
        .iter()
        .all(|differences| only_about_controls(differences));
    if one_agrees && others_race {
        return Ok(());
    }
    tries.sort_by_key(Vec::len);
    Err(tries.pop().unwrap_or_default())
}

fn only_about_controls(differences: &[String]) -> bool {
    differences
        .iter()
        .all(|difference| difference.starts_with("latest: "))
}

fn differences(entry: &Entry, said: &BTreeMap<&str, Value>) -> Vec<String> {
    let mut out = Vec::new();
    for (field, found) in said {
        let wanted = comparable(entry, &entry.scope[*field]);
        let found = comparable(entry, found);
        if wanted != found {
            out.push(format!(
                "{field}: Scope said {wanted}, the emulator {found}"
            ));
        }
    }
    out
}

/// A value without what Scope leaves to chance.
fn comparable(entry: &Entry, value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(Value::String(ids)) = value.get_mut("active_controls") {
        // Joined in random order.
        let mut sorted: Vec<&str> = ids.split(';').collect();
        sorted.sort_unstable();
        *ids = sorted.join(";");
    }
    if let Some(body) = value.get_mut("body") {
        // Objects are written in random order.
        if let Ok(parsed) = serde_json::from_str(body.as_str().unwrap_or_default()) {
            *body = parsed;
        }
    }
    if entry.is_heavy() {
        let text = value
            .to_string()
            .replace("decoding error: context", "context");
        value = serde_json::from_str(&text).expect("no quote was touched");
    }
    value
}

/// A plugin directory with what an entry puts into it.
struct World {
    root: PathBuf,
    /// Stopped before the folder goes, since they are woken over their sockets.
    _servers: Vec<Server>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(entry: &Entry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("plugins");
        let path = root.join(&entry.socket);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let transport = &entry.transport;
        let mut servers = Vec::new();
        if transport.regular_file {
            fs::write(&path, "").unwrap();
        } else if transport.symlink {
            let real = folder.path().join("elsewhere");
            servers.push(Server::start(&real, entry));
            symlink(&real, &path).unwrap();
        } else {
            servers.push(Server::start(&path, entry));
        }
        if transport.stale {
            // The file stays behind.
            servers.clear();
        }
        if transport.twice {
            let second = root.join("second").join(path.file_name().unwrap());
            fs::create_dir_all(second.parent().unwrap()).unwrap();
            servers.push(Server::start(&second, entry));
        }
        Self {
            root,
            _servers: servers,
            _folder: folder,
        }
    }

    /// Does what was done to the real Scope, and says what came of it in the words of the recording.
    fn ask(
        &self,
        entry: &Entry,
        own_stamps: OwnStamps,
        interest: &Interest,
    ) -> BTreeMap<&'static str, Value> {
        let options = Options::default();
        let id = options.probe_id.clone();
        let own = Some(host_reporter("fxhost", &id));
        let role = Role::Host {
            host: "fxhost".to_owned(),
        };
        let mut probe = Probe::new(
            &self.root,
            Options {
                own,
                own_stamps,
                role,
                ..options
            },
        )
        .unwrap();

        // The app merges what it gets in fifteen seconds; two ticks show all that comes of that.
        let mut app = Report::empty();
        for _ in 0..2 {
            if let Ok(merged) = probe.spy() {
                let mut report = merged.report().clone();
                upgrade(&mut report, Stamp::now());
                app.merge(report).unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        }
        let mut said = describe(&app, interest);
        if entry.control_answer.is_some() {
            let name = Path::new(&entry.socket)
                .file_stem()
                .unwrap()
                .to_string_lossy();
            let control = format!("{name}~go");
            let click = Click {
                app_id: "app",
                node_id: HOST,
                control: &control,
                args: None,
            };
            let outcome = probe.click(click);
            said.insert("click", json!({"http": outcome.http, "body": outcome.body}));
            let _ = probe.spy();
            said.insert("click_again_http", json!(probe.click(click).http));
        }
        said.insert(
            "probe",
            json!(if probe.died().is_some() {
                "died, exit 2"
            } else {
                "alive"
            }),
        );
        let line = probe.log().find(|line| !line.contains("added plugin"));
        said.insert(
            "probe_log",
            json!(line.map(|line| line.trim_start_matches("plugins: "))),
        );
        said.into_iter()
            .map(|(field, value)| (field, self.anonymous(&value, &id)))
            .collect()
    }

    /// Replaces what varies from one run to the next.
    fn anonymous(&self, value: &Value, probe_id: &str) -> Value {
        let text = value.to_string();
        let text = text
            .replace(self.root.to_str().unwrap(), "<root>")
            .replace(probe_id, "<id>");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("[pos ") {
            let (before, number) = rest.split_at(at + "[pos ".len());
            out.push_str(before);
            out.push('N');
            rest = number.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        serde_json::from_str(&(out + rest)).expect("no quote was touched")
    }
}

/// What the app's merged report says, in the words of the recording.
fn describe(app: &Report, interest: &Interest) -> BTreeMap<&'static str, Value> {
    let node = app
        .node(Kind::Host, HOST)
        .expect("the probe reports its own host");
    let plugins: Vec<Value> = app
        .plugins
        .values()
        .map(|spec| json!({"id": spec.id, "status": spec.status}))
        .collect();
    let metrics: BTreeMap<&String, Vec<f64>> = node
        .metrics
        .iter()
        .map(|(id, metric)| {
            let last = metric.samples.len().saturating_sub(2);
            let samples = metric.samples[last..].iter().map(|sample| sample.value);
            (id, samples.chain([metric.max]).collect())
        })
        .collect();
    let latest: BTreeMap<&String, &String> = node
        .latest
        .iter()
        .filter(|(key, _)| interest.latest.contains(*key))
        .map(|(key, entry)| (key, &entry.value))
        .collect();
    let sets: BTreeMap<&String, &Vec<String>> = node
        .sets
        .iter()
        .filter(|(key, _)| interest.sets.contains(*key))
        .collect();
    let mut others = Vec::new();
    for (kind, topology) in app.topologies() {
        let keys = topology
            .nodes
            .keys()
            .filter(|key| kind != Kind::Host || *key != HOST);
        others.extend(keys.map(|key| format!("{kind} {key}")));
    }
    let view = match summary_panic(app, Kind::Host) {
        None => json!(200),
        Some(_) => json!("connection closed: the handler panicked"),
    };
    let templates: Vec<&String> = app.topology(Kind::Host).metric_templates.keys().collect();
    BTreeMap::from([
        ("plugins", json!(plugins)),
        ("metric_samples_and_max", json!(metrics)),
        ("latest", json!(latest)),
        ("sets", json!(sets)),
        ("other_nodes", json!(others)),
        ("host_templates", json!(templates)),
        ("hosts_view_http", view),
    ])
}
