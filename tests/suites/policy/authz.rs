//! `extAuthz`: real authorization servers, over gRPC and over HTTP, good ones and bad ones.

use http::HeaderName;
use tests::backend::{Answer, Asked, answer};
use tests::pb::{field, holds, number};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, GrpcClient, RawClient, config, eventually};
use tokio::io::AsyncReadExt;

/// `HeaderValueOption`
fn header(name: &str, value: &str) -> Vec<u8> {
    field(1, [field(1, name), field(2, value)].concat())
}

/// Allows whoever has a good token; says who it is, what tier, and takes the token away.
fn check(asked: &Asked) -> Answer {
    assert_eq!(asked.uri.path(), "/envoy.service.auth.v3.Authorization/Check");
    if !holds(&asked.body, "Bearer good") {
        let denied =
            [field(1, number(1, 401)), field(2, header("www-authenticate", "Bearer")), field(3, "who are you")];
        return answer::grpc(&[field(1, number(1, 16)), field(2, denied.concat())].concat());
    }
    let query = field(7, [field(1, "tier"), field(2, "gold&admin=1")].concat());
    let allowed = [
        field(2, header("x-user", "me")),
        field(2, header("content-length", "1")),
        field(5, "authorization"),
        field(6, header("x-checked", "yes")),
        query,
    ];
    answer::grpc(&[field(1, number(1, 0)), field(3, allowed.concat())].concat())
}

fn authz() -> Backend {
    Backend::http(|asked| async move { check(&asked) })
}

fn policy(authz: &Backend, more: &str) -> String {
    format!("extAuthz: {{ host: '{}', {more} }}", authz.addr())
}

#[tokio::test]
async fn a_grpc_server_allows_changes_and_denies() {
    let (authz, backend) = (authz(), Backend::echo());
    let gateway = Gateway::start(&config::route(&backend, &policy(&authz, ""))).await;
    let client = gateway.client();
    let reply = client.post("/p?a=1").header("authorization", "Bearer good").body("hello").await.expect_status(200);
    assert_eq!(reply.header("x-checked"), Some("yes"));
    let seen = backend.stats().last();
    assert_eq!((seen.header("x-user"), seen.header("authorization")), (Some("me"), None));
    assert_eq!((seen.uri.query(), seen.text().as_str()), (Some("a=1&tier=gold%26admin%3D1"), "hello"));
    let reply = client.get("/p").header("x-user", "forged").await.expect_status(401);
    assert_eq!((reply.header("www-authenticate"), reply.text().as_str()), (Some("Bearer"), "who are you"));
    assert_eq!(backend.stats().requests(), 1, "a denied request goes nowhere");
    assert_eq!(authz.stats().connections(), 1, "calls share a connection");
    let grpc = GrpcClient::new(Client::h2c(gateway.addr(0)).host("grpc.example"));
    let reply = grpc.try_stream("/test.Echo/Unary", &[b""], &[]).await.expect("an answer");
    assert_eq!(reply.status(), Some(16), "in gRPC it is Unauthenticated");
    let lines = gateway.wait_access(3).await;
    let reasons: Vec<_> = lines.iter().map(|it| it["reason"].as_str().unwrap_or_default()).collect();
    assert_eq!(reasons, ["", "ExtAuth", "ExtAuth"]);
    let calls = gateway.metric_sum("agentgateway_policy_calls_total", &[("subtype", "ExtAuthz"), ("outcome", "ok")]);
    assert_eq!(calls.await, 3.0);
    gateway.stop().await;
}

#[tokio::test]
async fn it_holds_before_routing_and_at_a_backend() {
    let gatekeeper = Backend::http(|asked: Asked| async move {
        let path = if holds(&asked.body, "/inside") { "/outside" } else { "/inside/x" };
        answer::grpc(&[field(1, number(1, 0)), field(3, field(2, header(":path", path)))].concat())
    });
    let (authz, backend) = (authz(), Backend::echo());
    let yaml = format!(
        "binds:
- port: 0
  address: 127.0.0.1
  listeners:
  - policies: {{ {} }}
    routes:
    - matches: [{{ path: {{ pathPrefix: /inside }} }}]
      backends: [{{ host: '{}', policies: {{ {} }} }}]
",
        policy(&gatekeeper, ""),
        backend.addr(),
        policy(&authz, "")
    );
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    client.get("/anything").header("authorization", "Bearer good").await.expect_status(200);
    assert_eq!(backend.stats().last().uri.path(), "/inside/x", "routing sees the path that was set");
    client.get("/anything").await.expect_status(401);
    client.get("/inside").header("authorization", "Bearer good").await.expect_status(404);
    assert_eq!(backend.stats().requests(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_reach_the_server_and_the_backend() {
    let (authz, backend) = (authz(), Backend::echo());
    let body = |more: &str| policy(&authz, &format!("includeRequestBody: {{ maxRequestBytes: 1000{more} }}"));
    let whole = Gateway::start(&config::route(&backend, &body(""))).await;
    let partial = Gateway::start(&config::route(&backend, &body(", allowPartialMessage: true"))).await;
    let large = "y".repeat(200_000);
    for client in [Client::h1(whole.addr(0)), Client::h2c(whole.addr(0))] {
        let ask = |body: String| client.post("/").header("authorization", "Bearer good").body(body);
        ask("small body".into()).await.expect_status(200);
        assert!(holds(&authz.stats().last().body, "small body"));
        assert_eq!(backend.stats().last().text(), "small body");
        let asked = authz.stats().requests();
        ask(large.clone()).await.expect_status(413);
        assert_eq!(authz.stats().requests(), asked, "the server is not bothered with it");
        client.get("/").header("authorization", "Bearer good").await.expect_status(200);
    }
    for client in [Client::h1(partial.addr(0)), Client::h2c(partial.addr(0))] {
        let ask = client.post("/").header("authorization", "Bearer good").body(large.clone());
        ask.await.expect_status(200);
        assert_eq!(backend.stats().last().body.len(), large.len(), "the backend gets all of it");
        let told = authz.stats().last().body;
        assert!(told.len() < 3000 && holds(&told, "x-envoy-auth-partial-body") && holds(&told, "true"));
    }
    whole.stop().await;
    partial.stop().await;
}

#[tokio::test]
async fn a_server_in_trouble_is_met_by_the_failure_mode() {
    let backend = Backend::echo();
    let dead = Backend::dead().await;
    let mute = Backend::raw(|accepted| async move {
        let _held = accepted;
        std::future::pending().await
    });
    let noise = Backend::canned("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let empty = Backend::http(|_| async { answer::grpc(b"") });
    let liar = Backend::http(|_| async {
        answer::grpc(&[field(1, number(1, 0)), field(3, field(2, header("x-user", "a\r\nx-admin: 1")))].concat())
    });
    let endless = Backend::http(|_| async { answer::grpc(&vec![b'x'; 3 << 20]) });
    for (name, server) in
        [("dead", &dead), ("mute", &mute), ("noise", &noise), ("empty", &empty), ("liar", &liar), ("endless", &endless)]
    {
        for (mode, status) in [("deny", 403), ("{ denyWithStatus: 503 }", 503), ("allow", 200)] {
            let patience = if name == "mute" { "300ms" } else { "15s" };
            let terms = format!("failureMode: {mode}, policies: {{ http: {{ requestTimeout: {patience} }} }}");
            let yaml = config::routes(&format!(
                "- matches: [{{ path: {{ pathPrefix: /asked }} }}]\n  policies: {{ {} }}\n  backends: [{{ host: '{}' }}]\n- backends: [{{ host: '{}' }}]\n",
                policy(server, &terms),
                backend.addr(),
                backend.addr()
            ));
            let gateway = Gateway::start(&yaml).await;
            let client = gateway.client();
            let reply = client.get("/asked").header("authorization", "Bearer canary-7f3a").await;
            assert_eq!(reply.status.as_u16(), status, "{name} {mode}: {}", reply.text());
            if status == 200 {
                assert_eq!(backend.stats().last().header("x-admin"), None);
            }
            client.get("/other").await.expect_status(200);
            let line = gateway.wait_access(2).await.remove(0);
            assert!(line["error"].as_str().is_some_and(|it| it.starts_with("extAuthz: ")), "{name} {mode}: {line}");
            assert!(!gateway.log().text().contains("canary-7f3a"), "{name}: a token in the log");
            assert_eq!(
                gateway.metric_sum("agentgateway_policy_calls_total", &[("outcome", "ok")]).await,
                f64::from(u8::from(name == "liar")),
                "{name}"
            );
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn over_http_the_answer_is_taken_or_passed_on() {
    let authz = Backend::http(|asked: Asked| async move {
        let mut reply = match asked.uri.path() {
            "/check/ok" => answer::text(200, ""),
            "/check/login" => answer::text(401, "log in"),
            "/check/down" => answer::text(503, "down"),
            _ => answer::text(429, "too much"),
        };
        let seen = asked.header("authorization").unwrap_or("nobody").to_owned();
        let headers = reply.headers_mut();
        headers.insert("x-user", seen.parse().expect("a value"));
        headers.insert(HeaderName::from_static("retry-after"), "7".parse().expect("a value"));
        reply
    });
    let backend = Backend::echo();
    let http = "{ http: { path: '\"/check\" + request.path', includeResponseHeaders: [x-user, x-role], \
        redirect: '\"https://login.example.com/?to=\" + request.path' } }";
    let terms = format!("failureMode: allow, protocol: {http}");
    let gateway = Gateway::start(&config::route(&backend, &policy(&authz, &terms))).await;
    let client = gateway.client();
    client.get("/ok").header("authorization", "me").header("x-role", "admin").await.expect_status(200);
    let seen = backend.stats().last();
    assert_eq!((seen.header("x-user"), seen.header("x-role")), (Some("me"), None), "the server's word alone counts");
    let reply = client.get("/login").await.expect_status(302);
    assert_eq!(reply.header("location"), Some("https://login.example.com/?to=/login"));
    let reply = client.get("/else").await.expect_status(429);
    assert_eq!((reply.header("retry-after"), reply.text().as_str()), (Some("7"), "too much"));
    client.get("/down").await.expect_status(200);
    assert!(authz.stats().connections() < authz.stats().requests(), "connections are kept");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_remembered_survives_an_unrelated_change() {
    let (authz, backend) = (authz(), Backend::echo());
    let cache = "cache: { key: ['request.headers[\"authorization\"]'], ttl: 'duration(\"1h\")' }";
    let yaml = config::route(&backend, &policy(&authz, cache));
    let gateway = Gateway::start(&yaml).await;
    let ask = || async {
        let client = gateway.client();
        client.get("/").header("authorization", "Bearer good").await.expect_status(200);
        client.get("/").header("authorization", "Bearer bad").await.expect_status(401);
        authz.stats().requests()
    };
    assert_eq!((ask().await, ask().await), (2, 2));
    gateway.reload(&format!("{yaml}backends: [{{ name: other, host: '127.0.0.1:9' }}]\n")).await;
    assert_eq!(ask().await, 2, "another part of the document changed");
    gateway.reload(&yaml.replace("1h", "2h")).await;
    assert_eq!(ask().await, 4, "the policy changed");
    gateway.stop().await;
}

/// A message that lets the request pass and leaves `{"tier": "<tier>"}`.
fn leaves(tier: &str) -> Vec<u8> {
    let entry = [field(1, "tier"), field(2, field(3, tier))].concat();
    [field(1, number(1, 0)), field(4, field(1, entry))].concat()
}

#[tokio::test]
async fn what_the_server_leaves_is_there_for_rules_answers_and_the_log() {
    let authz = Backend::http(|asked: Asked| async move {
        answer::grpc(&leaves(if holds(&asked.body, "/gold") { "gold" } else { "iron" }))
    });
    let backend = Backend::echo();
    let more = "authorization: { rules: [{ allow: 'extauthz.tier == \"gold\"' }] }, \
        transformations: { response: { set: { x-tier: extauthz.tier } } }";
    let route = config::route(&backend, &format!("{}, {more}", policy(&authz, "")));
    let log = "frontendPolicies: { accessLog: { add: { tier: extauthz.tier } } }\n";
    let gateway = Gateway::start(&format!("{route}{log}")).await;
    let reply = gateway.client().get("/gold").await.expect_status(200);
    assert_eq!(reply.header("x-tier"), Some("gold"));
    gateway.client().get("/other").await.expect_status(403);
    let lines = gateway.wait_access(2).await;
    assert_eq!((&lines[0]["tier"], &lines[1]["tier"]), (&"gold".into(), &"iron".into()));
    assert_eq!(lines[1]["reason"], "Authorization");
    gateway.stop().await;
}

#[tokio::test]
async fn in_shadow_it_is_asked_and_refuses_and_changes_nothing() {
    let (authz, backend) = (authz(), Backend::echo());
    let gateway = Gateway::start(&config::route(&backend, &policy(&authz, "mode: shadow"))).await;
    let client = gateway.client();
    client.get("/").await.expect_status(200);
    client.get("/").header("authorization", "Bearer good").await.expect_status(200);
    let seen = backend.stats().last();
    assert_eq!((seen.header("x-user"), seen.header("authorization")), (None, Some("Bearer good")));
    assert_eq!(authz.stats().requests(), 2);
    let line = gateway.wait_access(2).await.remove(0);
    assert!(line["policy.wouldDeny"].as_str().is_some_and(|it| it.contains("extAuthz")), "{line}");
    let denied = [("policy", "extAuthz"), ("mode", "shadow")];
    assert_eq!(gateway.metric_sum("agentgateway_policy_denials_total", &denied).await, 1.0);
    gateway.stop().await;
}

#[tokio::test]
async fn the_message_of_a_grpc_call_can_be_sent_along() {
    let (authz, backend) = (authz(), Backend::grpc());
    let body = policy(&authz, "includeRequestBody: { maxRequestBytes: 1000, packAsBytes: true }");
    let gateway = Gateway::start(&config::route(&backend, &body)).await;
    let grpc = GrpcClient::new(Client::h2c(gateway.addr(0)).host("grpc.example"));
    let good = &[("authorization", "Bearer good")];
    let reply = grpc.unary("/test.Echo/Unary", b"a small message", good).await;
    assert_eq!((reply.status(), reply.texts().len()), (Some(0), 1), "{:?}", reply.message());
    assert!(holds(&authz.stats().last().body, "a small message"));
    let large = vec![b'z'; 5000];
    let reply = grpc.try_stream("/test.Echo/Unary", &[&large], good).await.expect("an answer");
    assert!(reply.status().is_some_and(|it| it != 0), "too large a message is refused");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_question() {
    let mute = Backend::raw(|mut accepted| async move {
        // It hears all, and says nothing.
        let _ = accepted.stream.read_to_end(&mut Vec::new()).await;
    });
    let backend = Backend::echo();
    let terms = "policies: { http: { requestTimeout: 1h } }, protocol: { http: {} }";
    let gateway = Gateway::start(&config::route(&backend, &policy(&mute, terms))).await;
    let mut client = RawClient::connect(gateway.addr(0)).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    eventually(PATIENCE, || async { mute.stats().open() == 1 }).await;
    drop(client);
    eventually(PATIENCE, || async { mute.stats().open() == 0 }).await;
    let line = gateway.wait_access(1).await.remove(0);
    assert_eq!(line["reason"], "ClientGone", "{line}");
    gateway.stop().await;
}
