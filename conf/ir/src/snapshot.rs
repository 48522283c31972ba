//! Everything the gateway is told, consistent. Structurally shared: a clone is a handful of
//! counters, and changing one key costs O(log n) whatever n is.

use std::hash::Hash;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::attach::Attachment;
use crate::backend::{Backend, Service, Workload};
use crate::listener::{Bind, Listener};
use crate::name::{BackendKey, BindKey, ListenerKey, PolicyKey, RouteKey, ServiceKey, Text};
use crate::patch::{Change, Patch};
use crate::route::{Route, RouteGroup, TcpRoute};

/// A persistent hash map: O(log n) to change, shared between versions.
pub type Map<K, V> = imbl::GenericHashMap<K, V, foldhash::fast::FixedState, imbl::shared_ptr::DefaultSharedPtr>;

/// The whole of what is configured. `P` is closed in `filters`.
#[derive(Clone, Debug)]
pub struct Snapshot<P> {
    pub binds: Map<BindKey, Arc<Bind>>,
    pub listeners: Map<ListenerKey, Arc<Listener>>,
    pub routes: Map<RouteKey, Arc<Route>>,
    pub tcp_routes: Map<RouteKey, Arc<TcpRoute>>,
    pub route_groups: Map<Text, Arc<RouteGroup>>,
    pub backends: Map<BackendKey, Arc<Backend>>,
    pub services: Map<ServiceKey, Arc<Service>>,
    pub workloads: Map<Text, Arc<Workload>>,
    pub policies: Map<PolicyKey, Arc<Attachment<P>>>,
}

impl<P> Default for Snapshot<P> {
    fn default() -> Self {
        Self {
            binds: Map::default(),
            listeners: Map::default(),
            routes: Map::default(),
            tcp_routes: Map::default(),
            route_groups: Map::default(),
            backends: Map::default(),
            services: Map::default(),
            workloads: Map::default(),
            policies: Map::default(),
        }
    }
}

impl<P: Clone + PartialEq> Snapshot<P> {
    /// The snapshot after `patch`; `self` is untouched and shares all that did not change.
    #[must_use]
    pub fn with(&self, patch: &Patch<P>) -> Self {
        let mut next = self.clone();
        for change in patch.changes() {
            match change {
                Change::Bind(key, value) => put(&mut next.binds, key, value),
                Change::Listener(key, value) => put(&mut next.listeners, key, value),
                Change::Route(key, value) => put(&mut next.routes, key, value),
                Change::TcpRoute(key, value) => put(&mut next.tcp_routes, key, value),
                Change::RouteGroup(key, value) => put(&mut next.route_groups, key, value),
                Change::Backend(key, value) => put(&mut next.backends, key, value),
                Change::Service(key, value) => put(&mut next.services, key, value),
                Change::Workload(key, value) => put(&mut next.workloads, key, value),
                Change::Policy(key, value) => put(&mut next.policies, key, value),
            }
        }
        next
    }

    /// What turns `self` into `next`, by equality; O(n) but for what the two share.
    pub fn diff(&self, next: &Self) -> Patch<P> {
        let mut patch = Patch::default();
        compare(&self.binds, &next.binds, |key, value| patch.push(Change::Bind(key, value)));
        compare(&self.listeners, &next.listeners, |key, value| patch.push(Change::Listener(key, value)));
        compare(&self.routes, &next.routes, |key, value| patch.push(Change::Route(key, value)));
        compare(&self.tcp_routes, &next.tcp_routes, |key, value| patch.push(Change::TcpRoute(key, value)));
        compare(&self.route_groups, &next.route_groups, |key, value| patch.push(Change::RouteGroup(key, value)));
        compare(&self.backends, &next.backends, |key, value| patch.push(Change::Backend(key, value)));
        compare(&self.services, &next.services, |key, value| patch.push(Change::Service(key, value)));
        compare(&self.workloads, &next.workloads, |key, value| patch.push(Change::Workload(key, value)));
        compare(&self.policies, &next.policies, |key, value| patch.push(Change::Policy(key, value)));
        patch
    }
}

fn put<K: Clone + Eq + Hash, V>(map: &mut Map<K, Arc<V>>, key: &K, value: &Option<Arc<V>>) {
    match value {
        Some(value) => {
            map.insert(key.clone(), value.clone());
        }
        None => {
            map.remove(key);
        }
    }
}

fn compare<K, V>(old: &Map<K, Arc<V>>, new: &Map<K, Arc<V>>, mut push: impl FnMut(K, Option<Arc<V>>))
where
    K: Clone + Eq + Hash,
    V: PartialEq,
{
    if old.ptr_eq(new) {
        return;
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) if Arc::ptr_eq(before, value) || before == value => {}
            _ => push(key.clone(), Some(value.clone())),
        }
    }
    for key in old.keys() {
        if !new.contains_key(key) {
            push(key.clone(), None);
        }
    }
}

impl<P: Serialize> Serialize for Snapshot<P> {
    /// One map per table, keys sorted, for dumps and goldens.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { binds, listeners, routes, tcp_routes, route_groups, backends, services, workloads, policies } = self;
        let mut map = serializer.serialize_map(Some(9))?;
        map.serialize_entry("binds", &sorted(binds))?;
        map.serialize_entry("listeners", &sorted(listeners))?;
        map.serialize_entry("routes", &sorted(routes))?;
        map.serialize_entry("tcpRoutes", &sorted(tcp_routes))?;
        map.serialize_entry("routeGroups", &sorted(route_groups))?;
        map.serialize_entry("backends", &sorted(backends))?;
        map.serialize_entry("services", &sorted(services))?;
        map.serialize_entry("workloads", &sorted(workloads))?;
        map.serialize_entry("policies", &sorted(policies))?;
        map.end()
    }
}

fn sorted<K: Ord + Eq + Hash, V>(map: &Map<K, Arc<V>>) -> Vec<&V> {
    let mut rows: Vec<_> = map.iter().collect();
    rows.sort_by(|a, b| a.0.cmp(b.0));
    rows.into_iter().map(|(_, value)| &**value).collect()
}
