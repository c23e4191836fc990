//! What counting costs a server: CPU of an nginx worker for each request under wrk, with and without, in
//! alternating rounds. Times of two rounds far apart cannot be compared, ratios of neighbours can.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use scope_agent::bpf::http::{HttpCounter, HttpMode, HttpSetup, HttpWhat};

const PORT: u16 = 18089;
/// Bytes of the two answers that are asked for.
const SIZES: [usize; 2] = [64, 1 << 20];

/// Measures with the nginx and wrk that were unpacked here.
pub(crate) fn run(root: &Path, rounds: usize, seconds: u64) -> anyhow::Result<()> {
    ensure!(rounds > 0 && seconds > 0, "nothing to measure");
    let server = Server::start(root)?;
    let mut modes = Vec::new();
    for mode in [HttpMode::Fexit, HttpMode::SysExit] {
        match count(mode) {
            Ok(_) => modes.push(mode),
            Err(why) => println!("{mode}: not on this kernel: {why}"),
        }
    }
    ensure!(!modes.is_empty(), "this kernel counts in no mode");
    for size in SIZES {
        println!("answers of {size} bytes, CPU of the server for each request:");
        let mut ratios = vec![Vec::new(); modes.len()];
        for round in 1..=rounds {
            let none = server.load(root, size, seconds)?;
            let mut line = format!("  round {round}: none {:.2} µs", none.micros());
            for (mode, ratios) in modes.iter().zip(&mut ratios) {
                let mut counter = count(*mode)?;
                let with = server.load(root, size, seconds)?;
                let seen = requests_seen(&mut counter, server.child.id())?;
                let ratio = with.micros() / none.micros();
                ratios.push(ratio);
                line.push_str(&format!(
                    ", {mode} {:.2} µs = {ratio:.2} ({seen} counted of {})",
                    with.micros(),
                    with.requests
                ));
            }
            println!("{line}");
        }
        for (mode, mut ratios) in modes.iter().zip(ratios) {
            ratios.sort_by(f64::total_cmp);
            println!(
                "  {mode} / none: {:.2} in the middle of {rounds}, {:.2} to {:.2}",
                ratios[ratios.len() / 2],
                ratios[0],
                ratios[ratios.len() - 1]
            );
        }
    }
    Ok(())
}

fn count(mode: HttpMode) -> anyhow::Result<HttpCounter> {
    Ok(HttpCounter::with(HttpSetup {
        fexit: mode == HttpMode::Fexit,
        sys_exit: mode == HttpMode::SysExit,
        ..HttpSetup::default()
    })?)
}

fn requests_seen(counter: &mut HttpCounter, pid: u32) -> anyhow::Result<u64> {
    let counts = counter.read()?.counts;
    let of_server = counts.iter().filter(|count| count.pid == pid);
    let requests = of_server.filter(|count| count.what == HttpWhat::Request);
    Ok(requests.map(|count| count.count).sum())
}

/// What a load took of the server.
struct Cost {
    requests: u64,
    cpu: Duration,
}

impl Cost {
    /// Microseconds for each request.
    fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }
}

/// nginx in one process of one thread.
struct Server {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(root: &Path) -> anyhow::Result<Server> {
        let directory = tempfile::tempdir()?;
        let at = directory.path();
        for size in SIZES {
            std::fs::write(at.join(size.to_string()), vec![b'x'; size])?;
        }
        let at = at.display();
        let config = format!(
            "daemon off; master_process off; user root root; error_log {at}/error; pid {at}/pid;\n\
             events {{}}\n\
             http {{ access_log off; keepalive_requests 100000000; sendfile off;\n\
             client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ listen 127.0.0.1:{PORT}; root {at}; }} }}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config)?;
        let child = program(root, "usr/sbin/nginx")
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .context("nginx")?;
        let server = Server {
            child,
            _directory: directory,
        };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", PORT)).is_err() {
            ensure!(
                began.elapsed() < Duration::from_secs(10),
                "nginx does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Nanoseconds that its only thread has run.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let path = format!("/proc/{}/schedstat", self.child.id());
        let text = std::fs::read_to_string(&path).context(path)?;
        let run = text
            .split_whitespace()
            .next()
            .context("schedstat is empty")?;
        Ok(Duration::from_nanos(run.parse()?))
    }

    fn load(&self, root: &Path, size: usize, seconds: u64) -> anyhow::Result<Cost> {
        let before = self.cpu()?;
        let mut text = String::new();
        let mut wrk = program(root, "usr/bin/wrk")
            .args(["-t1", "-c16", &format!("-d{seconds}")])
            .arg(format!("http://127.0.0.1:{PORT}/{size}"))
            .stdout(Stdio::piped())
            .spawn()
            .context("wrk")?;
        let mut out = wrk.stdout.take().context("a pipe")?;
        out.read_to_string(&mut text)?;
        let status = wrk.wait()?;
        ensure!(status.success(), "wrk ended with {status}: {text}");
        let mut lines = text.lines();
        let requests = lines.find_map(|line| line.trim().split_once(" requests in "));
        let (requests, _) = requests.with_context(|| format!("wrk said {text}"))?;
        let requests: u64 = requests.parse()?;
        ensure!(requests > 0, "no request was answered");
        Ok(Cost {
            requests,
            cpu: self.cpu()? - before,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is ours and nothing of it is kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of unpacked packages, with their libraries.
fn program(root: &Path, path: &str) -> Command {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let libraries: PathBuf = root.join("usr/lib").join(triplet);
    let mut command = Command::new(root.join(path));
    command
        .env("LD_LIBRARY_PATH", libraries)
        .stdin(Stdio::null());
    command
}
