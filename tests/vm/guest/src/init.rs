//! The first process: makes the machine usable, has the scenario played, switches off.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context;
use rustix::mount::{MountFlags, mount};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, finit_module, reboot, sethostname};
use throwaway_vm_guest::{GUEST, HOST_NAME, Line, MODULES, PORT};

/// The argument that makes this program the player of a scenario.
pub(crate) const SCENARIO: &str = "scenario";

/// What is mounted where: (kind, place, options). The options of cgroup2 are systemd's.
const MOUNTS: [(&str, &str, &std::ffi::CStr); 6] = [
    ("proc", "/proc", c""),
    ("sysfs", "/sys", c""),
    ("devtmpfs", "/dev", c""),
    ("tmpfs", "/run", c""),
    ("tmpfs", "/tmp", c""),
    (
        "cgroup2",
        "/sys/fs/cgroup",
        c"nsdelegate,memory_recursiveprot",
    ),
];

/// Runs the machine: the scenario of this name, told these words. It never returns while the machine
/// can be switched off.
pub(crate) fn run(scenario: &[&str]) -> ExitCode {
    match prepare().and_then(|()| play(scenario)) {
        Ok(None) => {}
        Ok(Some(status)) => say(&Line::Failed(format!(
            "the scenario's process ended without a result: {status}"
        ))),
        Err(error) => say(&Line::Failed(format!("{error:#}"))),
    }
    reboot(RebootCommand::PowerOff).ok();
    ExitCode::FAILURE
}

/// Says a line to the host. There is nobody to tell when that fails but those at the console.
pub(crate) fn say(line: &Line) {
    let port = std::fs::OpenOptions::new().write(true).open(PORT);
    if let Err(error) = port.and_then(|mut port| writeln!(port, "{line}")) {
        eprintln!("{PORT}: {error}");
    }
    println!("{line}");
}

fn prepare() -> anyhow::Result<()> {
    for (kind, place, options) in MOUNTS {
        mount(kind, place, kind, MountFlags::empty(), options)
            .with_context(|| format!("cannot mount {kind} at {place}"))?;
    }
    sethostname(HOST_NAME.as_bytes()).context("cannot set the host's name")?;
    let Ok(directory) = std::fs::read_dir(MODULES) else {
        return Ok(());
    };
    let mut modules: Vec<_> = directory.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    modules.iter().try_for_each(|module| load(module))
}

/// The parameters of the one module that wants some: a disk that takes 2 ms for a request, so that
/// waiting for it can be seen.
fn parameters(module: &Path) -> &'static std::ffi::CStr {
    let name = module.to_string_lossy();
    if name.ends_with("null_blk.ko") {
        c"nr_devices=1 gb=1 irqmode=2 completion_nsec=2000000"
    } else {
        c""
    }
}

fn load(module: &Path) -> anyhow::Result<()> {
    let file =
        std::fs::File::open(module).with_context(|| format!("cannot open {}", module.display()))?;
    match finit_module(&file, parameters(module), 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot load {}", module.display())),
    }
}

/// Has the scenario played by a child, and waits for everything else that ends meanwhile. Says how
/// the child ended, if not as one does that has said its result.
fn play(scenario: &[&str]) -> anyhow::Result<Option<ExitStatus>> {
    let child = Command::new(GUEST)
        .arg(SCENARIO)
        .args(scenario)
        .env("PATH", "/bin:/sbin")
        .spawn()
        .context("cannot start the scenario")?;
    loop {
        let ended = wait(WaitOptions::empty()).context("cannot wait for the scenario")?;
        if let Some((pid, status)) = ended
            && u32::try_from(pid.as_raw_nonzero().get()) == Ok(child.id())
        {
            let status = ExitStatus::from_raw(status.as_raw());
            return Ok((!status.success()).then_some(status));
        }
    }
}
