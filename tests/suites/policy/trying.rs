//! Deadlines, further tries, and limits.

use std::time::Instant;

use tests::backend::Failure;
use tests::http::{digest, pattern};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, config, eventually};

#[tokio::test]
async fn a_deadline_is_504_where_nothing_was_sent_and_the_backend_is_let_go() {
    let backend = Backend::echo();
    for policy in [
        "timeout: { requestTimeout: 300ms }",
        "timeout: { backendRequestTimeout: 300ms }",
        "timeout: { requestTimeout: 10s, backendRequestTimeout: 300ms }",
    ] {
        // What is not to fail has all the time it needs.
        let gateway = Gateway::start(&config::routes(&format!(
            "- matches: [{{ path: {{ exact: /stall }} }}]\n  policies: {{ {policy} }}\n  backends: [{{ host: '{0}' }}]\n- backends: [{{ host: '{0}' }}]\n",
            backend.addr()
        )))
        .await;
        for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
            let reply = client.post("/stall").body("hello").await.expect_status(504);
            assert!(reply.text().contains("timeout"), "{}", reply.text());
            backend.stats().idle(PATIENCE).await;
            client.get("/x").await.expect_status(200);
        }
        let line = gateway.wait_access(1).await.remove(0);
        assert_eq!(line["reason"], "Timeout", "{line}");
        gateway.stop().await;
    }
    let gateway = Gateway::start(&config::backend(&backend, "http: { requestTimeout: 300ms }")).await;
    gateway.client().get("/stall").await.expect_status(504);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_is_cut_at_its_deadline_and_not_before() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "timeout: { requestTimeout: 1s }")).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        let started = Instant::now();
        let mut events = client.get("/sse?n=100000&ms=10").events().await;
        let mut seen = 0;
        while let Ok(Some(_)) = events.next().await {
            seen += 1;
        }
        let took = started.elapsed().as_secs_f64();
        assert!(took > 0.9, "cut after {took} s");
        assert!(took < 30.0, "cut after {took} s only, of a thousand");
        assert!(seen > 5, "{seen} events");
    }
    backend.stats().idle(PATIENCE).await;
    gateway.stop().await;
}

#[tokio::test]
async fn statuses_are_tried_again_as_often_as_allowed() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "retry: { attempts: 2, codes: [503], backoff: 10ms }")).await;
    let client = gateway.client();
    backend.stats().fail_next(2, 503);
    client.get("/x").await.expect_status(200);
    assert_eq!(backend.stats().last().header("x-retry-attempt"), Some("2"));
    assert_eq!(gateway.wait_access(1).await[0]["retry.attempt"], 2);
    let before = backend.stats().requests();
    backend.stats().fail_next(3, 503);
    client.get("/x").await.expect_status(503);
    assert_eq!(backend.stats().requests() - before, 3);
    let before = backend.stats().requests();
    backend.stats().fail_next(1, 500);
    client.get("/x").await.expect_status(500);
    assert_eq!(backend.stats().requests() - before, 1, "500 is not among the codes");
    gateway.stop().await;
}

#[tokio::test]
async fn resets_and_silence_are_tried_again() {
    let backend = Backend::echo();
    let policy = "retry: { attempts: 3, codes: [503], perTryTimeout: 3s }";
    let gateway = Gateway::start(&config::route(&backend, policy)).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        backend.stats().script([Failure::Reset, Failure::Close, Failure::Stall]);
        let reply = client.post("/x").body("hello").await.expect_status(200);
        assert_eq!(reply.json()["body"]["text"], "hello");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn backoff_waits_longer_each_time_and_never_past_the_deadline() {
    let backend = Backend::echo();
    let policy = "retry: { attempts: 3, codes: [503], backoff: 200ms }";
    let gateway = Gateway::start(&config::route(&backend, policy)).await;
    backend.stats().fail_next(3, 503);
    let started = Instant::now();
    gateway.client().get("/x").await.expect_status(200);
    // At least half of 200, 400 and 800 ms.
    assert!(started.elapsed().as_millis() >= 700, "{:?}", started.elapsed());
    gateway.stop().await;
    let policy = "timeout: { requestTimeout: 500ms }, retry: { attempts: 3, codes: [503], backoff: 1m }";
    let gateway = Gateway::start(&config::route(&backend, policy)).await;
    backend.stats().fail_next(4, 503);
    let started = Instant::now();
    let status = gateway.client().get("/x").await.status.as_u16();
    assert!(matches!(status, 503 | 504), "{status}");
    assert!(started.elapsed().as_secs() < 30, "the minute is not waited for");
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_within_the_limit_is_sent_again_whole() {
    let backend = Backend::echo();
    let body = pattern(3_000_000);
    let yaml = "frontendPolicies: { http: { maxBufferSize: 4000000 } }\n".to_owned()
        + &config::route(&backend, "retry: { attempts: 2, codes: [503] }");
    let gateway = Gateway::start(&yaml).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        backend.stats().fail_next(2, 503);
        let reply = client.post("/x").body(body.clone()).await.expect_status(200);
        assert_eq!(reply.json()["body"]["digest"], digest(&body));
        assert!(backend.stats().last().complete);
    }
    let before = backend.stats().requests();
    backend.stats().script([Failure::Reset]);
    let reply = gateway.client().post("/x").body(body.clone()).await.expect_status(200);
    assert_eq!(
        (reply.json()["body"]["digest"].clone(), backend.stats().requests() - before),
        (digest(&body).into(), 2)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_sent_once() {
    let backend = Backend::echo();
    let yaml = "frontendPolicies: { http: { maxBufferSize: 100000 } }\n".to_owned()
        + &config::route(&backend, "retry: { attempts: 2, codes: [503] }");
    let gateway = Gateway::start(&yaml).await;
    let body = pattern(3_000_000);
    let reply = gateway.client().post("/x").body(body.clone()).await.expect_status(200);
    assert_eq!(reply.json()["body"]["digest"], digest(&body), "it streams all the same");
    let before = backend.stats().requests();
    let reply = gateway.client().post("/x?do=status/503").body(body).await.expect_status(503);
    assert_eq!((reply.text().as_str(), backend.stats().requests() - before), ("status 503", 1));
    gateway.stop().await;
}

#[tokio::test]
async fn a_grpc_call_is_tried_again_with_its_message() {
    let backend = Backend::grpc();
    let gateway = Gateway::start(&config::route(&backend, "retry: { attempts: 2, codes: [503] }")).await;
    backend.stats().fail_next(1, 503);
    let client = tests::GrpcClient::new(Client::h2c(gateway.addr(0)));
    let reply = client.unary("/test.Echo/Unary", b"again", &[]).await;
    assert_eq!((reply.status(), reply.texts()), (Some(0), vec!["again".to_owned()]));
    gateway.stop().await;
}

#[tokio::test]
async fn a_full_backend_refuses_or_queues_as_told() {
    let backend = Backend::echo();
    let limits = "circuitBreaker: { maxParallelRequests: 1, maxPendingRequests: 1 }";
    let gateway = Gateway::start(&config::backend(&backend, limits)).await;
    let stalled = gateway.client();
    let first = tokio::spawn(stalled.get("/stall").try_send());
    eventually(PATIENCE, || async { backend.stats().in_flight() == 1 }).await;
    let racers = [gateway.client(), gateway.client()].map(|it| Box::pin(it.get("/x").try_send()));
    let (refused, _, mut waiting) = futures::future::select_all(racers).await;
    refused.expect("an answer").expect_status(503);
    let line = gateway.wait_access(1).await.remove(0);
    assert_eq!(line["reason"], "Overflow", "{line}");
    first.abort();
    stalled.disconnect().await;
    let waited = waiting.pop().expect("one of two").await;
    waited.expect("an answer").expect_status(200);
    gateway.stop().await;
}

#[tokio::test]
async fn no_more_retries_at_once_than_allowed() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::routes(&format!(
        "- policies: {{ retry: {{ attempts: 1, codes: [503] }} }}\n  \
         backends: [{{ host: '{}', policies: {{ circuitBreaker: {{ maxParallelRetries: 1 }} }} }}]\n",
        backend.addr()
    )))
    .await;
    let fails = || Failure::Status(http::StatusCode::SERVICE_UNAVAILABLE);
    backend.stats().script([fails(), Failure::Stall]);
    let first = Client::h1(gateway.addr(0));
    let call = tokio::spawn(first.get("/first").try_send());
    eventually(PATIENCE, || async { backend.stats().requests() == 2 }).await;
    backend.stats().script([fails()]);
    gateway.client().get("/second").await.expect_status(503);
    assert_eq!(backend.stats().requests(), 3, "its retry has no place");
    let line = gateway.wait_access(1).await.remove(0);
    assert_eq!((&line["http.path"], &line["reason"]), (&"/second".into(), &"Overflow".into()), "{line}");
    call.abort();
    first.disconnect().await;
    gateway.wait_access(2).await;
    backend.stats().script([fails()]);
    gateway.client().get("/third").await.expect_status(200);
    gateway.stop().await;
}
