//! The command line. Every flag is also an environment variable.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use scope_process::{
    cli::Asked,
    exit::{Code, Failure},
    logging::Format,
};

use crate::settings::{self, AgentImage, Process, Settings, Totals};

/// Rolls Scope plugins out to all nodes of a cluster and carries out what people click in Scope.
#[derive(Debug, Parser)]
#[command(name = "scope-operator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until told to stop.
    Run(RunArgs),
    /// Stop the operator and remove the agents from all nodes (before the chart is uninstalled).
    Cleanup(CleanupArgs),
    /// Say whether the installation works: definitions served, replicas ready, one of them leading.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The namespace in which the agents run.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_PLUGINS_NAMESPACE",
        default_value = "scope-plugins"
    )]
    plugins_namespace: String,
    /// The namespace in which the operator runs.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// The name of this pod; leader election tells replicas apart by it.
    #[arg(long, env = "POD_NAME")]
    pod_name: String,
    /// The image of the bundled agent.
    #[arg(long, env = "SCOPE_OPERATOR_AGENT_IMAGE")]
    agent_image: String,
    /// When the nodes fetch that image.
    #[arg(long, env = "SCOPE_OPERATOR_AGENT_IMAGE_PULL_POLICY", value_enum, default_value_t = PullPolicy::IfNotPresent)]
    agent_image_pull_policy: PullPolicy,
    /// Secrets in the plugins' namespace with registry credentials, separated by commas.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_AGENT_IMAGE_PULL_SECRETS",
        value_delimiter = ','
    )]
    agent_image_pull_secrets: Vec<String>,
    /// The directory on the nodes in which Scope's probe looks for plugins.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_PLUGIN_DIRECTORY",
        default_value = "/var/run/scope/plugins"
    )]
    plugin_directory: String,
    /// The kubelet's directory on the nodes (its `--root-dir`), for agents that look at volumes.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_KUBELET_DIRECTORY",
        default_value = "/var/lib/kubelet"
    )]
    kubelet_directory: String,
    /// The ConfigMap in the plugins' namespace that says whom agents trust and where they report for totals
    /// (of scope-totals), which the operator then asks how they are; by default neither is done.
    #[arg(long, env = "SCOPE_OPERATOR_TOTALS_CONFIG_MAP")]
    totals_config_map: Option<String>,
    /// The file with a token of this pod's account for scope-totals, whose audience is `scope-totals`.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_TOTALS_TOKEN_FILE",
        default_value = "/var/run/scope-totals/token"
    )]
    totals_token_file: PathBuf,
    /// What people may have done by a click, separated by commas; by default nothing.
    #[arg(long, env = "SCOPE_OPERATOR_ALLOWED_ACTIONS", value_delimiter = ',')]
    allowed_actions: Vec<String>,
    /// The Lease that replicas elect their leader by. It must exist.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_LEASE_NAME",
        default_value = "scope-operator"
    )]
    lease_name: String,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_HTTP_LISTEN",
        default_value = "0.0.0.0:8080"
    )]
    http_listen: SocketAddr,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct CleanupArgs {
    /// The Deployment of the operator.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_DEPLOYMENT",
        default_value = "scope-operator"
    )]
    deployment: String,
    /// The Deployment of scope-totals, where it is installed.
    #[arg(long, env = "SCOPE_OPERATOR_TOTALS_DEPLOYMENT")]
    totals_deployment: Option<String>,
    /// The namespace in which the operator runs.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// The namespace in which the agents run.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_PLUGINS_NAMESPACE",
        default_value = "scope-plugins"
    )]
    plugins_namespace: String,
    /// How long stopping operator and scope-totals and removing the agents may take, for example 120s or 5m. Telling
    /// the ScopePlugins that stay takes 20s more at most.
    #[arg(long, env = "SCOPE_OPERATOR_TIMEOUT", default_value = "120s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The Deployment of the operator.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_DEPLOYMENT",
        default_value = "scope-operator"
    )]
    deployment: String,
    /// The Lease that replicas elect their leader by.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_LEASE_NAME",
        default_value = "scope-operator"
    )]
    lease_name: String,
    /// The Deployment of scope-totals, where it is installed.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_TOTALS_DEPLOYMENT",
        requires = "totals_lease_name"
    )]
    totals_deployment: Option<String>,
    /// The Lease that replicas of scope-totals elect the active one by.
    #[arg(
        long,
        env = "SCOPE_OPERATOR_TOTALS_LEASE_NAME",
        requires = "totals_deployment"
    )]
    totals_lease_name: Option<String>,
    /// The namespace in which the operator runs.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// How long something may still be missing, for example 60s or 2m.
    #[arg(long, env = "SCOPE_OPERATOR_TIMEOUT", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    log: LogArgs,
}

/// How the program logs.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// error, warn, info, debug, trace, or a filter by module.
    #[arg(long, env = "SCOPE_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// text for people, json for a log store.
    #[arg(long, env = "SCOPE_OPERATOR_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) log_format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// What to do, complete and checked.
#[derive(Debug)]
pub(crate) enum Job {
    /// Run until told to stop.
    Run(Box<Process>),
    /// Stop the operator and scope-totals and remove the agents.
    Cleanup(Cleanup),
    /// Say whether the installation works.
    Check(Check),
    /// Text that was asked for, such as the help.
    Print(String),
}

/// What the clean-up removes, and by when.
#[derive(Clone, Debug)]
pub(crate) struct Cleanup {
    pub(crate) deployment: String,
    /// That of scope-totals, where it is installed.
    pub(crate) totals_deployment: Option<String>,
    pub(crate) namespace: String,
    pub(crate) plugins_namespace: String,
    pub(crate) timeout: Duration,
}

/// Replicas of which one leads.
#[derive(Clone, Debug)]
pub(crate) struct Replicas {
    pub(crate) deployment: String,
    pub(crate) lease_name: String,
}

/// What is looked at, and how long something may be missing.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) operator: Replicas,
    /// Those of scope-totals, where it is installed.
    pub(crate) totals: Option<Replicas>,
    pub(crate) namespace: String,
    pub(crate) timeout: Duration,
}

/// Reads the command line and the environment.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Job, Option<LogArgs>), Failure> {
    match scope_process::cli::parse::<Cli>(arguments)? {
        Asked::Command(Cli { command }) => match command {
            Command::Run(arguments) => run(arguments),
            Command::Cleanup(arguments) => cleanup(arguments),
            Command::Check(arguments) => check(arguments),
        },
        Asked::Text(text) => Ok((Job::Print(text), None)),
    }
}

// The arguments are taken apart without `..`: a new flag does not compile until it is used.
fn run(arguments: RunArgs) -> Result<(Job, Option<LogArgs>), Failure> {
    let RunArgs {
        plugins_namespace,
        namespace,
        pod_name,
        agent_image,
        agent_image_pull_policy,
        agent_image_pull_secrets,
        plugin_directory,
        kubelet_directory,
        totals_config_map,
        totals_token_file,
        allowed_actions,
        lease_name,
        http_listen,
        log,
    } = arguments;
    let process = || -> Result<Process, settings::SettingsError> {
        let plugins_namespace = settings::namespace("--plugins-namespace", &plugins_namespace)?;
        let own_namespace = settings::namespace("--namespace", &namespace)?;
        settings::apart(&plugins_namespace, &own_namespace)?;
        let pull_policy = match agent_image_pull_policy {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        };
        Ok(Process {
            settings: Settings {
                plugins_namespace,
                own_namespace,
                image: AgentImage {
                    name: settings::image(&agent_image)?,
                    pull_policy: pull_policy.into(),
                    pull_secrets: settings::listed(&agent_image_pull_secrets)
                        .map(|secret| settings::name("--agent-image-pull-secrets", secret))
                        .collect::<Result<_, _>>()?,
                },
                plugin_directory: settings::plugin_directory(&plugin_directory)?,
                kubelet_directory: settings::kubelet_directory(&kubelet_directory)?,
                totals: match totals_config_map {
                    None => None,
                    Some(map) => Some(Totals {
                        config_map: settings::name("--totals-config-map", &map)?,
                        token_file: settings::token_file(totals_token_file)?,
                    }),
                },
                allowed_actions: settings::allowed_actions(&allowed_actions)?,
            },
            pod_name: settings::name("--pod-name", &pod_name)?,
            lease_name: settings::name("--lease-name", &lease_name)?,
            http_listen,
        })
    };
    let process = process().map_err(|error| Failure::new(Code::Config, error))?;
    Ok((Job::Run(Box::new(process)), Some(log)))
}

fn cleanup(arguments: CleanupArgs) -> Result<(Job, Option<LogArgs>), Failure> {
    let CleanupArgs {
        deployment,
        totals_deployment,
        namespace,
        plugins_namespace,
        timeout,
        log,
    } = arguments;
    let cleanup = || -> Result<Cleanup, settings::SettingsError> {
        let plugins_namespace = settings::namespace("--plugins-namespace", &plugins_namespace)?;
        let namespace = settings::namespace("--namespace", &namespace)?;
        settings::apart(&plugins_namespace, &namespace)?;
        let totals = totals_deployment.as_deref();
        let totals = totals.map(|name| settings::name("--totals-deployment", name));
        Ok(Cleanup {
            deployment: settings::name("--deployment", &deployment)?,
            totals_deployment: totals.transpose()?,
            namespace,
            plugins_namespace,
            timeout,
        })
    };
    let cleanup = cleanup().map_err(|error| Failure::new(Code::Config, error))?;
    Ok((Job::Cleanup(cleanup), Some(log)))
}

fn check(arguments: CheckArgs) -> Result<(Job, Option<LogArgs>), Failure> {
    let CheckArgs {
        deployment,
        lease_name,
        totals_deployment,
        totals_lease_name,
        namespace,
        timeout,
        log,
    } = arguments;
    let check = || -> Result<Check, settings::SettingsError> {
        let totals = match totals_deployment.zip(totals_lease_name) {
            Some((deployment, lease_name)) => Some(Replicas {
                deployment: settings::name("--totals-deployment", &deployment)?,
                lease_name: settings::name("--totals-lease-name", &lease_name)?,
            }),
            None => None,
        };
        Ok(Check {
            operator: Replicas {
                deployment: settings::name("--deployment", &deployment)?,
                lease_name: settings::name("--lease-name", &lease_name)?,
            },
            totals,
            namespace: settings::namespace("--namespace", &namespace)?,
            timeout,
        })
    };
    let check = check().map_err(|error| Failure::new(Code::Config, error))?;
    Ok((Job::Check(check), Some(log)))
}

/// Whole seconds or minutes: `120s`, `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, seconds) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
    {
        // A day: longer than anyone waits, short enough for every clock.
        Some(total @ 1..=86_400) => Ok(Duration::from_secs(total)),
        _ => Err("wanted a time such as 120s or 5m, at most a day".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Job, Failure> {
        let words = std::iter::once("scope-operator").chain(words.split_whitespace());
        parse(words.map(OsString::from)).map(|(job, _)| job)
    }

    const NEEDED: &str = "--namespace scope-system --pod-name p-1 --agent-image scope-agent:1";

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let Ok(Job::Run(process)) = parse_words(&format!("run {NEEDED}")) else {
            panic!("should run");
        };
        assert_eq!(process.settings.plugins_namespace, "scope-plugins");
        assert_eq!(process.settings.plugin_directory, "/var/run/scope/plugins");
        assert_eq!(process.settings.kubelet_directory, "/var/lib/kubelet");
        assert_eq!(process.settings.image.pull_policy, "IfNotPresent");
        assert!(process.settings.allowed_actions.is_empty());
        assert_eq!(process.settings.totals, None);
        assert_eq!(process.lease_name, "scope-operator");
        assert_eq!(process.http_listen.port(), 8080);
    }

    #[test]
    fn totals_are_asked_with_a_token_from_a_file() {
        let words = format!("run {NEEDED} --totals-config-map=map");
        let Ok(Job::Run(process)) = parse_words(&words) else {
            panic!("should run");
        };
        let wanted = Totals {
            config_map: "map".into(),
            token_file: "/var/run/scope-totals/token".into(),
        };
        assert_eq!(process.settings.totals, Some(wanted));
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let words = format!(
            "run {NEEDED} --allowed-actions=DeletePod --agent-image-pull-secrets=a,b --agent-image-pull-policy=Never"
        );
        let Ok(Job::Run(process)) = parse_words(&words) else {
            panic!("should run");
        };
        assert_eq!(process.settings.image.pull_secrets, ["a", "b"]);
        assert_eq!(process.settings.image.pull_policy, "Never");
        assert_eq!(process.settings.allowed_actions.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_one_line_with_the_right_code() {
        for (words, code, text) in [
            ("", Code::Usage, ""),
            ("run --nonsense", Code::Usage, "--nonsense"),
            (
                "run --namespace a --pod-name b",
                Code::Usage,
                "required arguments were not provided: --agent-image",
            ),
            (
                &format!("run {NEEDED} --plugins-namespace scope-system"),
                Code::Config,
                "a namespace of their own",
            ),
            (
                &format!("run {NEEDED} --allowed-actions Reboot"),
                Code::Config,
                "\"Reboot\" is not an action",
            ),
            (
                &format!("run {NEEDED} --totals-config-map A_b"),
                Code::Config,
                "--totals-config-map is \"A_b\"",
            ),
            (
                &format!("run {NEEDED} --totals-config-map a --totals-token-file b"),
                Code::Config,
                "--totals-token-file is \"b\"",
            ),
            (
                "check --namespace a --totals-deployment scope-totals",
                Code::Usage,
                "--totals-lease-name",
            ),
            (
                "cleanup --namespace a --totals-deployment A_b",
                Code::Config,
                "--totals-deployment is \"A_b\"",
            ),
            (
                "cleanup --namespace a --timeout never",
                Code::Usage,
                "such as 120s",
            ),
        ] {
            let failure = parse_words(words).unwrap_err();
            assert_eq!(failure.code(), code, "{words}: {failure}");
            let line = failure.to_string();
            assert!(line.contains(text), "{words}: {line}");
            assert!(!line.contains('\n'));
        }
    }

    #[test]
    fn totals_are_stopped_where_they_are_installed() {
        let cleanup = |words: &str| match parse_words(&format!("cleanup --namespace a {words}")) {
            Ok(Job::Cleanup(cleanup)) => cleanup,
            other => panic!("{words}: {other:?}"),
        };
        assert_eq!(cleanup("").deployment, "scope-operator");
        assert_eq!(cleanup("").totals_deployment, None);
        let with = cleanup("--totals-deployment=t").totals_deployment;
        assert_eq!(with.as_deref(), Some("t"));
    }

    #[test]
    fn totals_are_looked_at_where_they_are_installed() {
        let check = |words: &str| match parse_words(&format!("check --namespace a {words}")) {
            Ok(Job::Check(check)) => check,
            other => panic!("{words}: {other:?}"),
        };
        assert!(check("").totals.is_none());
        let check = check("--totals-deployment=t --totals-lease-name=l");
        let totals = check.totals.unwrap();
        assert_eq!(
            (totals.deployment.as_str(), totals.lease_name.as_str()),
            ("t", "l")
        );
        assert_eq!(check.operator.deployment, "scope-operator");
    }

    #[test]
    fn durations() {
        assert_eq!(duration("120s"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in [
            "",
            "0s",
            "-1s",
            "1h",
            "1.5s",
            "99999999999999999999s",
            "86401",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn help_is_not_an_error() {
        assert!(matches!(parse_words("--help"), Ok(Job::Print(_))));
        assert!(matches!(parse_words("run --help"), Ok(Job::Print(_))));
    }
}
