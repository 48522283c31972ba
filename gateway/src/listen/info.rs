//! What is known of a connection, for everything that handles its requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use filters::identity;
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
    /// The client's certificate, verified in the handshake.
    pub client: Option<Arc<identity::Peer>>,
}

/// Reads the names out of a client certificate; one that cannot be read has none.
pub(super) fn client(der: &[u8]) -> identity::Peer {
    let mut it = identity::Peer::new(der.into());
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return it };
    it.issuer = certificate.issuer().to_string().into();
    it.subject = certificate.subject().to_string().into();
    it.common_name = certificate.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok()).map(Text::from);
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return it };
    let mut ids = Vec::new();
    for name in &names.value.general_names {
        let text: Text = match name {
            GeneralName::URI(uri) => (*uri).into(),
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => (*name).into(),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => address.to_string().into(),
                None => continue,
            },
            _ => continue,
        };
        if matches!(name, GeneralName::URI(_)) && text.starts_with("spiffe://") {
            ids.push(text.clone());
        }
        it.names.push(text);
    }
    if let [id] = ids.as_slice() {
        it.spiffe = identity::Spiffe::parse(id);
    }
    it
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
