//! `transformations`, and direct responses with expressions.

use tests::http::{channel, pattern};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, GrpcClient, RawClient, WsClient, config};

fn clients(gateway: &Gateway) -> [Client; 2] {
    [Client::h1(gateway.addr(0)), Client::h2c(gateway.addr(0))]
}

/// A route with these transformations, under these terms for bodies.
fn site(backend: &Backend, transformations: &str) -> String {
    let route = config::routes(&format!(
        "
- policies:
    transformations: {transformations}
    retry: {{ attempts: 2, codes: [503], backoff: 1ms }}
    compression: {{ minBytes: 1 }}
  backends: [{{ host: '{}' }}]
",
        backend.addr()
    ));
    route + "frontendPolicies: { http: { maxBufferSize: 10000 } }\n"
}

#[tokio::test]
async fn requests_and_responses_change_on_the_way() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&site(
        &backend,
        r#"
      request:
        metadata: { user: 'request.headers["x-user"].lowerAscii()' }
        add: { x-add: 'string(1 + 1)' }
        set:
          x-user: metadata.user + "@" + request.host
          ':path': '"/v2" + request.path + "?from=" + metadata.user'
          ':method': '"PUT"'
          host: '"api.internal"'
          x-gone: request.headers["not-there"]
        remove: [x-debug]
      response:
        add: { x-user: metadata.user }
        set: { ':status': response.code + 1, x-path: request.path, server: '"gw"' }
"#,
    ))
    .await;
    for client in clients(&gateway) {
        let call = client.host("a.example").post("/p").header("x-user", "Me").header("x-debug", "1");
        let reply = call.header("x-gone", "old").header("x-add", "1").body("hello").await.expect_status(201);
        assert_eq!((reply.header("x-user"), reply.header("server")), (Some("me"), Some("gw")));
        assert_eq!(reply.header("x-path"), Some("/v2/p"));
        let seen = backend.stats().last();
        assert_eq!((seen.method.as_str(), seen.uri.path(), seen.uri.query()), ("PUT", "/v2/p", Some("from=me")));
        assert_eq!(seen.header("x-user"), Some("me@a.example"));
        assert_eq!((seen.header("x-gone"), seen.header("x-debug")), (None, None));
        assert_eq!(seen.headers.get_all("x-add").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(seen.headers.get_all("host").iter().next_back().map(|it| it.as_bytes()), Some(&b"api.internal"[..]));
        assert_eq!(seen.text(), "hello", "the body was not asked for");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_body_is_replaced_once_whatever_is_tried_again() {
    let backend = Backend::echo();
    let transformations =
        r#"{ request: { set: { x-size: 'size(request.body)' }, body: '{"n": json(request.body).n + 1}' } }"#;
    let gateway = Gateway::start(&site(&backend, transformations)).await;
    for client in clients(&gateway) {
        backend.stats().fail_next(1, 503);
        let reply = client.post("/x").header("content-encoding", "x").body(r#"{"n":1}"#).await.expect_status(200);
        assert_eq!(reply.json()["body"]["text"], r#"{"n":2}"#);
        let seen = backend.stats().last();
        assert_eq!((seen.header("x-size"), seen.header("content-length")), (Some("7"), Some("7")));
        assert_eq!((seen.header("content-encoding"), seen.header("x-retry-attempt")), (None, Some("1")));
        // Without a length, and in pieces.
        let (sender, body) = channel();
        let call = tokio::spawn(client.post("/x").stream_body(body).try_send());
        assert!(sender.data(r#"{"n":"#).await && sender.data("41}").await);
        drop(sender);
        let reply = call.await.expect("the client").expect("an answer").expect_status(200);
        assert_eq!(reply.json()["body"]["text"], r#"{"n":42}"#);
        assert_eq!(backend.stats().last().header("content-length"), Some("8"));
        // Connections are as good as before.
        client.post("/x").body(r#"{"n":5}"#).await.expect_status(200);
        assert!(client.is_alone(), "one connection for all of it");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_fails_is_500_and_nothing_reaches_the_backend() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&site(&backend, "{ request: { body: 'json(request.body).n' } }")).await;
    for client in clients(&gateway) {
        for body in ["not json", r#"{"m":1}"#, ""] {
            let reply = client.post("/x").body(body).await.expect_status(500);
            assert_eq!(reply.text(), "the request could not be transformed\n");
        }
    }
    let lines = gateway.wait_access(6).await;
    assert!(lines.iter().all(|it| it["reason"] == "Transformation"), "{lines:?}");
    assert!(lines[0]["error"].as_str().is_some_and(|it| it.starts_with("`body`: ")), "{lines:?}");
    assert_eq!(backend.stats().requests(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_at_the_limit_pass_and_those_over_it_are_refused() {
    let backend = Backend::echo();
    let both =
        "{ request: { set: { x-size: 'size(request.body)' } }, response: { set: { x-size: 'size(response.body)' } } }";
    let gateway = Gateway::start(&site(&backend, both)).await;
    for client in clients(&gateway) {
        client.post("/status/200").body(pattern(10_000)).await.expect_status(200);
        assert_eq!(backend.stats().last().header("x-size"), Some("10000"));
        client.post("/x").body(pattern(10_001)).await.expect_status(413);
        let (sender, body) = channel();
        let call = tokio::spawn(client.post("/x").stream_body(body).try_send());
        assert!(sender.data(pattern(10_001)).await);
        call.await.expect("the client").expect("an answer").expect_status(413);
        let reply = client.get("/bytes?n=10000").await.expect_status(200);
        assert_eq!((reply.header("x-size"), reply.body.len()), (Some("10000"), 10_000));
        client.get("/bytes?n=10001").await.expect_status(502);
        client.get("/chunked?n=5000").await.expect_status(502);
        let reply = client.get("/chunked?n=3").await.expect_status(200);
        assert_eq!((reply.header("x-size"), reply.text().len()), (Some("24"), 24));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_response_body_is_replaced_with_all_that_described_it() {
    let backend = Backend::echo();
    let transformations = r#"
      response:
        set: { x-status: string(response.code) }
        body: '{"size": size(response.body), "for": request.headers["x-user"]}'
"#;
    let gateway = Gateway::start(&site(&backend, transformations)).await;
    for client in clients(&gateway) {
        let call = client.get("/set?etag=1&x-keep=1&content-md5=x").header("range", "bytes=0-1");
        let reply = call.header("x-user", "me").header("accept-encoding", "gzip, br").await.expect_status(200);
        let json = reply.json();
        assert_eq!(json["for"], "me", "{json}");
        assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
        assert_eq!((reply.header("etag"), reply.header("content-md5")), (None, None));
        assert_eq!((reply.header("x-keep"), reply.header("x-status")), (Some("1"), Some("200")));
        assert_eq!(reply.header("content-encoding"), None, "what is transformed is not compressed");
        let seen = backend.stats().last();
        assert_eq!((seen.header("range"), seen.header("accept-encoding")), (None, Some("identity")));
        let reply = client.get("/chunked?n=3").header("x-user", "me").await.expect_status(200);
        assert_eq!((reply.json()["size"].as_u64(), reply.header("transfer-encoding")), (Some(24), None));
        // No body, no transformation of it.
        for status in [204, 304] {
            let reply = client.get(&format!("/status/{status}")).header("x-user", "me").await.expect_status(status);
            assert_eq!((reply.body.len(), reply.header("x-status")), (0, Some(status.to_string().as_str())));
        }
        let reply = client.call(http::Method::HEAD, "/x").header("x-user", "me").await.expect_status(200);
        assert_eq!((reply.header("content-length"), reply.body.len()), (None, 0));
        // A backend that fails in the middle is 502, as is a body that cannot be made.
        client.get("/reset?after=10").header("x-user", "me").await.expect_status(502);
        let reply = client.get("/x").await.expect_status(502);
        assert_eq!(reply.text(), "the response could not be transformed\n");
        client.get("/x").header("x-user", "me").await.expect_status(200);
    }
    let line = gateway.wait_log(|line| line.contains("\"reason\":\"Transformation\"")).await;
    assert!(line.contains("`body`: "), "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_insists_on_a_part_or_lies_about_its_length_gets_nothing_through() {
    let transformations = "{ response: { body: '\"[redacted]\"' } }";
    for (answer, status) in [
        ("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-5/9\r\ncontent-length: 6\r\n\r\nsecret", 502),
        ("HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\nsecret", 502),
        ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret", 200),
        ("HTTP/1.1 200 OK\r\n\r\nsecret", 200),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nsecret\r\n", 502),
    ] {
        let backend = Backend::canned(answer);
        let gateway = Gateway::start(&config::route(&backend, &format!("transformations: {transformations}"))).await;
        for client in clients(&gateway) {
            let reply = client.get("/x").await.expect_status(status);
            assert!(!reply.text().contains("secret"), "{answer}: {}", reply.text());
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn streams_pass_untouched_and_are_counted() {
    let backend = Backend::echo();
    let transformations = "{ response: { set: { x-a: '\"1\"', x-b: 'string(response.body)' }, body: '\"no\"' } }";
    let gateway = Gateway::start(&site(&backend, transformations)).await;
    for client in clients(&gateway) {
        let mut events = client.get("/sse?n=1000&ms=5").events().await;
        assert!(events.next().await.expect("a stream").is_some(), "the first event does not wait for the last");
    }
    let counted =
        gateway.metric_sum("agentgateway_body_transformations_skipped_total", &[("reason", "eventStream")]).await;
    assert_eq!(counted, 2.0);
    gateway.stop().await;
    let websocket = Backend::websocket();
    let both = "{ request: { set: { x-a: '\"1\"' }, body: '\"x\"' }, response: { body: '\"y\"' } }";
    let gateway = Gateway::start(&config::route(&websocket, &format!("transformations: {both}"))).await;
    let mut socket = WsClient::connect(gateway.addr(0), "/", &[]).await.expect("a socket");
    assert_eq!(socket.ask("hello").await, "hello");
    gateway.stop().await;
}

#[tokio::test]
async fn calls_of_grpc_keep_their_bodies_or_are_refused_with_a_reason() {
    let backend = Backend::grpc();
    let heads = "{ request: { set: { x-a: '\"1\"' } }, response: { set: { x-b: '\"2\"' } } }";
    for (transformations, works) in
        [(heads, true), ("{ request: { body: '\"x\"' } }", false), ("{ response: { body: '\"x\"' } }", false)]
    {
        let policies = format!("transformations: {transformations}");
        let gateway = Gateway::start(&config::route(&backend, &policies)).await;
        let client = GrpcClient::new(Client::h2c(gateway.addr(0)));
        let reply = client.unary("/test.Echo/Unary", b"hello", &[]).await;
        assert_eq!(reply.status(), Some(if works { 0 } else { 13 }), "{reply:?}");
        match works {
            true => assert_eq!(reply.headers["x-b"], "2"),
            false => assert_eq!(reply.message(), Some("bodies of gRPC cannot be transformed")),
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn gateway_route_and_backend_transform_in_turn_and_responses_come_back_in_reverse() {
    let backend = Backend::echo();
    let step = |name: &str| {
        format!(
            "transformations: {{ request: {{ set: {{ x-way: '{0} + \"{name}\"' }}, body: 'string(request.body) + \"{name}\"' }}, \
             response: {{ set: {{ x-way: '{1} + \"{name}\"' }}, body: 'string(response.body) + \"{name}\"' }} }}",
            "default(request.headers[\"x-way\"], \"\")", "default(response.headers[\"x-way\"], \"\")"
        )
    };
    let gateway = Gateway::start(&config::listeners(&format!(
        "
- policies: {{ {} }}
  routes:
  - policies: {{ {} }}
    backends: [{{ host: '{}', policies: {{ {} }} }}]
",
        step("g"),
        step("r"),
        backend.addr(),
        step("b")
    )))
    .await;
    for client in clients(&gateway) {
        let reply = client.post("/status/200").body("-").await.expect_status(200);
        let seen = backend.stats().last();
        assert_eq!((seen.header("x-way"), seen.text().as_str()), (Some("grb"), "-grb"));
        assert_eq!((reply.header("x-way"), reply.text().as_str()), (Some("brg"), "status 200brg"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateway_phase_may_choose_the_route_by_the_body() {
    let (one, two) = (Backend::echo_named("one"), Backend::echo_named("two"));
    let gateway = Gateway::start(&config::listeners(&format!(
        "
- policies:
    transformations: {{ request: {{ set: {{ x-model: json(request.body).model, host: 'json(request.body).model + \".internal\"' }} }} }}
  routes:
  - matches: [{{ headers: [{{ name: x-model, value: {{ exact: two }} }}] }}]
    backends: [{{ host: '{}' }}]
  - hostnames: [one.internal]
    backends: [{{ host: '{}' }}]
",
        two.addr(),
        one.addr()
    )))
    .await;
    for client in clients(&gateway) {
        for name in ["one", "two"] {
            let body = format!("{{\"model\":\"{name}\"}}");
            let reply = client.post("/x").body(body.clone()).await.expect_status(200);
            assert_eq!((&reply.json()["backend"], &reply.json()["body"]["text"]), (&name.into(), &body.into()));
        }
        client.post("/x").body("{}").await.expect_status(404);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn answers_of_the_gateways_own_are_transformed_but_for_their_body() {
    let dead = Backend::dead().await;
    let policy = "transformations: { response: { set: { x-a: 'string(response.code)' }, body: '\"x\"' } }";
    let gateway = Gateway::start(&config::routes(&format!(
        "
- matches: [{{ path: {{ pathPrefix: /direct }} }}]
  policies: {{ {policy}, directResponse: {{ status: 203, body: hi }} }}
- policies: {{ {policy} }}
  backends: [{{ host: '{}' }}]
",
        dead.addr()
    )))
    .await;
    for client in clients(&gateway) {
        let reply = client.get("/direct").await.expect_status(203);
        assert_eq!((reply.header("x-a"), reply.text().as_str()), (Some("203"), "hi"));
        assert_eq!(client.get("/").await.expect_status(503).header("x-a"), Some("503"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn hostile_values_write_no_second_header_and_a_client_that_leaves_harms_nobody() {
    let backend = Backend::echo();
    let transformations = r#"
      request:
        set: { x-out: 'url.decode(request.headers["x-in"])', x-body: string(request.body) }
        body: 'request.body'
      response: { set: { x-out: 'url.decode(request.headers["x-in"])' } }
"#;
    let gateway = Gateway::start(&site(&backend, transformations)).await;
    for client in clients(&gateway) {
        for evil in ["a%0d%0ax-evil: 1", "%0d%0a%0d%0aGET / HTTP/1.1", "a%00"] {
            let reply = client.post("/x").header("x-in", evil).body("a\r\nx-evil: 1").await.expect_status(200);
            let seen = backend.stats().last();
            assert_eq!((seen.header("x-evil"), seen.header("x-out"), seen.header("x-body")), (None, None, None));
            assert_eq!((reply.header("x-evil"), reply.header("x-out")), (None, None));
        }
    }
    let before = backend.stats().requests();
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut raw = RawClient::connect(gateway.addr(0)).await;
        raw.write(format!("POST /x HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n4\r\nhalf")).await.expect("written");
        drop(raw);
    }
    gateway.client().post("/x").body("ok").await.expect_status(200);
    backend.stats().idle(PATIENCE).await;
    assert_eq!(backend.stats().requests(), before + 1, "half a body is nobody's request");
    gateway.stop().await;
}

#[tokio::test]
async fn a_direct_response_is_computed_for_each_request() {
    let gateway = Gateway::start(&config::routes(
        r#"
- matches: [{ path: { exact: /json } }]
  policies:
    directResponse:
      status: 200
      bodyExpression: '{"path": request.path, "body": string(request.body)}'
      headers: { x-user: 'request.headers["x-user"]', x-fixed: '"1"' }
- policies: { directResponse: { status: 200, bodyExpression: 'request.headers["x-user"]' } }
"#,
    ))
    .await;
    for client in clients(&gateway) {
        let reply = client.post("/json").header("x-user", "me").body("hello").await.expect_status(200);
        assert_eq!(reply.json(), serde_json::json!({"path": "/json", "body": "hello"}));
        assert_eq!((reply.header("x-user"), reply.header("x-fixed")), (Some("me"), Some("1")));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let reply = client.post("/json").body("hello").await.expect_status(200);
        assert_eq!(reply.header("x-user"), None, "a value that fails is left out");
        let reply = client.get("/").header("x-user", "me").await.expect_status(200);
        assert_eq!((reply.text().as_str(), reply.header("content-type")), ("me", Some("text/plain; charset=utf-8")));
        let reply = client.get("/").await.expect_status(500);
        assert_eq!(reply.text(), "the answer could not be made\n");
        client.post("/json").body(pattern(3 << 20)).await.expect_status(413);
    }
    gateway.stop().await;
}
