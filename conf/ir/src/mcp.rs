//! Backends that speak the Model Context Protocol: several servers behind one endpoint.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::backend::BackendRef;
use crate::name::Text;
use crate::secret::Secret;

/// Servers of one backend.
pub const TARGETS_MAX: usize = 100;

/// Servers that clients see as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct McpBackend {
    /// In the order in which their tools are listed.
    pub targets: Vec<McpTarget>,
    /// Clients have no sessions here.
    pub stateless: bool,
    pub prefix: McpPrefix,
    /// A server that fails is left out; else its failure is that of all.
    pub fail_open: bool,
    /// Only requests of pages on this machine, and only to this machine's own names, are answered.
    pub local_only: bool,
}

/// When names of tools and prompts begin with their server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum McpPrefix {
    /// Where there are several servers.
    #[default]
    Conditional,
    Always,
    Never,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct McpTarget {
    pub name: Text,
    pub reach: McpReach,
}

/// How a server is spoken to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum McpReach {
    /// Streamable HTTP.
    Http(McpUrl),
    /// HTTP with a stream of events beside it (2024-11-05).
    Sse(McpUrl),
    /// A child process.
    Stdio(McpProcess),
}

/// A path of a backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct McpUrl {
    pub backend: BackendRef,
    /// With its query.
    pub path: Text,
}

/// A program and what it is started with.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct McpProcess {
    pub command: Text,
    pub args: Vec<Text>,
    /// Values may be secrets.
    pub env: BTreeMap<Text, Secret>,
    /// The process inherits nothing of our environment but what it cannot do without.
    pub clear_env: bool,
    /// Bytes of data that one process may have.
    pub memory_max: Option<u64>,
    /// Seconds on a processor that one process may take.
    pub cpu_max: Option<u64>,
    /// Programs of this kind at once; each session has one.
    pub instances_max: Option<u32>,
}

impl McpBackend {
    /// References of all targets that have one.
    pub fn references(&self) -> impl Iterator<Item = &BackendRef> {
        self.targets.iter().filter_map(|it| match &it.reach {
            McpReach::Http(url) | McpReach::Sse(url) => Some(&url.backend),
            McpReach::Stdio(_) => None,
        })
    }
}
