//! A plugin in a thread, for tests.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// What a plugin was asked: the connection's number and the bytes of the request.
pub(crate) type Seen = Arc<Mutex<Vec<(usize, String)>>>;

/// What to do with a request.
pub(crate) enum Reply {
    Answer(Vec<u8>),
    /// Answer and close.
    Last(Vec<u8>),
}

/// Serves a socket with a function from the path asked for to the reply; never ends.
pub(crate) fn serve(path: &Path, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Seen {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let reply = Arc::new(reply);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (seen, reply) = (Arc::clone(&kept), Arc::clone(&reply));
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                while let Some(request) = request(&mut stream) {
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    seen.lock().unwrap().push((number, request));
                    let (bytes, last) = match reply(&path) {
                        Reply::Answer(bytes) => (bytes, false),
                        Reply::Last(bytes) => (bytes, true),
                    };
                    if stream.write_all(&bytes).is_err() || last {
                        return;
                    }
                }
            });
        }
    });
    seen
}

fn request(stream: &mut UnixStream) -> Option<String> {
    let mut request = String::new();
    let mut block = [0; 4096];
    loop {
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(request);
            }
        }
        match stream.read(&mut block) {
            Ok(0) | Err(_) => return None,
            Ok(size) => request.push_str(std::str::from_utf8(&block[..size]).unwrap()),
        }
    }
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A good report with these interfaces and topologies.
pub(crate) fn report(id: &str, interfaces: &str, topologies: &str) -> String {
    let comma = if topologies.is_empty() { "" } else { "," };
    format!(
        r#"{{"Plugins":[{{"id":"{id}","label":"L","interfaces":[{interfaces}],"api_version":"1"}}]{comma}{topologies}}}"#
    )
}
