//! `frontendPolicies.tls`: terms that override those of each TLS listener.

use std::time::Duration;

use ir::Text;
use ir::listener::{KeyExchangeGroup, TlsVersion};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub handshake_timeout: Duration,
    /// Handshakes under way at once on one bind; further connections wait their turn.
    pub max_concurrent_handshakes: u32,
    pub alpn: Option<Vec<Text>>,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
    pub cipher_suites: Option<Vec<Text>>,
    pub key_exchange_groups: Option<Vec<KeyExchangeGroup>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(15),
            max_concurrent_handshakes: 1024,
            alpn: None,
            min_version: None,
            max_version: None,
            cipher_suites: None,
            key_exchange_groups: None,
        }
    }
}
