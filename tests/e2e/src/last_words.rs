//! What the product's pods wrote last, for whoever has to find out why a scenario failed: the cluster is gone by then.

use crate::kubectl::Kubectl;
use crate::product::{PLUGINS, SYSTEM};

/// Lines of each container. Everything of a minute or two, and little enough to read.
const LINES: &str = "--tail=15";

/// The last lines of the product's pods, and of containers that ended before. What cannot be had is said in their place.
pub fn of_the_product(kubectl: &Kubectl) -> String {
    let mut told = String::new();
    for namespace in [SYSTEM, PLUGINS] {
        let names = match kubectl.ok(&["get", "pods", "-n", namespace, "-o", "name"]) {
            Ok(names) => names,
            Err(error) => {
                told.push_str(&format!("    pods of {namespace}: {error:#}\n"));
                continue;
            }
        };
        for pod in names.lines() {
            let now = ["logs", "-n", namespace, pod, "--all-containers", LINES];
            append(&mut told, pod, kubectl.ok(&now));
            let before = ["logs", "-n", namespace, pod, "--previous", LINES];
            // Most containers are the first of their pod, and then there is nothing to be had.
            if let Ok(lines) = kubectl.ok(&before) {
                append(&mut told, &format!("{pod}, before its restart"), Ok(lines));
            }
        }
    }
    told
}

fn append(told: &mut String, pod: &str, lines: anyhow::Result<String>) {
    told.push_str(&format!("    {pod}:\n"));
    match lines {
        Ok(lines) => lines
            .lines()
            .for_each(|line| told.push_str(&format!("      {line}\n"))),
        Err(error) => told.push_str(&format!("      {error:#}\n")),
    }
}
