//! `sessionAffinity`: keep a client on one endpoint (weighted rendezvous hash).
//!
//! ```yaml
//! sessionAffinity:
//!   source: request.headers["x-user"]
//! ```
//!
//! **Source.** CEL over the request that gives a text, bytes or a number: a header,
//! `request.cookies["session"]`, `jwt.sub`, `source.address`. A request in which it fails, or is empty, is
//! balanced as usual.
//!
//! **Merging.** The nearest to the backend replaces the others whole: the reference to it, the backend itself, then what
//! route, listener and gateway hand down; one with `inheritance: override` stands against all nearer ones. In the
//! reference a policy attached to a backend gives way to one of a route: here it is nearer, and wins.
//!
//! **Limits.** Affinity holds among healthy endpoints; when they change, only the clients of the
//! ones that went move. The body is not read for it.
//!
//! **Where we differ.** `request.cookies` is ours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::expr::{Expression, Needs, Site, Vocabulary};

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
        let vocabulary = Vocabulary::of(Site::Backend)
            .without(Needs::ANY_BODY, "the body is not read before the endpoint is chosen");
        let source = scope.check("source", Expression::parse(&source, &vocabulary))?;
        let differs = Needs::REQUEST.or(Needs::SOURCE).or(Needs::PEER).or(Needs::JWT).or(Needs::API_KEY);
        let differs = differs.or(Needs::BASIC_AUTH).or(Needs::EXTAUTHZ).or(Needs::METADATA).or(Needs::LLM);
        if !source.needs().intersects(differs) {
            scope.problem_at("source", "it sends everybody to the same endpoint: name something of the request");
            return None;
        }
        Some(Policy { source })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What is hashed; absent or empty in a request means ordinary balancing.
    pub source: Expression,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn the_source_differs_between_clients_and_is_known_in_time() {
        let policy = lower(json!({"source": "request.cookies[\"sid\"]"}), Config::lower);
        assert_eq!(policy.source.text(), "request.cookies[\"sid\"]");
        refuses(
            [
                (json!({"source": "'x'"}), "policy.source: it sends everybody to the same endpoint"),
                (json!({"source": "route.name"}), "it sends everybody"),
                (
                    json!({"source": "string(response.code)"}),
                    "`response.code` does not exist for a request to a backend",
                ),
                (json!({"source": "request.body"}), "the body is not read"),
            ],
            Config::lower,
        );
    }
}
