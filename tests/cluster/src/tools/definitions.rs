//! Custom resource definitions of other projects, out of their Go modules.

use std::path::PathBuf;
use std::time::Duration;

use super::go;
use crate::command::run;
use crate::error::{At, Error, Result};
use crate::layout::Layout;

/// A few megabytes, once.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(5 * 60);
const MODULE: &str = "github.com/prometheus-operator/prometheus-operator";
const FILES: [&str; 2] = [
    "monitoring.coreos.com_podmonitors.yaml",
    "monitoring.coreos.com_prometheusrules.yaml",
];

/// The definitions of PodMonitor and PrometheusRule as the Prometheus operator ships them. They are in its
/// module, which Go downloads once and checks against our go.sum.
pub fn monitoring_definitions() -> Result<Vec<PathBuf>> {
    let directory = Layout::from_environment()?.root().join("definitions");
    std::fs::create_dir_all(&directory).at("create directory", &directory)?;
    for (name, text) in [
        ("go.mod", include_str!("../../../tools/monitoring/go.mod")),
        ("go.sum", include_str!("../../../tools/monitoring/go.sum")),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, text).at("write", &path)?;
    }
    let mut go = go();
    go.current_dir(&directory)
        .args(["mod", "download", "-json", MODULE]);
    let answer = run(&mut go, DOWNLOAD_LIMIT)?;
    let module: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    let Some(module) = module["Dir"].as_str() else {
        return Err(Error::Unable(format!("go mod download {MODULE}: {answer}")));
    };
    let crds = PathBuf::from(module).join("example/prometheus-operator-crd");
    Ok(FILES.iter().map(|name| crds.join(name)).collect())
}
