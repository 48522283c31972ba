//! Which route takes a request: Gateway API precedence, weights, delegation, and references that lead nowhere.

use std::collections::HashMap;

use http::Method;
use tests::{Backend, Client, Gateway, config};

/// A route that answers with its own name.
fn named(name: &str, hosts: &str, matches: &str) -> String {
    format!(
        "- name: {name}\n  hostnames: [{hosts}]\n  matches: [{{ {matches} }}]\n  policies: {{ directResponse: {{ status: 200, body: {name} }} }}\n"
    )
}

/// Starts with these routes, in this order, and asks each question: method, host, path, headers, the route expected.
async fn check(routes: &[(&str, &str, &str)], questions: &[(&str, &str, &str, &str, &str)]) {
    let yaml: String = routes.iter().map(|(name, hosts, matches)| named(name, hosts, matches)).collect();
    let gateway = Gateway::start(&config::routes(&yaml)).await;
    for (method, host, path, headers, expected) in questions {
        let client = gateway.client().host(host);
        let mut call = client.call(method.parse::<Method>().expect("a method"), path);
        for line in headers.split(';').filter(|it| !it.is_empty()) {
            let (name, value) = line.split_once('=').expect("name=value");
            call = call.header(name, value);
        }
        let reply = call.await;
        let got = if reply.status == 404 { "404".to_owned() } else { reply.text() };
        assert_eq!(got, *expected, "{method} {host}{path} {headers}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_most_specific_host_with_a_matching_route_wins() {
    check(
        &[
            ("any", "", "path: { pathPrefix: / }"),
            ("wide", "'*.example'", "path: { pathPrefix: / }"),
            ("narrow", "'*.b.example'", "path: { pathPrefix: /narrow }"),
            ("exact", "a.b.example", "path: { pathPrefix: /exact }"),
        ],
        &[
            ("GET", "a.b.example", "/exact", "", "exact"),
            ("GET", "A.B.Example:8080", "/exact", "", "exact"),
            ("GET", "a.b.example.", "/exact", "", "exact"),
            ("GET", "a.b.example", "/narrow", "", "narrow"),
            ("GET", "a.b.example", "/other", "", "wide"),
            ("GET", "x.y.b.example", "/narrow", "", "narrow"),
            ("GET", "b.example", "/narrow", "", "wide"),
            ("GET", "example", "/", "", "any"),
            ("GET", "[::1]:80", "/", "", "any"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_exact_path_beats_the_longest_prefix_and_that_a_regex() {
    check(
        &[
            ("regex", "", "path: { regex: '/a/.*' }"),
            ("root", "", "path: { pathPrefix: / }"),
            ("short", "", "path: { pathPrefix: /a }"),
            ("long", "", "path: { pathPrefix: /a/b/ }"),
            ("exact", "", "path: { exact: /a/b/c }"),
        ],
        &[
            ("GET", "h", "/a/b/c", "", "exact"),
            ("GET", "h", "/a/b/c/", "", "long"),
            ("GET", "h", "/a/b", "", "long"),
            ("GET", "h", "/a/bc", "", "short"),
            ("GET", "h", "/a?x=/a/b", "", "short"),
            ("GET", "h", "/ab", "", "root"),
            ("GET", "h", "/a/./b/d/../c", "", "exact"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_regex_matches_the_whole_path_and_the_longer_pattern_wins() {
    check(
        &[("short", "", "path: { regex: '/v[0-9]+/.*' }"), ("long", "", "path: { regex: '/v[0-9]+/users/[0-9]+' }")],
        &[
            ("GET", "h", "/v1/users/7", "", "long"),
            ("GET", "h", "/v1/users/7/x", "", "short"),
            ("GET", "h", "/x/v1/users/7", "", "404"),
        ],
    )
    .await;
}

#[tokio::test]
async fn method_then_headers_then_query_then_order_decide_among_equal_paths() {
    let header = |n: usize| {
        (0..n).map(|it| format!("{{ name: h{it}, value: {{ exact: '1' }} }}")).collect::<Vec<_>>().join(", ")
    };
    let query = |n: usize| {
        (0..n).map(|it| format!("{{ name: q{it}, value: {{ exact: '1' }} }}")).collect::<Vec<_>>().join(", ")
    };
    let (two, one_header, two_headers, q1, q2) = (
        "path: { pathPrefix: / }".to_owned(),
        format!("headers: [{}]", header(1)),
        format!("headers: [{}]", header(2)),
        format!("query: [{}]", query(1)),
        format!("query: [{}]", query(2)),
    );
    check(
        &[
            ("first", "", &two),
            ("second", "", &two),
            ("q1", "", &q1),
            ("q2", "", &q2),
            ("h1", "", &one_header),
            ("h2", "", &two_headers),
            ("post", "", "method: POST"),
        ],
        &[
            ("GET", "h", "/", "", "first"),
            ("GET", "h", "/?q0=1", "", "q1"),
            ("GET", "h", "/?q0=1&q1=1", "", "q2"),
            ("GET", "h", "/?q0=1&q1=1", "h0=1", "h1"),
            ("GET", "h", "/", "h0=1;h1=1", "h2"),
            ("POST", "h", "/?q0=1&q1=1", "h0=1;h1=1", "post"),
            ("GET", "h", "/?q0=2", "h0=2", "first"),
        ],
    )
    .await;
}

#[tokio::test]
async fn headers_and_queries_match_whole_values() {
    check(
        &[
            ("header", "", "headers: [{ name: X-Env, value: { regex: 'dev|test' } }]"),
            ("pseudo", "", "headers: [{ name: ':authority', value: { exact: 'only.example' } }]"),
            ("query", "", "query: [{ name: v, value: { regex: '[0-9]+' } }]"),
            ("exact", "", "query: [{ name: v, value: { exact: 'a b' } }]"),
        ],
        &[
            ("GET", "h", "/", "x-env=dev", "header"),
            ("GET", "h", "/", "x-env=develop", "404"),
            ("GET", "h", "/", "x-env=Dev", "404"),
            ("GET", "only.example", "/", "", "pseudo"),
            ("GET", "h", "/?v=12", "", "query"),
            ("GET", "h", "/?v=12x", "", "404"),
            ("GET", "h", "/?v=x&v=12", "", "query"),
            ("GET", "h", "/?v=12&v=x", "", "404"),
            ("GET", "h", "/?v", "", "404"),
        ],
    )
    .await;
}

#[tokio::test]
async fn hosts_count_for_http2_as_well() {
    let yaml = named("one", "one.example", "path: { pathPrefix: / }")
        + &named("two", "two.example", "path: { pathPrefix: / }");
    let gateway = Gateway::start(&config::routes(&yaml)).await;
    for host in ["one", "two"] {
        let reply = Client::h2c(gateway.addr(0)).host(&format!("{host}.example")).get("/").await.expect_status(200);
        assert_eq!(reply.text(), host);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn listeners_of_one_port_are_chosen_by_host() {
    let listener = |name: &str, hostname: &str| {
        format!(
            "- name: {name}\n  hostname: '{hostname}'\n  routes:\n  - policies: {{ directResponse: {{ status: 200, body: {name} }} }}\n"
        )
    };
    let yaml = config::listeners(&(listener("exact", "a.example") + &listener("wild", "*.example")));
    let gateway = Gateway::start(&yaml).await;
    for (host, expected) in
        [("a.example", Some("exact")), ("b.example", Some("wild")), ("c.d.example", Some("wild")), ("example", None)]
    {
        let reply = gateway.client().host(host).get("/").await;
        match expected {
            Some(name) => assert_eq!((reply.status.as_u16(), reply.text()), (200, name.to_owned()), "{host}"),
            None => assert_eq!(reply.status, 404, "{host}"),
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn backends_are_drawn_by_their_weight_and_never_with_weight_0() {
    let backends: Vec<Backend> = ["a", "b", "c"].into_iter().map(Backend::echo_named).collect();
    let weights = [70, 30, 0];
    let list: Vec<String> = backends
        .iter()
        .zip(weights)
        .map(|(it, weight)| format!("{{ host: '{}', weight: {weight} }}", it.addr()))
        .collect();
    let gateway = Gateway::start(&config::routes(&format!("- backends: [{}]\n", list.join(", ")))).await;
    let client = gateway.client();
    for _ in 0..1000 {
        client.get("/").await.expect_status(200);
    }
    let counts: Vec<u64> = backends.iter().map(|it| it.stats().requests()).collect();
    assert_eq!(counts[2], 0);
    // Five standard deviations of a binomial distribution: sqrt(1000 * 0.7 * 0.3) is 14.5.
    assert!(counts[0].abs_diff(700) < 73, "{counts:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_route_group_goes_on_matching_with_the_policies_of_both_levels() {
    let backend = Backend::echo();
    let addr = backend.addr();
    let yaml = config::routes(
        "
- name: parent
  matches: [{ path: { pathPrefix: /team } }]
  policies:
    requestHeaderModifier: { set: { x-parent: '1' } }
    responseHeaderModifier: { set: { x-level: parent } }
  backends: [{ routeGroup: team }]
",
    ) + &format!(
        "routeGroups:
- name: team
  routes:
  - name: child
    matches: [{{ path: {{ pathPrefix: /team/a }} }}]
    policies: {{ responseHeaderModifier: {{ set: {{ x-level: child }} }} }}
    backends: [{{ host: '{addr}' }}]
  - name: further
    matches: [{{ path: {{ pathPrefix: /team/b }} }}]
    backends: [{{ routeGroup: deep }}]
- name: deep
  routes:
  - name: deepest
    matches: [{{ path: {{ exact: /team/b/c }} }}]
    backends: [{{ host: '{addr}' }}]
"
    );
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    let reply = client.get("/team/a/x").await.expect_status(200);
    assert_eq!(reply.header("x-level"), Some("child"), "the more specific level replaces its kind");
    assert_eq!(backend.stats().last().header("x-parent"), Some("1"), "the other kinds stay");
    let reply = client.get("/team/b/c").await.expect_status(200);
    assert_eq!(reply.header("x-level"), Some("parent"));
    client.get("/team/c").await.expect_status(404);
    client.get("/team/b/d").await.expect_status(404);
    gateway.stop().await;
}

#[tokio::test]
async fn references_that_lead_nowhere_are_500_for_their_own_route_only() {
    let backend = Backend::echo();
    let yaml = config::routes(&format!(
        "
- matches: [{{ path: {{ pathPrefix: /circle }} }}]
  backends: [{{ routeGroup: a }}]
- matches: [{{ path: {{ pathPrefix: /group }} }}]
  backends: [{{ routeGroup: missing }}]
- matches: [{{ path: {{ pathPrefix: /backend }} }}]
  backends: [{{ backend: missing }}]
- matches: [{{ path: {{ pathPrefix: /service }} }}]
  backends: [{{ service: {{ name: default/missing.example, port: 80 }} }}]
- matches: [{{ path: {{ pathPrefix: /zero }} }}]
  backends: [{{ host: '{0}', weight: 0 }}]
- matches: [{{ path: {{ pathPrefix: /empty }} }}]
- matches: [{{ path: {{ pathPrefix: /half }} }}]
  backends: [{{ host: '{0}' }}, {{ backend: missing }}]
- backends: [{{ host: '{0}' }}]
",
        backend.addr()
    )) + "routeGroups:\n- name: a\n  routes: [{ backends: [{ routeGroup: b }] }]\n- name: b\n  routes: [{ backends: [{ routeGroup: a }] }]\n";
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    let mut n = 0;
    for path in ["/circle", "/group", "/backend", "/service", "/zero", "/empty"] {
        n += 1;
        client.get(path).await.expect_status(500);
        let lines = gateway.wait_access(n).await;
        let line = &lines[n - 1];
        assert_eq!(line["reason"], "NoBackend", "{path}: {line}");
        assert!(line["error"].is_string(), "{path}: the log says why: {line}");
    }
    client.get("/else").await.expect_status(200);
    let mut statuses = HashMap::<u16, u32>::new();
    for _ in 0..100 {
        *statuses.entry(client.get("/half").await.status.as_u16()).or_default() += 1;
    }
    assert!(statuses[&200] > 15 && statuses[&500] > 15, "the broken half answers for itself: {statuses:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_gateway_phase_changes_is_what_routes_see() {
    let yaml = config::listeners(
        "
- policies: { requestHeaderModifier: { set: { x-tenant: blue } } }
  routes:
  - matches: [{ headers: [{ name: x-tenant, value: { exact: blue } }] }]
    policies: { directResponse: { status: 200, body: blue } }
  - policies: { directResponse: { status: 200, body: other } }
",
    );
    let gateway = Gateway::start(&yaml).await;
    let reply = gateway.client().get("/").header("x-tenant", "red").await.expect_status(200);
    assert_eq!(reply.text(), "blue");
    gateway.stop().await;
}
