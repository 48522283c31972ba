//! MCP servers behind one endpoint: federation, sessions, streams, and servers and clients that misbehave.

#[path = "mcp/authentication.rs"]
mod authentication;
#[path = "mcp/bound.rs"]
mod bound;
#[path = "mcp/federation.rs"]
mod federation;
#[path = "mcp/guardrails.rs"]
mod guardrails;
#[path = "mcp/hostile.rs"]
mod hostile;
#[path = "mcp/limits.rs"]
mod limits;
#[path = "mcp/modern.rs"]
mod modern;
#[path = "mcp/openapi.rs"]
mod openapi;
#[path = "mcp/own_auth.rs"]
mod own_auth;
#[path = "mcp/pinning.rs"]
mod pinning;
#[path = "mcp/programs.rs"]
mod programs;
#[path = "mcp/resuming.rs"]
mod resuming;
#[path = "mcp/rules.rs"]
mod rules;
#[path = "mcp/session.rs"]
mod session;
#[path = "mcp/sse.rs"]
mod sse;
#[path = "mcp/tools.rs"]
mod tools;

use tests::McpServer;

/// One route for everything to these servers; `more` are further keys of the backend, each a line.
fn federation_of(servers: &[(&str, &McpServer)], more: &str) -> String {
    let target = |(name, it): &(&str, &McpServer)| {
        format!("          - name: {name}\n            mcp: {{ host: 'http://{}/mcp' }}\n", it.backend.addr())
    };
    let targets: String = servers.iter().map(target).collect();
    let more: String = more.lines().map(|it| format!("          {it}\n")).collect();
    format!(
        "binds:\n- port: 0\n  address: 127.0.0.1\n  listeners:\n  - routes:\n    - name: tools\n      backends:\n      - mcp:\n{more}          targets:\n{targets}"
    )
}
