//! Users as written.

use std::sync::Arc;

use ir::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Policy, Users};
use crate::Scope;
use crate::credential::{self, Location, Mode};
use crate::keep::Slot;
use crate::lower::FileOrInline;

/// Users with passwords (HTTP Basic).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "BasicAuth")]
pub struct Config {
    /// Lines `user:hash`, as the tool `htpasswd` writes them: the text, or a file, which is watched.
    pub htpasswd: FileOrInline,
    /// What browsers show when they ask for user and password.
    #[serde(default)]
    pub realm: Option<String>,
    /// What happens to requests without valid user and password: `strict` refuses them, `optional`
    /// refuses wrong ones only, `permissive` nothing.
    #[serde(default)]
    pub mode: Mode,
    /// Where they are written; `Authorization: Basic` unless set.
    #[serde(default)]
    pub authorization_location: Option<credential::Config>,
    /// Whether the backend gets them too.
    #[serde(default)]
    pub forward: bool,
}

/// The realm unless configured.
const REALM: &str = "Restricted";

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { htpasswd, realm, mode, authorization_location, forward } = self;
        let location = match authorization_location {
            Some(location) => scope.at("authorizationLocation", |scope| location.lower(scope)),
            None => Some(Location::authorization("Basic")),
        };
        let realm = scope.check("realm", quotable(realm.as_deref().unwrap_or(REALM)));
        let users = scope.at("htpasswd", |scope| {
            let text = htpasswd.read(scope)?;
            match Users::parse(&text) {
                Ok(users) => Some(Arc::new(users)),
                Err(problems) => {
                    problems.into_iter().for_each(|it| scope.problem(it));
                    None
                }
            }
        });
        Some(Policy { mode, location: location?, forward, realm: realm?, users: users?, state: Slot::default() })
    }
}

/// A realm that can stand in a challenge (RFC 7617 section 2).
fn quotable(realm: &str) -> Result<Text, String> {
    if realm.is_empty() || realm.contains(['"', '\\']) || !realm.bytes().all(|it| matches!(it, b' '..=b'~')) {
        return Err("a realm is visible ASCII without quotes and backslashes".to_owned());
    }
    Ok(realm.into())
}
