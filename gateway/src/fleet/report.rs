//! Who is connected, what they have and what they refused: as JSON, and as metrics. No content, so no secrets.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use xds::server::{Cache, Client, Log, Nack};

use super::terms::FLEET;
use crate::status::Status;
use crate::telemetry::rfc3339;

/// Refusals shown, the latest.
const NACKS_SHOWN_MAX: usize = 100;

/// What the pages are made from.
pub struct Report {
    pub address: SocketAddr,
    pub cache: Arc<Cache>,
    pub log: Arc<Log>,
    pub status: Arc<Status>,
}

impl Report {
    /// The status page.
    pub fn json(&self) -> Value {
        let generation = self.cache.generation(FLEET);
        let nacks = self.log.nacks();
        json!({
            "address": self.address,
            "generation": generation,
            "resources": self.cache.len(FLEET),
            "document": self.status.snapshot(),
            "clients": self.log.clients().iter().map(|it| client(it, generation)).collect::<Vec<_>>(),
            "nacks": nacks.iter().rev().take(NACKS_SHOWN_MAX).map(nack).collect::<Vec<_>>(),
        })
    }

    /// Prometheus text.
    pub fn metrics(&self) -> String {
        let clients = self.log.clients();
        let generation = self.cache.generation(FLEET).unwrap_or_default();
        let current = clients.iter().filter(|it| it.acknowledged == generation).count();
        let totals = self.log.totals();
        let in_sync = self.status.snapshot().last_error.is_none();
        let mut out = String::new();
        let mut say = |name: &str, kind: &str, help: &str, value: u64| {
            // Nobody refuses a String.
            let _ = writeln!(
                out,
                "# HELP agentgateway_control_{name} {help}\n# TYPE agentgateway_control_{name} {kind}\n\
                 agentgateway_control_{name} {value}"
            );
        };
        let refused = clients.iter().map(|it| it.refused.len() as u64).sum();
        say("config_synchronized", "gauge", "Whether the document on disk is what is served.", in_sync.into());
        say("generation", "gauge", "Changes of the set of resources.", generation);
        say("resources", "gauge", "Resources served.", self.cache.len(FLEET).unwrap_or_default() as u64);
        say("clients", "gauge", "Gateways connected.", clients.len() as u64);
        say("clients_current", "gauge", "Gateways that have acknowledged everything.", current as u64);
        say("refused_resources", "gauge", "Resources that connected gateways refuse.", refused);
        say("streams_total", "counter", "Streams that were let in.", totals.streams);
        say("nacks_total", "counter", "Responses that were not taken as a whole.", totals.nacks);
        out
    }
}

fn client(it: &Client, generation: Option<u64>) -> Value {
    let Client { node, group: _, sent, acknowledged, responses, resources, bytes, peer, since, refused } = it;
    json!({
        "node": node.id,
        "cluster": node.cluster,
        "version": node.version,
        "metadata": node.metadata,
        "peer": peer,
        "since": rfc3339(*since),
        "current": Some(*acknowledged) == generation,
        "sent": sent,
        "acknowledged": acknowledged,
        "responses": responses,
        "resources": resources,
        "bytes": bytes,
        "refused": refused,
    })
}

fn nack(it: &Nack) -> Value {
    let Nack { node, group: _, at, refused } = it;
    json!({ "node": node, "at": rfc3339(*at), "refused": refused })
}
