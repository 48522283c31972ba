//! The compiled form of a snapshot: what a connection and a request look things up in.
//!
//! A plan is immutable and structurally shared with its predecessor: [`Plan::with`] takes a patch
//! and touches only what the patch names. Policies are not compiled into rules; see [`entry`].
//! `compile.rs` makes plans; this file is what the data path reads.

mod candidate;
mod compile;
pub mod entry;
mod hosts;
pub mod listener;
mod merged;
mod regexes;
pub mod router;
mod small;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use filters::{Effective, Level};
use ir::{BackendRef, BindKey, Hostname, ListenerKey, Map, ObjectName, Target, Text};

pub use candidate::RequestParts;
pub use compile::Compiler;
pub use entry::{Entry, Resolved};
pub use listener::{BindPlan, ListenerPlan, Scope, TcpEntry, Terms, Transport, may_share};
pub use merged::{Backend, BackendTarget, Merged};
pub use router::{Found, Router};

use crate::upstream::{Cluster, Template};
use merged::Inputs;

/// Longest chain of route groups a request may pass.
pub const DELEGATION_DEPTH_MAX: usize = 16;

/// What is in force.
#[derive(Clone)]
pub struct Plan {
    /// Counts published plans.
    pub generation: u64,
    /// Counts changes of policies and backends; caches below it compare.
    pub epoch: u64,
    pub snapshot: filters::Snapshot,
    binds: Map<BindKey, Arc<BindPlan>>,
    groups: Map<Text, Arc<Router>>,
    levels: Map<Target, Level>,
    clusters: Map<BackendRef, Arc<Cluster>>,
    /// Which listeners a gateway has.
    gateways: Map<ObjectName, Arc<Vec<ListenerKey>>>,
    /// Which listeners have a host name on a bind, in the order of their keys: the first serves.
    slots: Map<(BindKey, Hostname), Arc<Vec<ListenerKey>>>,
    /// Listeners that cannot serve, and why.
    failed: Map<ListenerKey, Text>,
    pub(crate) compiler: Arc<Compiler>,
}

/// Where a raw connection goes.
pub struct TcpChoice {
    pub route: Arc<ir::TcpRoute>,
    pub cluster: Arc<Cluster>,
    pub template: Arc<Template>,
    pub effective: Arc<Effective>,
}

/// A backend that a policy asks.
pub struct Asked {
    pub cluster: Arc<Cluster>,
    pub template: Arc<Template>,
    pub effective: Arc<Effective>,
    /// What it is called, where it has a name.
    pub host: Option<http::HeaderValue>,
}

impl Plan {
    pub fn bind(&self, key: &BindKey) -> Option<&Arc<BindPlan>> {
        self.binds.get(key)
    }

    pub fn binds(&self) -> impl Iterator<Item = &Arc<BindPlan>> {
        self.binds.values()
    }

    /// Routes of a group that is there; it may have none.
    pub fn group(&self, name: &str) -> Option<Arc<Router>> {
        self.snapshot.route_groups.get(name)?;
        Some(self.groups.get(name).cloned().unwrap_or_default())
    }

    /// Listeners that cannot serve (bad certificate, host name taken), and why.
    pub fn failed(&self) -> impl Iterator<Item = (&ListenerKey, &Text)> {
        self.failed.iter()
    }

    fn level(&self, target: &Target) -> Option<Level> {
        self.levels.get(target).cloned()
    }

    /// What is attached to a backend itself; a service port's own level wins over the service's.
    fn backend_level(&self, it: &BackendRef) -> Option<Level> {
        match it {
            BackendRef::Backend(key) => self.level(&Target::Backend(key.clone())),
            BackendRef::Service { service, port } => {
                let target = |port| Target::Service { service: service.clone(), port };
                self.level(&target(Some(*port))).or_else(|| self.level(&target(None)))
            }
            BackendRef::RouteGroup(_) | BackendRef::Invalid(_) => None,
        }
    }

    fn cluster(&self, it: &BackendRef) -> Option<Arc<Cluster>> {
        self.clusters.get(it).cloned()
    }

    /// Where copies of requests go: a backend under its own policies alone.
    pub fn mirror_target(&self, it: &BackendRef) -> Option<(Arc<Cluster>, Arc<Template>)> {
        let cluster = self.cluster(it)?;
        let template = self.template(&cluster, &self.backend_effective(it)).ok()?;
        Some((cluster, template))
    }

    /// Whom a policy asks: a backend under its own policies, and those written beside the reference. The error says why
    /// it leads nowhere.
    pub fn asked(&self, it: &BackendRef, beside: &Level) -> Result<Asked, Text> {
        let cluster = self.cluster(it).ok_or_else(|| self.broken(it))?;
        let mut effective = self.backend_effective(it);
        if !beside.is_empty() {
            effective = effective.under(beside);
        }
        let template = self.template(&cluster, &effective)?;
        let host = self.host_of(it, template.is_tls());
        Ok(Asked { cluster, template, effective: Arc::new(effective), host })
    }

    /// What a backend is called: its name, else its address.
    fn host_of(&self, it: &BackendRef, tls: bool) -> Option<http::HeaderValue> {
        let BackendRef::Backend(key) = it else { return None };
        let backend = self.snapshot.backends.get(key)?;
        match &backend.kind {
            ir::BackendKind::Host(ir::HostTarget::Address(address)) => address.to_string().try_into().ok(),
            _ => merged::host_of(backend, tls),
        }
    }

    /// A backend's own policies, with no route above.
    fn backend_effective(&self, it: &BackendRef) -> Effective {
        self.backend_level(it).map(|level| Effective::default().under(&level)).unwrap_or_default()
    }

    /// Everything that holds for requests of a route, with its origin, by listener.
    pub fn effective_dump(&self, route: &str) -> Option<serde_json::Value> {
        let route = self.snapshot.routes.get(&ir::RouteKey::new(route))?;
        let entry = Entry::new(route.clone());
        let parts = |effective: &Effective| -> Vec<serde_json::Value> {
            effective.parts().filter_map(|part| serde_json::to_value(&**part).ok()).collect()
        };
        let mut listeners = serde_json::Map::new();
        for listener in self.binds().flat_map(|bind| bind.listeners()) {
            if !route.parents.iter().any(|parent| listener::hangs_on(parent, &listener.listener)) {
                continue;
            }
            let scope = listener.scope(self);
            let Some(scope) = scope.as_ref() else { continue };
            let resolved = entry.resolved(self, &scope.route);
            let Some(resolved) = resolved.as_ref() else { continue };
            let backends: Vec<_> = resolved
                .backends
                .iter()
                .map(|it| serde_json::json!({ "backend": it.reference, "policies": parts(&it.effective) }))
                .collect();
            listeners.insert(
                listener.listener.key.to_string(),
                serde_json::json!({
                    "gateway": parts(&scope.gateway), "route": parts(&resolved.effective), "backends": backends,
                }),
            );
        }
        Some(serde_json::json!({ "route": route.key, "generation": self.generation, "listeners": listeners }))
    }

    fn template(&self, cluster: &Arc<Cluster>, effective: &Effective) -> Result<Arc<Template>, String> {
        self.compiler.template(cluster, effective)
    }

    fn merged(&self, inputs: Inputs) -> Arc<Merged> {
        self.compiler.merged.merged(self, inputs)
    }

    /// Why a reference leads nowhere.
    fn broken(&self, it: &BackendRef) -> Text {
        match it {
            BackendRef::Backend(key) => format!("backend `{key}` does not exist").into(),
            BackendRef::Service { service, port } if self.snapshot.services.contains_key(service) => {
                format!("service `{service}` has no port {port}").into()
            }
            BackendRef::Service { service, .. } => format!("service `{service}` does not exist").into(),
            BackendRef::RouteGroup(name) => format!("route group `{name}` does not exist").into(),
            BackendRef::Invalid(reason) => reason.clone(),
        }
    }

    fn port_of(&self, bind: &BindKey) -> Option<u16> {
        match &self.snapshot.binds.get(bind)?.address {
            ir::BindAddress::Socket(address) => Some(address.port()),
            ir::BindAddress::Wildcard(port) => Some(*port),
            ir::BindAddress::Unix(_) => None,
        }
    }

    /// The route of a raw connection and one of its backends, drawn by weight.
    pub fn tcp_choice(&self, listener: &ListenerPlan, sni: Option<&str>, random: u64) -> Result<TcpChoice, TcpMiss> {
        let found = listener.tcp_route(sni).ok_or(TcpMiss::NoRoute)?;
        let scope = listener.scope(self);
        let base = scope.as_ref().map(|scope| &scope.route).ok_or(TcpMiss::NoRoute)?;
        let resolved = found.entry().resolved(self, base);
        let resolved = resolved.as_ref().ok_or(TcpMiss::NoRoute)?;
        let missing = || TcpMiss::NoBackend(found.route.clone(), "the route has no backend with a weight".into());
        let drawn = resolved.backends.draw(random).and_then(|at| resolved.backends.get(at));
        let backend = drawn.ok_or_else(missing)?;
        match &backend.target {
            BackendTarget::Cluster { cluster, template } => Ok(TcpChoice {
                route: found.route.clone(),
                cluster: cluster.clone(),
                template: template.clone(),
                effective: backend.effective.clone(),
            }),
            BackendTarget::Broken(reason) => Err(TcpMiss::NoBackend(found.route.clone(), reason.clone())),
            BackendTarget::Mcp(_) | BackendTarget::Ai(_) | BackendTarget::Demo | BackendTarget::Group(_) => {
                Err(TcpMiss::NoBackend(found.route.clone(), "a raw route needs a host or service".into()))
            }
        }
    }
}

/// Why a raw connection goes nowhere.
pub enum TcpMiss {
    NoRoute,
    NoBackend(Arc<ir::TcpRoute>, Text),
}
