//! A rewrite as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use crate::Scope;
use crate::destination::{AuthorityConfig, PathConfig};

/// Change host and path of a request before it goes to the backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "UrlRewrite")]
pub struct Config {
    /// What becomes of host and port. Stops the automatic host of host backends, but for `auto`.
    pub authority: Option<AuthorityConfig>,
    /// What becomes of the path. The query is kept.
    pub path: Option<PathConfig>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { authority, path } = self;
        let before = scope.problems.len();
        let authority = authority.and_then(|it| scope.at("authority", |scope| it.lower(scope)));
        let path = path.and_then(|it| scope.at("path", |scope| it.lower(scope)));
        (scope.problems.len() == before).then_some(Policy { authority, path })
    }
}
