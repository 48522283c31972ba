//! MCP backends, and the shorthand for a whole endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;

use filters::backend_tls;
use ir::mcp::TARGETS_MAX;
use ir::{
    Backend, BackendKey, BackendKind, BackendRef, Bind, BindAddress, BindKey, HostTarget, ListenerKey, McpBackend,
    McpPrefix, McpProcess, McpReach, McpTarget, McpUrl, ObjectName, Parent, Phase, Protocol, Secret, Target,
};
use protocols::mcp::name;

use super::{Lowering, plain_name};
use crate::local::document as doc;

/// The port of a shorthand that names none.
const PORT: u16 = 3000;

/// A place as understood: what is dialled, the path there, and whether in TLS.
struct Place {
    host: HostTarget,
    path: String,
    tls: bool,
}

impl Lowering<'_> {
    /// The backend `key`, with backends of its own for the targets that are written in place.
    pub(super) fn mcp_backend(&mut self, path: &str, key: &BackendKey, it: doc::McpBackend) -> Option<BackendRef> {
        let doc::McpBackend { targets, stateful_mode, prefix_mode, failure_mode, dns_rebinding_protection } = it;
        let before = self.problems.len();
        let at = format!("{path}.targets");
        if targets.is_empty() || targets.len() > TARGETS_MAX {
            self.problem(at.clone(), format!("write 1 to {TARGETS_MAX} targets"));
        }
        let mut names = BTreeSet::new();
        let mut lowered = Vec::with_capacity(targets.len());
        for (position, target) in targets.into_iter().enumerate() {
            let at = format!("{at}[{position}]");
            self.check(format!("{at}.name"), name::check_target(&target.name));
            if !names.insert(target.name.clone()) {
                self.problem(format!("{at}.name"), format!("target `{}` is already there", target.name));
            }
            lowered.extend(self.mcp_target(&at, key, target));
        }
        let backend = McpBackend {
            targets: lowered,
            stateless: stateful_mode == doc::McpStatefulMode::Stateless,
            prefix: match prefix_mode {
                doc::McpPrefixMode::Conditional => McpPrefix::Conditional,
                doc::McpPrefixMode::Always => McpPrefix::Always,
                doc::McpPrefixMode::Never => McpPrefix::Never,
            },
            fail_open: failure_mode == doc::McpFailureMode::FailOpen,
            local_only: dns_rebinding_protection,
        };
        if self.problems.len() > before {
            return None;
        }
        let origin = self.origin(path);
        self.out.backends.push(Arc::new(Backend { key: key.clone(), kind: BackendKind::Mcp(backend), origin }));
        Some(BackendRef::Backend(key.clone()))
    }

    fn mcp_target(&mut self, path: &str, owner: &BackendKey, it: doc::McpTarget) -> Option<McpTarget> {
        let doc::McpTarget { name, mcp, sse, stdio, policies } = it;
        let given = [mcp.is_some(), sse.is_some(), stdio.is_some()];
        if given.iter().filter(|it| **it).count() != 1 {
            self.problem(path, "a target is exactly one of `mcp`, `sse`, `stdio`");
            return None;
        }
        let key = BackendKey::new(format!("{owner}/{name}"));
        let reach = if let Some(place) = mcp {
            McpReach::Http(self.mcp_place(&format!("{path}.mcp"), &key, (place, "/mcp"), policies)?)
        } else if let Some(place) = sse {
            McpReach::Sse(self.mcp_place(&format!("{path}.sse"), &key, (place, "/sse"), policies)?)
        } else {
            if policies.is_some() {
                self.problem(format!("{path}.policies"), "a program has no policies: they are of connections");
            }
            McpReach::Stdio(self.mcp_process(&format!("{path}.stdio"), stdio?)?)
        };
        Some(McpTarget { name: name.into(), reach })
    }

    fn mcp_place(
        &mut self,
        path: &str,
        key: &BackendKey,
        (place, default): (doc::McpPlace, &str),
        policies: Option<crate::local::policies::TargetPolicies>,
    ) -> Option<McpUrl> {
        let doc::McpPlace { host, port, path: written, backend, service } = place;
        let given = [host.is_some(), backend.is_some(), service.is_some()];
        if given.iter().filter(|it| **it).count() != 1 {
            self.problem(path, "a place is exactly one of `host`, `backend`, `service`");
            return None;
        }
        if let Some(written) = written.as_deref().filter(|it| !it.starts_with('/')) {
            self.problem(format!("{path}.path"), format!("`{written}` does not begin with `/`"));
            return None;
        }
        let Some(host) = host else {
            if port.is_some() {
                self.problem(format!("{path}.port"), "goes with `host` only");
            }
            if policies.is_some_and(|it| !it.is_empty()) {
                let owner = path.rsplit_once('.').map_or(path, |(owner, _)| owner);
                self.problem(
                    format!("{owner}.policies"),
                    "go with `host` only: those of a named backend or a service are attached to it",
                );
            }
            let reference = match (backend, service) {
                (Some(name), _) => BackendRef::Backend(BackendKey::new(plain_name(&name))),
                (None, service) => {
                    let simple = filters::lower::SimpleBackend::Service(service?);
                    let referred = filters::lower::Backends::refer(&mut self.inline, simple);
                    self.check(format!("{path}.service.name"), referred)?
                }
            };
            return Some(McpUrl { backend: reference, path: written.unwrap_or_else(|| default.to_owned()).into() });
        };
        let place = self.check(format!("{path}.host"), place_of(&host, port, written.as_deref(), default))?;
        let at = format!("{}.policies", path.rsplit_once('.').map_or(path, |(owner, _)| owner));
        let mut lowered = self.scoped(&at, |scope| {
            scope.site = filters::expr::Site::Backend;
            policies.map(|it| it.lower(scope)).unwrap_or_default()
        });
        if place.tls && !lowered.iter().any(|it| it.kind() == filters::Kind::BackendTls) {
            lowered.push(filters::Policy::BackendTls(backend_tls::Policy::default()));
        }
        self.attach(lowered, &Target::Backend(key.clone()), Phase::Route, &at);
        let origin = self.origin(path);
        self.out.backends.push(Arc::new(Backend { key: key.clone(), kind: BackendKind::Host(place.host), origin }));
        Some(McpUrl { backend: BackendRef::Backend(key.clone()), path: place.path.into() })
    }

    fn mcp_process(&mut self, path: &str, it: doc::McpStdio) -> Option<McpProcess> {
        let doc::McpStdio { cmd, args, env, clear_env, max_memory, max_cpu_seconds, max_instances } = it;
        if cmd.is_empty() {
            self.problem(format!("{path}.cmd"), "is empty: write a program");
            return None;
        }
        for key in env.keys().filter(|it| it.is_empty() || it.contains(['=', '\0'])) {
            self.problem(format!("{path}.env"), format!("`{key}` is not the name of a variable"));
        }
        let limits = [max_memory, max_cpu_seconds, max_instances.map(u64::from)];
        if limits.contains(&Some(0)) {
            self.problem(path, "a limit of 0 lets nothing run: write more, or leave it out");
        }
        Some(McpProcess {
            command: cmd.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: env.into_iter().map(|(key, value)| (key.into(), Secret::new(value.into_bytes()))).collect(),
            clear_env,
            memory_max: max_memory,
            cpu_max: max_cpu_seconds,
            instances_max: max_instances,
        })
    }

    /// The shorthand: a backend, a route, and a listener where no gateway is named.
    pub fn mcp(&mut self, it: doc::SimpleMcp) {
        let path = "mcp";
        let doc::SimpleMcp { gateways, port, targets, stateful_mode, prefix_mode, failure_mode, .. } = it;
        let doc::SimpleMcp { dns_rebinding_protection, policies, .. } = it;
        let backend = doc::McpBackend { targets, stateful_mode, prefix_mode, failure_mode, dns_rebinding_protection };
        let reference = self.mcp_backend(path, &BackendKey::new("mcp"), backend);
        let named = match &gateways {
            doc::GatewayRefs::One(_) => true,
            doc::GatewayRefs::Many(names) => !names.is_empty(),
        };
        if named && port.is_some() {
            self.problem("mcp.port", "goes without `gateways` only: write one of the two");
            return;
        }
        let attached = named || (port.is_none() && self.context.gateways.contains_key("default"));
        let (parents, prefixes) = match attached {
            true => (self.parents(path, gateways, true), &["/mcp", "/sse", "/.well-known"][..]),
            false => (vec![self.mcp_listener(port.unwrap_or(PORT))], &["/"][..]),
        };
        let path_of = |prefix: &&str| ir::Match { path: ir::PathMatch::prefix(prefix), ..ir::Match::default() };
        let key = ir::RouteKey::new("mcp");
        let at = "mcp.policies";
        let lowered = self.scoped(at, |scope| policies.map(|it| it.lower(scope)).unwrap_or_default());
        self.attach(lowered, &Target::Rule(key.clone()), Phase::Route, at);
        let Some(backend) = reference else { return };
        self.out.routes.push(Arc::new(ir::Route {
            key,
            name: ir::RouteName { route: ObjectName::new("default", "mcp"), rule: None },
            parents,
            order: 0,
            hostnames: Vec::new(),
            matches: prefixes.iter().map(path_of).collect(),
            backends: vec![ir::RouteBackend { weight: 1, backend }],
            origin: self.origin(path),
        }));
    }

    fn mcp_listener(&mut self, port: u16) -> Parent {
        let key = BindKey::new("mcp");
        let origin = self.origin("mcp");
        if port != 0 {
            self.name("port", port.to_string(), "mcp.port");
        }
        let address = BindAddress::Wildcard(port);
        self.out.binds.push(Arc::new(Bind { key: key.clone(), address, origin: origin.clone() }));
        let listener = ir::Listener {
            key: ListenerKey::new("mcp"),
            bind: key,
            gateway: ObjectName::new(self.context.namespace.clone(), "mcp"),
            name: "mcp".into(),
            hostname: ir::Hostname::Any,
            protocol: Protocol::Http,
            tls: None,
            origin,
        };
        let parent = Parent::Listener(listener.key.clone());
        self.out.listeners.push(Arc::new(listener));
        parent
    }
}

/// What `host`, `port` and `path` say together.
fn place_of(host: &str, port: Option<u16>, path: Option<&str>, default: &str) -> Result<Place, String> {
    let whole = |text: &str| HostTarget::parse(text);
    let Some((scheme, rest)) = host.split_once("://") else {
        let path = path.unwrap_or(default).to_owned();
        let target = match port {
            Some(port) if host.contains(':') && !host.starts_with('[') => whole(&format!("[{host}]:{port}"))?,
            Some(port) => whole(&format!("{host}:{port}"))?,
            None => whole(host)?,
        };
        return Ok(Place { host: target, path, tls: false });
    };
    let tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err(format!("`{host}`: the scheme is http or https")),
    };
    let (authority, in_url) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err("a URL with a user in it: credentials belong in `policies.backendAuth`".to_owned());
    }
    if port.is_some() && authority.rsplit_once(':').is_some_and(|(_, it)| it.parse::<u16>().is_ok()) {
        return Err(format!("`{host}` has a port, and `port` is written as well: keep one"));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, it)| it.parse::<u16>().is_ok());
    let target = match port {
        None if has_port => whole(authority)?,
        port => whole(&format!("{authority}:{}", port.unwrap_or(if tls { 443 } else { 80 })))?,
    };
    let path = match (path, in_url) {
        (Some(path), "" | "/") => path.to_owned(),
        (Some(_), _) => return Err(format!("`{host}` has a path, and `path` is written as well: keep one")),
        (None, "") => default.to_owned(),
        (None, query) if query.starts_with('?') => format!("/{query}"),
        (None, path) => path.to_owned(),
    };
    Ok(Place { host: target, path, tls })
}

/// Routes of a listener with `protocol: mcp`: what they lead to speaks MCP.
pub(super) fn spoken(mut routes: Vec<doc::Route>) -> Vec<doc::Route> {
    for backend in routes.iter_mut().flat_map(|it| &mut it.backends) {
        if backend.mcp.is_some() || (backend.host.is_none() && backend.service.is_none()) {
            continue;
        }
        let place =
            doc::McpPlace { host: backend.host.take(), service: backend.service.take(), ..doc::McpPlace::default() };
        let target = doc::McpTarget { name: "server".to_owned(), mcp: Some(place), ..doc::McpTarget::default() };
        backend.mcp = Some(doc::McpBackend { targets: vec![target], ..doc::McpBackend::default() });
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_in_all_their_forms() {
        for (host, port, path, want) in [
            ("http://localhost:8000/mcp", None, None, "localhost:8000 /mcp"),
            ("http://localhost:8000", None, None, "localhost:8000 /mcp"),
            ("http://localhost", Some(8000), Some("/x"), "localhost:8000 /x"),
            ("https://mcp.example/a?b=c", None, None, "mcp.example:443 /a?b=c tls"),
            ("https://mcp.example/", None, Some("/y"), "mcp.example:443 /y tls"),
            ("https://[::1]:9/", None, None, "[::1]:9 / tls"),
            ("http://h?x", None, None, "h:80 /?x"),
            ("localhost", Some(80), Some("/a"), "localhost:80 /a"),
            ("localhost:81", None, None, "localhost:81 /mcp"),
            ("::1", Some(82), None, "[::1]:82 /mcp"),
            ("unix:/run/a.sock", None, None, "unix:/run/a.sock /mcp"),
        ] {
            let place = place_of(host, port, path, "/mcp").unwrap();
            let got = format!("{} {}{}", place.host, place.path, if place.tls { " tls" } else { "" });
            assert_eq!(got, want, "{host}");
        }
        for (host, port, path) in [
            ("ftp://a/", None, None),
            ("http://user:pw@a/", None, None),
            ("http://a:1/", Some(2), None),
            ("http://a/x", None, Some("/y")),
            ("localhost", None, None),
            ("http://", None, None),
        ] {
            assert!(place_of(host, port, path, "/mcp").is_err(), "{host}");
        }
    }
}
