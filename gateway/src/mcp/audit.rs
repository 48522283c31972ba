//! What a call came to, for the log: `mcp.tool.result`, or `mcp.tool.error` with all that the server says in it, where the
//! log or a label reads `mcp`.

use filters::expr::Needs;
use serde_json::Value;

use crate::proxy::{Ctx, Proxy, log_reads};

/// Largest message that is looked at.
const RESULT_BYTES_MAX: usize = 64 << 10;

/// Notes what a message of the server's says of the call.
pub(super) fn note(proxy: &Proxy, ctx: &mut Ctx, message: &[u8]) {
    let is_tool = ctx.mcp.as_ref().is_some_and(|it| it.is_tool());
    if !is_tool || message.len() > RESULT_BYTES_MAX || !log_reads(ctx, proxy.telemetry.labels(), Needs::MCP) {
        return;
    }
    let Ok(Value::Object(mut said)) = serde_json::from_slice(message) else { return };
    let Some(Value::Object(tool)) = ctx.mcp.as_mut().and_then(|it| it.object_mut()?.get_mut("tool")) else { return };
    for key in ["result", "error"] {
        if let Some(value) = said.remove(key) {
            tool.insert(key.to_owned(), value);
        }
    }
}
