//! All items of the document together: one snapshot, its difference to the last, and what only
//! shows when everything is seen at once (names used twice, references that lead nowhere).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use filters::{Change, Patch, Snapshot};
use ir::{BackendRef, Map, Target};

use crate::local::doc::{Document as Tree, Problem};
use crate::local::lower::Objects;

/// One problem for each name that stands twice, at the second place.
pub(super) fn duplicates(tree: &Tree, all: &[(String, Arc<Objects>)]) -> Vec<Problem> {
    let mut seen: HashMap<(&str, &str), (&str, &str), foldhash::fast::RandomState> = HashMap::default();
    let mut problems = Vec::new();
    for (prefix, objects) in all {
        for (kind, name, path) in &objects.names {
            if let Some((first_prefix, first)) = seen.get(&(*kind, name.as_str())) {
                let first_place = tree.place_of(&format!("{first_prefix}{first}"));
                let line = first_place.map(|place| format!(" (line {})", place.line)).unwrap_or_default();
                let reason = format!("{kind} `{name}` is already defined at `{first_prefix}{first}`{line}");
                problems.push(tree.problem(&format!("{prefix}{path}"), reason));
            } else {
                seen.insert((kind, name), (prefix, path));
            }
        }
    }
    problems
}

/// All objects by key; where two items declare one backend alike, the first stands.
pub(super) fn gather<'a>(all: impl Iterator<Item = &'a Objects>) -> Next<'a> {
    let mut next = Next::default();
    for objects in all {
        let Objects {
            binds,
            listeners,
            routes,
            tcp_routes,
            backends,
            services,
            workloads,
            policies,
            names: _,
            reads: _,
        } = objects;
        next.binds.extend(binds.iter().map(|it| (&it.key, it)));
        next.listeners.extend(listeners.iter().map(|it| (&it.key, it)));
        next.routes.extend(routes.iter().map(|it| (&it.key, it)));
        next.tcp_routes.extend(tcp_routes.iter().map(|it| (&it.key, it)));
        for it in backends {
            next.backends.entry(&it.key).or_insert(it);
        }
        next.services.extend(services.iter().map(|it| (&it.key, it)));
        next.workloads.extend(workloads.iter().map(|it| (&it.uid, it)));
        next.policies.extend(policies.iter().map(|it| (&it.key, it)));
    }
    next
}

type Table<'a, K, V> = HashMap<&'a K, &'a Arc<V>, foldhash::fast::RandomState>;

/// Everything by key, borrowed from the items.
#[derive(Default)]
pub(super) struct Next<'a> {
    binds: Table<'a, ir::BindKey, ir::Bind>,
    listeners: Table<'a, ir::ListenerKey, ir::Listener>,
    routes: Table<'a, ir::RouteKey, ir::Route>,
    tcp_routes: Table<'a, ir::RouteKey, ir::TcpRoute>,
    backends: Table<'a, ir::BackendKey, ir::Backend>,
    services: Table<'a, ir::ServiceKey, ir::Service>,
    workloads: Table<'a, ir::Text, ir::Workload>,
    policies: Table<'a, ir::PolicyKey, filters::Attachment>,
}

/// What turns `last` into `next`.
pub(super) fn diff(last: &Snapshot, next: &Next<'_>) -> Patch {
    let mut patch = Patch::default();
    compare(&last.binds, &next.binds, |key, value| patch.push(Change::Bind(key, value)));
    compare(&last.listeners, &next.listeners, |key, value| patch.push(Change::Listener(key, value)));
    compare(&last.routes, &next.routes, |key, value| patch.push(Change::Route(key, value)));
    compare(&last.tcp_routes, &next.tcp_routes, |key, value| patch.push(Change::TcpRoute(key, value)));
    compare(&last.backends, &next.backends, |key, value| patch.push(Change::Backend(key, value)));
    compare(&last.services, &next.services, |key, value| patch.push(Change::Service(key, value)));
    compare(&last.workloads, &next.workloads, |key, value| patch.push(Change::Workload(key, value)));
    compare(&last.policies, &next.policies, |key, value| patch.push(Change::Policy(key, value)));
    patch
}

fn compare<K, V>(last: &Map<K, Arc<V>>, next: &Table<'_, K, V>, mut push: impl FnMut(K, Option<Arc<V>>))
where
    K: Clone + Eq + Hash,
    V: PartialEq,
{
    for (key, value) in next {
        match last.get(*key) {
            Some(held) if Arc::ptr_eq(held, value) || held == *value => {}
            _ => push((*key).clone(), Some(Arc::clone(value))),
        }
    }
    if last.len() > next.len() || last.keys().any(|key| !next.contains_key(key)) {
        for key in last.keys() {
            if !next.contains_key(key) {
                push(key.clone(), None);
            }
        }
    }
}

/// References that lead nowhere. They harm only themselves; this says so at load.
pub(super) fn dangling(snapshot: &Snapshot, most: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    let groups = groups(snapshot);
    let routes = snapshot.routes.values().map(|it| (&it.key, &it.backends, &it.origin));
    let tcp = snapshot.tcp_routes.values().map(|it| (&it.key, &it.backends, &it.origin));
    for (key, backends, origin) in routes.chain(tcp) {
        for it in backends {
            if warnings.len() >= most {
                return warnings;
            }
            let missing = match &it.backend {
                BackendRef::Backend(name) if !snapshot.backends.contains_key(name) => format!("backend `{name}`"),
                BackendRef::Service { service, port } => match snapshot.services.get(service) {
                    None => format!("service `{service}`"),
                    Some(found) if !found.ports.contains_key(port) => format!("port {port} of service `{service}`"),
                    Some(_) => continue,
                },
                BackendRef::RouteGroup(name) if !groups.contains(name) => format!("route group `{name}`"),
                _ => continue,
            };
            let path = origin.path.as_deref().unwrap_or_else(|| key.as_str());
            warnings.push(format!("{path}: {missing} does not exist; its requests get 500"));
        }
    }
    for policy in snapshot.policies.values() {
        if warnings.len() >= most {
            break;
        }
        let missing = match &policy.target {
            Target::Backend(key) if !snapshot.backends.contains_key(key) => format!("backend `{key}`"),
            Target::Service { service, .. } if !snapshot.services.contains_key(service) => {
                format!("service `{service}`")
            }
            _ => continue,
        };
        warnings.push(format!("policy `{}`: its target, {missing}, does not exist", policy.key));
    }
    warnings
}

fn groups(snapshot: &Snapshot) -> std::collections::HashSet<ir::Text> {
    let parents = snapshot.routes.values().flat_map(|it| it.parents.iter());
    parents
        .filter_map(|it| match it {
            ir::Parent::Group(name) => Some(name.clone()),
            _ => None,
        })
        .collect()
}
