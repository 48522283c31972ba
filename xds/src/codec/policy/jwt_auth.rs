//! `jwtAuth`. A key set that a file holds travels as its text.

use std::collections::BTreeMap;

use filters::Scope;
use filters::jwt::{Algorithm, KeySource, Provider};
use filters::jwt_auth::{ClaimHeader, Config, JwksConfig, OptionsConfig, Policy, ProviderConfig};

use super::credential;
use crate::codec::read;
use crate::pb;
use crate::pb::jwt_provider::Jwks;

pub(super) fn encode(it: &Policy) -> pb::JwtAuth {
    let Policy { mode, location, forward, headers, providers, state: _ } = it;
    let claim = |it: &ClaimHeader| pb::ClaimHeader { header: it.name.to_string(), claim: it.claim.to_string() };
    pb::JwtAuth {
        mode: credential::encode_mode(*mode),
        location: credential::encode(location),
        forward: *forward,
        claims_to_headers: headers.iter().map(claim).collect(),
        providers: providers.iter().map(provider).collect(),
    }
}

pub(super) fn provider(it: &Provider) -> pb::JwtProvider {
    let Provider { issuer, audiences, keys, required_claims, algorithms, clock_skew } = it;
    pb::JwtProvider {
        issuer: issuer.to_string(),
        audiences: read::texts(audiences),
        jwks: Some(match keys {
            KeySource::Inline { text, .. } => Jwks::Inline(text.to_string()),
            KeySource::Url(url) => Jwks::Url(url.to_string()),
        }),
        required_claims: Some(pb::RequiredClaims { names: read::texts(required_claims) }),
        algorithms: algorithms.iter().map(|it| it.name().to_owned()).collect(),
        clock_skew: Some(read::duration(*clock_skew)),
    }
}

pub(super) fn decode(it: pb::JwtAuth, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::JwtAuth { mode, location, forward, claims_to_headers, providers } = it;
    let before = scope.problems.len();
    let mode = credential::decode_mode(scope, mode);
    let location = credential::decode(scope, "location", location);
    let mut claims = BTreeMap::new();
    for pb::ClaimHeader { header, claim } in claims_to_headers {
        if claims.insert(header, claim).is_some() {
            scope.problem_at("claimsToHeaders", "a header is here twice");
        }
    }
    let providers = scope.at("providers", |scope| {
        let decode = |(at, it)| scope.at(format!("[{at}]"), |scope| decode_provider(it, scope));
        providers.into_iter().enumerate().filter_map(decode).collect()
    });
    let config = Config { mode, location, forward, claims_to_headers: claims, providers, ..Config::default() };
    if scope.problems.len() > before {
        return None;
    }
    config.lower(scope)
}

pub(super) fn decode_provider(it: pb::JwtProvider, scope: &mut Scope<'_>) -> Option<ProviderConfig> {
    let pb::JwtProvider { issuer, audiences, jwks, required_claims, algorithms, clock_skew } = it;
    let jwks = match jwks {
        Some(Jwks::Inline(text)) => Some(JwksConfig::Inline(text)),
        Some(Jwks::Url(url)) => Some(JwksConfig::Url { url }),
        None => {
            scope.problem_at("jwks", "missing");
            None
        }
    };
    let algorithm =
        |name: &str| Algorithm::parse(name).ok_or_else(|| format!("`{}` is not known", name.escape_debug()));
    let algorithms = scope.each("algorithms", &algorithms, algorithm);
    let clock_skew = read::span(scope, "clockSkew", clock_skew);
    let required_claims = required_claims.map(|it| it.names);
    Some(ProviderConfig {
        issuer,
        audiences: read::listed(audiences),
        jwks: jwks?,
        jwt_validation_options: OptionsConfig { required_claims, algorithms, clock_skew },
    })
}
