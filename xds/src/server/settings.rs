//! Who may ask, on what terms, and within which limits.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Node;

/// Who may ask, and on what terms.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Shown to clients as the name of the control plane.
    pub identifier: String,
    /// How a client's group is known.
    pub grouping: Grouping,
    pub tls: Option<Tls>,
    /// File of bearer tokens, one a line, of which clients must show one. Read again for each stream.
    pub tokens_file: Option<PathBuf>,
    pub limits: Limits,
}

/// TLS of a server. The files are read when it begins, and again for the next client once they have changed.
#[derive(Clone, Debug)]
pub struct Tls {
    pub identity: crate::client::Identity,
    /// PEM roots that client certificates must chain to; absent means none is asked for.
    pub client_roots: Option<PathBuf>,
}

/// How a client's group is known. All clients of a group are sent the same; a view that one node alone has is
/// a group of its own.
#[derive(Clone, Debug)]
pub enum Grouping {
    /// All clients are of this group.
    One(String),
    /// By an entry of the node's metadata, such as `role`.
    Metadata(String),
    /// By the node's cluster.
    Cluster,
    /// By whatever the node says of itself.
    By(Chooser),
}

impl Default for Grouping {
    fn default() -> Self {
        Self::One(String::new())
    }
}

impl Grouping {
    /// The group of a node; `None` for one that is not served.
    pub(super) fn of(&self, node: &Node) -> Option<String> {
        match self {
            Self::One(group) => Some(group.clone()),
            Self::Metadata(key) => Some(node.metadata.get(key).cloned().unwrap_or_default()),
            Self::Cluster => Some(node.cluster.clone()),
            Self::By(Chooser(choose)) => choose(node),
        }
    }
}

/// The group of a node, or that it is not served.
pub type Choose = dyn Fn(&Node) -> Option<String> + Send + Sync;

/// Asked once for each stream; must not block.
#[derive(Clone)]
pub struct Chooser(pub Arc<Choose>);

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chooser")
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait.
    pub connections: usize,
    /// Streams at once, over all connections; further ones are told to come back.
    pub streams: usize,
    /// Largest request: with the versions of everything a client has.
    pub request_bytes: usize,
    /// Size of a response beyond which the rest goes into another. Together with `streams` it bounds what clients
    /// that do not read make the server hold: one response each. Half of what most clients of gRPC accept.
    pub response_bytes: usize,
    /// From the connection to the first stream that is let in.
    pub greeting: Duration,
    /// How long a client may take to acknowledge, or to read what is sent; then it is cut off.
    pub acknowledgement: Duration,
    /// Silence before a ping, and how long its answer may take.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long streams may take to end with the server.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 10_000,
            request_bytes: 128 << 20,
            response_bytes: 2 << 20,
            greeting: Duration::from_secs(10),
            acknowledgement: Duration::from_secs(120),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(5),
        }
    }
}
