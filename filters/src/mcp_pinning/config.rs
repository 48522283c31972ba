//! Pins as written.

use std::hash::{Hash as _, Hasher as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::approvals::Approvals;
use super::{Action, Policy};
use crate::lower::{FileRef, Scope};

/// Largest text of approvals.
const APPROVALS_BYTES_MAX: usize = 16 << 20;

/// Tools of MCP servers are those that somebody has looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "McpPinning")]
pub struct Config {
    /// What is approved, as `agentgateway mcp pin` writes it.
    pub approvals: ApprovalsConfig,
    /// What happens to a tool whose name is not approved.
    #[serde(default)]
    pub on_new: ActionConfig,
    /// What happens to a tool that is not as it was approved.
    #[serde(default)]
    pub on_change: ActionConfig,
    /// What happens to a suspicious tool that is not approved.
    #[serde(default)]
    pub on_suspect: ActionConfig,
}

/// Approvals: their text, or a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "McpApprovals")]
pub enum ApprovalsConfig {
    /// The text itself.
    Inline(String),
    File {
        /// A file that holds the text. It is watched.
        file: FileRef,
    },
}

/// What happens to a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "McpPinningAction")]
pub enum ActionConfig {
    /// It is neither shown nor called.
    #[default]
    Quarantine,
    /// It is shown, and in the log.
    Warn,
    /// Nothing.
    Allow,
}

impl ActionConfig {
    fn lower(self) -> Action {
        match self {
            Self::Quarantine => Action::Quarantine,
            Self::Warn => Action::Warn,
            Self::Allow => Action::Allow,
        }
    }
}

impl From<Action> for ActionConfig {
    fn from(it: Action) -> Self {
        match it {
            Action::Quarantine => Self::Quarantine,
            Action::Warn => Self::Warn,
            Action::Allow => Self::Allow,
        }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { approvals, on_new, on_change, on_suspect } = self;
        let text = scope.at("approvals", |scope| match approvals {
            ApprovalsConfig::Inline(text) => Some(text.into_bytes()),
            ApprovalsConfig::File { file } => scope.file("file", &file),
        })?;
        if text.len() > APPROVALS_BYTES_MAX {
            scope.problem_at("approvals", format!("larger than {APPROVALS_BYTES_MAX} bytes"));
            return None;
        }
        let approvals = scope.check("approvals", Approvals::parse(&text))?;
        let (on_new, on_change, on_suspect) = (on_new.lower(), on_change.lower(), on_suspect.lower());
        let mut hasher = SipHasher13::new();
        (&text, on_new, on_change, on_suspect).hash(&mut hasher);
        Some(Policy {
            text: String::from_utf8_lossy(&text).into(),
            approvals: approvals.into(),
            on_new,
            on_change,
            on_suspect,
            fingerprint: hasher.finish(),
        })
    }
}
