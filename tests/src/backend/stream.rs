//! Backends below HTTP: byte echo, canned bytes, and WebSocket echo.
//!
//! The WebSocket echo obeys two messages: `close` is answered with a close frame 1000, `drop` with a bare FIN. Its
//! handshake is remembered in `Stats::seen`, and it selects the first subprotocol offered.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{Accepted, Asked};
use crate::io::Stream;
use crate::wait::PATIENCE;

const REQUEST_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn echo(accepted: Accepted) {
    let (mut reader, mut writer) = tokio::io::split(accepted.stream);
    // Either side ending early is for the test to notice at its own end.
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
    let _ = writer.shutdown().await;
}

pub(super) async fn canned(mut accepted: Accepted, bytes: Bytes) {
    if !request(&mut accepted.stream).await {
        return;
    }
    // The reader may have had enough before the end.
    let _ = accepted.stream.write_all(&bytes).await;
    let _ = accepted.stream.shutdown().await;
    // Closed with something unread, a connection is reset, and what was written may be lost.
    let _ = tokio::time::timeout(PATIENCE, tokio::io::copy(&mut accepted.stream, &mut tokio::io::sink())).await;
}

/// Reads a request of HTTP/1 to its end: its body as long as its `Content-Length` says. Whether it came whole.
pub async fn request(stream: &mut Stream) -> bool {
    let (mut seen, mut piece) = (Vec::new(), [0_u8; 4096]);
    let mut wanted = None;
    while wanted.is_none_or(|it| seen.len() < it) && seen.len() < REQUEST_BYTES_MAX {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return false,
            Ok(n) => seen.extend_from_slice(&piece[..n]),
        }
        wanted = wanted.or_else(|| {
            let end = seen.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
            Some(end + length(&String::from_utf8_lossy(&seen[..end])))
        });
    }
    true
}

/// What a head says of the length of its body.
fn length(head: &str) -> usize {
    let mut fields = head.lines().filter_map(|it| it.split_once(':'));
    let length = fields.find(|it| it.0.eq_ignore_ascii_case("content-length"));
    length.and_then(|it| it.1.trim().parse().ok()).unwrap_or(0)
}

pub(super) async fn websocket(accepted: Accepted) {
    let Accepted { stream, connection, stats } = accepted;
    #[expect(clippy::result_large_err, reason = "the signature is the library's")]
    let handshake = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let offered = request.headers().get("sec-websocket-protocol").and_then(|it| it.to_str().ok());
        if let Some(first) = offered.and_then(|it| it.split(',').next()).and_then(|it| it.trim().parse().ok()) {
            response.headers_mut().insert("sec-websocket-protocol", first);
        }
        stats.remember(Asked {
            method: Method::GET,
            uri: request.uri().clone(),
            version: Version::HTTP_11,
            headers: request.headers().clone(),
            body: Bytes::new(),
            trailers: HeaderMap::new(),
            connection: connection.clone(),
            complete: true,
        });
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, handshake).await else { return };
    let (_flight, _) = stats.request();
    while let Some(Ok(message)) = socket.next().await {
        let sent = match &message {
            Message::Text(text) if text.as_str() == "drop" => return,
            Message::Text(text) if text.as_str() == "close" => {
                socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "asked to".into() })).await
            }
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            // Pings and closes are answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
}
