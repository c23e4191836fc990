//! What runs in containers.

use std::ffi::OsString;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// The argument that makes this program a workload.
pub(crate) const WORKLOAD: &str = "workload";
/// What a workload prints once it is where it belongs and does what it does.
pub(crate) const READY: &str = "ready";
/// The size of a direct read or write.
pub(crate) const BLOCK: usize = 64 << 10;
/// Bytes of data in a packet.
pub(crate) const PACKET: usize = 1000;
/// Packets per second; an emulated machine sends fewer.
pub(crate) const PACKETS: u32 = 20;
/// Where a workload sends packets back.
pub(crate) const ECHO_PORT: u16 = 7;
/// Where it sends this many bytes to whoever connects.
pub(crate) const SEND_PORT: u16 = 19;
pub(crate) const SENT_BYTES: usize = 512 << 10;

/// Where a process starts, besides its control group.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start {
    /// The network namespace.
    pub(crate) network: Network,
    /// Whether it gets a namespace of control groups of its own, as containers do on version 2.
    pub(crate) private_cgroups: bool,
}

/// A network namespace.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Network {
    /// The machine's.
    #[default]
    Host,
    /// A new one.
    New,
    /// That of this process.
    Of(u32),
}

impl Start {
    /// The arguments that say so.
    pub(crate) fn words(&self, cgroup: &Path) -> [OsString; 3] {
        let network = match self.network {
            Network::Host => "host".to_owned(),
            Network::New => "new".to_owned(),
            Network::Of(pid) => pid.to_string(),
        };
        let cgroups = if self.private_cgroups {
            "private"
        } else {
            "shared"
        };
        [cgroup.into(), network.into(), cgroups.into()]
    }
}

/// Goes where the arguments say and does what they say.
pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    let [cgroup, network, cgroups, role @ ..] = words else {
        bail!("what to do is missing");
    };
    let procs = Path::new(cgroup).join("cgroup.procs");
    // 0 is the process that writes.
    std::fs::write(&procs, "0").with_context(|| format!("cannot enter {cgroup}"))?;
    match *network {
        "host" => {}
        "new" => unshare(UnshareFlags::NEWNET)?,
        pid => {
            let path = format!("/proc/{pid}/ns/net");
            let file = std::fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&file),
                Some(LinkNameSpaceType::Network),
            )
            .with_context(|| format!("cannot enter {path}"))?;
        }
    }
    if *cgroups == "private" {
        unshare(UnshareFlags::NEWCGROUP)?;
    }
    act(role)
}

#[allow(unsafe_code, reason = "unshare is only offered as unsafe")]
fn unshare(flags: UnshareFlags) -> anyhow::Result<()> {
    // SAFETY: the hazard of unshare is FILES and other threads that rely on a shared descriptor
    // table; this process has one thread, and neither flag is FILES.
    unsafe { unshare_unsafe(flags) }.context("cannot make a namespace")
}

fn act(role: &[&str]) -> anyhow::Result<()> {
    match role {
        ["rest"] => {
            ready();
            rest()
        }
        ["burn"] => {
            ready();
            loop {
                std::hint::spin_loop();
            }
        }
        ["hold", mib] => {
            let _held = touched(mib.parse::<usize>()? << 20);
            ready();
            rest()
        }
        ["outgrow"] => {
            ready();
            let mut memory = Vec::new();
            loop {
                memory.push(touched(1 << 20));
            }
        }
        ["disk", device] => use_disk(device),
        ["send", to] => send(to),
        ["answer"] => answer(),
        ["exec", program, arguments @ ..] => {
            let error = Command::new(program).args(arguments).exec();
            Err(error).with_context(|| format!("cannot start {program}"))
        }
        _ => bail!("{role:?} is nothing that a workload does"),
    }
}

/// Whoever waits for this may have gone; the work goes on.
fn ready() {
    let mut output = std::io::stdout();
    writeln!(output, "{READY}")
        .and_then(|()| output.flush())
        .ok();
}

fn rest() -> ! {
    loop {
        std::thread::park();
    }
}

/// Memory that is really there.
fn touched(bytes: usize) -> Vec<u8> {
    std::hint::black_box(vec![1; bytes])
}

/// Writes and reads blocks in turn, past the page cache.
fn use_disk(device: &str) -> anyhow::Result<()> {
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    let disk = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(device)
        .with_context(|| format!("cannot open {device}"))?;
    // Direct I/O wants memory that begins at a multiple of a sector.
    let mut memory = vec![0; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(4096);
    let block = &mut memory[start..start + BLOCK];
    ready();
    loop {
        disk.write_all_at(block, 0).context("cannot write")?;
        disk.read_exact_at(block, 0).context("cannot read")?;
    }
}

/// Sends back what comes, and data to whoever connects.
fn answer() -> anyhow::Result<()> {
    let packets = UdpSocket::bind(("0.0.0.0", ECHO_PORT)).context("cannot make a socket")?;
    let listener = TcpListener::bind(("0.0.0.0", SEND_PORT)).context("cannot listen")?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who leaves early has no need of the rest.
            stream.write_all(&vec![0; SENT_BYTES]).ok();
        }
    });
    ready();
    let mut packet = [0; PACKET];
    loop {
        let (length, from) = packets.recv_from(&mut packet)?;
        packets.send_to(&packet[..length], from).ok();
    }
}

/// Sends packets to an address at a steady pace; whether anyone listens does not matter.
fn send(to: &str) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
    socket
        .connect(to)
        .with_context(|| format!("cannot reach {to}"))?;
    ready();
    loop {
        // A refusal is the answer to the packet before.
        socket.send(&[0; PACKET]).ok();
        std::thread::sleep(Duration::from_secs(1) / PACKETS);
    }
}
