use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use filters::Policy;
use filters::callout::{Callout, Fault, HttpAnswer, HttpRequest, Kind};
use parking_lot::Mutex;
use pingora_http::RequestHeader;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Scene, timeout};

/// Says the same to every request, whatever it is; keeps what it heard and counts connections.
async fn say(answer: impl Into<Vec<u8>>) -> (SocketAddr, Arc<(AtomicUsize, Mutex<String>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<(AtomicUsize, Mutex<String>)> = Arc::default();
    let (shared, answer) = (seen.clone(), Arc::<[u8]>::from(answer.into()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            shared.0.fetch_add(1, SeqCst);
            let (shared, answer) = (shared.clone(), answer.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                let mut heard = String::new();
                while let Ok(length) = stream.read(&mut buffer).await {
                    if length == 0 {
                        return;
                    }
                    heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
                    if heard.contains("\r\n\r\n") {
                        *shared.1.lock() = std::mem::take(&mut heard);
                        let _ = stream.write_all(&answer).await;
                    }
                }
            });
        }
    });
    (address, seen)
}

async fn ask(scene: &Scene, method: &str, body: &'static str) -> Result<HttpAnswer, Fault> {
    let head = Box::new(RequestHeader::build(method, b"/check?a=1", None).unwrap());
    let (_, facts) = super::request();
    let request = HttpRequest { head, body: Bytes::from_static(body.as_bytes()), facts: &facts };
    scene.caller().http(&scene.target, Kind::ExtAuthz, request).await
}

#[tokio::test]
async fn a_request_is_sent_and_its_answer_read() {
    let (address, seen) = say(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nx-user: me\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\n\
         keep-alive: timeout=5\r\ncontent-length: 2\r\n\r\nhi",
    )
    .await;
    let scene = Scene::new(address, Vec::new());
    for (method, body) in [("GET", ""), ("POST", "data")] {
        let answer = ask(&scene, method, body).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &b"hi"[..]));
        let names: Vec<_> = answer.headers.keys().map(|it| it.as_str()).collect();
        assert_eq!(names, ["x-user"], "what belongs to the connection stays there");
        let heard = seen.1.lock().to_ascii_lowercase();
        assert!(heard.starts_with(&format!("{} /check?a=1 http/1.1\r\n", method.to_ascii_lowercase())), "{heard}");
        assert!(heard.contains(&format!("host: {address}\r\n")), "{heard}");
        assert_eq!(heard.contains("content-length: 4\r\n") && heard.ends_with("data"), !body.is_empty(), "{heard}");
    }
    assert_eq!(seen.0.load(SeqCst), 1, "the connection is kept");
}

#[tokio::test]
async fn terms_beside_a_reference_change_the_call() {
    let (address, seen) = say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let changes = json!({"request": {
        "set": {"x-client": "source.address", "x-asked": "request.path", "host": "'inside:80'"},
        "body": "'was ' + string(request.body)",
    }});
    let changes: filters::transformations::Config = serde_json::from_value(changes).unwrap();
    let key: filters::backend_auth::Config = serde_json::from_value(json!({"key": "canary-5e"})).unwrap();
    let terms = vec![
        Policy::Transformations(super::lowered(|scope| changes.lower(scope))),
        Policy::BackendAuth(super::lowered(|scope| key.lower(scope))),
    ];
    ask(&Scene::new(address, terms), "POST", "data").await.unwrap();
    let heard = seen.1.lock().to_ascii_lowercase();
    for line in [
        "x-client: 192.0.2.1",
        "x-asked: /check",
        "host: inside:80",
        "authorization: bearer canary-5e",
        "content-length: 8",
    ] {
        assert!(heard.contains(&format!("\r\n{line}\r\n")), "{line} in {heard}");
    }
    assert!(heard.ends_with("was data"), "{heard}");
    assert_eq!(heard.matches("content-length").count(), 1, "{heard}");
}

#[tokio::test]
async fn hostile_answers_are_faults() {
    let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{}", "x".repeat(2 << 20));
    for (answer, label) in [
        (String::new(), "timeout"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort".to_owned(), "timeout"),
        ("HTTP/1.1 200 OK\r\n".to_owned(), "timeout"),
        (huge, "too_large"),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_owned(), "garbage"),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(20), "garbage"),
    ] {
        let (address, _) = say(answer.clone()).await;
        let scene = Scene::new(address, vec![timeout("300ms")]);
        let fault = ask(&scene, "GET", "").await.unwrap_err();
        assert_eq!(fault.label(), label, "{}: {fault}", &answer[..answer.len().min(60)]);
    }
    let (address, _) = say("this is not HTTP\r\n\r\n").await;
    let fault = ask(&Scene::new(address, vec![timeout("300ms")]), "GET", "").await.unwrap_err();
    assert!(matches!(fault, Fault::Garbage(_) | Fault::Unreachable(_)), "{fault:?}");
}

#[tokio::test]
async fn nobody_there_is_found_out_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let fault = ask(&Scene::new(address, Vec::new()), "GET", "").await.unwrap_err();
    assert!(matches!(fault, Fault::Unreachable(_)), "{fault:?}");
}
