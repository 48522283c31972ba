//! Policies on bodies: buffers and compression.

use tests::http::{channel, digest, pattern};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, RawClient, config, eventually};

#[tokio::test]
async fn a_buffered_request_reaches_the_backend_only_when_it_is_whole() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "buffer: { request: { maxBytes: 100000 } }")).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        let (sender, body) = channel();
        let before = backend.stats().requests();
        let call = tokio::spawn(client.post("/x").stream_body(body).try_send());
        assert!(sender.data("first").await);
        gateway.client().get("/other").await.expect_status(200);
        assert_eq!(backend.stats().requests(), before + 1, "only the other one");
        assert!(sender.data("last").await);
        drop(sender);
        let reply = call.await.expect("the client").expect("an answer").expect_status(200);
        assert_eq!(reply.json()["body"]["text"], "firstlast");
        let whole = pattern(100_000);
        let reply = client.post("/x").body(whole.clone()).await.expect_status(200);
        assert_eq!(reply.json()["body"]["digest"], digest(&whole));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_over_the_buffer_is_413_or_streams_on() {
    let backend = Backend::echo();
    let large = pattern(300_000);
    let gateway = Gateway::start(&config::route(&backend, "buffer: { request: { maxBytes: 1000 } }")).await;
    gateway.client().post("/x").body(large.clone()).await.expect_status(413);
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n800\r\n").await.expect("written");
    raw.write(pattern(0x800)).await.expect("written");
    assert_eq!(raw.reply().await.expect("an answer").status.as_u16(), 413);
    let lines = gateway.wait_access(2).await;
    assert!(lines.iter().all(|it| it["reason"] == "TooLarge"), "{lines:?}");
    assert_eq!(backend.stats().requests(), 0);
    gateway.stop().await;
    let policy = "buffer: { request: { maxBytes: 1000, failureMode: failOpen } }";
    let gateway = Gateway::start(&config::route(&backend, policy)).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        let reply = client.post("/x").body(large.clone()).await.expect_status(200);
        assert_eq!(reply.json()["body"]["digest"], digest(&large));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_response_over_the_buffer_is_502_or_streams_on() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "buffer: { response: { maxBytes: 1000 } }")).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        assert_eq!(client.get("/bytes?n=1000").await.expect_status(200).body, pattern(1000));
        assert_eq!(client.get("/chunked?n=3").await.expect_status(200).text(), "piece 0\npiece 1\npiece 2\n");
        client.get("/bytes?n=100000").await.expect_status(502);
        client.get("/chunked?n=1000").await.expect_status(502);
    }
    gateway.stop().await;
    let policy = "buffer: { response: { maxBytes: 1000, failureMode: failOpen } }";
    let gateway = Gateway::start(&config::route(&backend, policy)).await;
    let reply = gateway.client().get("/bytes?n=100000").await.expect_status(200);
    assert_eq!(reply.body, pattern(100_000));
    gateway.stop().await;
}

#[tokio::test]
async fn a_buffered_response_that_breaks_off_is_a_clean_502() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "buffer: { response: { maxBytes: 100000 } }")).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        client.get("/early-close?after=10").await.expect_status(502);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn responses_are_compressed_as_the_client_and_the_policy_agree() {
    let backend = Backend::echo();
    let policy = "compression: { algorithms: [zstd, br, gzip], level: 4, contentTypes: [text/, application/json], minBytes: 100 }";
    let gateway = Gateway::start(&config::route(&backend, policy)).await;
    let client = gateway.client();
    for (accept, magic, encoding) in
        [("gzip", &[0x1f, 0x8b][..], "gzip"), ("br", &[][..], "br"), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd][..], "zstd")]
    {
        let reply = client.get("/chunked?n=500").header("accept-encoding", accept).await.expect_status(200);
        assert_eq!(reply.header("content-encoding"), Some(encoding));
        assert!(reply.body.starts_with(magic) && reply.body.len() < 4000, "{} bytes", reply.body.len());
        assert!(reply.header("vary").is_some_and(|it| it.to_lowercase().contains("accept-encoding")), "{encoding}");
    }
    for (path, accept) in [
        ("/chunked?n=500", "identity"),
        ("/chunked?n=500", "gzip;q=0"),
        ("/bytes?n=5000", "gzip"),
        ("/status/200", "gzip"),
        ("/sse?n=3", "gzip"),
    ] {
        let reply = client.get(path).header("accept-encoding", accept).await.expect_status(200);
        assert_eq!(reply.header("content-encoding"), None, "{path} {accept}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_policy_bodies_stream_in_both_directions() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        let (sender, body) = channel();
        assert!(sender.data("one").await);
        let mut answer = client.post("/mirror").stream_body(body).stream().await;
        assert_eq!(answer.chunk().await.expect("no break").expect("a piece"), "one", "before the body has ended");
        assert!(sender.data("two").await);
        assert_eq!(answer.chunk().await.expect("no break").expect("a piece"), "two");
        drop(sender);
        assert_eq!(answer.chunk().await.expect("a proper end"), None);
    }
    eventually(PATIENCE, || async { backend.stats().in_flight() == 0 }).await;
    gateway.stop().await;
}
