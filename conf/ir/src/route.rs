//! Routes: from a request that a listener accepted to a weighted choice of backends.

use serde::Serialize;

use crate::backend::BackendRef;
use crate::matcher::{Hostname, Match};
use crate::name::{ListenerKey, ObjectName, Origin, RouteKey, RouteName, Text};

/// Backends of one rule.
pub const BACKENDS_MAX: usize = 256;

/// Where a route hangs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Parent {
    /// One listener.
    Listener(ListenerKey),
    /// All listeners of a gateway that speak the route's kind of traffic, or the one named.
    Gateway { gateway: ObjectName, listener: Option<Text> },
    /// A route group, reached by delegation only.
    Group(Text),
}

/// A set of routes that others delegate to: those that name it as their parent. Without any it is there all the same,
/// and what is delegated to it finds no route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteGroup {
    pub key: Text,
    pub origin: Origin,
}

/// One HTTP rule: one or more matches and what happens to what they catch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    pub key: RouteKey,
    pub name: RouteName,
    pub parents: Vec<Parent>,
    /// Decides between equal matches: lower first (creation order, document order).
    pub order: u64,
    /// Empty means the listener's own.
    pub hostnames: Vec<Hostname>,
    pub matches: Vec<Match>,
    pub backends: Vec<RouteBackend>,
    pub origin: Origin,
}

/// A weighted reference to a backend. Its own policies are attached to
/// [`crate::Target::RouteBackend`] with its position.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RouteBackend {
    /// 0 means never.
    pub weight: u32,
    pub backend: BackendRef,
}

/// One rule for raw TCP or for TLS by SNI.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TcpRoute {
    pub key: RouteKey,
    pub name: RouteName,
    pub parents: Vec<Parent>,
    pub order: u64,
    /// SNI names; empty means any.
    pub hostnames: Vec<Hostname>,
    pub backends: Vec<RouteBackend>,
    pub origin: Origin,
}
