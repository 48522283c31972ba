//! `sessionAffinity`: keep a client on one endpoint (weighted rendezvous hash).
//!
//! ```yaml
//! sessionAffinity:
//!   source: request.headers["x-user"]
//! ```
//!
//! **Source.** A plain field of the request, as [`crate::field`] lists them: a header,
//! `request.cookies["session"]`, `request.query["id"]`, `source.address`. A request in which it is
//! absent or empty is balanced as usual.
//!
//! **Limits.** Affinity holds among healthy endpoints; when they change, only the clients of the
//! ones that went move. Whole CEL expressions come with a later version.
//!
//! **Where we differ.** `request.cookies` is ours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::field::Field;

/// Keep a client on one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "SessionAffinity")]
pub struct Config {
    /// What is hashed: `request.headers["x-user"]`, `request.cookies["session"]`, `source.address`.
    pub source: String,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { source } = self;
        let source = scope.check("source", Field::parse(&source))?;
        let reason = match &source {
            Field::Text(_) | Field::Int(_) => {
                "a literal sends everybody to the same endpoint: name a field of the request"
            }
            Field::BackendName | Field::RouteName | Field::ListenerName => {
                "it is the same for everybody: name a field of the request"
            }
            field if field.is_of_response() => "there is no response when the endpoint is chosen",
            _ => return Some(Policy { source }),
        };
        scope.problem_at("source", reason);
        None
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What is hashed; absent or empty in a request means ordinary balancing.
    pub source: Field,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn the_source_differs_between_clients_and_is_known_in_time() {
        let policy = lower(json!({"source": "request.cookies[\"sid\"]"}), Config::lower);
        assert_eq!(policy.source, Field::RequestCookie("sid".into()));
        refuses(
            [
                (json!({"source": "'x'"}), "policy.source: a literal sends everybody"),
                (json!({"source": "route.name"}), "same for everybody"),
                (json!({"source": "response.code"}), "no response when"),
                (json!({"source": "jwt.sub"}), "`jwt.sub` is not a field"),
            ],
            Config::lower,
        );
    }
}
