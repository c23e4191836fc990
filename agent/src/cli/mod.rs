//! The command line: flags and environment variables, complete and checked before anything is
//! opened. A mistake is one line.

mod blame;
mod values;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use scope_crds::{Collector, Control};

use crate::Collectors;
use crate::collect::Mend;
use crate::exit::{self, Failure};
use crate::sample::Roots;
use crate::serve::{Cluster, Config};
use values::{
    argument, collectors, controls, duration, host_name, http_listen, mend, namespaces, node_name,
    plugin_id, sample_interval, shown_text, traffic_max_duration,
};

/// Where Scope's probe looks for plugins.
const PLUGIN_DIR: &str = "/var/run/scope/plugins";
/// Where health and metrics are served in a cluster.
const HTTP_LISTEN: &str = "0.0.0.0:7390";

/// The node agent of the Scope plugins: tells Weave Scope which containers, pods and processes run
/// on this node and what they use, and passes clicks on.
#[derive(Debug, Parser)]
#[command(
    name = "scope-agent",
    version,
    after_help = "Every flag of `serve` can be set by an environment variable SCOPE_AGENT_<FLAG>, \
                  but --node-name by NODE_NAME and --namespace by POD_NAMESPACE.\n\n\
                  Try it: `scope-agent report --standalone` prints what this machine runs, with \
                  neither Scope nor Kubernetes.\n\n\
                  Exit codes are 0 done, 1 `check` found something wrong or a click was refused, and \
                  those of sysexits.h:\n  \
                  64 wrong flag, argument or variable\n  \
                  66 no such file or socket, or no agent\n  \
                  69 something does not answer\n  \
                  70 fault of the program\n  \
                  73 socket or directory cannot be made\n  \
                  74 the output cannot be written\n  \
                  75 may work when tried again\n  \
                  77 the rights do not suffice to ask or look\n  \
                  78 the configuration cannot work"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub logging: Logging,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve reports to Scope's probe until told to end
    ///
    /// Makes the directory <plugin-dir>/<plugin-id>/ and in it the socket <plugin-id>.sock, which
    /// Scope's probe asks every second. With controls, a second socket <plugin-id>-controls.sock
    /// takes clicks. Both are removed at the end, whatever ends the agent; what a killed agent
    /// leaves behind is recognised and replaced.
    Serve(Box<ServeArgs>),
    /// Ask a plugin as Scope's probe does, and say what Scope will not like about its answer
    ///
    /// Works on any plugin's socket. Exits with 0 when nothing is wrong and with 1 when something
    /// is.
    Check(CheckArgs),
    /// Click a control of a plugin as Scope's probe passes it on, and print the answer
    ///
    /// Works on any plugin's socket; an agent takes clicks at <plugin-id>-controls.sock. What is
    /// clicked is done: "deletePod" deletes a pod. Exits with 1 when Scope would show an error.
    Click(ClickArgs),
    /// Print one report: what runs on this node and what it uses
    ///
    /// Asks the agent that serves on this node, or, with --standalone, looks at the machine itself
    /// for a second; that needs neither Kubernetes nor Scope nor root. What may not be read is left
    /// out, and the report says so.
    Report(ReportArgs),
}

/// How to log.
#[derive(Debug, Args)]
pub struct Logging {
    /// Form of the log lines on standard error
    #[arg(
        long,
        global = true,
        help_heading = "Logging",
        env = "SCOPE_AGENT_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// What to log: error, warn, info, debug, trace, also by module: info,scope_agent=debug
    /// [default: info for serve, warn otherwise]
    #[arg(
        long,
        global = true,
        help_heading = "Logging",
        env = "SCOPE_AGENT_LOG_LEVEL",
        value_name = "LEVEL"
    )]
    pub log_level: Option<String>,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// ID of the plugin in Scope: lower-case letters, digits, single inner dashes
    #[arg(long, env = "SCOPE_AGENT_PLUGIN_ID", value_name = "ID", value_parser = plugin_id)]
    pub plugin_id: String,
    /// Name of the plugin in Scope's list [default: the ID]
    #[arg(long, env = "SCOPE_AGENT_LABEL", value_name = "TEXT",
          value_parser = shown_text)]
    pub label: Option<String>,
    /// Its tooltip there [default: version, node, and the kinds of node that carry data]
    #[arg(long, env = "SCOPE_AGENT_DESCRIPTION", value_name = "TEXT",
          value_parser = shown_text)]
    pub description: Option<String>,
    /// What to collect: Resources, IOWait, VolumeCount, HTTPStatistics, TrafficControl
    #[arg(long, env = "SCOPE_AGENT_COLLECTORS", value_name = "NAME[,NAME]",
          default_value = "Resources", value_parser = collectors)]
    pub collectors: Collectors,
    /// Buttons to offer in Scope, such as DeletePod; needs Kubernetes [default: none]
    #[arg(long, env = "SCOPE_AGENT_CONTROLS", value_name = "NAME[,NAME]", default_value = "",
          hide_default_value = true, value_parser = controls)]
    pub controls: Controls,
    /// Count HTTP at the end of system calls where the kernel refuses better places: every system call
    /// of this machine gets a little dearer
    #[arg(long, env = "SCOPE_AGENT_HTTP_ALLOW_SYS_EXIT",
          value_parser = clap::builder::BoolishValueParser::new())]
    pub http_allow_sys_exit: bool,
    /// Namespaces whose containers are not touched, beside this agent's own
    #[arg(long, env = "SCOPE_AGENT_PROTECTED_NAMESPACES", value_name = "NAME[,NAME]",
          default_value = "kube-system", value_parser = namespaces)]
    pub protected_namespaces: Namespaces,
    /// How many containers of this node may be restarted, frozen or shaped within a minute, 1 to 1000
    #[arg(long, env = "SCOPE_AGENT_MAX_ACTIONS_PER_MINUTE", value_name = "NUMBER",
          default_value = "10", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_actions_per_minute: u16,
    /// The longest that the traffic of a pod may be shaped, 1s to 24h
    #[arg(long, env = "SCOPE_AGENT_TRAFFIC_MAX_DURATION", value_name = "TIME",
          default_value = "30m", allow_hyphen_values = true, value_parser = traffic_max_duration)]
    pub traffic_max_duration: Duration,
    /// How often to look at the node while Scope asks, 1s to 60s
    #[arg(long, env = "SCOPE_AGENT_SAMPLE_INTERVAL", value_name = "TIME", default_value = "1s",
          allow_hyphen_values = true, value_parser = sample_interval)]
    pub sample_interval: Duration,
    /// Whether to supply what Scope's probe cannot read without Docker
    #[arg(long, env = "SCOPE_AGENT_MEND_SCOPE", value_name = "WHEN", default_value = "Auto",
          value_parser = mend)]
    pub mend_scope: Mend,
    /// What Scope's probe calls this host: its Kubernetes name or the kernel's
    /// [default: NodeName; Kernel with --standalone and no node name]
    #[arg(long, env = "SCOPE_AGENT_HOST_NAME", value_name = "NodeName|Kernel",
          value_parser = host_name)]
    pub host_name: Option<HostName>,
    /// Name of this node in Kubernetes
    #[arg(long, env = "NODE_NAME", value_name = "NAME", value_parser = node_name)]
    pub node_name: Option<String>,
    /// Namespace of this agent, in which clicks become ScopeActions
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", value_parser = node_name)]
    pub namespace: Option<String>,
    /// Wait a random part of this time before the first list of pods; for large clusters in which
    /// many agents start at once
    #[arg(long, env = "SCOPE_AGENT_START_JITTER", value_name = "TIME", default_value = "0s",
          allow_hyphen_values = true, value_parser = duration)]
    pub start_jitter: Duration,
    /// Directory of the volume with the token for scope-totals and how to reach it: files token, ca.crt,
    /// address and name; needs Kubernetes [default: no totals of controllers]
    #[arg(long, env = "SCOPE_AGENT_TOTALS_DIR", value_name = "DIR")]
    pub totals_dir: Option<PathBuf>,
    /// Where health and metrics are served, or "off"
    /// [default: 0.0.0.0:7390; off with --standalone]
    #[arg(long, env = "SCOPE_AGENT_HTTP_LISTEN", value_name = "ADDRESS", value_parser = http_listen)]
    pub http_listen: Option<HttpListen>,
    /// Run without Kubernetes: containers by their cgroups, processes and the host
    #[arg(long, env = "SCOPE_AGENT_STANDALONE", value_parser = clap::builder::BoolishValueParser::new())]
    pub standalone: bool,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// The kubelet's directory, for VolumeCount
    #[arg(
        long,
        env = "SCOPE_AGENT_KUBELET_DIR",
        value_name = "DIR",
        default_value = "/var/lib/kubelet",
        help_heading = "Places"
    )]
    pub kubelet_dir: PathBuf,
}

/// Where things are on this machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Places")]
pub struct Places {
    /// Directory that Scope's probe searches for plugins
    #[arg(long, env = "SCOPE_AGENT_PLUGIN_DIR", value_name = "DIR", default_value = PLUGIN_DIR)]
    pub plugin_dir: PathBuf,
    /// Process file system of the host
    #[arg(
        long,
        env = "SCOPE_AGENT_PROC_ROOT",
        value_name = "DIR",
        default_value = "/proc"
    )]
    pub proc_root: PathBuf,
    /// Cgroup file systems of the host
    #[arg(
        long,
        env = "SCOPE_AGENT_CGROUP_ROOT",
        value_name = "DIR",
        default_value = "/sys/fs/cgroup"
    )]
    pub cgroup_root: PathBuf,
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A plugin's socket, such as /var/run/scope/plugins/node-metrics/node-metrics.sock
    pub socket: PathBuf,
}

/// Flags of `click`.
#[derive(Debug, Args)]
pub struct ClickArgs {
    /// The plugin's socket, such as
    /// /var/run/scope/plugins/node-metrics/node-metrics-controls.sock
    pub socket: PathBuf,
    /// The control by the plugin's own ID, such as deletePod
    pub control: String,
    /// The node on Scope's map that it is clicked on, such as "<UID>;<pod>"
    pub node_id: String,
    /// An argument for the control, which only programs send
    #[arg(long, value_name = "NAME=VALUE", value_parser = argument)]
    pub arg: Vec<(String, String)>,
}

/// Flags of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Look at the machine itself instead of asking an agent
    #[arg(long, conflicts_with_all = ["socket", "plugin_id"])]
    pub standalone: bool,
    /// Form of the report
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub output: Output,
    /// The agent's reporter socket [default: the only agent's in the plugin directory]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The agent by its plugin's ID
    #[arg(long, value_name = "ID", conflicts_with = "socket", value_parser = plugin_id)]
    pub plugin_id: Option<String>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
}

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// As Scope gets it.
    Json,
}

/// Which of its names a host goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostName {
    /// The node's in Kubernetes.
    NodeName,
    /// The kernel's.
    Kernel,
}

/// Where health and metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpListen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

/// Controls to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controls(pub BTreeSet<Control>);

/// Names of namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces(pub BTreeSet<String>);

impl ServeArgs {
    /// The configuration, if it can work.
    pub fn config(self, kernel_name: &str) -> Result<Config, Failure> {
        let config_error = |said: &str| Err(Failure::new(exit::CONFIG, said));
        let collectors = self.collectors;
        let Controls(controls) = self.controls;
        let Namespaces(protected) = self.protected_namespaces;
        if !self.standalone && self.node_name.is_none() {
            return config_error(
                "the name of this node is not known: set NODE_NAME (in a pod, from the field \
                 spec.nodeName) or --node-name, or use --standalone to run without Kubernetes",
            );
        }
        if self.standalone && !controls.is_empty() {
            return config_error(
                "--controls needs Kubernetes, which carries the clicks out: leave out --controls \
                 or --standalone",
            );
        }
        if self.standalone && self.totals_dir.is_some() {
            return config_error(
                "--totals-dir needs Kubernetes, whose controllers totals are of: leave out \
                 --totals-dir or --standalone",
            );
        }
        let traffic = collectors.has(Collector::TrafficControl);
        if self.standalone && traffic {
            return config_error(
                "the collector TrafficControl needs Kubernetes, which says which pods have a network \
                 of their own: leave it out of --collectors, or --standalone",
            );
        }
        if controls.contains(&Control::ShapeTraffic) && !traffic {
            return config_error(
                "the control ShapeTraffic needs the collector TrafficControl: add it to --collectors",
            );
        }
        let looks_at_volumes = collectors.has(Collector::VolumeCount);
        if self.standalone && looks_at_volumes {
            return config_error(
                "the collector VolumeCount needs Kubernetes, which says what volumes there are: \
                 leave out VolumeCount or --standalone",
            );
        }
        if looks_at_volumes {
            must_be_readable("--kubelet-dir", &self.kubelet_dir.join("pods"))?;
        }
        if !controls.is_empty() && self.namespace.is_none() {
            return config_error(
                "--controls needs the namespace of this agent: set POD_NAMESPACE (in a pod, from \
                 the field metadata.namespace) or --namespace",
            );
        }
        let host = match (self.host_name, &self.node_name) {
            (Some(HostName::NodeName) | None, Some(node)) => node.clone(),
            (Some(HostName::NodeName), None) => {
                return config_error("--host-name=NodeName needs --node-name");
            }
            (Some(HostName::Kernel) | None, _) => kernel_name.to_owned(),
        };
        let http_listen = match self.http_listen {
            Some(HttpListen::Off) => None,
            Some(HttpListen::At(address)) => Some(address),
            None if self.standalone => None,
            None => HTTP_LISTEN.parse().ok(),
        };
        let cluster = (!self.standalone).then(|| Cluster {
            node: self.node_name.unwrap_or_default(),
            namespace: self.namespace,
            controls,
            protected,
            actions_per_minute: usize::from(self.max_actions_per_minute),
            traffic,
            longest_shaping: self.traffic_max_duration,
            start_jitter: self.start_jitter,
            totals_dir: self.totals_dir,
        });
        let roots = self.places.roots()?;
        let config = Config {
            label: self.label.unwrap_or_else(|| self.plugin_id.clone()),
            plugin_id: self.plugin_id,
            description: self.description,
            collectors,
            http_allow_sys_exit: self.http_allow_sys_exit,
            sample_interval: self.sample_interval,
            mend: self.mend_scope,
            host,
            roots,
            kubelet_dir: self.kubelet_dir,
            plugin_dir: self.places.plugin_dir,
            http_listen,
            cluster,
        };
        let too_long = |e: crate::serve::SocketError| Failure::new(e.exit_code(), e.to_string());
        config.reporter_socket().map_err(too_long)?;
        config.controls_socket().map_err(too_long)?;
        Ok(config)
    }
}

impl Places {
    /// The kernel's files, where they exist.
    pub fn roots(&self) -> Result<Roots, Failure> {
        for (flag, root) in [
            ("--proc-root", &self.proc_root),
            ("--cgroup-root", &self.cgroup_root),
        ] {
            must_be_readable(flag, root)?;
        }
        Ok(Roots {
            proc: self.proc_root.clone(),
            cgroup: self.cgroup_root.clone(),
        })
    }
}

/// Opened, since a directory that may be looked at but not into is of no use.
fn must_be_readable(flag: &str, directory: &Path) -> Result<(), Failure> {
    std::fs::read_dir(directory).map(drop).map_err(|e| {
        Failure::new(
            exit::CONFIG,
            format!(
                "{} ({flag}) is not a directory that can be read: {e}",
                directory.display()
            ),
        )
    })
}

/// What the arguments ask for.
#[derive(Debug)]
pub enum Parsed {
    /// Something to do.
    Run(Box<Cli>),
    /// Help or version, to be printed.
    Print(String),
}

/// Reads arguments and environment.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = Cli::command();
    let parsed = command
        .try_get_matches_from_mut(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => Ok(Parsed::Run(Box::new(cli))),
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let text = e.render();
            Ok(Parsed::Print(match std::io::stdout().is_terminal() {
                true => text.ansi().to_string(),
                false => text.to_string(),
            }))
        }
        Err(e) => Err(Failure::new(exit::USAGE, blame::one_line(&e, &args))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_every_exit_code_once() {
        let help = Cli::command().render_help().to_string();
        let told: Vec<u8> = help
            .lines()
            .filter_map(|line| line.trim_start().split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(
            told,
            [
                exit::USAGE,
                exit::NO_INPUT,
                exit::UNAVAILABLE,
                exit::SOFTWARE,
                exit::CANNOT_CREATE,
                exit::IO,
                exit::TEMPORARY,
                exit::NO_PERMISSION,
                exit::CONFIG,
            ],
            "{help}"
        );
        assert!(
            help.contains("0 done, 1 `check` found something wrong"),
            "{help}"
        );
    }
}
