//! `scope-emulator`: tries a plugin without Scope.

mod print;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use scope_emulator::{Click, Kind, Options, Probe};

const HELP: &str = "\
Does with the plugins of a directory what a probe of Weave Scope 1.13.2 does, and prints what comes
of it.

Usage:
  scope-emulator watch DIR [--seconds N] [--interval 1s]
      Asks every plugin, again and again, and prints for each its status, how long it took and how
      much it sent. A plugin with a status other than `ok` would be red in Scope.
  scope-emulator nodes DIR [TOPOLOGY]
      Asks every plugin twice, a second apart, and prints the nodes of all topologies, or of one
      (Pod, Container, Deployment, …), as the probe would report them.
  scope-emulator click DIR NODE CONTROL
      Asks every plugin once and then clicks a control, such as my-plugin~evict, on a node, such as
      '0d6b5a7e-…;<pod>'. THE CLICK IS CARRIED OUT. Prints what Scope's user would see.

Options:
  --seconds N     how long to watch; without it, until interrupted
  --interval T    time between two requests, such as 500ms, 2s or 1m; Scope's own is 1s
  --probe-id HEX  the id to ask with; random without it
  --help          this text

DIR is the directory of the sockets; Scope's is /var/run/scope/plugins. All sockets below it are
asked, as Scope would.

Exit status: 0 all plugins have the status ok, or the click succeeded; 1 not so; 64 wrong usage;
66 the directory cannot be read.
";

/// Wrong usage, as sysexits.h numbers it.
const USAGE: u8 = 64;
/// An input that cannot be read.
const NO_INPUT: u8 = 66;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() || words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::from(if words.is_empty() { USAGE } else { 0 });
    }
    match Arguments::parse(&words) {
        Ok(arguments) => arguments.run(),
        Err(complaint) => {
            eprintln!("scope-emulator: {complaint}; see scope-emulator --help");
            ExitCode::from(USAGE)
        }
    }
}

/// What to do.
#[derive(Debug, PartialEq)]
enum Job {
    Watch {
        seconds: Option<u64>,
        interval: Duration,
    },
    Nodes {
        kind: Option<Kind>,
    },
    Click {
        node: String,
        control: String,
    },
}

#[derive(Debug, PartialEq)]
struct Arguments {
    job: Job,
    directory: String,
    probe_id: Option<String>,
}

impl Arguments {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut plain: Vec<&str> = Vec::new();
        let (mut seconds, mut interval, mut probe_id) = (None, None, None);
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (flag, attached) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value)),
                _ => (word, None),
            };
            let mut value = || {
                attached
                    .or_else(|| words.next())
                    .ok_or_else(|| format!("{flag} needs a value"))
            };
            match flag {
                "--seconds" => {
                    let text = value()?;
                    let number = text.parse::<u64>();
                    seconds = Some(number.map_err(|_| {
                        format!("--seconds {text} is not a whole number of seconds")
                    })?);
                }
                "--interval" => interval = Some(duration(value()?)?),
                "--probe-id" => probe_id = Some(hexadecimal(value()?)?),
                _ if flag.starts_with("--") => return Err(format!("there is no option {flag}")),
                _ => plain.push(word),
            }
        }
        let watching = plain.first() == Some(&"watch");
        if !watching && (seconds.is_some() || interval.is_some()) {
            return Err("--seconds and --interval belong to `watch`".to_owned());
        }
        let (job, directory) = match plain[..] {
            ["watch", directory] => {
                let interval = interval.unwrap_or(Duration::from_secs(1));
                (Job::Watch { seconds, interval }, directory)
            }
            ["nodes", directory] => (Job::Nodes { kind: None }, directory),
            ["nodes", directory, kind] => {
                let kind = kind.parse::<Kind>().map_err(|error| error.to_string())?;
                (Job::Nodes { kind: Some(kind) }, directory)
            }
            ["click", directory, node, control] => (
                Job::Click {
                    node: node.to_owned(),
                    control: control.to_owned(),
                },
                directory,
            ),
            ["watch" | "nodes" | "click", ..] => {
                return Err(format!("`{}` has too few or too many words", plain[0]));
            }
            _ => return Err("the first word must be watch, nodes or click".to_owned()),
        };
        Ok(Self {
            job,
            directory: directory.to_owned(),
            probe_id,
        })
    }

    fn run(self) -> ExitCode {
        let mut options = Options::default();
        if let Some(id) = self.probe_id {
            options.probe_id = id;
        }
        let probe = match Probe::new(&self.directory, options) {
            Ok(probe) => probe,
            Err(error) => {
                eprintln!("scope-emulator: {error}");
                return ExitCode::from(NO_INPUT);
            }
        };
        match self.job {
            Job::Watch { seconds, interval } => watch(probe, seconds, interval),
            Job::Nodes { kind } => nodes(probe, kind),
            Job::Click { node, control } => click(probe, &node, &control),
        }
    }
}

/// A number with `ms`, `s` or `m`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    let wait = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    wait.filter(|wait| *wait > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("--interval {text} is not a time such as 500ms, 2s or 1m"))
}

fn hexadecimal(text: &str) -> Result<String, String> {
    let fits = u64::from_str_radix(text, 16).is_ok_and(|id| id <= u64::MAX >> 1);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("--probe-id {text} is not a 63-bit number"))
    }
}

/// How often Scope looks for new sockets.
const SCAN_EVERY: Duration = Duration::from_secs(5);

fn watch(mut probe: Probe, seconds: Option<u64>, interval: Duration) -> ExitCode {
    let begun = Instant::now();
    let mut scanned = begun;
    loop {
        let tick = Instant::now();
        if tick - scanned >= SCAN_EVERY {
            scanned = tick;
            if let Err(error) = probe.scan() {
                eprintln!("scope-emulator: {error}");
            }
        }
        if let Err(error) = probe.spy() {
            eprintln!("scope-emulator: {error}");
            return ExitCode::FAILURE;
        }
        print::plugins(&probe);
        let all_well = probe.plugins().all(|plugin| plugin.spec.status == "ok");
        let over = seconds
            .is_some_and(|seconds| begun.elapsed() + interval > Duration::from_secs(seconds));
        if over {
            return if all_well {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        std::thread::sleep(interval.saturating_sub(tick.elapsed()));
    }
}

fn nodes(mut probe: Probe, kind: Option<Kind>) -> ExitCode {
    // Rates take two samples, and many a plugin wakes up only when it is asked.
    for round in 0..2 {
        if round > 0 {
            std::thread::sleep(Duration::from_secs(1));
        }
        if let Err(error) = probe.spy() {
            eprintln!("scope-emulator: {error}");
            return ExitCode::FAILURE;
        }
    }
    print::plugins(&probe);
    print::nodes(probe.merged(), kind);
    let all_well = probe.plugins().all(|plugin| plugin.spec.status == "ok");
    if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn click(mut probe: Probe, node: &str, control: &str) -> ExitCode {
    if let Err(error) = probe.spy() {
        eprintln!("scope-emulator: {error}");
        return ExitCode::FAILURE;
    }
    let offered: Vec<String> = probe.controls().map(str::to_owned).collect();
    let click = Click {
        app_id: "scope-emulator",
        node_id: node,
        control,
        args: None,
    };
    let outcome = probe.click(click);
    print::outcome(&outcome, &offered);
    if outcome.http == 200 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Arguments::parse(&words)
    }

    #[test]
    fn understands_its_help() {
        let watch = parse("watch /p --seconds 3 --interval=500ms").unwrap();
        let interval = Duration::from_millis(500);
        assert_eq!(
            watch.job,
            Job::Watch {
                seconds: Some(3),
                interval
            }
        );
        assert_eq!(watch.directory, "/p");
        assert_eq!(
            parse("nodes /p replica_set").unwrap().job,
            Job::Nodes {
                kind: Some(Kind::ReplicaSet)
            }
        );
        let click = parse("click /p u;<pod> a~b --probe-id 5bdcc0beddf3c14").unwrap();
        assert_eq!(
            click.job,
            Job::Click {
                node: "u;<pod>".into(),
                control: "a~b".into()
            }
        );
        assert_eq!(click.probe_id.as_deref(), Some("5bdcc0beddf3c14"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (line, complaint) in [
            ("look /p", "the first word must be"),
            ("watch", "`watch` has too few"),
            ("watch /p --interval 3", "not a time such as"),
            ("watch /p --interval 0s", "not a time such as"),
            ("watch /p --seconds", "--seconds needs a value"),
            ("nodes /p --seconds 3", "belong to `watch`"),
            ("nodes /p Pods", "no topology \"Pods\""),
            ("nodes /p --wide", "there is no option --wide"),
            ("click /p n c --probe-id ffffffffffffffff", "63-bit"),
        ] {
            let found = parse(line).unwrap_err();
            assert!(found.contains(complaint), "{line}: {found}");
        }
    }
}
