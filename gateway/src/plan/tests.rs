//! Plans over snapshots: precedence, and that a patch gives what a whole load gives.

mod identity;

use std::collections::BTreeMap;
use std::sync::Arc;

use filters::{Attachment, Change, Patch, Policy};
use http::{HeaderMap, Method};
use ir::{
    Backend, BackendKey, BackendKind, BackendRef, Bind, BindAddress, BindKey, HostTarget, Hostname, Inheritance,
    Listener, ListenerKey, Match, ObjectName, Origin, Parent, PathMatch, Phase, PolicyKey, Protocol, Regex, Route,
    RouteBackend, RouteKey, RouteName, Target,
};

use super::{Compiler, Entry, Plan, RequestParts, Resolved};
use crate::local::statics::StaticConfig;
use crate::upstream::Upstreams;

fn empty() -> Plan {
    let (statics, _) = StaticConfig::default().lower(&|_| None).expect("the default settings are valid");
    let upstreams = Arc::new(Upstreams::new(&statics));
    Plan::empty(Compiler::new(upstreams, Arc::new(statics)))
}

fn gateway() -> ObjectName {
    ObjectName::new("default", "default")
}

fn listener(name: &str, hostname: &str) -> Change {
    let key = ListenerKey::new(format!("bind/1/{name}"));
    Change::Listener(
        key.clone(),
        Some(Arc::new(Listener {
            key,
            bind: BindKey::new("bind/1"),
            gateway: gateway(),
            name: name.into(),
            hostname: Hostname::parse(hostname).unwrap(),
            protocol: Protocol::Http,
            tls: None,
            origin: Origin::default(),
        })),
    )
}

fn bind() -> Change {
    let key = BindKey::new("bind/1");
    let bind = Bind { key: key.clone(), address: BindAddress::Wildcard(1), origin: Origin::default() };
    Change::Bind(key, Some(Arc::new(bind)))
}

fn backend() -> Change {
    backend_at("127.0.0.1:9")
}

fn backend_at(target: &str) -> Change {
    let key = BackendKey::new("b");
    let kind = BackendKind::Host(HostTarget::parse(target).unwrap());
    Change::Backend(key.clone(), Some(Arc::new(Backend { key, kind, origin: Origin::default() })))
}

/// A route written as `name host path`, where a path is `=/exact`, `~regex` or a prefix.
fn route(order: u64, text: &str) -> Change {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap();
    let host = words.next().unwrap();
    let path = words.next().unwrap();
    let path = match (path.strip_prefix('='), path.strip_prefix('~')) {
        (Some(exact), _) => PathMatch::Exact(exact.into()),
        (_, Some(regex)) => PathMatch::Regex(Regex::new(regex).unwrap()),
        _ => PathMatch::prefix(path),
    };
    let method = words.next().map(|it| Method::from_bytes(it.as_bytes()).unwrap());
    let key = RouteKey::new(format!("route/{name}"));
    Change::Route(
        key.clone(),
        Some(Arc::new(Route {
            key,
            name: RouteName { route: ObjectName::new("default", name), rule: None },
            parents: vec![Parent::Gateway { gateway: gateway(), listener: None }],
            order,
            hostnames: if host == "-" { Vec::new() } else { vec![Hostname::parse(host).unwrap()] },
            matches: vec![Match { path, method, headers: Vec::new(), query: Vec::new() }],
            backends: vec![RouteBackend { weight: 1, backend: BackendRef::Backend(BackendKey::new("b")) }],
            origin: Origin::default(),
        })),
    )
}

fn policy(name: &str, target: Target, seconds: u64) -> Change {
    let key = PolicyKey::new(name);
    let timeout =
        filters::timeout::Policy { request: Some(std::time::Duration::from_secs(seconds)), backend_request: None };
    Change::Policy(
        key.clone(),
        Some(Arc::new(Attachment {
            key,
            target,
            phase: Phase::Route,
            inheritance: Inheritance::Default,
            order: 0,
            policy: Policy::Timeout(timeout),
            origin: Origin::default(),
        })),
    )
}

fn find(plan: &Plan, host: &str, path: &str, method: &Method) -> Option<(String, usize)> {
    let bind = plan.bind(&BindKey::new("bind/1"))?;
    let listener = bind.listener(Some(host))?;
    let headers = HeaderMap::new();
    let parts = RequestParts { path, query: None, method, headers: &headers, authority: host, scheme: "http" };
    let found = listener.router().find(host, &parts)?;
    Some((found.entry.route.name.route.name.to_string(), found.matched_prefix))
}

fn routed(routes: &[&str], host: &str, path: &str) -> Option<String> {
    let mut patch: Vec<Change> = vec![bind(), listener("l", "*"), backend()];
    patch.extend(routes.iter().enumerate().map(|(at, text)| route(at as u64, text)));
    let plan = empty().with(&patch.into_iter().collect());
    find(&plan, host, path, &Method::GET).map(|(name, _)| name)
}

#[test]
fn the_more_specific_host_wins_and_falls_through_when_nothing_under_it_fits() {
    let routes = ["any - /", "wild *.b.c /w", "exact a.b.c /e"];
    for (host, path, want) in [
        ("a.b.c", "/e", "exact"),
        ("a.b.c", "/w", "wild"),
        ("a.b.c", "/x", "any"),
        ("z.b.c", "/e", "any"),
        ("other", "/e", "any"),
    ] {
        assert_eq!(routed(&routes, host, path).as_deref(), Some(want), "{host}{path}");
    }
}

#[test]
fn exact_beats_prefix_beats_regex_and_longer_beats_shorter() {
    let routes = [
        "root - /",
        "foo - /foo",
        "foobar - /foo/bar",
        "exact - =/foo/bar",
        "rx - ~/r[0-9]+",
        "rxlong - ~/r[0-9]{1,3}",
    ];
    for (path, want) in [
        ("/foo/bar", "exact"),
        ("/foo/bar/", "foobar"),
        ("/foo/bar/x", "foobar"),
        ("/foo/barx", "foo"),
        ("/foo/", "foo"),
        ("/foobar", "root"),
        ("/", "root"),
    ] {
        assert_eq!(routed(&routes, "h", path).as_deref(), Some(want), "{path}");
    }
    assert_eq!(routed(&routes[4..], "h", "/r12").as_deref(), Some("rxlong"));
    assert_eq!(routed(&routes[4..], "h", "/rx"), None);
}

#[test]
fn between_equals_method_comes_first_and_then_the_older() {
    let routes = ["old - /a", "new - /a", "get - /a GET"];
    assert_eq!(routed(&routes, "h", "/a").as_deref(), Some("get"));
    assert_eq!(routed(&routes[..2], "h", "/a").as_deref(), Some("old"));
}

#[test]
fn a_prefix_match_tells_how_much_it_covered() {
    let patch = [bind(), listener("l", "*"), backend(), route(0, "a - /foo/bar/")];
    let plan = empty().with(&patch.into_iter().collect());
    let found = |path| find(&plan, "h", path, &Method::GET).map(|(_, covered)| covered);
    assert_eq!(found("/foo/bar"), Some(8));
    assert_eq!(found("/foo/bar/baz"), Some(8));
    assert_eq!(found("/foo/ba"), None);
}

/// Listeners that have a host name, and those that cannot serve and why.
fn serving(plan: &Plan) -> (Vec<String>, BTreeMap<String, String>) {
    let mut listeners: Vec<_> =
        plan.binds().flat_map(|it| it.listeners()).map(|it| it.listener.key.to_string()).collect();
    listeners.sort();
    (listeners, plan.failed().map(|(key, reason)| (key.to_string(), reason.to_string())).collect())
}

#[test]
fn of_listeners_with_one_host_name_the_first_by_key_serves_and_the_next_follows_it() {
    let gone = |name: &str| Change::Listener(ListenerKey::new(format!("bind/1/{name}")), None);
    let (a, b, c) = (|| listener("a", "h"), || listener("b", "h"), || listener("c", "x"));
    for order in [[a(), b(), c()], [b(), a(), c()], [c(), b(), a()]] {
        let [one, two, three] = order.map(|it| [it].into_iter().collect::<Patch>());
        let base: Patch = [bind(), backend(), route(0, "r - /")].into_iter().collect();
        let plan = empty().with(&one).with(&base).with(&two).with(&three);
        let (listeners, failed) = serving(&plan);
        assert_eq!(listeners, ["bind/1/a", "bind/1/c"]);
        assert_eq!(failed["bind/1/b"], "listener `bind/1/a` has the host name `h` on this bind, and serves");
        let next = plan.with(&[gone("a")].into_iter().collect());
        assert_eq!(serving(&next), (vec!["bind/1/b".to_owned(), "bind/1/c".to_owned()], BTreeMap::new()));
        assert!(find(&next, "h", "/", &Method::GET).is_some(), "it has the routes");
        // One that moves away makes room, too.
        let moved = plan.with(&[listener("a", "y")].into_iter().collect());
        assert_eq!(serving(&moved).0, ["bind/1/a", "bind/1/b", "bind/1/c"]);
        assert!(serving(&plan.with(&[gone("b")].into_iter().collect())).1.is_empty());
    }
}

/// A small deterministic generator.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn patches_one_by_one_give_what_one_load_gives() {
    let mut seed = 7;
    let hosts = ["-", "a.x.y", "*.x.y", "b.z"];
    let paths = ["/", "/a", "/a/b", "=/a", "=/a/b", "~/a/.*", "~/c[0-9]", "/c"];
    // Some want the same host name.
    let listeners = [("l", "*"), ("m", "*.x.y"), ("n", "*"), ("m", "*")];
    for _ in 0..40 {
        let mut live: BTreeMap<String, Change> = BTreeMap::new();
        let base: Patch = [bind(), backend()].into_iter().collect();
        let mut step = empty().with(&base);
        for order in 0..60 {
            let change = match next(&mut seed) % 10 {
                0 => {
                    let (name, host) = listeners[(next(&mut seed) % 4) as usize];
                    listener(name, host)
                }
                1 => {
                    let (name, _) = listeners[(next(&mut seed) % 4) as usize];
                    Change::Listener(ListenerKey::new(format!("bind/1/{name}")), None)
                }
                2 | 3 => Change::Route(RouteKey::new(format!("route/r{}", next(&mut seed) % 12)), None),
                _ => {
                    let name = next(&mut seed) % 12;
                    let host = hosts[(next(&mut seed) % 4) as usize];
                    let path = paths[(next(&mut seed) % 8) as usize];
                    route(order, &format!("r{name} {host} {path}"))
                }
            };
            let key = match &change {
                Change::Listener(key, _) => key.to_string(),
                Change::Route(key, _) => key.to_string(),
                _ => unreachable!("only listeners and routes change here"),
            };
            step = step.with(&[change.clone()].into_iter().collect());
            live.insert(key, change);
            let whole: Patch = [bind(), backend()].into_iter().chain(live.values().cloned()).collect();
            let whole = empty().with(&whole);
            assert_eq!(serving(&step), serving(&whole), "after {live:?}");
            for host in ["a.x.y", "q.x.y", "b.z", "other"] {
                for path in ["/", "/a", "/a/b", "/a/b/c", "/c1", "/zzz"] {
                    let (one, other) = (find(&step, host, path, &Method::GET), find(&whole, host, path, &Method::GET));
                    assert_eq!(one, other, "{host}{path} after {live:?}");
                }
            }
        }
    }
}

/// The request timeout that holds for a route, in seconds.
fn timeout(plan: &Plan, name: &str) -> Option<u64> {
    let bind = plan.bind(&BindKey::new("bind/1"))?;
    let listener = bind.listener(Some("h"))?;
    let headers = HeaderMap::new();
    let path = format!("/{name}");
    let parts = RequestParts {
        path: &path,
        query: None,
        method: &Method::GET,
        headers: &headers,
        authority: "h",
        scheme: "http",
    };
    let found = listener.router().find("h", &parts)?;
    let scope = listener.scope(plan);
    let resolved = found.entry.resolved(plan, &scope.as_ref()?.route);
    Some(resolved.as_ref()?.effective.timeout()?.request?.as_secs())
}

#[test]
fn a_gateway_policy_holds_everywhere_at_once_and_yields_to_more_specific_ones() {
    let mut patch: Vec<Change> = vec![bind(), listener("l", "*"), backend()];
    patch.extend((0..50).map(|at| route(at, &format!("r{at} - /r{at}"))));
    let plan = empty().with(&patch.into_iter().collect());
    assert_eq!(timeout(&plan, "r7"), None);
    let on_gateway = Target::Gateway { gateway: gateway(), port: None };
    let plan = plan.with(&[policy("g", on_gateway.clone(), 5)].into_iter().collect());
    assert_eq!((timeout(&plan, "r7"), timeout(&plan, "r49")), (Some(5), Some(5)));
    let on_route = Target::Route(ObjectName::new("default", "r7"));
    let plan = plan.with(&[policy("r", on_route, 9)].into_iter().collect());
    assert_eq!((timeout(&plan, "r7"), timeout(&plan, "r8")), (Some(9), Some(5)));
    let plan = plan.with(&[policy("g", on_gateway, 6)].into_iter().collect());
    assert_eq!((timeout(&plan, "r7"), timeout(&plan, "r8")), (Some(9), Some(6)));
    let plan = plan.with(&[Change::Policy(PolicyKey::new("g"), None)].into_iter().collect());
    assert_eq!((timeout(&plan, "r7"), timeout(&plan, "r8")), (Some(9), None));
}

/// The rule that takes a path, and what holds for it.
fn resolved(plan: &Plan, path: &str) -> (Arc<Entry>, Arc<Resolved>) {
    let bind = plan.bind(&BindKey::new("bind/1")).unwrap();
    let listener = bind.listener(Some("h")).unwrap().clone();
    let headers = HeaderMap::new();
    let parts =
        RequestParts { path, query: None, method: &Method::GET, headers: &headers, authority: "h", scheme: "http" };
    let found = listener.router().find("h", &parts).unwrap().entry.clone();
    let scope = listener.scope(plan);
    let resolved = Arc::clone(found.resolved(plan, &scope.as_ref().unwrap().route).as_ref().unwrap());
    (found, resolved)
}

#[test]
fn an_unrelated_change_leaves_entries_and_their_caches_as_they_are() {
    let mut patch: Vec<Change> = vec![bind(), listener("l", "*"), backend()];
    patch.extend((0..50).map(|at| route(at, &format!("r{at} - /r{at}"))));
    let before = empty().with(&patch.into_iter().collect());
    let (held, first) = resolved(&before, "/r7");
    let on_route = Target::Route(ObjectName::new("default", "r8"));
    let after = before.with(&[route(100, "new - /new"), policy("p", on_route, 3)].into_iter().collect());
    let (kept, again) = resolved(&after, "/r7");
    assert!(Arc::ptr_eq(&held, &kept), "the rule is the same object");
    assert!(Arc::ptr_eq(&first, &again), "its merged policies were not merged again");
}

#[test]
fn rules_of_the_same_policies_and_backends_share_what_is_merged() {
    let mut patch: Vec<Change> = vec![bind(), listener("l", "*"), backend()];
    patch.extend((0..9).map(|at| route(at, &format!("r{at} - /r{at}"))));
    let plan = empty().with(&patch.into_iter().collect());
    let merged = |plan: &Plan, path: &str| {
        let (_, it) = resolved(plan, path);
        &raw const **it as usize
    };
    assert_eq!(merged(&plan, "/r1"), merged(&plan, "/r8"));
    let (one, other) = (resolved(&plan, "/r1").1, resolved(&plan, "/r8").1);
    assert!(!Arc::ptr_eq(&one, &other), "until when it holds is each rule's own");
    let on_route = Target::Route(ObjectName::new("default", "r8"));
    let plan = plan.with(&[policy("p", on_route, 3)].into_iter().collect());
    assert_eq!((timeout(&plan, "r1"), timeout(&plan, "r8"), timeout(&plan, "r2")), (None, Some(3), None));
    assert_eq!(merged(&plan, "/r1"), merged(&plan, "/r2"));
    assert_ne!(merged(&plan, "/r1"), merged(&plan, "/r8"));
}

#[test]
fn a_backend_that_moves_to_another_host_is_called_by_its_new_name() {
    let patch = [bind(), listener("l", "*"), backend_at("old.test:80"), route(0, "r - /r")];
    let plan = empty().with(&patch.into_iter().collect());
    let host = |plan: &Plan| resolved(plan, "/r").1.backends.get(0).unwrap().host.clone();
    assert_eq!(host(&plan).unwrap(), "old.test");
    let plan = plan.with(&[backend_at("new.test:81")].into_iter().collect());
    assert_eq!(host(&plan).unwrap(), "new.test:81");
}
