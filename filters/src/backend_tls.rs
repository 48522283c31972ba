//! `backendTLS`: TLS towards a backend: who it must be, and who we are.
//!
//! ```yaml
//! backendTLS:
//!   root: /etc/ssl/internal-ca.pem
//!   cert: /etc/ssl/gateway.pem
//!   key: /etc/ssl/gateway.key
//!   hostname: api.internal
//! ```
//!
//! **Verification.** The chain must end in `root` (the system's roots unless written), and the
//! certificate must name `hostname` (the backend's own host name unless written) or, with
//! `subjectAltNames`, any of those. `hostname` is also the SNI.
//!
//! **Switching it off.** `insecureHost` leaves the name unverified, `insecure` chain and name. Both
//! are refused together with the terms they would make void: a root or accepted names that nobody
//! looks at are a mistake.
//!
//! **Files.** `cert`, `key` and `root` are paths of PEM files, or `{ credential: NAME }` for a credential of the service
//! (systemd's `LoadCredential=`); they are watched.
//!
//! **Merging.** The nearest to the backend replaces the others whole: the reference to it, the backend itself, then what
//! route, listener and gateway hand down; one with `inheritance: override` stands against all nearer ones. In the
//! reference a policy attached to a backend gives way to one of a route: here it is nearer, and wins.
//!
//! **Limits.** `spiffe` comes with a later version.
//!
//! **Where we differ.** The reference accepts `insecure` beside `root`.

use ir::listener::KeyExchangeGroup;
use ir::{Hostname, Secret, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tls_terms;
use crate::{FileRef, Scope};

/// TLS towards a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BackendTls")]
pub struct Config {
    /// PEM file with the chain shown to the backend, leaf first. Together with `key`.
    pub cert: Option<FileRef>,
    /// PEM file with the private key of `cert`.
    pub key: Option<FileRef>,
    /// PEM file with the roots trusted; absent means the system's.
    pub root: Option<FileRef>,
    /// SNI sent and name verified; absent means the backend's host name.
    pub hostname: Option<String>,
    /// Verify neither chain nor name.
    pub insecure: bool,
    /// Verify the chain but not the name.
    pub insecure_host: bool,
    /// Protocols offered, in order of preference; absent means `h2`, `http/1.1`.
    pub alpn: Option<Vec<String>>,
    /// Names of which the certificate must bear one (DNS or URI such as SPIFFE), instead of the
    /// host name.
    pub subject_alt_names: Option<Vec<String>>,
    /// In order of preference: `X25519`, `P-256`, `P-384`, `X25519_MLKEM768`.
    pub key_exchange_groups: Option<Vec<String>>,
    /// Identity and trust from the SPIFFE Workload API. Not supported by this version yet.
    pub spiffe: Option<serde_json::Value>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let before = scope.problems.len();
        self.check(scope);
        let Self { cert, key, root, hostname, insecure, insecure_host, alpn, .. } = &self;
        let client_certificate = cert.as_ref().and_then(|path| pem(scope, "cert", path, "CERTIFICATE"));
        let client_key = key.as_ref().and_then(|path| pem(scope, "key", path, "PRIVATE KEY")).map(Secret::new);
        let roots = root.as_ref().and_then(|path| pem(scope, "root", path, "CERTIFICATE"));
        let hostname = hostname.as_ref().and_then(|text| scope.check("hostname", host(text)));
        let alpn = scope.each("alpn", alpn.as_deref().unwrap_or_default(), tls_terms::alpn);
        let names = self.subject_alt_names.as_deref().unwrap_or_default();
        let subject_alt_names = scope.each("subjectAltNames", names, alt_name);
        let groups = self.key_exchange_groups.as_deref().unwrap_or_default();
        let key_exchange_groups = scope.each("keyExchangeGroups", groups, tls_terms::group);
        (scope.problems.len() == before).then_some(Policy {
            client_certificate,
            client_key,
            roots,
            hostname,
            insecure: *insecure,
            insecure_host: *insecure_host,
            alpn,
            subject_alt_names,
            key_exchange_groups,
        })
    }

    /// What cannot go together.
    fn check(&self, scope: &mut Scope<'_>) {
        if self.cert.is_some() != self.key.is_some() {
            let (missing, present) = if self.cert.is_some() { ("key", "cert") } else { ("cert", "key") };
            scope.problem_at(missing, format!("missing: `{present}` is of no use without it"));
        }
        if self.insecure && self.root.is_some() {
            scope.problem_at("insecure", "with `insecure` nobody looks at `root`: leave one out");
        }
        for (key, switch) in [("insecure", self.insecure), ("insecureHost", self.insecure_host)] {
            if switch && self.subject_alt_names.is_some() {
                scope.problem_at(key, format!("with `{key}` nobody looks at `subjectAltNames`: leave one out"));
            }
        }
        for (key, list) in [
            ("alpn", &self.alpn),
            ("subjectAltNames", &self.subject_alt_names),
            ("keyExchangeGroups", &self.key_exchange_groups),
        ] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                scope.problem_at(key, "an empty list accepts nothing: leave it out");
            }
        }
        if self.spiffe.is_some() {
            scope.problem_at("spiffe", "not supported by this version yet");
        }
    }
}

/// The content of a file that holds a PEM block of the kind asked for. What is inside the block
/// is for whoever builds the TLS context to say.
fn pem(scope: &mut Scope<'_>, key: &str, file: &FileRef, kind: &str) -> Option<Vec<u8>> {
    let content = scope.file(key, file)?;
    let text = String::from_utf8_lossy(&content);
    let found = text.lines().any(|line| {
        let label = line.trim().strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        label.is_some_and(|label| label.ends_with(kind))
    });
    if !found {
        scope.problem_at(key, format!("`{file}` holds no PEM block `-----BEGIN … {kind}-----`"));
        return None;
    }
    Some(content)
}

fn host(text: &str) -> Result<Text, String> {
    match Hostname::parse(text) {
        Ok(Hostname::Exact(name)) => Ok(name),
        _ => Err(format!("`{}` is not a host name: write `api.example.com`", text.escape_debug())),
    }
}

fn alt_name(text: &str) -> Result<Text, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("`{}` is not a name: write a DNS name or a URI", text.escape_debug()));
    }
    // DNS names are compared without case, URIs with.
    Ok(if text.contains("://") { text.into() } else { text.to_ascii_lowercase().into() })
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn files_are_read_and_names_lower_cased() {
        let policy = lower(
            json!({
                "cert": "pem:CERTIFICATE", "key": "pem:EC PRIVATE KEY", "root": "pem:CERTIFICATE",
                "hostname": "API.internal", "subjectAltNames": ["A.b", "spiffe://T/x"],
                "keyExchangeGroups": ["P-256"], "alpn": ["h2"],
            }),
            Config::lower,
        );
        assert!(policy.client_key.is_some() && policy.client_certificate.is_some() && policy.roots.is_some());
        assert_eq!(policy.hostname.as_deref(), Some("api.internal"));
        assert_eq!(policy.subject_alt_names, [Text::from("a.b"), Text::from("spiffe://T/x")]);
        assert_eq!(policy.key_exchange_groups, [KeyExchangeGroup::P256]);
    }

    #[test]
    fn terms_that_make_each_other_void_are_refused() {
        refuses(
            [
                (json!({"insecure": true, "root": "pem:CERTIFICATE"}), "policy.insecure: with `insecure` nobody"),
                (json!({"insecure": true, "subjectAltNames": ["a"]}), "nobody looks at `subjectAltNames`"),
                (json!({"insecureHost": true, "subjectAltNames": ["a"]}), "nobody looks at `subjectAltNames`"),
                (json!({"cert": "pem:CERTIFICATE"}), "policy.key: missing"),
                (json!({"key": "pem:PRIVATE KEY"}), "policy.cert: missing"),
                (json!({"hostname": ""}), "policy.hostname: `` is not a host name"),
                (json!({"hostname": "*.example.com"}), "is not a host name"),
                (json!({"root": "junk"}), "`junk` holds no PEM block"),
                (json!({"root": "absent"}), "policy.root: cannot read `absent`: no such file"),
                (json!({"root": "pem:PRIVATE KEY"}), "holds no PEM block `-----BEGIN … CERTIFICATE-----`"),
                (json!({"alpn": []}), "policy.alpn: an empty list"),
                (json!({"spiffe": {}}), "policy.spiffe: not supported"),
            ],
            Config::lower,
        );
    }
}
