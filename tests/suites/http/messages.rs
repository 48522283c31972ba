//! Requests and answers: methods, framing, sizes, versions, reuse of connections.

use http::Method;
use tests::http::{channel, digest, pattern};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, RawClient, config, eventually};

const BIG: usize = 5 * 1024 * 1024;

#[tokio::test]
async fn requests_share_the_connections_on_both_sides() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let client = gateway.client();
    for n in 0..20 {
        let reply = client.get(&format!("/x/{n}?q={n}")).await.expect_status(200);
        let seen = reply.json();
        assert_eq!((seen["path"].as_str(), seen["method"].as_str()), (Some(&*format!("/x/{n}")), Some("GET")));
        assert_eq!(seen["query"], format!("q={n}"));
    }
    let said = client.post("/y").body("hello").await.expect_status(200).json();
    assert_eq!(said["body"]["text"], "hello");
    assert_eq!((client.connections(), backend.stats().connections()), (1, 1), "one connection each");
    gateway.stop().await;
}

#[tokio::test]
async fn a_refusal_of_the_backend_does_not_cost_its_connection() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let client = gateway.client();
    for status in [404, 400, 500, 204, 304, 200] {
        client.get(&format!("/status/{status}")).await.expect_status(status);
    }
    assert_eq!((client.connections(), backend.stats().connections()), (1, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn head_is_answered_with_the_length_and_no_body() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    for _ in 0..2 {
        raw.write("HEAD /bytes?n=1000 HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        let reply = raw.reply_to_head().await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.header("content-length")), (200, Some("1000")));
    }
    raw.write("GET /bytes?n=3 HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    assert_eq!(raw.reply().await.expect("an answer").body.len(), 3, "nothing was left in the connection");
    gateway.stop().await;
}

#[tokio::test]
async fn answers_without_a_body_have_no_framing() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    for status in [204, 304] {
        raw.write(format!("GET /status/{status} HTTP/1.1\r\nhost: a\r\n\r\n")).await.expect("written");
        let head = raw.head().await.expect("an answer");
        assert_eq!(head.status.as_u16(), status);
        assert_eq!(head.header("transfer-encoding"), None, "{head:?}");
        assert!(status != 204 || head.header("content-length").is_none(), "{head:?}");
    }
    raw.write("GET /bytes?n=3 HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    assert_eq!(raw.reply().await.expect("an answer").body.len(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn chunked_bodies_arrive_whole_in_both_directions() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write(
        "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
    )
    .await
    .expect("written");
    let reply = raw.reply().await.expect("an answer").expect_status(200);
    assert_eq!(reply.json()["body"]["text"], "hello!");
    raw.write("GET /chunked?n=3 HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let reply = raw.reply().await.expect("an answer");
    assert_eq!(reply.text(), "piece 0\npiece 1\npiece 2\n");
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    gateway.stop().await;
}

#[tokio::test]
async fn big_bodies_arrive_unchanged_over_every_pair_of_versions() {
    let backend = Backend::echo();
    let body = pattern(BIG);
    let sum = digest(&body);
    for version in ["HTTP/1.1", "HTTP/2.0"] {
        let gateway = Gateway::start(&config::backend(&backend, &format!("http: {{ version: {version} }}"))).await;
        for client in [gateway.client(), Client::h2c(gateway.addr(0)).host("a.example")] {
            let reply = client.post("/x").body(body.clone()).await.expect_status(200).json();
            assert_eq!((&reply["version"], &reply["body"]["digest"]), (&version.into(), &sum.clone().into()));
            let reply = client.get(&format!("/bytes?n={BIG}")).await.expect_status(200);
            assert_eq!((reply.body.len(), digest(&reply.body)), (BIG, sum.clone()));
            let reply = client.post("/mirror").body(body.clone()).await.expect_status(200);
            assert_eq!(digest(&reply.body), sum, "both directions at once");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_version_of_the_client_is_kept_where_nothing_is_said() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let version = |client: Client| async move { client.get("/").await.expect_status(200).json()["version"].clone() };
    assert_eq!(version(gateway.client()).await, "HTTP/1.1");
    assert_eq!(version(Client::h2c(gateway.addr(0))).await, "HTTP/2.0");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_on_http2_reaches_an_http1_backend_with_one_host() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::backend(&backend, "http: { version: HTTP/1.1 }")).await;
    let client = Client::h2c(gateway.addr(0)).host("shop.example");
    client.get("/x").header("cookie", "a=1").header("cookie", "b=2").await.expect_status(200);
    let seen = backend.stats().last();
    let hosts: Vec<_> = seen.headers.get_all("host").iter().collect();
    assert_eq!(hosts, ["shop.example"], "one Host, the client's");
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"], "RFC 9113 section 8.2.3: crumbs are joined for HTTP/1.1");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_on_http1_reaches_an_http2_backend_with_its_authority() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::backend(&backend, "http: { version: HTTP/2.0 }")).await;
    let client = gateway.client().host("shop.example");
    let reply = client.post("/x?y=1").body("hello").await.expect_status(200);
    assert_eq!(reply.json()["body"]["text"], "hello");
    let seen = backend.stats().last();
    assert_eq!(seen.version, http::Version::HTTP_2);
    assert_eq!(seen.uri.authority().map(|it| it.as_str()), Some("shop.example"));
    assert_eq!(seen.header("host"), None, "the authority is said once");
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive"] {
        assert_eq!(seen.header(name), None, "RFC 9113 section 8.2.2 forbids {name}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn trailers_of_answers_pass_over_http2_and_harm_nobody_over_http1() {
    let backend = Backend::echo();
    for version in ["HTTP/1.1", "HTTP/2.0"] {
        let gateway = Gateway::start(&config::backend(&backend, &format!("http: {{ version: {version} }}"))).await;
        let reply = Client::h2c(gateway.addr(0)).get("/trailers").header("te", "trailers").await.expect_status(200);
        assert_eq!(reply.text(), "before the trailers");
        // Pingora drops the trailers of HTTP/1 in both directions.
        assert_eq!(reply.trailer("x-digest").is_some(), version == "HTTP/2.0", "{version}: {:?}", reply.trailers);
        let reply = gateway.client().get("/trailers").header("te", "trailers").await.expect_status(200);
        assert_eq!(reply.text(), "before the trailers", "h1 client, {version} backend");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body_is_sent() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write("POST /expect HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        .await
        .expect("written");
    assert_eq!(raw.head().await.expect("an interim answer").status.as_u16(), 100);
    raw.write("hello").await.expect("written");
    let reply = raw.reply().await.expect("an answer").expect_status(200);
    assert_eq!(reply.json()["body"]["text"], "hello");
    raw.write("GET /after HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    assert_eq!(raw.reply().await.expect("an answer").json()["path"], "/after");
    gateway.stop().await;
}

#[tokio::test]
async fn expect_continue_that_the_backend_refuses_is_refused_without_the_body() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write("POST /expect?status=417 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        .await
        .expect("written");
    assert_eq!(raw.reply().await.expect("an answer").status.as_u16(), 417);
    gateway.stop().await;
}

#[tokio::test]
async fn three_requests_in_one_write_get_three_answers_in_order() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    let requests = "GET /one HTTP/1.1\r\nhost: a\r\n\r\n\
                    POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
                    GET /three HTTP/1.1\r\nhost: a\r\n\r\n";
    raw.write(requests).await.expect("written");
    for (path, body) in [("/one", ""), ("/two", "abc"), ("/three", "")] {
        let seen = raw.reply().await.expect("an answer").expect_status(200).json();
        assert_eq!((seen["path"].as_str(), seen["body"]["text"].as_str()), (Some(path), Some(body)));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_reaches_the_client() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let (sender, body) = channel();
    let reply = gateway.client().post("/hasty").stream_body(body);
    let reply = tokio::spawn(async move { reply.stream().await.status.as_u16() });
    sender.data("first").await;
    assert_eq!(reply.await.expect("the client"), 200, "the body never ended");
    drop(sender);
    gateway.stop().await;
}

#[tokio::test]
async fn options_of_the_server_itself_reaches_the_backend_as_asterisk() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let reply = raw.reply().await.expect("an answer");
    assert!(reply.status.as_u16() < 500, "{}: {}", reply.status, reply.text());
    gateway.stop().await;
}

#[tokio::test]
async fn an_absolute_target_counts_for_host_and_path() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write("GET http://shop.example/x?y=1 HTTP/1.1\r\nhost: shop.example\r\n\r\n").await.expect("written");
    raw.reply().await.expect("an answer").expect_status(200);
    let seen = backend.stats().last();
    assert_eq!((seen.header("host"), seen.uri.to_string()), (Some("shop.example"), "/x?y=1".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn http_1_0_is_served_and_its_connection_closed() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let replies = RawClient::exchange(gateway.addr(0), "GET /chunked?n=2 HTTP/1.0\r\nhost: a\r\n\r\n").await;
    let replies = replies.expect("an answer and the end");
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0].header("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
    assert_eq!(replies[0].text(), "piece 0\npiece 1\n");
    gateway.stop().await;
}

#[tokio::test]
async fn a_pooled_connection_that_the_backend_closed_harms_no_request() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let client = gateway.client();
    for _ in 0..10 {
        client.get("/x").await.expect_status(200);
        backend.down().await;
        backend.up();
        client.get("/y").await.expect_status(200);
        client.call(Method::PUT, "/z").body("again").await.expect_status(200);
    }
    eventually(PATIENCE, || async { backend.stats().in_flight() == 0 }).await;
    gateway.stop().await;
}
