//! A file system that never answers: FUSE without anybody behind it. Whoever asks it waits until it
//! is given up.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, ensure};

use super::NODE;
use crate::world::World;

/// It hangs while this lives.
pub(super) struct HungFileSystem {
    /// Holds the other end.
    holder: Child,
    unmount: std::process::Command,
}

impl HungFileSystem {
    /// Mounts one in the node.
    pub(super) fn mount(world: &World, path: &str) -> anyhow::Result<HungFileSystem> {
        let node = world.node(NODE)?;
        let script = "exec 3<>/dev/fuse && \
                      mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none \"$1\" && \
                      echo mounted && read nothing";
        let mut holder = node
            .command("bash")?
            .args(["-c", script, "bash", path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut unmount = node.command("umount")?;
        // What would look at the path would hang with it.
        unmount.args(["-l", "-c", path]);
        let said = holder.stdout.take().context("its words")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        let mounted = HungFileSystem { holder, unmount };
        ensure!(line == "mounted\n", "no FUSE at {path}: {line}");
        Ok(mounted)
    }
}

impl Drop for HungFileSystem {
    fn drop(&mut self) {
        // Without the holder's end everybody who waits gets an error. Whatever they say: what is left is
        // reported when the cluster goes down.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        let _ = self.unmount.status();
    }
}
