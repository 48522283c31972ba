//! `basicAuth`. What a file holds travels as its text.

use filters::Scope;
use filters::basic_auth::{Config, Policy};
use filters::lower::{FileOrInline, Sensitive};

use super::credential;
use crate::pb;

pub(super) fn encode(it: &Policy) -> pb::BasicAuth {
    let Policy { mode, location, forward, realm, users, state: _ } = it;
    pb::BasicAuth {
        mode: credential::encode_mode(*mode),
        location: credential::encode(location),
        forward: *forward,
        realm: realm.to_string(),
        htpasswd: users.text(),
    }
}

pub(super) fn decode(it: pb::BasicAuth, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::BasicAuth { mode, location, forward, realm, htpasswd } = it;
    let before = scope.problems.len();
    let config = Config {
        mode: credential::decode_mode(scope, mode),
        authorization_location: credential::decode(scope, "location", location),
        forward,
        realm: Some(realm).filter(|it| !it.is_empty()),
        htpasswd: FileOrInline::Inline(Sensitive::new(htpasswd)),
    };
    if scope.problems.len() > before {
        return None;
    }
    config.lower(scope)
}
