//! Generated files: the CRDs, and the chart's copies of them.

use crate::build;

/// Writes `crds/*.yaml` and the chart's copies.
pub(crate) fn run() -> anyhow::Result<()> {
    for directory in ["crds", "charts/scope-plugins/files/crds"] {
        let directory = build::root().join(directory);
        std::fs::create_dir_all(&directory)?;
        // What is not generated any more must not stay: the chart installs all that it finds.
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                std::fs::remove_file(path)?;
            }
        }
        build::cargo(&[
            "run",
            "--quiet",
            "--locked",
            "--package",
            "scope-crds",
            "--",
            &directory.display().to_string(),
        ])?;
        println!("{} is up to date", directory.display());
    }
    Ok(())
}
