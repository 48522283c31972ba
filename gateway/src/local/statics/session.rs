//! Sessions of MCP clients: the keys that seal their ids, and how long they last.

use std::time::Duration;

use filters::lower::Span;
use protocols::mcp::session::KEYS_MAX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::xds::{KEY_BYTES, bytes};
use super::{Fault, FileOrInline, Sources};
use crate::statics::McpSessions;

/// Sessions of MCP clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SessionConfig {
    /// Seals session ids (`SESSION_KEY`): 64 hexadecimal digits; replicas that share it go on with each other's
    /// sessions. Up to four, separated by commas or white space: the first seals, all open. Default: a key of this
    /// process and its successors.
    pub key: Option<FileOrInline>,
}

/// MCP clients and servers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct McpConfig {
    /// How long a session may be idle before it ends. Default: `30m`.
    pub session_ttl: Option<Span>,
}

/// Idle time after which a session ends.
const SESSION_TTL: Duration = Duration::from_secs(30 * 60);

pub(super) fn lower(from: &mut Sources<'_>, session: SessionConfig, mcp: &McpConfig) -> McpSessions {
    McpSessions { keys: keys(from, session), ttl: ttl(from, mcp) }
}

fn ttl(from: &mut Sources<'_>, written: &McpConfig) -> Duration {
    let ttl = written.session_ttl.map_or(SESSION_TTL, |it| it.0);
    if ttl.is_zero() {
        let reason = "a session that ends at once is none: write `statefulMode: stateless` at the backend".to_owned();
        from.faults.push(Fault::Written("config.mcp.sessionTtl".to_owned(), reason));
    }
    ttl
}

fn keys(from: &mut Sources<'_>, written: SessionConfig) -> Vec<ir::Secret> {
    let Some(text) = from.secret("SESSION_KEY", "session.key", written.key) else { return Vec::new() };
    let parts = text.expose().split(|it| *it == b',' || it.is_ascii_whitespace()).filter(|it| !it.is_empty());
    let keys: Vec<Option<ir::Secret>> = parts.map(|it| bytes(it).map(ir::Secret::new)).collect();
    let count = keys.len();
    let keys: Option<Vec<_>> = keys.into_iter().collect();
    let good = keys.filter(|it| !it.is_empty() && count <= KEYS_MAX);
    good.unwrap_or_else(|| {
        let reason = format!("not keys: write 1 to {KEYS_MAX}, each of {} hexadecimal digits", 2 * KEY_BYTES);
        from.faults.push(Fault::Written("config.session.key".to_owned(), reason));
        Vec::new()
    })
}
