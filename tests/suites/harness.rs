//! The harness tested on itself: its clients ask its backends, with no gateway between.
//!
//! When one of these fails, no other suite's failure means anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::backend::{Accepted, Failure, answer};
use tests::client::proxy;
use tests::io::{Place, tls_connect};
use tests::wait::PATIENCE;
use tests::{Authority, Backend, Client, GrpcClient, RawClient, WsClient, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn echo_tells_what_it_was_asked_over_http1_and_http2() {
    let backend = Backend::echo_named("a");
    for (client, version) in
        [(Client::h1(backend.addr()), "HTTP/1.1"), (Client::h2c(backend.addr()).host("a.example"), "HTTP/2.0")]
    {
        let reply = client.post("/x/y?q=1").header("X-Mixed", "one").header("x-mixed", "two").body("hello").await;
        let seen = reply.json();
        assert_eq!(seen["backend"], "a");
        assert_eq!((&seen["method"], &seen["path"], &seen["query"]), (&json!("POST"), &json!("/x/y"), &json!("q=1")));
        assert_eq!(seen["version"], version);
        assert_eq!(seen["body"]["text"], "hello");
        let mixed: Vec<&Value> =
            seen["headers"].as_array().expect("a list").iter().filter(|it| it[0] == "x-mixed").collect();
        assert_eq!(mixed, [&json!(["x-mixed", "one"]), &json!(["x-mixed", "two"])]);
    }
    assert_eq!(backend.stats().requests(), 2);
    assert_eq!(backend.stats().last().header("x-mixed"), Some("one"));
    backend.stats().idle(PATIENCE).await;
}

#[tokio::test]
async fn a_client_says_whether_its_connection_was_reused() {
    let backend = Backend::echo();
    let client = Client::h1(backend.addr());
    let first = client.get("/").await;
    let second = client.get("/").await;
    assert_eq!((first.reused, second.reused), (false, true));
    assert!(client.is_open().await, "an idle connection is kept");
    backend.down().await;
    eventually(PATIENCE, || async { !client.is_open().await }).await;
    backend.up();
    let third = client.get("/").await;
    assert_eq!((third.reused, third.connection, client.connections()), (false, 2, 2));
}

#[tokio::test]
async fn a_backend_that_is_down_refuses_and_comes_back_at_its_port() {
    let backend = Backend::echo();
    backend.down().await;
    let refused = Client::h1(backend.addr()).get("/").try_send().await.expect_err("nobody listens");
    let cause = refused.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(cause, Some(std::io::ErrorKind::ConnectionRefused), "{refused:#}");
    assert_eq!(backend.stats().open(), 0);
    backend.up();
    Client::h1(backend.addr()).get("/").await.expect_status(200);
}

#[tokio::test]
async fn stop_accepting_leaves_open_connections_alone() {
    let backend = Backend::echo();
    let client = Client::h1(backend.addr());
    client.get("/").await;
    backend.stop_accepting().await;
    assert!(client.get("/").await.reused, "the open connection still serves");
    Client::h1(backend.addr()).get("/").try_send().await.expect_err("a new connection is refused");
}

#[tokio::test]
async fn scripted_failures_are_used_up_in_order() {
    let backend = Backend::http(|_| async { answer::text(200, "fine") });
    backend.stats().fail_next(1, 503);
    backend.stats().script([Failure::Reset, Failure::Close]);
    let client = Client::h1(backend.addr());
    client.get("/").await.expect_status(503);
    client.get("/").try_send().await.expect_err("a reset instead of an answer");
    client.get("/").try_send().await.expect_err("an end instead of an answer");
    assert_eq!(client.get("/").await.text(), "fine");
}

#[tokio::test]
async fn the_misbehaving_paths_do_what_they_say() {
    let backend = Backend::echo();
    let client = Client::h1(backend.addr());
    client.get("/status/418").await.expect_status(418);
    client.get("/own/path?do=status/429").await.expect_status(429);
    assert_eq!(client.get("/bytes?n=100000").await.body, tests::http::pattern(100_000));
    assert_eq!(client.get("/chunked?n=2").await.text(), "piece 0\npiece 1\n");
    assert_eq!(client.get("/set?x-a=1&x-a=2").await.headers_all("x-a"), ["1", "2"]);
    assert_eq!(client.get("/headers?n=2&size=3000").await.header("x-large-1").map(str::len), Some(3000));
    let started = Instant::now();
    client.get("/slow?ms=50").await.expect_status(200);
    assert!(started.elapsed() >= Duration::from_millis(50), "slow is slow");
    let body = tests::http::pattern(300_000);
    assert_eq!(client.post("/mirror").body(body.clone()).await.body, body);
    assert_eq!(client.post("/sip?ms=1").body(body.clone()).await.json()["body"]["digest"], tests::http::digest(&body));
    let late = client.deadline(Duration::from_millis(200)).get("/stall").try_send().await;
    late.expect_err("no answer to a stall");
}

#[tokio::test]
async fn an_abandoned_request_is_no_longer_in_flight() {
    let backend = Backend::echo();
    let client = Client::h2c(backend.addr());
    let stalled = tokio::spawn(client.get("/stall").try_send());
    eventually(PATIENCE, || async { backend.stats().in_flight() == 1 }).await;
    stalled.abort();
    backend.stats().idle(PATIENCE).await;
}

#[tokio::test]
async fn cut_answers_are_seen_as_reset_or_as_end() {
    let backend = Backend::echo();
    for (path, reset, bytes) in [
        ("/reset", true, 0),
        ("/early-close", false, 0),
        ("/reset?after=10", true, 10),
        ("/early-close?after=10", false, 10),
    ] {
        let mut raw = RawClient::connect(backend.addr()).await;
        raw.write(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await.expect("written");
        if bytes > 0 {
            assert_eq!(raw.head().await.expect("a head").header("Content-Length"), Some("1010"), "{path}");
        }
        let end = raw.read_to_end().await.unwrap_or_else(|error| panic!("no end to {path}: {error:#}"));
        assert_eq!((end.reset, end.bytes.len()), (reset, bytes), "{path}");
    }
    let cut = Client::h1(backend.addr()).get("/early-close?after=10").try_send().await;
    cut.expect_err("a truncated body is an error");
    let broken = Client::h2c(backend.addr()).get("/break").try_send().await;
    broken.expect_err("RST_STREAM is an error");
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let backend = Backend::echo();
    for client in [Client::h1(backend.addr()), Client::h2c(backend.addr())] {
        let events = client.get("/sse?n=3&ms=30").events().await.all().await;
        let data: Vec<&str> = events.iter().map(|it| it.data.as_str()).collect();
        assert_eq!(data, [r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#, "[DONE]"]);
        assert_eq!((events[1].name.as_str(), events[1].id.as_deref()), ("tick", Some("1")));
        assert!(events[2].at - events[0].at >= Duration::from_millis(50), "not held back until the end");
    }
}

#[tokio::test]
async fn trailers_arrive_over_http2_and_chunked_http1() {
    let backend = Backend::echo();
    let h2 = Client::h2c(backend.addr()).post("/trailers").body("x").await;
    let digest = tests::http::digest(b"x");
    assert_eq!(h2.trailer("x-digest"), Some(digest.as_str()));
    let mut raw = RawClient::connect(backend.addr()).await;
    let request = "POST /trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\ncontent-length: 1\r\n\r\nx";
    raw.write(request).await.expect("written");
    assert_eq!(raw.reply().await.expect("a reply").trailer("x-digest"), Some(digest.as_str()));
}

#[tokio::test]
async fn raw_client_reads_pipelined_answers_and_continues() {
    let backend = Backend::echo();
    let two = "GET /status/200 HTTP/1.1\r\nhost: a\r\n\r\nHEAD /bytes HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut raw = RawClient::connect(backend.addr()).await;
    raw.write(two).await.expect("written");
    assert_eq!(raw.reply().await.expect("the first").text(), "status 200");
    assert_eq!(raw.reply_to_head().await.expect("the second").header("content-length"), Some("1024"));
    raw.write("POST /expect HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await
        .expect("written");
    assert_eq!(raw.reply().await.expect("an interim answer").status, 100);
    raw.write("ok").await.expect("written");
    assert_eq!(raw.reply().await.expect("the answer").json()["body"]["text"], "ok");
    let refused = "POST /expect?status=417 HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n";
    let replies = RawClient::exchange(backend.addr(), refused).await.expect("answers");
    assert_eq!(replies.iter().map(|it| it.status.as_u16()).collect::<Vec<_>>(), [417]);
}

#[tokio::test]
async fn scripts_and_canned_bytes_reach_the_client_as_they_are() {
    let canned = Backend::canned("HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-Odd:  v \r\n\r\nokmore");
    let mut raw = RawClient::connect(canned.addr()).await;
    raw.write("GET / HTTP/1.1\r\n\r\n").await.expect("written");
    let head = raw.head().await.expect("a head");
    assert_eq!((head.reason.as_str(), head.headers[0].0.as_str()), ("Fine", "Content-Length"));
    assert_eq!(raw.read_to_end().await.expect("the rest").bytes, "okmore");
    let scripted = Backend::raw(|mut it: Accepted| async move {
        it.stream.write_all(b"first").await.expect("written");
        it.connection.reset();
        std::future::pending().await
    });
    let mut raw = RawClient::connect(scripted.addr()).await;
    let end = raw.read_to_end().await.expect("an end");
    assert!(end.reset, "{end:?}");
}

#[tokio::test]
async fn tls_negotiates_and_checks_both_certificates() {
    let authority = Authority::new("test authority");
    let server = authority.server(&["a.example", "*.b.example", "127.0.0.1"]);
    let backend = Backend::tls(server.server_config(Some(&authority), &["h2", "http/1.1"]));
    let workload = authority.spiffe("spiffe://cluster.local/ns/x/sa/y");
    for (alpn, version) in [(vec!["h2", "http/1.1"], "HTTP/2.0"), (vec!["http/1.1"], "HTTP/1.1"), (vec![], "HTTP/1.1")]
    {
        let client = Client::tls(backend.addr(), "x.b.example", authority.client_config(Some(&workload), &alpn));
        let seen = client.get("/").await.json();
        assert_eq!((&seen["version"], &seen["tls"]["sni"]), (&json!(version), &json!("x.b.example")));
        assert_eq!(seen["tls"]["clientCertificates"], 1);
        assert_eq!(client.tls_facts().await.expect("a TLS connection").peer, server.chain());
    }
    let stranger = Authority::new("another authority");
    let distrusts = stranger.client_config(None, &[]);
    Client::tls(backend.addr(), "a.example", distrusts).connect().await.expect_err("an unknown authority");
    let anonymous = authority.client_config(None, &[]);
    // With TLS 1.3 the client believes itself connected before the server refuses it.
    Client::tls(backend.addr(), "a.example", anonymous).get("/").try_send().await.expect_err("no client certificate");
    let wrong_name = authority.client_config(Some(&workload), &[]);
    Client::tls(backend.addr(), "c.example", wrong_name).connect().await.expect_err("another name");
    eventually(PATIENCE, || async { backend.stats().handshakes_failed() >= 3 }).await;
}

#[tokio::test]
async fn expired_and_future_certificates_are_refused() {
    let authority = Authority::new("test authority");
    for bad in [authority.expired(&["a.example"]), authority.not_yet_valid(&["a.example"])] {
        let backend = Backend::tls(bad.server_config(None, &[]));
        let refused = Client::tls(backend.addr(), "a.example", authority.client_config(None, &[])).connect().await;
        refused.expect_err("a certificate out of its time");
    }
}

#[tokio::test]
async fn grpc_calls_of_all_four_kinds() {
    let backend = Backend::grpc();
    let client = GrpcClient::new(Client::h2c(backend.addr()));
    let unary = client.unary("/test.Echo/Unary", b"hi", &[("x-a", "1"), ("grpc-timeout", "5S")]).await;
    assert_eq!((unary.texts(), unary.status()), (vec!["hi".to_owned()], Some(0)));
    assert_eq!(
        (&unary.headers["x-a"], &unary.headers["x-seen-timeout"]),
        (&"1".parse().unwrap(), &"5S".parse().unwrap())
    );
    let failed = client.unary("/test.Echo/Fail", b"hi", &[("x-code", "7")]).await;
    assert_eq!((failed.status(), failed.messages.len(), failed.trailers.len()), (Some(7), 0, 0));
    let late = client.unary("/test.Echo/FailLate", b"hi", &[]).await;
    assert_eq!((late.status(), late.messages.len()), (Some(13), 1));
    let many = client.unary("/test.Echo/ServerStream", b"100", &[]).await;
    assert_eq!((many.messages.len(), many.texts()[99].as_str()), (100, "99"));
    let joined = client.stream("/test.Echo/ClientStream", &[b"a", b"b", b""], &[]).await;
    assert_eq!(joined.texts(), ["a,b,"]);
    assert_eq!(client.unary("/no.Such/Method", b"", &[]).await.status(), Some(12));
}

#[tokio::test]
async fn grpc_ping_pong_takes_turns() {
    let backend = Backend::grpc();
    let mut call = GrpcClient::new(Client::h2c(backend.addr())).duplex("/test.Echo/Bidi", &[]).await;
    for it in 0..3 {
        assert!(call.send(format!("{it}").as_bytes()).await, "the call goes on");
        assert_eq!(call.next().await.expect("an answer").expect("a message"), format!("pong:{it}"));
    }
    call.finish();
    assert_eq!(call.next().await.expect("a proper end"), None);
    assert_eq!(call.trailers()["grpc-status"], "0");
}

#[tokio::test]
async fn grpc_health_follows_the_backend() {
    let backend = Backend::grpc();
    let client = GrpcClient::new(Client::h2c(backend.addr()));
    for serves in [true, false] {
        backend.stats().set_serving(serves);
        let reply = client.unary("/grpc.health.v1.Health/Check", &tests::grpc::field_1("x"), &[]).await;
        assert_eq!(reply.messages, [tests::grpc::serving(serves)]);
    }
}

#[tokio::test]
async fn websocket_echoes_and_closes() {
    let backend = Backend::websocket();
    let headers = [("sec-websocket-protocol", "mcp, other"), ("x-a", "1")];
    let mut socket = WsClient::connect(backend.addr(), "/ws?x=1", &headers).await.expect("a WebSocket");
    assert_eq!(socket.headers["sec-websocket-protocol"], "mcp");
    assert_eq!(socket.ask("hello").await, "hello");
    assert_eq!(backend.stats().last().header("x-a"), Some("1"));
    socket.text("close").await.expect("sent");
    assert!(socket.next().await.expect("a close frame").expect("a message").is_close());
    let http = Backend::echo();
    let refused = WsClient::connect(http.addr(), "/status/403", &[]).await.err().expect("no WebSocket");
    assert_eq!(refused.status(), Some(403));
}

#[tokio::test]
async fn tcp_echo_passes_bytes_and_half_close() {
    let backend = Backend::tcp_echo();
    let mut raw = RawClient::connect(backend.addr()).await;
    raw.write("hello").await.expect("written");
    assert_eq!(raw.read_exact(5).await.expect("echoed"), "hello");
    raw.write("bye").await.expect("written");
    raw.finish().await.expect("half-closed");
    assert_eq!(raw.read_to_end().await.expect("an end").bytes, "bye");
}

#[tokio::test]
async fn unix_sockets_serve_and_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("b.sock");
    let backend = Backend::unix_http(&path);
    Client::unix(&path).get("/").await.expect_status(200);
    backend.down().await;
    Client::unix(&path).get("/").try_send().await.expect_err("nobody listens");
    backend.up();
    Client::unix(&path).get("/").await.expect_status(200);
}

#[tokio::test]
async fn prefixes_go_first_even_before_tls() {
    let from: SocketAddr = "192.0.2.1:1234".parse().unwrap();
    let to: SocketAddr = "192.0.2.2:443".parse().unwrap();
    assert_eq!(proxy::v1(from, to), "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n");
    let v2 = proxy::v2(from, to, &[(2, b"a.example")]);
    assert_eq!(v2.len(), 16 + 12 + 3 + 9);
    assert_eq!(&v2[12..16], [0x21, 0x11, 0, 24]);
    let expected = v2.clone();
    let backend = Backend::raw(move |mut it: Accepted| {
        let mut prefix = vec![0; expected.len() + 4];
        let expected = expected.clone();
        async move {
            it.stream.read_exact(&mut prefix).await.expect("a prefix and a request");
            let same = prefix == [&expected[..], b"GET "].concat();
            let status = if same { "200 OK" } else { "400 Bad" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            it.stream.write_all(answer.as_bytes()).await.expect("written");
        }
    });
    Client::h1(backend.addr()).prefix(v2).get("/").await.expect_status(200);
}

#[tokio::test]
async fn raw_bytes_travel_over_tls_too() {
    let authority = Authority::new("test authority");
    let config = authority.server(&["a.example"]).server_config(None, &[]);
    let backend = Backend::setup().tls(config).tcp_echo();
    let stream = Place::Tcp(backend.addr()).connect().await.expect("connected");
    let stream = tls_connect(stream, "a.example", authority.client_config(None, &[])).await.expect("a handshake");
    let mut raw = RawClient::over(stream);
    raw.write("hello").await.expect("written");
    assert_eq!(raw.read_exact(5).await.expect("echoed"), "hello");
}

#[tokio::test]
async fn a_streamed_request_body_is_whole_or_seen_as_cut() {
    let backend = Backend::echo();
    let (sender, body) = tests::http::channel();
    let asked = tokio::spawn(Client::h1(backend.addr()).post("/").stream_body(body).try_send());
    sender.data("one ").await;
    sender.data("two").await;
    drop(sender);
    assert_eq!(asked.await.expect("the task").expect("an answer").json()["body"]["text"], "one two");
    let (sender, body) = tests::http::channel();
    let asked = tokio::spawn(Client::h1(backend.addr()).post("/").stream_body(body).try_send());
    sender.data("one ").await;
    eventually(PATIENCE, || async { backend.stats().in_flight() == 1 }).await;
    sender.abort().await;
    asked.await.expect("the task").expect_err("no answer to half a request");
    eventually(PATIENCE, || async { backend.stats().seen().last().is_some_and(|it| !it.complete) }).await;
}
