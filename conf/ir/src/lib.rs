//! What the gateway should do, as plain values: the hinge between every source of configuration
//! (local files, xDS, the controller) and everything that runs.
//!
//! Topology and policy are two tables. Topology (binds, listeners, routes, backends, services,
//! workloads) is described here in full. A policy is an [`Attachment`] of some type `P` to a
//! [`Target`]; `P` is closed one crate up (`filters::Policy`), so this crate knows no policy.
//!
//! Nothing here counts, locks, caches, connects or reads input, and nothing can be deserialised:
//! sources *lower* or *decode* into these types. `Serialize` exists one way, for dumps.
//!
//! Read next: [`Snapshot`] (everything, consistent), [`Patch`] (what changed).

pub mod ai;
pub mod attach;
pub mod backend;
pub mod listener;
pub mod matcher;
pub mod mcp;
pub mod name;
pub mod patch;
pub mod route;
pub mod secret;
pub mod snapshot;

pub use ai::{AiBackend, AiCase, AiFormat, AiKeyPlace, AiPassthrough, AiProvider, AiRouting, AiShare, AiVirtualModel};
pub use attach::{Attachment, Inheritance, Phase, Target};
pub use backend::{Backend, BackendKind, BackendRef, HostTarget, Service, Workload};
pub use listener::{Bind, BindAddress, Listener, Protocol, ServerTls};
pub use matcher::{HeaderMatch, Hostname, Match, PathMatch, QueryMatch, Regex, ValueMatch};
pub use mcp::{McpApi, McpBackend, McpDocument, McpPrefix, McpProcess, McpReach, McpTarget, McpUrl};
pub use name::{
    BackendKey, BindKey, Invalid, ListenerKey, ObjectName, Origin, PolicyKey, RouteKey, RouteName, ServiceKey, Text,
};
pub use patch::{Change, Patch};
pub use route::{Parent, Route, RouteBackend, RouteGroup, TcpRoute};
pub use secret::Secret;
pub use snapshot::{Map, Snapshot};
