//! The service under measurement.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::api::kubeconfig;

/// What the service's certificate says.
pub const NAME: &str = "scope-totals.scope-system.svc";

/// A running service; ended when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// Where agents reach it.
    pub exchange: SocketAddr,
    http: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Service {
    /// Starts this program, built for release, against this API server.
    pub fn start(program: &Path, api: SocketAddr) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("kubeconfig");
        fs::write(&config, kubeconfig(api))?;
        let (exchange, http) = (free_port()?, free_port()?);
        let child = Command::new(program)
            .args(["run", "--namespace", "scope-system", "--pod-name", "bench"])
            .args(["--pod-ip", "127.0.0.1", "--log-level", "warn"])
            .args(["--listen", &exchange.to_string()])
            .args(["--http-listen", &http.to_string()])
            .env("KUBECONFIG", &config)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self {
            child,
            exchange,
            http,
            _directory: directory,
        })
    }

    /// Waits until it is ready and leads. Fails if it does not within two minutes.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let started = std::time::Instant::now();
        let mut last = String::new();
        while started.elapsed() < Duration::from_secs(120) {
            let ready = self.ask("/readyz").await.unwrap_or_default();
            let metrics = self.ask("/metrics").await.unwrap_or_default();
            if ready == "ok\n" && metrics.contains("scope_totals_is_leader 1") {
                return Ok(());
            }
            last = ready;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the service is not ready after two minutes: {last}")
    }

    async fn ask(&self, path: &str) -> anyhow::Result<String> {
        let stream = TcpStream::connect(self.http).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(path)
            .header("Host", "x")
            .body(Empty::<Bytes>::new())?;
        let body = sender
            .send_request(request)
            .await?
            .into_body()
            .collect()
            .await?;
        connection.abort();
        Ok(String::from_utf8(body.to_bytes().to_vec())?)
    }

    /// CPU that it has taken so far, with that of threads that are over: those that add up come and go.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the program's name, which may have anything in it, comes the third field.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let mut fields = fields.unwrap_or_default().split_whitespace();
        let mut next = |nth| fields.nth(nth).and_then(|text| text.parse::<u64>().ok());
        let ticks = next(11).zip(next(0)).map(|(user, system)| user + system);
        let ticks = ticks.context("the kernel tells no CPU times")?;
        Ok(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// Counts what is resident at most from now on.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        // proc(5): 5 sets it to what is resident now.
        Ok(fs::write(
            format!("/proc/{}/clear_refs", self.child.id()),
            "5",
        )?)
    }

    /// Resident MiB, now and at most.
    pub fn resident(&self) -> anyhow::Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mebibytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            value
                .map(|kilobytes| kilobytes / 1024.0)
                .with_context(|| key.to_owned())
        };
        Ok((mebibytes("VmRSS:")?, mebibytes("VmHWM:")?))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of this machine that nobody listens on at present.
pub fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
