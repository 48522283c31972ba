//! Who a request is from: tokens, keys, users and certificates, seen from both ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tests::backend::answer;
use tests::issuer::Issuer;
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, Gateway, config, eventually};

/// `jwtAuth` with the keys of an issuer written in place.
fn jwt(issuer: &Issuer, more: &str) -> String {
    format!("jwtAuth: {{ issuer: '{}', jwks: '{}', {more} }}", issuer.name(), issuer.jwks())
}

/// The challenge of a refusal, or `None` where the request got through.
async fn refusal(client: &Client, token: &str) -> Option<(u16, String)> {
    let reply = client.get("/").header("authorization", format!("Bearer {token}")).await;
    let challenge = reply.header("www-authenticate").unwrap_or_default().to_owned();
    (reply.status != 200).then(|| (reply.status.as_u16(), challenge))
}

#[tokio::test]
async fn a_token_opens_the_way_and_its_claims_go_on_in_its_place() {
    let (backend, issuer) = (Backend::echo(), Issuer::rsa("one"));
    let policy = jwt(&issuer, "audiences: [api], claimsToHeaders: { x-user: sub, x-groups: groups }");
    let gateway = Gateway::start(&config::route(&backend, &policy)).await;
    let client = gateway.client();
    let missing = client.get("/").await.expect_status(401);
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"gateway\""));
    let token = issuer.token(&json!({ "aud": "api", "groups": ["a", "b"] }));
    for _ in 0..3 {
        let call = client.get("/").header("authorization", format!("bearer {token}"));
        call.header("x-user", "root").header("x_user", "root").await.expect_status(200);
        let asked = backend.stats().last();
        assert_eq!((asked.header("x-user"), asked.header("x-groups")), (Some("alice"), Some("a,b")));
        assert_eq!((asked.header("authorization"), asked.header("x_user")), (None, None), "neither token nor forgery");
    }
    let other = refusal(&client, &issuer.token(&json!({ "aud": "web" }))).await;
    assert!(other.is_some_and(|(status, it)| status == 401 && it.contains("another audience")));
    let lines = gateway.wait_access(5).await;
    assert_eq!((&lines[0]["reason"], &lines[1]["jwt.sub"]), (&json!("JwtAuth"), &json!("alice")), "{lines:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn hostile_tokens_get_401_and_the_gateway_serves_on() {
    let (backend, issuer, other) = (Backend::echo(), Issuer::rsa("one"), Issuer::rsa("one"));
    let gateway = Gateway::start(&config::route(&backend, &jwt(&issuer, ""))).await;
    let client = gateway.client();
    let good = issuer.token(&json!({}));
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let payload = signed.split_once('.').expect("two parts").1;
    // {"alg":"none"} and {"alg":"HS256","kid":"one"}.
    let (none, hmac) = ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiIsImtpZCI6Im9uZSJ9");
    for (token, why) in [
        (format!("{none}.{payload}."), "algorithm"),
        (format!("{hmac}.{payload}.{signature}"), "algorithm"),
        (other.token(&json!({})), "signature"),
        (issuer.token(&json!({ "exp": 1 })), "expired"),
        (issuer.token(&json!({ "nbf": 99_999_999_999u64 })), "not valid yet"),
        (issuer.token(&json!({ "iss": "https://evil.test" })), "issuer"),
        (format!("{signed}.{}", "A".repeat(20_000)), "too large"),
        ("a.b.c".to_owned(), "malformed"),
        (format!("{signed}.@@@"), "malformed"),
    ] {
        let (status, challenge) = refusal(&client, &token).await.unwrap_or_else(|| panic!("let in, although {why}"));
        assert_eq!(status, 401, "{why}");
        assert!(challenge.contains("invalid_token") && challenge.contains(why), "{challenge} lacks {why}");
    }
    let twice = client.get("/").header("authorization", format!("Bearer {good}"));
    twice.header("authorization", format!("Bearer {good}")).await.expect_status(401);
    assert_eq!(backend.stats().requests(), 0, "none of them got through");
    assert_eq!(refusal(&client, &good).await, None);
    gateway.stop().await;
}

/// An issuer's server whose set of keys can be changed, and what it was asked.
fn key_server(first: Option<String>) -> (Backend, Arc<Mutex<Option<String>>>) {
    let held = Arc::new(Mutex::new(first));
    let answers = held.clone();
    let backend = Backend::http(move |_| {
        let text = answers.lock().expect("not poisoned").clone();
        async move {
            match text {
                Some(text) => answer::text(200, text),
                None => answer::text(500, "not yet".to_owned()),
            }
        }
    });
    (backend, held)
}

async fn stale(gateway: &Gateway) -> String {
    let status: Value = gateway.admin("GET", "/config/status").await.json();
    let stale = status["stale"].as_array().cloned().unwrap_or_default();
    stale
        .iter()
        .filter(|it| it["kind"] == "jwks")
        .map(|it| it["reason"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn keys_behind_a_url_arrive_rotate_and_outlive_their_server() {
    let (backend, old, new) = (Backend::echo(), Issuer::new("old"), Issuer::new("new"));
    let (server, held) = key_server(None);
    let policy = |more: &str| {
        let url = format!("http://{}/keys?secret=canary", server.addr());
        format!("jwtAuth: {{ issuer: '{}', jwks: {{ url: '{url}' }}, {more} }}", old.name())
    };
    let gateway = Gateway::start(&config::route(&backend, &policy(""))).await;
    let client = gateway.client();
    // Nothing has arrived: closed, and said so.
    assert_eq!(refusal(&client, &old.token(&json!({}))).await.expect("closed").0, 503);
    eventually(PATIENCE, || async { stale(&gateway).await.contains("pending: answered with status 500") }).await;
    *held.lock().expect("not poisoned") = Some(old.jwks());
    eventually(PATIENCE, || async { refusal(&client, &old.token(&json!({}))).await.is_none() }).await;
    eventually(PATIENCE, || async { stale(&gateway).await.is_empty() }).await;
    // An unrelated edit fetches nothing anew.
    let fetches = server.stats().requests();
    let status =
        gateway.reload(&config::route(&backend, &format!("{}, timeout: {{ requestTimeout: 9s }}", policy("")))).await;
    assert_eq!(status.last_error, None);
    assert_eq!(refusal(&client, &old.token(&json!({}))).await, None);
    assert_eq!(server.stats().requests(), fetches, "the key set was kept");
    // A key nobody knows asks for the new set; then the old key is no good any more.
    *held.lock().expect("not poisoned") = Some(new.jwks());
    let kept = old.token(&json!({ "sub": "bob" }));
    assert_eq!(refusal(&client, &kept).await, None, "verified under the old set");
    eventually(PATIENCE, || async { refusal(&client, &new.token(&json!({}))).await.is_none() }).await;
    assert!(refusal(&client, &kept).await.is_some_and(|it| it.1.contains("not known")), "remembered no longer");
    // Its server goes; the last good set stays, over another reload too.
    server.down().await;
    let status = gateway.reload(&config::route(&backend, &policy("forward: true"))).await;
    assert_eq!(status.last_error, None);
    assert_eq!(refusal(&client, &new.token(&json!({}))).await, None);
    assert!(!gateway.log().text().contains("secret=canary"), "queries of URLs are not logged");
    gateway.stop().await;
}

#[tokio::test]
async fn hostile_key_servers_do_no_harm() {
    let (backend, issuer) = (Backend::echo(), Issuer::new("one"));
    let redirecting = |to: &'static str| {
        Backend::canned(format!(
            "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ))
    };
    let huge = format!("{{\"keys\":[{}]}}", "1,".repeat(300_000));
    for (server, why) in [
        (redirecting("http://169.254.169.254/latest/meta-data"), "169.254.169.254 is refused"),
        (redirecting("http://[fd00:ec2::254]/"), "a metadata service"),
        (key_server(Some(huge)).0, "larger than"),
        (key_server(Some("{}".to_owned())).0, "no list `keys`"),
        (key_server(Some(String::new())).0, "not a JSON object"),
        (Backend::canned("garbage\r\n\r\n"), "the exchange failed"),
    ] {
        let policy = format!("jwtAuth: {{ issuer: x, jwks: {{ url: 'http://{}/' }} }}", server.addr());
        let gateway = Gateway::start(&config::route(&backend, &policy)).await;
        eventually(PATIENCE, || async { stale(&gateway).await.contains(why) }).await;
        let (status, _) = refusal(&gateway.client(), &issuer.token(&json!({ "iss": "x" }))).await.expect("closed");
        assert_eq!(status, 503, "{why}");
        gateway.stop().await;
    }
    assert_eq!(backend.stats().requests(), 0);
}

#[tokio::test]
async fn a_key_server_that_hangs_delays_no_request_and_takes_nothing_away() {
    let (backend, old, new) = (Backend::echo(), Issuer::new("old"), Issuer::new("new"));
    let hangs = Arc::new(AtomicBool::new(true));
    let (held, jwks) = (hangs.clone(), old.jwks());
    let server = Backend::http(move |_| {
        let (hangs, text) = (held.load(Ordering::Relaxed), jwks.clone());
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            answer::text(200, text)
        }
    });
    let policy = format!("jwtAuth: {{ issuer: '{}', jwks: {{ url: 'http://{}/' }} }}", old.name(), server.addr());
    let yaml = config::route(&backend, &policy);
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    // While the first set is under way everybody is answered, though nobody is let in.
    eventually(PATIENCE, || async { server.stats().in_flight() == 1 }).await;
    for _ in 0..10 {
        assert_eq!(refusal(&client, &old.token(&json!({}))).await.expect("closed").0, 503);
    }
    assert_eq!((server.stats().in_flight(), server.stats().requests()), (1, 1), "answered during the one fetch");
    assert!(stale(&gateway).await.contains("pending: the first fetch is under way"));
    gateway.stop().await;
    // Once there is a set, one that cannot be refreshed stays in force.
    hangs.store(false, Ordering::Relaxed);
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    eventually(PATIENCE, || async { refusal(&client, &old.token(&json!({}))).await.is_none() }).await;
    hangs.store(true, Ordering::Relaxed);
    eventually(PATIENCE, || async {
        assert_eq!(refusal(&client, &new.token(&json!({}))).await.expect("not known").0, 401);
        server.stats().in_flight() == 1
    })
    .await;
    let asked = server.stats().requests();
    for _ in 0..10 {
        assert_eq!(refusal(&client, &old.token(&json!({ "sub": "bob" }))).await, None);
    }
    assert_eq!((server.stats().in_flight(), server.stats().requests()), (1, asked), "let in during the fetch");
    gateway.stop().await;
}

#[tokio::test]
async fn keys_come_over_tls_only_from_a_server_that_is_trusted() {
    let (backend, issuer) = (Backend::echo(), Issuer::new("one"));
    let (authority, other) = (Authority::new("keys"), Authority::new("other"));
    let (identity, jwks) = (authority.server(&["localhost"]), issuer.jwks());
    let server = Backend::setup().tls(identity.server_config(None, &["http/1.1"])).http(move |_| {
        let text = jwks.clone();
        async move { answer::text(200, text) }
    });
    let url = format!("https://localhost:{}/", server.port());
    let policy = format!("jwtAuth: {{ issuer: '{}', jwks: {{ url: '{url}' }} }}", issuer.name());
    let yaml = config::route(&backend, &policy);
    let token = issuer.token(&json!({}));
    let with = |roots: &std::path::Path| Gateway::setup(&yaml).env("SSL_CERT_FILE", &roots.display().to_string());
    let gateway = with(authority.path()).start().await;
    eventually(PATIENCE, || async { refusal(&gateway.client(), &token).await.is_none() }).await;
    gateway.stop().await;
    let gateway = with(other.path()).start().await;
    eventually(PATIENCE, || async { stale(&gateway).await.contains("pending: no TLS") }).await;
    assert_eq!(refusal(&gateway.client(), &token).await.expect("closed").0, 503);
    gateway.stop().await;
}

#[tokio::test]
async fn a_successor_knows_the_keys_from_the_first_request() {
    let (backend, issuer) = (Backend::echo(), Issuer::new("one"));
    let (server, _held) = key_server(Some(issuer.jwks()));
    let policy = format!("jwtAuth: {{ issuer: '{}', jwks: {{ url: 'http://{}/' }} }}", issuer.name(), server.addr());
    let gateway = Gateway::start(&config::route(&backend, &policy)).await;
    let token = issuer.token(&json!({}));
    eventually(PATIENCE, || async { refusal(&gateway.client(), &token).await.is_none() }).await;
    server.down().await;
    let mut gateway = gateway;
    let successor = gateway.succeed().await;
    gateway.wait_succeeded(PATIENCE).await;
    assert_eq!(refusal(&gateway.client(), &token).await, None, "it cannot have fetched them");
    successor.stop(PATIENCE).await;
}

#[tokio::test]
async fn keys_of_a_file_are_watched_and_known_by_their_hash() {
    let backend = Backend::echo();
    let policy = "auth: { apiKey: { location: { header: { name: x-api-key } }, file: keys, \
                  keys: [{ keyHash: 'sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683', \
                  metadata: { owner: alice } }] } }";
    let setup = Gateway::setup(&config::route(&backend, policy)).file("keys", "first-key\n");
    let gateway = setup.start().await;
    let client = gateway.client();
    let status = |key: &'static str| {
        let call = client.get("/").header("x-api-key", key);
        async move { call.await.status.as_u16() }
    };
    // The hash is that of `key`.
    assert_eq!((status("key").await, status("first-key").await, status("other").await), (200, 200, 401));
    assert_eq!(backend.stats().last().header("x-api-key"), None);
    let refused = client.get("/").await.expect_status(401);
    assert_eq!(refused.header("www-authenticate"), Some("ApiKey realm=\"gateway\", header=\"x-api-key\""));
    std::fs::write(gateway.dir().join("keys"), "second-key\n").expect("the file");
    eventually(PATIENCE, || async { status("second-key").await == 200 }).await;
    assert_eq!(status("first-key").await, 401);
    let reasons: Vec<_> = gateway.wait_access(3).await.iter().map(|it| it["reason"].clone()).collect();
    assert!(reasons.contains(&json!("APIKeyAuth")), "{reasons:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn users_of_a_file_get_in_with_their_passwords() {
    let backend = Backend::echo();
    // As `openssl passwd -apr1 -salt saltsalt 'open sesame'` prints it.
    let users = "alice:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.\n";
    let policy = "basicAuth: { htpasswd: { file: htpasswd }, realm: Staging }";
    let gateway = Gateway::setup(&config::route(&backend, policy)).file("htpasswd", users).start().await;
    let client = gateway.client();
    let reply = client.get("/").await.expect_status(401);
    assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"Staging\", charset=\"UTF-8\""));
    // `alice:open sesame`, twice: by hash, and remembered. Then `alice:wrong` and `bob:open sesame`.
    for (sent, status) in [
        ("YWxpY2U6b3BlbiBzZXNhbWU=", 200),
        ("YWxpY2U6b3BlbiBzZXNhbWU=", 200),
        ("YWxpY2U6d3Jvbmc=", 401),
        ("Ym9iOm9wZW4gc2VzYW1l", 401),
        ("AAAA", 401),
    ] {
        client.get("/").header("authorization", format!("Basic {sent}")).await.expect_status(status);
    }
    assert_eq!(backend.stats().requests(), 2);
    assert_eq!(backend.stats().last().header("authorization"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn policies_of_the_gateway_phase_run_before_routes_are_known() {
    let (backend, issuer) = (Backend::echo(), Issuer::new("one"));
    let yaml = config::listeners(&format!(
        "- policies: {{ {} }}\n  routes:\n  - matches: [{{ path: {{ exact: /a }} }}]\n    backends: [{{ host: '{}' }}]\n",
        jwt(&issuer, ""),
        backend.addr()
    ));
    let gateway = Gateway::start(&yaml).await;
    let client = gateway.client();
    client.get("/nowhere").await.expect_status(401);
    let token = format!("Bearer {}", issuer.token(&json!({})));
    client.get("/nowhere").header("authorization", &token).await.expect_status(404);
    client.get("/a").header("authorization", &token).await.expect_status(200);
    gateway.stop().await;
}

#[tokio::test]
async fn grpc_calls_are_told_in_their_own_words() {
    let (backend, issuer) = (Backend::echo(), Issuer::new("one"));
    let gateway = Gateway::start(&config::route(&backend, &jwt(&issuer, ""))).await;
    let client = Client::h2c(gateway.addr(0));
    let reply = client.post("/a.B/C").header("content-type", "application/grpc").await.expect_status(200);
    assert_eq!(reply.header("grpc-status"), Some("16"), "UNAUTHENTICATED");
    assert!(reply.header("www-authenticate").is_some());
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_certificate_is_an_identity() {
    let (backend, servers, clients) = (Backend::echo(), Authority::new("servers"), Authority::new("clients"));
    let server = servers.server(&["a.test"]);
    let yaml = config::listeners(&format!(
        "- protocol: HTTPS\n  hostname: a.test\n  tls: {{ cert: '{}', key: '{}', root: '{}' }}\n  routes: [{{ backends: [{{ host: '{}' }}] }}]\n",
        server.cert_path.display(),
        server.key_path.display(),
        clients.path().display(),
        backend.addr()
    ));
    let gateway = Gateway::start(&yaml).await;
    let id = "spiffe://cluster.test/ns/shop/sa/web";
    let config = servers.client_config(Some(&clients.spiffe(id)), &["http/1.1"]);
    Client::tls(gateway.addr(0), "a.test", config).get("/").await.expect_status(200);
    let line = gateway.wait_access(1).await.remove(0);
    assert_eq!(line["src.identity"], json!(id), "{line}");
    gateway.stop().await;
}
