//! `cargo xtask demo`: the main job, shown on a throw-away cluster or on that of the kubeconfig.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use clap::Args;
use scope_e2e::demo::here::{Here, Settings};
use scope_e2e::demo::{self, ImageName};
use scope_e2e::kubectl::Kubectl;
use scope_e2e::product::PLUGINS;
use scope_e2e::progress::step;
use scope_e2e::world::World;

use crate::{build, interrupt};

/// How to show it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Leave everything up at the end and print how to use and to remove it
    #[arg(long)]
    keep: bool,
    /// Use the cluster of the current kubeconfig context, and remove what was made there
    #[arg(long)]
    here: bool,
    /// Do not ask whether that is the right cluster
    #[arg(long, requires = "here")]
    yes: bool,
    /// The operator's image, where that cluster's nodes find it [default: the chart's]
    #[arg(long, requires = "here", value_name = "REPO[:TAG]")]
    operator_image: Option<ImageName>,
    /// The agent's image [default: the chart's]
    #[arg(long, requires = "here", value_name = "REPO[:TAG]")]
    agent_image: Option<ImageName>,
    /// A busybox for the pods to look at [default: that of examples/workload.yaml]
    #[arg(long, requires = "here", value_name = "REPO[:TAG]")]
    workload_image: Option<ImageName>,
}

/// Shows it.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.here {
        true => here(arguments),
        false => thrown_away(arguments.keep),
    }
}

/// Installs the product on a throw-away cluster, shows what Scope's probe hears, and clicks.
fn thrown_away(keep: bool) -> anyhow::Result<()> {
    if let Some(why) = throwaway_cluster::obstacle() {
        bail!(
            "the demo cannot run here: {why}. `cargo xtask demo --here` runs on a cluster of yours"
        );
    }
    let parts = build::Parts::in_background()?;
    let images = build::image_dir();
    step("build the images", |_| {
        build::images("harness.local", &images).map(drop)
    })?;
    step("have Kubernetes, etcd and Helm", |_| parts.wait())?;
    let mut world = step("start two nodes", |_| World::up(&images))?;
    let shown = demo::show(&mut world);
    if keep {
        world.leave_up()?;
        println!(
            "\nThe cluster stays up. Use it:\n  cargo xtask cluster kubectl get scopeplugins\n  cargo xtask cluster kubectl get scopeactions -n {PLUGINS}\nor in a new shell\n  eval \"$(cargo xtask cluster env)\"\n  kubectl get scopeplugins\nEnd it:\n  cargo xtask cluster down"
        );
    } else {
        step("remove the cluster", |_| world.down())?;
    }
    shown
}

/// The same on the cluster of the kubeconfig, if its user agrees.
fn here(arguments: Arguments) -> anyhow::Result<()> {
    let kubectl = clients()?;
    let settings = Settings {
        operator_image: arguments.operator_image,
        agent_image: arguments.agent_image,
        workload_image: arguments.workload_image,
        keep: arguments.keep,
    };
    let found = step("look at the cluster of the kubeconfig", |_| {
        Here::look(&kubectl, settings)
    })?;
    print(&found.plan())?;
    if !arguments.yes {
        agree()?;
    }
    let words = format!(
        "What the demo made may still be there. Remove it by\n{}",
        found.removal()
    );
    let interrupted = interrupt::listen(words)?;
    found.run(Box::new(move || interrupted.load(Ordering::SeqCst)))
}

/// kubectl and Helm: those that the throw-away cluster built, or else this machine's.
fn clients() -> anyhow::Result<Kubectl> {
    let given = std::env::var_os("PATH").unwrap_or_default();
    let built = throwaway_cluster::tools::clients_already_built();
    let path: Vec<_> = built
        .into_iter()
        .chain(std::env::split_paths(&given))
        .collect();
    for program in ["kubectl", "helm"] {
        if !path
            .iter()
            .any(|directory| directory.join(program).is_file())
        {
            bail!("{program} is not in PATH: install it");
        }
    }
    let path = std::env::join_paths(path).context("PATH has a name with a colon")?;
    let path = path.into_string().ok().context("PATH is no text")?;
    Ok(Kubectl {
        environment: vec![("PATH".to_owned(), path)],
        context: None,
        shielded: false,
    })
}

/// Asks the person at the terminal.
fn agree() -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "nothing was done: there is no terminal to ask on. Say --yes if this is the right cluster"
        );
    }
    print("Go on? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match is_yes(&answer) {
        true => Ok(()),
        false => bail!("nothing was done"),
    }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.arguments)
    }

    #[test]
    fn images_are_for_a_cluster_that_is_there() {
        let line =
            parsed("demo --here --yes --operator-image r.org:5000/o:1 --agent-image r.org/a");
        let arguments = line.expect("good");
        assert_eq!(
            arguments
                .operator_image
                .map(|image| image.to_string())
                .as_deref(),
            Some("r.org:5000/o:1")
        );
        for wrong in [
            "demo --yes",
            "demo --operator-image a",
            "demo --agent-image a",
            "demo --here --agent-image a:",
            "demo --here --agent-image a,b=c",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [
            ("y\n", true),
            ("YES\n", true),
            ("\n", false),
            ("", false),
            ("yep", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
