//! Bodies that expressions read: there where they are read, and streaming everywhere else.

use serde_json::json;
use tests::http::{channel, pattern};
use tests::{Backend, Client, Gateway, config};

#[tokio::test]
async fn rules_decide_by_the_body_of_a_request() {
    let backend = Backend::echo();
    let policies = "authorization: { rules: [{ deny: 'json(request.body).amount > 100' }] }";
    let head = "frontendPolicies: { http: { maxBufferSize: 10000 } }\n";
    let gateway = Gateway::start(&format!("{head}{}", config::route(&backend, policies))).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        let reply = client.post("/").json(&json!({ "amount": 7 })).await.expect_status(200);
        assert_eq!(reply.json()["body"]["text"], "{\"amount\":7}", "the backend gets what was read");
        client.post("/").json(&json!({ "amount": 101 })).await.expect_status(403);
        // What cannot be judged is refused.
        client.post("/").body("not json").await.expect_status(403);
        client.post("/").body(pattern(300_000)).await.expect_status(413);
    }
    assert_eq!(backend.stats().requests(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn rules_before_routing_and_of_a_backend_read_bodies_too() {
    let backend = Backend::echo();
    let yaml = format!(
        "gateways:
  default:
    port: 0
    address: 127.0.0.1
    authorization: {{ rules: [{{ deny: 'request.body == b\"gateway\"' }}] }}
routes:
- backends:
  - host: '{}'
    policies: {{ authorization: {{ rules: [{{ deny: 'request.body == b\"backend\"' }}] }} }}
",
        backend.addr()
    );
    let gateway = Gateway::start(&yaml).await;
    for (body, status) in [("gateway", 403), ("backend", 403), ("neither", 200)] {
        gateway.client().post("/").body(body).await.expect_status(status);
    }
    assert_eq!(backend.stats().last().text(), "neither");
    gateway.stop().await;
}

#[tokio::test]
async fn quotas_and_delays_are_told_apart_by_bodies() {
    let backend = Backend::echo();
    let policies = "localRateLimit: [{ maxTokens: 1, tokensPerFill: 1, fillInterval: 1h, key: 'json(request.body).user' }], \
                    delay: { duration: 'int(json(request.body).wait)' }, timeout: { requestTimeout: 2s }";
    let gateway = Gateway::start(&config::route(&backend, policies)).await;
    let client = gateway.client();
    let ask = |user: &str, wait: u32| client.post("/").json(&json!({ "user": user, "wait": wait }));
    ask("a", 0).await.expect_status(200);
    ask("b", 1).await.expect_status(200);
    ask("a", 0).await.expect_status(429);
    ask("c", 60_000).await.expect_status(504);
    gateway.stop().await;
}

#[tokio::test]
async fn responses_are_changed_by_what_was_asked() {
    let backend = Backend::echo();
    let policies = "transformations: { response: { set: { x-asked: 'string(request.body)' } } }";
    let gateway = Gateway::start(&config::route(&backend, policies)).await;
    let reply = gateway.client().post("/").body("hello").await.expect_status(200);
    assert_eq!(reply.header("x-asked"), Some("hello"));
    gateway.stop().await;
}

#[tokio::test]
async fn the_log_reads_bodies_as_they_pass() {
    let backend = Backend::echo();
    let yaml = "frontendPolicies:
  http: { maxBufferSize: 10000 }
  accessLog:
    add:
      asked: string(request.body)
      begun: size(request.bodyPrefix)
      said: size(response.body)
"
    .to_owned()
        + &config::routes(&format!(
            "- matches: [{{ path: {{ exact: /own }} }}]
  policies: {{ directResponse: {{ status: 200, body: 'twelve bytes' }} }}
- backends: [{{ host: '{}' }}]
",
            backend.addr()
        ));
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    let reply = client.post("/x").body("hello").await.expect_status(200);
    let length = reply.body.len();
    // Nothing waits for a body that is only logged.
    let (sender, body) = channel();
    let call = tokio::spawn(client.post("/stream").stream_body(body).try_send());
    assert!(sender.data("first").await);
    tests::eventually(tests::wait::PATIENCE, || async { backend.stats().requests() == 2 }).await;
    assert!(sender.data(pattern(20_000)).await);
    drop(sender);
    call.await.expect("the client").expect("an answer").expect_status(200);
    client.get("/own").await.expect_status(200);
    let lines = gateway.wait_access(3).await;
    assert_eq!((&lines[0]["asked"], &lines[0]["said"]), (&json!("hello"), &json!(length)), "{}", lines[0]);
    assert_eq!((&lines[1]["asked"], &lines[1]["begun"]), (&json!(null), &json!(10_000)), "{}", lines[1]);
    assert_eq!(lines[2]["said"], 12, "{}", lines[2]);
    gateway.stop().await;
}

#[tokio::test]
async fn the_log_reads_answers_that_come_before_a_route() {
    let backend = Backend::echo();
    let yaml = format!(
        "frontendPolicies:
  accessLog:
    add: {{ said: string(response.body), kind: 'response.headers[\"content-type\"]', left: size(response.bodyPrefix) }}
binds:
- port: 0
  address: 127.0.0.1
  listeners:
  - hostname: a.test
    policies:
      authorization: {{ rules: [{{ deny: 'request.path == \"/denied\"' }}] }}
      csrf: {{}}
    routes:
    - matches: [{{ path: {{ pathPrefix: /there }} }}]
      policies: {{ timeout: {{ requestTimeout: 9s }}, apiKey: {{ keys: [{{ key: k }}] }} }}
      backends: [{{ host: '{}' }}]
",
        backend.addr()
    );
    let gateway = Gateway::start(&yaml).await;
    let h1 = Client::h1(gateway.addr(0)).host("a.test");
    let h2 = Client::h2c(gateway.addr(0)).host("a.test");
    let mut said = Vec::new();
    for (client, other) in [(&h1, Client::h1(gateway.addr(0))), (&h2, Client::h2c(gateway.addr(0)))] {
        let other = other.host("b.test");
        for (call, status) in [
            (client.get("/denied"), 403),
            (client.post("/there").header("origin", "https://evil.test"), 403),
            (client.get("/nowhere"), 404),
            (client.get("/there"), 401),
            (other.get("/there"), 404),
            (client.get("/a%00"), 400),
        ] {
            let reply = call.await.expect_status(status);
            assert!(!reply.text().is_empty(), "{status}");
            said.push(reply.text());
        }
    }
    let lines = gateway.wait_access(said.len()).await;
    let mut logged: Vec<_> = lines.iter().map(|it| it["said"].as_str().unwrap_or_default().to_owned()).collect();
    logged.sort();
    said.sort();
    assert_eq!(logged, said, "{lines:?}");
    assert!(lines.iter().all(|it| it["kind"] == "text/plain; charset=utf-8"), "{lines:?}");
    assert!(lines.iter().all(|it| it["left"] == it["said"].as_str().map_or(0, str::len)), "{lines:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_nothing_reads_is_not_waited_for() {
    let backend = Backend::echo();
    // Conditions and entries that do not apply read nothing either.
    let policies = "authorization: { rules: ['request.method == \"POST\"'] }, transformations: { conditional: [\
        { condition: 'request.path == \"/whole\"', request: { set: { x-size: 'string(size(request.body))' } } }, \
        { request: { set: { x-size: '\"unknown\"' } } }] }";
    let gateway = Gateway::start(&config::route(&backend, policies)).await;
    let client = gateway.client();
    let (sender, body) = channel();
    let call = tokio::spawn(client.post("/stream").stream_body(body).try_send());
    assert!(sender.data("first").await);
    tests::eventually(tests::wait::PATIENCE, || async { backend.stats().requests() == 1 }).await;
    drop(sender);
    call.await.expect("the client").expect("an answer").expect_status(200);
    assert_eq!(backend.stats().last().header("x-size"), Some("unknown"));
    client.post("/whole").body("12345").await.expect_status(200);
    assert_eq!(backend.stats().last().header("x-size"), Some("5"));
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_and_routes_are_not_named_where_they_never_are() {
    let backend = Backend::echo();
    for (policy, wanted) in [
        ("health: { unhealthyExpression: 'response.code > 1 || response.body == b\"\"' }", "(at 1:30)"),
        ("sessionAffinity: { source: 'request.body' }", "`request.body` cannot be read here"),
    ] {
        let refused = Gateway::start_expect_failure(&config::backend(&backend, policy)).await;
        assert!(refused.log.contains(wanted), "{}", refused.log);
    }
    let yaml = "gateways: { default: { port: 0, authorization: { rules: ['route.name == \"a\"'] } } }\n";
    let refused = Gateway::start_expect_failure(yaml).await;
    assert!(refused.log.contains("`route.name` does not exist before a route is selected (at 1:6)"), "{}", refused.log);
    assert!(refused.log.contains("authorization.rules[0]"), "{}", refused.log);
}
