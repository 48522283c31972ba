//! Who may do what, and who may connect.

use tests::{Backend, Gateway, RawClient, config};

#[tokio::test]
async fn rules_decide_who_may_do_what_and_the_log_says_which() {
    let backend = Backend::echo();
    let rules = "authorization: { rules: [
        { deny: 'request.path.startsWith(\"/internal\")' },
        { require: 'has(request.headers[\"x-team\"])' },
        { allow: 'request.method == \"GET\"' },
        'request.headers[\"x-team\"] == \"ops\"' ] }";
    let gateway = Gateway::start(&config::route(&backend, rules)).await;
    let client = gateway.client();
    client.get("/a").header("x-team", "dev").await.expect_status(200);
    client.post("/a").header("x-team", "ops").await.expect_status(200);
    let reply = client.get("/internal").header("x-team", "ops").await.expect_status(403);
    assert_eq!(reply.text(), "forbidden\n", "which rule it was is not for the client");
    client.get("/a").await.expect_status(403);
    client.post("/a").header("x-team", "dev").await.expect_status(403);
    assert_eq!(backend.stats().requests(), 2);
    let lines = gateway.wait_access(5).await;
    let rules: Vec<_> = lines.iter().map(|it| it["policy.rule"].as_u64()).collect();
    assert_eq!(rules, [None, None, Some(0), Some(1), None]);
    assert_eq!(lines[4]["reason"], "Authorization", "{}", lines[4]);
    assert!(lines[4]["policy"].as_str().is_some_and(|it| it.ends_with("/authorization")), "{}", lines[4]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_denial_that_cannot_be_evaluated_denies() {
    let backend = Backend::echo();
    let gateway =
        Gateway::start(&config::route(&backend, "authorization: { rules: [{ deny: 'jwt.admin == false' }] }")).await;
    gateway.client().get("/").await.expect_status(403);
    gateway.stop().await;
}

#[tokio::test]
async fn rules_of_levels_add_up_unless_one_overrides() {
    let backend = Backend::echo();
    let policy = |inheritance: &str| {
        format!(
            "policies:
- name: {{ name: p }}
  target: {{ gateway: {{ gatewayName: default }} }}
  inheritance: {inheritance}
  policy: {{ authorization: {{ rules: [{{ deny: 'request.path == \"/x\"' }}, 'request.path == \"/a\"'] }} }}
"
        )
    };
    let route = config::route(&backend, "authorization: { rules: ['request.path == \"/b\"'] }");
    for (inheritance, b) in [("default", 200), ("override", 403)] {
        let gateway = Gateway::start(&(route.clone() + &policy(inheritance))).await;
        let client = gateway.client();
        client.get("/a").await.expect_status(200);
        client.get("/b").await.expect_status(b);
        client.get("/c").await.expect_status(403);
        client.get("/x").await.expect_status(403);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_backend_has_rules_of_its_own() {
    let backend = Backend::echo();
    let rules = "authorization: { rules: [{ require: 'backend.name != \"\" && request.path == \"/a\"' }] }";
    let gateway = Gateway::start(&config::backend(&backend, rules)).await;
    gateway.client().get("/a").await.expect_status(200);
    gateway.client().get("/b").await.expect_status(403);
    assert_eq!(backend.stats().requests(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn rules_before_routing_and_in_shadow_mode() {
    let backend = Backend::echo();
    let yaml = format!(
        "gateways:
  default:
    port: 0
    address: 127.0.0.1
    authorization: {{ rules: [{{ deny: 'request.path == \"/x\"' }}] }}
routes:
- policies: {{ authorization: {{ mode: shadow, rules: ['request.path == \"/a\"'] }} }}
  backends: [{{ host: '{}' }}]
",
        backend.addr()
    );
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    client.get("/x").await.expect_status(403);
    client.get("/a").await.expect_status(200);
    client.get("/b").await.expect_status(200);
    let lines = gateway.wait_access(3).await;
    assert!(lines[1]["policy.wouldDeny"].is_null(), "{}", lines[1]);
    assert!(lines[2]["policy.wouldDeny"].as_str().is_some_and(|it| it.ends_with("/authorization")), "{}", lines[2]);
    gateway.stop().await;
}

#[tokio::test]
async fn connections_that_may_not_be_are_closed_and_counted() {
    let backend = Backend::echo();
    for (rules, open) in [
        ("[{ deny: 'source.address == \"127.0.0.1\"' }]", false),
        ("['cidr(\"10.0.0.0/8\").containsIP(source.address)']", false),
        ("['cidr(\"127.0.0.0/8\").containsIP(source.address)', { require: 'source.port > 0' }]", true),
        ("[{ deny: 'source.identity.namespace == \"a\"' }]", false),
    ] {
        let yaml = format!("frontendPolicies:\n  networkAuthorization: {{ rules: {rules} }}\n");
        let gateway = Gateway::start(&(yaml + &config::route(&backend, ""))).await;
        let mut raw = RawClient::connect(gateway.addr(0)).await;
        // The connection may be closed before this is written.
        let _ = raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(raw.reply().await.is_ok(), open, "{rules}");
        let name = "agentgateway_connections_refused_total";
        let refused = gateway.metric_sum(name, &[("reason", "network_authorization")]).await;
        assert_eq!(refused, if open { 0.0 } else { 1.0 }, "{rules}");
        gateway.stop().await;
    }
}
