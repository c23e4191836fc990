//! How client and server of a case are connected.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// Nothing takes so long, even on an emulated machine: who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    V4,
    V6,
    Unix,
}

/// Where a server listens.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(crate) fn new(link: Link) -> anyhow::Result<Listener> {
        let listener = match link {
            Link::V4 => Listener::Tcp(TcpListener::bind("127.0.0.1:0")?),
            Link::V6 => Listener::Tcp(TcpListener::bind("[::1]:0").context("no IPv6 here")?),
            Link::Unix => {
                let name = format!("http-acceptance-{}.sock", std::process::id());
                let path = std::env::temp_dir().join(name);
                Listener::Unix(UnixListener::bind(&path)?, path)
            }
        };
        Ok(listener)
    }

    /// What a client needs to know.
    pub(crate) fn address(&self) -> anyhow::Result<String> {
        Ok(match self {
            Listener::Tcp(listener) => listener.local_addr()?.to_string(),
            Listener::Unix(_, path) => path.display().to_string(),
        })
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> anyhow::Result<OwnedFd> {
        let connection = match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.into()
            }
            Listener::Unix(listener, _) => listener.accept()?.0.into(),
        };
        patient(connection)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            std::fs::remove_file(path).ok();
        }
    }
}

/// Connects to a server.
pub(crate) fn connect(link: Link, address: &str) -> anyhow::Result<OwnedFd> {
    let connection = match link {
        Link::V4 | Link::V6 => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.into()
        }
        Link::Unix => UnixStream::connect(address)?.into(),
    };
    patient(connection)
}

fn patient(connection: OwnedFd) -> anyhow::Result<OwnedFd> {
    for timeout in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&connection, timeout, Some(PATIENCE))?;
    }
    Ok(connection)
}

/// Reads exactly so many bytes.
pub(crate) fn read_exactly(from: &OwnedFd, size: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut have = 0;
    while have < size {
        match rustix::io::read(from, &mut bytes[have..])? {
            0 => bail!("the other side closed after {have} of {size} bytes"),
            more => have += more,
        }
    }
    Ok(bytes)
}
