//! What serves in the place of a resource that never was good: as little as its readable part allows,
//! and never more than the resource itself would have.
//!
//! | Refused | Serves instead |
//! |---|---|
//! | a route | the matches that can be read, answered with 500; one that cannot be read never matches |
//! | a TCP route | its names, with a backend that refuses |
//! | `ipAccess` | nobody is let in |
//! | `authorization`, `networkAuthorization`, `networkExtAuthz`, `extAuthz` of a backend | everybody is refused |
//! | `a2a` | `a2a` as nothing written has it |
//! | `mcpAuthorization`, `mcpGuardrails`, `mcpPinning`, `mcpTools` | nothing of MCP servers is there for anybody |
//! | another filter, or a kind that is not known, above the backend | 500 for all that the target governs |
//! | `backendTLS`, or a kind that is not known, at a backend | TLS that no certificate satisfies |
//! | a setting | nothing: the default holds |
//! | a bind, listener, route group, backend, service, workload | nothing: what is not there serves nobody |
//!
//! [`stand_in`] is for an object that was good, and whose secrets are not there any more: a listener keeps its name and
//! refuses handshakes, a policy is closed as above, a backend is not there.

use filters::expr::{Expression, Site, Vocabulary};
use filters::rung::Rung;
use filters::{
    Attachment, Change, Kind, Policy, Scope, a2a, authorization, backend_tls, direct_response, ip_access,
    mcp_authorization, network_authorization,
};
use ir::{
    BackendRef, Inheritance, Listener, Origin, Phase, PolicyKey, Route, RouteBackend, RouteKey, Secret, Target,
    TcpRoute,
};

use super::{Name, attachment, matcher, origin, parse, policy, read, route};
use crate::pb;

/// The fail-closed substitute of a refused resource; `None` where nothing needs, or can, be closed.
pub fn substitute(name: &str, type_url: &str, bytes: &[u8]) -> Option<Change> {
    let named = Name::parse(name)?;
    let mut doors = read::Doors;
    let mut backends = read::Doors;
    let mut scope = Scope::new(named.kind.as_str(), &mut doors, &mut backends);
    let change = match parse(type_url, bytes).ok()?.kind? {
        pb::resource::Kind::Route(it) => {
            let it = closed_route(it, &origin(name), &mut scope)?;
            Change::Route(it.key.clone(), Some(it.into()))
        }
        pb::resource::Kind::TcpRoute(it) => {
            let it = closed_tcp_route(it, &origin(name), &mut scope)?;
            Change::TcpRoute(it.key.clone(), Some(it.into()))
        }
        pb::resource::Kind::Policy(it) => {
            let it = closed_policy(it, &origin(name), &mut scope)?;
            Change::Policy(it.key.clone(), Some(it.into()))
        }
        _ => return None,
    };
    (Name::of(&change) == named).then_some(change)
}

/// The place of a key that was left out; no key looks like that.
const LEFT_OUT: &[u8] = b"left out";

/// What serves in the place of a good object without its secrets. `None` where nothing may.
pub fn stand_in(change: &Change) -> Option<Change> {
    match change {
        Change::Listener(key, Some(it)) => {
            let mut closed = Listener::clone(it);
            closed.tls.as_mut()?.key = Secret::new(LEFT_OUT);
            Some(Change::Listener(key.clone(), Some(closed.into())))
        }
        Change::Policy(key, Some(it)) => {
            let policy = closed(Some(it.policy.kind()), &it.target)?;
            let closed =
                Attachment { policy, phase: Phase::Route, inheritance: Inheritance::Override, ..Attachment::clone(it) };
            Some(Change::Policy(key.clone(), Some(closed.into())))
        }
        _ => None,
    }
}

fn refused() -> Vec<RouteBackend> {
    vec![RouteBackend { weight: 1, backend: BackendRef::Invalid("the route was refused".into()) }]
}

fn closed_route(it: pb::Route, origin: &Origin, scope: &mut Scope<'_>) -> Option<Route> {
    let pb::Route { key, name, rule, parents, order, hostnames, matches, backends: _ } = it;
    let route = Route {
        key: RouteKey(key.into()),
        name: route::route_name(scope, name, rule),
        parents: route::decode_parents(parents, scope),
        order,
        hostnames: hosts(&hostnames, scope)?,
        matches: matcher::decode_all(matches, scope),
        backends: refused(),
        origin: origin.clone(),
    };
    (!route.matches.is_empty()).then_some(route)
}

fn closed_tcp_route(it: pb::TcpRoute, origin: &Origin, scope: &mut Scope<'_>) -> Option<TcpRoute> {
    let pb::TcpRoute { key, name, rule, parents, order, hostnames, backends: _ } = it;
    Some(TcpRoute {
        key: RouteKey(key.into()),
        name: route::route_name(scope, name, rule),
        parents: route::decode_parents(parents, scope),
        order,
        hostnames: hosts(&hostnames, scope)?,
        backends: refused(),
        origin: origin.clone(),
    })
}

/// The names that can be read. None left of some is not the same as none written, which means all.
fn hosts(written: &[String], scope: &mut Scope<'_>) -> Option<Vec<ir::Hostname>> {
    let hostnames = route::decode_hostnames(written, scope);
    (written.is_empty() || !hostnames.is_empty()).then_some(hostnames)
}

fn closed_policy(it: pb::Policy, origin: &Origin, scope: &mut Scope<'_>) -> Option<Attachment> {
    let target = attachment::decode_target(it.target, scope)?;
    let policy = closed(it.kind.as_ref().and_then(policy::kind), &target)?;
    scope.problems.is_empty().then(|| Attachment {
        key: PolicyKey(it.key.into()),
        target,
        phase: Phase::Route,
        // More specific policies of the kind must not open it again.
        inheritance: Inheritance::Override,
        order: it.order,
        policy,
        origin: origin.clone(),
    })
}

fn closed(kind: Option<Kind>, target: &Target) -> Option<Policy> {
    let at_backend = matches!(target, Target::Backend(_) | Target::RouteBackend { .. } | Target::Service { .. });
    match kind {
        None | Some(Kind::BackendTls) if at_backend => Some(Policy::BackendTls(backend_tls::Policy {
            // RFC 2606 sees to it that nobody has such a name.
            subject_alt_names: vec!["refused.invalid".into()],
            ..backend_tls::Policy::default()
        })),
        Some(Kind::IpAccess) => {
            let everybody = ["0.0.0.0/0", "::/0"].iter().filter_map(|it| it.parse().ok());
            Some(Policy::IpAccess(ip_access::Policy { allow: Vec::new(), deny: everybody.collect() }))
        }
        // Connections are not answered: what cannot be judged is let in by nobody.
        Some(Kind::NetworkAuthorization | Kind::NetworkExtAuthz) => {
            nobody(Site::Connection).map(network_authorization::Policy).map(Policy::NetworkAuthorization)
        }
        // Ids that were sealed go on being opened.
        Some(Kind::A2a) => Some(Policy::A2a(a2a::Policy::default())),
        // Of a backend, too: nothing of its servers is shown. What says which tools there are closes them all.
        Some(Kind::McpAuthorization | Kind::McpGuardrails | Kind::McpPinning | Kind::McpTools) => {
            nobody(Site::Mcp).map(mcp_authorization::Policy).map(Policy::McpAuthorization)
        }
        // What would have been looked through does not pass at all.
        Some(Kind::ExtAuthz | Kind::Ai) if at_backend => nobody(Site::Backend).map(Policy::Authorization),
        Some(Kind::Authorization) => nobody(Site::Request).map(Policy::Authorization),
        Some(kind) if kind.rung() == Rung::Setting && !matches!(kind, Kind::BackendTls | Kind::Ai) => None,
        Some(_) if at_backend => None,
        _ => {
            Some(Policy::DirectResponse(direct_response::Policy { status: 500, ..direct_response::Policy::default() }))
        }
    }
}

/// Rules that refuse everybody.
fn nobody(site: Site) -> Option<authorization::Policy> {
    let when = Expression::parse("true", &Vocabulary::rule(site)).ok()?;
    let rule = authorization::Rule { effect: authorization::Effect::Deny, when };
    Some(authorization::Policy { rules: vec![rule], ..authorization::Policy::default() })
}
