//! `frontendPolicies.tls`: terms that override those of each TLS listener.
//!
//! ```yaml
//! tls:
//!   handshakeTimeout: 5s
//!   minVersion: TLS_V1_3
//!   alpn: [h2, http/1.1]
//!   keyExchangeGroups: [X25519_MLKEM768, X25519]
//! ```
//!
//! **Merging.** What is written here replaces the same term of every TLS listener; what is not
//! leaves the listener's.
//!
//! **Limits.** A handshake takes at most `handshakeTimeout` (15 s); at most
//! `maxConcurrentHandshakes` (1024) are under way on one bind, further connections wait their
//! turn. TLS 1.2 is the lowest version.
//!
//! **Where we differ.** The reference writes `alpn` as lists of bytes; here they are texts.
//! `maxConcurrentHandshakes` is ours.

use std::time::Duration;

use ir::Text;
use ir::listener::{KeyExchangeGroup, TlsVersion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::lower::Span;
use crate::tls_terms;

/// Terms that override those of each TLS listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "FrontendTls")]
pub struct Config {
    /// Longest handshake.
    pub handshake_timeout: Span,
    /// Handshakes under way at once on one bind; further connections wait their turn.
    pub max_concurrent_handshakes: u32,
    /// Protocols offered, in order of preference: `h2`, `http/1.1`.
    pub alpn: Option<Vec<String>>,
    /// `TLS_V1_2` or `TLS_V1_3`.
    pub min_version: Option<String>,
    /// `TLS_V1_2` or `TLS_V1_3`.
    pub max_version: Option<String>,
    /// IANA names, in order of preference.
    pub cipher_suites: Option<Vec<String>>,
    /// In order of preference: `X25519`, `P-256`, `P-384`, `X25519_MLKEM768`.
    pub key_exchange_groups: Option<Vec<String>>,
}

impl Default for Config {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            handshake_timeout: Span(policy.handshake_timeout),
            max_concurrent_handshakes: policy.max_concurrent_handshakes,
            alpn: None,
            min_version: None,
            max_version: None,
            cipher_suites: None,
            key_exchange_groups: None,
        }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self {
            handshake_timeout: Span(handshake_timeout),
            max_concurrent_handshakes,
            alpn,
            min_version,
            max_version,
            cipher_suites,
            key_exchange_groups,
        } = self;
        let before = scope.problems.len();
        if handshake_timeout.is_zero() {
            scope.problem_at("handshakeTimeout", "0 completes no handshake: write a duration such as `15s`");
        }
        if max_concurrent_handshakes == 0 {
            scope.problem_at("maxConcurrentHandshakes", "0 completes no handshake: write 1 or more");
        }
        let min_version = min_version.and_then(|text| scope.check("minVersion", tls_terms::version(&text)));
        let max_version = max_version.and_then(|text| scope.check("maxVersion", tls_terms::version(&text)));
        scope.check("minVersion", tls_terms::range(min_version, max_version));
        for (key, list) in
            [("alpn", &alpn), ("cipherSuites", &cipher_suites), ("keyExchangeGroups", &key_exchange_groups)]
        {
            if list.as_ref().is_some_and(Vec::is_empty) {
                scope.problem_at(key, "an empty list offers nothing: leave it out for the listener's own");
            }
        }
        let alpn = alpn.map(|texts| scope.each("alpn", &texts, tls_terms::alpn));
        let cipher_suites = cipher_suites.map(|texts| scope.each("cipherSuites", &texts, tls_terms::cipher_suite));
        let key_exchange_groups =
            key_exchange_groups.map(|texts| scope.each("keyExchangeGroups", &texts, tls_terms::group));
        (scope.problems.len() == before).then_some(Policy {
            handshake_timeout,
            max_concurrent_handshakes,
            alpn,
            min_version,
            max_version,
            cipher_suites,
            key_exchange_groups,
        })
    }
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn what_is_not_written_leaves_the_listener_its_own() {
        assert_eq!(lower(json!({}), Config::lower), Policy::default());
        let policy = lower(json!({"minVersion": "TLS_V1_3", "alpn": ["h2"]}), Config::lower);
        assert_eq!(policy.min_version, Some(TlsVersion::V1_3));
        assert_eq!(policy.alpn, Some(vec![Text::from("h2")]));
    }

    #[test]
    fn terms_that_no_handshake_meets_are_refused() {
        refuses(
            [
                (json!({"minVersion": "TLS_V1_0"}), "policy.minVersion: TLS 1.2 is the lowest"),
                (json!({"minVersion": "TLS_V1_3", "maxVersion": "TLS_V1_2"}), "lowest version is above"),
                (json!({"cipherSuites": ["RC4"]}), "policy.cipherSuites[0]: `RC4`"),
                (json!({"keyExchangeGroups": []}), "policy.keyExchangeGroups: an empty list"),
                (json!({"handshakeTimeout": "0"}), "policy.handshakeTimeout"),
            ],
            Config::lower,
        );
    }
}
