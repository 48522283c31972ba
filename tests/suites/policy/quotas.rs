//! How much may be asked for: in a time, and at once.

use std::time::Duration;

use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, RawClient, config, eventually};

fn limited(backend: &Backend, rule: &str, more: &str) -> String {
    let policies = format!("localRateLimit: [{{ fillInterval: 1h, tokensPerFill: 1, {rule} }}]");
    config::route(backend, &policies) + more
}

#[tokio::test]
async fn who_has_used_a_quota_up_gets_429_and_the_log_says_by_which_rule() {
    let backend = Backend::echo();
    let rule = "maxTokens: 2, key: 'request.headers[\"x-user\"]'";
    let gateway = Gateway::start(&limited(&backend, rule, "")).await;
    let client = gateway.client();
    let ask = |user: &'static str| client.get("/").header("x-user", user);
    let reply = ask("a").await.expect_status(200);
    assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), (Some("2"), Some("1")));
    assert_eq!(reply.header("ratelimit"), Some("\"requests\";r=1;t=3600"));
    assert_eq!(reply.header("ratelimit-policy"), Some("\"requests\";q=2;w=7200"));
    ask("a").await.expect_status(200);
    let reply = ask("a").await.expect_status(429);
    assert_eq!(reply.text(), "rate limit exceeded\n");
    let wait: u64 = reply.header("retry-after").and_then(|it| it.parse().ok()).expect("a number of seconds");
    assert!((3000..=3600).contains(&wait), "{wait}");
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("0"));
    ask("b").await.expect_status(200);
    assert_eq!(backend.stats().requests(), 3, "what is refused reaches no backend");
    let line = &gateway.wait_access(4).await[2];
    assert_eq!(line["http.status"], 429, "{line}");
    assert_eq!((&line["reason"], &line["policy.rule"]), (&"RateLimit".into(), &0.into()), "{line}");
    assert!(line["policy"].as_str().is_some_and(|it| it.ends_with("/localRateLimit")), "{line}");
    let labels = [("policy", "localRateLimit"), ("mode", "enforce")];
    assert_eq!(gateway.metric_sum("agentgateway_policy_denials_total", &labels).await, 1.0);
    gateway.stop().await;
}

#[tokio::test]
async fn buckets_survive_an_unrelated_update() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&limited(&backend, "maxTokens: 2", "")).await;
    let client = gateway.client();
    client.get("/").await.expect_status(200);
    client.get("/").await.expect_status(200);
    gateway.reload(&limited(&backend, "maxTokens: 2", "backends: [{ name: other, host: '127.0.0.1:9' }]\n")).await;
    client.get("/").await.expect_status(429);
    gateway.reload(&limited(&backend, "maxTokens: 3", "")).await;
    client.get("/").await.expect_status(200);
    client.get("/").await.expect_status(429);
    gateway.stop().await;
}

#[tokio::test]
async fn a_limit_in_shadow_mode_says_what_it_would_do() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&limited(&backend, "maxTokens: 1, mode: shadow", "")).await;
    let client = gateway.client();
    for _ in 0..3 {
        let reply = client.get("/").await.expect_status(200);
        assert_eq!(reply.header("x-ratelimit-limit"), None);
    }
    let lines = gateway.wait_access(3).await;
    assert!(lines[0]["policy.wouldDeny"].is_null(), "{}", lines[0]);
    assert!(lines[2]["policy.wouldDeny"].as_str().is_some_and(|it| it.ends_with("/localRateLimit#0")), "{}", lines[2]);
    let labels = [("policy", "localRateLimit"), ("mode", "shadow")];
    assert_eq!(gateway.metric_sum("agentgateway_policy_denials_total", &labels).await, 2.0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_flood_of_keys_leaves_memory_and_the_quotas_of_others_alone() {
    let backend = Backend::echo();
    let rule = "maxTokens: 3, key: 'request.headers[\"x-user\"]', maxKeys: 2000";
    let gateway = Gateway::start(&limited(&backend, rule, "")).await;
    let client = gateway.client();
    let ask = |user: &str| client.get("/").header("x-user", user);
    for _ in 0..3 {
        ask("victim").await.expect_status(200);
    }
    for n in 0..1000 {
        ask(&format!("warm {n}")).await.expect_status(200);
    }
    let before = gateway.rss_kib();
    let long = "k".repeat(8000);
    for n in 0..5000 {
        ask(&format!("{long}{n}")).await.expect_status(200);
    }
    ask("victim").await.expect_status(429);
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for 5,000 keys of 8,000 bytes");
    gateway.stop().await;
}

#[tokio::test]
async fn requests_under_way_are_counted_until_they_end_however_they_end() {
    let backend = Backend::echo();
    let policies = "concurrencyLimit: [{ maxInFlight: 2 }, { maxInFlight: 1, key: 'request.headers[\"x-user\"]' }]";
    let gateway = Gateway::start(&config::route(&backend, policies)).await;
    let hold = |user: &str| {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\nx-user: {user}\r\ncontent-length: 5\r\n\r\n");
        let addr = gateway.addr(0);
        async move {
            let mut raw = RawClient::connect(addr).await;
            raw.write(head.as_str()).await.expect("written");
            raw
        }
    };
    let one = hold("a").await;
    eventually(PATIENCE, || async { backend.stats().requests() == 1 }).await;
    let client = Client::h1(gateway.addr(0));
    let reply = client.get("/").header("x-user", "a").await.expect_status(429);
    assert_eq!((reply.text().as_str(), reply.header("retry-after")), ("too many requests in flight\n", Some("1")));
    let two = hold("b").await;
    eventually(PATIENCE, || async { backend.stats().requests() == 2 }).await;
    client.get("/").header("x-user", "c").await.expect_status(503);
    drop(one);
    // A client that is gone gives its place back.
    eventually(PATIENCE, || async { client.get("/").header("x-user", "a").await.status == 200 }).await;
    drop(two);
    eventually(PATIENCE, || async { client.get("/").header("x-user", "b").await.status == 200 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_successor_goes_on_where_the_predecessor_was() {
    let backend = Backend::echo();
    let rule = "maxTokens: 2, key: 'request.headers[\"x-user\"]'";
    let yaml = format!("config:\n  handoffSocket: '{{{{dir}}}}/handoff.sock'\n{}", limited(&backend, rule, ""));
    let mut gateway = Gateway::start(&yaml).await;
    let addr = gateway.addr(0);
    let ask = |user: &'static str| Client::h1(addr).get("/").header("x-user", user);
    ask("a").await.expect_status(200);
    ask("a").await.expect_status(200);
    ask("b").await.expect_status(200);
    let successor = gateway.succeed().await;
    gateway.wait_succeeded(Duration::from_secs(30)).await;
    ask("a").await.expect_status(429);
    ask("b").await.expect_status(200);
    ask("b").await.expect_status(429);
    ask("c").await.expect_status(200);
    successor.stop(PATIENCE).await;
}
