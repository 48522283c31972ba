//! Signatures of AWS as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::ValueConfig;
use super::{Aws, Role, Said};
use crate::Scope;
use crate::expr::{Expression, Needs, Vocabulary};

/// Signatures of AWS, version 4.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "BackendAuthAws")]
pub struct AwsConfig {
    /// Id of the access key. Without it the credentials of the process serve.
    pub access_key_id: Option<ValueConfig>,
    /// The access key.
    pub secret_access_key: Option<ValueConfig>,
    /// Token of temporary credentials.
    pub session_token: Option<ValueConfig>,
    /// Region; that of the host name unless written.
    pub region: Option<String>,
    /// Service that is signed for; that of the host name unless written.
    pub service_name: Option<String>,
    /// Credentials of a role, had with those of the process.
    pub assume_role: Option<RoleConfig>,
}

/// A role of AWS, and whose session it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AwsAssumeRole")]
pub struct RoleConfig {
    /// `arn:aws:iam::123456789012:role/name`.
    pub role_arn: String,
    /// What the session is called, in AWS's own logs too; `agentgateway` unless written.
    #[serde(default)]
    pub session_name: Option<SessionNameConfig>,
    /// What policies of AWS may decide by; 50 at most.
    #[serde(default)]
    pub tags: Vec<TagConfig>,
}

/// A name, or an expression that gives one for each request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "AwsSessionName")]
pub enum SessionNameConfig {
    /// The name itself.
    Text(String),
    /// One for each request.
    Computed {
        /// CEL over the request, such as `jwt.sub`.
        expression: String,
    },
}

/// A tag of a session: exactly one of `value` and `expression`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AwsSessionTag")]
pub struct TagConfig {
    /// Its name.
    pub key: String,
    /// The value itself.
    #[serde(default)]
    pub value: Option<String>,
    /// CEL over the request.
    #[serde(default)]
    pub expression: Option<String>,
}

impl AwsConfig {
    pub(in super::super) fn lower(self, scope: &mut Scope<'_>) -> Option<Aws> {
        let Self { access_key_id, secret_access_key, session_token, region, service_name, assume_role } = self;
        let before = scope.problems.len();
        let role = assume_role.and_then(|it| scope.at("assumeRole", |scope| it.lower(scope)));
        let mut part = |key, it: Option<ValueConfig>| it.and_then(|it| scope.at(key, |scope| it.lower(scope)));
        let id = part("accessKeyId", access_key_id);
        let secret = part("secretAccessKey", secret_access_key);
        let token = part("sessionToken", session_token);
        if scope.problems.len() > before {
            return None;
        }
        let aws = Aws::lower((id, secret, token), region.map(Into::into), service_name.map(Into::into), role);
        aws.map_err(|(key, reason)| scope.problem_at(key, reason)).ok()
    }
}

impl RoleConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Role> {
        let Self { role_arn, session_name, tags } = self;
        let before = scope.problems.len();
        let name = session_name.and_then(|it| match it {
            SessionNameConfig::Text(text) => Some(Said::Text(text.into())),
            SessionNameConfig::Computed { expression } => {
                scope.at("sessionName", |scope| said(&expression, scope)).map(Said::Expression)
            }
        });
        let tags = tags.into_iter().enumerate().filter_map(|(position, TagConfig { key, value, expression })| {
            scope.at(format!("tags[{position}]"), |scope| {
                let value = match (value, expression) {
                    (Some(text), None) => Said::Text(text.into()),
                    (None, Some(expression)) => Said::Expression(said(&expression, scope)?),
                    _ => {
                        scope.problem("write exactly one of `value` and `expression`");
                        return None;
                    }
                };
                Some((key.into(), value))
            })
        });
        let tags = tags.collect();
        if scope.problems.len() > before {
            return None;
        }
        Role::new(role_arn.into(), name, tags).map_err(|(key, reason)| scope.problem_at(key, reason)).ok()
    }
}

/// An expression over the head of a request, whose backend is chosen.
pub fn said(text: &str, scope: &mut Scope<'_>) -> Option<Expression> {
    let why = "a session is had before the body is read";
    let vocabulary = Vocabulary::of(scope.site).without(Needs::ANY_BODY, why);
    scope.check("expression", Expression::parse(text, &vocabulary))
}
