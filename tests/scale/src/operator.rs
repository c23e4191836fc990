//! The operator as a process beside the cluster, with the rights that the chart gives it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use throwaway_cluster::{Cluster, tail_of};

use crate::world::SYSTEM;

/// Its caches fill within a second per thousand nodes.
const START: Duration = Duration::from_secs(60);
/// It gives its Lease up within 21 s.
const STOP: Duration = Duration::from_secs(30);

/// A running operator; ended when dropped, and waited for, so that the next one finds its Lease free.
pub(crate) struct Operator {
    child: Child,
    listens: SocketAddr,
}

/// Bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) highest: u64,
}

impl Operator {
    /// Starts it with the arguments of the chart's Deployment, and waits until its caches are full.
    pub(crate) fn start(program: &Path, cluster: &Cluster) -> anyhow::Result<Operator> {
        let kubeconfig = kubeconfig(cluster)?;
        let listens = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log_path = cluster.logs().join("scope-operator.log");
        let log = File::options()
            .append(true)
            .create(true)
            .open(&log_path)
            .with_context(|| log_path.display().to_string())?;
        let child = Command::new(program)
            .args(arguments(cluster)?)
            .arg(format!("--http-listen={listens}"))
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", SYSTEM)
            .env("POD_NAME", "scope-operator-beside")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let mut operator = Operator { child, listens };
        let started = Instant::now();
        while !operator.get("/readyz").is_ok_and(|(code, _)| code == 200) {
            let ended = operator.child.try_wait()?;
            if ended.is_some() || started.elapsed() > START {
                let log = tail_of(&log_path, 20);
                bail!("the operator does not get ready ({ended:?}); its log ends with\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(operator)
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let value = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            value.map(|kb| kb * 1024).with_context(|| key.to_owned())
        };
        Ok(Memory {
            resident: bytes("VmRSS:")?,
            highest: bytes("VmHWM:")?,
        })
    }

    /// Its metrics, as text.
    pub(crate) fn metrics(&self) -> anyhow::Result<String> {
        let (code, text) = self.get("/metrics")?;
        ensure!(code == 200, "/metrics answers {code}");
        Ok(text)
    }

    fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.listens)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((code.context("no HTTP status")?, body.to_owned()))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let told = Instant::now();
        while told.elapsed() < STOP {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("the operator did not stop within {STOP:?} and is killed");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the chart's Deployment has, but where it listens.
fn arguments(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let get = ["get", "deployment/scope-operator", "-o", "json"];
    let text = cluster.kubectl(&[get.as_slice(), &["--namespace", SYSTEM]].concat())?;
    let deployment: Value = serde_json::from_str(&text)?;
    let all = deployment
        .pointer("/spec/template/spec/containers/0/args")
        .and_then(Value::as_array)
        .context("the operator's Deployment has no arguments")?;
    Ok(all
        .iter()
        .filter_map(Value::as_str)
        .filter(|argument| !argument.starts_with("--http-listen"))
        .map(str::to_owned)
        .collect())
}

/// A kubeconfig with a token of the operator's account.
fn kubeconfig(cluster: &Cluster) -> anyhow::Result<std::path::PathBuf> {
    let create = ["create", "token", "scope-operator", "--duration=12h"];
    let token = cluster.kubectl(&[create.as_slice(), &["--namespace", SYSTEM]].concat())?;
    let config = cluster.kubectl(&["config", "view", "--raw", "-o", "json"])?;
    let config: Value = serde_json::from_str(&config)?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": config["clusters"][0]["cluster"]}],
        "users": [{"name": "u", "user": {"token": token.trim()}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    });
    // Beside the administrator's, which is only for root too.
    let path = cluster.kubeconfig().with_file_name("operator.kubeconfig");
    std::fs::write(&path, config.to_string()).with_context(|| path.display().to_string())?;
    Ok(path)
}
