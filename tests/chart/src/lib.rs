//! What is generated for the chart, and from what: its schema and its README's table from the comments of
//! values.yaml, the list of metrics from the code that counts. [`render`] is the chart as Helm sees it.

pub mod metrics;
pub mod readme;
pub mod render;
pub mod schema;
pub mod values;

use std::path::PathBuf;

use anyhow::Context as _;

/// The chart's directory in the source tree.
pub const CHART: &str = "charts/scope-plugins";
/// The page that lists every metric.
pub const METRICS: &str = "docs/metrics.md";

/// The root of the source tree of the package that cargo runs; by hand, of the one that this was built from. With a
/// target directory in common, cargo takes what was built from another clone, which may be gone.
///
/// # Panics
/// When that is gone, too.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let mut above = package.ancestors();
    match above.find(|directory| directory.join("Cargo.lock").is_file()) {
        Some(root) => root.to_owned(),
        None => panic!(
            "there is no source tree around {}: run this by cargo",
            package.display()
        ),
    }
}

/// A file of the source tree.
///
/// # Errors
/// When it cannot be read.
pub fn text(relative: &str) -> anyhow::Result<String> {
    let path = root().join(relative);
    std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The generated files: path in the source tree and text.
///
/// # Errors
/// When a source cannot be read or breaks its own rules.
pub fn generated() -> anyhow::Result<Vec<(String, String)>> {
    let source = format!("{CHART}/values.yaml");
    let values = values::parse(&text(&source)?).with_context(|| source.clone())?;
    let readme = format!("{CHART}/README.md");
    let schema = serde_json::to_string_pretty(&schema::of(&values)?)? + "\n";
    Ok(vec![
        (format!("{CHART}/values.schema.json"), schema),
        (
            readme.clone(),
            readme::with_table(&text(&readme)?, &values).with_context(|| readme.clone())?,
        ),
        (METRICS.to_owned(), metrics::page(&metrics::in_the_code()?)),
    ])
}

/// Writes the generated files.
///
/// # Errors
/// When a source is wrong or a file cannot be written.
pub fn generate() -> anyhow::Result<Vec<String>> {
    let mut written = Vec::new();
    for (path, text) in generated()? {
        let absolute = root().join(&path);
        std::fs::write(&absolute, text)
            .with_context(|| format!("{} cannot be written", absolute.display()))?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_generated_is_up_to_date() {
        for (path, wanted) in super::generated().unwrap() {
            let found = super::text(&path).unwrap_or_default();
            assert!(
                found == wanted,
                "{path} is stale: run `cargo xtask generate` and commit the result"
            );
        }
    }
}
