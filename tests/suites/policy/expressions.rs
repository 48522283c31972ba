//! CEL where it decides and describes: logs, metric labels, further tries, health, affinity, the command line
//! and the admin server.

use serde_json::{Value, json};
use tests::{Backend, Gateway, config};

#[tokio::test]
async fn logs_and_metric_labels_are_made_of_the_request_and_its_answer() {
    let backend = Backend::echo();
    let head = "config:
  customFunctions: |
    tenant(headers) { default(headers['x-tenant'], 'nobody') }
  metrics: { fields: { add: { tenant: 'tenant(request.headers)', broken: 'jwt.sub' } } }
frontendPolicies:
  accessLog:
    filter: response.code != 204 && !request.path.startsWith('/quiet')
    add:
      tenant: tenant(request.headers)
      class: string(response.code / 100) + 'xx'
      slow: proxy.upstreamDuration > duration('1h')
      q: \"flatten({'one': request.uri.query('q')[0], 'two': size(request.uri)})\"
      absent: jwt.sub
      secret: '[request.headers[\"authorization\"]]'
      pod: env.gateway
";
    let gateway = Gateway::start(&format!("{head}{}", config::route(&backend, ""))).await;
    let client = gateway.client();
    client.get("/quiet").await.expect_status(200);
    let call = client.get("/loud?q=hush%20now").header("x-tenant", "acme").header("authorization", "hunter2");
    call.await.expect_status(200);
    let line = gateway.wait_access(1).await.remove(0);
    for (name, value) in [
        ("tenant", json!("acme")),
        ("class", json!("2xx")),
        ("slow", json!("false")),
        ("q.one", json!("hush now")),
        ("secret", json!("[\"<redacted>\"]")),
        ("pod", json!("default")),
        ("absent", Value::Null),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    let labels = [("tenant", "acme"), ("broken", "unknown"), ("status", "200")];
    assert!(gateway.metric_sum("agentgateway_requests_total", &labels).await >= 1.0, "{}", gateway.metrics().await);
    let nobody = [("tenant", "nobody")];
    assert!(gateway.metric_sum("agentgateway_requests_total", &nobody).await >= 1.0);
    assert!(!gateway.log().text().contains("hunter2"));
    gateway.stop().await;
}

#[tokio::test]
async fn conditions_decide_which_requests_and_answers_are_tried_again() {
    let backend = Backend::echo();
    let policy = "retry: { attempts: 2, precondition: 'request.method == \"GET\"', \
                  condition: 'response.code == 500 && request.path != \"/no\"' }";
    let gateway = Gateway::start(&config::route(&backend, policy)).await;
    let client = gateway.client();
    for (path, post, tries) in [("/x", false, 2), ("/no", false, 1), ("/x", true, 1)] {
        let before = backend.stats().requests();
        backend.stats().fail_next(1, 500);
        let call = if post { client.post(path) } else { client.get(path) };
        call.await.expect_status(if tries == 2 { 200 } else { 500 });
        assert_eq!(backend.stats().requests() - before, tries, "{path} {post}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_wrong_expression_is_refused_with_its_place() {
    let backend = Backend::echo();
    for (policy, wanted) in [
        (
            "retry: { codes: [503], condition: 'response.cod == 1' }",
            "`response` has no field `cod`; did you mean `code`?",
        ),
        ("retry: { codes: [503], precondition: 'response.code == 1' }", "`response.code` does not exist for a request"),
    ] {
        let refused = Gateway::start_expect_failure(&config::route(&backend, policy)).await;
        assert!(refused.log.contains(wanted), "{}", refused.log);
    }
    let wrong = "config:\n  customFunctions: 'a() { b() } b() { a() }'\n";
    let refused = Gateway::start_expect_failure(&format!("{wrong}{}", config::route(&backend, ""))).await;
    assert!(refused.log.contains("`a` calls itself"), "{}", refused.log);
}

#[tokio::test]
async fn an_expression_can_be_tried_out() {
    let ran = Gateway::run_cli(
        &["cel", "request.path + string(jwt.age)", "--data", "-"],
        r#"{"request": {"path": "/a"}, "jwt": {"age": 7}}"#,
    )
    .await;
    assert_eq!((ran.status.code(), String::from_utf8_lossy(&ran.stdout).trim()), (Some(0), "\"/a7\""));
    let ran = Gateway::run_cli(&["cel", "reqest.path"], "").await;
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("did you mean `request`? (at 1:1)"));

    let gateway = Gateway::start(&config::routes("- policies: { directResponse: { status: 200 } }\n")).await;
    for path in ["/api/cel", "/cel"] {
        let asked = json!({"expression": "request.headers['x'].startsWith('a')", "data": {"request": {"headers": {"x": "ab"}}}});
        let reply = gateway.socket("admin").post(path).json(&asked).await.expect_status(200).json();
        assert_eq!(reply, json!({"result": true, "error": null}));
    }
    let bomb = "[1,2,3,4,5,6,7,8,9,10]".to_owned();
    let bomb =
        format!("{bomb}.all(a, {bomb}.all(b, {bomb}.all(c, {bomb}.all(d, {bomb}.all(e, {bomb}.all(f, true))))))");
    let reply = gateway.socket("admin").post("/api/cel").json(&json!({"expression": bomb})).await;
    let reply = reply.expect_status(200).json();
    assert!(reply["error"].as_str().is_some_and(|it| it.contains("limit of steps")), "{reply}");
    gateway.socket("admin").post("/api/cel").body("{}").await.expect_status(400);
    gateway.socket("admin").post("/api/cel").body("x".repeat(5 << 20)).await.expect_status(413);
    gateway.socket("admin").get("/api/cel").await.expect_status(405);
    let foreign = gateway.socket("admin").post("/api/cel").header("origin", "http://evil.example").body("{}");
    foreign.await.expect_status(403);
    gateway.stop().await;
}
