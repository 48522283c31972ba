//! `backendAuth`. In files it may name files; here the keys themselves travel.

use filters::Scope;
use filters::backend_auth::{Credential, Policy, Primary};
use filters::credential::Location;
use ir::Secret;

use super::credential;
use crate::pb;
use crate::pb::backend_auth::Primary as Wire;

pub(super) fn encode(it: &Policy) -> pb::BackendAuth {
    let Policy { primary, credentials } = it;
    pb::BackendAuth {
        primary: primary.as_ref().map(|it| match it {
            Primary::Key(it) => Wire::Key(encode_key(it)),
            Primary::Passthrough(location) => Wire::Passthrough(credential::encode(location).unwrap_or_default()),
        }),
        credentials: credentials.iter().map(encode_key).collect(),
    }
}

fn encode_key(it: &Credential) -> pb::BackendCredential {
    pb::BackendCredential { location: credential::encode(it.location()), key: it.key().expose().to_vec() }
}

pub(super) fn decode(it: pb::BackendAuth, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::BackendAuth { primary, credentials } = it;
    let before = scope.problems.len();
    let primary = primary.and_then(|it| match it {
        Wire::Key(it) => scope.at("key", |scope| decode_key(it, scope)).map(Primary::Key),
        Wire::Passthrough(it) => scope.at("passthrough", |scope| location(Some(it), scope)).map(Primary::Passthrough),
    });
    let entry = |scope: &mut Scope<'_>, (at, it): (usize, pb::BackendCredential)| {
        scope.at(format!("[{at}]"), |scope| decode_key(it, scope))
    };
    let credentials = scope
        .at("credentials", |scope| credentials.into_iter().enumerate().filter_map(|it| entry(scope, it)).collect());
    if scope.problems.len() > before {
        return None;
    }
    Policy::lower(primary, credentials, scope)
}

fn decode_key(it: pb::BackendCredential, scope: &mut Scope<'_>) -> Option<Credential> {
    let pb::BackendCredential { location, key } = it;
    let key = Secret::new(key);
    let location = self::location(location, scope)?;
    let credential = Credential::new(location, key);
    scope.check("key", credential)
}

fn location(it: Option<pb::AuthorizationLocation>, scope: &mut Scope<'_>) -> Option<Location> {
    let Some(it) = it else {
        scope.problem_at("location", "missing");
        return None;
    };
    let location = credential::decode(scope, "location", Some(it))?;
    scope.at("location", |scope| location.lower(scope))
}
