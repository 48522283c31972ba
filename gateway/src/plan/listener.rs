//! Binds and listeners, compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use filters::{
    Effective, Level, access_log, frontend_http, frontend_tcp, frontend_tls, ip_access, network_authorization,
    network_ext_authz, proxy_protocol,
};
use ir::{Hostname, Phase, Protocol, Target};

use super::Plan;
use super::entry::Entry;
use super::hosts::HostMap;
use super::router::Router;
use super::table::Emptiable;

/// Everything a new connection on one bind needs.
pub struct BindPlan {
    pub bind: Arc<ir::Bind>,
    pub transport: Transport,
    pub terms: Arc<Terms>,
    pub(super) listeners: HostMap<Arc<ListenerPlan>>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Http,
    Tls,
    Tcp,
}

/// Terms of a bind's connections (`frontendPolicies`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    pub http: frontend_http::Policy,
    pub tcp: frontend_tcp::Policy,
    pub tls: frontend_tls::Policy,
    pub proxy_protocol: Option<proxy_protocol::Policy>,
    /// All must permit the client.
    pub ip_access: Vec<ip_access::Policy>,
    /// All must permit the connection.
    pub network_authorization: network_authorization::Rules,
    /// Asked about connections; as it is attached, for what it remembers hangs there.
    network_ext_authz: Option<Arc<filters::Attachment>>,
    /// For requests that are refused before they have a route.
    pub access_log: Option<access_log::Policy>,
}

impl Terms {
    /// Who is asked about connections.
    pub fn network_ext_authz(&self) -> Option<&network_ext_authz::Policy> {
        match &self.network_ext_authz.as_ref()?.policy {
            filters::Policy::NetworkExtAuthz(policy) => Some(policy),
            _ => None,
        }
    }

    /// Whether the certificate of a client has to be known before it is let in.
    pub fn need_identity(&self) -> bool {
        let asked = self.network_ext_authz().is_some_and(network_ext_authz::Policy::needs_identity);
        asked || self.network_authorization.need_identity()
    }
}

/// One listener, compiled.
pub struct ListenerPlan {
    pub listener: Arc<ir::Listener>,
    /// Present when TLS is terminated here.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) router: Router,
    pub(super) tcp: HostMap<Vec<Arc<TcpEntry>>>,
    scope: ArcSwapOption<Scope>,
}

/// A raw route as a listener holds it: same laziness as HTTP rules.
pub struct TcpEntry {
    pub route: Arc<ir::TcpRoute>,
    pub(super) entry: Entry,
}

/// Policies that hold for all requests of a listener.
pub struct Scope {
    epoch: AtomicU64,
    inputs: [Option<Level>; 5],
    /// Before route selection.
    pub gateway: Arc<Effective>,
    /// What rules build on.
    pub route: Arc<Effective>,
}

impl BindPlan {
    /// The listener for an SNI or Host name (lower case, no port): exact, longest suffix, any.
    pub fn listener(&self, name: Option<&str>) -> Option<&Arc<ListenerPlan>> {
        self.listeners.covering(name.unwrap_or_default()).next()
    }

    pub fn listeners(&self) -> impl Iterator<Item = &Arc<ListenerPlan>> {
        self.listeners.values()
    }

    /// The kind of bytes its listeners expect; TLS wins over TCP, TCP over HTTP.
    pub(super) fn transport_of(listeners: &HostMap<Arc<ListenerPlan>>) -> Transport {
        let mut transport = Transport::Http;
        for it in listeners.values() {
            match it.listener.protocol {
                Protocol::Https | Protocol::Tls => return Transport::Tls,
                Protocol::Tcp => transport = Transport::Tcp,
                Protocol::Http => {}
            }
        }
        transport
    }
}

impl Scope {
    /// The frontend settings that hold for a listener's connections.
    pub(super) fn terms(&self) -> Terms {
        let effective = &self.route;
        let http = effective.frontend_http().cloned().unwrap_or_default();
        // Rules of listeners and routes are for requests. Behind trusted proxies the socket's peer
        // is not the client, so nobody is refused before the request says who asks.
        let [instance, ..] = &self.inputs;
        let rules = instance.iter().flat_map(|level| level.iter());
        let network_authorization = network_authorization::Rules::of(rules.map(|it| &**it));
        let mut level = instance.iter().flat_map(|level| level.iter());
        let network_ext_authz = level.find(|it| it.policy.kind() == filters::Kind::NetworkExtAuthz).cloned();
        let own = instance.iter().flat_map(|level| level.iter()).filter(|_| http.trusted_hops == 0);
        let ip_access = own.filter_map(|it| match &it.policy {
            filters::Policy::IpAccess(policy) => Some(policy.clone()),
            _ => None,
        });
        Terms {
            tcp: effective.frontend_tcp().cloned().unwrap_or_default(),
            tls: effective.frontend_tls().cloned().unwrap_or_default(),
            proxy_protocol: effective.proxy_protocol().cloned(),
            ip_access: ip_access.collect(),
            network_authorization,
            network_ext_authz,
            access_log: effective.access_log().cloned(),
            http,
        }
    }
}

impl ListenerPlan {
    pub(super) fn new(listener: Arc<ir::Listener>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self { listener, tls, router: Router::default(), tcp: HostMap::default(), scope: ArcSwapOption::empty() }
    }

    /// A copy to be changed; tables are shared until they are.
    pub(super) fn fork(&self) -> Self {
        Self {
            listener: self.listener.clone(),
            tls: self.tls.clone(),
            router: self.router.clone(),
            tcp: self.tcp.clone(),
            scope: ArcSwapOption::new(self.scope.load_full()),
        }
    }

    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Policies above the routes, merged when first used under a plan that changed them.
    pub fn scope(&self, plan: &Plan) -> Guard<Option<Arc<Scope>>> {
        let held = self.scope.load();
        if held.as_ref().is_some_and(|it| it.epoch.load(Ordering::Relaxed) == plan.epoch) {
            return held;
        }
        self.refresh(plan, held)
    }

    #[cold]
    fn refresh(&self, plan: &Plan, held: Guard<Option<Arc<Scope>>>) -> Guard<Option<Arc<Scope>>> {
        let it = &self.listener;
        let gateway = |port| Target::Gateway { gateway: it.gateway.clone(), port };
        let inputs = [
            plan.level(&Target::Instance),
            plan.level(&gateway(None)),
            plan.port_of(&it.bind).and_then(|port| plan.level(&gateway(Some(port)))),
            plan.level(&Target::GatewayListener { gateway: it.gateway.clone(), listener: it.name.clone() }),
            plan.level(&Target::Listener(it.key.clone())),
        ];
        if let Some(scope) = held.as_ref() {
            let same = scope.inputs.iter().zip(&inputs).all(|(a, b)| match (a, b) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            });
            if same {
                scope.epoch.store(plan.epoch, Ordering::Relaxed);
                return held;
            }
        }
        let merged = |phase: Phase| {
            let mut effective = Effective::default();
            for level in inputs.iter().flatten() {
                let of_phase: Vec<_> = level.iter().filter(|it| it.phase == phase).cloned().collect();
                if !of_phase.is_empty() {
                    effective = effective.under(&of_phase);
                }
            }
            Arc::new(effective)
        };
        let (gateway, route) = (merged(Phase::Gateway), merged(Phase::Route));
        let scope = Arc::new(Scope { epoch: AtomicU64::new(plan.epoch), inputs, gateway, route });
        self.scope.store(Some(scope.clone()));
        Guard::from_inner(Some(scope))
    }

    /// Adds or removes a raw route.
    pub(super) fn alter_tcp(&mut self, route: &Arc<ir::TcpRoute>, add: bool) {
        let any = [Hostname::Any];
        let hostnames: &[Hostname] = if route.hostnames.is_empty() { &any } else { &route.hostnames };
        let entry = Arc::new(TcpEntry { route: route.clone(), entry: Entry::new(Arc::new(as_http(route))) });
        for hostname in hostnames {
            self.tcp.alter(hostname, |list| {
                list.retain(|held| held.route.key != route.key);
                if add {
                    let at = list.partition_point(|held| held.route.order <= route.order);
                    list.insert(at, entry.clone());
                }
            });
        }
    }

    /// The raw route for an SNI name.
    pub fn tcp_route(&self, sni: Option<&str>) -> Option<&Arc<TcpEntry>> {
        self.tcp.covering(sni.unwrap_or_default()).find_map(|list| list.first())
    }
}

impl Emptiable for Vec<Arc<TcpEntry>> {
    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }
}

impl TcpEntry {
    /// The rule behind it, for policies and backends.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// Raw routes resolve policies and backends exactly as HTTP rules do.
fn as_http(route: &ir::TcpRoute) -> ir::Route {
    let ir::TcpRoute { key, name, parents, order, hostnames, backends, origin } = route.clone();
    ir::Route { key, name, parents, order, hostnames, matches: Vec::new(), backends, origin }
}

/// Whether a route's parent means this listener.
pub(super) fn hangs_on(parent: &ir::Parent, listener: &ir::Listener) -> bool {
    match parent {
        ir::Parent::Listener(key) => *key == listener.key,
        ir::Parent::Gateway { gateway, listener: name } => {
            *gateway == listener.gateway && name.as_ref().is_none_or(|name| *name == listener.name)
        }
        ir::Parent::Group(_) => false,
    }
}

/// Protocol kinds that may share a bind: all plain HTTP, all TLS-based, or one raw TCP listener.
pub fn may_share(a: Protocol, b: Protocol) -> bool {
    a.is_tls() == b.is_tls() && a != Protocol::Tcp && b != Protocol::Tcp
}
