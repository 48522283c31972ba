//! Figures of MCP servers: whether they are well, and how old the lists are that they are known by.

use std::sync::Arc;

use ir::{BackendKey, Text};

use super::exposition::{Encoder, Kind, number};
use super::metrics::Metrics;
use crate::mcp::Figures;

/// Gives the figures of the moment.
pub type McpServers = Arc<dyn Fn() -> Vec<(BackendKey, Text, Figures)> + Send + Sync>;

impl Metrics {
    pub(super) fn encode_mcp_servers(&self, out: &mut Encoder<'_>) {
        let Some(ask) = self.mcp_servers.lock().clone() else { return };
        let servers = ask();
        if servers.is_empty() {
            return;
        }
        let help = "1 while an MCP server is asked, 0 while it is left alone since it failed.";
        if let Some(sample) = out.begin("mcp_server_up", Kind::Gauge, help) {
            for (backend, server, it) in &servers {
                let labels = [("backend", backend.as_str()), ("server", &**server)];
                out.sample(&sample, labels.into_iter(), if it.up { 1.0 } else { 0.0 });
            }
        }
        let help = "Failures of an MCP server in a row.";
        if let Some(sample) = out.begin("mcp_server_failures", Kind::Gauge, help) {
            for (backend, server, it) in &servers {
                let labels = [("backend", backend.as_str()), ("server", &**server)];
                out.sample(&sample, labels.into_iter(), number(it.failures.into()));
            }
        }
        let help = "Age of the last good list of an MCP server.";
        if let Some(sample) = out.begin("mcp_list_age_seconds", Kind::Gauge, help) {
            for (backend, server, it) in &servers {
                for (list, (_, age)) in &it.lists {
                    let labels = [("backend", backend.as_str()), ("server", &**server), ("list", *list)];
                    out.sample(&sample, labels.into_iter(), age.as_secs_f64());
                }
            }
        }
    }
}
