//! Whole probes on whole directories: requests, connections, controls, several plugins and probes.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod plugin;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use plugin::{Reply, ok, report, serve};

use scope_emulator::{
    Click, Death, Kind, Node, Options, OwnReporter, Probe, ProbeError, Report, Role, Stamp,
    host_reporter,
};

const REPORTER: &str = r#""reporter""#;
const CONTROLLER: &str = r#""reporter","controller""#;

fn probe(root: &Path) -> Probe {
    let options = Options {
        probe_id: "5bdcc0beddf3c14".to_owned(),
        ..Options::default()
    };
    Probe::new(root, options).unwrap()
}

fn statuses(probe: &Probe) -> Vec<String> {
    probe
        .plugins()
        .map(|plugin| plugin.spec.status.clone())
        .collect()
}

#[test]
fn asks_and_clicks_with_scopes_bytes_over_one_connection() {
    let root = tempfile::tempdir().unwrap();
    let controls = r#""Pod":{"controls":{"evict":{"id":"evict","human":"Evict"}}}"#;
    let good = report("p", CONTROLLER, controls);
    let seen = serve(&root.path().join("p/p.sock"), move |path| {
        Reply::Answer(ok(if path.starts_with("/control") {
            r#"{"value":"done"}"#
        } else {
            &good
        }))
    });
    let mut probe = probe(root.path());
    probe.spy().unwrap();
    probe.spy().unwrap();
    let args = BTreeMap::from([("a".to_owned(), "<b>".to_owned())]);
    let click = Click {
        app_id: "app",
        node_id: "u;<pod>",
        control: "p~evict",
        args: Some(&args),
    };
    let outcome = probe.click(click);
    assert_eq!(
        (outcome.http, outcome.body.as_str()),
        (200, "{\"value\":\"done\"}")
    );
    assert!(outcome.exchange.unwrap().kept_connection);

    let seen = seen.lock().unwrap();
    assert!(
        seen.iter().all(|(connection, _)| *connection == 0),
        "{seen:?}"
    );
    let get = "GET /report?api_version=1&probe_id=5bdcc0beddf3c14 HTTP/1.1\r\nHost: plugin\r\n\
               User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n";
    let body = r#"{"AppID":"app","Control":"evict","ControlArgs":{"a":"\u003cb\u003e"},"NodeID":"u;\u003cpod\u003e"}"#;
    let post = format!(
        "POST /control?api_version=1&probe_id=5bdcc0beddf3c14 HTTP/1.1\r\nHost: plugin\r\n\
         User-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\
         Accept-Encoding: gzip\r\n\r\n{body}",
        body.len()
    );
    let requests: Vec<&str> = seen.iter().map(|(_, request)| request.as_str()).collect();
    assert_eq!(requests, [get, get, &post]);
}

#[test]
fn dead_connections_are_replaced_for_reports_but_not_for_clicks() {
    let root = tempfile::tempdir().unwrap();
    let good = report("p", CONTROLLER, r#""Pod":{"controls":{"go":{"id":"go"}}}"#);
    let asked = Mutex::new(0);
    let seen = serve(&root.path().join("p.sock"), move |path| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        match *asked {
            // The kept connection dies of the second request and of the click.
            2 => Reply::Last(Vec::new()),
            _ if path.starts_with("/control") => Reply::Last(Vec::new()),
            _ => Reply::Answer(ok(&good)),
        }
    });
    let mut probe = probe(root.path());
    probe.spy().unwrap();
    probe.spy().unwrap();
    assert_eq!(statuses(&probe), ["ok"]);
    let click = Click {
        app_id: "a",
        node_id: "n",
        control: "p~go",
        args: None,
    };
    let outcome = probe.click(click);
    assert!(outcome.error.unwrap().ends_with("\": EOF"));
    let clicks = seen
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, text)| text.starts_with("POST"))
        .count();
    assert_eq!(clicks, 1, "a click is not repeated");
    assert!(statuses(&probe)[0].starts_with("error: Post \"http://plugin/control?"));
    probe.spy().unwrap();
    assert_eq!(statuses(&probe), ["ok"], "until the next report");
}

#[test]
fn what_is_left_after_the_document_costs_the_connection() {
    let root = tempfile::tempdir().unwrap();
    let good = report("p", REPORTER, "") + "\n";
    let seen = serve(&root.path().join("p.sock"), move |_| {
        Reply::Answer(ok(&good))
    });
    let mut probe = probe(root.path());
    for _ in 0..3 {
        probe.spy().unwrap();
    }
    let connections: Vec<usize> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(connections, [0, 1, 2]);
}

#[test]
fn reports_of_several_plugins_meet_on_one_node() {
    let root = tempfile::tempdir().unwrap();
    let latest = |key: &str| {
        let now = Stamp::now();
        format!(
            r#""Host":{{"nodes":{{"h;<host>":{{"id":"h;<host>","latest":{{"{key}":{{"timestamp":"{now}","value":"v"}}}}}}}}}}"#
        )
    };
    for id in ["one", "two"] {
        let body = report(id, REPORTER, &latest(id));
        serve(
            &root.path().join(id).join(format!("{id}.sock")),
            move |_| Reply::Answer(ok(&body)),
        );
    }
    let broken =
        report("bad", REPORTER, &latest("bad")).replace("\"api_version\":\"1\"", "\"x\":1");
    serve(&root.path().join("bad.sock"), move |_| {
        Reply::Answer(ok(&broken))
    });

    let options = Options::default();
    let own = Some(host_reporter("h", &options.probe_id));
    let role = Role::Host {
        host: "h".to_owned(),
    };
    let mut probe = Probe::new(
        root.path(),
        Options {
            own,
            role,
            ..options
        },
    )
    .unwrap();
    let merged = probe.spy().unwrap();
    let node = merged.node(Kind::Host, "h;<host>").unwrap();
    assert_eq!(
        (node.latest("one"), node.latest("two")),
        (Some("v"), Some("v"))
    );
    assert_eq!(
        node.latest("bad"),
        None,
        "nothing of a refused report counts"
    );
    assert_eq!(
        node.active_controls(),
        ["host_exec"],
        "reporters leave the controls alone"
    );
    assert_eq!(node.topology, "host");
    assert_eq!(node.parents(Kind::Host), ["h;<host>"]);
    let specs: Vec<(&str, &str)> = merged
        .plugins()
        .map(|spec| (spec.id.as_str(), spec.status.as_str()))
        .collect();
    let refused = "error: incorrect API version: expected \"1\", got \"\"";
    assert_eq!(specs, [("bad", refused), ("one", "ok"), ("two", "ok")]);
    assert_eq!(
        merged.plugins().next().unwrap().label,
        "L",
        "its spec counts all the same"
    );
    assert_eq!(merged.nodes(Kind::Host).count(), 1);
    assert!(
        probe
            .log()
            .any(|line| line.ends_with(&format!("bad.sock: /report {refused}")))
    );
}

#[test]
fn two_sockets_keep_built_in_buttons_and_one_does_not() {
    let root = tempfile::tempdir().unwrap();
    let ahead = Stamp::now().plus(Duration::from_secs(30));
    let nodes = format!(
        r#""Pod":{{"nodes":{{"a;<pod>":{{"id":"a;<pod>","latest":{{"active_controls":
           {{"timestamp":"{ahead}","value":"kubernetes_describe;m-controls~evict"}}}}}}}}}}"#
    );
    let nodes = report("m", REPORTER, &nodes);
    serve(&root.path().join("m/m.sock"), move |_| {
        Reply::Answer(ok(&nodes))
    });
    let controls = report(
        "m-controls",
        CONTROLLER,
        r#""Pod":{"controls":{"evict":{"id":"evict"}}}"#,
    );
    serve(&root.path().join("m/m-controls.sock"), move |_| {
        Reply::Answer(ok(&controls))
    });
    let greedy = report(
        "greedy",
        CONTROLLER,
        r#""Pod":{"nodes":{"b;<pod>":{"id":"b;<pod>"}}}"#,
    );
    serve(&root.path().join("greedy.sock"), move |_| {
        Reply::Answer(ok(&greedy))
    });

    let own = OwnReporter::new(|now| {
        let mut report = Report::empty();
        for id in ["a;<pod>", "b;<pod>"] {
            let node = Node::new(id).with_latest("active_controls", now, "kubernetes_describe");
            report
                .topology_mut(Kind::Pod)
                .nodes
                .insert(id.to_owned(), node);
        }
        report
    });
    let options = Options {
        own: Some(own),
        role: Role::Cluster,
        ..Options::default()
    };
    let mut probe = Probe::new(root.path(), options).unwrap();
    let merged = probe.spy().unwrap();
    let active = |id| merged.node(Kind::Pod, id).unwrap().active_controls();
    assert_eq!(
        active("a;<pod>"),
        ["kubernetes_describe", "m-controls~evict"]
    );
    assert_eq!(
        active("b;<pod>"),
        [""; 0],
        "wiped by a controller that reports the node"
    );
    assert!(
        merged
            .topology(Kind::Pod)
            .controls
            .contains_key("m-controls~evict")
    );
    assert_eq!(probe.controls().collect::<Vec<_>>(), ["m-controls~evict"]);
}

#[test]
fn handlers_follow_the_last_report() {
    let root = tempfile::tempdir().unwrap();
    let body = Arc::new(Mutex::new(String::new()));
    let served = Arc::clone(&body);
    serve(&root.path().join("p.sock"), move |path| {
        let shortcut = report(
            "p",
            CONTROLLER,
            r#""Pod":{"controls":{"other":{"id":"other"}}}"#,
        );
        Reply::Answer(match path.starts_with("/control") {
            true => ok(&format!(r#"{{"shortcutReport":{shortcut}}}"#)),
            false => ok(&served.lock().unwrap()),
        })
    });
    let offering = report("p", CONTROLLER, r#""Pod":{"controls":{"go":{"id":"go"}}}"#);
    let say = |text: &str| *body.lock().unwrap() = text.to_owned();
    let mut probe = probe(root.path());
    let go = Click {
        app_id: "a",
        node_id: "n",
        control: "p~go",
        args: None,
    };
    let unknown = "\"Control \\\"p~go\\\" not recognised\"";

    assert_eq!(
        probe.click(go).body,
        unknown,
        "nothing is known before the first report"
    );
    say(&offering);
    probe.spy().unwrap();
    let outcome = probe.click(go);
    assert_eq!((outcome.http, outcome.body.as_str()), (200, "{}"));
    let shortcut = outcome.shortcut.unwrap();
    assert!(
        shortcut.shortcut
            && shortcut
                .topology(Kind::Pod)
                .controls
                .contains_key("p~other")
    );
    assert_eq!(
        probe.controls().collect::<Vec<_>>(),
        ["p~other"],
        "the shortcut replaces the set"
    );
    assert_eq!(probe.click(go).body, unknown);
    probe.spy().unwrap();
    assert_eq!(probe.click(go).http, 200);

    probe.spy().unwrap();
    say("broken");
    probe.spy().unwrap();
    assert_eq!(
        probe.click(go).body,
        unknown,
        "a refused report takes the handlers away"
    );
    // Handlers outlive the interface, since nobody looks at a reporter's controls any more.
    say(&offering);
    probe.spy().unwrap();
    say(&report("p", REPORTER, ""));
    probe.spy().unwrap();
    let outcome = probe.click(go);
    assert_eq!(
        outcome.body,
        "\"the L plugin does not implement the controller interface\""
    );
    assert!(outcome.exchange.is_none());
}

#[test]
fn two_probes_ask_one_socket_each_under_its_own_name() {
    let root = tempfile::tempdir().unwrap();
    let good = report("p", REPORTER, "");
    let seen = serve(&root.path().join("p.sock"), move |_| {
        Reply::Answer(ok(&good))
    });
    let mut probes: Vec<Probe> = (0..2)
        .map(|_| Probe::new(root.path(), Options::default()).unwrap())
        .collect();
    thread::scope(|scope| {
        for probe in &mut probes {
            scope.spawn(|| {
                for _ in 0..20 {
                    probe.spy().unwrap();
                }
                assert_eq!(statuses(probe), ["ok"]);
            });
        }
    });
    assert_ne!(probes[0].id(), probes[1].id());
    let seen = seen.lock().unwrap();
    for probe in &probes {
        assert!(u64::from_str_radix(probe.id(), 16).unwrap() <= u64::MAX >> 1);
        let mark = format!("probe_id={} ", probe.id());
        assert_eq!(
            seen.iter()
                .filter(|(_, request)| request.contains(&mark))
                .count(),
            20
        );
    }
}

#[test]
fn plugins_can_bring_the_probe_down() {
    let root = tempfile::tempdir().unwrap();
    let topology =
        |name: &str| format!(r#""Host":{{"nodes":{{"h":{{"id":"h","topology":"{name}"}}}}}}"#);
    for (id, name) in [("a", "host"), ("b", "pod")] {
        let body = report(id, REPORTER, &topology(name));
        serve(&root.path().join(format!("{id}.sock")), move |_| {
            Reply::Answer(ok(&body))
        });
    }
    let mut probe = probe(root.path());
    let death = match probe.spy() {
        Err(ProbeError::Died(death)) => death,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        death,
        Death::Panic("Cannot merge nodes with different topology types: pod != host".to_owned())
    );
    assert!(probe.spy().is_err() && probe.scan().is_err());

    let root = tempfile::tempdir().unwrap();
    let cut = r#"{"Plugins":[{"id":"p","interfaces":["reporter","#;
    serve(&root.path().join("p.sock"), move |_| Reply::Answer(ok(cut)));
    let mut probe = self::probe(root.path());
    assert!(matches!(
        probe.spy(),
        Err(ProbeError::Died(Death::Endless(_)))
    ));
    let click = Click {
        app_id: "a",
        node_id: "n",
        control: "p~go",
        args: None,
    };
    assert!(
        probe
            .click(click)
            .body
            .starts_with("\"websocket: close 1006")
    );
    assert_eq!(
        probe.click(click).error.unwrap(),
        "probe 5bdcc0beddf3c14 is not connected right now"
    );
}

#[test]
fn needs_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let error = match Probe::new(root.path().join("none"), Options::default()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("started"),
    };
    assert!(error.starts_with("plugins: problem loading: "), "{error}");
    assert!(error.contains("create the directory before the probe starts"));
}
