//! The first seconds of a TLS connection: who is asked for, and either the handshake or the bytes as they
//! came, for a backend that does it.

use std::io;
use std::sync::Arc;

use ir::Text;
use parking_lot::Mutex;
use pingora_core::protocols::tls::SslDigest;
use protocols::client_hello::{ClientHello, Hello, HelloFault, parse};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::info::{self, TlsInfo};
use super::wire::Wire;

#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeFault {
    #[error("TLS handshake took too long")]
    Late,
    #[error("connection ended before its ClientHello")]
    Ended,
    #[error("not TLS")]
    NotTls,
    #[error(transparent)]
    Hello(HelloFault),
    #[error("TLS handshake: {0}")]
    Io(#[from] io::Error),
}

impl HandshakeFault {
    /// Label of the counter of refused connections.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Late => "handshake_timeout",
            Self::Ended => "handshake_ended",
            Self::NotTls => "not_tls",
            Self::Hello(_) => "client_hello",
            Self::Io(_) => "handshake",
        }
    }
}

/// Reads the ClientHello and leaves it in the wire: for the handshake, or for the backend.
pub(super) async fn hello(wire: &mut Wire, deadline: Instant) -> Result<ClientHello, HandshakeFault> {
    timeout_at(deadline, read_hello(wire)).await.unwrap_or(Err(HandshakeFault::Late))
}

async fn read_hello(wire: &mut Wire) -> Result<ClientHello, HandshakeFault> {
    loop {
        match parse(wire.ahead.rest()) {
            Hello::Hello(hello) => return Ok(hello),
            Hello::NotTls => {
                explain_to_http(wire).await;
                return Err(HandshakeFault::NotTls);
            }
            Hello::Invalid(fault) => return Err(HandshakeFault::Hello(fault)),
            Hello::Incomplete => {}
        }
        if wire.more().await? == 0 {
            return Err(HandshakeFault::Ended);
        }
    }
}

/// The usual mistake: `http://` on the port of `https://`.
async fn explain_to_http(wire: &mut Wire) {
    if wire.ahead.rest().first().is_some_and(u8::is_ascii_uppercase) {
        const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
            content-length: 35\r\n\r\nthis port speaks TLS: use https://\n";
        let _ = wire.write_all(ANSWER).await;
    }
}

/// `unrecognized_name`, fatal (RFC 6066 section 3): this name is not served here.
pub(super) async fn refuse_name(wire: &mut Wire) {
    const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
    let _ = wire.write_all(ALERT).await;
    let _ = wire.shutdown().await;
}

/// Does the handshake within the deadline, waiting for its turn first.
pub(super) async fn accept(
    wire: Wire,
    config: Arc<ServerConfig>,
    turns: &Turns,
    (most, deadline): (u32, Instant),
) -> Result<(TlsStream<Wire>, TlsInfo), HandshakeFault> {
    let turns = turns.of(most);
    let handshake = async {
        // The semaphore is never closed; without it the handshake just goes on.
        let _turn = turns.acquire().await.ok();
        TlsAcceptor::from(config).accept(wire).await
    };
    let stream = timeout_at(deadline, handshake).await.map_err(|_| HandshakeFault::Late)??;
    let info = read_info(&stream);
    Ok((stream, info))
}

fn read_info(stream: &TlsStream<Wire>) -> TlsInfo {
    let (_, session) = stream.get_ref();
    TlsInfo {
        version: session.protocol_version().and_then(|it| it.as_str()).unwrap_or("unknown"),
        cipher: session.negotiated_cipher_suite().map_or("unknown", super::tls::iana),
        alpn: session.alpn_protocol().and_then(|it| std::str::from_utf8(it).ok()).map(Text::from),
        client: session.peer_certificates().and_then(<[_]>::first).map(|it| Arc::new(info::client(it))),
    }
}

/// What Pingora wants to know of a TLS connection.
pub(super) fn digest(session: &rustls::ServerConnection) -> SslDigest {
    let version = session.protocol_version().and_then(|it| it.as_str()).unwrap_or("unknown");
    let cipher = session.negotiated_cipher_suite().map_or("unknown", super::tls::iana);
    SslDigest::new(cipher, version, None, None, vec![])
}

/// Limits the handshakes under way on one bind; the limit may change at run time.
#[derive(Debug)]
pub(super) struct Turns(Mutex<(u32, Arc<Semaphore>)>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Mutex::new((0, Arc::new(Semaphore::new(0)))))
    }

    /// After a change those under way finish on the old count.
    fn of(&self, most: u32) -> Arc<Semaphore> {
        let mut now = self.0.lock();
        if now.0 != most {
            *now = (most, Arc::new(Semaphore::new(most.max(1) as usize)));
        }
        Arc::clone(&now.1)
    }
}
