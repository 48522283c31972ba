//! Policies that answer themselves: redirects, direct responses, CORS, network rules.

use http::Method;
use tests::{Backend, Gateway, RawClient, config};

#[tokio::test]
async fn redirects_name_the_new_place() {
    let route = |path: &str, policy: &str| {
        format!(
            "- matches: [{{ path: {{ pathPrefix: {path} }} }}]\n  policies: {{ requestRedirect: {{ {policy} }} }}\n"
        )
    };
    let yaml = route("/tls", "scheme: https, status: 301")
        + &route("/host", "authority: { full: 'new.example' }")
        + &route("/port", "authority: { port: 8443 }, scheme: https, status: 308")
        + &route("/path", "path: { prefix: /new }, status: 307")
        + &route("/whole", "path: { full: /only }");
    let gateway = Gateway::start(&config::routes(&yaml)).await;
    for (path, status, location) in [
        ("/tls/a?x=1", 301, "https://old.example/tls/a?x=1"),
        ("/host/a", 302, "http://new.example/host/a"),
        ("/port/a", 308, "https://old.example:8443/port/a"),
        ("/path/a?x=1", 307, "http://old.example/new/a?x=1"),
        ("/whole/a?x=1", 302, "http://old.example/only?x=1"),
    ] {
        let reply = gateway.client().host("old.example").get(path).await.expect_status(status);
        let got = reply.header("location").expect("a Location").to_owned();
        let port = gateway.addr(0).port();
        assert_eq!(got.replace(&format!("old.example:{port}"), "old.example"), location, "{path}");
    }
    let line = gateway.wait_access(1).await.remove(0);
    assert_eq!(line["reason"], "DirectResponse", "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_direct_response_keeps_the_connection_even_with_a_body_unread() {
    let gateway = Gateway::start(&config::routes(
        "- policies: { directResponse: { status: 418, body: 'short and stout', headers: { x-kind: '\"teapot\"' } } }\n",
    ))
    .await;
    let client = gateway.client();
    for _ in 0..3 {
        let reply = client.post("/x").body("some body").await.expect_status(418);
        assert_eq!((reply.text().as_str(), reply.header("x-kind")), ("short and stout", Some("teapot")));
    }
    assert_eq!(client.connections(), 1);
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let reply = raw.reply_to_head().await.expect("an answer");
    assert_eq!((reply.status.as_u16(), reply.header("content-length")), (418, Some("15")));
    gateway.stop().await;
}

#[tokio::test]
async fn cors_answers_preflights_and_marks_answers() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(
        &backend,
        "cors: { allowOrigins: ['https://app.example', 'https://*.wide.example'], allowMethods: [GET, PUT], allowHeaders: [x-a], exposeHeaders: [x-b], allowCredentials: true, maxAge: 10m }",
    ))
    .await;
    let client = gateway.client();
    let preflight = |origin: &'static str| {
        client.call(Method::OPTIONS, "/x").header("origin", origin).header("access-control-request-method", "PUT")
    };
    let reply = preflight("https://app.example").await.expect_status(200);
    let header = |name: &str| reply.header(&format!("access-control-{name}")).unwrap_or_default().to_owned();
    assert_eq!(header("allow-origin"), "https://app.example");
    assert_eq!(header("allow-methods"), "GET, PUT");
    assert_eq!((header("allow-headers"), header("max-age")), ("x-a".to_owned(), "600".to_owned()));
    assert_eq!(header("allow-credentials"), "true");
    let reply = preflight("https://evil.example").await.expect_status(200);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert_eq!(backend.stats().requests(), 0, "preflights end here");
    for origin in ["https://app.example", "https://a.wide.example"] {
        let reply = client.get("/status/500").header("origin", origin).await.expect_status(500);
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin), "errors carry it too");
        assert_eq!(reply.header("access-control-expose-headers"), Some("x-b"));
        assert!(reply.header("vary").is_some_and(|it| it.to_lowercase().contains("origin")), "caches must know");
    }
    let reply = client.get("/").header("origin", "https://evil.example").await.expect_status(200);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let reply = client.get("/").await.expect_status(200);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn network_rules_refuse_with_403() {
    let backend = Backend::echo();
    for (policy, status) in [
        ("allow: [127.0.0.0/8]", 200),
        ("allow: [10.0.0.0/8]", 403),
        ("allow: [127.0.0.0/8], deny: [127.0.0.1]", 403),
        ("deny: [10.0.0.0/8]", 200),
    ] {
        let gateway = Gateway::start(&config::route(&backend, &format!("ipAccess: {{ {policy} }}"))).await;
        gateway.client().get("/").await.expect_status(status);
        let line = gateway.wait_access(1).await.remove(0);
        assert_eq!(line["reason"] == "IpAccess", status == 403, "{line}");
        gateway.stop().await;
    }
}
