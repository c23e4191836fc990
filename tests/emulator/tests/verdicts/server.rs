//! A plugin that answers as it is told, for good or bad.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::entry::{Body, Entry, Transport};

/// Serves one socket until it is dropped.
pub(crate) struct Server {
    path: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(path: &Path, entry: &Entry) -> Self {
        let listener = UnixListener::bind(path).expect("a fresh path can be bound");
        let over = Arc::new(AtomicBool::new(false));
        let plugin = Plugin {
            entry: entry.clone(),
            over: Arc::clone(&over),
        };
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                for stream in listener.incoming().map_while(Result::ok) {
                    if plugin.is_over() {
                        return;
                    }
                    // A client that goes away in the middle is none of the server's concern.
                    scope.spawn(|| drop(plugin.serve(stream)));
                }
            });
        });
        Self {
            path: path.to_owned(),
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Plugin {
    entry: Entry,
    over: Arc<AtomicBool>,
}

impl Plugin {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        // Only so that the thread notices when all is over.
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        while let Some(request) = self.request(&mut stream)? {
            let click = request.starts_with("POST /control");
            let (body, transport) = match (&self.entry.control_answer, click) {
                (Some(answer), true) => (answer, &self.entry.control_transport),
                _ => (&self.entry.report, &self.entry.transport),
            };
            let moved = transport.redirect && !request.contains(" /elsewhere ");
            if !self.answer(&mut stream, body, transport, moved)? {
                return stream.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Reads a request with its body; `None` when there are no more.
    fn request(&self, stream: &mut UnixStream) -> std::io::Result<Option<String>> {
        let mut request = Vec::new();
        let mut block = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&request);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "));
                if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
                    return Ok(Some(text.into_owned()));
                }
            }
            match stream.read(&mut block) {
                Ok(0) => return Ok(None),
                Ok(size) => request.extend_from_slice(&block[..size]),
                Err(_) if self.is_over() => return Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one answer; `false` if the connection is to be closed.
    fn answer(
        &self,
        stream: &mut UnixStream,
        body: &Body,
        transport: &Transport,
        moved: bool,
    ) -> std::io::Result<bool> {
        if transport.hang_up {
            return Ok(false);
        }
        self.wait(transport.delay);
        if moved {
            let head = "HTTP/1.1 302 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            return Ok(true);
        }
        let mut body = body.at(SystemTime::now());
        if transport.gzip {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all(&body)?;
            body = packed.finish()?;
        }
        let mut closes = transport.http10 || transport.no_length;
        let version = if transport.http10 { "1.0" } else { "1.1" };
        let status = match transport.status {
            None => "200 OK".to_owned(),
            Some(status) => format!("{status} X"),
        };
        let content_type = transport
            .content_type
            .as_deref()
            .unwrap_or("application/json");
        let mut head = format!("HTTP/{version} {status}\r\nContent-Type: {content_type}\r\n");
        if transport.gzip {
            head.push_str("Content-Encoding: gzip\r\n");
        }
        if transport.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
            body = in_chunks(&body);
        } else if !transport.no_length {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        if transport.no_length {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        if let Some(size) = transport.truncate {
            body.truncate(size);
            closes = true;
        }
        stream.write_all(head.as_bytes())?;
        self.send(stream, &body, transport.drip)?;
        Ok(!closes)
    }

    /// Sends a body in many equal pieces over a time, or at once.
    fn send(&self, stream: &mut UnixStream, body: &[u8], drip: Duration) -> std::io::Result<()> {
        if drip.is_zero() {
            return stream.write_all(body);
        }
        const PIECES: u32 = 30;
        for piece in body.chunks(body.len().div_ceil(PIECES as usize).max(1)) {
            stream.write_all(piece)?;
            self.wait(drip / PIECES);
        }
        Ok(())
    }
}

fn in_chunks(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(100) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
