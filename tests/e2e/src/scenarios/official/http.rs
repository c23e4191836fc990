//! HTTP of a real server under load: what Scope is told against the server's own log, code by code.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use throwaway_cluster::images::make_server;

use super::{NODE, with_manifest};
use crate::progress::{await_some, step};
use crate::truth::{PodTruth, pods_in};
use crate::world::World;

const PLUGIN: &str = "http-statistics";
const NAMESPACE: &str = "served";

/// The load's time; long enough for the ends to weigh little.
const LOAD: Duration = Duration::from_secs(30);

/// A figure is of the second between two readings, and is told with the time of the report, which is
/// cut to a tenth of a second; and while the machine is full of load, a figure may be missed here. Over
/// the whole load that evens out to less than this share. That nothing at all is missed is for the
/// tests of package `http-acceptance` to show, which read the kernel's counts themselves.
const SLACK: f64 = 0.02;

const SOON: Duration = Duration::from_secs(90);

/// The server that is asked, one that nobody asks, and who asks.
const PODS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: served}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: served, namespace: served}
data:
  nginx.conf: |
    daemon off;
    user root;
    worker_processes 1;
    error_log /dev/null;
    pid /run/nginx.pid;
    events {}
    http {
      log_format code '$status';
      access_log /tmp/codes code buffer=32k flush=1s;
      keepalive_requests 1000000;
      server {
        listen 8080;
        location = / { return 200 "here\n"; }
        location = /broken { return 500; }
        location / { return 404; }
      }
    }
  mix.lua: |
    local paths = {"/", "/", "/", "/missing", "/broken"}
    local turn = 0
    function request()
      turn = turn % #paths + 1
      return wrk.format("GET", paths[turn])
    end
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: served}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node1}
      terminationGracePeriodSeconds: 0
      containers:
        - name: nginx
          image: harness.local/server:1
          imagePullPolicy: Never
          command: [nginx, -c, /etc/served/nginx.conf]
          volumeMounts: [{name: served, mountPath: /etc/served}]
      volumes: [{name: served, configMap: {name: served}}]
---
apiVersion: v1
kind: Pod
metadata: {name: bystander, namespace: served}
spec:
  nodeSelector: {kubernetes.io/hostname: node1}
  terminationGracePeriodSeconds: 0
  containers:
    - name: nginx
      image: harness.local/server:1
      imagePullPolicy: Never
      command: [nginx, -c, /etc/served/nginx.conf]
      volumeMounts: [{name: served, mountPath: /etc/served}]
  volumes: [{name: served, configMap: {name: served}}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: served}
spec:
  nodeSelector: {kubernetes.io/hostname: node1}
  terminationGracePeriodSeconds: 0
  containers:
    - name: wrk
      image: harness.local/server:1
      imagePullPolicy: Never
      command: [busybox, sleep, "1000000"]
      volumeMounts: [{name: served, mountPath: /etc/served}]
  volumes: [{name: served, configMap: {name: served}}]
"#;

pub(in super::super) fn by_count(world: &mut World) -> anyhow::Result<()> {
    step("an image with nginx and wrk", |_| {
        let scratch = tempfile::tempdir()?;
        let archive = make_server(scratch.path())?;
        Ok(world.node(NODE)?.load_image(&archive)?)
    })?;
    world.kubectl.apply(PODS)?;
    let shown = counted(world).and_then(|()| not_asked_for(world));
    world
        .kubectl
        .ok(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    shown
}

/// The three pods, by what they are.
struct Pods {
    server: PodTruth,
    bystander: PodTruth,
    client: PodTruth,
}

fn running(world: &World) -> anyhow::Result<Pods> {
    await_some("the pods", SOON, || {
        let pods = pods_in(&world.kubectl, NAMESPACE)?;
        let one = |prefix: &str| {
            let mut found = pods.iter().filter(|pod| pod.name.starts_with(prefix));
            found.find(|pod| pod.containers.len() == 1).cloned()
        };
        Ok(match (one("server"), one("bystander"), one("client")) {
            (Some(server), Some(bystander), Some(client)) => Ok(Pods {
                server,
                bystander,
                client,
            }),
            _ => Err(format!("{pods:?}")),
        })
    })
}

/// With the dearer way allowed, since not every kernel takes the better one.
fn counted(world: &mut World) -> anyhow::Result<()> {
    let pods = running(world)?;
    let example = world.product.text(&format!("examples/{PLUGIN}.yaml"))?;
    let allowed = example.replace("allowSysExit: false", "allowSysExit: true");
    ensure!(allowed != example, "the example has no allowSysExit");
    with_manifest(world, PLUGIN, &allowed, |world| {
        let said = world.hear(NODE)?.plugin_description(PLUGIN);
        let said = said.context("a description")?;
        ensure!(
            said.contains("(sys_exit)") || said.contains("(fexit)"),
            "{said}"
        );
        eprintln!("    {said}");
        let told = under_load(world, &pods)?;
        let truth = logged(world, &pods.server)?;
        compare(&told, &truth)
    })
}

/// What was told of the server's pod and its container, summed up over time.
#[derive(Debug, Default)]
struct Told {
    pod: BTreeMap<String, Sum>,
    container: BTreeMap<String, Sum>,
}

/// Of rates that are of a second each.
#[derive(Debug, Default)]
struct Sum {
    total: f64,
    last: f64,
}

impl Sum {
    /// A rate, so many seconds after the last. Those that were missed in between are taken for the mean
    /// of the two.
    fn add(&mut self, rate: f64, seconds: f64) {
        let missed = (seconds - 1.0).max(0.0);
        self.total += rate * seconds.min(1.0) + missed * (rate + self.last) / 2.0;
        self.last = rate;
    }
}

/// The metrics that are summed up.
const METRICS: [&str; 7] = [
    "http_requests_per_second",
    "http_200_responses_per_second",
    "http_404_responses_per_second",
    "http_500_responses_per_second",
    "http_2xx_responses_per_second",
    "http_4xx_responses_per_second",
    "http_5xx_responses_per_second",
];

fn under_load(world: &mut World, pods: &Pods) -> anyhow::Result<Told> {
    let mut load = Load::start(world, &pods.server)?;
    let pod = pods.server.node_id();
    let container = pods
        .server
        .containers
        .keys()
        .next()
        .context("a container")?;
    let container = format!("{container};<container>");
    let mut told = Told::default();
    let mut last: Option<f64> = None;
    let mut errors = Vec::new();
    let began = Instant::now();
    // Until the load is over and a second without any was told.
    loop {
        ensure!(began.elapsed() < LOAD * 3, "the rate does not fall to 0");
        let heard = world.hear(NODE)?;
        for other in [&pods.bystander, &pods.client] {
            let id = other.node_id();
            let node = heard.node("Pod", &id);
            let rate = node.and_then(|node| node.metric(METRICS[0]));
            ensure!(rate.unwrap_or_default() == 0.0, "{}: {rate:?}", other.name);
        }
        let server = heard.node("Pod", &pod);
        if let Some((at, rate)) = server.and_then(|pod| pod.timed(METRICS[0]))
            && last.is_none_or(|last| at > last)
        {
            // Ticks are whole seconds apart, on absolute deadlines.
            let span = last.map_or(1.0, |last| (at - last).round());
            last = Some(at);
            for (sums, topology, id) in [
                (&mut told.pod, "Pod", &pod),
                (&mut told.container, "Container", &container),
            ] {
                let node = heard.node(topology, id).context("the server")?;
                for metric in METRICS {
                    let rate = node.metric(metric).unwrap_or_default();
                    let sum = sums.entry(metric.to_owned()).or_default();
                    sum.add(rate, span);
                }
                errors.extend(node.metric("http_error_ratio"));
            }
            if rate == 0.0 && load.is_over()? {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    // Not while the machine is full of load, in which an answer may be late.
    world.hear(NODE)?.must_conform()?;
    let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
    ensure!((mean - 20.0).abs() < 2.0, "{mean} % errors, want a fifth");
    Ok(told)
}

/// wrk in its pod.
struct Load(Child);

impl Load {
    fn start(world: &World, server: &PodTruth) -> anyhow::Result<Load> {
        let args = ["get", "pod", "-n", NAMESPACE, &server.name];
        let pod = world.kubectl.json(&args)?;
        let ip = pod["status"]["podIP"].as_str().context("an address")?;
        let url = format!("http://{ip}:8080/");
        let seconds = format!("-d{}", LOAD.as_secs());
        let mut command = world.kubectl.prepared(&[
            "exec",
            "-n",
            NAMESPACE,
            "client",
            "--",
            "wrk",
            "-t1",
            "-c8",
            &seconds,
            "-s",
            "/etc/served/mix.lua",
            &url,
        ]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Load(child?))
    }

    fn is_over(&mut self) -> anyhow::Result<bool> {
        match self.0.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!("wrk ended with {status}"),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It has ended unless something went wrong.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Responses by code in the server's log, when it is written to its end.
fn logged(world: &World, server: &PodTruth) -> anyhow::Result<BTreeMap<String, u64>> {
    let count = "busybox sort /tmp/codes | busybox uniq -c";
    let args = ["exec", "-n", NAMESPACE, &server.name, "--"];
    let args = [&args[..], &["busybox", "sh", "-c", count]].concat();
    let mut before = String::new();
    let text = await_some("the end of the log", SOON, || {
        let text = world.kubectl.ok(&args)?;
        Ok(match text == before {
            true => Ok(text),
            false => {
                before = text;
                // It is written once a second.
                std::thread::sleep(Duration::from_millis(1500));
                Err(before.clone())
            }
        })
    })?;
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let (count, code) = words.next().zip(words.next()).context("a count")?;
            Ok((code.to_owned(), count.parse()?))
        })
        .collect()
}

fn compare(told: &Told, truth: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let codes: BTreeSet<&str> = truth.keys().map(String::as_str).collect();
    ensure!(codes == BTreeSet::from(["200", "404", "500"]), "{truth:?}");
    let all: u64 = truth.values().sum();
    ensure!(all > 5_000, "only {all} requests");
    for metric in METRICS {
        let want = match metric.strip_prefix("http_").and_then(|m| m.get(..3)) {
            Some("2xx") => truth["200"],
            Some("4xx") => truth["404"],
            Some("5xx") => truth["500"],
            Some(code) => truth.get(code).copied().unwrap_or(all),
            None => all,
        } as f64;
        for (what, sums) in [("pod", &told.pod), ("container", &told.container)] {
            let ours = sums[metric].total;
            eprintln!("    {what} {metric}: {ours:.0}, by the server {want}");
            ensure!(
                (ours - want).abs() <= want * SLACK,
                "{what} {metric}: we say {ours:.0}, the server {want}"
            );
        }
    }
    Ok(())
}

/// As the example is: where the kernel refuses the better way, nothing is counted, Scope's list of
/// plugins says why, and the agent is ready.
fn not_asked_for(world: &mut World) -> anyhow::Result<()> {
    let pods = running(world)?;
    let example = world.product.text(&format!("examples/{PLUGIN}.yaml"))?;
    with_manifest(world, PLUGIN, &example, |world| {
        let heard = world.hear(NODE)?;
        let said = heard.plugin_description(PLUGIN).context("a description")?;
        if said.contains("(fexit)") {
            eprintln!("    this kernel has the better way: {said}");
            return Ok(());
        }
        ensure!(said.contains("HTTPStatistics is off: "), "{said}");
        ensure!(said.contains("allowSysExit is not set"), "{said}");
        ensure!(said.contains("HTTP requests and responses ("), "{said}");
        let server = heard.node("Pod", &pods.server.node_id());
        let rate = server.and_then(|pod| pod.metric(METRICS[0]));
        ensure!(rate.is_none(), "{rate:?} of what is not counted");
        eprintln!("    {said}");
        Ok(())
    })
}
