//! `frontendPolicies.accessLog`: what the access log says, and of which requests.
//!
//! ```yaml
//! accessLog:
//!   filter: response.code >= 400 || request.path == "/login"
//!   add:
//!     user: request.headers["x-user"]
//!   remove: [source.port]
//! ```
//!
//! **Filter and fields** are CEL over everything that is known when the request ends. A field that
//! fails, such as one that a request does not have, is left out of its line; a filter that fails does not
//! hold. `flatten(m)` becomes a field for each entry, `name.key`. Sensitive headers and cookies are secrets
//! to fields: they show as stars, and what is made of them fails.
//!
//! **Bodies** are noted as they pass where a field or the filter reads them, up to
//! `frontendPolicies.http.maxBufferSize` each; nothing waits for them. Of a larger one `bodyPrefix` is the beginning, and
//! `body` fails. The request's is what went to the backend, or what was read of it where there was none; the response's
//! is what the client got, before compression.
//!
//! **MCP.** Of a message that names something `mcp` says what: `mcp.tool.name`, `mcp.tool.target`, `mcp.tool.arguments` (up
//! to 1 MiB), and once it is answered `mcp.tool.result` or `mcp.tool.error` (of messages up to 64 KiB). The latter is the
//! error of the protocol, an object with `code`, `message` and maybe `data`, and is there only where the call was answered
//! with one; a tool that fails says so in its result (`mcp.tool.result.isError`). The line itself has `mcp.error.code` and
//! `mcp.error.message` for the one, and `error.type` (`tool_error`) for the other.
//!
//! **Order.** Lines of one thread are in order, those of several are not: sort by `time`.
//!
//! **Merging.** The most specific policy replaces the others whole, from the instance over gateway, listener and route
//! down to the rule; one with `inheritance: override` stands against all below it.
//!
//! **Limits.** At most 64 fields are added. `otlp` and `database` come with a later version.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::expr::{Expression, Site, Vocabulary};

/// Most fields added.
const ADD_MAX: usize = 64;

/// What the access log says, and of which requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "AccessLog")]
pub struct Config {
    /// Only requests for which this CEL holds are logged, such as `response.code >= 400`.
    pub filter: Option<String>,
    /// Fields added, name to CEL, such as `request.headers["x-user"]`.
    pub add: BTreeMap<String, String>,
    /// Default fields left out.
    pub remove: Vec<String>,
    /// Export over OTLP. Not supported by this version yet.
    pub otlp: Option<serde_json::Value>,
    /// Store in a database. Not supported by this version yet.
    pub database: Option<serde_json::Value>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { filter, add, remove, otlp, database } = self;
        let before = scope.problems.len();
        let filter =
            filter.and_then(|text| scope.check("filter", Expression::parse(&text, &Vocabulary::rule(Site::Log))));
        if add.len() > ADD_MAX {
            scope.problem_at("add", format!("more than {ADD_MAX} fields"));
        }
        let add = scope.at("add", |scope| {
            let field = |(name, text): (String, String)| {
                let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'='));
                if !plain {
                    scope.problem_at(&name, "a field name has neither spaces, quotes nor `=`");
                }
                Some((name.clone(), scope.check(&name, Expression::parse(&text, &Vocabulary::of(Site::Log)))?))
            };
            add.into_iter().filter_map(field).collect()
        });
        for (key, value) in [("otlp", otlp), ("database", database)] {
            if value.is_some() {
                scope.problem_at(key, "not supported by this version yet");
            }
        }
        (scope.problems.len() == before).then_some(Policy { filter, add, remove })
    }
}

/// The access log as understood.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Log only what this holds for.
    pub filter: Option<Expression>,
    /// Fields added (or replacing a default one of that name).
    pub add: Vec<(String, Expression)>,
    /// Default fields left out.
    pub remove: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, problems, refuses};

    #[test]
    fn fields_and_filter_are_parsed() {
        let config = json!({"filter": "response.code >= 500", "add": {"user": "request.headers.x-user"}});
        assert_eq!(problems(config, Config::lower).len(), 1, "`x-user` needs brackets");
        let policy = lower(json!({"filter": "jwt.sub != ''", "add": {"a": "llm.cost.total * 2.0"}}), Config::lower);
        assert_eq!(policy.add.len(), 1);
        let policy = lower(json!({"add": {"user": "request.headers['x-user']"}, "remove": ["a"]}), Config::lower);
        assert_eq!(policy.add.len(), 1);
    }

    #[test]
    fn exports_unknown_fields_and_odd_names_are_refused() {
        refuses(
            [
                (json!({"otlp": {}}), "policy.otlp: not supported"),
                (json!({"database": {}}), "policy.database: not supported"),
                (
                    json!({"add": {"a": "jvt.sub"}}),
                    "policy.add.a: unknown variable `jvt`; did you mean `jwt`? (at 1:1)",
                ),
                (json!({"add": {"a b": "request.path"}}), "policy.add.a b: a field name has"),
                (json!({"filter": "response.code"}), "policy.filter: true or false is wanted"),
            ],
            Config::lower,
        );
    }
}
