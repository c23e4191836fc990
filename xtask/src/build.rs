//! What the tests and the demo are made of: tools, static binaries, images.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use throwaway_cluster::Progress;

/// The target of the shipped binaries: static, so that the images need nothing else.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The root of the source tree.
pub(crate) fn root() -> PathBuf {
    scope_chart::root()
}

/// Where cargo and the tasks put what they make.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where `test` and `demo` put the images.
pub(crate) fn image_dir() -> PathBuf {
    target_dir().join("images")
}

/// Runs cargo in the source tree and shows what it prints.
pub(crate) fn cargo(args: &[&str]) -> anyhow::Result<()> {
    run(Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())).args(args))
}

/// Runs a program in the source tree and shows what it prints.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.current_dir(root()).status();
    let status = status.with_context(|| format!("{command:?} could not be started"))?;
    ensure!(status.success(), "{command:?} failed ({status})");
    Ok(())
}

/// The Kubernetes parts under way: they take minutes when they have to be built.
pub(crate) struct Parts(throwaway_cluster::tools::Pending);

impl Parts {
    /// Installs the Debian packages and starts to build what is missing, beside other work.
    pub(crate) fn in_background() -> anyhow::Result<Self> {
        throwaway_cluster::packages::ensure(&Progress::to_stderr())?;
        Ok(Parts(throwaway_cluster::tools::ensure_in_background(
            Progress::to_stderr(),
        )))
    }

    /// Waits until all parts are there.
    pub(crate) fn wait(self) -> anyhow::Result<()> {
        self.0.wait()?;
        Ok(())
    }
}

/// Builds the static programs of a throw-away virtual machine: its own, the agent, and HTTP servers to
/// count.
pub(crate) fn guest_programs() -> anyhow::Result<throwaway_vm::Programs> {
    // The same list as for the images: it has the C compiler of the target.
    throwaway_cluster::packages::ensure(&Progress::to_stderr())?;
    add_target()?;
    Ok(throwaway_vm::Programs {
        guest: static_program("throwaway-vm-guest")?,
        agent: static_program("scope-agent")?,
        http: static_program("http-acceptance")?,
    })
}

/// Builds the agent as it is shipped, and what measures it.
pub(crate) fn agent_programs() -> anyhow::Result<(PathBuf, PathBuf)> {
    throwaway_cluster::packages::ensure(&Progress::to_stderr())?;
    add_target()?;
    Ok((
        static_program("scope-agent")?,
        static_program("scope-bench")?,
    ))
}

/// Builds the operator as it is shipped, and what measures it. Both for the same target, so that
/// they share what takes minutes to build.
pub(crate) fn operator_programs() -> anyhow::Result<(PathBuf, PathBuf)> {
    add_target()?;
    Ok((
        static_program("scope-operator")?,
        static_program("scope-scale")?,
    ))
}

/// Builds the totals service as it is shipped, and what measures it.
pub(crate) fn totals_programs() -> anyhow::Result<(PathBuf, PathBuf)> {
    // The same list as for the images: it has the C compiler of the target.
    throwaway_cluster::packages::ensure(&Progress::to_stderr())?;
    add_target()?;
    Ok((
        static_program("scope-totals")?,
        static_program("totals-bench")?,
    ))
}

/// Builds the totals service as it is shipped.
pub(crate) fn totals_program() -> anyhow::Result<PathBuf> {
    static_program("scope-totals")
}

/// Adds what the compiler needs for [`TARGET`], unless it has it.
fn add_target() -> anyhow::Result<()> {
    run(Command::new("rustup").args(["target", "add", TARGET]))
}

/// Builds a package's program for [`TARGET`]. One package at a time: a joint build would give each
/// the features of the others.
fn static_program(package: &str) -> anyhow::Result<PathBuf> {
    cargo(&[
        "build",
        "--locked",
        "--release",
        "--target",
        TARGET,
        "--package",
        package,
    ])?;
    Ok(target_dir().join(TARGET).join("release").join(package))
}

/// Builds the static binaries and makes two image archives of them: operator, with the totals service
/// in it, and agent.
pub(crate) fn images(prefix: &str, to: &Path) -> anyhow::Result<Vec<PathBuf>> {
    throwaway_cluster::packages::ensure(&Progress::to_stderr())?;
    add_target()?;
    let context = target_dir().join("image-context");
    std::fs::create_dir_all(&context)?;
    std::fs::create_dir_all(to)?;
    // Archives of another version would be taken for images of this one.
    for entry in std::fs::read_dir(to)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with("scope-") && name.ends_with(".tar") {
            std::fs::remove_file(&path)?;
        }
    }
    let mut images = Vec::new();
    for (stage, programs) in [
        ("operator", &["scope-operator", "scope-totals"][..]),
        ("agent", &["scope-agent"]),
    ] {
        for program in programs {
            let binary = static_program(program)?;
            std::fs::copy(&binary, context.join(program))
                .with_context(|| format!("{} cannot be copied", binary.display()))?;
        }
        let name = format!("scope-{stage}");
        let reference = format!("{prefix}/{name}:{}", env!("CARGO_PKG_VERSION"));
        let dockerfile = root().join("Dockerfile");
        let archive =
            throwaway_cluster::images::build(&dockerfile, Some(stage), &context, &reference, to)?;
        images.push(archive);
    }
    Ok(images)
}
