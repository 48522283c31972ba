//! Connections to backends.
//!
//! Over HTTP/1.1 the head and a short body leave in one write ([`joined`]), and a connection that nobody needs waits in
//! a plain list ([`idle`]): Pingora writes twice, and has a task for each one that waits. [`Wires`] are for what the
//! gateway itself asks of backends: calls of MCP servers, callouts of policies; where HTTP/2 may be agreed on, they ask
//! Pingora's connector. What it passes on for a client is [`lent`] a connection.

mod idle;
mod joined;
pub(super) mod lent;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Uri, Version};
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1::client::HttpSession as Http1Session;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use idle::Idle;
use joined::Joined;

/// Idle connections to backends, of either kind.
const POOL_MAX: usize = 4096;

/// Connections to backends. The connectors are made when first needed: they read the system's roots.
pub struct Wires {
    negotiated: OnceLock<Connector>,
    plain: OnceLock<TransportConnector>,
    idle: Arc<Idle<Stream>>,
}

impl Default for Wires {
    fn default() -> Self {
        Self { negotiated: OnceLock::new(), plain: OnceLock::new(), idle: Idle::new(POOL_MAX) }
    }
}

impl Wires {
    /// A connection for one exchange, and whether it was used before. `body`: one follows the head at once.
    ///
    /// # Errors
    /// The backend cannot be reached, or the handshake fails.
    pub async fn take(&self, peer: &HttpPeer, body: bool) -> Result<(Box<HttpSession>, bool)> {
        if !is_plain(peer) {
            let connector = self.negotiated.get_or_init(|| Connector::new(Some(ConnectorOptions::new(POOL_MAX))));
            let (session, reused) = Box::pin(connector.get_http_session(peer)).await?;
            return Ok((Box::new(session), reused));
        }
        let waiting = self.idle.take(peer.reuse_hash(), Instant::now());
        let reused = waiting.is_some();
        let mut stream = match waiting {
            Some(stream) => stream,
            None => {
                let connector = self.plain.get_or_init(|| TransportConnector::new(Some(ConnectorOptions::new(0))));
                Box::new(Joined::new(Box::pin(connector.new_stream(peer)).await?))
            }
        };
        if body {
            stream.hold_head();
        }
        Ok((Box::new(HttpSession::H1(Http1Session::new_with_options(stream, peer))), reused))
    }

    /// Keeps the connection of an exchange that has ended, if it may be used again.
    pub async fn put(&self, session: Box<HttpSession>, peer: &HttpPeer) {
        match *session {
            HttpSession::H1(mut session) if is_plain(peer) => {
                session.respect_keepalive();
                let Some(stream) = session.reuse().await else { return };
                if let Ok(stream) = stream.into_any().downcast::<Joined>() {
                    Idle::put(&self.idle, peer.reuse_hash(), stream, peer.options.idle_timeout);
                }
            }
            session => {
                if let Some(connector) = self.negotiated.get() {
                    connector.release_http_session(session, peer, peer.options.idle_timeout).await;
                }
            }
        }
    }
}

/// Sends a request, with its length, and waits for the head of its answer; interim ones are passed over.
///
/// # Errors
/// The connection breaks off, or `Host` is no authority.
pub async fn ask(
    session: &mut HttpSession,
    mut head: Box<RequestHeader>,
    body: Option<Bytes>,
    tls: bool,
) -> Result<()> {
    if let Some(body) = body.as_ref().filter(|_| !head.headers.contains_key(CONTENT_LENGTH)) {
        head.insert_header(CONTENT_LENGTH, protocols::http::number(body.len()))?;
    }
    fit(session, &mut head, tls)?;
    session.write_request_header(head).await?;
    if let Some(body) = body {
        session.write_request_body(body, true).await?;
    }
    session.finish_request_body().await?;
    loop {
        session.read_response_header().await?;
        if !session.response_header().is_some_and(|head| head.status.is_informational()) {
            return Ok(());
        }
    }
}

/// Makes a head fit what is spoken on a connection: HTTP/2 wants scheme and authority in the URI.
///
/// # Errors
/// Its `Host` is no authority.
pub(super) fn fit(session: &HttpSession, head: &mut RequestHeader, tls: bool) -> Result<()> {
    if !matches!(session, HttpSession::H2(_)) {
        head.set_version(Version::HTTP_11);
        return Ok(());
    }
    let host = head.headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme(if tls { "https" } else { "http" }).authority(host).path_and_query(path);
    let uri = uri.build().map_err(|error| Error::because(ErrorType::InvalidHTTPHeader, "no authority", error))?;
    head.set_uri(uri);
    head.remove_header(&HOST);
    head.set_version(Version::HTTP_2);
    Ok(())
}

/// Whether nothing but HTTP/1.1 can be spoken there.
fn is_plain(peer: &HttpPeer) -> bool {
    matches!(peer.options.alpn, ALPN::H1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_http1_names_its_host_apart() {
        let stream = Box::new(Joined::new(Box::new(tokio::io::duplex(1).0) as Stream));
        let session = HttpSession::H1(Http1Session::new(stream));
        let mut head = RequestHeader::build("GET", b"/a?b", None).unwrap();
        head.insert_header(HOST, "a.test").unwrap();
        fit(&session, &mut head, true).unwrap();
        assert_eq!((head.uri.to_string().as_str(), head.version), ("/a?b", Version::HTTP_11));
        assert_eq!(head.headers.get(HOST).unwrap(), "a.test");
    }
}
