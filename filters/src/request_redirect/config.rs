//! A redirect as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use crate::Scope;
use crate::destination::{AuthorityConfig, PathConfig};

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// Send the client elsewhere; the backend does not see the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "RequestRedirect")]
pub struct Config {
    /// Scheme of the new address, such as `https`; absent means the request's own.
    pub scheme: Option<String>,
    /// What becomes of host and port.
    pub authority: Option<AuthorityConfig>,
    /// What becomes of the path. The query is kept.
    pub path: Option<PathConfig>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self { scheme: None, authority: None, path: None, status: 302 }
    }
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { scheme, authority, path, status } = self;
        let before = scope.problems.len();
        let scheme = scheme.and_then(|text| {
            let scheme = text.to_ascii_lowercase();
            let valid = matches!(scheme.as_str(), "http" | "https");
            let parsed = valid.then(|| scheme.into());
            scope.check(
                "scheme",
                parsed.ok_or(format!("`{}` is not a scheme: write `http` or `https`", text.escape_debug())),
            )
        });
        let authority = authority.and_then(|it| scope.at("authority", |scope| it.lower(scope)));
        let path = path.and_then(|it| scope.at("path", |scope| it.lower(scope)));
        if !STATUSES.contains(&status) {
            scope.problem_at("status", format!("{status} is not a redirect: write 301, 302, 303, 307 or 308"));
        }
        (scope.problems.len() == before).then_some(Policy { scheme, authority, path, status })
    }
}
