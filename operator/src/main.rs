//! `scope-operator`: rolls ScopePlugins out to the nodes and carries out ScopeActions.

mod actions;
mod apply;
mod cli;
mod clients;
mod desired;
mod drift;
mod events;
mod exit;
mod guarded;
mod leader;
mod logging;
mod memory;
mod metrics;
mod names;
mod ownership;
mod plan;
mod readiness;
mod reconcile;
mod settings;
mod status;
#[cfg(test)]
mod testing;
mod watches;

fn main() {}
