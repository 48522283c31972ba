//! `backendAuth`. In files it may name files; here the keys themselves travel.

use filters::Scope;
use filters::backend_auth::{Algorithm, Credential, Policy, Primary, Sign, TTL_DEFAULT, Terms};
use filters::credential::Location;
use ir::Secret;

use super::{clouds, credential};
use crate::codec::read;
use crate::pb;
use crate::pb::backend_auth::Primary as Wire;

pub(super) fn encode(it: &Policy) -> pb::BackendAuth {
    let Policy { primary, credentials } = it;
    pb::BackendAuth {
        primary: primary.as_ref().map(|it| match it {
            Primary::Key(it) => Wire::Key(encode_key(it)),
            Primary::Passthrough(location) => Wire::Passthrough(credential::encode(location).unwrap_or_default()),
            Primary::JwtSign(sign) => Wire::JwtSign(encode_sign(sign)),
            Primary::Aws(aws) => Wire::Aws(clouds::encode_aws(aws)),
            Primary::Gcp(gcp) => Wire::Gcp(clouds::encode_gcp(gcp)),
            Primary::Azure(azure) => Wire::Azure(clouds::encode_azure(azure)),
        }),
        credentials: credentials.iter().map(encode_key).collect(),
    }
}

fn encode_sign(it: &Sign) -> pb::JwtSign {
    let Terms { location, key, algorithm, key_id, claims, ttl } = it.terms();
    pb::JwtSign {
        location: credential::encode(location),
        signing_key: key.expose().to_vec(),
        algorithm: algorithm.name().to_owned(),
        key_id: key_id.as_ref().map(ToString::to_string),
        claims: if claims.is_empty() { String::new() } else { serde_json::Value::Object(claims.clone()).to_string() },
        ttl: Some(read::duration(*ttl)),
    }
}

fn decode_sign(it: pb::JwtSign, scope: &mut Scope<'_>) -> Option<Sign> {
    let pb::JwtSign { location, signing_key, algorithm, key_id, claims, ttl } = it;
    let before = scope.problems.len();
    let location = self::location(location, scope);
    let named = Algorithm::ALL.iter().copied().find(|it| it.name() == algorithm);
    let named = named.or_else(|| algorithm.is_empty().then(Algorithm::default));
    let named = scope.check("alg", named.ok_or_else(|| "not an algorithm that this version knows".to_owned()));
    let claims = match claims.is_empty() {
        true => Ok(serde_json::Map::new()),
        false => serde_json::from_str(&claims).map_err(|_| "not a JSON object".to_owned()),
    };
    let claims = scope.check("claims", claims);
    let ttl = read::span(scope, "ttl", ttl).map_or(TTL_DEFAULT, |it| it.0);
    let (key, key_id) = (Secret::new(signing_key), key_id.map(Into::into));
    let terms = Terms { location: location?, key, algorithm: named?, key_id, claims: claims?, ttl };
    if scope.problems.len() > before {
        return None;
    }
    match Sign::new(terms) {
        Ok(sign) => Some(sign),
        Err((key, reason)) => {
            scope.problem_at(key, reason);
            None
        }
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
        Wire::Aws(it) => scope.at("aws", |scope| clouds::decode_aws(it, scope)).map(Primary::Aws),
        Wire::Gcp(it) => scope.at("gcp", |scope| clouds::decode_gcp(it, scope)).map(Primary::Gcp),
        Wire::Azure(it) => scope.at("azure", |scope| clouds::decode_azure(it, scope)).map(Primary::Azure),
        Wire::JwtSign(it) => scope.at("jwtSign", |scope| decode_sign(it, scope)).map(Primary::JwtSign),
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
