//! `scope-operator`: rolls ScopePlugins out to the nodes and carries out ScopeActions.

mod cli;
mod desired;
mod drift;
mod exit;
mod logging;
mod names;
mod ownership;
mod plan;
mod settings;
mod status;
#[cfg(test)]
mod testing;

fn main() {}
