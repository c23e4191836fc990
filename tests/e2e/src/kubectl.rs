//! kubectl and Helm as the tests use them: independent peers of the project's own client.

use std::io::Write;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// kubectl and Helm on one cluster, with one user's credentials.
#[derive(Debug, Clone)]
pub struct Kubectl {
    /// What finds the programs and the credentials: `PATH`, `KUBECONFIG`, caches.
    pub environment: Vec<(String, String)>,
    /// The context of the kubeconfig, so that it stays the same one when somebody switches meanwhile;
    /// the current one without.
    pub context: Option<String>,
    /// Whether a Ctrl-C in the terminal is kept from the programs, so that what they are at is done
    /// whole.
    pub shielded: bool,
}

impl Kubectl {
    fn command(&self, program: &str) -> Command {
        // `Command` looks a program up in the PATH that it is given for the child.
        let mut command = Command::new(program);
        command
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        if let Some(context) = &self.context {
            let option = match program {
                "kubectl" => "--context",
                _ => "--kube-context",
            };
            command.arg(format!("{option}={context}"));
        }
        if self.shielded {
            command.process_group(0);
        }
        command
    }

    /// Runs kubectl and returns what came of it, good or bad.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.command("kubectl")
            .args(args)
            .output()
            .context("kubectl could not be started")
    }

    /// kubectl to be started, for what goes on for a while.
    pub fn prepared(&self, args: &[&str]) -> Command {
        let mut command = self.command("kubectl");
        command.args(args);
        command
    }

    /// Runs kubectl and returns its standard output.
    ///
    /// # Errors
    /// When kubectl fails, with its words.
    pub fn ok(&self, args: &[&str]) -> anyhow::Result<String> {
        words(&format!("kubectl {}", args.join(" ")), self.run(args)?)
    }

    /// Runs kubectl and expects it to be refused; returns the words of the refusal.
    ///
    /// # Errors
    /// When kubectl succeeds.
    pub fn refused(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.run(args)?;
        if output.status.success() {
            bail!("kubectl {} was not refused", args.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Objects as JSON: `json(&["get", "pods", "-A"])`.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.ok(&all)?)?)
    }

    /// Whether the object is there.
    ///
    /// # Errors
    /// When kubectl fails for another reason than that it is not.
    pub fn exists(&self, args: &[&str]) -> anyhow::Result<bool> {
        let mut all = vec!["get", "--ignore-not-found", "-o", "name"];
        all.extend(args);
        Ok(!self.ok(&all)?.trim().is_empty())
    }

    /// `kubectl apply` of a manifest.
    ///
    /// # Errors
    /// When it is refused, with the API server's words.
    pub fn apply(&self, manifest: &str) -> anyhow::Result<()> {
        words("kubectl apply", self.pipe(&["apply", "-f", "-"], manifest)?).map(drop)
    }

    /// Runs kubectl with a manifest on its standard input.
    ///
    /// # Errors
    /// When kubectl cannot be run.
    pub fn pipe(&self, args: &[&str], manifest: &str) -> anyhow::Result<Output> {
        let mut child = self
            .command("kubectl")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl could not be started")?;
        child
            .stdin
            .take()
            .context("stdin is piped")?
            .write_all(manifest.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// Runs Helm 4.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        self.either_helm("helm", args)
    }

    /// Runs Helm 3.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn helm3(&self, args: &[&str]) -> anyhow::Result<String> {
        self.either_helm("helm3", args)
    }

    fn either_helm(&self, program: &str, args: &[&str]) -> anyhow::Result<String> {
        let mut output = self
            .command(program)
            .args(args)
            .output()
            .with_context(|| format!("{program} could not be started"))?;
        if args.first() == Some(&"test") {
            // The log of the test's pod goes there.
            let log = std::mem::take(&mut output.stderr);
            match output.status.success() {
                true => output.stdout.extend(log),
                false => output.stderr = [output.stdout.as_slice(), &log].concat(),
            }
        }
        words(&format!("{program} {}", args.join(" ")), output)
    }

    /// The same tools with another kubeconfig.
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Kubectl {
        let mut environment = self.environment.clone();
        environment.retain(|(name, _)| name != "KUBECONFIG");
        environment.push(("KUBECONFIG".to_owned(), kubeconfig.display().to_string()));
        Kubectl {
            environment,
            ..self.clone()
        }
    }
}

fn words(what: &str, output: Output) -> anyhow::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!(
        "{what} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )
}
