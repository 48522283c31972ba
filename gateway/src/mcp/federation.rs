//! A backend of kind `mcp` as a plan has it.

use std::sync::{Arc, OnceLock};

use filters::Effective;
use http::HeaderValue;
use ir::{McpBackend, McpDocument, McpPrefix, McpProcess, Text};
use protocols::mcp::{Naming, name};

use super::state::State;
use crate::upstream::{Cluster, Template};

/// Servers that clients see as one.
pub struct Federation {
    pub name: Text,
    pub terms: McpBackend,
    pub naming: Naming,
    pub targets: Vec<Arc<Target>>,
    /// The scope of clients that nobody knows, on the route that was asked first.
    pub(super) of_nobody: OnceLock<(Box<str>, [u8; 32])>,
}

/// One of the servers.
pub struct Target {
    pub name: Text,
    pub reach: Reach,
    /// What is known of it, across configurations.
    pub state: Arc<State>,
}

/// How a server is reached.
pub enum Reach {
    Http(Endpoint),
    /// With a stream of events beside it (2024-11-05).
    Sse(Endpoint),
    Stdio(McpProcess),
    /// An API whose operations are tools.
    OpenApi(Box<Endpoint>, McpDocument),
    /// It is not, and why.
    Broken(Text),
}

/// An HTTP server and the terms it is reached on.
pub struct Endpoint {
    pub cluster: Arc<Cluster>,
    pub template: Arc<Template>,
    /// Policies of the target over those of the backend.
    pub effective: Arc<Effective>,
    pub host: Option<HeaderValue>,
    pub path: Text,
}

impl Federation {
    pub fn new(name: Text, terms: McpBackend, targets: Vec<Arc<Target>>) -> Self {
        let several = targets.len() > 1;
        let naming = match terms.prefix {
            McpPrefix::Conditional => Naming { names: several, uris: several, ids: several },
            McpPrefix::Always => Naming { names: true, uris: true, ids: true },
            McpPrefix::Never => Naming { names: false, uris: false, ids: several },
        };
        Self { name, terms, naming, targets, of_nobody: OnceLock::new() }
    }

    pub fn target(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|it| &*it.name == name)
    }

    /// The only server, where there is one, and nothing says whose things are.
    pub fn single(&self) -> Option<&Arc<Target>> {
        match self.targets.as_slice() {
            [it] => Some(it),
            _ => None,
        }
    }

    /// Whose a name with a prefix is, and the name there.
    pub fn owner<'a>(&self, name: &'a str) -> Option<(&Arc<Target>, &'a str)> {
        if self.naming.names {
            let (target, rest) = name::split(name)?;
            return Some((self.target(target)?, rest));
        }
        self.single().map(|it| (it, name))
    }

    /// Whose a URI is, and the URI there.
    pub fn owner_of_uri(&self, uri: &str) -> Option<(&Arc<Target>, String)> {
        if self.naming.uris {
            let (target, rest) = name::split_uri(uri)?;
            return Some((self.target(target)?, rest));
        }
        self.single().map(|it| (it, uri.to_owned()))
    }
}
