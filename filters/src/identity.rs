//! Who a request is from, as the authentication policies and the TLS handshake found it.
//!
//! One struct for every kind of proof, so that authorization, limits, logs and backends ask in one
//! place. Nothing is allocated where nothing is proven: it is four empty pointers. What a cache
//! already holds (a verified token, the certificate of a connection) is shared, not copied.
//!
//! Only what was *verified* stands here: a header that a client wrote is not identity.

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ir::{Secret, Text};
use protocols::llm::Pattern;
use serde_json::{Map, Value};

/// Characters in a line of PEM (RFC 7468 section 3).
const PEM_LINE: usize = 64;

/// Everything proven about the caller; each proof on its own.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// A token that `jwtAuth` accepted.
    pub jwt: Option<Arc<Jwt>>,
    /// A key that `apiKey` knows.
    pub api_key: Option<Arc<ApiKey>>,
    /// A user whose password `basicAuth` accepted.
    pub basic: Option<Text>,
    /// The client certificate of the connection, verified in the handshake.
    pub peer: Option<Arc<Peer>>,
}

/// A token that was verified.
#[derive(Debug)]
pub struct Jwt {
    /// All claims, as they came.
    pub claims: Map<String, Value>,
    /// The compact token itself.
    pub token: Secret,
    /// The issuer of the provider that vouched for it.
    pub issuer: Text,
}

impl Jwt {
    /// A claim that is a text: `sub`, `email`.
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }
}

/// A key that was recognised.
#[derive(Debug)]
pub struct ApiKey {
    /// The key as it was sent.
    pub key: Secret,
    /// Metadata as JSON: a thousand keys are a thousand short texts, not a thousand trees.
    text: Option<Arc<str>>,
    metadata: OnceLock<Map<String, Value>>,
    /// Models that its owner may ask for, by patterns.
    models: Option<Arc<[Text]>>,
}

impl ApiKey {
    /// `metadata` is the JSON of an object.
    pub fn new(key: Secret, metadata: Option<Arc<str>>) -> Self {
        Self { key, text: metadata, metadata: OnceLock::new(), models: None }
    }

    /// For these models only, where there are any terms.
    #[must_use]
    pub fn for_models(self, models: Option<Arc<[Text]>>) -> Self {
        Self { models, ..self }
    }

    /// Whether its owner may ask for a model by this name.
    pub fn may_ask(&self, model: &str) -> bool {
        let fits = |it: &Text| Pattern::parse(it).is_ok_and(|it| it.matches(model));
        self.models.as_ref().is_none_or(|models| models.iter().any(fits))
    }

    /// What the configuration says of the key's owner; read when first asked for.
    pub fn metadata(&self) -> &Map<String, Value> {
        self.metadata.get_or_init(|| {
            let parsed = self.text.as_deref().and_then(|text| serde_json::from_str(text).ok());
            parsed.unwrap_or_default()
        })
    }
}

/// A client certificate.
#[derive(Debug, Default)]
pub struct Peer {
    /// The leaf as it came in the handshake.
    pub der: Arc<[u8]>,
    /// Subject alternative names of every kind, as text, in their order.
    pub names: Vec<Text>,
    /// The one SPIFFE id, if there is exactly one (SPIFFE X.509-SVID section 2).
    pub spiffe: Option<Spiffe>,
    pub issuer: Text,
    pub subject: Text,
    pub common_name: Option<Text>,
    pem: OnceLock<Text>,
}

/// A SPIFFE id and what it says of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spiffe {
    /// `spiffe://cluster.local/ns/default/sa/web`
    pub id: Text,
    pub trust_domain: Text,
    /// From a path `/ns/<namespace>/sa/<service account>`.
    pub namespace: Option<Text>,
    pub service_account: Option<Text>,
}

impl Peer {
    pub fn new(der: Arc<[u8]>) -> Self {
        Self { der, ..Self::default() }
    }

    /// The certificate as PEM; made when first asked for.
    pub fn pem(&self) -> &Text {
        self.pem.get_or_init(|| {
            let body = STANDARD.encode(&self.der);
            let mut pem = String::with_capacity(body.len() + body.len() / PEM_LINE + 56);
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            let mut rest = body.as_str();
            while !rest.is_empty() {
                let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
                pem.push_str(line);
                pem.push('\n');
                rest = after;
            }
            pem.push_str("-----END CERTIFICATE-----\n");
            pem.into()
        })
    }
}

impl Spiffe {
    /// Reads an id; `None` where it is none (SPIFFE-ID section 2).
    pub fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("spiffe://")?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
        if domain.is_empty() || !domain.bytes().all(valid) {
            return None;
        }
        let mut parts = path.split('/').skip(1);
        let (namespace, service_account) = match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None) => (Some(namespace), Some(account)),
            _ => (None, None),
        };
        Some(Self {
            id: uri.into(),
            trust_domain: domain.into(),
            namespace: namespace.map(Text::from),
            service_account: service_account.map(Text::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_names_domain_namespace_and_service_account() {
        let id = Spiffe::parse("spiffe://cluster.local/ns/default/sa/web").unwrap();
        assert_eq!(&*id.trust_domain, "cluster.local");
        assert_eq!((id.namespace.as_deref(), id.service_account.as_deref()), (Some("default"), Some("web")));
        let id = Spiffe::parse("spiffe://example.org/billing/api").unwrap();
        assert_eq!((id.namespace, id.service_account), (None, None));
        for other in ["https://example.org/ns/a/sa/b", "spiffe://", "spiffe:///ns/a/sa/b", "spiffe://user@host/x"] {
            assert_eq!(Spiffe::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_certificate_is_written_as_pem_in_lines_of_64() {
        let peer = Peer::new(vec![7u8; 100].into());
        let lines: Vec<&str> = peer.pem().lines().collect();
        assert_eq!(lines.first(), Some(&"-----BEGIN CERTIFICATE-----"));
        assert_eq!(lines.last(), Some(&"-----END CERTIFICATE-----"));
        assert_eq!((lines[1].len(), lines[2].len(), lines[3].len(), lines.len()), (64, 64, 8, 5));
    }

    #[test]
    fn an_identity_without_proof_is_four_pointers_at_most_and_secrets_print_as_stars() {
        assert!(size_of::<Identity>() <= 5 * size_of::<usize>());
        let jwt = Jwt { claims: Map::new(), token: Secret::new(*b"hunter2"), issuer: "i".into() };
        let key = ApiKey::new(Secret::new(*b"hunter2"), Some(r#"{"owner":"alice"}"#.into()));
        assert_eq!(key.metadata()["owner"], "alice");
        let shown = format!("{jwt:?} {key:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    }
}
