//! Policies that change what passes: headers, host and path; and copies of it.

use tests::http::{digest, pattern};
use tests::wait::PATIENCE;
use tests::{Backend, Gateway, config, eventually};

#[tokio::test]
async fn request_headers_are_added_set_and_removed() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(
        &backend,
        "requestHeaderModifier: { add: { x-add: new }, set: { x-set: new, host: api.internal }, remove: [x-gone] }",
    ))
    .await;
    let call = gateway.client().get("/x").header("x-add", "old").header("x-set", "old").header("x-gone", "1");
    call.await.expect_status(200);
    let seen = backend.stats().last();
    let added: Vec<_> = seen.headers.get_all("x-add").iter().collect();
    assert_eq!(added, ["old", "new"]);
    assert_eq!((seen.header("x-set"), seen.header("x-gone")), (Some("new"), None));
    assert_eq!(seen.header("host"), Some("api.internal"));
    gateway.stop().await;
}

#[tokio::test]
async fn response_headers_change_on_answers_of_our_own_too() {
    let backend = Backend::echo();
    let dead = Backend::dead().await;
    let policy = "responseHeaderModifier: { add: { x-add: new }, set: { x-set: new }, remove: [content-type] }";
    let gateway = Gateway::start(&config::routes(&format!(
        "
- matches: [{{ path: {{ pathPrefix: /direct }} }}]
  policies: {{ {policy}, directResponse: {{ status: 200, body: hi }} }}
- matches: [{{ path: {{ pathPrefix: /dead }} }}]
  policies: {{ {policy} }}
  backends: [{{ host: '{}' }}]
- policies: {{ {policy} }}
  backends: [{{ host: '{}' }}]
",
        dead.addr(),
        backend.addr()
    )))
    .await;
    for (path, status) in [("/set?x-add=old&x-set=old", 200), ("/direct", 200), ("/dead", 503)] {
        let reply = gateway.client().get(path).await.expect_status(status);
        assert_eq!(reply.headers_all("x-add").last(), Some(&"new"), "{path}");
        assert_eq!((reply.headers_all("x-set"), reply.header("content-type")), (vec!["new"], None), "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn headers_of_the_backend_change_for_this_backend_only() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::backend(
        &backend,
        "requestHeaderModifier: { set: { x-who: backend } }, responseHeaderModifier: { set: { x-from: backend } }",
    ))
    .await;
    let reply = gateway.client().get("/").await.expect_status(200);
    assert_eq!(reply.header("x-from"), Some("backend"));
    assert_eq!(backend.stats().last().header("x-who"), Some("backend"));
    gateway.stop().await;
}

#[tokio::test]
async fn host_and_path_are_rewritten_and_the_query_kept() {
    let backend = Backend::echo();
    let addr = backend.addr();
    let gateway = Gateway::start(&config::routes(&format!(
        "
- matches: [{{ path: {{ pathPrefix: /shop }} }}]
  policies: {{ urlRewrite: {{ authority: {{ full: 'shop.internal:81' }}, path: {{ prefix: /v2 }} }} }}
  backends: [{{ host: '{addr}' }}]
- matches: [{{ path: {{ pathPrefix: /strip }} }}]
  policies: {{ urlRewrite: {{ path: {{ prefix: / }} }} }}
  backends: [{{ host: '{addr}' }}]
- matches: [{{ path: {{ pathPrefix: /full }} }}]
  policies: {{ urlRewrite: {{ authority: {{ host: other.internal }}, path: {{ full: /one }} }} }}
  backends: [{{ host: '{addr}' }}]
"
    )))
    .await;
    let client = gateway.client().host("front.example:8080");
    for (sent, path, host) in [
        ("/shop/a?x=1", "/v2/a?x=1", "shop.internal:81"),
        ("/shop", "/v2", "shop.internal:81"),
        ("/strip/a//b?x", "/a/b?x", "front.example:8080"),
        ("/strip", "/", "front.example:8080"),
        ("/strip?x=1", "/?x=1", "front.example:8080"),
        ("/full/a/b?y=2", "/one?y=2", "other.internal:8080"),
    ] {
        client.get(sent).await.expect_status(200);
        let seen = backend.stats().last();
        assert_eq!(
            (seen.uri.to_string().replace("//", "/"), seen.header("host")),
            (path.to_owned(), Some(host)),
            "{sent}"
        );
        assert_eq!(seen.header("x-forwarded-host"), Some("front.example:8080"), "what the client asked for");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_mirror_gets_a_copy_with_its_body_and_its_answer_is_dropped() {
    let (backend, mirror) = (Backend::echo(), Backend::echo_named("mirror"));
    let policy = format!("requestMirror: {{ backend: {{ host: '{}' }}, maxBodyBytes: 100000 }}", mirror.addr());
    let gateway = Gateway::start(&config::route(&backend, &policy)).await;
    let client = gateway.client();
    let body = pattern(90_000);
    let reply = client.post("/x?y=1").header("x-a", "1").body(body.clone()).await.expect_status(200);
    assert_eq!(reply.json()["backend"], "backend");
    eventually(PATIENCE, || async { mirror.stats().seen().len() == 1 }).await;
    let seen = mirror.stats().last();
    assert_eq!(
        (seen.uri.to_string(), seen.header("x-a"), digest(&seen.body)),
        ("/x?y=1".to_owned(), Some("1"), digest(&body))
    );
    client.get("/y").await.expect_status(200);
    eventually(PATIENCE, || async { mirror.stats().seen().iter().filter(|it| it.complete).count() == 2 }).await;
    client.post("/large").body(pattern(200_000)).await.expect_status(200);
    client.get("/z").await.expect_status(200);
    eventually(PATIENCE, || async { mirror.stats().seen().iter().any(|it| it.uri.path() == "/z") }).await;
    let large = mirror.stats().seen().into_iter().any(|it| it.uri.path() == "/large" && it.complete);
    assert!(!large, "a body over the limit is not mirrored");
    gateway.stop().await;
}

#[tokio::test]
async fn a_mirror_that_is_dead_or_slow_harms_nobody() {
    let (backend, slow, dead) = (Backend::echo(), Backend::echo(), Backend::dead().await);
    for mirror in [&slow, &dead] {
        let policy = format!("requestMirror: {{ backend: {{ host: '{}' }} }}", mirror.addr());
        let gateway = Gateway::start(&config::route(&backend, &policy)).await;
        let client = gateway.client();
        for _ in 0..20 {
            client.post("/x?do=mirror").body("hello").await.expect_status(200);
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_service_can_be_a_mirror() {
    let backend = Backend::echo();
    let mirrors = [2, 3].map(|n| ([127, 0, 0, n], n));
    let first = Backend::setup().on((mirrors[0].0, 0).into()).echo();
    let second = Backend::setup().on((mirrors[1].0, first.port()).into()).echo();
    let port = first.port();
    let policy = "requestMirror: { backend: { service: { name: default/copies.example, port: 80 } } }";
    let yaml = config::route(&backend, policy)
        + &format!("services: [{{ name: copies, hostname: copies.example, ports: {{ '80': {port} }} }}]\nworkloads:\n")
        + &mirrors.map(|(_, n)| {
            format!("- {{ name: w{n}, workloadIps: [127.0.0.{n}], services: {{ default/copies.example: {{ '80': {port} }} }} }}\n")
        }).concat();
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    for _ in 0..40 {
        client.post("/x").body("hello").await.expect_status(200);
    }
    let seen = || first.stats().seen().into_iter().chain(second.stats().seen());
    eventually(PATIENCE, || async { seen().filter(|it| it.complete && it.body == "hello").count() == 40 }).await;
    assert!(first.stats().requests() > 0 && second.stats().requests() > 0, "over all its endpoints");
    assert_eq!(backend.stats().requests(), 40);
    gateway.stop().await;
}

#[tokio::test]
async fn a_mirror_takes_its_share() {
    let (backend, mirror) = (Backend::echo(), Backend::echo());
    let policy = format!("requestMirror: {{ backend: {{ host: '{}' }}, percentage: 0.2 }}", mirror.addr());
    let gateway = Gateway::start(&config::route(&backend, &policy)).await;
    let client = gateway.client();
    for _ in 0..500 {
        client.get("/").await.expect_status(200);
    }
    // Five standard deviations: sqrt(500 * 0.2 * 0.8) is 8.9. Copies come after the answers.
    eventually(PATIENCE, || async { mirror.stats().requests() > 54 }).await;
    mirror.stats().idle(PATIENCE).await;
    let got = mirror.stats().requests();
    assert!(got.abs_diff(100) < 46, "{got}");
    gateway.stop().await;
}
