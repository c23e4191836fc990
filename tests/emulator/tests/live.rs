//! A world in real time, with a real socket.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "this test needs only a part of it")]
mod plugin;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use plugin::{Reply, ok, report, serve};
use scope_emulator::truth::Pod;
use scope_emulator::{Kind, ProbeSetup, Tab, Version, World};

const POD: &str = "u1;<pod>";

#[test]
fn shows_what_a_socket_says() {
    let root = tempfile::tempdir().unwrap();
    let asked = AtomicU32::new(0);
    let nodes = serve(&root.path().join("p/p.sock"), move |_| {
        let threads = asked.fetch_add(1, Ordering::SeqCst);
        let pod = format!(
            r#""Pod":{{"nodes":{{"{POD}":{{"id":"{POD}","latest":{{"active_controls":{{"timestamp":"2100-01-01T00:00:00Z","value":"p-controls~go"}}}},
               "metrics":{{"threads":{{"samples":[{{"date":"2026-01-01T00:00:{:02}Z","value":{threads}}}]}}}}}}}},
               "metric_templates":{{"threads":{{"id":"threads","label":"Threads"}}}}}}"#,
            threads % 60
        );
        Reply::Answer(ok(&report("p", r#""reporter""#, &pod)))
    });
    let controls = r#""Pod":{"controls":{"go":{"id":"go","human":"Go"}}}"#;
    let controls = report("p-controls", r#""reporter","controller""#, controls);
    serve(&root.path().join("p/p-controls.sock"), move |path| {
        Reply::Answer(ok(if path.starts_with("/control") {
            r#"{"value":"gone"}"#
        } else {
            &controls
        }))
    });

    let mut world = World::live(Version::default());
    world.truth().pods.push(Pod::new("u1", "demo", "web", "n1"));
    let setup = ProbeSetup::cluster("n1").sockets(root.path());
    let setup = setup.spy_every(Duration::from_millis(50));
    world.add_probe(setup.publish_every(Duration::from_millis(150)));

    let begun = Instant::now();
    loop {
        world.advance(Duration::from_millis(100));
        let pods = world.view().shown(Tab::Pods).unwrap();
        let threads = pods.get(POD).and_then(|pod| pod.metric("threads"));
        if threads.is_some_and(|threads| threads > 2.0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{pods:?}");
    }
    let outcome = world.click(Kind::Pod, POD, "p-controls~go", None).unwrap();
    assert_eq!(
        (outcome.http, outcome.body.as_str()),
        (200, r#"{"value":"gone"}"#)
    );

    // What nobody waited for is not made up for.
    let before = nodes.lock().unwrap().len();
    std::thread::sleep(Duration::from_millis(600));
    world.advance(Duration::from_millis(100));
    let after = nodes.lock().unwrap().len();
    assert!(after - before <= 4, "{} requests at once", after - before);
    assert!(
        world
            .try_add_probe(ProbeSetup::host("n1").sockets("/nowhere"))
            .is_err()
    );
}
