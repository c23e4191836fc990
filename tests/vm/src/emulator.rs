//! Runs the guest and listens to it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use throwaway_cluster::{Patience, Progress, tail_of};
use throwaway_vm_guest::Line;

use crate::error::{Error, Result};
use crate::{Clock, Scenario};

/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// How long the guest may take to switch itself off once it has said how it went.
const OFF_LIMIT: Duration = Duration::from_secs(10);
/// How many lines of the console go into an error.
const CONSOLE_LINES: usize = 25;
/// How often the time is looked at while the guest is silent.
const TICK: Duration = Duration::from_millis(500);

/// What a guest is started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) scenario: &'a Scenario,
    /// What its program is told after the scenario's name.
    pub(crate) words: &'a [String],
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// Where what it prints goes.
    pub(crate) console: &'a Path,
}

/// Starts the guest, waits for its result and ends it whatever happens.
pub(crate) fn run(start: &Start<'_>, progress: &Progress) -> Result<()> {
    let (scenario, console) = (start.scenario, start.console);
    let mut child = command(start).spawn().map_err(Error::Emulator)?;
    let port = child.stdout.take();
    let heard = std::thread::scope(|scope| {
        let (sender, lines) = channel();
        if let Some(port) = port {
            // Ends with the emulator, which holds the other end.
            scope.spawn(move || {
                for line in lines_of(port) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let heard = listen(&lines, scenario.limit, progress);
        let status = end(&mut child, matches!(heard.end, End::Result(_)));
        (heard, status)
    });
    let (heard, status) = heard;
    let name = scenario.name.to_owned();
    let tail = || tail_of(console, CONSOLE_LINES).replace('\r', "");
    match heard.end {
        End::Result(None) => Ok(()),
        End::Result(Some(why)) => Err(Error::Failed {
            scenario: name,
            why,
            console: console.to_path_buf(),
        }),
        End::Silence => Err(Error::NoResult {
            scenario: name,
            status,
            last: heard.last,
            tail: tail(),
            console: console.to_path_buf(),
        }),
        End::Slow => Err(Error::Slow {
            scenario: name,
            limit: scenario.limit,
            last: heard.last,
            tail: tail(),
            console: console.to_path_buf(),
        }),
    }
}

/// `setpriv` lets the emulator end when the thread that started it does, even by SIGKILL.
fn command(start: &Start<'_>) -> Command {
    let scenario = start.scenario;
    // `tsc`: by the host's time it is not steady under emulation, and the kernel would take half a
    // minute to notice; by instructions there is nothing steadier.
    let (tsc, machine): (_, &[&str]) = match scenario.clock {
        Clock::Time => ("unstable", &["-accel", "tcg,thread=multi", "-cpu", "max"]),
        // `sleep`: an idle guest does not wait. Without `erms` and `fsrm` the kernel copies words of
        // 8 bytes: by single bytes, of which each is an instruction here, copying would outweigh
        // everything else as on no real CPU.
        Clock::Instructions => (
            "reliable",
            &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                "max,-erms,-fsrm",
            ],
        ),
    };
    // `mitigations`: they slow an emulated CPU down and protect nobody. A panic ends it.
    let mut boot = format!(
        "console=ttyS0 quiet panic=-1 mitigations=off tsc={tsc} -- {}",
        scenario.name
    );
    for word in start.words {
        boot.push(' ');
        boot.push_str(word);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", QEMU, "-M", "pc"])
        .args(machine)
        .args(["-smp", &scenario.cpus.to_string()])
        .args(["-m", &scenario.memory_mib.to_string()])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .arg("-serial")
        .arg(format!("file:{}", start.console.display()))
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(start.kernel)
        .arg("-initrd")
        .arg(start.initramfs)
        .args(["-append", &boot])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

struct Heard {
    /// The last step.
    last: String,
    end: End,
}

enum End {
    /// The guest said how it went: nothing, or what is wrong.
    Result(Option<String>),
    /// It ended without a word.
    Silence,
    /// It took too long.
    Slow,
}

fn listen(lines: &Receiver<Line>, limit: Duration, progress: &Progress) -> Heard {
    let mut patience = Patience::new(limit);
    let mut last = "start".to_owned();
    loop {
        let end = match lines.recv_timeout(TICK) {
            Ok(Line::Step(step)) => {
                progress.say(&format!("  {step}"));
                last = step;
                continue;
            }
            Ok(Line::Ok) => End::Result(None),
            Ok(Line::Failed(why)) => End::Result(Some(why)),
            Err(RecvTimeoutError::Disconnected) => End::Silence,
            Err(RecvTimeoutError::Timeout) if patience.is_over() => End::Slow,
            Err(RecvTimeoutError::Timeout) => continue,
        };
        return Heard { last, end };
    }
}

/// Waits a moment for an emulator that is about to end, kills any other, and says how it ended.
fn end(child: &mut Child, soon: bool) -> String {
    let limit = if soon { OFF_LIMIT } else { Duration::ZERO };
    let mut patience = Patience::new(limit);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if !patience.is_over() => std::thread::sleep(Duration::from_millis(20)),
            _ => break,
        }
    }
    // It has not been waited for, so its number is still its own.
    child.kill().ok();
    child
        .wait()
        .map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// What the guest says, as long as it speaks; bytes that are no text are its console's mistake.
fn lines_of(port: impl Read) -> impl Iterator<Item = Line> {
    BufReader::new(port)
        .split(b'\n')
        .map_while(std::io::Result::ok)
        .filter_map(|line| Line::parse(&String::from_utf8_lossy(&line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[Line], limit: Duration) -> Heard {
        let (sender, receiver) = channel();
        for line in lines {
            sender.send(line.clone()).unwrap();
        }
        // A guest that hangs keeps its port open.
        let open = limit < TICK;
        let sender = open.then_some(sender);
        let heard = listen(&receiver, limit, &Progress::silent());
        drop(sender);
        heard
    }

    #[test]
    fn the_result_line_decides() {
        let step = Line::Step("boot".into());
        let long = Duration::from_secs(60);
        let ok = heard(&[step.clone(), Line::Ok], long);
        assert!(matches!(ok.end, End::Result(None)));
        let failed = heard(&[Line::Failed("x".into())], long);
        assert!(matches!(failed.end, End::Result(Some(why)) if why == "x"));
        let silent = heard(std::slice::from_ref(&step), long);
        assert!(matches!(silent.end, End::Silence) && silent.last == "boot");
        let slow = heard(&[step], Duration::ZERO);
        assert!(matches!(slow.end, End::Slow) && slow.last == "boot");
    }

    #[test]
    fn noise_on_the_port_is_passed_over() {
        let port: &[u8] = b"\xff\0\r\nSTEP boot\r\nxRESULT ok\nRESULT ok\r\n";
        assert_eq!(
            lines_of(port).collect::<Vec<_>>(),
            [Line::Step("boot".into()), Line::Ok]
        );
    }

    #[test]
    fn a_guest_runs_by_the_clock_of_its_scenario() {
        let words = ["3".to_owned(), "1".to_owned()];
        let arguments = |clock| {
            let scenario = Scenario {
                clock,
                ..crate::SCENARIOS[0]
            };
            let file = Path::new("/none");
            let start = Start {
                scenario: &scenario,
                words: &words,
                kernel: file,
                initramfs: file,
                console: file,
            };
            let command = command(&start);
            let arguments = command.get_args().map(|one| one.to_string_lossy());
            arguments.collect::<Vec<_>>().join(" ")
        };
        let time = arguments(Clock::Time);
        assert!(!time.contains("-icount") && time.contains("tsc=unstable"));
        let instructions = arguments(Clock::Instructions);
        // More than one thread and counting exclude each other.
        assert!(instructions.contains("-accel tcg,thread=single -icount shift=0,"));
        assert!(instructions.ends_with(" tsc=reliable -- cgroup-v2 3 1"));
    }
}
