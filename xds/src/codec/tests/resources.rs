//! Resources of every kind.

use std::collections::BTreeMap;
use std::net::IpAddr;

use filters::{Attachment, Change, Policy, placement};
use ir::backend::{LoadBalancer, Locality, LocalityMode, Scope};
use ir::listener::{KeyExchangeGroup, TlsVersion};
use ir::matcher::HeaderTerm;
use ir::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::policies;
use crate::codec::Kind;

fn text() -> impl Strategy<Value = Text> {
    select(&["a", "default", "x/y/z", "é b", "Edge-1"][..]).prop_map(Into::into)
}

fn maybe() -> impl Strategy<Value = Text> {
    prop_oneof![Just("".into()), text()]
}

fn object() -> impl Strategy<Value = ObjectName> {
    (maybe(), text()).prop_map(|(namespace, name)| ObjectName { namespace, name })
}

fn hostname() -> impl Strategy<Value = Hostname> {
    select(&["*", "api.example.com", "*.example.com", "[::1]"][..]).prop_map(|it| Hostname::parse(it).unwrap())
}

fn port() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn backend_ref() -> impl Strategy<Value = BackendRef> {
    prop_oneof![
        text().prop_map(|it| BackendRef::Backend(BackendKey(it))),
        (text(), port()).prop_map(|(service, port)| BackendRef::Service { service: ServiceKey(service), port }),
        text().prop_map(BackendRef::RouteGroup),
        maybe().prop_map(BackendRef::Invalid),
    ]
}

fn backends(group: bool) -> impl Strategy<Value = Vec<RouteBackend>> {
    let one = (any::<u32>(), backend_ref()).prop_map(|(weight, backend)| RouteBackend { weight, backend });
    let fits = move |it: &RouteBackend| group || !matches!(it.backend, BackendRef::RouteGroup(_));
    vec(one.prop_filter("a TCP route does not delegate", fits), 0..3)
}

fn parents(group: bool) -> impl Strategy<Value = Vec<Parent>> {
    let one = prop_oneof![
        text().prop_map(|it| Parent::Listener(ListenerKey(it))),
        (object(), option::of(text())).prop_map(|(gateway, listener)| Parent::Gateway { gateway, listener }),
        text().prop_map(Parent::Group),
    ];
    vec(one.prop_filter("no group", move |it| group || !matches!(it, Parent::Group(_))), 0..3)
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        maybe().prop_map(ValueMatch::Exact),
        Just(ValueMatch::Regex(Regex::new("a|b+").unwrap())),
        Just(ValueMatch::Invalid),
    ]
}

fn one_match() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        select(&["/", "/a/b", "/%2F"][..]).prop_map(|it| PathMatch::Exact(it.into())),
        select(&["/", "/a/b", "/a/"][..]).prop_map(PathMatch::prefix),
        Just(PathMatch::Regex(Regex::new("/v[0-9]+/.*").unwrap())),
        Just(PathMatch::Invalid),
    ];
    let term = prop_oneof![
        Just(HeaderTerm::Header("x-a".parse().unwrap())),
        Just(HeaderTerm::Method),
        Just(HeaderTerm::Path),
        Just(HeaderTerm::Authority),
        Just(HeaderTerm::Scheme),
    ];
    let headers = vec((term, value()).prop_map(|(name, value)| HeaderMatch { name, value }), 0..3);
    let query = vec((text(), value()).prop_map(|(name, value)| QueryMatch { name, value }), 0..3);
    (path, option::of(Just(http::Method::PATCH)), headers, query).prop_map(|(path, method, headers, query)| Match {
        path,
        method,
        headers,
        query,
    })
}

fn distinct(mut list: Vec<Hostname>) -> Vec<Hostname> {
    let mut seen = Vec::new();
    list.retain(|it| {
        !seen.contains(it) && {
            seen.push(it.clone());
            true
        }
    });
    list
}

fn route_name() -> impl Strategy<Value = RouteName> {
    (object(), option::of(maybe())).prop_map(|(route, rule)| RouteName { route, rule })
}

fn route() -> impl Strategy<Value = Change> {
    let parts = (vec(hostname(), 0..3), vec(one_match(), 1..3), backends(true));
    (text(), route_name(), parents(true), any::<u64>(), parts).prop_map(|(key, name, parents, order, parts)| {
        let route = Route {
            key: RouteKey(key),
            name,
            parents,
            order,
            hostnames: distinct(parts.0),
            matches: parts.1,
            backends: parts.2,
            origin: Origin::default(),
        };
        Change::Route(route.key.clone(), Some(route.into()))
    })
}

fn tcp_route() -> impl Strategy<Value = Change> {
    let parts = (vec(hostname(), 0..3), backends(false));
    (text(), route_name(), parents(false), any::<u64>(), parts).prop_map(|(key, name, parents, order, parts)| {
        let route = TcpRoute {
            key: RouteKey(key),
            name,
            parents,
            order,
            hostnames: distinct(parts.0),
            backends: parts.1,
            origin: Origin::default(),
        };
        Change::TcpRoute(route.key.clone(), Some(route.into()))
    })
}

fn route_group() -> impl Strategy<Value = Change> {
    text().prop_map(|key| {
        let group = RouteGroup { key, origin: Origin::default() };
        Change::RouteGroup(group.key.clone(), Some(group.into()))
    })
}

fn bind() -> impl Strategy<Value = Change> {
    let address = prop_oneof![
        any::<u16>().prop_map(BindAddress::Wildcard),
        any::<(IpAddr, u16)>().prop_map(|it| BindAddress::Socket(it.into())),
        Just(BindAddress::Unix("/run/a.sock".into())),
    ];
    (text(), address).prop_map(|(key, address)| {
        let bind = Bind { key: BindKey(key), address, origin: Origin::default() };
        Change::Bind(bind.key.clone(), Some(bind.into()))
    })
}

fn server_tls() -> impl Strategy<Value = ServerTls> {
    let bytes = || vec(any::<u8>(), 1..9);
    let groups = subsequence(
        vec![
            KeyExchangeGroup::X25519,
            KeyExchangeGroup::P256,
            KeyExchangeGroup::P384,
            KeyExchangeGroup::X25519Mlkem768,
        ],
        0..=4,
    );
    let suites = subsequence(&filters::tls_terms::CIPHER_SUITES[..], 0..=3);
    let versions = select(
        &[
            (TlsVersion::V1_2, TlsVersion::V1_2),
            (TlsVersion::V1_2, TlsVersion::V1_3),
            (TlsVersion::V1_3, TlsVersion::V1_3),
        ][..],
    );
    (bytes(), bytes(), option::of(bytes()), versions, (suites, groups)).prop_map(
        |(certificate, key, client_roots, (min_version, max_version), (suites, groups))| ServerTls {
            certificate,
            key: Secret::new(key),
            client_roots,
            min_version,
            max_version,
            cipher_suites: suites.into_iter().map(Into::into).collect(),
            key_exchange_groups: groups,
            alpn: vec!["http/1.1".into(), "h2".into()],
        },
    )
}

fn listener() -> impl Strategy<Value = Change> {
    let protocol = select(&[Protocol::Http, Protocol::Https, Protocol::Tcp, Protocol::Tls][..]);
    (text(), text(), object(), text(), (hostname(), protocol, server_tls(), any::<bool>())).prop_map(
        |(key, bind, gateway, name, (hostname, protocol, tls, terminated))| {
            let terminates = protocol == Protocol::Https || protocol == Protocol::Tls && terminated;
            let listener = Listener {
                key: ListenerKey(key),
                bind: BindKey(bind),
                gateway,
                name,
                hostname,
                protocol,
                tls: terminates.then_some(tls),
                origin: Origin::default(),
            };
            Change::Listener(listener.key.clone(), Some(listener.into()))
        },
    )
}

fn backend() -> impl Strategy<Value = Change> {
    let host = select(&["api.example.com:8080", "127.0.0.1:80", "[::1]:443", "unix:/run/a.sock"][..]);
    let host = host.prop_map(|it| BackendKind::Host(HostTarget::parse(it).unwrap()));
    (
        text(),
        prop_oneof![host, Just(BackendKind::Demo), mcp().prop_map(BackendKind::Mcp), ai().prop_map(BackendKind::Ai)],
    )
        .prop_map(|(key, kind)| {
            let backend = Backend { key: BackendKey(key), kind, origin: Origin::default() };
            Change::Backend(backend.key.clone(), Some(backend.into()))
        })
}

fn ai() -> impl Strategy<Value = AiBackend> {
    let key =
        select(&[AiKeyPlace::Authorization, AiKeyPlace::XApiKey, AiKeyPlace::XGoogApiKey, AiKeyPlace::ApiKey][..]);
    let formats = vec(
        select(&["completions", "messages", "generateContent"][..])
            .prop_map(|kind| AiFormat { kind: kind.into(), path: "/v1/{model}".into() }),
        0..3,
    );
    let provider = (backend_ref(), key, formats, option::of("[a-z]{1,5}"), 0_u32..3, any::<bool>()).prop_map(
        |(backend, key, formats, model, priority, internal)| AiProvider {
            name: "".into(),
            backend,
            system: "openai".into(),
            key,
            base: "/v1".into(),
            formats,
            model: model.map(Into::into),
            serves: "gpt-*".into(),
            priority,
            internal,
            when: internal.then(|| "request.headers['x'] == 'y'".into()),
            passthrough: [None, Some(AiPassthrough::Detect), Some(AiPassthrough::Opaque)][priority as usize],
        },
    );
    let providers = vec(provider, 1..4).prop_map(|mut list| {
        for (position, it) in list.iter_mut().enumerate() {
            it.name = format!("p{position}").into();
        }
        list
    });
    let share = ("[a-z]{1,5}", 0_u32..9).prop_map(|(model, number)| AiShare { model: model.into(), number });
    let case = "[a-z]{1,5}".prop_map(|model| AiCase { when: Some("llmRequest.stream".into()), model: model.into() });
    let cases = (vec(case, 1..3), any::<bool>()).prop_map(|(mut cases, open)| {
        cases.extend(open.then(|| AiCase { when: None, model: "m".into() }));
        AiRouting::Conditional(cases)
    });
    let targets = (vec(share, 1..3), any::<bool>()).prop_map(|(targets, weighted)| match weighted {
        true => AiRouting::Weighted(targets),
        false => AiRouting::Failover(targets),
    });
    let virtual_model = prop_oneof![targets, cases].prop_map(|routing| AiVirtualModel { name: "v".into(), routing });
    (providers, option::of(virtual_model), any::<bool>()).prop_map(|(providers, virtual_model, routes_models)| {
        AiBackend { providers, virtual_models: virtual_model.into_iter().collect(), routes_models }
    })
}

fn mcp() -> impl Strategy<Value = McpBackend> {
    let reach = (text().prop_map(|it| BackendRef::Backend(BackendKey(it))), "/[a-z]{0,4}", 0..4);
    let reach = reach.prop_map(|(backend, path, kind)| {
        let url = McpUrl { backend, path: path.into() };
        match kind {
            0 => McpReach::Sse(url),
            1 => McpReach::Http(url),
            2 => McpReach::OpenApi(McpApi { url, document: McpDocument::Url("https://a.example/api.json".into()) }),
            _ => McpReach::OpenApi(McpApi { url, document: McpDocument::Text(r#"{"openapi":"3.0.3"}"#.into()) }),
        }
    });
    let targets = btree_map("[a-z0-9.-]{1,9}", reach, 1..4)
        .prop_map(|targets| targets.into_iter().map(|(name, reach)| McpTarget { name: name.into(), reach }).collect());
    let prefix = select(&[McpPrefix::Conditional, McpPrefix::Always, McpPrefix::Never][..]);
    (targets, prefix, any::<[bool; 3]>()).prop_map(|(targets, prefix, [stateless, fail_open, local_only])| McpBackend {
        targets,
        stateless,
        prefix,
        fail_open,
        local_only,
    })
}

fn service() -> impl Strategy<Value = Change> {
    let ranks = vec![Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node, Scope::Cluster, Scope::Network];
    let mode = select(&[LocalityMode::Standard, LocalityMode::Strict, LocalityMode::Failover][..]);
    let balancer =
        (subsequence(ranks, 0..=6), mode, any::<bool>()).prop_map(|(routing_preferences, mode, allow_unhealthy)| {
            LoadBalancer { routing_preferences, mode, allow_unhealthy }
        });
    let protocols = btree_map(port(), select(&["http", "grpc"][..]).prop_map(Text::from), 0..3);
    (text(), maybe(), text(), btree_map(port(), any::<u16>(), 0..3), (protocols, balancer)).prop_map(
        |(namespace, name, hostname, ports, (app_protocols, load_balancer))| {
            let key = ServiceKey::new(format!("{namespace}/{hostname}"));
            let origin = Origin::default();
            let service = Service { key, namespace, name, hostname, ports, app_protocols, load_balancer, origin };
            Change::Service(service.key.clone(), Some(service.into()))
        },
    )
}

fn workload() -> impl Strategy<Value = Change> {
    let locality = (maybe(), maybe(), maybe()).prop_map(|(region, zone, subzone)| Locality { region, zone, subzone });
    let services = btree_map(text().prop_map(ServiceKey), btree_map(port(), any::<u16>(), 0..3), 0..3);
    let place = (maybe(), maybe(), maybe(), maybe(), locality);
    (text(), vec(any::<IpAddr>(), 0..3), place, (any::<u32>(), any::<bool>()), services).prop_map(
        |(uid, addresses, (name, network, cluster, node, locality), (capacity, healthy), services)| {
            let services: BTreeMap<_, _> = services;
            let workload = Workload {
                uid,
                namespace: name.clone(),
                hostname: node.clone(),
                name,
                addresses,
                locality,
                network,
                cluster,
                node,
                capacity,
                healthy,
                services,
                origin: Origin::default(),
            };
            Change::Workload(workload.uid.clone(), Some(workload.into()))
        },
    )
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Instance),
        (object(), option::of(port())).prop_map(|(gateway, port)| Target::Gateway { gateway, port }),
        (object(), text()).prop_map(|(gateway, listener)| Target::GatewayListener { gateway, listener }),
        text().prop_map(|it| Target::Listener(ListenerKey(it))),
        (text(), option::of(port())).prop_map(|(it, port)| Target::Service { service: ServiceKey(it), port }),
        object().prop_map(Target::Route),
        (object(), text()).prop_map(|(route, rule)| Target::RouteRule { route, rule }),
        text().prop_map(|it| Target::Rule(RouteKey(it))),
        text().prop_map(|it| Target::Backend(BackendKey(it))),
        (text(), any::<u32>()).prop_map(|(it, position)| Target::RouteBackend { route: RouteKey(it), position }),
    ]
}

/// A policy of one kind, attached anywhere.
pub(super) fn attached(kind: filters::Kind) -> BoxedStrategy<Change> {
    placed(move |phase, target| placement::check(kind, phase, target).is_ok(), move |site| policies::of(kind, site))
}

/// A policy with conditions, attached to a route or a gateway.
pub(super) fn conditional() -> BoxedStrategy<Change> {
    let fits = |phase, target: &Target| {
        let runs_there = |it: &filters::Kind| placement::check(*it, phase, target).is_ok();
        policies::CONDITIONAL.iter().all(runs_there)
    };
    placed(fits, |site| policies::conditional(site).boxed())
}

/// Policies where they fit, with expressions of that place.
fn placed(
    fits: impl Fn(Phase, &Target) -> bool + 'static,
    of: impl Fn(filters::expr::Site) -> BoxedStrategy<Policy> + 'static,
) -> BoxedStrategy<Change> {
    let phase = select(&[Phase::Route, Phase::Gateway][..]);
    let inheritance = select(&[Inheritance::Default, Inheritance::Override][..]);
    let placed = (target(), phase).prop_filter("a place that fits", move |(target, phase)| fits(*phase, target));
    let policy = placed.prop_flat_map(move |(target, phase)| {
        let site = placement::site(phase, &target);
        (Just(target), Just(phase), of(site))
    });
    (text(), policy, inheritance, any::<u64>())
        .prop_map(|(key, (target, phase, policy), inheritance, order)| {
            let origin = Origin::default();
            let it = Attachment { key: PolicyKey(key), target, phase, inheritance, order, policy, origin };
            Change::Policy(it.key.clone(), Some(it.into()))
        })
        .boxed()
}

/// An object of one kind.
pub(super) fn of(kind: Kind) -> BoxedStrategy<Change> {
    match kind {
        Kind::Service => service().boxed(),
        Kind::Workload => workload().boxed(),
        Kind::Backend => backend().boxed(),
        Kind::Policy => select(filters::Kind::ALL).prop_flat_map(attached).boxed(),
        Kind::RouteGroup => route_group().boxed(),
        Kind::TcpRoute => tcp_route().boxed(),
        Kind::Route => route().boxed(),
        Kind::Listener => listener().boxed(),
        Kind::Bind => bind().boxed(),
    }
}
