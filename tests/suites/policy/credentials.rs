//! `backendAuth`: what a backend gets from the gateway itself, and that nobody else sees it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tests::issuer::Issuer;
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, config, eventually};

#[tokio::test]
async fn a_backend_gets_tokens_that_the_gateway_has_signed() {
    let backend = Backend::echo();
    let key = rcgen::KeyPair::generate().expect("a key on P-256");
    let point = key.public_key_raw();
    let encode = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
    let jwks = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "gw", "x": encode(&point[1..33]), "y": encode(&point[33..]) }] });
    // The one route signs, and leads to the other, which verifies.
    let yaml = |target: &str| {
        config::routes(&format!(
            "- matches: [{{ path: {{ pathPrefix: /verified }} }}]
  policies: {{ jwtAuth: {{ issuer: gateway, audiences: [backend], jwks: '{jwks}', claimsToHeaders: {{ x-for: tenant }} }} }}
  backends: [{{ host: '{}' }}]
- policies:
    urlRewrite: {{ path: {{ full: /verified }} }}
    backendAuth:
      jwtSign:
        signingKey: {{ file: '{{{{dir}}}}/signing.pem' }}
        alg: ES256
        kid: gw
        claims: {{ iss: gateway, aud: backend, tenant: acme }}
  backends: [{{ host: '{target}' }}]
",
            backend.addr()
        ))
    };
    let setup = Gateway::setup(&yaml("127.0.0.1:1")).file("signing.pem", key.serialize_pem());
    let gateway = setup.start().await;
    gateway.reload(&yaml(&gateway.addr(0).to_string())).await;
    let client = gateway.client();
    client.get("/verified").await.expect_status(401);
    for _ in 0..3 {
        client.get("/x").header("authorization", "Bearer mine").await.expect_status(200);
    }
    assert_eq!(backend.stats().last().header("x-for"), Some("acme"));
    let dump = gateway.admin("GET", "/config_dump").await.text();
    assert!(dump.contains("\"alg\": \"ES256\"") || dump.contains("\"alg\":\"ES256\""), "{dump}");
    let secret = key.serialize_pem().lines().nth(1).expect("a line of the key").to_owned();
    assert!(!dump.contains(&secret) && !gateway.log().text().contains(&secret));
    gateway.stop().await;
}

#[tokio::test]
async fn a_backend_gets_the_gateways_key_in_place_of_the_clients() {
    let backend = Backend::echo();
    for version in ["HTTP/1.1", "HTTP/2.0"] {
        let policies = format!(
            "http: {{ version: {version} }}, requestHeaderModifier: {{ set: {{ authorization: Bearer modified }} }}, \
             backendAuth: {{ key: key-1, credentials: [\
             {{ location: {{ queryParameter: {{ name: key }} }}, key: key-2 }}, \
             {{ location: {{ cookie: {{ name: sid }} }}, key: key-3 }}] }}"
        );
        let gateway = Gateway::start(&config::backend(&backend, &policies)).await;
        for client in [Client::h1(gateway.addr(0)), Client::h2c(gateway.addr(0))] {
            let call = client.get("/x?key=mine&%6bey=mine&a=1").header("authorization", "Bearer mine");
            call.header("cookie", "a=1; sid=mine").header("cookie", "b=2").await.expect_status(200);
            let seen = backend.stats().last();
            assert_eq!(seen.headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer key-1"]);
            assert_eq!(seen.uri.path_and_query().map(|it| it.as_str()), Some("/x?a=1&key=key-2"), "{version}");
            assert_eq!(seen.header("cookie"), Some("a=1; b=2; sid=key-3"), "{version}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_route_hands_its_key_down_and_a_backends_own_stands_against_it() {
    let (one, other, mirror) = (Backend::echo(), Backend::echo(), Backend::echo());
    let gateway = Gateway::start(&config::routes(&format!(
        "
- policies:
    backendAuth: {{ key: of-the-route }}
    requestMirror: {{ backend: {{ host: '{}' }} }}
    retry: {{ attempts: 2, codes: [503], backoff: 1ms }}
  backends:
  - host: '{}'
  - host: '{}'
    policies: {{ backendAuth: {{ key: {{ value: of-the-backend, location: {{ header: {{ name: x-key }} }} }} }} }}
",
        mirror.addr(),
        one.addr(),
        other.addr()
    )))
    .await;
    one.stats().fail_next(1, 503);
    other.stats().fail_next(1, 503);
    for _ in 0..40 {
        gateway.client().get("/").await.expect_status(200);
    }
    let (of_one, of_other) = (one.stats().seen(), other.stats().seen());
    assert_eq!((of_one.len() + of_other.len()), 42, "two were tried again");
    for seen in &of_one {
        assert_eq!((seen.header("authorization"), seen.header("x-key")), (Some("Bearer of-the-route"), None));
    }
    for seen in &of_other {
        assert_eq!((seen.header("authorization"), seen.header("x-key")), (None, Some("of-the-backend")));
    }
    eventually(PATIENCE, || async { mirror.stats().seen().len() == 40 }).await;
    assert!(mirror.stats().seen().iter().all(|it| it.header("authorization").is_none()), "a copy gets no key");
    gateway.stop().await;
}

#[tokio::test]
async fn a_verified_token_is_passed_through_and_one_that_nobody_verified_is_not() {
    let (backend, issuer) = (Backend::echo(), Issuer::rsa("one"));
    let gateway = Gateway::start(&config::route(
        &backend,
        &format!(
            "jwtAuth: {{ issuer: '{}', jwks: '{}', mode: permissive }}, \
             backendAuth: {{ passthrough: {{ location: {{ header: {{ name: x-token }} }} }} }}",
            issuer.name(),
            issuer.jwks()
        ),
    ))
    .await;
    let token = issuer.token(&json!({ "aud": "api" }));
    for client in [Client::h1(gateway.addr(0)), Client::h2c(gateway.addr(0))] {
        let call = client.get("/").header("authorization", format!("Bearer {token}"));
        call.header("x-token", "forged").await.expect_status(200);
        let seen = backend.stats().last();
        assert_eq!((seen.header("x-token"), seen.header("authorization")), (Some(token.as_str()), None));
        client.get("/").header("authorization", "Bearer a.b.c").await.expect_status(200);
        assert_eq!(backend.stats().last().header("x-token"), None, "nothing was verified");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_rotated_file_takes_effect_without_a_word_about_the_document() {
    let backend = Backend::echo();
    let gateway = Gateway::setup(&config::route(&backend, "backendAuth: { key: { file: '{{dir}}/key' } }"))
        .file("key", "first\n")
        .start()
        .await;
    let client = gateway.client();
    client.get("/").await.expect_status(200);
    assert_eq!(backend.stats().last().header("authorization"), Some("Bearer first"));
    let path = gateway.dir().join("key");
    // As secrets are rotated: written beside, then renamed over.
    let beside = gateway.dir().join("key.new");
    std::fs::write(&beside, "second\n").expect("a file beside");
    std::fs::rename(&beside, &path).expect("over the old one");
    let is = async |wanted: &str| {
        client.get("/").await.expect_status(200);
        backend.stats().last().header("authorization") == Some(wanted)
    };
    eventually(PATIENCE, || is("Bearer second")).await;
    // What holds nothing changes nothing.
    std::fs::write(&path, "\n").expect("the file");
    gateway.wait_log(|line| line.contains("the key is empty")).await;
    assert!(is("Bearer second").await, "the last good key stands");
    std::fs::write(&path, "third").expect("the file");
    eventually(PATIENCE, || is("Bearer third")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn keys_appear_in_no_output() {
    let backend = Backend::echo();
    let policies = "backendAuth: { key: canary-1, credentials: [\
                    { location: { queryParameter: { name: q } }, key: { file: '{{dir}}/key' } }] }";
    let gateway = Gateway::setup(&config::routes(&format!(
        "
- name: all
  policies: {{ {policies} }}
  backends: [{{ host: '{}' }}]
",
        backend.addr()
    )))
    .file("key", "canary-2")
    .start()
    .await;
    let reply = gateway.client().get("/x").await.expect_status(200);
    let sent = backend.stats().last();
    assert_eq!((sent.header("authorization"), sent.query("q").as_deref()), (Some("Bearer canary-1"), Some("canary-2")));
    assert!(reply.headers.iter().all(|(_, value)| !value.as_bytes().windows(7).any(|it| it == b"canary-")));
    // A document that is refused is quoted where it is wrong.
    let wrong = "backendAuth: { key: { value: canary-3, lcoation: {} }, passthrough: canary-4, credentials: canary-5 }";
    gateway.write_raw(&config::route(&backend, wrong));
    gateway.wait_log(|line| line.contains("backendAuth")).await;
    let mut seen = vec![("log", gateway.log().text()), ("metrics", gateway.metrics().await)];
    for path in ["/config_dump", "/config/status", "/config/effective?route=bind/0/listener0/default/all", "/backends"]
    {
        seen.push((path, gateway.admin("GET", path).await.text()));
    }
    for (place, text) in &seen {
        assert!(!text.contains("canary-"), "{place} shows a key: {text}");
    }
    assert!(seen[2].1.contains("***"), "{}", seen[2].1);
    gateway.stop().await;
}

#[tokio::test]
async fn kinds_that_come_later_are_refused_by_name() {
    let backend = Backend::echo();
    for kind in ["oauthTokenExchange", "crossAppAccess"] {
        let policy = format!("backendAuth: {{ {kind}: {{}} }}");
        let refusal = Gateway::start_expect_failure(&config::backend(&backend, &policy)).await;
        let said = format!("backendAuth.{kind}: not supported by this version yet");
        assert!(refusal.log.contains(&said), "{}", refusal.log);
    }
}
