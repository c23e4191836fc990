//! The commands that print: `check`, `click` and `report`.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;

use crate::Collectors;
use crate::attribution::attribute;
use crate::check::{self, AskError};
use crate::cli::{ClickArgs, Output, ReportArgs};
use crate::collect::{ControlNames, Mend, Settings, Share, render};
use crate::container_control::SparedPods;
use crate::control::CONTROLS_SUFFIX;
use crate::exit::{self, Failure};
use crate::report_table::{self, TableOptions};
use crate::sample::{Mode, Sampler, system_clock};
use crate::serve::{is_served, socket_path};
use crate::served_table;

/// Between the two samples of a report without an agent.
const INTERVAL: Duration = Duration::from_secs(1);
/// The ID under which commands ask. It is no probe's: the agent takes whoever has none for somebody
/// who wants the whole report once, not a fifth of it in turn.
const NO_PROBE: &str = "";
/// An agent that sampled slowly makes a whole report within its interval of a minute at most; one
/// that is asked every second does within a second or two.
const NEW_REPORT: Duration = Duration::from_secs(3);

/// `check`: prints what Scope will not like about a plugin's answer.
pub async fn check(socket: &Path) -> Result<ExitCode, Failure> {
    let answer = check::ask(socket, check::CHECKER).await.map_err(asking)?;
    let verdict = check::judge(socket, &answer);
    let mut text = format!(
        "{}: {} bytes in {} ms",
        socket.display(),
        answer.body_length(),
        answer.elapsed.as_millis()
    );
    if let Some(status) = verdict.status() {
        text.push_str(&format!(", which Scope lists as {status:?}"));
    }
    text.push('\n');
    for note in answer.notes() {
        text.push_str(&format!("{note}\n"));
    }
    text.push_str(verdict.to_string().trim_end());
    text.push('\n');
    to_stdout(text.as_bytes())?;
    Ok(if verdict.conformant() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `click`: prints what a plugin answered to a click.
pub async fn click(args: &ClickArgs) -> Result<ExitCode, Failure> {
    let socket = &args.socket;
    let given = args.arg.iter().cloned().collect();
    let clicked = check::click(socket, &args.control, &args.node_id, &given)
        .await
        .map_err(asking)?
        .map_err(|why| {
            let said = format!(
                "{} did not answer the click, which may have been carried out: {why}",
                socket.display()
            );
            Failure::new(exit::UNAVAILABLE, said)
        })?;
    let mut text = format!(
        "{}: {} after {} ms\n",
        socket.display(),
        clicked.status,
        clicked.elapsed.as_millis()
    )
    .into_bytes();
    text.extend_from_slice(clicked.body.trim_ascii_end());
    text.push(b'\n');
    to_stdout(&text)?;
    Ok(match clicked.is_refused() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// `report`: prints one report.
pub async fn report(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let text = match args.standalone {
        true => look_around(args).await?,
        false => ask_agent(args).await?,
    };
    to_stdout(&text)
}

/// Looks at the machine without an agent: two samples, since rates are differences.
async fn look_around(args: &ReportArgs) -> Result<Vec<u8>, Failure> {
    let mode = Mode::Standalone;
    let collectors = Collectors::default();
    let mut sampler = Sampler::new(args.places.roots()?, collectors, system_clock());
    let first = sampler.take(mode);
    tokio::time::sleep(INTERVAL).await;
    let second = sampler.take(mode);
    let usage = attribute(Some(&first), &second, mode);
    let host = kernel_name();
    Ok(match args.output {
        Output::Table => {
            let options = TableOptions {
                host,
                processes: TableOptions::PROCESSES,
            };
            report_table::render(&usage, mode, &options).into_bytes()
        }
        Output::Json => {
            let plugin_id = args
                .plugin_id
                .clone()
                .unwrap_or_else(|| "standalone".into());
            let settings = Settings {
                label: plugin_id.clone(),
                plugin_id,
                description: None,
                host,
                collectors,
                mend: Mend::Auto,
                cadence: INTERVAL,
                controls: ControlNames::default(),
                spared: SparedPods::default(),
                traffic: None,
                totals: None,
                share: Share::Whole,
            };
            let mut body = Vec::new();
            render(&usage, mode, &settings, &mut body);
            body.push(b'\n');
            body
        }
    })
}

/// Asks a serving agent. Its present report may be a part, or old: asking makes it take a whole one.
async fn ask_agent(args: &ReportArgs) -> Result<Vec<u8>, Failure> {
    let socket = match &args.socket {
        Some(socket) => socket.clone(),
        None => find_agent(&args.places.plugin_dir, args.plugin_id.as_deref())?,
    };
    let first = fetch(&socket).await?;
    let deadline = tokio::time::Instant::now() + NEW_REPORT;
    let mut report = first.clone();
    while report == first && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
        report = fetch(&socket).await?;
    }
    Ok(match args.output {
        Output::Json => report.iter().copied().chain(*b"\n").collect(),
        Output::Table => served_table::render(&report)
            .map_err(|e| {
                Failure::new(
                    exit::UNAVAILABLE,
                    format!("{} gave no report that can be read: {e}", socket.display()),
                )
            })?
            .into_bytes(),
    })
}

async fn fetch(socket: &Path) -> Result<Bytes, Failure> {
    let answer = check::ask(socket, NO_PROBE).await.map_err(asking)?;
    let failed = |said: &str| {
        Failure::new(
            exit::UNAVAILABLE,
            format!("{} gave no report: {said}", socket.display()),
        )
    };
    match answer.reply {
        Err(why) => Err(failed(&why)),
        Ok(reply) if !reply.status.is_success() => {
            Err(failed(&format!("it answered with {}", reply.status)))
        }
        Ok(reply) => match reply.missing() {
            Some(missing) => Err(failed(&missing)),
            None => Ok(reply.body),
        },
    }
}

/// The socket of the agent with this plugin ID, or of the only one that there is.
fn find_agent(plugin_dir: &Path, plugin_id: Option<&str>) -> Result<PathBuf, Failure> {
    if let Some(id) = plugin_id {
        return socket_path(plugin_dir, id, id)
            .map_err(|e| Failure::new(e.exit_code(), e.to_string()));
    }
    let agents = agents(plugin_dir)?;
    match agents.live.as_slice() {
        [id] => find_agent(plugin_dir, Some(id)),
        [] => Err(agents.none_lives(plugin_dir)),
        several => Err(Failure::new(
            exit::USAGE,
            format!(
                "several agents serve here; choose one by --plugin-id: {}",
                several.join(", ")
            ),
        )),
    }
}

/// What is in the directory of all plugins.
#[derive(Default)]
struct Agents {
    /// IDs of agents that answer.
    live: Vec<String>,
    /// IDs of agents that left their files behind.
    gone: Vec<String>,
    /// A directory that may be an agent's, and why that cannot be seen.
    unseen: Option<(PathBuf, std::io::Error)>,
}

fn agents(plugin_dir: &Path) -> Result<Agents, Failure> {
    let mut agents = Agents::default();
    let entries = match std::fs::read_dir(plugin_dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(agents),
        entries => entries.and_then(Iterator::collect::<Result<Vec<_>, _>>),
    };
    let entries = entries.map_err(|e| {
        let code = match e.kind() {
            ErrorKind::PermissionDenied => exit::NO_PERMISSION,
            _ => exit::NO_INPUT,
        };
        let said = format!(
            "cannot look for agents in the plugin directory {}: {e}",
            plugin_dir.display()
        );
        Failure::new(code, said)
    })?;
    for entry in entries {
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|id| !id.ends_with(CONTROLS_SUFFIX)) else {
            continue;
        };
        // An agent's directory has the agent's lock beside the socket; other plugins' have not.
        let served = match std::fs::symlink_metadata(entry.path().join(format!("{id}.lock"))) {
            Ok(_) => is_served(&entry.path().join(format!("{id}.sock"))),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                continue;
            }
            Err(e) => Err(e),
        };
        match served {
            Ok(true) => agents.live.push(id.to_owned()),
            Ok(false) => agents.gone.push(id.to_owned()),
            Err(e) => agents.unseen = Some((entry.path(), e)),
        }
    }
    agents.live.sort();
    agents.gone.sort();
    Ok(agents)
}

impl Agents {
    fn none_lives(&self, plugin_dir: &Path) -> Failure {
        if let Some((path, e)) = &self.unseen {
            let code = match e.kind() {
                ErrorKind::PermissionDenied => exit::NO_PERMISSION,
                _ => exit::UNAVAILABLE,
            };
            let said = format!(
                "cannot see whether an agent serves in {}: {e}. Run this as the user who runs the \
                 agent, mostly root, or use --standalone",
                path.display()
            );
            return Failure::new(code, said);
        }
        let gone = match self.gone.as_slice() {
            [] => String::new(),
            gone => format!(
                " (left behind by agents that have ended: {})",
                gone.join(", ")
            ),
        };
        let said = format!(
            "no agent serves below {}{gone}: start one, name its --socket, or use --standalone",
            plugin_dir.display()
        );
        Failure::new(exit::NO_INPUT, said)
    }
}

/// The name by which the kernel knows this host.
pub fn kernel_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn asking(error: AskError) -> Failure {
    Failure::new(error.exit_code(), error.to_string())
}

/// Prints. A reader that has seen enough is no failure.
pub fn to_stdout(bytes: &[u8]) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(e) => Err(Failure::new(
            exit::IO,
            format!("cannot write to standard output: {e}"),
        )),
    }
}
