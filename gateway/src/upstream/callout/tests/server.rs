//! A server of gRPC by hand, so that it can misbehave at any place of the exchange.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What it does with a call.
#[derive(Clone)]
pub(super) enum Way {
    Answer(Bytes),
    /// Says how the call ended, without a message.
    Status(&'static str, &'static str),
    /// Never answers.
    Hang,
    /// Sends this in place of a frame.
    Body(Bytes),
    /// An answer without end, in pieces of 64 KiB.
    Endless,
    /// A byte now and then.
    Drip,
    NoStatus,
    HtmlError,
    Reset,
    /// Answers one call, says that it goes away, and closes.
    GoAway(Bytes),
    /// Bytes that are no HTTP/2.
    Noise,
    /// Closes at once.
    Close,
    /// Accepts, and says nothing.
    Mute,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) connections: AtomicUsize,
    pub(super) calls: AtomicUsize,
    pub(super) resets: AtomicUsize,
    pub(super) heads: Mutex<Vec<http::request::Parts>>,
    pub(super) messages: Mutex<Vec<Bytes>>,
    /// A call arrived.
    pub(super) arrived: Notify,
}

pub(super) async fn start(way: Way) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Seen::default()));
    let shared = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, SeqCst);
            tokio::spawn(connection(stream, way.clone(), shared.clone()));
        }
    });
    (address, seen)
}

async fn connection(mut stream: TcpStream, way: Way, seen: Arc<Seen>) {
    match way {
        Way::Close => return,
        Way::Mute => return std::future::pending().await,
        Way::Noise => {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            return std::future::pending().await;
        }
        _ => {}
    }
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        if matches!(way, Way::GoAway(_)) {
            connection.graceful_shutdown();
        }
        tokio::spawn(call(request, respond, way.clone(), seen.clone()));
    }
}

async fn call(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    way: Way,
    seen: Arc<Seen>,
) -> Option<()> {
    let (head, mut body) = request.into_parts();
    let mut message = BytesMut::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        message.extend_from_slice(&chunk);
    }
    seen.heads.lock().push(head);
    seen.messages.lock().push(message.freeze());
    seen.calls.fetch_add(1, SeqCst);
    seen.arrived.notify_one();
    let head = || Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    match way {
        Way::Answer(message) | Way::GoAway(message) => {
            let mut stream = respond.send_response(head(), false).ok()?;
            stream.send_data(framed(&message), false).ok()?;
            stream.send_trailers(ok).ok()
        }
        Way::Body(bytes) => {
            let mut stream = respond.send_response(head(), false).ok()?;
            stream.send_data(bytes, false).ok()?;
            stream.send_trailers(ok).ok()
        }
        Way::Status(code, message) => {
            let mut head = head();
            head.headers_mut().insert("grpc-status", code.parse().unwrap());
            head.headers_mut().insert("grpc-message", message.parse().unwrap());
            respond.send_response(head, true).ok().map(drop)
        }
        Way::NoStatus => {
            let mut stream = respond.send_response(head(), false).ok()?;
            stream.send_data(framed(b""), true).ok()
        }
        Way::HtmlError => respond.send_response(Response::builder().status(502).body(()).unwrap(), true).ok().map(drop),
        Way::Reset => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            Some(())
        }
        Way::Endless => {
            let mut stream = respond.send_response(head(), false).ok()?;
            let piece = Bytes::from(vec![0; 64 * 1024]);
            loop {
                stream.reserve_capacity(piece.len());
                let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let Some(Ok(room)) = room else { break };
                if stream.send_data(piece.slice(..room.min(piece.len())), false).is_err() {
                    break;
                }
            }
            seen.resets.fetch_add(1, SeqCst);
            Some(())
        }
        Way::Drip => {
            let mut stream = respond.send_response(head(), false).ok()?;
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
            loop {
                ticks.tick().await;
                stream.send_data(Bytes::from_static(&[0]), false).ok()?;
            }
        }
        Way::Hang | Way::Noise | Way::Close | Way::Mute => {
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.resets.fetch_add(1, SeqCst);
            Some(())
        }
    }
}

pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}
