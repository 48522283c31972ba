//! The echo, and its misbehaviours.
//!
//! What to do is the path (`/slow?ms=100`), or the query `do` when the path belongs to the test (`/v1/x?do=slow&ms=100`):
//!
//! | | |
//! |---|---|
//! | `status/503` | that status |
//! | `slow?ms=` | echoes after a pause |
//! | `stall` | reads nothing, answers nothing |
//! | `sip?ms=` | pauses before reading each piece of the body, then echoes |
//! | `hasty` | answers without reading the body |
//! | `expect?status=417` | refuses by the head alone; without `status` reads on (100 Continue) and echoes |
//! | `mirror` | streams the request's body back as it comes |
//! | `bytes?n=` | n bytes with a Content-Length |
//! | `chunked?n=&ms=` | n pieces without a length |
//! | `sse?n=&ms=` | n events, each flushed, then `[DONE]` |
//! | `trailers` | a body with trailers |
//! | `headers?n=&size=` | n large headers |
//! | `set?name=value` | those headers |
//! | `reset?after=` | RST, before the head or after that many bytes of a longer body |
//! | `early-close?after=` | FIN, likewise |
//! | `break` | an error: RST_STREAM on HTTP/2 |
//!
//! Anything else echoes: method, path, query, version, headers in order, trailers, body (as text up to 64 KiB), backend,
//! connection, and what TLS said.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::serve::{Answer, Asking, Outcome, answer};
use super::{Asked, Connection};
use crate::http::{channel, digest, pattern, query_pairs};
use crate::wait::{PATIENCE, poll};

const TEXT_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn behave(name: String, asking: Asking) -> Outcome {
    let order = Order::of(&asking);
    let connection = asking.connection.clone();
    match order.verb() {
        "stall" => pending().await,
        "hasty" => Ok(answer::text(200, "hasty")),
        "reset" => cut_short(&order, &connection, End::Reset).await,
        "early-close" => cut_short(&order, &connection, End::Close).await,
        "break" => Err(std::io::Error::other("broken off on purpose")),
        "mirror" => Ok(mirror(asking)),
        "sip" => sip(name, &order, asking).await,
        "expect" if order.has("status") => Ok(answer::text(order.number("status", 417), "not expected")),
        "slow" => {
            sleep(order.pause()).await;
            Ok(answer::json(&echo(&name, &asking.read().await?)))
        }
        _ => {
            let asked = asking.read().await?;
            Ok(simple(&order, &asked).unwrap_or_else(|| answer::json(&echo(&name, &asked))))
        }
    }
}

/// Answers that need nothing but the order.
fn simple(order: &Order, asked: &Asked) -> Option<Answer> {
    Some(match order.verb() {
        "status" => {
            let status = order.words.get(1).and_then(|it| it.parse().ok()).unwrap_or(400);
            answer::text(status, format!("status {status}"))
        }
        "bytes" => answer::with_type(200, "application/octet-stream", pattern(order.number("n", 1024))),
        "chunked" => streamed("text/plain", order.clone(), |it| format!("piece {it}\n"), ""),
        "sse" => streamed(
            "text/event-stream",
            order.clone(),
            |it| format!("id: {it}\nevent: tick\ndata: {{\"n\":{it}}}\n\n"),
            "data: [DONE]\n\n",
        ),
        "trailers" => trailers(asked),
        "headers" => large_headers(order),
        "set" => set_headers(order),
        _ => return None,
    })
}

fn echo(name: &str, asked: &Asked) -> Value {
    let text = (asked.body.len() <= TEXT_BYTES_MAX).then(|| asked.text());
    let tls = asked.connection.tls.as_ref().map(
        |it| json!({ "sni": it.sni, "alpn": it.alpn, "version": it.version, "clientCertificates": it.peer.len() }),
    );
    json!({
        "backend": name,
        "connection": asked.connection.id,
        "method": asked.method.as_str(),
        "path": asked.uri.path(),
        "query": asked.uri.query(),
        "authority": asked.uri.authority().map(|it| it.as_str()).or(asked.header("host")),
        "version": format!("{:?}", asked.version),
        "headers": pairs(&asked.headers),
        "trailers": pairs(&asked.trailers),
        "body": { "bytes": asked.body.len(), "digest": digest(&asked.body), "text": text },
        "tls": tls,
    })
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())).collect()
}

/// Sends numbered pieces, each flushed, and stops when the reader has gone.
fn streamed(content_type: &str, order: Order, piece: fn(usize) -> String, last: &'static str) -> Answer {
    let (sender, body) = channel();
    tokio::spawn(async move {
        for it in 0..order.number("n", 3) {
            if it > 0 {
                sleep(order.pause()).await;
            }
            if !sender.data(piece(it)).await {
                return;
            }
        }
        if !last.is_empty() {
            sender.data(last).await;
        }
    });
    Response::builder().header("content-type", content_type).body(body).expect("a content type that HTTP allows")
}

fn trailers(asked: &Asked) -> Answer {
    let (sender, body) = channel();
    let sum = digest(&asked.body);
    tokio::spawn(async move {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-digest", HeaderValue::from_str(&sum).expect("hexadecimal"));
        sender.data("before the trailers").await;
        sender.trailers(trailers).await;
    });
    Response::builder().header("trailer", "x-digest").body(body).expect("a header that HTTP allows")
}

fn large_headers(order: &Order) -> Answer {
    let value = HeaderValue::from_bytes(&pattern(order.number("size", 1024))).expect("letters");
    let mut answer = answer::text(200, "large headers");
    for it in 0..order.number("n", 1) {
        let name = HeaderName::try_from(format!("x-large-{it}")).expect("a header name");
        answer.headers_mut().insert(name, value.clone());
    }
    answer
}

fn set_headers(order: &Order) -> Answer {
    let mut answer = answer::text(200, "headers set");
    for (name, value) in order.params.iter().filter(|it| it.0 != "do") {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

fn mirror(asking: Asking) -> Answer {
    let content_type = asking.request.headers().get("content-type").cloned();
    let body = asking.request.into_body().map_err(std::io::Error::other).boxed_unsync();
    let mut answer = Response::new(body);
    if let Some(value) = content_type {
        answer.headers_mut().insert("content-type", value);
    }
    answer
}

async fn sip(name: String, order: &Order, asking: Asking) -> Outcome {
    let Asking { request, connection, stats } = asking;
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    loop {
        sleep(order.pause()).await;
        match body.frame().await {
            None => break,
            Some(frame) => {
                let frame = frame.map_err(std::io::Error::other)?;
                bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            }
        }
    }
    let asked = Asked {
        method: head.method,
        uri: head.uri,
        version: head.version,
        headers: head.headers,
        body: bytes.into(),
        trailers: HeaderMap::new(),
        connection,
        complete: true,
    };
    stats.remember(asked.clone());
    Ok(answer::json(&echo(&name, &asked)))
}

#[derive(Clone, Copy)]
enum End {
    Reset,
    Close,
}

/// Promises more than it sends, then ends the connection.
async fn cut_short(order: &Order, connection: &Connection, end: End) -> Outcome {
    if !order.has("after") {
        end.of(connection);
        pending().await
    }
    let sent: usize = order.number("after", 0);
    let (sender, body) = channel();
    // Counted from before the head, which goes out as soon as this function returns.
    let goal = connection.written() + u64::try_from(sent).unwrap_or(u64::MAX);
    let connection = connection.clone();
    tokio::spawn(async move {
        sender.data(pattern(sent)).await;
        wait_written(&connection, goal).await;
        end.of(&connection);
    });
    Ok(Response::builder()
        .header("content-length", (sent + 1000).to_string())
        .body(body)
        .expect("a length that HTTP allows"))
}

/// A reset throws away what has not left this process: waits for the body, and for the head that goes before it.
async fn wait_written(connection: &Connection, goal: u64) {
    let mut last = 0;
    poll(PATIENCE, || {
        let now = connection.written();
        let done = now > goal && now == last;
        last = now;
        async move { done.then_some(()) }
    })
    .await;
}

impl End {
    fn of(self, connection: &Connection) {
        match self {
            End::Reset => connection.reset(),
            End::Close => connection.close(),
        }
    }
}

/// What the request asks this backend to do.
#[derive(Clone)]
struct Order {
    words: Vec<String>,
    params: Vec<(String, String)>,
}

impl Order {
    fn of(asking: &Asking) -> Order {
        let uri = asking.request.uri();
        let params = query_pairs(uri.query().unwrap_or_default());
        let path = params.iter().find(|it| it.0 == "do").map_or(uri.path(), |it| it.1.as_str());
        Order { words: path.trim_matches('/').split('/').map(str::to_owned).collect(), params }
    }

    fn verb(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.params.iter().any(|it| it.0 == name)
    }

    fn number<N: std::str::FromStr>(&self, name: &str, otherwise: N) -> N {
        self.params.iter().find(|it| it.0 == name).and_then(|it| it.1.parse().ok()).unwrap_or(otherwise)
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(self.number("ms", 0))
    }
}
