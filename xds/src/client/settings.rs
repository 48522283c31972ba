//! Where the control plane is, and on what terms it is asked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::{Authority, Scheme, Uri};
use http::{HeaderName, HeaderValue};

use crate::Node;
pub use crate::tls::{Identity, Roots};

/// How one control plane is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub address: Address,
    pub node: Node,
    pub roots: Roots,
    /// The certificate shown to it (mTLS).
    pub identity: Option<Identity>,
    /// File of a bearer token; read again for each connection.
    pub token_file: Option<PathBuf>,
    /// Sent with each connection.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub terms: Terms,
}

impl Settings {
    pub fn new(address: Address, node: Node) -> Self {
        Self {
            address,
            node,
            roots: Roots::default(),
            identity: None,
            token_file: None,
            headers: Vec::new(),
            terms: Terms::default(),
        }
    }
}

/// Limits and intervals.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Largest response.
    pub message_bytes_max: usize,
    /// Most resources held.
    pub resources_max: usize,
    /// Waits between connections: the first, and the longest. They double, and are drawn from the upper
    /// half.
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// A stream that lasted this long was a good one: the next wait is the first again.
    pub stable: Duration,
    /// From the look-up of the name to the end of the handshakes.
    pub connect_timeout: Duration,
    /// Silence before a ping, and how long its answer may take.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            resources_max: 2_000_000,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            stable: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// The address of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) tls: bool,
    pub(super) authority: Authority,
    pub(super) port: u16,
}

impl Address {
    /// Reads `https://host:port`, `http://host:port`, or `host:port`, which is https. The error names
    /// the cure.
    pub fn parse(text: &str) -> Result<Self, String> {
        let help = || format!("`{}` is not an address: write `https://host:port`", text.escape_debug());
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let uri: Uri = whole.parse().map_err(|_| help())?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(help()),
        };
        let authority = uri.authority().filter(|it| !it.as_str().contains('@')).ok_or_else(help)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.host().is_empty() {
            return Err(help());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, authority: authority.clone(), port })
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// For a look-up, and for certificates: without the brackets of IPv6.
    pub(super) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn origin(&self) -> Uri {
        let scheme = if self.tls { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(self.authority.clone()).path_and_query("/").build();
        uri.expect("scheme, authority and path are a URI")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_scheme_is_https() {
        for (text, tls, host, port) in [
            ("https://cp.example.com:18000", true, "cp.example.com", 18000),
            ("http://[::1]:80", false, "::1", 80),
            ("cp:15010", true, "cp", 15010),
            ("https://cp", true, "cp", 443),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.tls, address.host(), address.port), (tls, host, port), "{text}");
        }
        for text in ["", "ftp://a:1", "https://u:p@a:1", "https://a:1/path", "a b"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
