//! Values shared by backends and clients: the one body type, and a whole answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// The body of every request and answer made here.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body that is all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body written piece by piece; every piece is flushed. Dropping the sender ends it, sending an error breaks it.
pub fn channel() -> (BodySender, Body) {
    let (sender, receiver) = mpsc::channel(16);
    (BodySender { sender }, ChannelBody { receiver }.boxed_unsync())
}

pub struct BodySender {
    sender: mpsc::Sender<std::io::Result<Frame<Bytes>>>,
}

impl BodySender {
    /// Waits for room; `false` when the other side has gone away.
    pub async fn data(&self, bytes: impl Into<Bytes>) -> bool {
        self.sender.send(Ok(Frame::data(bytes.into()))).await.is_ok()
    }

    pub async fn trailers(&self, trailers: HeaderMap) -> bool {
        self.sender.send(Ok(Frame::trailers(trailers))).await.is_ok()
    }

    /// Breaks the body off: the peer sees a truncated or reset message.
    pub async fn abort(self) {
        // When the receiver is gone the body is already broken off.
        let _ = self.sender.send(Err(std::io::Error::other("broken off on purpose"))).await;
    }

    /// Resolves once the reader of the body has gone.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

struct ChannelBody {
    receiver: mpsc::Receiver<std::io::Result<Frame<Bytes>>>,
}

impl hyper::body::Body for ChannelBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.receiver.poll_recv(cx)
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Empty when there were none.
    pub trailers: HeaderMap,
    /// Which of the client's connections it came over, counted from 1.
    pub connection: u64,
    /// Whether that connection had answered before.
    pub reused: bool,
}

impl Reply {
    /// The first value of a header, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    /// Every value of a header, in order.
    pub fn headers_all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|it| it.to_str().ok()).collect()
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).and_then(|it| it.to_str().ok())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the body is not JSON ({error}), status {}: {}", self.status, self.text()),
        }
    }

    /// Asserts the status and shows the body when it is another one.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Reply {
        assert_eq!(self.status.as_u16(), status, "unexpected status; the body says: {}", self.text());
        self
    }
}

/// Parses `a=1&b=x%20y` (`+` stays a plus); a key without `=` has an empty value.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|it| !it.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key), percent_decode(value))
        })
        .collect()
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|it| std::str::from_utf8(it).ok());
        match (bytes[at], hex.and_then(|it| u8::from_str_radix(it, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// FNV-1a, 64 bits, in hexadecimal: enough to see that a large body arrived unchanged.
pub fn digest(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// `n` bytes with a pattern that is not periodic in any power of two.
pub fn pattern(n: usize) -> Bytes {
    (0..n).map(|it| b'a' + u8::try_from(it % 23).expect("below 23")).collect::<Vec<_>>().into()
}
