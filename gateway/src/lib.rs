//! The process: Pingora, sockets, files and the clock live here and nowhere else.
//!
//! A connection enters through [`listen`], a request lives in [`proxy`], a change of configuration
//! comes from [`local`] or [`xds_source`], passes [`state`] and becomes a [`plan`]. [`boot`] is the order of birth
//! and death.

#![recursion_limit = "256"]

pub mod a2a;
pub mod admin;
pub mod boot;
mod bounded;
pub mod cel;
pub mod cli;
pub mod clock;
mod coalesce;
pub mod fleet;
pub mod life;
pub mod listen;
pub mod llm;
pub mod local;
pub mod mcp;
pub mod memory;
pub mod outside;
pub mod plan;
pub mod proxy;
pub mod quota;
pub mod random;
pub mod reference;
pub mod reload;
pub mod session;
pub mod state;
pub mod statics;
pub mod status;
pub mod systemd;
pub mod telemetry;
pub mod upstream;
pub mod xds_source;
