//! MCP servers as written.

use std::collections::BTreeMap;

use filters::lower::ServicePort;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GatewayRefs;
use crate::local::policies::{RoutePolicies, TargetPolicies};

/// MCP servers that clients see as one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpBackend {
    /// 1 to 100, in the order in which their tools are listed.
    pub targets: Vec<McpTarget>,
    /// `stateful` (the default) or `stateless`.
    #[serde(default)]
    pub stateful_mode: McpStatefulMode,
    /// When names of tools and prompts begin with `<target>_`. Default: `conditional`.
    #[serde(default)]
    pub prefix_mode: McpPrefixMode,
    /// What a server that fails means for the others. Default: `failClosed`.
    #[serde(default)]
    pub failure_mode: McpFailureMode,
    /// Refuse requests whose `Host` or `Origin` is not this machine, with 403: for gateways on a developer's machine.
    #[serde(default)]
    pub dns_rebinding_protection: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum McpStatefulMode {
    /// Clients have sessions, which any replica with the same key goes on with.
    #[default]
    Stateful,
    /// Every request stands alone.
    Stateless,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum McpPrefixMode {
    /// Where there are several targets.
    #[default]
    Conditional,
    Always,
    /// Names and URIs are the servers' own; of two that are the same, the first target's counts.
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum McpFailureMode {
    /// A session, or a list, that one of the targets fails is refused.
    #[default]
    FailClosed,
    /// Targets that fail are left out.
    FailOpen,
}

/// A server: exactly one of `mcp`, `sse` and `stdio`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpTarget {
    /// Lower-case letters, digits, `-` and `.`.
    pub name: String,
    /// Speaks Streamable HTTP.
    pub mcp: Option<McpPlace>,
    /// Speaks HTTP with a stream of events beside it, as revision 2024-11-05 had it.
    pub sse: Option<McpPlace>,
    /// A program that is started, and spoken to through its standard input and output.
    pub stdio: Option<McpStdio>,
    /// For `host` only: what stands in `backends` has its own.
    pub policies: Option<TargetPolicies>,
}

/// Where a server is: exactly one of `host`, `backend` and `service`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpPlace {
    /// A URL such as `http://localhost:8000/mcp`; `https` with the system's roots. Or a name, with `port`, or `name:port`.
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Default: `/mcp`, of `sse` `/sse`.
    pub path: Option<String>,
    /// Name of an entry of `backends`.
    pub backend: Option<String>,
    pub service: Option<ServicePort>,
}

/// A program that speaks MCP.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpStdio {
    /// A path, or a name that is looked for on `PATH`.
    pub cmd: String,
    #[serde(default)]
    pub args: Vec<String>,
    /// Added to its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Start with `PATH`, `HOME` and the like alone.
    #[serde(default)]
    pub clear_env: bool,
    /// Bytes of data (heap and the like) that each of its processes may have: more is refused to it.
    #[serde(rename = "maxMemory")]
    pub max_memory: Option<u64>,
    /// Seconds on a processor that each of its processes may take: it is ended then, and the next call starts another.
    #[serde(rename = "maxCpuSeconds")]
    pub max_cpu_seconds: Option<u64>,
    /// Programs of this target at once; each session has one. Default, and at most: 256.
    #[serde(rename = "maxInstances")]
    pub max_instances: Option<u32>,
}

/// An MCP endpoint in a few lines: a backend with the route that leads to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimpleMcp {
    /// Gateways it hangs on, under `/mcp`, `/sse` and `/.well-known`. Default: a port of its own, or the gateway named
    /// `default`, if there is one.
    #[serde(default)]
    pub gateways: GatewayRefs,
    /// A port of its own, for all paths. Default: 3000.
    pub port: Option<u16>,
    /// 1 to 100, in the order in which their tools are listed.
    pub targets: Vec<McpTarget>,
    /// `stateful` (the default) or `stateless`.
    #[serde(default)]
    pub stateful_mode: McpStatefulMode,
    /// When names of tools and prompts begin with `<target>_`. Default: `conditional`.
    #[serde(default)]
    pub prefix_mode: McpPrefixMode,
    /// What a server that fails means for the others. Default: `failClosed`.
    #[serde(default)]
    pub failure_mode: McpFailureMode,
    /// Refuse requests whose `Host` or `Origin` is not this machine, with 403.
    #[serde(default)]
    pub dns_rebinding_protection: bool,
    pub policies: Option<RoutePolicies>,
}
