//! Correctness before speed: what a wrong agent costs is of no interest. The served body, read by a
//! reader of its own, has for each pod what a plain scan in the same second found.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::population::{Population, THREADS};
use crate::yardstick::{PodTotals, Scanner};

/// Compares every pod of the population exactly: it does nothing, so nothing may differ.
pub(crate) fn check(body: &[u8], population: &Population) -> anyhow::Result<()> {
    let report: Value = serde_json::from_slice(body).context("the served body")?;
    let found = Scanner::new().scan()?;
    for (uid, processes) in &population.pods {
        let dashed = uid.replace('-', "_");
        let scanned = found
            .pods
            .get(dashed.as_bytes())
            .copied()
            .unwrap_or_default();
        ensure!(
            scanned.processes == *processes as u64,
            "pod {uid}: the plain scan found {} processes of {processes}",
            scanned.processes
        );
        ensure!(
            scanned.threads >= THREADS as u64,
            "pod {uid}: {} threads",
            scanned.threads
        );
        let node = &report["Pod"]["nodes"][format!("{uid};<pod>")];
        let figure = |id: &str| {
            let samples = node["metrics"][id]["samples"].as_array();
            let value = samples
                .and_then(|s| s.last())
                .and_then(|s| s["value"].as_f64());
            value.map(|v| v as u64)
        };
        // In a large report the further metrics take turns; a pod whose turn it is not has none.
        let (Some(processes), Some(threads), Some(resident)) =
            (figure("processes"), figure("threads"), figure("rss"))
        else {
            continue;
        };
        let served = PodTotals {
            processes,
            threads,
            resident,
        };
        ensure!(
            served == scanned,
            "pod {uid}: the agent serves {served:?}, a plain scan finds {scanned:?}"
        );
    }
    let with_figures = population.pods.iter().filter(|(uid, _)| {
        report["Pod"]["nodes"][format!("{uid};<pod>")]["metrics"]["processes"].is_object()
    });
    let (count, all) = (with_figures.count(), population.pods.len());
    ensure!(count * 10 >= all, "only {count} of {all} pods have figures");
    println!("gates: {count} pods agree exactly with a plain scan");
    Ok(())
}
