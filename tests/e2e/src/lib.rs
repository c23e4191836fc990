//! The product on a throw-away cluster, asked by an emulated Scope probe.

pub mod audit;
pub mod demo;
pub mod footprint;
pub mod grants;
pub mod heard;
pub mod kubectl;
pub mod last_words;
pub mod product;
pub mod progress;
pub mod scenarios;
pub mod serving;
pub mod truth;
pub mod world;
