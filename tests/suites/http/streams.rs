//! Streams: events, WebSocket, and clients that go away in the middle.

use tests::backend::answer;
use tests::http::{channel, pattern};
use tests::wait::PATIENCE;
use tests::{Backend, Client, Gateway, RawClient, WsClient, config, eventually, within};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_sent() {
    let (orders, queue) = tokio::sync::mpsc::channel::<()>(1);
    let queue = std::sync::Arc::new(tokio::sync::Mutex::new(Some(queue)));
    let backend = Backend::http(move |_| {
        let queue = queue.clone();
        async move {
            let mut queue = queue.lock().await.take().expect("one request");
            let (sender, body) = channel();
            tokio::spawn(async move {
                let mut n = 0;
                while queue.recv().await.is_some() {
                    sender.data(format!("data: {n}\n\n")).await;
                    n += 1;
                }
            });
            let mut answer = answer::text(200, "");
            *answer.body_mut() = body;
            answer.headers_mut().remove("content-length");
            answer.headers_mut().insert("content-type", "text/event-stream".parse().expect("a value"));
            answer
        }
    });
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut events = gateway.client().get("/").events().await;
    for n in 0..20 {
        orders.send(()).await.expect("the backend listens");
        let event = events.next().await.expect("no break").expect("an event");
        assert_eq!(event.data, n.to_string());
    }
    drop(orders);
    assert_eq!(events.next().await.expect("a proper end"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn events_pass_between_all_versions() {
    let backend = Backend::echo();
    for version in ["HTTP/1.1", "HTTP/2.0"] {
        let gateway = Gateway::start(&config::backend(&backend, &format!("http: {{ version: {version} }}"))).await;
        for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
            let events = client.get("/sse?n=5&ms=1").events().await.all().await;
            assert_eq!(events.len(), 6);
            assert_eq!(events[5].data, "[DONE]");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn two_hundred_websockets_in_a_row_all_talk_and_close() {
    let backend = Backend::websocket();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    for n in 0..200 {
        let mut socket = match WsClient::connect(gateway.addr(0), "/chat", &[]).await {
            Ok(socket) => socket,
            Err(error) => panic!("connection {n}: {error:?}"),
        };
        for it in 0..3 {
            assert_eq!(socket.ask(&format!("{n}/{it}")).await, format!("{n}/{it}"));
        }
        socket.close().await.expect("a closing handshake");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_websocket_keeps_its_subprotocol_and_carries_large_messages() {
    let backend = Backend::websocket();
    let gateway = Gateway::start(&config::route(&backend, "timeout: { requestTimeout: 30s }")).await;
    let headers = [("sec-websocket-protocol", "chat, other")];
    let mut socket = WsClient::connect(gateway.addr(0), "/chat?x=1", &headers).await.expect("a socket");
    assert_eq!(socket.headers["sec-websocket-protocol"], "chat");
    let large = pattern(1024 * 1024);
    socket.send(Message::binary(large.clone())).await.expect("sent");
    assert_eq!(socket.next().await.expect("an answer"), Some(Message::binary(large)));
    let seen = backend.stats().last();
    assert_eq!((seen.uri.to_string(), seen.header("upgrade")), ("/chat?x=1".to_owned(), Some("websocket")));
    assert_eq!(socket.ask("still here").await, "still here");
    socket.text("close").await.expect("sent");
    assert!(matches!(socket.next().await, Ok(Some(Message::Close(_)))));
    drop(socket);
    let line = gateway.wait_access(1).await.remove(0);
    assert_eq!(line["http.status"], 101, "{line}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_websocket_whose_backend_drops_ends_for_the_client() {
    let backend = Backend::websocket();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut socket = WsClient::connect(gateway.addr(0), "/", &[]).await.expect("a socket");
    socket.text("drop").await.expect("sent");
    let end = within(PATIENCE, socket.next()).await;
    assert!(!matches!(end, Ok(Some(Message::Text(_)))), "{end:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_websocket_whose_client_drops_ends_for_the_backend() {
    let backend = Backend::websocket();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let socket = WsClient::connect(gateway.addr(0), "/", &[]).await.expect("a socket");
    eventually(PATIENCE, || async { backend.stats().open() == 1 }).await;
    drop(socket);
    eventually(PATIENCE, || async { backend.stats().open() == 0 }).await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_upgrade_that_the_backend_refuses_is_an_ordinary_answer() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let refused = WsClient::connect(gateway.addr(0), "/status/403", &[]).await.err().expect("no socket");
    assert_eq!(refused.status(), Some(403));
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    for client in [gateway.client(), Client::h2c(gateway.addr(0))] {
        for path in ["/stall", "/sse?n=100000&ms=5"] {
            let asked = backend.stats().requests();
            let call = client.get(path);
            let call = tokio::spawn(call.try_send());
            eventually(PATIENCE, || async { backend.stats().requests() == asked + 1 }).await;
            call.abort();
            client.disconnect().await;
            backend.stats().idle(PATIENCE).await;
        }
    }
    let lines = gateway.wait_access(4).await;
    assert!(lines.iter().all(|it| it["reason"] != "Internal"), "{lines:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_its_body_is_not_a_server_error() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config::route(&backend, "")).await;
    let mut raw = RawClient::connect(gateway.addr(0)).await;
    raw.write("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhello").await.expect("written");
    eventually(PATIENCE, || async { backend.stats().in_flight() == 1 }).await;
    drop(raw);
    backend.stats().idle(PATIENCE).await;
    let line = gateway.wait_access(1).await.remove(0);
    assert!(line["http.status"].as_u64().is_some_and(|it| it < 500), "the fault is the client's: {line}");
    gateway.stop().await;
}
