//! Figures of MCP servers: whether they are well, and how old and how long the lists are that they are known by.

use std::sync::Arc;

use ir::{BackendKey, Text};

use super::exposition::{Encoder, Kind, number};
use super::metrics::Metrics;
use crate::mcp::{Figures, Listed};

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
                for (list, listed) in &it.lists {
                    let labels = [("backend", backend.as_str()), ("server", &**server), ("list", *list)];
                    out.sample(&sample, labels.into_iter(), listed.age.as_secs_f64());
                }
            }
        }
        self.encode_mcp_costs(&servers, out);
    }

    /// What lists cost whoever reads them.
    fn encode_mcp_costs(&self, servers: &[(BackendKey, Text, Figures)], out: &mut Encoder<'_>) {
        let items = ("mcp_list_items", "Items of the last good list of an MCP server, as clients see it.");
        let tokens =
            ("mcp_list_tokens", "About how many tokens the definitions of that list take in a model's context.");
        let of_items = |it: &Listed| it.items;
        for ((name, help), figure) in [(items, of_items as fn(&Listed) -> usize), (tokens, Listed::tokens)] {
            let Some(sample) = out.begin(name, Kind::Gauge, help) else { continue };
            for (backend, server, it) in servers {
                for (list, listed) in &it.lists {
                    let labels = [("backend", backend.as_str()), ("server", &**server), ("list", *list)];
                    out.sample(&sample, labels.into_iter(), number(figure(listed) as u64));
                }
            }
        }
    }
}
