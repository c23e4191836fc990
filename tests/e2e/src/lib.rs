//! The product on a throw-away cluster, asked by an emulated Scope probe.

pub mod audit;
pub mod kubectl;
pub mod product;
pub mod progress;
pub mod scenarios;
pub mod truth;
pub mod world;
