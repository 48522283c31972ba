//! `mcpPinning`. Approvals that a file holds travel as their text.

use filters::Scope;
use filters::mcp_pinning::{Action, ActionConfig, ApprovalsConfig, Config, Policy};

use crate::codec::read;
use crate::pb;
use crate::pb::mcp_pinning::Action as Wire;

pub(super) fn encode(it: &Policy) -> pb::McpPinning {
    let Policy { text, approvals: _, on_new, on_change, on_suspect, fingerprint: _ } = it;
    let action = |it: &Action| match it {
        Action::Quarantine => Wire::Quarantine.into(),
        Action::Warn => Wire::Warn.into(),
        Action::Allow => Wire::Allow.into(),
    };
    pb::McpPinning {
        approvals: text.to_string(),
        on_new: action(on_new),
        on_change: action(on_change),
        on_suspect: action(on_suspect),
    }
}

pub(super) fn decode(it: pb::McpPinning, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::McpPinning { approvals, on_new, on_change, on_suspect } = it;
    let action = |scope: &mut Scope<'_>, key: &str, number: i32| match read::choice(scope, key, number) {
        Wire::Unspecified | Wire::Quarantine => ActionConfig::Quarantine,
        Wire::Warn => ActionConfig::Warn,
        Wire::Allow => ActionConfig::Allow,
    };
    let before = scope.problems.len();
    let config = Config {
        approvals: ApprovalsConfig::Inline(approvals),
        on_new: action(scope, "onNew", on_new),
        on_change: action(scope, "onChange", on_change),
        on_suspect: action(scope, "onSuspect", on_suspect),
    };
    if scope.problems.len() > before { None } else { config.lower(scope) }
}
