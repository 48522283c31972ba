//! All items of the document together: one snapshot, its difference to the last, and what only
//! shows when everything is seen at once (names used twice, references that lead nowhere).

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use filters::{Change, Patch, Snapshot};
use ir::{BackendRef, BindAddress, Map, Target};

use super::Remark;
use crate::local::doc::{Document as Tree, Place, Problem};
use crate::local::lower::{Name, Objects};

/// Where a name stands.
type Found = (Option<Place>, String);

/// One problem for each name that stands twice, at every place but the first.
pub(super) fn duplicates(tree: &Tree, all: &[(String, Arc<Objects>)]) -> Vec<Problem> {
    let mut seen: HashMap<(&str, &str), (&str, &Name), foldhash::fast::RandomState> = HashMap::default();
    let mut again: BTreeMap<(&str, &str), Vec<Found>> = BTreeMap::new();
    let found = |prefix: &str, name: &Name| -> Found {
        let path = format!("{prefix}{}", name.path);
        (tree.place_of(&path), path)
    };
    for (prefix, objects) in all {
        for name in &objects.names {
            let key = (name.kind, name.key.as_str());
            match seen.get(&key) {
                Some((first, held)) => {
                    again.entry(key).or_insert_with(|| vec![found(first, held)]).push(found(prefix, name));
                }
                None => drop(seen.insert(key, (prefix, name))),
            }
        }
    }
    let mut problems = Vec::new();
    for ((kind, key), mut places) in again {
        // Sections are not read in the order they are written.
        places.sort();
        let mut places = places.into_iter();
        let Some((place, first)) = places.next() else { continue };
        let line = place.map(|place| format!(" (line {})", place.line)).unwrap_or_default();
        let shown = key.rsplit_once('|').map_or(key, |(_, name)| name);
        let reason = format!("{kind} `{shown}` is already taken by `{first}`{line}");
        problems.extend(places.map(|(_, path)| tree.problem(&path, reason.clone())));
    }
    problems
}

/// One problem for each bind that cannot listen because an earlier one listens on all addresses of its port, or
/// the other way round. Binds at the very same address are told as [`duplicates`].
pub(super) fn overlaps(tree: &Tree, all: &[(String, Arc<Objects>)], ipv6: bool) -> Vec<Problem> {
    let mut ports: BTreeMap<u16, Vec<(Found, IpAddr, &BindAddress)>> = BTreeMap::new();
    for (prefix, objects) in all {
        for bind in &objects.binds {
            let (ip, port) = match &bind.address {
                BindAddress::Socket(address) => (address.ip(), address.port()),
                BindAddress::Wildcard(port) if ipv6 => (Ipv6Addr::UNSPECIFIED.into(), *port),
                BindAddress::Wildcard(port) => (Ipv4Addr::UNSPECIFIED.into(), *port),
                BindAddress::Unix(_) => continue,
            };
            if port != 0 {
                let path = format!("{}.port", path_now(prefix, &bind.origin));
                ports.entry(port).or_default().push(((tree.place_of(&path), path), ip, &bind.address));
            }
        }
    }
    let mut problems = Vec::new();
    for mut binds in ports.into_values().filter(|it| it.iter().any(|(_, ip, _)| ip.is_unspecified())) {
        binds.sort_by(|a, b| a.0.cmp(&b.0));
        let mut wide = Vec::new();
        for (at, (found, ip, address)) in binds.iter().enumerate() {
            let earlier = if ip.is_unspecified() { binds.get(..at).unwrap_or_default() } else { &wide };
            let taken =
                earlier.iter().find(|(_, other, held)| held != address && (covers(*ip, *other) || covers(*other, *ip)));
            if let Some(((place, path), _, held)) = taken {
                let line = place.map(|place| format!(" (line {})", place.line)).unwrap_or_default();
                let reason = format!("`{address}` overlaps `{held}` of `{path}`{line}: only one of them can listen");
                problems.push(tree.problem(&found.1, reason));
            }
            if ip.is_unspecified() {
                wide.push((found.clone(), *ip, *address));
            }
        }
    }
    problems
}

/// Whether a socket at `wide` takes the connections of another at `other`: `::` is opened for both families.
fn covers(wide: IpAddr, other: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4())
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
            route_groups,
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
        next.route_groups.extend(route_groups.iter().map(|it| (&it.key, it)));
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
    route_groups: Table<'a, ir::Text, ir::RouteGroup>,
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
    compare(&last.route_groups, &next.route_groups, |key, value| patch.push(Change::RouteGroup(key, value)));
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

/// What is said of what is in no document.
const NOWHERE: &str = "does not exist";

/// With a control plane beside the document, what is not there may come.
pub(super) fn may_come(warning: &mut Problem) {
    let told = "is not in this document, and until the control plane names it";
    warning.message = warning.message.replacen(&format!("{NOWHERE};"), &format!("{told},"), 1);
}

/// References that lead nowhere. They harm only themselves; this says so at load.
pub(super) fn dangling(tree: &Tree, snapshot: &Snapshot, all: &[(String, Arc<Objects>)], most: usize) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (prefix, objects) in all {
        let routes = objects.routes.iter().map(|it| (&it.backends, &it.origin));
        let tcp = objects.tcp_routes.iter().map(|it| (&it.backends, &it.origin));
        for (backends, origin) in routes.chain(tcp) {
            for (position, it) in backends.iter().enumerate() {
                let Some(missing) = missing_backend(snapshot, &it.backend) else { continue };
                let path = format!("{}.backends[{position}]", path_now(prefix, origin));
                warnings.push(tree.problem(&path, format!("{missing} {NOWHERE}; its requests get 500")));
            }
        }
        for policy in &objects.policies {
            let Some(missing) = missing_target(snapshot, &policy.target) else { continue };
            let path = format!("{}.target", path_now(prefix, &policy.origin));
            warnings.push(tree.problem(&path, format!("{missing} {NOWHERE}; the policy has no effect")));
        }
    }
    Problem::sort(&mut warnings);
    warnings.truncate(most);
    warnings
}

/// Active checks that do not run, because another place says what those of the backend are.
pub(super) fn contested(tree: &Tree, all: &[(String, Arc<Objects>)], most: usize) -> Vec<Problem> {
    let mut said: HashMap<&Target, Vec<(&str, &filters::Attachment)>, foldhash::fast::RandomState> = HashMap::default();
    for (prefix, objects) in all {
        let of_backends = objects.policies.iter().filter(|it| {
            matches!(it.policy, filters::Policy::Health(_))
                && matches!(it.target, Target::Backend(_) | Target::Service { .. })
        });
        of_backends.for_each(|it| said.entry(&it.target).or_default().push((prefix, it)));
    }
    let active = |it: &filters::Attachment| match &it.policy {
        filters::Policy::Health(policy) => policy.active.clone(),
        _ => None,
    };
    let mut warnings = Vec::new();
    for places in said.into_values() {
        // As `Effective` chooses.
        let Some((prefix, winner)) = places.iter().min_by_key(|(_, it)| (it.order, &it.key)) else { continue };
        let (path, held) = (path_now(prefix, &winner.origin), active(winner));
        for (prefix, it) in places.iter().filter(|(_, it)| active(it).is_some_and(|it| Some(it) != held)) {
            let line = tree.place_of(&path).map(|place| format!(" (line {})", place.line)).unwrap_or_default();
            let reason = format!("these active checks do not run: those of the backend are said by `{path}`{line}");
            warnings.push(tree.problem(&path_now(prefix, &it.origin), reason));
        }
    }
    Problem::sort(&mut warnings);
    warnings.truncate(most);
    warnings
}

/// What there is to say of a document that is for other processes, and of the objects in it that changed.
pub(super) fn remarked(tree: &Tree, patch: &Patch, remark: Remark, most: usize) -> Vec<Problem> {
    let mut warnings = Vec::new();
    if tree.place_of("config").is_some() {
        let reason = "does not travel: these are settings of a process. `namespace` and `gateway` name what travels, \
                      `logging` is that of this process";
        warnings.push(tree.problem("config", reason));
    }
    for change in patch.changes() {
        let Some(reason) = remark(change) else { continue };
        let path = origin(change).and_then(|it| it.path.as_deref()).unwrap_or_default();
        warnings.push(tree.problem(path, reason));
    }
    Problem::sort(&mut warnings);
    warnings.truncate(most);
    warnings
}

fn origin(change: &Change) -> Option<&ir::Origin> {
    match change {
        Change::Bind(_, it) => it.as_ref().map(|it| &it.origin),
        Change::Listener(_, it) => it.as_ref().map(|it| &it.origin),
        Change::Route(_, it) => it.as_ref().map(|it| &it.origin),
        Change::TcpRoute(_, it) => it.as_ref().map(|it| &it.origin),
        Change::RouteGroup(_, it) => it.as_ref().map(|it| &it.origin),
        Change::Backend(_, it) => it.as_ref().map(|it| &it.origin),
        Change::Service(_, it) => it.as_ref().map(|it| &it.origin),
        Change::Workload(_, it) => it.as_ref().map(|it| &it.origin),
        Change::Policy(_, it) => it.as_ref().map(|it| &it.origin),
    }
}

/// Where an object of an item is: an item that moved keeps the objects with the path it had.
pub(super) fn path_now(prefix: &str, origin: &ir::Origin) -> String {
    let path = origin.path.as_deref().unwrap_or_default();
    match path.split_once(']') {
        Some((_, rest)) if prefix.ends_with(']') => format!("{prefix}{rest}"),
        _ => path.to_owned(),
    }
}

fn missing_backend(snapshot: &Snapshot, reference: &BackendRef) -> Option<String> {
    match reference {
        BackendRef::Backend(name) if !snapshot.backends.contains_key(name) => Some(format!("backend `{name}`")),
        BackendRef::Service { service, port } => match snapshot.services.get(service) {
            None => Some(format!("service `{service}`")),
            Some(found) if !found.ports.contains_key(port) => Some(format!("port {port} of service `{service}`")),
            Some(_) => None,
        },
        BackendRef::RouteGroup(name) if !snapshot.route_groups.contains_key(name) => {
            Some(format!("route group `{name}`"))
        }
        _ => None,
    }
}

fn missing_target(snapshot: &Snapshot, target: &Target) -> Option<String> {
    let mut listeners = snapshot.listeners.values();
    let mut routes = snapshot.routes.values().map(|it| &it.name).chain(snapshot.tcp_routes.values().map(|it| &it.name));
    let (is_there, text) = match target {
        Target::Backend(key) => (snapshot.backends.contains_key(key), format!("backend `{key}`")),
        Target::Service { service, .. } => (snapshot.services.contains_key(service), format!("service `{service}`")),
        Target::Gateway { gateway, .. } => (listeners.any(|it| it.gateway == *gateway), format!("gateway `{gateway}`")),
        Target::GatewayListener { gateway, listener } => (
            listeners.any(|it| it.gateway == *gateway && it.name == *listener),
            format!("listener `{listener}` of gateway `{gateway}`"),
        ),
        Target::Route(name) => (routes.any(|it| it.route == *name), format!("route `{name}`")),
        Target::RouteRule { route, rule } => (
            routes.any(|it| it.route == *route && it.rule.as_ref() == Some(rule)),
            format!("rule `{rule}` of route `{route}`"),
        ),
        _ => return None,
    };
    (!is_there).then_some(text)
}
