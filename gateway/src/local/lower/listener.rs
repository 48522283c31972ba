//! Binds, gateways, their listeners and TLS terms.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use filters::FileRef;
use ir::listener::{KeyExchangeGroup, TlsVersion};
use ir::{Bind, BindAddress, BindKey, Hostname, ListenerKey, ObjectName, Parent, Phase, Protocol, ServerTls, Target};

use super::Lowering;
use super::route::Spot;
use crate::local::document as doc;
use crate::local::policies::GatewayPolicies;
use crate::plan::may_share;

/// One listener, in the form that binds and gateways share.
struct Written {
    path: String,
    name: Option<String>,
    hostname: Option<String>,
    protocol: Option<doc::Protocol>,
    tls: Option<doc::ServerTls>,
    policies: GatewayPolicies,
}

impl Lowering<'_> {
    pub fn bind(&mut self, index: usize, bind: doc::Bind) {
        let path = format!("binds[{index}]");
        let doc::Bind { port, address, listeners, tunnel_protocol } = bind;
        let Some((key, bind_address)) = self.address(&path, index, port, address) else { return };
        if listeners.is_empty() {
            self.problem(format!("{path}.listeners"), "a bind needs at least one listener");
        }
        self.out.binds.push(Arc::new(Bind { key: key.clone(), address: bind_address, origin: self.origin(&path) }));
        let gateway = ObjectName::new(self.context.namespace.clone(), self.context.gateway.clone());
        let mut lowered = Vec::new();
        for (position, it) in listeners.into_iter().enumerate() {
            let doc::Listener { name, namespace: _, hostname, protocol, tls, routes, tcp_routes, policies } = it;
            let path = format!("{path}.listeners[{position}]");
            let routes = match protocol {
                Some(doc::Protocol::Mcp) => routes.map(super::mcp::spoken),
                _ => routes,
            };
            let written =
                Written { path: path.clone(), name, hostname, protocol, tls, policies: policies.unwrap_or_default() };
            let Some(listener) = self.listener(&key, &gateway, position, written) else { continue };
            self.routes_of(&listener, &path, routes, tcp_routes);
            if tunnel_protocol == doc::TunnelProtocol::Proxy {
                let policy = filters::proxy_protocol::Policy { v1: true, v2: true, optional: false };
                let target = Target::Listener(listener.key.clone());
                self.attach(vec![filters::Policy::ProxyProtocol(policy)], &target, Phase::Route, &path);
            }
            lowered.push((path, listener));
        }
        self.sharing(lowered);
    }

    fn routes_of(
        &mut self,
        listener: &ir::Listener,
        path: &str,
        routes: Option<Vec<doc::Route>>,
        tcp_routes: Option<Vec<doc::TcpRoute>>,
    ) {
        let http = listener.protocol.is_http();
        if !http && routes.as_ref().is_some_and(|it| !it.is_empty()) {
            self.problem(format!("{path}.routes"), "a TCP or TLS listener takes `tcpRoutes`");
        }
        if http && tcp_routes.as_ref().is_some_and(|it| !it.is_empty()) {
            self.problem(format!("{path}.tcpRoutes"), "an HTTP or HTTPS listener takes `routes`");
        }
        let parents = vec![Parent::Listener(listener.key.clone())];
        let prefix = listener.key.as_str().to_owned();
        for (position, route) in routes.into_iter().flatten().enumerate() {
            let at = format!("{path}.routes[{position}]");
            self.route(&Spot { path: &at, prefix: &prefix, position }, route, parents.clone(), position as u64);
        }
        for (position, route) in tcp_routes.into_iter().flatten().enumerate() {
            let at = format!("{path}.tcpRoutes[{position}]");
            self.tcp_route(&Spot { path: &at, prefix: &prefix, position }, route, parents.clone(), position as u64);
        }
    }

    pub fn gateway(&mut self, name: &str, mut gateway: doc::Gateway) {
        let path = format!("gateways.{name}");
        let policies = gateway.take_policies();
        let doc::Gateway { port, address, protocol, tls, listeners, .. } = gateway;
        let Some((_, bind_address)) = self.address(&path, 0, port, address) else { return };
        let key = BindKey::new(format!("gateway/{name}"));
        self.out.binds.push(Arc::new(Bind { key: key.clone(), address: bind_address, origin: self.origin(&path) }));
        let object = ObjectName::new(self.context.namespace.clone(), name);
        let mut lowered = Vec::new();
        if listeners.is_empty() {
            let written = Written { path: path.clone(), name: None, hostname: None, protocol, tls, policies };
            lowered.extend(self.listener(&key, &object, 0, written).map(|it| (path.clone(), it)));
        } else if protocol.is_some() || tls.is_some() || !policies.is_empty() {
            self.problem(
                path.clone(),
                "with `listeners`, only `port` and `address` may stand beside them: move the rest into a listener",
            );
        }
        for (position, mut it) in listeners.into_iter().enumerate() {
            let policies = it.take_policies();
            let doc::GatewayListener { name, hostname, protocol, tls, .. } = it;
            let path = format!("{path}.listeners[{position}]");
            let written = Written { path: path.clone(), name, hostname, protocol, tls, policies };
            lowered.extend(self.listener(&key, &object, position, written).map(|it| (path, it)));
        }
        self.sharing(lowered);
    }

    fn address(
        &mut self,
        path: &str,
        index: usize,
        port: Option<u16>,
        address: Option<String>,
    ) -> Option<(BindKey, BindAddress)> {
        if let Some(socket) = address.as_deref().and_then(|it| it.strip_prefix("unix:")) {
            if !socket.starts_with('/') {
                self.problem(format!("{path}.address"), "a unix socket needs an absolute path, `unix:/path`");
                return None;
            }
            self.name("address", format!("unix:{socket}"), &format!("{path}.address"));
            return Some((BindKey::new(format!("bind/unix:{socket}")), BindAddress::Unix(PathBuf::from(socket))));
        }
        let Some(port) = port else {
            self.problem(path, "`port` is missing");
            return None;
        };
        let at = format!("{path}.port");
        let Some(text) = address else {
            let key = if port == 0 { format!("bind/#{index}") } else { format!("bind/{port}") };
            if port != 0 {
                self.name("port", port.to_string(), &at);
            }
            return Some((BindKey::new(key), BindAddress::Wildcard(port)));
        };
        let ip: IpAddr = self.check(
            format!("{path}.address"),
            text.parse().map_err(|_| format!("`{text}` is not an IP address: write one, or `unix:/path`")),
        )?;
        let key = if port == 0 { format!("bind/{ip}#{index}") } else { format!("bind/{ip}:{port}") };
        if port != 0 {
            self.name("port", format!("{port} on {}", ip.to_canonical()), &at);
        }
        Some((BindKey::new(key), BindAddress::Socket((ip, port).into())))
    }

    fn listener(
        &mut self,
        bind: &BindKey,
        gateway: &ObjectName,
        position: usize,
        written: Written,
    ) -> Option<Arc<ir::Listener>> {
        let Written { path, name, hostname, protocol, tls, policies } = written;
        let name = name.unwrap_or_else(|| format!("listener{position}"));
        let key = ListenerKey::new(format!("{bind}/{name}"));
        let scope = path.rsplit_once(".listeners[").map_or(path.as_str(), |(it, _)| it);
        self.name("listener", format!("{scope}|{name}"), &format!("{path}.name"));
        let parsed = Hostname::parse(hostname.as_deref().unwrap_or_default());
        let hostname = self.check(format!("{path}.hostname"), parsed)?;
        let spoken = self.spoken(protocol, &path);
        let protocol = match (protocol, &tls) {
            (None, None) => Protocol::Http,
            (None, Some(_)) => Protocol::Https,
            (Some(written), tls) => self.protocol(&path, written, tls.is_some())?,
        };
        let tls = match tls {
            Some(tls) => Some(self.tls(&format!("{path}.tls"), tls, protocol)?),
            None => None,
        };
        let target = Target::Listener(key.clone());
        let at = format!("{path}.policies");
        let lowered = self.scoped_at(&at, Phase::Gateway, &target, |scope| policies.lower(scope));
        self.attach(lowered, &target, Phase::Gateway, &at);
        // Less specific than what routes and backends say themselves.
        self.attach(spoken, &target, Phase::Route, &format!("{path}.protocol"));
        let listener = Arc::new(ir::Listener {
            key,
            bind: bind.clone(),
            gateway: gateway.clone(),
            name: name.into(),
            hostname,
            protocol,
            tls,
            origin: self.origin(&path),
        });
        self.out.listeners.push(listener.clone());
        Some(listener)
    }

    /// The policies that the protocol of a listener stands for.
    fn spoken(&mut self, protocol: Option<doc::Protocol>, path: &str) -> Vec<filters::Policy> {
        let at = format!("{path}.protocol");
        match protocol {
            Some(doc::Protocol::A2a) => {
                let terms = self.scoped(&at, |scope| filters::a2a::Config::default().lower(scope));
                terms.map(filters::Policy::A2a).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn protocol(&mut self, path: &str, written: doc::Protocol, has_tls: bool) -> Option<Protocol> {
        let at = format!("{path}.protocol");
        match (written, has_tls) {
            (doc::Protocol::Http | doc::Protocol::Mcp | doc::Protocol::A2a, false) => Some(Protocol::Http),
            (doc::Protocol::Mcp | doc::Protocol::A2a, true) => Some(Protocol::Https),
            (doc::Protocol::Tcp, false) => Some(Protocol::Tcp),
            (doc::Protocol::Https, true) => Some(Protocol::Https),
            (doc::Protocol::Tls, _) => Some(Protocol::Tls),
            (doc::Protocol::Http, true) => {
                self.problem(at, "protocol HTTP does not go with `tls`: write HTTPS");
                None
            }
            (doc::Protocol::Tcp, true) => {
                self.problem(at, "protocol TCP does not go with `tls`: write TLS");
                None
            }
            (doc::Protocol::Https, false) => {
                self.problem(at, "protocol HTTPS needs `tls` with `cert` and `key`");
                None
            }
        }
    }

    fn tls(&mut self, path: &str, tls: doc::ServerTls, protocol: Protocol) -> Option<ServerTls> {
        let doc::ServerTls {
            cert,
            key,
            root,
            cipher_suites,
            min_tls_version,
            min_tls_version_alias,
            max_tls_version,
            max_tls_version_alias,
            key_exchange_groups,
        } = tls;
        let certificate = self.pem(path, "cert", cert);
        let key = self.pem(path, "key", key);
        let client_roots = match root {
            Some(root) => Some(self.pem(path, "root", Some(root))?),
            None => None,
        };
        let min = self.version(&format!("{path}.minTLSVersion"), min_tls_version.or(min_tls_version_alias));
        let max = self.version(&format!("{path}.maxTLSVersion"), max_tls_version.or(max_tls_version_alias));
        let suites = self.each(&format!("{path}.cipherSuites"), cipher_suites, filters::tls_terms::cipher_suite);
        let groups: Vec<KeyExchangeGroup> =
            self.each(&format!("{path}.keyExchangeGroups"), key_exchange_groups, filters::tls_terms::group);
        let alpn = if protocol.is_http() { vec!["h2".into(), "http/1.1".into()] } else { Vec::new() };
        let terms = ServerTls {
            certificate: certificate?,
            key: ir::Secret::new(key?),
            client_roots,
            min_version: min?.unwrap_or(TlsVersion::V1_2),
            max_version: max?.unwrap_or(TlsVersion::V1_3),
            cipher_suites: suites,
            key_exchange_groups: groups,
            alpn,
        };
        if terms.min_version > terms.max_version {
            self.problem(format!("{path}.minTLSVersion"), "the minimum is above the maximum");
            return None;
        }
        let built = crate::listen::server_config(&terms, &filters::frontend_tls::Policy::default());
        self.check(path, built).map(|_| terms)
    }

    fn pem(&mut self, path: &str, key: &str, file: Option<FileRef>) -> Option<Vec<u8>> {
        let Some(file) = file else {
            self.problem(format!("{path}.{key}"), format!("`{key}` is missing: name a PEM file"));
            return None;
        };
        self.scoped(path, |scope| scope.file(key, &file))
    }

    fn version(&mut self, path: &str, written: Option<doc::TlsVersion>) -> Option<Option<TlsVersion>> {
        match written {
            None => Some(None),
            Some(doc::TlsVersion::V1_2) => Some(Some(TlsVersion::V1_2)),
            Some(doc::TlsVersion::V1_3) => Some(Some(TlsVersion::V1_3)),
            Some(doc::TlsVersion::V1_0 | doc::TlsVersion::V1_1) => {
                self.problem(path, "TLS 1.2 is the lowest this gateway speaks");
                None
            }
        }
    }

    fn each<T>(&mut self, path: &str, list: Option<Vec<String>>, read: fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut out = Vec::new();
        for (position, text) in list.into_iter().flatten().enumerate() {
            out.extend(self.check(format!("{path}[{position}]"), read(&text)));
        }
        out
    }

    /// What listeners of one port must agree on.
    fn sharing(&mut self, listeners: Vec<(String, Arc<ir::Listener>)>) {
        for (position, (path, it)) in listeners.iter().enumerate() {
            for (other_path, other) in listeners.iter().take(position) {
                if !may_share(it.protocol, other.protocol) {
                    self.problem(
                        format!("{path}.protocol"),
                        format!("cannot share a port with `{other_path}`: plain HTTP, TLS-based and raw TCP listeners each need a port of their own"),
                    );
                } else if it.hostname == other.hostname {
                    self.problem(
                        format!("{path}.hostname"),
                        format!("`{}` is already taken by `{other_path}` on this port", it.hostname),
                    );
                }
            }
        }
    }
}
