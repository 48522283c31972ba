//! Plans of any size, for the benchmarks of single parts beside this.
//!
//! All routes hang on one listener, as nearly all do in practice, and go to one backend.

use std::sync::Arc;
use std::time::Duration;

use filters::{Attachment, Change, Patch, Policy};
use gateway::local::statics::StaticConfig;
use gateway::plan::{Compiler, Plan, RequestParts};
use gateway::statics::Statics;
use gateway::upstream::Upstreams;
use http::{HeaderMap, Method};
use ir::{
    Backend, BackendKey, BackendKind, BackendRef, Bind, BindAddress, BindKey, HostTarget, Hostname, Inheritance,
    Listener, ListenerKey, Match, ObjectName, Origin, Parent, PathMatch, Phase, PolicyKey, Protocol, Route,
    RouteBackend, RouteKey, RouteName, Target,
};

/// The allocator of the gateway, for what is measured here runs there with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What tells the routes of a plan apart.
#[derive(Clone, Copy, Debug)]
pub enum By {
    Path,
    Host,
}

/// The settings of a process without a configuration.
pub fn statics() -> Statics {
    StaticConfig::default().lower(&|_| None).expect("the default settings are valid").0
}

/// A plan with so many routes.
pub fn plan(by: By, count: usize) -> Plan {
    let statics = Arc::new(statics());
    let upstreams = Arc::new(Upstreams::new(&statics));
    let mut patch: Patch = [bind(), listener(), backend()].into_iter().collect();
    (0..count).for_each(|n| patch.push(route(by, n, 1)));
    Plan::empty(Compiler::new(upstreams, statics)).with(&patch)
}

/// One route changed: the weight of its backend.
pub fn edit(by: By, n: usize, weight: u32) -> Patch {
    [route(by, n, weight)].into_iter().collect()
}

/// A policy for all requests of the gateway.
pub fn gateway_wide(seconds: u64) -> Patch {
    let key = PolicyKey::new("policy/default/all");
    let timeout = filters::timeout::Policy { request: Some(Duration::from_secs(seconds)), backend_request: None };
    let attachment = Attachment {
        key: key.clone(),
        target: Target::Gateway { gateway: gateway(), port: None },
        phase: Phase::Route,
        inheritance: Inheritance::Default,
        order: 1,
        policy: Policy::Timeout(timeout),
        origin: Origin::default(),
    };
    [Change::Policy(key, Some(Arc::new(attachment)))].into_iter().collect()
}

/// Host and path of the request for the nth route.
pub fn request(by: By, n: usize) -> (String, String) {
    match by {
        By::Path => ("example.com".to_owned(), format!("/{:x}/area{n}/item", n % 97)),
        By::Host => (format!("host{n}.example.com"), "/item".to_owned()),
    }
}

/// Whether the plan has a route for this request.
pub fn finds(plan: &Plan, host: &str, path: &str, headers: &HeaderMap) -> bool {
    let bind = plan.bind(&BindKey::new("bind/1")).expect("the plan has one bind");
    let listener = bind.listener(Some(host)).expect("its listener takes every host");
    let parts = RequestParts { path, query: None, method: &Method::GET, headers, authority: host, scheme: "http" };
    listener.router().find(host, &parts).is_some()
}

fn gateway() -> ObjectName {
    ObjectName::new("default", "default")
}

fn bind() -> Change {
    let key = BindKey::new("bind/1");
    let bind = Bind { key: key.clone(), address: BindAddress::Wildcard(1), origin: Origin::default() };
    Change::Bind(key, Some(Arc::new(bind)))
}

fn listener() -> Change {
    let key = ListenerKey::new("bind/1/l");
    let listener = Listener {
        key: key.clone(),
        bind: BindKey::new("bind/1"),
        gateway: gateway(),
        name: "l".into(),
        hostname: Hostname::parse("*").expect("a host name"),
        protocol: Protocol::Http,
        tls: None,
        origin: Origin::default(),
    };
    Change::Listener(key, Some(Arc::new(listener)))
}

fn backend() -> Change {
    let key = BackendKey::new("b");
    let kind = BackendKind::Host(HostTarget::parse("127.0.0.1:9").expect("an address"));
    Change::Backend(key.clone(), Some(Arc::new(Backend { key, kind, origin: Origin::default() })))
}

fn route(by: By, n: usize, weight: u32) -> Change {
    let key = RouteKey::new(format!("route/default/r{n}"));
    let (hostnames, path) = match by {
        By::Path => (Vec::new(), PathMatch::prefix(&format!("/{:x}/area{n}", n % 97))),
        By::Host => {
            (vec![Hostname::parse(&format!("host{n}.example.com")).expect("a host name")], PathMatch::prefix("/"))
        }
    };
    let route = Route {
        key: key.clone(),
        name: RouteName { route: ObjectName::new("default", format!("r{n}")), rule: None },
        parents: vec![Parent::Gateway { gateway: gateway(), listener: None }],
        order: n as u64,
        hostnames,
        matches: vec![Match { path, method: None, headers: Vec::new(), query: Vec::new() }],
        backends: vec![RouteBackend { weight, backend: BackendRef::Backend(BackendKey::new("b")) }],
        origin: Origin::default(),
    };
    Change::Route(key, Some(Arc::new(route)))
}
