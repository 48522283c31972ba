//! What a control plane says, in few words: one gateway, `default/edge`.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use filters::{Attachment, Change, Policy, direct_response, header_modifier};
use ir::{
    Backend, BackendKey, BackendKind, BackendRef, Bind, BindAddress, BindKey, HostTarget, Hostname, Inheritance,
    Listener, ListenerKey, Match, ObjectName, Origin, Parent, PathMatch, Phase, PolicyKey, Protocol, Route,
    RouteBackend, RouteGroup, RouteKey, RouteName, Secret, ServerTls, Service, ServiceKey, Target, Workload,
};

use crate::certs::Identity;

/// The gateway that all listeners are of.
pub fn gateway() -> ObjectName {
    ObjectName::new("default", "edge")
}

/// A bind on loopback, at whatever port is free.
pub fn bind(key: &str) -> Change {
    bind_at(key, ([127, 0, 0, 1], 0).into())
}

pub fn bind_at(key: &str, address: SocketAddr) -> Change {
    let it = Bind { key: BindKey::new(key), address: BindAddress::Socket(address), origin: Origin::default() };
    Change::Bind(it.key.clone(), Some(Arc::new(it)))
}

/// A listener of plain HTTP for all hosts: `<bind>/http`.
pub fn listener(bind: &str) -> Change {
    listener_of(bind, "http", "*", None)
}

/// A listener `<bind>/<name>`; HTTPS where there is a certificate.
pub fn listener_of(bind: &str, name: &str, hostname: &str, identity: Option<&Identity>) -> Change {
    let it = Listener {
        key: ListenerKey::new(format!("{bind}/{name}")),
        bind: BindKey::new(bind),
        gateway: gateway(),
        name: name.into(),
        hostname: Hostname::parse(hostname).expect("a host name"),
        protocol: if identity.is_some() { Protocol::Https } else { Protocol::Http },
        tls: identity.map(terms),
        origin: Origin::default(),
    };
    Change::Listener(it.key.clone(), Some(Arc::new(it)))
}

fn terms(identity: &Identity) -> ServerTls {
    ServerTls {
        certificate: identity.cert_pem.clone().into_bytes(),
        key: Secret::new(identity.key_pem.clone().into_bytes()),
        client_roots: None,
        min_version: ir::listener::TlsVersion::V1_2,
        max_version: ir::listener::TlsVersion::V1_3,
        cipher_suites: Vec::new(),
        key_exchange_groups: Vec::new(),
        alpn: vec!["http/1.1".into()],
    }
}

/// A route of the gateway: requests below the path go to the backend of this key.
pub fn route(name: &str, prefix: &str, backend: &str) -> Change {
    let parent = Parent::Gateway { gateway: gateway(), listener: None };
    route_of(name, prefix, vec![parent], BackendRef::Backend(BackendKey::new(backend)))
}

/// A route of these parents.
pub fn route_of(name: &str, prefix: &str, parents: Vec<Parent>, backend: BackendRef) -> Change {
    let it = Route {
        key: RouteKey::new(name),
        name: RouteName { route: ObjectName::new("default", name), rule: None },
        parents,
        order: 0,
        hostnames: Vec::new(),
        matches: vec![Match { path: PathMatch::prefix(prefix), method: None, headers: Vec::new(), query: Vec::new() }],
        backends: vec![RouteBackend { weight: 1, backend }],
        origin: Origin::default(),
    };
    Change::Route(it.key.clone(), Some(Arc::new(it)))
}

/// A route group; its routes say that they are of it.
pub fn route_group(key: &str) -> Change {
    let it = RouteGroup { key: key.into(), origin: Origin::default() };
    Change::RouteGroup(it.key.clone(), Some(Arc::new(it)))
}

pub fn backend(key: &str, host: impl ToString) -> Change {
    let kind = BackendKind::Host(HostTarget::parse(&host.to_string()).expect("a host"));
    let it = Backend { key: BackendKey::new(key), kind, origin: Origin::default() };
    Change::Backend(it.key.clone(), Some(Arc::new(it)))
}

/// A policy that is attached to something.
pub fn policy(key: &str, target: Target, policy: Policy) -> Change {
    let it = Attachment {
        key: PolicyKey::new(key),
        target,
        phase: Phase::Route,
        inheritance: Inheritance::Default,
        order: 0,
        policy,
        origin: Origin::default(),
    };
    Change::Policy(it.key.clone(), Some(Arc::new(it)))
}

/// The route of this name answers with this text.
pub fn says(route: &str, text: &str) -> Change {
    let answer =
        direct_response::Policy { status: 200, body: text.to_owned().into(), ..direct_response::Policy::default() };
    let target = Target::Route(ObjectName::new("default", route));
    policy(&format!("{route}/says"), target, Policy::DirectResponse(answer))
}

/// A policy of the kind `timeout`.
pub fn timeout(key: &str, target: Target) -> Change {
    let request = Some(std::time::Duration::from_secs(60));
    policy(key, target, Policy::Timeout(filters::timeout::Policy { request, backend_request: None }))
}

/// The bytes of a policy of the kind `timeout`, as those of a kind that only a later version knows.
pub fn of_a_later_kind(change: &Change) -> Bytes {
    let mut bytes = xds::codec::encode(change).expect("an object");
    // Field 38 of a policy is written `b2 02`; field 2000, which there is not, `82 7d`.
    let at = bytes.windows(2).position(|it| it == [0xb2, 0x02]).expect("the kind");
    bytes[at] = 0x82;
    bytes[at + 1] = 0x7d;
    bytes.into()
}

/// Sets a header of requests.
pub fn header(name: &'static str, value: &str) -> Policy {
    let value = value.parse().expect("the value of a header");
    let header = filters::head::Header { name: http::HeaderName::from_static(name), value };
    let set = vec![header_modifier::Change::Header(header)];
    Policy::RequestHeaderModifier(header_modifier::Policy { set, ..Default::default() })
}

/// Takes the object of a change away.
pub fn without(change: &Change) -> Change {
    xds::codec::Name::of(change).removal()
}

/// A service `namespace/hostname` with one port.
pub fn service(key: &str, port: u16) -> Change {
    let (namespace, hostname) = key.split_once('/').expect("namespace/hostname");
    let it = Service {
        key: ServiceKey::new(key),
        namespace: namespace.into(),
        name: hostname.into(),
        hostname: hostname.into(),
        ports: [(port, 0)].into(),
        app_protocols: Default::default(),
        load_balancer: Default::default(),
        origin: Origin::default(),
    };
    Change::Service(it.key.clone(), Some(Arc::new(it)))
}

/// One endpoint of a service's port.
pub fn workload(uid: &str, service: &str, port: u16, at: SocketAddr) -> Change {
    let it = Workload {
        uid: uid.into(),
        name: uid.into(),
        namespace: "default".into(),
        addresses: vec![at.ip()],
        hostname: "".into(),
        locality: Default::default(),
        network: "".into(),
        cluster: "".into(),
        node: "".into(),
        capacity: 1,
        healthy: true,
        services: [(ServiceKey::new(service), [(port, at.port())].into())].into(),
        origin: Origin::default(),
    };
    Change::Workload(it.uid.clone(), Some(Arc::new(it)))
}
