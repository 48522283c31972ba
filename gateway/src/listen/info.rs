//! What is known of a connection, for everything that handles its requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::HeaderValue;
use ir::listener::Protocol;
use ir::{BindKey, ListenerKey, Text};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::wire::Traffic;
use crate::plan::Transport;

/// Who is at the other end of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Inet(SocketAddr),
    /// A process on this host, through a Unix socket.
    Unix,
    /// This process, which checks itself.
    Own,
}

impl Peer {
    /// The address; loopback without a port for a Unix socket.
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Inet(it) => it,
            Self::Unix | Self::Own => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        }
    }
}

/// One connection. Reaches HTTP/1 and HTTP/2 requests alike: see [`super::conn_info`].
#[derive(Debug)]
pub struct ConnInfo {
    /// Unique in this process.
    pub id: u64,
    pub bind: BindKey,
    pub transport: Transport,
    /// The listener chosen by server name; absent on plain HTTP, where Host chooses per request.
    pub listener: Option<ListenerKey>,
    pub protocol: Protocol,
    /// Server name of the ClientHello, lower case.
    pub sni: Option<Text>,
    pub http2: bool,
    pub peer: Peer,
    /// The client: the source of the PROXY header if there was one, else the peer.
    pub client: SocketAddr,
    /// The port the client meant: the destination of the PROXY header, else our own; 0 for a Unix socket.
    pub local_port: u16,
    pub proxied: bool,
    pub tls: Option<TlsInfo>,
    /// True once responses must say `Connection: close`.
    pub drain: watch::Receiver<bool>,
    pub opened: Instant,
    pub traffic: Arc<Traffic>,
    /// Whether the request under way on HTTP/1 has come to its log line: Pingora refuses some by itself.
    pub told: AtomicBool,
    /// See [`ConnInfo::forwarded_for`].
    pub forwarded_for: OnceLock<HeaderValue>,
}

impl ConnInfo {
    /// The client as `X-Forwarded-For` names it: written once, for each request of the connection says the same.
    pub fn forwarded_for(&self) -> &HeaderValue {
        self.forwarded_for.get_or_init(|| {
            let address = self.client.ip().to_canonical().to_string();
            HeaderValue::try_from(address).expect("an address is visible ASCII")
        })
    }

    /// Whether a response should end the connection: the process or the bind is going away.
    pub fn draining(&self) -> bool {
        *self.drain.borrow()
    }
}

/// What was agreed on in the handshake.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// `TLSv1_3`
    pub version: &'static str,
    /// IANA name.
    pub cipher: &'static str,
    pub alpn: Option<Text>,
    pub client: Option<ClientCertificate>,
}

/// A client certificate that was verified in the handshake.
#[derive(Clone, Debug, Default)]
pub struct ClientCertificate {
    pub der: Arc<[u8]>,
    pub common_name: Option<Text>,
    pub uris: Vec<Text>,
    pub dns_names: Vec<Text>,
    /// The one SPIFFE id, if there is exactly one (SPIFFE X.509-SVID section 2).
    pub spiffe: Option<Text>,
}

impl ClientCertificate {
    /// Reads the names out of a certificate; one that cannot be read has none.
    pub fn read(der: &[u8]) -> Self {
        let mut it = Self { der: der.into(), ..Self::default() };
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return it };
        it.common_name =
            certificate.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok()).map(Text::from);
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return it };
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => it.uris.push(Text::from(*uri)),
                GeneralName::DNSName(dns) => it.dns_names.push(Text::from(*dns)),
                _ => {}
            }
        }
        let mut ids = it.uris.iter().filter(|uri| uri.starts_with("spiffe://"));
        it.spiffe = ids.next().cloned().filter(|_| ids.next().is_none());
        it
    }
}
