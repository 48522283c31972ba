//! Policies of which one of several applies, by what the request is like.

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
