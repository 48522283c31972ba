//! Policies of which one of several applies, by what the request is like.

use tests::backend::{Asked, answer};
use tests::control::Plane;
use tests::pb::{field, holds, number};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, config};

const ANSWERS: &str = "directResponse: { conditional: [\
    { condition: 'request.headers[\"x-a\"] == \"1\"', status: 201, body: one }, \
    { condition: 'request.path == \"/two\"', status: 202, body: two }] }";

#[tokio::test]
async fn the_first_that_holds_answers_and_without_one_the_backend_does() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, ANSWERS)).await;
    let client = gateway.client();
    assert_eq!(client.get("/two").header("x-a", "1").await.expect_status(201).text(), "one");
    assert_eq!(client.get("/two").await.expect_status(202).text(), "two");
    client.get("/three").header("x-a", "2").await.expect_status(200);
    assert_eq!(backend.stats().requests(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn conditions_see_what_policies_before_them_have_found_out() {
    let backend = Backend::echo();
    let policies = "apiKey: { mode: optional, keys: [{ key: k, metadata: { tier: gold } }] }, \
        localRateLimit: { conditional: [\
        { condition: 'apiKey.tier == \"gold\"', maxTokens: 3, tokensPerFill: 1, fillInterval: 1h }, \
        { maxTokens: 1, tokensPerFill: 1, fillInterval: 1h, name: others }] }";
    let gateway = Gateway::start(&config::route(&backend, policies)).await;
    let client = gateway.client();
    let gold = || client.get("/").header("authorization", "Bearer k");
    client.get("/").await.expect_status(200);
    let refused = client.get("/").await.expect_status(429);
    assert!(refused.header("ratelimit").is_some_and(|it| it.starts_with("\"others\"")), "{:?}", refused.headers);
    for _ in 0..3 {
        gold().await.expect_status(200);
    }
    gold().await.expect_status(429);
    let line = gateway.wait_access(6).await.remove(5);
    assert!(line["policy"].as_str().is_some_and(|it| it.ends_with("/localRateLimit")), "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_response_is_changed_by_the_entry_of_its_request() {
    let backend = Backend::echo();
    // The first entry changes what the second asks for: what was decided stays decided.
    let policies = "transformations: { conditional: [\
        { condition: 'request.path == \"/a\"', request: { set: { ':path': '\"/b\"' } }, response: { set: { x-by: '\"a\"' } } }, \
        { condition: 'request.path == \"/b\"', response: { set: { x-by: '\"b\"' }, body: '\"changed\"' } }] }";
    let gateway = Gateway::start(&config::route(&backend, policies)).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        let reply = client.get("/a").await.expect_status(200);
        assert_eq!((reply.header("x-by"), reply.json()["path"].as_str()), (Some("a"), Some("/b")));
        let reply = client.get("/b").await.expect_status(200);
        assert_eq!((reply.header("x-by"), reply.text().as_str()), (Some("b"), "changed"));
        assert_eq!(client.get("/c").await.expect_status(200).header("x-by"), None);
        // Held back only where an entry that applies looks at the body.
        let mut events = client.get("/a").stream().await;
        while events.chunk().await.expect("a chunk").is_some() {}
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_more_specific_policy_replaces_the_whole_list_unless_it_is_locked() {
    let backend = Backend::echo();
    for (inheritance, status) in [("default", 203), ("override", 202)] {
        let yaml = config::routes(&format!(
            "- name: mine\n  policies: {{ directResponse: {{ status: 203 }} }}\n  backends: [{{ host: '{}' }}]\n",
            backend.addr()
        )) + &format!(
            "policies:\n- name: {{ name: p }}\n  target: {{ gateway: {{ gatewayName: default }} }}\n  inheritance: {inheritance}\n  policy: {{ {ANSWERS} }}\n"
        );
        let gateway = Gateway::start(&yaml).await;
        gateway.client().get("/two").await.expect_status(status);
        let dump = gateway.admin("GET", "/config_dump").await.text();
        let key = dump.split('"').find(|it| it.starts_with("bind/") && it.contains("/default/mine")).expect("a route");
        let path = format!("/config/effective?route={}", key.replace('#', "%23"));
        let shown = gateway.admin("GET", &path).await.text();
        assert_eq!(shown.contains("conditional"), status == 202, "{shown}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn buckets_belong_to_conditions_over_reloads_and_successors() {
    let backend = Backend::echo();
    let limits = |first: &str, second: &str| {
        let rule = "maxTokens: 1, tokensPerFill: 1, fillInterval: 1h";
        let entry = |path: &str| format!("{{ condition: 'request.path == \"{path}\"', {rule} }}");
        let policies = format!("localRateLimit: {{ conditional: [{}, {}] }}", entry(first), entry(second));
        format!("config:\n  handoffSocket: '{{{{dir}}}}/handoff.sock'\n{}", config::route(&backend, &policies))
    };
    let mut gateway = Gateway::start(&limits("/a", "/b")).await;
    let addr = gateway.addr(0);
    let ask = |path: &'static str| Client::h1(addr).get(path);
    ask("/a").await.expect_status(200);
    gateway.reload(&limits("/b", "/a")).await;
    ask("/a").await.expect_status(429);
    ask("/b").await.expect_status(200);
    let successor = gateway.succeed().await;
    gateway.wait_succeeded(PATIENCE).await;
    ask("/a").await.expect_status(429);
    ask("/b").await.expect_status(429);
    ask("/c").await.expect_status(200);
    successor.stop(PATIENCE).await;
}

/// Refuses whoever says `eve`, both as a question of authorization and as one of quota.
fn referee() -> Backend {
    Backend::http(|asked: Asked| async move {
        let eve = holds(&asked.body, "eve");
        if asked.uri.path().ends_with("/ShouldRateLimit") {
            return answer::grpc(&number(1, if eve { 2 } else { 1 }));
        }
        answer::grpc(&field(1, number(1, if eve { 7 } else { 0 })))
    })
}

#[tokio::test]
async fn only_the_server_of_the_entry_that_applies_is_asked() {
    let (inner, outer, dead, backend) = (referee(), referee(), Backend::dead().await, Backend::echo());
    let policies = format!(
        "extAuthz: {{ conditional: [\
         {{ condition: 'request.path == \"/free\"', host: '{0}', failureMode: allow }}, \
         {{ condition: 'request.path == \"/in\"', host: '{1}', includeRequestBody: {{ maxRequestBytes: 100 }} }}, \
         {{ host: '{2}' }}] }}, \
         remoteRateLimit: {{ conditional: [\
         {{ condition: 'request.headers[\"x-user\"] != \"\"', host: '{2}', domain: d, \
            descriptors: [{{ entries: [{{ key: user, value: 'request.headers[\"x-user\"]' }}] }}] }}] }}",
        dead.addr(),
        inner.addr(),
        outer.addr(),
    );
    let document = config::route(&backend, &policies);
    let plane = Plane::start(&document, &[]).await;
    let remote =
        format!("config:\n  xdsAddress: 'http://{}'\n  namespace: default\n  gateway: default\n", plane.addr());
    for document in [document, remote] {
        let gateway = Gateway::start(&document).await;
        let addr = gateway.listens("bind/127.0.0.1#0").await;
        for client in [Client::h1(addr), Client::h2c(addr)] {
            let (before, others) = (inner.stats().requests(), outer.stats().requests());
            let asked = || (inner.stats().requests() - before, outer.stats().requests() - others);
            client.get("/free").await.expect_status(200);
            assert_eq!(asked(), (0, 0), "the server that is not there may fail open");
            client.post("/in").body("adam").await.expect_status(200);
            client.post("/in").body("eve").await.expect_status(403);
            client.post("/in").body("x".repeat(101)).await.expect_status(413);
            assert_eq!(asked(), (2, 0), "the body is read for this entry, and asked about where it fits");
            client.post("/else").body("eve").await.expect_status(200);
            assert_eq!(asked(), (2, 1), "of others only the head is told");
            client.get("/free").header("x-user", "eve").await.expect_status(429);
            client.get("/free").header("x-user", "adam").await.expect_status(200);
            assert_eq!(asked(), (2, 3), "quotas are asked for where there is a user");
        }
        gateway.stop().await;
    }
    plane.stop().await;
}

#[tokio::test]
async fn before_routing_a_condition_says_who_is_asked() {
    let (referee, backend) = (referee(), Backend::echo());
    let yaml = config::listeners(&format!(
        "- policies: {{ extAuthz: {{ conditional: [{{ condition: 'request.headers[\"x-user\"] != \"\"', host: '{}' }}] }} }}\n  routes: [{{ backends: [{{ host: '{}' }}] }}]\n",
        referee.addr(),
        backend.addr()
    ));
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    client.get("/eve").await.expect_status(200);
    client.get("/").header("x-user", "eve").await.expect_status(403);
    client.get("/").header("x-user", "adam").await.expect_status(200);
    assert_eq!(referee.stats().requests(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn entries_of_one_list_remember_apart() {
    let (inner, outer, backend) = (referee(), referee(), Backend::echo());
    let cache = "cache: { key: ['1'], ttl: 'duration(\"1h\")' }";
    let policies = format!(
        "extAuthz: {{ conditional: [{{ condition: 'request.path == \"/in\"', host: '{}', {cache} }}, {{ host: '{}', {cache} }}] }}",
        inner.addr(),
        outer.addr(),
    );
    let gateway = Gateway::start(&config::route(&backend, &policies)).await;
    let client = gateway.client();
    for _ in 0..2 {
        client.get("/in").await.expect_status(200);
        client.get("/eve").await.expect_status(403);
    }
    assert_eq!((inner.stats().requests(), outer.stats().requests()), (1, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn at_a_backend_conditions_are_refused() {
    let yaml = "backends: [{ name: b, host: '127.0.0.1:1' }]
policies:
- name: { name: p }
  target: { backend: { backend: { name: b } } }
  policy: { transformations: { conditional: [{ condition: 'true', request: { remove: [x] } }] } }
";
    let refused = Gateway::start_expect_failure(yaml).await;
    assert!(refused.log.contains("conditions are asked before a backend is drawn"), "{}", refused.log);
}
