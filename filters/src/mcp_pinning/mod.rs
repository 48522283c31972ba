//! `mcpPinning`: tools of MCP servers are those that somebody has looked at; prompts and templates of resources as well.
//!
//! ```yaml
//! mcpPinning:
//!   approvals: '{"version": 1, "targets": {}}'
//!   onNew: quarantine
//!   onChange: quarantine
//!   onSuspect: warn
//! ```
//!
//! **Approvals** are JSON, written in place or in a file (`approvals: { file: pins.json }`, watched), that
//! `agentgateway mcp pin` writes: for each target and tool the definition and its SHA-256. They are made to be kept in
//! Git: members and tools are in the order of their names, so that a change shows as one. A definition is `name`,
//! `title`, `description`, `inputSchema`, `outputSchema` and `annotations`, in the one form of RFC 8785. Prompts are
//! under `prompts` (`name`, `title`, `description`, `arguments`), templates of resources under `resourceTemplates`
//! (`uriTemplate`, `name`, `title`, `description`, `mimeType`, `annotations`). Where the file has no such member, nothing
//! is said of them and all are there; with an empty one, none is approved. What follows holds for the three alike, but that
//! templates, which nobody calls, are not compared with those of other servers. Resources themselves come and go, and
//! are not pinned.
//!
//! **What happens to a tool.** One that is as approved is shown and may be called, whatever it says. `onChange` is for
//! one that is approved under its name with another definition, `onNew` for one whose name is not there (a definition
//! that is approved under another name is said to be renamed), and `onSuspect` for one that is not approved and
//! suspicious: hidden characters anywhere in its definition, a name that looks like another server's tool where names have
//! no prefix, or a description that speaks of another server's tool. Each is `quarantine` (unless written), `warn` or
//! `allow`; of two that apply the stricter counts.
//!
//! **Quarantine.** The tool is not in the list, and a call of it is answered as one of a tool that does not exist. With
//! `warn` it is there, and in the log.
//!
//! **Where.** At routes, and at backends of kind `mcp`.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it.
//!
//! **Order.** Before `mcpAuthorization`, which sees what is left.
//!
//! **Limits.** Approvals of 16 MiB. A list is looked at when it is fetched, not for each client.
//!
//! **Telemetry.** A line in the log for each finding, once for each definition, and
//! `agentgateway_mcp_tool_findings_total` (prompts and templates included) by `finding` (`new`, `renamed`, `changed`, `hidden`, `shadows`, `mentions`) and
//! `action`.

mod approvals;
mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ir::Text;
use serde::Serialize;

pub use approvals::{Approvals, Definitions, Known, PINNED, render};
pub use config::{ActionConfig, ApprovalsConfig, Config};

/// Tools as approved, and what happens to others.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// The text of the approvals, for who carries it on.
    #[serde(skip)]
    pub text: Text,
    #[serde(serialize_with = "count")]
    pub approvals: Arc<Approvals>,
    pub on_new: Action,
    pub on_change: Action,
    pub on_suspect: Action,
    /// Differs where any of it does.
    #[serde(skip)]
    pub fingerprint: u64,
}

impl PartialEq for Policy {
    /// By text: equal texts are equal approvals.
    fn eq(&self, other: &Self) -> bool {
        let Self { text, approvals: _, on_new, on_change, on_suspect, fingerprint: _ } = self;
        (text, on_new, on_change, on_suspect) == (&other.text, &other.on_new, &other.on_change, &other.on_suspect)
    }
}

/// What happens to a tool, the stricter the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    Allow,
    Warn,
    Quarantine,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Quarantine => "quarantine",
        }
    }
}

fn count<S: serde::Serializer>(approvals: &Arc<Approvals>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{} definitions", approvals.len()))
}
