//! gRPC: the four kinds of call, trailers, errors of the backend and of the gateway.

use tests::http::channel;
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, GrpcClient, config, eventually};

fn client(gateway: &Gateway) -> GrpcClient {
    GrpcClient::new(Client::h2c(gateway.addr(0)).host("grpc.example"))
}

#[tokio::test]
async fn all_four_kinds_of_call_pass_with_their_trailers() {
    let backend = Backend::grpc();
    let said = config::backend(&backend, "http: { version: HTTP/2.0 }");
    for yaml in [said, config::route(&backend, "")] {
        let gateway = Gateway::start(&yaml).await;
        let client = client(&gateway);
        let reply = client.unary("/test.Echo/Unary", b"hi", &[("x-meta", "1"), ("grpc-timeout", "5S")]).await;
        assert_eq!((reply.status(), reply.texts()), (Some(0), vec!["hi".to_owned()]));
        assert_eq!(reply.headers["x-meta"], "1");
        assert_eq!(reply.headers["x-seen-timeout"], "5S");
        let reply = client.unary("/test.Echo/ServerStream", b"100", &[]).await;
        assert_eq!((reply.status(), reply.messages.len()), (Some(0), 100));
        let reply = client.stream("/test.Echo/ClientStream", &[b"a", b"b", b"c"], &[]).await;
        assert_eq!((reply.status(), reply.texts()), (Some(0), vec!["a,b,c".to_owned()]));
        let mut call = client.duplex("/test.Echo/Bidi", &[]).await;
        for n in 0..5 {
            assert!(call.send(format!("{n}").as_bytes()).await);
            let pong = call.next().await.expect("an answer").expect("a message");
            assert_eq!(pong, format!("pong:{n}"), "each answer comes before the next question");
        }
        call.finish();
        assert_eq!(call.next().await.expect("a proper end"), None);
        assert_eq!(call.trailers()["grpc-status"], "0");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn errors_of_the_backend_pass_as_they_are_and_are_logged() {
    let backend = Backend::grpc();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let client = client(&gateway);
    let reply = client.unary("/test.Echo/Fail", b"", &[("x-code", "7")]).await;
    assert_eq!((reply.http_status.as_u16(), reply.status(), reply.messages.len()), (200, Some(7), 0));
    assert_eq!(reply.message(), Some("asked%20to%20fail"));
    let reply = client.unary("/test.Echo/FailLate", b"x", &[("x-code", "9")]).await;
    assert_eq!((reply.status(), reply.message(), reply.messages.len()), (Some(9), Some("late%20failure"), 1));
    let lines = gateway.wait_access(2).await;
    let codes: Vec<_> = lines.iter().map(|it| it["grpc.status"].clone()).collect();
    assert!(codes.contains(&7.into()) && codes.contains(&9.into()), "the trailers too: {codes:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn errors_of_the_gateway_are_said_in_grpc() {
    let dead = Backend::dead().await;
    let addr = dead.addr();
    let gateway = Gateway::start(&config::routes(&format!(
        "
- matches: [{{ path: {{ pathPrefix: /test.Echo/Dead }} }}]
  backends: [{{ host: '{addr}' }}]
- matches: [{{ path: {{ pathPrefix: /test.Echo/None }} }}]
  backends: []
- matches: [{{ path: {{ pathPrefix: /test.Echo/Direct }} }}]
  policies: {{ directResponse: {{ status: 403, body: 'not you, 100%' }} }}
"
    )))
    .await;
    let client = client(&gateway);
    for (method, code) in [("Dead", 14), ("None", 14), ("Direct", 7), ("Nowhere", 12)] {
        let reply = client.try_stream(&format!("/test.Echo/{method}"), &[b""], &[]).await.expect("an answer");
        assert_eq!((reply.http_status.as_u16(), reply.status()), (200, Some(code)), "{method}: {:?}", reply.message());
        assert_eq!(reply.headers["content-type"], "application/grpc");
    }
    let reply = client.unary("/test.Echo/Direct", b"", &[]).await;
    assert_eq!(reply.message(), Some("not you, 100%25"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_deadline_of_the_gateway_is_deadline_exceeded() {
    let backend = Backend::grpc();
    let gateway = Gateway::start(&config::route(&backend, "timeout: { requestTimeout: 300ms }")).await;
    let reply = client(&gateway).unary("/test.Echo/Stall", b"", &[]).await;
    assert_eq!((reply.http_status.as_u16(), reply.status()), (200, Some(4)), "{:?}", reply.headers);
    let lines = gateway.wait_access(1).await;
    assert_eq!((&lines[0]["grpc.status"], &lines[0]["reason"]), (&4.into(), &"Timeout".into()));
    backend.stats().idle(PATIENCE).await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_abandoned_call_is_abandoned_at_the_backend() {
    let backend = Backend::grpc();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let h2 = Client::h2c(gateway.addr(0));
    let (_sender, body) = channel();
    let call = h2.post("/test.Echo/Stall").header("content-type", "application/grpc").stream_body(body);
    let call = tokio::spawn(call.try_send());
    eventually(PATIENCE, || async { backend.stats().in_flight() == 1 }).await;
    call.abort();
    backend.stats().idle(PATIENCE).await;
    assert!(h2.is_open().await, "one stream was given up, not the connection");
    gateway.stop().await;
}
