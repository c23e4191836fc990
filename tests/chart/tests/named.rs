//! Alerts, dashboard and docs/operations.md name only metrics that exist, and each alert is explained.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;

use scope_chart::metrics::{in_the_code, mentioned, series};
use scope_chart::text;
use serde_json::Value as Json;

const ALERTS: &str = "charts/scope-plugins/files/alerts.yaml";
const DASHBOARD: &str = "charts/scope-plugins/files/dashboard.json";
const OPERATIONS: &str = "docs/operations.md";

fn known() -> BTreeSet<String> {
    series(&in_the_code().unwrap())
}

fn alerts() -> Vec<Json> {
    let rules: Json = serde_saphyr::from_str(&text(ALERTS).unwrap()).unwrap();
    let groups = rules["groups"].as_array().unwrap().clone();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn every_metric_that_is_named_exists() {
    let known = known();
    for file in [ALERTS, DASHBOARD, OPERATIONS] {
        let text = text(file).unwrap();
        let named = mentioned(&text);
        assert!(named.len() > 5, "{file} names only {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(
            unknown.is_empty(),
            "{file} names {unknown:?}, which no program has"
        );
    }
}

/// Prometheus refuses a whole rule file for one expression that it cannot read, and Grafana shows an empty
/// panel.
#[test]
fn every_expression_is_promql() {
    let dashboard: Json = serde_json::from_str(&text(DASHBOARD).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        // What Grafana puts in.
        .map(|query| {
            query["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "5m")
        });
    let alerts = alerts();
    let expressions = alerts
        .iter()
        .map(|alert| alert["expr"].as_str().unwrap().to_owned());
    let all: Vec<_> = expressions.chain(queries).collect();
    assert!(all.len() > 30);
    for expression in all {
        if let Err(why) = promql_parser::parser::parse(&expression) {
            panic!("{expression}: {why}");
        }
    }
}

#[test]
fn every_alert_is_explained_under_its_name() {
    let page = text(OPERATIONS).unwrap();
    let mut explained: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### Scope"))
        .map(|rest| format!("Scope{rest}"))
        .collect();
    explained.sort();
    let mut all = Vec::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap().to_owned();
        for part in ["summary", "description"] {
            let words = alert["annotations"][part].as_str().unwrap_or_default();
            assert!(words.ends_with('.'), "{name} has no {part}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        all.push(name);
    }
    all.sort();
    assert_eq!(all, explained);
}

#[test]
fn the_dashboard_has_no_panel_over_another() {
    let dashboard: Json = serde_json::from_str(&text(DASHBOARD).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels {
        assert!(
            ids.insert(panel["id"].as_i64().unwrap()),
            "{}",
            panel["title"]
        );
        let at = |key: &str| panel["gridPos"][key].as_i64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(
                    places.insert((x, y)),
                    "{} lies over another",
                    panel["title"]
                );
            }
        }
        if panel["type"] != "row" {
            let queries = panel["targets"].as_array().unwrap();
            assert!(!queries.is_empty(), "{}", panel["title"]);
        }
    }
}
