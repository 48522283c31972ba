//! `mcpAuthentication`. Where its keys are travels as it was found out.

use filters::Scope;
use filters::backend_auth::{SecretText, ValueConfig};
use filters::mcp_authentication::{Config, Empty, Policy, Provider, ProviderConfig, StepUp, StepUpConfig};

use super::{credential, jwt_auth};
use crate::codec::read;
use crate::pb;
use crate::pb::mcp_authentication::Provider as Wire;

pub(super) fn encode(it: &Policy) -> pb::McpAuthentication {
    let Policy {
        jwt, issuer: _, provider, resource_metadata, required_scopes, step_up, client_id, client_secret, ..
    } = it;
    let provider = match provider {
        Provider::None => Wire::Unspecified,
        Provider::Auth0 => Wire::Auth0,
        Provider::Keycloak => Wire::Keycloak,
        Provider::Okta => Wire::Okta,
        Provider::Descope => Wire::Descope,
        Provider::Authentik => Wire::Authentik,
        Provider::Entra => Wire::Entra,
    };
    let step = |StepUp { when, scopes }: &StepUp| pb::mcp_authentication::StepUp {
        when: when.text().to_owned(),
        scopes: read::texts(scopes),
    };
    pb::McpAuthentication {
        mode: credential::encode_mode(jwt.mode),
        location: credential::encode(&jwt.location),
        tokens: jwt.providers.first().map(jwt_auth::provider),
        provider: provider.into(),
        resource_metadata: match resource_metadata.is_empty() {
            true => String::new(),
            false => serde_json::Value::Object(resource_metadata.clone()).to_string(),
        },
        required_scopes: read::texts(required_scopes),
        step_up: step_up.iter().map(step).collect(),
        client_id: client_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        client_secret: client_secret.as_ref().map(|it| it.expose().to_vec()).unwrap_or_default(),
    }
}

pub(super) fn decode(it: pb::McpAuthentication, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::McpAuthentication { mode, location, tokens, provider, resource_metadata, required_scopes, .. } = it;
    let pb::McpAuthentication { step_up, client_id, client_secret, .. } = it;
    let before = scope.problems.len();
    let mode = credential::decode_mode(scope, mode);
    let authorization_location = credential::decode(scope, "authorizationLocation", location);
    let provider = match read::choice(scope, "provider", provider) {
        Wire::Unspecified => None,
        Wire::Auth0 => Some(ProviderConfig::Auth0(Empty {})),
        Wire::Keycloak => Some(ProviderConfig::Keycloak(Empty {})),
        Wire::Okta => Some(ProviderConfig::Okta(Empty {})),
        Wire::Descope => Some(ProviderConfig::Descope(Empty {})),
        Wire::Authentik => Some(ProviderConfig::Authentik(Empty {})),
        Wire::Entra => Some(ProviderConfig::Entra(Empty {})),
    };
    let metadata = match resource_metadata.is_empty() {
        true => Ok(serde_json::Map::new()),
        false => serde_json::from_str(&resource_metadata).map_err(|_| "not a JSON object".to_owned()),
    };
    let metadata = scope.check("resourceMetadata", metadata);
    let secret = String::from_utf8(client_secret).map_err(|_| "not text".to_owned());
    let secret = scope.check("clientSecret", secret);
    let Some(tokens) = tokens else {
        scope.problem_at("tokens", "missing");
        return None;
    };
    let tokens = scope.at("tokens", |scope| jwt_auth::decode_provider(tokens, scope))?;
    if scope.problems.len() > before {
        return None;
    }
    let config = Config {
        issuer: tokens.issuer,
        audiences: tokens.audiences.unwrap_or_default(),
        resource_metadata: metadata?,
        provider,
        jwks: Some(tokens.jwks),
        mode,
        authorization_location,
        jwt_validation_options: Some(tokens.jwt_validation_options),
        required_scopes,
        step_up: step_up.into_iter().map(|it| StepUpConfig { when: it.when, scopes: it.scopes }).collect(),
        client_id: Some(client_id).filter(|it| !it.is_empty()),
        client_secret: secret.filter(|it| !it.is_empty()).map(|it| ValueConfig::Inline(SecretText(it))),
    };
    config.lower(scope)
}
