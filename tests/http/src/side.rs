//! What begins like HTTP and is none, since it goes through no stream socket.

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;

use anyhow::ensure;
use rustix::io::{read, write};

use crate::cases::TURNS;
use crate::play::{say, wait_for_the_end};

/// The name of this case.
pub(crate) const NAME: &str = "files, pipes, datagrams";

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Reads requests and writes responses, then waits.
pub(crate) fn serve() -> anyhow::Result<()> {
    let (ours, theirs) = (
        UdpSocket::bind("127.0.0.1:0")?,
        UdpSocket::bind("127.0.0.1:0")?,
    );
    ours.connect(theirs.local_addr()?)?;
    theirs.connect(ours.local_addr()?)?;
    let (out, into) = rustix::pipe::pipe()?;
    let path = std::env::temp_dir().join(format!("http-acceptance-file-{}", std::process::id()));
    for _ in 0..TURNS {
        let mut bytes = [0; 64];
        for text in [REQUEST, RESPONSE] {
            theirs.send(text)?;
            ensure!(ours.recv(&mut bytes)? == text.len(), "a datagram was cut");
            write(&into, text)?;
            ensure!(read(&out, &mut bytes)? == text.len(), "a pipe was cut");
            std::fs::File::create(&path)?.write_all(text)?;
            let read = std::fs::File::open(&path)?.read(&mut bytes)?;
            ensure!(read == text.len(), "a file was cut");
        }
    }
    std::fs::remove_file(&path)?;
    say("none")?;
    wait_for_the_end()
}
