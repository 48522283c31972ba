//! Routes, their matches and backend references.

use std::sync::Arc;

use filters::Attachment;
use ir::matcher::{HeaderTerm, MATCHES_MAX};
use ir::route::BACKENDS_MAX;
use ir::{
    BackendKey, BackendRef, HeaderMatch, Hostname, Inheritance, Match, ObjectName, Parent, PathMatch, Phase, PolicyKey,
    QueryMatch, Regex, Route, RouteBackend, RouteKey, RouteName, Target, TcpRoute, ValueMatch,
};

use super::{Lowering, plain_name};
use crate::local::document as doc;
use crate::plan::router::PREFIX_DEPTH_MAX;

/// Where a route stands: its path in the document, the first part of its key, its position.
pub(super) struct Spot<'a> {
    pub path: &'a str,
    pub prefix: &'a str,
    pub position: usize,
}

impl Lowering<'_> {
    pub fn attached_route(&mut self, index: usize, route: doc::AttachedRoute, order: u64) {
        let path = format!("routes[{index}]");
        let doc::AttachedRoute { gateways, name, namespace, rule_name, hostnames, matches, policies, backends } = route;
        let parents = self.parents(&path, gateways, true);
        let route = doc::Route { name, namespace, rule_name, hostnames, matches, policies, backends };
        self.route(&Spot { path: &path, prefix: "route", position: index }, route, parents, order);
    }

    pub fn attached_tcp_route(&mut self, index: usize, route: doc::AttachedTcpRoute, order: u64) {
        let path = format!("tcpRoutes[{index}]");
        let doc::AttachedTcpRoute { gateways, name, namespace, rule_name, hostnames, policies, backends } = route;
        let parents = self.parents(&path, gateways, false);
        let route = doc::TcpRoute { name, namespace, rule_name, hostnames, policies, backends };
        self.tcp_route(&Spot { path: &path, prefix: "tcproute", position: index }, route, parents, order);
    }

    pub fn group(&mut self, index: usize, group: doc::RouteGroup) {
        let path = format!("routeGroups[{index}]");
        let doc::RouteGroup { name, routes } = group;
        self.name("route group", name.clone(), &format!("{path}.name"));
        let (parents, key) = (vec![Parent::Group(name.as_str().into())], name.as_str().into());
        let origin = self.origin(&path);
        self.out.route_groups.push(Arc::new(ir::RouteGroup { key, origin }));
        let prefix = format!("group/{name}");
        for (position, route) in routes.into_iter().enumerate() {
            let at = format!("{path}.routes[{position}]");
            let spot = Spot { path: &at, prefix: &prefix, position };
            self.route(&spot, route, parents.clone(), position as u64);
        }
    }

    pub(super) fn parents(&mut self, path: &str, written: doc::GatewayRefs, http: bool) -> Vec<Parent> {
        let names = match written {
            doc::GatewayRefs::One(name) => vec![name],
            doc::GatewayRefs::Many(names) => names,
        };
        let at = format!("{path}.gateways");
        if names.is_empty() {
            if self.context.gateways.contains_key("default") {
                return vec![self.parent("default", None)];
            }
            self.problem(at, "the route names no gateway, and there is none called `default`");
            return Vec::new();
        }
        let mut parents = Vec::with_capacity(names.len());
        for name in names {
            let (gateway, listener) = match name.split_once('/') {
                Some((gateway, listener)) => (gateway, Some(listener)),
                None => (name.as_str(), None),
            };
            match self.context.gateways.get(gateway) {
                None => self.problem(at.clone(), format!("there is no gateway `{gateway}`")),
                Some(listeners) => {
                    let fits = |it: &&(String, ir::Protocol)| {
                        it.1.is_http() == http && listener.is_none_or(|name| name == it.0)
                    };
                    if listeners.iter().any(|it| fits(&it)) {
                        parents.push(self.parent(gateway, listener));
                    } else {
                        let kind = if http { "HTTP" } else { "TCP or TLS" };
                        self.problem(at.clone(), format!("`{name}` has no listener for {kind} routes"));
                    }
                }
            }
        }
        parents
    }

    fn parent(&self, gateway: &str, listener: Option<&str>) -> Parent {
        Parent::Gateway {
            gateway: ObjectName::new(self.context.namespace.clone(), gateway),
            listener: listener.map(Into::into),
        }
    }

    pub(super) fn route(&mut self, spot: &Spot<'_>, route: doc::Route, parents: Vec<Parent>, order: u64) {
        let path = spot.path;
        let doc::Route { name, namespace, rule_name, hostnames, matches, policies, backends } = route;
        let (key, name) = self.route_name(spot, (name, namespace, rule_name));
        let hostnames = self.hostnames(path, &hostnames);
        let matches = match matches {
            None => vec![Match::default()],
            Some(written) if written.is_empty() => vec![Match::default()],
            Some(written) => self.matches(path, written),
        };
        let at = format!("{path}.policies");
        let lowered = self.scoped(&at, |scope| policies.map(|it| it.lower(scope)).unwrap_or_default());
        self.attach(lowered, &Target::Rule(key.clone()), Phase::Route, &at);
        let backends = self.backends(path, &key, backends);
        let origin = self.origin(path);
        let route = Route { key, name, parents, order, hostnames, matches, backends, origin };
        self.out.routes.push(Arc::new(route));
    }

    pub(super) fn tcp_route(&mut self, spot: &Spot<'_>, route: doc::TcpRoute, parents: Vec<Parent>, order: u64) {
        let path = spot.path;
        let doc::TcpRoute { name, namespace, rule_name, hostnames, policies, backends } = route;
        let (key, name) = self.route_name(spot, (name, namespace, rule_name));
        let hostnames = self.hostnames(path, &hostnames);
        let at = format!("{path}.policies");
        let lowered = self.scoped(&at, |scope| policies.map(|it| it.lower(scope)).unwrap_or_default());
        self.attach(lowered, &Target::Rule(key.clone()), Phase::Route, &at);
        if let Some(position) = backends.iter().position(|it| it.route_group.is_some()) {
            self.problem(format!("{path}.backends[{position}].routeGroup"), "a TCP route cannot delegate");
        }
        let backends = self.backends(path, &key, backends);
        let origin = self.origin(path);
        self.out.tcp_routes.push(Arc::new(TcpRoute { key, name, parents, order, hostnames, backends, origin }));
    }

    fn route_name(
        &mut self,
        &Spot { path, prefix, position }: &Spot<'_>,
        (name, namespace, rule): (Option<String>, Option<String>, Option<String>),
    ) -> (RouteKey, RouteName) {
        let name = name.unwrap_or_else(|| format!("route{position}"));
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let key = match &rule {
            Some(rule) => format!("{prefix}/{namespace}/{name}/{rule}"),
            None => format!("{prefix}/{namespace}/{name}"),
        };
        // Binds that share a port by mistake have one problem, not one for each of their routes.
        let scope = if path.starts_with("binds[") { path.rsplit_once('.').map_or(path, |(it, _)| it) } else { prefix };
        let shown = key.strip_prefix(&format!("{prefix}/{namespace}/")).unwrap_or(&name).to_owned();
        self.name("route", format!("{scope}/{namespace}|{shown}"), &format!("{path}.name"));
        let name = RouteName { route: ObjectName::new(namespace, name), rule: rule.map(Into::into) };
        (RouteKey::new(key), name)
    }

    fn hostnames(&mut self, path: &str, written: &[String]) -> Vec<Hostname> {
        let mut out: Vec<Hostname> = Vec::with_capacity(written.len());
        for (position, text) in written.iter().enumerate() {
            if let Some(name) = self.check(format!("{path}.hostnames[{position}]"), Hostname::parse(text))
                && !out.contains(&name)
            {
                out.push(name);
            }
        }
        out
    }

    fn matches(&mut self, path: &str, written: Vec<doc::Match>) -> Vec<Match> {
        if written.len() > MATCHES_MAX {
            self.problem(format!("{path}.matches"), format!("a rule has at most {MATCHES_MAX} matches"));
        }
        let mut out = Vec::with_capacity(written.len());
        for (position, it) in written.into_iter().enumerate() {
            let path = format!("{path}.matches[{position}]");
            out.extend(self.one_match(&path, it));
        }
        out
    }

    fn one_match(&mut self, path: &str, it: doc::Match) -> Option<Match> {
        let doc::Match { path: written, method, headers, query } = it;
        let path_match = match written {
            None => Some(PathMatch::prefix("/")),
            Some(written) => self.path(&format!("{path}.path"), written),
        };
        let method = match method {
            None => Some(None),
            Some(text) => {
                let parsed = http::Method::from_bytes(text.to_ascii_uppercase().as_bytes());
                self.check(format!("{path}.method"), parsed.map(Some).map_err(|_| format!("`{text}` is not a method")))
            }
        };
        let header_matches = self.header_matches(&format!("{path}.headers"), headers);
        let mut query_matches = Vec::with_capacity(query.len());
        for (position, it) in query.into_iter().enumerate() {
            let at = format!("{path}.query[{position}].value");
            let value = self.value(&at, it.value);
            query_matches.extend(value.map(|value| QueryMatch { name: it.name.into(), value }));
        }
        Some(Match { path: path_match?, method: method?, headers: header_matches, query: query_matches })
    }

    pub(super) fn header_matches(&mut self, path: &str, written: Vec<doc::HeaderMatch>) -> Vec<HeaderMatch> {
        let mut out = Vec::with_capacity(written.len());
        for (position, it) in written.into_iter().enumerate() {
            let at = format!("{path}[{position}]");
            let name = self.check(format!("{at}.name"), header_term(&it.name));
            let value = self.value(&format!("{at}.value"), it.value);
            out.extend(name.zip(value).map(|(name, value)| HeaderMatch { name, value }));
        }
        out
    }

    fn path(&mut self, path: &str, written: doc::PathMatch) -> Option<PathMatch> {
        let normal = |text: &str| {
            if !text.starts_with('/') {
                return Err(format!("`{text}` does not begin with `/`"));
            }
            protocols::http::path::normalise(text)
                .map(|it| it.into_owned())
                .map_err(|fault| format!("`{text}`: {fault}"))
        };
        match written {
            doc::PathMatch::Exact(text) => {
                self.check(format!("{path}.exact"), normal(&text)).map(|it| PathMatch::Exact(it.into()))
            }
            doc::PathMatch::PathPrefix(text) => {
                let at = format!("{path}.pathPrefix");
                let text = self.check(at.clone(), normal(&text))?;
                if text.bytes().filter(|byte| *byte == b'/').count() > PREFIX_DEPTH_MAX {
                    self.problem(at, format!("a prefix has at most {PREFIX_DEPTH_MAX} segments"));
                    return None;
                }
                Some(PathMatch::prefix(&text))
            }
            doc::PathMatch::Regex(text) => self.check(format!("{path}.regex"), Regex::new(&text)).map(PathMatch::Regex),
        }
    }

    fn value(&mut self, path: &str, written: doc::ValueMatch) -> Option<ValueMatch> {
        match written {
            doc::ValueMatch::Exact(text) => Some(ValueMatch::Exact(text.into())),
            doc::ValueMatch::Regex(text) => {
                self.check(format!("{path}.regex"), Regex::new(&text)).map(ValueMatch::Regex)
            }
        }
    }

    fn backends(&mut self, path: &str, route: &RouteKey, written: Vec<doc::RouteBackend>) -> Vec<RouteBackend> {
        if written.len() > BACKENDS_MAX {
            self.problem(format!("{path}.backends"), format!("a rule has at most {BACKENDS_MAX} backends"));
        }
        let mut out = Vec::with_capacity(written.len());
        for (position, it) in written.into_iter().enumerate() {
            let at = format!("{path}.backends[{position}]");
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            out.extend(self.backend_ref(&at, route, position, it));
        }
        out
    }

    fn backend_ref(
        &mut self,
        path: &str,
        route: &RouteKey,
        position: u32,
        it: doc::RouteBackend,
    ) -> Option<RouteBackend> {
        let doc::RouteBackend { weight, host, backend, service, route_group, mcp, ai, demo, policies } = it;
        let given = [host.is_some(), backend.is_some(), service.is_some(), route_group.is_some()];
        let given = [&given[..], &[mcp.is_some(), ai.is_some(), demo.is_some()]].concat();
        if given.iter().filter(|it| **it).count() != 1 {
            self.problem(
                path,
                "a backend is exactly one of `host`, `backend`, `service`, `routeGroup`, `mcp`, `ai`, `demo`",
            );
            return None;
        }
        let at = format!("{path}.policies");
        let lowered = self.scoped(&at, |scope| policies.map(|it| it.lower(scope)).unwrap_or_default());
        let checks = lowered.iter().any(|it| it.kind() == filters::Kind::Health);
        let reference = if let Some(text) = host {
            // Health belongs to a backend: one of its own, if it is said here.
            let suffix = if checks { format!("@{route}/{position}") } else { String::new() };
            let declared = self.inline.host(&text, &suffix);
            self.check(format!("{path}.host"), declared)?
        } else if let Some(mcp) = mcp {
            let key = BackendKey::new(format!("mcp/{route}/{position}"));
            self.mcp_backend(&format!("{path}.mcp"), &key, mcp)?
        } else if let Some(ai) = ai {
            let key = BackendKey::new(format!("ai/{route}/{position}"));
            self.ai_backend(&format!("{path}.ai"), &key, ai)?
        } else if demo.is_some() {
            self.inline.demo()
        } else if let Some(name) = backend {
            BackendRef::Backend(BackendKey::new(plain_name(&name)))
        } else if let Some(service) = service {
            let referred =
                filters::lower::Backends::refer(&mut self.inline, filters::lower::SimpleBackend::Service(service));
            self.check(format!("{path}.service.name"), referred)?
        } else {
            BackendRef::RouteGroup(route_group?.into())
        };
        let (health, rest): (Vec<_>, Vec<_>) =
            lowered.into_iter().partition(|it| it.kind() == filters::Kind::Health && checks);
        match &reference {
            BackendRef::Backend(key) if key.as_str().contains('@') => {
                self.attach(health, &Target::Backend(key.clone()), Phase::Route, &at);
            }
            reference => {
                self.checks(reference, (route, position), &health, &format!("{at}.health"));
                self.attach(health, &Target::RouteBackend { route: route.clone(), position }, Phase::Route, &at);
            }
        }
        self.attach(rest, &Target::RouteBackend { route: route.clone(), position }, Phase::Route, &at);
        Some(RouteBackend { weight, backend: reference })
    }
}

impl Lowering<'_> {
    /// Active checks run whether or not a request comes, so they are the backend's, wherever they are written.
    /// What the backend says of its health itself comes before what routes say.
    fn checks(&mut self, backend: &BackendRef, spot: (&RouteKey, u32), health: &[filters::Policy], path: &str) {
        let active = health.iter().find_map(|it| match it {
            filters::Policy::Health(policy) => policy.active.clone(),
            _ => None,
        });
        let target = match backend {
            BackendRef::Backend(key) => Target::Backend(key.clone()),
            BackendRef::Service { service, port } => Target::Service { service: service.clone(), port: Some(*port) },
            BackendRef::RouteGroup(_) | BackendRef::Invalid(_) => return,
        };
        let Some(active) = active else { return };
        let (route, position) = spot;
        let policy = filters::health::Policy { active: Some(active), ..Default::default() };
        self.out.policies.push(Arc::new(Attachment {
            key: PolicyKey::new(format!("{route}/backend{position}/checks")),
            target,
            phase: Phase::Route,
            inheritance: Inheritance::Default,
            order: u64::MAX,
            policy: filters::Policy::Health(policy),
            origin: self.origin(path),
        }));
    }
}

fn header_term(name: &str) -> Result<HeaderTerm, String> {
    Ok(match name {
        ":method" => HeaderTerm::Method,
        ":path" => HeaderTerm::Path,
        ":authority" => HeaderTerm::Authority,
        ":scheme" => HeaderTerm::Scheme,
        name => HeaderTerm::Header(name.parse().map_err(|_| format!("`{name}` is not a header name"))?),
    })
}
