//! `remoteRateLimit`: a server that speaks the documented wire format, and servers that do not.

use std::sync::atomic::{AtomicU32, Ordering};

use tests::backend::{Asked, answer};
use tests::pb::{field, holds, number};
use tests::{Backend, Gateway, config};

const OK: u64 = 1;
const OVER: u64 = 2;

/// A status of the descriptor: limit of so many a minute, and so many left.
fn status(code: u64, limit: u64, left: u64) -> Vec<u8> {
    let window = [number(1, limit), number(2, 2)].concat();
    let reset = field(4, number(1, 42));
    [number(1, code), field(2, window), number(3, left), reset].concat()
}

/// Lets `user=eve` have two requests, and everybody else any number.
fn limits() -> Backend {
    let used = AtomicU32::new(0);
    let used = std::sync::Arc::new(used);
    Backend::http(move |asked: Asked| {
        let used = used.clone();
        async move {
            assert_eq!(asked.uri.path(), "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
            assert!(holds(&asked.body, "shop"), "the domain");
            let eve = holds(&asked.body, "eve");
            let before = if eve { used.fetch_add(1, Ordering::SeqCst) } else { 0 };
            if before >= 2 {
                let header = field(3, [field(1, "x-plan"), field(2, "free")].concat());
                return answer::grpc(
                    &[number(1, OVER), field(2, status(OVER, 2, 0)), header, field(5, "slow down")].concat(),
                );
            }
            let request = field(4, [field(1, "x-limited"), field(2, "yes")].concat());
            answer::grpc(&[number(1, OK), field(2, status(OK, 2, 1)), request].concat())
        }
    })
}

fn policy(server: &Backend, more: &str) -> String {
    let descriptor = "{ entries: [{ key: user, value: 'request.headers[\"x-user\"]' }] }";
    format!("remoteRateLimit: {{ host: '{}', domain: shop, descriptors: [{descriptor}]{more} }}", server.addr())
}

#[tokio::test]
async fn a_quota_is_counted_by_the_server_and_told_to_the_client() {
    let (limits, backend) = (limits(), Backend::echo());
    let gateway = Gateway::start(&config::route(&backend, &policy(&limits, ""))).await;
    let client = gateway.client();
    for _ in 0..2 {
        let reply = client.get("/").header("x-user", "eve").await.expect_status(200);
        assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), (Some("2"), Some("1")));
        assert_eq!(backend.stats().last().header("x-limited"), Some("yes"));
    }
    let reply = client.get("/").header("x-user", "eve").await.expect_status(429);
    assert_eq!((reply.header("retry-after"), reply.header("x-ratelimit-remaining")), (Some("42"), Some("0")));
    assert_eq!((reply.header("x-plan"), reply.text().as_str()), (Some("free"), "slow down"));
    client.get("/").header("x-user", "bob").await.expect_status(200);
    let asked = limits.stats().requests();
    client.get("/").await.expect_status(200);
    assert_eq!(limits.stats().requests(), asked, "no descriptor, no question");
    assert_eq!(limits.stats().connections(), 1);
    let lines = gateway.wait_access(5).await;
    assert_eq!(lines[2]["reason"], "RateLimit", "{}", lines[2]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_in_trouble_closes_or_opens() {
    let backend = Backend::echo();
    let dead = Backend::dead().await;
    let empty = Backend::http(|_| async { answer::grpc(b"") });
    let mute = Backend::raw(|accepted| async move {
        let _held = accepted;
        std::future::pending().await
    });
    for (name, server) in [("dead", &dead), ("empty", &empty), ("mute", &mute)] {
        for (mode, expected) in [("failClosed", 503), ("failOpen", 200)] {
            let more = format!(", failureMode: {mode}, policies: {{ http: {{ requestTimeout: 300ms }} }}");
            let gateway = Gateway::start(&config::route(&backend, &policy(server, &more))).await;
            let reply = gateway.client().get("/").header("x-user", "me").await;
            assert_eq!(reply.status.as_u16(), expected, "{name} {mode}: {}", reply.text());
            let line = gateway.wait_access(1).await.remove(0);
            assert!(line["error"].as_str().is_some_and(|it| it.starts_with("remoteRateLimit: ")), "{name}: {line}");
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn costs_reach_the_server_and_in_shadow_nothing_is_refused() {
    let (limits, backend) = (limits(), Backend::echo());
    let entry = |user: &str| format!("entries: [{{ key: user, value: '\"{user}\"' }}]");
    let policy = |mode: &str| {
        format!(
            "remoteRateLimit: {{ host: '{}', domain: shop, mode: {mode}, descriptors: [\
             {{ {}, cost: 'request.method == \"POST\" ? 200 : 1' }}, {{ {}, type: tokens, cost: llm.totalTokens }}] }}",
            limits.addr(),
            entry("eve"),
            entry("adam"),
        )
    };
    let gateway = Gateway::start(&config::route(&backend, &policy("shadow"))).await;
    let client = gateway.client();
    for _ in 0..3 {
        let reply = client.post("/").body("x").await.expect_status(200);
        assert_eq!(reply.header("x-ratelimit-limit"), None);
    }
    let asked = limits.stats().last().body;
    assert!(asked.windows(3).any(|it| it == [&number(3, 200)[..]].concat()), "the cost: {asked:?}");
    assert!(!holds(&asked, "adam"), "tokens are asked for by calls of models");
    let line = gateway.wait_access(3).await.remove(2);
    assert!(line["policy.wouldDeny"].as_str().is_some_and(|it| it.contains("remoteRateLimit")), "{line}");
    gateway.reload(&config::route(&backend, &policy("enforce"))).await;
    client.get("/").await.expect_status(429);
    gateway.stop().await;
}
