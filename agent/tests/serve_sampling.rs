//! The sampler's thread: one sample a tick whoever asks, a slow cadence when nobody does, and the
//! end of the agent when it ends.

mod health_page;
mod raw_http;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use health_page::http;
use raw_http::{ask, connect, eventually, get, probe_request};
use scope_agent::Collectors;
use scope_agent::collect::Mend;
use scope_agent::sample::Roots;
use scope_agent::serve::{
    ASKED_LATELY, Config, Demand, Parts, Publication, Render, Rendered, SLOW_CADENCE,
    SamplerThread, ServeError, Tick, run_with,
};
use scope_agent::volumes::VolumeWatch;
use scope_protocol::{NodeId, PluginSpec, Report, Timestamp, Topology, encode, encode_for_probes};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const ID: &str = "p";

fn config(plugins: &Path, interval: Duration) -> Config {
    Config {
        plugin_id: ID.into(),
        label: ID.into(),
        description: None,
        collectors: Collectors::default(),
        http_allow_sys_exit: false,
        sample_interval: interval,
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
    }
}

/// An agent in this process, with its own thread and runtime.
struct Running {
    _tmp: TempDir,
    plugins: PathBuf,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Running {
    fn start(interval: Duration, render: Render) -> Self {
        Self::listening(None, interval, render)
    }

    fn listening(http_listen: Option<SocketAddr>, interval: Duration, render: Render) -> Self {
        let tmp = tempfile::tempdir().expect("a directory");
        let plugins = tmp.path().join("plugins");
        let config = Config {
            http_listen,
            ..config(&plugins, interval)
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(run_with(
                config,
                Parts {
                    render,
                    kubernetes: None,
                    board: None,
                    volumes: VolumeWatch::default(),
                    http: None,
                    totals: None,
                },
                token,
            ))
        });
        Running {
            _tmp: tmp,
            plugins,
            stop,
            thread: Some(thread),
        }
    }

    fn dir(&self) -> PathBuf {
        self.plugins.join(ID)
    }

    fn socket(&self) -> PathBuf {
        self.dir().join("p.sock")
    }

    fn wait(&self) {
        eventually("it serves", || {
            std::os::unix::net::UnixStream::connect(self.socket()).is_ok()
        });
    }

    fn end(mut self) -> Result<(), ServeError> {
        self.stop.cancel();
        self.join()
    }

    fn join(&mut self) -> Result<(), ServeError> {
        self.thread
            .take()
            .expect("joined once")
            .join()
            .expect("the agent's own thread is whole")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A report that says which tick it is from.
fn numbered(number: u64) -> Rendered {
    let report = Report::new(PluginSpec {
        id: ID.into(),
        label: ID.into(),
        description: format!("tick {number}"),
        controller: false,
    });
    let mut body = Vec::new();
    encode(&report, &mut body);
    Rendered {
        body,
        ..Rendered::default()
    }
}

fn numbering() -> Render {
    Box::new(|tick: &Tick| numbered(tick.number))
}

/// Which tick the body is from; `None` before the first.
fn tick_of(body: &[u8]) -> Option<u64> {
    let report: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let said = report["Plugins"][0]["description"]
        .as_str()
        .expect("a description");
    said.strip_prefix("tick ")
        .map(|n| n.parse().expect("a number"))
}

#[test]
fn two_probes_at_different_rates_see_the_same_reports() {
    let running = Running::start(Duration::from_millis(200), numbering());
    running.wait();
    let socket = running.socket();
    let done = AtomicBool::new(false);
    // Until both have seen so many ticks of the other that a difference would have shown.
    let (fast, slow) = std::thread::scope(|scope| {
        let probe = |id: &'static str, every: Duration, enough: usize| {
            let (socket, done) = (&socket, &done);
            scope.spawn(move || {
                let mut stream = connect(socket);
                let mut bodies = BTreeMap::new();
                while !done.load(Ordering::Relaxed) {
                    let body = ask(&mut stream, &probe_request(id)).body;
                    if let Some(tick) = tick_of(&body) {
                        let first = bodies.entry(tick).or_insert_with(|| body.clone());
                        assert_eq!(*first, body, "one tick, one body");
                    }
                    if bodies.len() >= enough {
                        done.store(true, Ordering::Relaxed);
                    }
                    std::thread::sleep(every);
                }
                bodies
            })
        };
        let fast = probe("aaa", Duration::from_millis(23), usize::MAX);
        let slow = probe("bbb", Duration::from_millis(310), 8);
        (fast.join().expect("probes"), slow.join().expect("probes"))
    });
    let both: Vec<_> = slow.keys().filter(|tick| fast.contains_key(tick)).collect();
    assert!(
        both.len() >= 3,
        "ticks seen: {:?}, {:?}",
        fast.keys(),
        slow.keys()
    );
    assert!(
        fast.len() > slow.len(),
        "ticks seen: {:?}, {:?}",
        fast.keys(),
        slow.keys()
    );
    for tick in both {
        assert_eq!(slow[tick], fast[tick]);
    }
    running.end().expect("ends in order");
}

/// A report of a container whose clicks go through whoever asks.
fn clickable(number: u64) -> Rendered {
    let at = Timestamp::from_unix_micros(0);
    let mut report = Report::new(PluginSpec {
        id: ID.into(),
        label: ID.into(),
        description: format!("tick {number}"),
        controller: false,
    });
    let containers = report.topology(Topology::Container);
    let node = containers.node(NodeId::container("c"));
    node.set("active_controls", at, "p-controls~x");
    node.control_probe = Some(at);
    let mut rendered = Rendered::default();
    rendered.contents.slots = encode_for_probes(&report, &mut rendered.body);
    rendered
}

#[test]
fn each_probe_is_told_its_own_id_from_the_next_sample_on() {
    let running = Running::start(
        Duration::from_millis(50),
        Box::new(|tick| clickable(tick.number)),
    );
    running.wait();
    eventually("a sample is reported", || {
        tick_of(&get(&running.socket(), "/report").body).is_some()
    });
    let told = |id: &str| {
        let reply = get(
            &running.socket(),
            &format!("/report?api_version=1&probe_id={id}"),
        );
        let report: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        let latest = &report["Container"]["nodes"]["c;<container>"]["latest"];
        assert_eq!(latest["active_controls"]["value"], "p-controls~x");
        let own = &latest["control_probe_id"]["value"];
        own.as_str().map(str::to_owned)
    };
    let probes = ["5bdcc0beddf3c14", "a", "7fffffffffffffff", "12"];
    for id in probes {
        assert_eq!(told(id), None, "nobody has heard of it");
        eventually("it is told its own ID", || told(id).as_deref() == Some(id));
    }
    for id in probes {
        assert_eq!(told(id).as_deref(), Some(id), "four at a time");
    }
    // A fifth takes the place of the one that has not asked for longest.
    eventually("the fifth is told its own", || {
        told("f1").as_deref() == Some("f1")
    });
    assert_eq!(told(probes[0]), None);
    let tick = || tick_of(&get(&running.socket(), "/report").body);
    for odd in ["", "xyz", "a%22b", "11111111111111111"] {
        assert_eq!(told(odd), None);
        let before = tick();
        eventually("a few more samples", || {
            tick() > before.map(|tick| tick + 2)
        });
        assert_eq!(told(odd), None, "nothing that no probe sends is written");
    }
    running.end().expect("ends in order");
}

#[test]
fn a_look_that_is_wanted_comes_out_of_turn_and_once() {
    let (sender, ticks) = std::sync::mpsc::channel();
    let demand = Arc::new(Demand::new());
    let (sampler, _ends) = SamplerThread::start(
        Box::new(move |tick| {
            let _ = sender.send((Instant::now(), tick.for_totals));
            numbered(tick.number)
        }),
        Duration::from_secs(60),
        Arc::new(Publication::new("first")),
        demand.clone(),
    )
    .expect("starts");
    let tick = || ticks.recv_timeout(Duration::from_secs(30)).expect("a look");
    let (mut last, for_totals) = tick();
    assert!(!for_totals);
    for _ in 0..2 {
        demand.want_look();
        let (at, for_totals) = tick();
        assert!(for_totals);
        // Of less than a second, rates say little. What is seen here is a look's first step, which comes a moment
        // after its time.
        let apart = at - last;
        assert!(apart >= Duration::from_millis(900), "{apart:?}");
        last = at;
    }
    let none = ticks.recv_timeout(Duration::from_millis(1500));
    assert!(none.is_err(), "the next one is due in a minute");
    sampler.stop();
}

#[test]
fn before_the_first_sample_the_report_is_the_plugin_alone() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let running = Running::start(
        Duration::from_secs(1),
        Box::new(move |tick| {
            let _ = wait.recv();
            numbered(tick.number)
        }),
    );
    running.wait();
    let began = Instant::now();
    let reply = get(&running.socket(), "/report?api_version=1&probe_id=ab");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "a request waits for no sample"
    );
    assert_eq!(tick_of(&reply.body), None);
    let verdict = scope_protocol::conformance::check_report(
        &running.socket().to_string_lossy(),
        &scope_protocol::conformance::Answer::ok(&reply.body, Duration::ZERO),
    );
    assert!(verdict.conformant(), "{verdict}");
    drop(go);
    eventually("a sample is reported", || {
        tick_of(&get(&running.socket(), "/report").body).is_some()
    });
    running.end().expect("ends in order");
}

#[test]
fn a_stuck_sample_does_not_hold_up_requests_or_the_end() {
    let running = Running::start(
        Duration::from_millis(100),
        Box::new(|tick| {
            if tick.number == 2 {
                std::thread::sleep(Duration::from_secs(20));
            }
            numbered(tick.number)
        }),
    );
    running.wait();
    eventually("it is stuck", || {
        tick_of(&get(&running.socket(), "/report").body) == Some(1)
    });
    for _ in 0..20 {
        let began = Instant::now();
        get(&running.socket(), "/report?api_version=1&probe_id=ab");
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    let began = Instant::now();
    running.end().expect("ends in order");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

/// As on a node where a read of `/proc` hangs.
#[test]
fn a_sampler_that_hangs_is_unhealthy_and_its_last_tick_grows_old() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = free.local_addr().expect("bound");
    drop(free);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let running = Running::listening(
        Some(address),
        Duration::from_millis(100),
        Box::new(move |tick| {
            if tick.number == 2 {
                let _ = wait.recv();
            }
            numbered(tick.number)
        }),
    );
    running.wait();
    let healthz = || http(address, "/healthz");
    let age = || {
        let (_, metrics) = http(address, "/metrics")?;
        let line = |line: &str| {
            Some(
                line.strip_prefix("scope_agent_tick_age_seconds ")?
                    .to_owned(),
            )
        };
        metrics.lines().find_map(line)?.parse::<f64>().ok()
    };
    assert_eq!(
        healthz(),
        Some((200, "ok\n".into())),
        "a short while is nothing"
    );
    eventually("it is said to hang", || {
        healthz().is_some_and(|(status, said)| {
            status == 503 && said.starts_with("the node was last sampled 1")
        })
    });
    let (before, asked) = (age().expect("a metric"), Instant::now());
    assert!(before > 10.0, "{before}");
    eventually("the page of metrics is a new one", || {
        age().is_some_and(|age| age > before)
    });
    let grown = age().expect("a metric") - before;
    assert!(grown <= asked.elapsed().as_secs_f64() + 1.0, "{grown}");
    // Its last report is still there.
    assert_eq!(tick_of(&get(&running.socket(), "/report").body), Some(1));
    drop(go);
    eventually("it is well again", || {
        healthz().is_some_and(|(status, _)| status == 200)
    });
    running.end().expect("ends in order");
}

#[test]
fn a_sampler_that_panics_ends_the_agent_and_leaves_nothing() {
    let mut running = Running::start(
        Duration::from_millis(100),
        Box::new(|tick| {
            assert!(tick.number < 3, "on purpose");
            numbered(tick.number)
        }),
    );
    running.wait();
    let dir = running.dir();
    let error = running.join().expect_err("ends by itself");
    assert!(
        error.to_string().contains("the sampler ended by itself"),
        "{error}"
    );
    assert_eq!(error.exit_code(), 70);
    assert!(!dir.exists(), "the sockets are gone");
}

struct Thread {
    publication: Arc<Publication>,
    demand: Arc<Demand>,
    sampler: SamplerThread,
    ticks: Arc<AtomicU64>,
}

impl Thread {
    fn start(interval: Duration, took: Duration) -> Self {
        let publication = Arc::new(Publication::new("first"));
        let demand = Arc::new(Demand::new());
        let ticks = Arc::new(AtomicU64::new(0));
        let counted = ticks.clone();
        let render: Render = Box::new(move |_| {
            std::thread::sleep(took);
            counted.fetch_add(1, Ordering::Relaxed);
            Rendered::default()
        });
        let (sampler, _ends) =
            SamplerThread::start(render, interval, publication.clone(), demand.clone())
                .expect("starts");
        Thread {
            publication,
            demand,
            sampler,
            ticks,
        }
    }

    fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.sampler.stop();
    }
}

#[test]
fn ticks_that_take_too_long_are_left_out_not_caught_up() {
    let began = Instant::now();
    let thread = Thread::start(Duration::from_millis(50), Duration::from_millis(120));
    eventually("some ticks", || thread.sampler.state().ticks >= 6);
    let state = thread.sampler.state();
    // One begins on every third point of the grid at the most.
    let most = began.elapsed().as_millis() / 150 + 1;
    assert!(u128::from(state.ticks) <= most, "{state:?}");
    assert!(state.skipped >= state.ticks, "{state:?}");
    assert_eq!(state.times.iter().sum::<u64>(), state.ticks);
    assert!(state.busy >= Duration::from_millis(120) * state.ticks as u32);
    assert!(thread.publication.get().sequence >= state.ticks);
}

#[test]
fn the_sampler_slows_down_unasked_and_the_next_request_wakes_it() {
    let interval = Duration::from_millis(500);
    let thread = Thread::start(interval, Duration::ZERO);
    // Nobody asks from the start on.
    eventually("the cadence is slow", || {
        thread.sampler.state().cadence == SLOW_CADENCE
    });
    let asleep = thread.ticks();
    let expected = ASKED_LATELY.as_millis() / interval.as_millis();
    assert!(
        u128::from(asleep) <= expected + 2,
        "{asleep} ticks in {ASKED_LATELY:?}"
    );
    std::thread::sleep(interval * 3);
    assert_eq!(thread.ticks(), asleep, "it sleeps");

    let began = Instant::now();
    thread.demand.asked(Some("ab"), 0);
    eventually("it is awake", || thread.ticks() > asleep);
    assert!(
        began.elapsed() < SLOW_CADENCE / 3,
        "at once, not at the next point: {:?}",
        began.elapsed()
    );
    eventually("and stays so", || thread.ticks() > asleep + 2);
    assert_eq!(thread.sampler.state().cadence, interval);
}

#[test]
fn while_nobody_asks_what_totals_want_is_reported_only_when_a_report_is_nearly_due() {
    let interval = Duration::from_secs(1);
    let (sender, ticks) = std::sync::mpsc::channel();
    let publication = Arc::new(Publication::new("first"));
    let demand = Arc::new(Demand::new());
    let (sampler, _ends) = SamplerThread::start(
        Box::new(move |tick: &Tick| {
            let _ = sender.send((Instant::now(), *tick));
            numbered(tick.number)
        }),
        interval,
        publication.clone(),
        demand.clone(),
    )
    .expect("starts");
    let next = || ticks.recv_timeout(Duration::from_secs(30)).expect("a look");
    let reported = loop {
        let (at, tick) = next();
        assert!(tick.reported && !tick.for_totals);
        if tick.cadence == SLOW_CADENCE {
            break at;
        }
    };
    let published = |number: u64| {
        eventually("it is published", || {
            tick_of(&publication.get().body) == Some(number)
        });
    };
    let mut last = None;
    for _ in 0..2 {
        demand.want_look();
        let (at, tick) = next();
        assert!(tick.for_totals && !tick.reported);
        assert!(at < reported + SLOW_CADENCE / 2);
        last = Some(tick.number);
    }
    let last = last.expect("two looks");
    published(last - 2);
    // As the exchange does some seconds later.
    std::thread::sleep((reported + SLOW_CADENCE * 3 / 4).saturating_duration_since(Instant::now()));
    demand.want_look();
    let (_, tick) = next();
    assert!(tick.for_totals && tick.reported && tick.number == last + 1);
    published(tick.number);
    // Who asks gets a report of now.
    demand.asked(Some("ab"), 0);
    let (_, tick) = next();
    assert!(tick.reported && !tick.for_totals && tick.cadence == interval);
    sampler.stop();
}
