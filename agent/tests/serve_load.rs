//! Two hundred idle and slow clients, and what they cost the one that matters. A bare server in the
//! same run, with the same body, shows what the machine itself costs just now.

mod raw_http;

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use raw_http::{ask, connect, eventually, probe_request};
use scope_agent::Collectors;
use scope_agent::collect::Mend;
use scope_agent::sample::Roots;
use scope_agent::serve::{Config, Parts, Rendered, run_with};
use scope_agent::volumes::VolumeWatch;
use tokio_util::sync::CancellationToken;

/// As large as the report of a node with 110 pods.
const BODY: usize = 300_000;
const REQUESTS: usize = 300;
const CLIENTS: usize = 200;
/// The probe's limit for everything.
const PROBE: Duration = Duration::from_millis(500);

struct Latency {
    median: Duration,
    p99: Duration,
    worst: Duration,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "median {:?}, p99 {:?}, worst {:?}",
            self.median, self.p99, self.worst
        )
    }
}

fn measure(socket: &Path) -> Latency {
    let mut stream = connect(socket);
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let began = Instant::now();
        let reply = ask(&mut stream, &probe_request("5bdcc0beddf3c14"));
        times.push(began.elapsed());
        assert_eq!(reply.status, 200);
        std::thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Latency {
        median: at(0.5),
        p99: at(0.99),
        worst: at(1.0),
    }
}

/// An agent in this process, on a thread of its own, with reports of a fixed size.
fn agent(plugins: &Path, body: Vec<u8>, stop: CancellationToken) -> std::thread::JoinHandle<()> {
    let config = Config {
        plugin_id: "p".into(),
        label: "p".into(),
        description: None,
        collectors: Collectors::default(),
        http_allow_sys_exit: false,
        sample_interval: Duration::from_secs(1),
        mend: Mend::Auto,
        host: "h".into(),
        roots: Roots {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
        },
        kubelet_dir: "/nonexistent".into(),
        plugin_dir: plugins.into(),
        http_listen: None,
        cluster: None,
    };
    let render = Box::new(move |_: &_| Rendered {
        body: body.clone(),
        ..Rendered::default()
    });
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let parts = Parts {
            render,
            kubernetes: None,
            board: None,
            volumes: VolumeWatch::default(),
            http: None,
            totals: None,
        };
        runtime
            .block_on(run_with(config, parts, stop))
            .expect("ends in order");
    })
}

/// Reads a request, writes the body; one connection, one thread, nothing else.
fn bare_server(socket: &Path, body: Vec<u8>) {
    let listener = UnixListener::bind(socket).expect("binds");
    std::thread::spawn(move || {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = [head.as_bytes(), &body].concat();
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepts");
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                request.extend_from_slice(&buffer[..n]);
                if request.ends_with(b"\r\n\r\n") {
                    request.clear();
                    stream.write_all(&answer).expect("answers");
                }
            }
        }
    });
}

/// Sends a byte of a request now and then until the server has enough of it, then begins anew.
fn slow_loris(socket: &Path, done: &std::sync::atomic::AtomicBool) {
    let mut stream: Option<UnixStream> = None;
    while !done.load(std::sync::atomic::Ordering::Relaxed) {
        let open = stream.get_or_insert_with(|| connect(socket));
        if open.write_all(b"G").is_err() {
            stream = None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_hundred_idle_and_slow_clients_do_not_matter() {
    let tmp = tempfile::tempdir().expect("a directory");
    let plugins = tmp.path().join("plugins");
    let plugin =
        r#"{"Plugins":[{"id":"p","label":"p","interfaces":["reporter"],"api_version":"1"}]}"#;
    let body = format!("{plugin}{}", " ".repeat(BODY - plugin.len())).into_bytes();
    let stop = CancellationToken::new();
    let agent = agent(&plugins, body.clone(), stop.clone());
    let socket = plugins.join("p/p.sock");
    eventually("the report is there", || {
        UnixStream::connect(&socket).is_ok()
            && ask(&mut connect(&socket), &probe_request("ab")).body == body
    });
    let bare = tmp.path().join("bare.sock");
    bare_server(&bare, body);

    let alone = measure(&socket);
    let bare_alone = measure(&bare);

    let mut idle: Vec<_> = (0..CLIENTS / 2).map(|_| connect(&socket)).collect();
    // Some of the idle ones have asked before.
    for stream in idle.iter_mut().take(CLIENTS / 4) {
        ask(stream, &probe_request("ab"));
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    let (beset, bare_beset) = std::thread::scope(|scope| {
        for _ in 0..CLIENTS / 2 {
            scope.spawn(|| slow_loris(&socket, &done));
        }
        std::thread::sleep(Duration::from_millis(200));
        let measured = (measure(&socket), measure(&bare));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        measured
    });

    println!("GET /report of {BODY} bytes, {REQUESTS} times");
    println!("  agent alone:                      {alone}");
    println!("  bare server alone:                {bare_alone}");
    println!("  agent beset by {CLIENTS} clients:       {beset}");
    println!("  bare server in the same minute:   {bare_beset}");
    // On a machine that is busy with something else, the bare server is late as well.
    for (agent, bare) in [(&alone, &bare_alone), (&beset, &bare_beset)] {
        assert!(
            agent.worst < PROBE.max(bare.worst * 2),
            "a probe would have given up: {agent}; a bare server: {bare}"
        );
    }
    drop(idle);
    stop.cancel();
    agent.join().expect("ends in order");
}
