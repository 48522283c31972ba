//! What is refused for where it comes from, and what is made to wait or fail on purpose.

use std::time::{Duration, Instant};

use tests::{Backend, Gateway, config};

#[tokio::test]
async fn what_another_site_makes_a_browser_send_is_refused() {
    let backend = Backend::echo();
    let policies =
        "cors: { allowOrigins: ['https://seen.example'] }, csrf: { additionalOrigins: ['https://app.example'] }";
    let gateway = Gateway::start(&config::route(&backend, policies)).await;
    let client = gateway.client().host("api.example");
    let post = |origin: &'static str| client.post("/").header("origin", origin);
    let reply = post("https://evil.example").await.expect_status(403);
    assert_eq!(reply.text(), "CSRF validation failed");
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let reply = post("https://seen.example").await.expect_status(403);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://seen.example"), "a script can read it");
    client.post("/").header("sec-fetch-site", "cross-site").await.expect_status(403);
    assert_eq!(backend.stats().requests(), 0);
    post("https://app.example").await.expect_status(200);
    client.post("/").header("sec-fetch-site", "same-origin").await.expect_status(200);
    client.post("/").await.expect_status(200);
    client.get("/").header("origin", "https://evil.example").await.expect_status(200);
    let lines = gateway.wait_access(7).await;
    let reasons: Vec<_> = lines.iter().map(|it| it["reason"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(reasons.iter().filter(|it| *it == "Csrf").count(), 3, "{reasons:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn requests_fail_on_purpose_in_the_share_asked_for() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "fault: { abort: { status: 418, percentage: 0.5 } }")).await;
    let client = gateway.client();
    let mut failed = 0;
    for _ in 0..200 {
        let reply = client.get("/").await;
        failed += u64::from(reply.status == 418);
    }
    assert!((60..140).contains(&failed), "{failed} of 200");
    assert_eq!(backend.stats().requests(), 200 - failed, "no backend sees what failed");
    let lines = gateway.wait_access(200).await;
    let counted = lines.iter().filter(|it| it["reason"] == "FaultInjected").count();
    assert_eq!(counted as u64, failed);
    gateway.stop().await;
}

#[tokio::test]
async fn requests_wait_before_they_are_answered_but_not_past_their_deadline() {
    let gateway = Gateway::start(&config::routes(
        "- matches: [{ path: { exact: /slow } }]
  policies: { delay: { duration: 300ms }, directResponse: { status: 200 } }
- matches: [{ path: { exact: /late } }]
  policies: { delay: { duration: 5m }, timeout: { requestTimeout: 50ms }, directResponse: { status: 200 } }
- matches: [{ path: { exact: /refused } }]
  policies: { delay: { duration: 5m }, csrf: {}, directResponse: { status: 200 } }
",
    ))
    .await;
    let client = gateway.client();
    let begun = Instant::now();
    client.get("/slow").await.expect_status(200);
    assert!(begun.elapsed() >= Duration::from_millis(300), "a direct response waits");
    client.get("/late").await.expect_status(504);
    client.post("/refused").header("origin", "https://evil.example").await.expect_status(403);
    let lines = gateway.wait_access(3).await;
    assert_eq!(lines[1]["reason"], "Timeout", "{}", lines[1]);
    gateway.stop().await;
}
