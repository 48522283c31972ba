//! Binds and listeners: where traffic enters, and on what terms.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::matcher::Hostname;
use crate::name::{BindKey, ListenerKey, ObjectName, Origin, Text};
use crate::secret::Secret;

/// A socket the process listens on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bind {
    pub key: BindKey,
    pub address: BindAddress,
    pub origin: Origin,
}

/// Where a bind listens. Port 0 lets the kernel choose; the choice shows in status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BindAddress {
    /// An address as written.
    Socket(SocketAddr),
    /// All addresses of both families (of IPv4 only, where IPv6 is off or absent).
    Wildcard(u16),
    Unix(PathBuf),
}

impl std::fmt::Display for BindAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Wildcard(port) => write!(f, "*:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    Http,
    Https,
    /// Raw bytes.
    Tcp,
    /// TLS: terminated to raw bytes when the listener has a certificate, else passed through by SNI.
    Tls,
}

impl Protocol {
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// The label of metrics and the access log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// One of the listeners that share a bind, chosen by SNI (TLS) or Host (plain HTTP).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    pub key: ListenerKey,
    pub bind: BindKey,
    /// The gateway it belongs to: what `gateway` targets of policies name.
    pub gateway: ObjectName,
    /// Its own name inside the gateway.
    pub name: Text,
    pub hostname: Hostname,
    pub protocol: Protocol,
    /// Present when this listener terminates TLS.
    pub tls: Option<ServerTls>,
    pub origin: Origin,
}

/// Terms of TLS termination. Certificate files have been read: the bytes are here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerTls {
    /// PEM chain, leaf first.
    #[serde(serialize_with = "pem_length")]
    pub certificate: Vec<u8>,
    /// PEM private key.
    pub key: Secret,
    /// PEM roots that client certificates must chain to; absent means none is asked for.
    #[serde(serialize_with = "pem_option")]
    pub client_roots: Option<Vec<u8>>,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// IANA names, in order of preference; empty means the provider's order.
    pub cipher_suites: Vec<Text>,
    pub key_exchange_groups: Vec<KeyExchangeGroup>,
    /// In order of preference.
    pub alpn: Vec<Text>,
}

fn pem_length<S: serde::Serializer>(pem: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("<{} bytes of PEM>", pem.len()))
}

fn pem_option<S: serde::Serializer>(pem: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    pem.as_ref().map(|pem| format!("<{} bytes of PEM>", pem.len())).serialize(serializer)
}

/// TLS versions this gateway speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TlsVersion {
    #[serde(rename = "TLS_V1_2")]
    V1_2,
    #[serde(rename = "TLS_V1_3")]
    V1_3,
}

/// Key-exchange groups (IANA TLS Supported Groups) that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum KeyExchangeGroup {
    #[serde(rename = "X25519")]
    X25519,
    #[serde(rename = "P-256")]
    P256,
    #[serde(rename = "P-384")]
    P384,
    #[serde(rename = "X25519_MLKEM768")]
    X25519Mlkem768,
}
