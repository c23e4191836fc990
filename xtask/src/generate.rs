//! Generated files: the CRDs, and the chart's copies of them.

use crate::build;

/// Writes `crds/*.yaml` and the chart's copies.
pub(crate) fn run() -> anyhow::Result<()> {
    for directory in ["crds", "charts/scope-plugins/files/crds"] {
        let directory = build::root().join(directory);
        std::fs::create_dir_all(&directory)?;
        build::cargo(&[
            "run",
            "--quiet",
            "--package",
            "scope-crds",
            "--",
            &directory.display().to_string(),
        ])?;
        println!("{} is up to date", directory.display());
    }
    Ok(())
}
