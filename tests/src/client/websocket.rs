//! A WebSocket client over any stream.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::io::{Place, Stream};
use crate::wait::PATIENCE;

pub struct WsClient {
    socket: WebSocketStream<Stream>,
    /// The headers of the 101.
    pub headers: HeaderMap,
}

/// Why there is no WebSocket.
#[derive(Debug)]
pub enum WsRefused {
    /// An ordinary answer instead of 101.
    Answer(StatusCode, HeaderMap, Vec<u8>),
    Fault(anyhow::Error),
}

impl WsRefused {
    pub fn status(&self) -> Option<u16> {
        match self {
            WsRefused::Answer(status, ..) => Some(status.as_u16()),
            WsRefused::Fault(_) => None,
        }
    }
}

impl WsClient {
    /// Connects over TCP with these extra headers; `host` in them replaces the address.
    pub async fn connect(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<WsClient, WsRefused> {
        let stream = Place::Tcp(addr).connect().await.map_err(WsRefused::Fault)?;
        WsClient::over(stream, &addr.to_string(), path, headers).await
    }

    /// Shakes hands over a stream that is already there, a TLS one for instance.
    pub async fn over(stream: Stream, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<WsClient, WsRefused> {
        let mut request =
            format!("ws://{host}{path}").into_client_request().map_err(|it| WsRefused::Fault(it.into()))?;
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header name that HTTP allows");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header value that HTTP allows"));
        }
        let handshake = Box::pin(tokio_tungstenite::client_async(request, stream));
        match timeout(PATIENCE, handshake).await {
            Ok(Ok((socket, answer))) => Ok(WsClient { socket, headers: answer.into_parts().0.headers }),
            Ok(Err(tungstenite::Error::Http(answer))) => {
                let (head, body) = answer.into_parts();
                Err(WsRefused::Answer(head.status, head.headers, body.unwrap_or_default()))
            }
            Ok(Err(error)) => Err(WsRefused::Fault(error.into())),
            Err(_) => Err(WsRefused::Fault(anyhow::anyhow!("no handshake in {PATIENCE:?}"))),
        }
    }

    pub async fn send(&mut self, message: Message) -> anyhow::Result<()> {
        timeout(PATIENCE, self.socket.send(message)).await.context("the message does not go out")??;
        Ok(())
    }

    pub async fn text(&mut self, text: &str) -> anyhow::Result<()> {
        self.send(Message::text(text)).await
    }

    /// The next message; `None` when the peer closed.
    pub async fn next(&mut self) -> anyhow::Result<Option<Message>> {
        self.next_within(PATIENCE).await
    }

    pub async fn next_within(&mut self, deadline: Duration) -> anyhow::Result<Option<Message>> {
        Ok(timeout(deadline, self.socket.next()).await.context("no message in time")?.transpose()?)
    }

    /// Says text, hears text.
    pub async fn ask(&mut self, text: &str) -> String {
        self.text(text).await.expect("send a message");
        match self.next().await {
            Ok(Some(Message::Text(answer))) => answer.to_string(),
            other => panic!("no text in answer to {text:?}: {other:?}"),
        }
    }

    /// The closing handshake.
    pub async fn close(mut self) -> anyhow::Result<()> {
        timeout(PATIENCE, self.socket.close(None)).await.context("the close does not go out")??;
        while let Ok(Some(_)) = self.next().await {}
        Ok(())
    }
}
