//! The command line. Every flag is also an environment variable.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;
use scope_process::{
    cli::{Asked, is_dns_subdomain},
    exit::{Code, Failure},
    logging::Format,
};

use crate::tls::keyring::Lives;

/// Adds up what the agents of all nodes report by controller.
#[derive(Debug, Parser)]
#[command(name = "scope-totals", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until told to stop.
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The namespace in which the agents run.
    #[arg(
        long,
        env = "SCOPE_TOTALS_PLUGINS_NAMESPACE",
        default_value = "scope-plugins"
    )]
    plugins_namespace: String,
    /// The namespace in which the service runs.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// The name of this pod; leader election tells replicas apart by it.
    #[arg(long, env = "POD_NAME")]
    pod_name: String,
    /// The address of this pod, which is published while it leads.
    #[arg(long, env = "POD_IP")]
    pod_ip: IpAddr,
    /// The Service, without a selector, by which agents find the active replica: at its port named exchange.
    #[arg(
        long,
        env = "SCOPE_TOTALS_SERVICE_NAME",
        default_value = "scope-totals"
    )]
    service_name: String,
    /// The Lease that replicas elect their leader by. It must exist.
    #[arg(long, env = "SCOPE_TOTALS_LEASE_NAME", default_value = "scope-totals")]
    lease_name: String,
    /// The Secret for the own certificate authorities. It must exist.
    #[arg(
        long,
        env = "SCOPE_TOTALS_SECRET_NAME",
        default_value = "scope-totals-authorities"
    )]
    secret_name: String,
    /// The ConfigMap in the plugins' namespace that says whom agents trust and where they find the service. It must
    /// exist.
    #[arg(
        long,
        env = "SCOPE_TOTALS_CONFIG_MAP_NAME",
        default_value = "scope-totals-ca"
    )]
    config_map_name: String,
    /// The account of the operator, in the namespace of the service: it may ask how the agents are.
    #[arg(
        long,
        env = "SCOPE_TOTALS_OPERATOR_ACCOUNT",
        default_value = "scope-operator"
    )]
    operator_account: String,
    /// Answer people who ask what uses most, by the API server's proxy of Services.
    #[arg(long, env = "SCOPE_TOTALS_TOP")]
    top: bool,
    /// A mounted Secret with tls.crt, tls.key and ca.crt, instead of own certificate authorities.
    #[arg(long, env = "SCOPE_TOTALS_TLS_DIRECTORY")]
    tls_directory: Option<PathBuf>,
    /// How long an own certificate authority lives; after half of it the next one is made.
    #[arg(long, env = "SCOPE_TOTALS_AUTHORITY_LIFETIME", default_value = "8760h", value_parser = lifetime)]
    authority_lifetime: SignedDuration,
    /// How long an own certificate lives; after half of it the next one is made.
    #[arg(long, env = "SCOPE_TOTALS_CERTIFICATE_LIFETIME", default_value = "24h", value_parser = lifetime)]
    certificate_lifetime: SignedDuration,
    /// Where agents report, with TLS.
    #[arg(long, env = "SCOPE_TOTALS_LISTEN", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "SCOPE_TOTALS_HTTP_LISTEN", default_value = "0.0.0.0:8080")]
    http_listen: SocketAddr,
    #[command(flatten)]
    log: LogArgs,
}

/// How the program logs.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// error, warn, info, debug, trace, or a filter by module.
    #[arg(long, env = "SCOPE_TOTALS_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// text for people, json for a log store.
    #[arg(long, env = "SCOPE_TOTALS_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
}

/// What to do, complete and checked.
#[derive(Debug)]
pub enum Job {
    /// Run until told to stop.
    Run(Box<Process>),
    /// Text that was asked for, such as the help.
    Print(String),
}

/// All that the process needs to know.
#[derive(Clone, Debug)]
pub struct Process {
    /// Where the agents run.
    pub plugins_namespace: String,
    /// Where the service runs.
    pub namespace: String,
    /// This pod.
    pub pod_name: String,
    /// Its address.
    pub pod_ip: IpAddr,
    /// The Service of the active replica.
    pub service_name: String,
    /// The Lease.
    pub lease_name: String,
    /// The own authorities.
    pub secret_name: String,
    /// Whom agents trust, and where they find the service.
    pub config_map_name: String,
    /// The operator's account.
    pub operator_account: String,
    /// Whether people are answered what uses most.
    pub top: bool,
    /// A certificate of the user's.
    pub tls_directory: Option<PathBuf>,
    /// How long authorities and certificates live.
    pub lives: Lives,
    /// Where agents report.
    pub listen: SocketAddr,
    /// Where health and metrics are served.
    pub http_listen: SocketAddr,
}

/// Reads the command line and the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Job, Option<LogArgs>), Failure> {
    match scope_process::cli::parse::<Cli>(arguments)? {
        Asked::Command(Cli {
            command: Command::Run(arguments),
        }) => run(arguments),
        Asked::Text(text) => Ok((Job::Print(text), None)),
    }
}

// The arguments are taken apart without `..`: a new flag does not compile until it is used.
fn run(arguments: RunArgs) -> Result<(Job, Option<LogArgs>), Failure> {
    let RunArgs {
        plugins_namespace,
        namespace,
        pod_name,
        pod_ip,
        service_name,
        lease_name,
        secret_name,
        config_map_name,
        operator_account,
        top,
        tls_directory,
        authority_lifetime,
        certificate_lifetime,
        listen,
        http_listen,
        log,
    } = arguments;
    if plugins_namespace == namespace {
        return Err(Failure::new(
            Code::Config,
            "--plugins-namespace and --namespace are the same: agents have a namespace of their own",
        ));
    }
    // A certificate is made anew after half of its life, and has to find an authority that outlives it.
    if certificate_lifetime > authority_lifetime / 4 {
        return Err(Failure::new(
            Code::Config,
            "--certificate-lifetime is more than a quarter of --authority-lifetime: make it shorter",
        ));
    }
    let process = Process {
        plugins_namespace: named("--plugins-namespace", plugins_namespace)?,
        namespace: named("--namespace", namespace)?,
        pod_name: named("--pod-name", pod_name)?,
        pod_ip,
        service_name: named("--service-name", service_name)?,
        lease_name: named("--lease-name", lease_name)?,
        secret_name: named("--secret-name", secret_name)?,
        config_map_name: named("--config-map-name", config_map_name)?,
        operator_account: named("--operator-account", operator_account)?,
        top,
        tls_directory,
        lives: Lives {
            authority: authority_lifetime,
            certificate: certificate_lifetime,
        },
        listen,
        http_listen,
    };
    Ok((Job::Run(Box::new(process)), Some(log)))
}

/// A name of an object or a namespace.
fn named(flag: &str, name: String) -> Result<String, Failure> {
    match is_dns_subdomain(&name) {
        true => Ok(name),
        false => Err(Failure::new(
            Code::Config,
            format!("{flag} {name:?} is not a name: lower-case letters, digits, dashes and dots"),
        )),
    }
}

/// Whole minutes or hours: `30m`, `24h`.
fn lifetime(text: &str) -> Result<SignedDuration, String> {
    let (number, seconds) = match text.strip_suffix('h') {
        Some(number) => (number, 3600),
        None => (text.strip_suffix('m').unwrap_or_default(), 60),
    };
    match number
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
    {
        // Two minutes: less leaves no time to replace anything. Ten years: what outlives those who know of it.
        Some(total @ 120..=315_360_000) => Ok(SignedDuration::from_secs(total)),
        _ => Err("wanted a time such as 30m or 24h, from two minutes to ten years".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Job, Failure> {
        let words = std::iter::once("scope-totals").chain(words.split_whitespace());
        parse(words.map(OsString::from)).map(|(job, _)| job)
    }

    const NEEDED: &str = "--namespace scope-system --pod-name p-1 --pod-ip 10.0.0.1";

    #[test]
    fn defaults() {
        let Ok(Job::Run(process)) = parse_words(&format!("run {NEEDED}")) else {
            panic!("should run");
        };
        assert_eq!(process.plugins_namespace, "scope-plugins");
        assert_eq!(process.service_name, "scope-totals");
        assert_eq!(process.lease_name, "scope-totals");
        assert_eq!(process.secret_name, "scope-totals-authorities");
        assert_eq!(process.config_map_name, "scope-totals-ca");
        assert_eq!(process.operator_account, "scope-operator");
        assert_eq!((process.tls_directory, process.top), (None, false));
        assert_eq!(
            (process.listen.port(), process.http_listen.port()),
            (8443, 8080)
        );
        assert_eq!(process.lives.certificate, SignedDuration::from_hours(24));
        assert_eq!(process.lives.authority, SignedDuration::from_hours(8760));
    }

    #[test]
    fn what_is_wrong_is_one_line_with_the_right_code() {
        for (words, code, text) in [
            ("", Code::Usage, ""),
            ("run --namespace a --pod-name b", Code::Usage, "--pod-ip"),
            (
                &format!("run {NEEDED} --plugins-namespace scope-system"),
                Code::Config,
                "a namespace of their own",
            ),
            (
                &format!("run {NEEDED} --lease-name A_b"),
                Code::Config,
                "--lease-name \"A_b\" is not a name",
            ),
            (
                &format!("run {NEEDED} --operator-account a:b"),
                Code::Config,
                "--operator-account \"a:b\" is not a name",
            ),
            (
                &format!("run {NEEDED} --authority-lifetime 48h"),
                Code::Config,
                "a quarter",
            ),
            (
                &format!("run {NEEDED} --certificate-lifetime 1m"),
                Code::Usage,
                "such as 30m",
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
    fn lifetimes() {
        assert_eq!(lifetime("24h"), Ok(SignedDuration::from_hours(24)));
        assert_eq!(lifetime("2m"), Ok(SignedDuration::from_mins(2)));
        for bad in [
            "",
            "24",
            "1m",
            "-1h",
            "1.5h",
            "99999999999999999999h",
            "90000h",
        ] {
            assert!(lifetime(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn help_is_not_an_error() {
        assert!(matches!(parse_words("--help"), Ok(Job::Print(_))));
        assert!(matches!(parse_words("run --help"), Ok(Job::Print(_))));
    }
}
