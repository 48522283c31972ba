//! Clients that keep talking: each stream is numbered, checked to its proper end, and opened again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio_tungstenite::tungstenite::Message;

use super::Errand;
use crate::client::{Client, GrpcClient, RawClient, WsClient};
use crate::io::{Place, tls_connect};

/// Between two messages of a client.
const PAUSE: Duration = Duration::from_millis(200);

/// A whole stream: longer than a test lasts. Each step of it has a deadline of its own.
const WHOLE: Duration = Duration::from_secs(3600);

/// For the next event or message.
const STEP: Duration = Duration::from_secs(60);

/// One stream from its opening to its end in the era `until`.
pub(super) trait Life: Send + 'static {
    fn live(&mut self, errand: &mut Errand, until: u64) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// One life after the other.
pub(super) async fn live(mut errand: Errand, mut life: impl Life) {
    while !errand.is_over() {
        let until = errand.begin();
        match life.live(&mut errand, until).await {
            Ok(()) => errand.tally.end(),
            Err(error) => errand.fault("stream", &error).await,
        }
    }
}

/// Server-sent events, continued where the stream before ended.
pub(super) struct Events {
    client: Client,
    next: u64,
}

impl Events {
    pub(super) fn new(addr: SocketAddr) -> Events {
        Events { client: Client::h1(addr).deadline(WHOLE), next: 0 }
    }
}

impl Life for Events {
    async fn live(&mut self, errand: &mut Errand, until: u64) -> anyhow::Result<()> {
        let mut events = self.client.get(&format!("/events?from={}&until={until}", self.next)).try_events().await?;
        errand.tally.connected(1);
        loop {
            let event = tokio::time::timeout(STEP, events.next()).await.context("no event in time")??;
            let Some(event) = event else { bail!("the stream ended before its last event, {}", self.next) };
            let came = event.data.parse().with_context(|| format!("a number, not {:?}", event.data))?;
            if event.name == "end" {
                ensure!(came == self.next, "the stream ends with {came} events, and {} came", self.next);
                break;
            }
            self.next = errand.tally.numbered(self.next, came);
        }
        ensure!(events.next().await?.is_none(), "something after the last event");
        drop(events);
        // Half of the clients go on over the same connection, which may still belong to an older process.
        if errand.index.is_multiple_of(2) {
            self.client.disconnect().await;
        }
        Ok(())
    }
}

/// A WebSocket.
pub(super) struct Socket {
    addr: SocketAddr,
}

impl Socket {
    pub(super) fn new(addr: SocketAddr) -> Socket {
        Socket { addr }
    }
}

impl Life for Socket {
    async fn live(&mut self, errand: &mut Errand, until: u64) -> anyhow::Result<()> {
        let opened = WsClient::connect(self.addr, "/websocket", &[]).await;
        let mut socket = opened.map_err(|it| anyhow::anyhow!("no WebSocket: {it:?}"))?;
        errand.tally.connected(1);
        let mut next = 0_u64;
        while !errand.has_reached(until) {
            socket.text(&next.to_string()).await?;
            let Some(Message::Text(text)) = socket.next_within(STEP).await? else {
                bail!("closed after {next} messages")
            };
            next = errand.tally.numbered(next, text.parse().context("a number")?);
            errand.pause(until, PAUSE).await;
        }
        socket.close().await
    }
}

/// A gRPC call in which both sides speak.
pub(super) struct Call {
    client: Client,
}

impl Call {
    pub(super) fn new(addr: SocketAddr) -> Call {
        Call { client: Client::h2c(addr).deadline(WHOLE) }
    }
}

impl Life for Call {
    async fn live(&mut self, errand: &mut Errand, until: u64) -> anyhow::Result<()> {
        let mut call = GrpcClient::new(self.client.clone()).try_duplex("/test.Echo/Bidi", &[]).await?;
        errand.tally.connected(1);
        let mut next = 0_u64;
        while !errand.has_reached(until) {
            ensure!(call.send(next.to_string().as_bytes()).await, "the call takes no message {next}");
            let message = tokio::time::timeout(STEP, call.next()).await.context("no message in time")??;
            let Some(message) = message else { bail!("the call ended after {next}: {:?}", call.trailers()) };
            let text = std::str::from_utf8(&message)?;
            let came = text.strip_prefix("pong:").and_then(|it| it.parse().ok());
            next = errand.tally.numbered(next, came.with_context(|| format!("an echo, not {text:?}"))?);
            errand.pause(until, PAUSE).await;
        }
        call.finish();
        let end = tokio::time::timeout(STEP, call.next()).await.context("no end in time")??;
        ensure!(end.is_none(), "a message too many: {end:?}");
        let status = call.trailers().get("grpc-status").map(|it| it.as_bytes().to_vec());
        ensure!(status.as_deref() == Some(b"0"), "grpc-status {status:?}");
        Ok(())
    }
}

/// Raw bytes over TCP, or over TLS that only the backend opens.
pub struct Bytes {
    addr: SocketAddr,
    tls: Option<(&'static str, Arc<rustls::ClientConfig>)>,
}

impl Bytes {
    pub(super) fn plain(addr: SocketAddr) -> Bytes {
        Bytes { addr, tls: None }
    }

    pub(super) fn sealed(addr: SocketAddr, name: &'static str, config: Arc<rustls::ClientConfig>) -> Bytes {
        Bytes { addr, tls: Some((name, config)) }
    }

    pub async fn connect(&self) -> anyhow::Result<RawClient> {
        let stream = Place::Tcp(self.addr).connect().await?;
        let stream = match &self.tls {
            Some((name, config)) => {
                let shaken = tls_connect(stream, name, Arc::clone(config));
                tokio::time::timeout(STEP, shaken).await.context("no handshake in time")??
            }
            None => stream,
        };
        Ok(RawClient::over(stream).deadline(STEP))
    }
}

impl Life for Bytes {
    async fn live(&mut self, errand: &mut Errand, until: u64) -> anyhow::Result<()> {
        let mut client = self.connect().await?;
        errand.tally.connected(1);
        let mut next = 0_u64;
        while !errand.has_reached(until) {
            client.write(format!("{next}\n")).await?;
            let line = client.read_until(b"\n").await?;
            let came = std::str::from_utf8(&line)?.trim_end().parse().context("a number")?;
            next = errand.tally.numbered(next, came);
            errand.pause(until, PAUSE).await;
        }
        client.finish().await?;
        ensure!(client.at_end().await?, "bytes after the last echo");
        Ok(())
    }
}
