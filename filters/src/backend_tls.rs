//! `backendTLS`: TLS towards a backend: who it must be, and who we are.

use ir::listener::KeyExchangeGroup;
use ir::{Secret, Text};
use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// PEM chain and key shown to the backend.
    #[serde(skip)]
    pub client_certificate: Option<Vec<u8>>,
    pub client_key: Option<Secret>,
    /// PEM roots; absent means the system's.
    #[serde(skip)]
    pub roots: Option<Vec<u8>>,
    /// SNI sent and name verified; absent means the backend's host name.
    pub hostname: Option<Text>,
    /// Neither chain nor name is verified. Only when said.
    pub insecure: bool,
    /// The chain is verified, the name is not. Only when said.
    pub insecure_host: bool,
    /// Empty means `h2`, `http/1.1` as the version asked for allows.
    pub alpn: Vec<Text>,
    /// Accepted names (DNS or URI such as SPIFFE); any one suffices, instead of the host name.
    pub subject_alt_names: Vec<Text>,
    pub key_exchange_groups: Vec<KeyExchangeGroup>,
}
