//! Asking for a report as Scope's probe does, over a kept connection, and timing the answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

const REQUEST: &[u8] =
    b"GET /report?api_version=1&probe_id=5bdcc0beddf3c14 HTTP/1.1\r\nHost: plugin\r\n\
    User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n\r\n";

/// A kept connection.
pub(crate) struct Asker(BufReader<UnixStream>);

impl Asker {
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Asker(BufReader::with_capacity(256 << 10, stream)))
    }

    /// One request: the body and how long it took.
    pub(crate) fn ask(&mut self) -> anyhow::Result<(Vec<u8>, Duration)> {
        let began = Instant::now();
        self.0.get_mut().write_all(REQUEST)?;
        let mut length = None;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        ensure!(line.contains(" 200 "), "answered with {line:?}");
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let mut body = vec![0; length.context("an answer with a Content-Length")?];
        self.0.read_exact(&mut body)?;
        Ok((body, began.elapsed()))
    }
}

/// A server that does nothing but write a body: what no server of the same body can be faster than.
pub(crate) fn bare_server(socket: &Path, body: Vec<u8>) -> anyhow::Result<()> {
    let listener = UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = [head.as_bytes(), &body].concat();
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 1024];
            while let Ok(1..) = stream.read(&mut request) {
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    Ok(())
}

/// The value below which this part of the sorted values lies.
pub(crate) fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * part).round() as usize)
        .copied()
        .unwrap_or_default()
}
