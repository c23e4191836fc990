//! `throwaway-cluster up|down|env|kubectl|…`: the library at a prompt.

use std::process::{ExitCode, Stdio};

use throwaway_cluster::{Cluster, Error, Options, Result};

const USAGE: &str = "\
usage: throwaway-cluster [--prefix P] COMMAND
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
";

fn main() -> ExitCode {
    throwaway_cluster::run_internal_command_if_asked();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut prefix = "t0".to_owned();
    if arguments.first().is_some_and(|first| first == "--prefix") && arguments.len() > 1 {
        prefix = arguments.remove(1);
        arguments.remove(0);
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&prefix, &words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(prefix: &str, words: &[&str]) -> Result<ExitCode> {
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
            println!(
                "cluster `{prefix}` is up: eval \"$(throwaway-cluster --prefix {prefix} env)\""
            );
        }
        ["with", program, arguments @ ..] => {
            let cluster = Cluster::up(Options::new(prefix))?;
            let mut command = std::process::Command::new(program);
            let code = pass_on(command.args(arguments).envs(cluster.client_env()))?;
            cluster.down()?;
            return Ok(code);
        }
        ["down"] => {
            if !throwaway_cluster::take_down(prefix)? {
                return Err(Error::NotUp {
                    prefix: prefix.to_owned(),
                });
            }
        }
        ["env"] => {
            for (name, value) in Cluster::attach(prefix)?.client_env() {
                println!("export {name}='{}'", value.replace('\'', r"'\''"));
            }
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
