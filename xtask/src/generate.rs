//! Generated files: the CRDs, the chart's copies of them, its schema, tables in the documentation, and the
//! reports that the agent's are compared with.

use crate::build;

/// Writes `crds/*.yaml`, the chart's copies, its schema and its README's table, `docs/metrics.md`, the table
/// of `docs/security.md`, `docs/collectors.md`, and the agent's golden reports.
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
    for path in scope_chart::generate()? {
        println!("{path} is up to date");
    }
    // The test that compares the table with the code writes it when told to.
    build::cargo(&[
        "test",
        "--quiet",
        "--locked",
        "--package",
        "scope-operator",
        "--config",
        "env.SCOPE_GENERATE=\"1\"",
        "the_table_in_the_documentation",
    ])?;
    println!("docs/security.md is up to date");
    build::cargo(&[
        "test",
        "--quiet",
        "--locked",
        "--package",
        "scope-agent",
        "--config",
        "env.SCOPE_GENERATE=\"1\"",
        "--test",
        "sample_golden",
    ])?;
    println!("docs/collectors.md and the agent's golden reports are up to date");
    Ok(())
}
