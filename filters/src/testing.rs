//! What the tests of units need: a scope without files, lowering from JSON, a request.

use std::time::Duration;

use ir::{BackendKey, BackendRef};
use pingora_http::RequestHeader;
use serde::de::DeserializeOwned;

use crate::lower::{Backends, FileRef, Files, SimpleBackend};
use crate::outside::still::Still;
use crate::{Exchange, Facts, Scope};

/// A file of keys: one in plain, the hash of `hashed-key`, and an entry.
const API_KEYS: &str = "# keys\n\nfile-key\nsha256:a4ae87b73fa5645e6aee415a6f72be4dcbd99d057a7b40cb1b867c181d179260\n{\"key\": \"entry-key\", \"metadata\": {\"owner\": \"bob\"}}\n";

/// Files by name: `pem:<label>` holds one PEM block of that label, `text:<line>` a line, `junk` no PEM.
pub(crate) struct Shelf;

impl Files for Shelf {
    fn read(&mut self, file: &FileRef) -> Result<Vec<u8>, String> {
        let path = file.to_string();
        match path.strip_prefix("pem:") {
            Some(label) => Ok(format!("-----BEGIN {label}-----\nAA==\n-----END {label}-----\n").into_bytes()),
            None if path == "junk" => Ok(b"not pem".to_vec()),
            None if path == "api-keys" => Ok(API_KEYS.as_bytes().to_vec()),
            None if path == "junk-keys" => Ok(b"one\n# two\nsha256:junk\n".to_vec()),
            None if path == "htpasswd" => Ok(b"alice:{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".to_vec()),
            None if path == "jwks" => Ok(crate::jwt::testing::jwks().into_bytes()),
            None if path.starts_with("text:") => Ok(format!("{}\n", path.trim_start_matches("text:")).into_bytes()),
            None => Err("no such file".to_owned()),
        }
    }
}

impl Backends for Shelf {
    fn refer(&mut self, backend: SimpleBackend) -> Result<BackendRef, String> {
        match backend {
            SimpleBackend::Backend(name) if name == "absent" => Err(format!("no backend `{name}`")),
            SimpleBackend::Backend(name) | SimpleBackend::Host(name) => Ok(BackendRef::Backend(BackendKey::new(name))),
            SimpleBackend::Service(service) => Ok(BackendRef::Backend(BackendKey::new(service.name))),
        }
    }
}

/// The outcome of lowering: policy and problems as text.
pub(crate) fn try_lower<C: DeserializeOwned, P>(
    config: serde_json::Value,
    lower: impl FnOnce(C, &mut Scope<'_>) -> Option<P>,
) -> (Option<P>, Vec<String>) {
    let config: C = serde_json::from_value(config).expect("the shape is right");
    let (mut files, mut backends) = (Shelf, Shelf);
    let mut scope = Scope::new("policy", &mut files, &mut backends);
    let policy = lower(config, &mut scope);
    (policy, scope.problems.iter().map(ToString::to_string).collect())
}

/// The policy of a configuration without problems.
pub(crate) fn lower<C: DeserializeOwned, P>(
    config: serde_json::Value,
    lower: impl FnOnce(C, &mut Scope<'_>) -> Option<P>,
) -> P {
    let (policy, problems) = try_lower(config, lower);
    assert_eq!(problems, Vec::<String>::new());
    policy.expect("no problem, yet no policy")
}

/// The problems of a configuration that is refused.
pub(crate) fn problems<C: DeserializeOwned, P>(
    config: serde_json::Value,
    lower: impl FnOnce(C, &mut Scope<'_>) -> Option<P>,
) -> Vec<String> {
    let (policy, problems) = try_lower(config, lower);
    assert!(policy.is_none(), "refused, yet there is a policy: {problems:?}");
    problems
}

/// Each configuration is refused with exactly one problem, which contains the text beside it.
pub(crate) fn refuses<C: DeserializeOwned, P>(
    cases: impl IntoIterator<Item = (serde_json::Value, &'static str)>,
    lower: impl Fn(C, &mut Scope<'_>) -> Option<P>,
) {
    for (config, want) in cases {
        let found = problems(config.clone(), &lower);
        assert_eq!(found.len(), 1, "{config}: {found:?}");
        assert!(found[0].contains(want), "{config}: {found:?} lacks {want:?}");
    }
}

/// A request of 192.0.2.1 for `api.example.com` on port 3000.
pub(crate) fn request(method: &str, path: &str) -> (RequestHeader, Facts) {
    let mut head = RequestHeader::build(method, path.as_bytes(), None).expect("a request");
    head.insert_header("host", "api.example.com:3000").expect("a host");
    let mut facts = Facts::new("192.0.2.1".parse().expect("an address"), false, 3000);
    facts.host = "api.example.com".to_owned();
    (head, facts)
}

/// The moment at which tests take place: 2027-01-15 08:00 UTC.
pub(crate) const NOW: Duration = Duration::from_secs(1_800_000_000);

static STILL: Still = Still(NOW);

/// A request as hooks see it, in a world that stands still.
pub(crate) fn exchange<'a>(request: &'a mut RequestHeader, facts: &'a mut Facts) -> Exchange<'a> {
    Exchange { request, facts, outside: &STILL }
}
