//! `iowait` and `idle` against the counters of the kernel over the same seconds, while something reads
//! from the disk past all caches.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use super::{NODE, with_example};
use crate::progress::await_some;
use crate::world::World;

/// For a mean since boot, hours of idling would have to be in balance with these seconds.
const SPAN: Duration = Duration::from_secs(20);

/// The agent looks so often while it is asked.
const SECOND: f64 = 1.0;

/// The seconds of the agent and ours do not begin at the same instant: a twentieth may be another one.
const SLACK: f64 = 6.0;

pub(in super::super) fn against_the_kernel(world: &mut World) -> anyhow::Result<()> {
    with_example(world, "iowait", |world| {
        let mut reader = Reader::start(world)?;
        let measured = measure(world, &mut reader);
        reader.stop();
        measured
    })
}

fn measure(world: &mut World, reader: &mut Reader) -> anyhow::Result<()> {
    let id = format!("{NODE};<host>");
    let (mut waits, mut idles) = (Vec::new(), Vec::new());
    // The agent's first sample that is compared is of a second that began after the reader, too.
    let reading = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    await_some("a sample of while it reads", SPAN, || {
        let heard = world.hear(NODE)?;
        let host = heard.node("Host", &id).context("the host")?;
        let (at, _) = host.timed("iowait").context("iowait")?;
        Ok(match at > reading + SECOND {
            true => Ok(()),
            false => Err(format!("one of {:.1} s after its start", at - reading)),
        })
    })?;
    let before = times()?;
    let began = Instant::now();
    while began.elapsed() < SPAN {
        let heard = world.hear(NODE)?;
        let host = heard.node("Host", &id).context("the host")?;
        // Both, in every report.
        waits.push(host.metric("iowait").context("iowait")?);
        idles.push(host.metric("idle").context("idle")?);
        reader.must_run()?;
        std::thread::sleep(Duration::from_secs(1));
    }
    let after = times()?;
    let all: u64 = after.iter().zip(&before).map(|(a, b)| a - b).sum();
    let share = |column: usize| (after[column] - before[column]) as f64 / all as f64 * 100.0;
    let mean = |figures: &[f64]| figures.iter().sum::<f64>() / figures.len().max(1) as f64;
    let since_boot = after[4] as f64 / after.iter().sum::<u64>() as f64 * 100.0;
    eprintln!(
        "    iowait {:.1} %, by /proc/stat {:.1} % (since boot {since_boot:.1} %); idle {:.1} %, by /proc/stat {:.1} %",
        mean(&waits),
        share(4),
        mean(&idles),
        share(3),
    );
    for (name, ours, theirs) in [
        ("iowait", mean(&waits), share(4)),
        ("idle", mean(&idles), share(3)),
    ] {
        ensure!(
            (ours - theirs).abs() <= SLACK,
            "{name}: we say {ours:.1} %, the kernel {theirs:.1} %"
        );
    }
    Ok(())
}

/// user nice system idle iowait irq softirq steal; all nodes share the machine's.
fn times() -> anyhow::Result<Vec<u64>> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let columns = line.split_whitespace().skip(1).take(8);
    let times: Vec<u64> = columns.map(str::parse).collect::<Result<_, _>>()?;
    ensure!(times.len() == 8, "{line}");
    Ok(times)
}

/// Reads a file on the node's disk again and again, each time from the disk itself.
struct Reader {
    child: std::process::Child,
    file: PathBuf,
}

impl Reader {
    fn start(world: &World) -> anyhow::Result<Reader> {
        let file = world.node(NODE)?.disk().join("var/tmp/to-be-read");
        let script = "dd if=/dev/zero of=$1 bs=1M count=64 conv=fsync && \
                      while dd if=$1 of=/dev/null bs=4k iflag=direct; do :; done";
        let child = std::process::Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&file)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        Ok(Reader { child, file })
    }

    fn must_run(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(
            ended.is_none(),
            "the disk cannot be read directly: {ended:?}"
        );
        Ok(())
    }

    fn stop(mut self) {
        // Whatever they say, the file goes.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}
