//! `throwaway-cluster up|down|env|kubectl|…`: the library at a prompt.

use std::process::{ExitCode, Stdio};

use throwaway_cluster::{Cluster, Error, Options, Result};

const USAGE: &str = "\
usage: throwaway-cluster [--prefix P] [--as WORDS] COMMAND
  up [NODES]            start a cluster that stays up (2 nodes)
  down                  take it down
  with PROGRAM ARGS…    start a cluster, run a program with the environment of its clients, take
                        the cluster down and end as the program did
  env                   print the environment of its clients, for `eval`
  kubectl|helm ARGS…    run kubectl or helm on it
  node crash|start|kubelet-restart|partition|heal N
  node exec N PROGRAM ARGS…
  load ARCHIVE          import an image on every node
  sweep                 remove what killed runs have left
  leftovers             print what there is of it on this machine
WORDS are what its user types to get here, for what it prints; without them the above.
";

fn main() -> ExitCode {
    throwaway_cluster::run_internal_command_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let prefix = value_of("--prefix", &mut words).unwrap_or("t0");
    let called = match value_of("--as", &mut words) {
        Some(called) => called.to_owned(),
        None => format!("throwaway-cluster --prefix {prefix}"),
    };
    match run(prefix, &called, &words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes an option and its value off the front of the arguments.
fn value_of<'a>(option: &str, words: &mut Vec<&'a str>) -> Option<&'a str> {
    match words[..] {
        [first, value, ..] if first == option => {
            words.drain(..2);
            Some(value)
        }
        _ => None,
    }
}

fn run(prefix: &str, called: &str, words: &[&str]) -> Result<ExitCode> {
    let number = |word: &str| {
        word.parse::<usize>()
            .map_err(|_| Error::Invalid(format!("{word:?} is no number")))
    };
    match words {
        ["up", nodes @ ..] if nodes.len() < 2 => {
            let mut options = Options::new(prefix);
            if let [nodes] = nodes {
                options.nodes = number(nodes)?;
            }
            Cluster::up(options)?.detach()?;
            println!("cluster `{prefix}` is up: {called} kubectl get nodes");
        }
        ["with", program, arguments @ ..] => {
            let cluster = Cluster::up(Options::new(prefix))?;
            let mut command = std::process::Command::new(program);
            let code = pass_on(command.args(arguments).envs(cluster.client_env()))?;
            cluster.down()?;
            return Ok(code);
        }
        ["down"] => {
            // Whoever wants it gone has what they want either way.
            match throwaway_cluster::take_down(prefix)? {
                true => println!("cluster `{prefix}` is gone"),
                false => println!("there is no cluster `{prefix}`: nothing to take down"),
            }
        }
        ["env"] => {
            print!("{}", script(called, &Cluster::attach(prefix)?.client_env()));
        }
        ["kubectl", arguments @ ..] => {
            return pass_on(Cluster::attach(prefix)?.kubectl_command().args(arguments));
        }
        ["helm", arguments @ ..] => {
            return pass_on(Cluster::attach(prefix)?.helm_command().args(arguments));
        }
        ["node", "exec", node, program, arguments @ ..] => {
            let cluster = Cluster::attach(prefix)?;
            return pass_on(
                find(&cluster, number(node)?)?
                    .command(program)?
                    .args(arguments),
            );
        }
        ["node", verb, node] => {
            let cluster = Cluster::attach(prefix)?;
            let node = find(&cluster, number(node)?)?;
            match *verb {
                "crash" => node.crash()?,
                "start" => node.start()?,
                "kubelet-restart" => node.kubelet_restart()?,
                "partition" => node.partition()?,
                "heal" => node.heal()?,
                _ => return Err(Error::Invalid(USAGE.into())),
            }
        }
        ["load", archive] => Cluster::attach(prefix)?.load_image(archive.as_ref())?,
        ["sweep"] => throwaway_cluster::sweep()?,
        ["leftovers"] => {
            for line in throwaway_cluster::leftovers(prefix)? {
                println!("{line}");
            }
        }
        _ => return Err(Error::Invalid(USAGE.into())),
    }
    Ok(ExitCode::SUCCESS)
}

/// The environment for `eval`, with a word to whoever reads it first.
fn script(called: &str, environment: &[(String, String)]) -> String {
    let mut script = format!(
        "# This changes PATH and others for good: use a new shell. `{called} kubectl …` works without.\n"
    );
    for (name, value) in environment {
        script += &format!("export {name}='{}'\n", value.replace('\'', r"'\''"));
    }
    script
}

fn find(cluster: &Cluster, number: usize) -> Result<&throwaway_cluster::Node> {
    number
        .checked_sub(1)
        .and_then(|index| cluster.nodes().get(index))
        .ok_or_else(|| Error::Invalid(format!("there is no node{number}")))
}

/// Runs a program in place of this one, as far as its user can tell.
fn pass_on(command: &mut std::process::Command) -> Result<ExitCode> {
    let status = command
        .stdin(Stdio::inherit())
        .status()
        .map_err(|source| Error::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
    Ok(ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_the_environment() {
        let environment = [("A", "it's $HOME `x`"), ("B", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let script = script("cargo xtask cluster", &environment);
        assert!(
            script.starts_with("# This changes PATH and others for good: use a new shell."),
            "{script}"
        );
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                "eval \"$1\"; printf '%s|' \"$A\" \"$B\"",
                "sh",
                &script,
            ])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"it's $HOME `x`|2|");
        assert_eq!(output.stderr, b"");
    }

    #[test]
    fn options_come_first() {
        let mut words = vec!["--prefix", "a", "--as", "b c", "up", "--as", "d"];
        assert_eq!(value_of("--as", &mut words), None);
        assert_eq!(value_of("--prefix", &mut words), Some("a"));
        assert_eq!(value_of("--as", &mut words), Some("b c"));
        assert_eq!(words, ["up", "--as", "d"]);
        assert_eq!(value_of("--as", &mut vec!["--as"]), None);
    }
}
