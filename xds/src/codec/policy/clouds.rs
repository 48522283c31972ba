//! Credentials of clouds. In files they may be in files; here they travel themselves.

use filters::Scope;
use filters::backend_auth::aws::{Aws, Role, Said, said};
use filters::backend_auth::azure::{self, Assigned, Azure, Client};
use filters::backend_auth::gcp::{Gcp, Kind};
use ir::Secret;

use crate::pb;
use crate::pb::aws_text::Said as Text;
use crate::pb::azure_managed_identity::UserAssignedIdentity as Named;
use crate::pb::azure_token::Identity;

pub(super) fn encode_aws(it: &Aws) -> pb::AwsSign {
    let bytes = |it: &Secret| it.expose().to_vec();
    pb::AwsSign {
        access_key_id: it.keys.as_ref().map(|it| bytes(&it.id)),
        secret_access_key: it.keys.as_ref().map(|it| bytes(&it.secret)),
        session_token: it.keys.as_ref().and_then(|it| it.token.as_ref()).map(bytes),
        region: it.region.as_ref().map(ToString::to_string),
        service_name: it.service.as_ref().map(ToString::to_string),
        assume_role: it.role.as_ref().map(encode_role),
    }
}

fn encode_role(it: &Role) -> pb::AwsRole {
    let said = |it: &Said| pb::AwsText {
        said: Some(match it {
            Said::Text(text) => Text::Text(text.to_string()),
            Said::Expression(it) => Text::Expression(it.text().to_owned()),
        }),
    };
    let Role { arn, session_name, tags } = it;
    let tag = |(key, value): &(ir::Text, Said)| pb::AwsTag { key: key.to_string(), value: Some(said(value)) };
    pb::AwsRole {
        role_arn: arn.to_string(),
        session_name: Some(said(session_name)),
        tags: tags.iter().map(tag).collect(),
    }
}

fn decode_role(it: pb::AwsRole, scope: &mut Scope<'_>) -> Option<Role> {
    let pb::AwsRole { role_arn, session_name, tags } = it;
    let before = scope.problems.len();
    let read = |it: Option<pb::AwsText>, scope: &mut Scope<'_>| match it.and_then(|it| it.said) {
        Some(Text::Text(text)) => Some(Said::Text(text.into())),
        Some(Text::Expression(text)) => said(&text, scope).map(Said::Expression),
        None => {
            scope.problem("missing");
            None
        }
    };
    let name = session_name.and_then(|it| scope.at("sessionName", |scope| read(Some(it), scope)));
    let tags = tags.into_iter().enumerate().filter_map(|(position, pb::AwsTag { key, value })| {
        scope.at(format!("tags[{position}]"), |scope| read(value, scope)).map(|it| (key.into(), it))
    });
    let tags = tags.collect();
    if scope.problems.len() > before {
        return None;
    }
    Role::new(role_arn.into(), name, tags).map_err(|(key, reason)| scope.problem_at(key, reason)).ok()
}

pub(super) fn decode_aws(it: pb::AwsSign, scope: &mut Scope<'_>) -> Option<Aws> {
    let pb::AwsSign { access_key_id, secret_access_key, session_token, region, service_name, assume_role } = it;
    let before = scope.problems.len();
    let role = assume_role.and_then(|it| scope.at("assumeRole", |scope| decode_role(it, scope)));
    if scope.problems.len() > before {
        return None;
    }
    let keys = (access_key_id.map(Secret::new), secret_access_key.map(Secret::new), session_token.map(Secret::new));
    let aws = Aws::lower(keys, region.map(Into::into), service_name.map(Into::into), role);
    aws.map_err(|(key, reason)| scope.problem_at(key, reason)).ok()
}

pub(super) fn encode_gcp(it: &Gcp) -> pb::GcpToken {
    let kind = match it.kind {
        Kind::AccessToken => "accessToken",
        Kind::IdToken => "idToken",
    };
    pb::GcpToken {
        r#type: kind.to_owned(),
        audience: it.audience.as_ref().map(ToString::to_string),
        credential: it.credential.as_ref().map(|it| it.expose().to_vec()),
    }
}

pub(super) fn decode_gcp(it: pb::GcpToken, scope: &mut Scope<'_>) -> Option<Gcp> {
    let pb::GcpToken { r#type, audience, credential } = it;
    let kind = match r#type.as_str() {
        "accessToken" | "" => Kind::AccessToken,
        "idToken" => Kind::IdToken,
        _ => {
            scope.problem_at("type", "not a kind of token that this version knows");
            return None;
        }
    };
    let gcp = Gcp::lower(kind, audience.map(Into::into), credential.map(Secret::new));
    gcp.map_err(|(key, reason)| scope.problem_at(key, reason)).ok()
}

pub(super) fn encode_azure(it: &Azure) -> pb::AzureToken {
    let named = |it: &Assigned| match it {
        Assigned::ClientId(id) => Named::ClientId(id.clone()),
        Assigned::ObjectId(id) => Named::ObjectId(id.clone()),
        Assigned::ResourceId(id) => Named::ResourceId(id.clone()),
    };
    let identity = match &it.kind {
        azure::Kind::ClientSecret(Client { tenant, id, secret }) => Identity::ClientSecret(pb::AzureClientSecret {
            tenant_id: tenant.to_string(),
            client_id: id.to_string(),
            client_secret: secret.expose().to_vec(),
        }),
        azure::Kind::ManagedIdentity(it) => {
            Identity::ManagedIdentity(pb::AzureManagedIdentity { user_assigned_identity: it.as_ref().map(named) })
        }
        azure::Kind::WorkloadIdentity => Identity::WorkloadIdentity(pb::AzureAmbient {}),
        azure::Kind::DeveloperImplicit => Identity::DeveloperImplicit(pb::AzureAmbient {}),
        azure::Kind::Implicit => Identity::Implicit(pb::AzureAmbient {}),
    };
    pb::AzureToken { identity: Some(identity) }
}

pub(super) fn decode_azure(it: pb::AzureToken, scope: &mut Scope<'_>) -> Option<Azure> {
    let Some(identity) = it.identity else {
        scope.problem("missing: who asks for tokens");
        return None;
    };
    let kind = match identity {
        Identity::ClientSecret(pb::AzureClientSecret { tenant_id, client_id, client_secret }) => {
            let (tenant, id, secret) = (tenant_id.into(), client_id.into(), Secret::new(client_secret));
            azure::Kind::ClientSecret(Client { tenant, id, secret })
        }
        Identity::ManagedIdentity(it) => azure::Kind::ManagedIdentity(it.user_assigned_identity.map(|it| match it {
            Named::ClientId(id) => Assigned::ClientId(id),
            Named::ObjectId(id) => Assigned::ObjectId(id),
            Named::ResourceId(id) => Assigned::ResourceId(id),
        })),
        Identity::WorkloadIdentity(_) => azure::Kind::WorkloadIdentity,
        Identity::DeveloperImplicit(_) => azure::Kind::DeveloperImplicit,
        Identity::Implicit(_) => azure::Kind::Implicit,
    };
    Azure::lower(kind).map_err(|(key, reason)| scope.problem_at(key, reason)).ok()
}
