//! The ways in which a process reads from a socket and writes to it.

use std::io::{IoSlice, IoSliceMut, Seek, SeekFrom, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, ensure};
use rustix::io::{read, readv, write, writev};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvmsg, send, sendmsg,
};
use rustix::pipe::{SpliceFlags, pipe, splice};

/// A way to read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum In {
    Recv,
    Read,
    /// Into a piece of so many bytes, and the rest.
    Readv(usize),
    Recvmsg,
    /// Looks at it first and leaves it there.
    PeekAndRecv,
}

/// A way to write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Out {
    Send,
    Write,
    /// From a piece of so many bytes, and the rest.
    Writev(usize),
    /// From pieces of so many bytes each.
    Pieces(usize),
    Sendmsg,
    /// Without a copy by the kernel.
    ZeroCopy,
    /// From a file, which the process never sees.
    Sendfile,
    Splice,
    /// Each byte by a call of its own.
    ByteByByte,
}

const MSG_ZEROCOPY: u32 = 0x0400_0000;

/// Reads so many bytes by one call, which must bring them all.
pub(crate) fn read_by(how: In, socket: &OwnedFd, size: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let got = match how {
        In::Recv => recv(socket, &mut bytes[..], RecvFlags::empty())?.0,
        In::Read => read(socket, &mut bytes)?,
        In::Readv(first) => {
            let (first, rest) = bytes.split_at_mut(first);
            readv(socket, &mut [IoSliceMut::new(first), IoSliceMut::new(rest)])?
        }
        In::Recvmsg => {
            let mut pieces = [IoSliceMut::new(&mut bytes)];
            let mut control = RecvAncillaryBuffer::default();
            recvmsg(socket, &mut pieces, &mut control, RecvFlags::empty())?.bytes
        }
        In::PeekAndRecv => {
            recv(socket, &mut bytes[..], RecvFlags::PEEK)?;
            recv(socket, &mut bytes[..], RecvFlags::empty())?.0
        }
    };
    ensure!(got == size, "{how:?} brought {got} of {size} bytes");
    Ok(bytes)
}

/// Writes these bytes, which must go by one call where there is one.
pub(crate) fn write_by(how: Out, socket: &OwnedFd, bytes: &[u8]) -> anyhow::Result<()> {
    let sent = match how {
        Out::Send => send(socket, bytes, SendFlags::empty())?,
        Out::Write => write(socket, bytes)?,
        Out::Writev(first) => {
            let (first, rest) = bytes.split_at(first);
            writev(socket, &[IoSlice::new(first), IoSlice::new(rest)])?
        }
        Out::Pieces(size) => {
            let pieces: Vec<IoSlice<'_>> = bytes.chunks(size).map(IoSlice::new).collect();
            writev(socket, &pieces)?
        }
        Out::Sendmsg => {
            let pieces = [IoSlice::new(bytes)];
            let mut control = SendAncillaryBuffer::default();
            sendmsg(socket, &pieces, &mut control, SendFlags::empty())?
        }
        Out::ZeroCopy => {
            allow_zero_copy(socket)?;
            send(socket, bytes, SendFlags::from_bits_retain(MSG_ZEROCOPY))?
        }
        Out::Sendfile => {
            let file = file_of(bytes)?;
            let mut at = 0;
            rustix::fs::sendfile(socket, &file, Some(&mut at), bytes.len())?
        }
        Out::Splice => {
            let file = file_of(bytes)?;
            let (out, into) = pipe()?;
            let moved = splice(&file, None, &into, None, bytes.len(), SpliceFlags::empty())?;
            ensure!(moved == bytes.len(), "{moved} bytes into the pipe");
            splice(&out, None, socket, None, moved, SpliceFlags::empty())?
        }
        Out::ByteByByte => {
            let mut sent = 0;
            for byte in bytes {
                sent += send(socket, &[*byte], SendFlags::empty())?;
            }
            sent
        }
    };
    ensure!(
        sent == bytes.len(),
        "{how:?} sent {sent} of {} bytes",
        bytes.len()
    );
    Ok(())
}

/// A file with this content, that has no name.
fn file_of(bytes: &[u8]) -> anyhow::Result<std::fs::File> {
    let path = std::env::temp_dir().join(format!("http-acceptance-{}", std::process::id()));
    let mut file = std::fs::File::create_new(&path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let reading = std::fs::File::open(&path);
    std::fs::remove_file(&path).ok();
    file.write_all(bytes)?;
    let mut reading = reading?;
    reading.seek(SeekFrom::Start(0))?;
    Ok(reading)
}

/// Without this the flag is ignored.
#[allow(unsafe_code, reason = "rustix has no such option")]
fn allow_zero_copy(socket: &OwnedFd) -> anyhow::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the option's value is an integer that outlives the call, and its size is told.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    ensure!(
        done == 0,
        "no zero copy: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}
