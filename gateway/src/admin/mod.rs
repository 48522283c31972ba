//! The process's own servers: admin, metrics and probes. Plain HTTP/1.1 on their own addresses.
//!
//! [`bind`] opens the addresses and fails loudly; [`serve`], [`serve_stats`] and [`serve_probes`]
//! run for as long as their future is polled, on the control runtime. Who may ask what is in
//! [`guard`], the admin pages in [`pages`], what a dump shows in [`dump`].

mod answer;
mod dump;
mod fleet;
mod guard;
mod pages;
mod probes;
mod readiness;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

use crate::local::source::Places;
use crate::state::State;
use crate::statics::Statics;
use crate::status::Status;
use crate::telemetry::{LogControl, Telemetry};

pub(crate) use dump::redact;
pub use fleet::serve_fleet;
pub use guard::Ends;
pub use pages::serve;
pub use probes::{serve_probes, serve_stats};
pub use readiness::{Liveness, Readiness, ReadyGuard, STUCK};
pub use server::{BindFailed, Bound, Leave, bind};

/// A report of another part of the process, made when asked for.
pub type Report = Arc<dyn Fn() -> Value + Send + Sync>;

/// What the admin pages are made from.
#[derive(Clone)]
pub struct AdminContext {
    /// `Arc<State>`.
    pub state: Arc<dyn Applied>,
    pub telemetry: Arc<Telemetry>,
    pub log: LogControl,
    pub status: Arc<Status>,
    pub statics: Arc<Statics>,
    /// Listeners and their connections, for `/config/status` (`listeners`).
    pub listeners: Report,
    /// Clusters, endpoints and their health, for `/backends`.
    pub upstreams: Report,
    /// The control plane, for `/config/status` (`xds`); null without one.
    pub control_plane: Report,
    /// This process, those that drain, and how upgrades went, for `/generations`.
    pub generations: Report,
    /// Starts a graceful drain; returns at once and may be called again.
    pub drain: Arc<dyn Fn() + Send + Sync>,
}

/// The configuration in force.
pub trait Applied: Send + Sync {
    /// Generation and snapshot.
    fn applied(&self) -> (u64, filters::Snapshot);
    /// Where the objects of the document stand now.
    fn places(&self) -> Arc<Places>;
    /// The merged policies of a route, each with its origin; `None` for a route that is not there.
    fn effective(&self, route: &str) -> Option<Value>;
    /// MCP servers: whether they are well, and what they listed last.
    fn mcp(&self) -> Value {
        Value::Null
    }
}

impl Applied for State {
    fn applied(&self) -> (u64, filters::Snapshot) {
        let plan = self.plan();
        (plan.generation, plan.snapshot.clone())
    }

    fn places(&self) -> Arc<Places> {
        State::places(self)
    }

    fn effective(&self, route: &str) -> Option<Value> {
        self.plan().effective_dump(route)
    }

    fn mcp(&self) -> Value {
        self.plan().compiler.servers.report()
    }
}
