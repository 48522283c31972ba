//! `networkExtAuthz`: ask a server of one's own whether a client may connect.
//!
//! ```yaml
//! networkExtAuthz:
//!   host: authz.internal:9000
//!   protocol:
//!     http:
//!       path: '"/connect/" + string(source.address)'
//! ```
//!
//! **Question.** A GET for `path` (`/` unless written), or a POST where `body` is written, once for each connection;
//! `addRequestHeaders` are its headers. Expressions see the connection alone: `source.*` and `destination.*`. Server and
//! terms are those of `extAuthz`.
//!
//! **Answer.** 2xx lets the connection in. Everything else closes it; so does an expression of `path` or `body` that fails.
//!
//! **Failure.** No answer in time (2 s, or `policies.http.requestTimeout`), no connection, 5xx: `failureMode: deny` closes
//! the connection, `allow` lets it in.
//!
//! **When.** After `networkAuthorization`. On ports without TLS, before anything is read; on ports with TLS, when the name it
//! asks for is known (`destination.hostname`); where an expression reads the client's certificate, after the handshake.
//!
//! **Cache.** As of `extAuthz`: connections that agree on every expression of `key` share an answer.
//!
//! **Merging.** For connections of the whole process; of several, the first by `order` and name holds.
//!
//! **Limits.** Those of `extAuthz`.
//!
//! **Outcome.** Closed connections are counted in `agentgateway_connections_refused_total` with reason
//! `network_ext_authz`, the reason of a failure is in the log at level debug. In `mode: shadow` they go on, and are counted
//! with reason `network_ext_authz_shadow`.
//!
//! **Where we differ.** The reference takes every key of `extAuthz` here; those that say nothing of a connection (gRPC,
//! bodies, headers of requests and answers, redirects, metadata) are refused. `mode` is ours.

use std::collections::BTreeMap;

use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::callout::asks_a_server;
use crate::exchange::Mode;
use crate::expr::{Needs, Site};
use crate::ext_authz::{self, CacheConfig, FailureConfig, ProtocolConfig};
use crate::quota::mode::ModeConfig;
use crate::{Exchange, Facts, Outside, Scope, Verdict};

asks_a_server! {
    /// Ask a server of one's own whether a client may connect.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[schemars(rename = "NetworkExtAuthz")]
    pub struct Config {
        /// How it is asked.
        pub protocol: NetworkProtocolConfig,
        /// What becomes of a connection about which the server cannot be asked.
        pub failure_mode: NetworkFailureMode,
        /// Whether decisions are put into effect.
        pub mode: ModeConfig,
        /// Remember answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cache: Option<CacheConfig>,
    }
}

/// How a server is asked about a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NetworkExtAuthzProtocol")]
pub enum NetworkProtocolConfig {
    /// A request of HTTP.
    Http(NetworkHttpConfig),
}

impl Default for NetworkProtocolConfig {
    fn default() -> Self {
        Self::Http(NetworkHttpConfig::default())
    }
}

/// What the request to the server is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "NetworkExtAuthzHttp")]
pub struct NetworkHttpConfig {
    /// Its path and query, as CEL; `/` unless written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its body, as CEL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its headers, as CEL; one that fails is left away.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add_request_headers: BTreeMap<String, String>,
}

/// What becomes of a connection about which the server cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NetworkExtAuthzFailureMode")]
pub enum NetworkFailureMode {
    /// It is closed.
    #[default]
    Deny,
    /// It goes on.
    Allow,
}

/// As of `extAuthz`, for connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Policy(pub ext_authz::Policy);

/// What is decided of a connection.
#[derive(Debug)]
pub struct Judgement {
    pub refused: bool,
    /// It would have been.
    pub shadow: bool,
    /// Why the server could not be asked.
    pub fault: Option<String>,
}

impl Policy {
    pub fn lower(mut config: Config, scope: &mut Scope<'_>) -> Option<Self> {
        let server = config.server();
        let Config { protocol, failure_mode, mode, cache, .. } = config;
        let NetworkProtocolConfig::Http(NetworkHttpConfig { path, body, add_request_headers }) = protocol;
        let http = ext_authz::HttpConfig { path, body, add_request_headers, ..Default::default() };
        let config = ext_authz::Config {
            protocol: ProtocolConfig::Http(http),
            failure_mode: match failure_mode {
                NetworkFailureMode::Deny => FailureConfig::Deny,
                NetworkFailureMode::Allow => FailureConfig::Allow,
            },
            mode,
            cache,
            ..ext_authz::Config::default()
        };
        server.asked(scope, |target, scope| config.asking(target, Site::Connection, scope)).map(Self)
    }

    /// Whether the certificate of the client has to be known.
    pub fn needs_identity(&self) -> bool {
        self.0.needs().intersects(Needs::PEER)
    }

    /// Asks about a connection of which so much is known.
    pub async fn judge(&self, mut facts: Facts, outside: &dyn Outside) -> Judgement {
        let posts = matches!(&self.0.protocol, ext_authz::Protocol::Http(it) if it.body.is_some());
        let method = if posts { "POST" } else { "GET" };
        let Ok(mut head) = RequestHeader::build(method, b"/", None) else {
            return Judgement { refused: true, shadow: false, fault: None };
        };
        let mut exchange = Exchange { request: &mut head, facts: &mut facts, outside };
        let refused = matches!(self.0.on_request(&mut exchange).await, Verdict::Reply(_));
        let shadow = !refused && facts.decisions.iter().any(|it| it.mode == Mode::Shadow);
        Judgement { refused, shadow, fault: facts.fault }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn only_what_is_known_of_a_connection_is_asked_about() {
        let policy = |path: &str| lower(json!({"host": "a:1", "protocol": {"http": {"path": path}}}), Policy::lower);
        assert!(!policy("'/' + string(source.address)").needs_identity());
        assert!(policy("'/' + source.subjectCn").needs_identity());
        refuses(
            [
                (json!({}), "policy: name the server to ask"),
                (json!({"host": "a:1", "protocol": {"http": {"path": "request.path"}}}), "policy.protocol.http.path: "),
                (json!({"host": "a:1", "cache": {"key": ["request.path"], "ttl": "1"}}), "policy.cache.key[0]: "),
            ],
            Policy::lower,
        );
    }
}
