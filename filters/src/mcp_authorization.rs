//! `mcpAuthorization`: which tools, prompts and resources of MCP servers somebody may use, in expressions.
//!
//! ```yaml
//! mcpAuthorization:
//!   rules:
//!   - deny: mcp.tool.name.startsWith("delete_")
//!   - allow: mcp.tool.target == "search"
//!   - allow: '"ops" in jwt.groups'
//!   - require: '!has(mcp.tool.arguments) || mcp.tool.arguments.size < 100'
//! ```
//!
//! **Rules** are those of `authorization`, of which see there: denials, requirements, grants, what errors mean, `mode`.
//! They see the request, who it is from, and `mcp`: one of `mcp.tool`, `mcp.prompt` and `mcp.resource`, each with
//! `target` (the server's name here) and `name` (as the server has it; of a resource its URI), and `mcp.methodName`.
//!
//! **What it does.** Every item of a list is judged, and what may not be used is not shown. A call of such a thing is
//! answered as one of a thing that does not exist. `mcp.tool.arguments` are there in calls alone: a rule that reads
//! them asks `has(mcp.tool.arguments)` first, or fails where lists are shown.
//!
//! **Merging.** Policies of all levels accumulate. With `inheritance: override` one stands alone against all below it.
//!
//! **Shadow.** With `mode: shadow` rules are taken into account only to say what would have happened to a call; lists
//! are shown whole.
//!
//! **Order.** After `authorization`, once the message is read.
//!
//! **Limits.** 1,000 rules a policy. One evaluation may cost so much and no more, whatever its input.
//!
//! **Outcome.** A JSON-RPC error, `Unknown tool: x` with code -32602, or of a resource `Resource not found: x` with
//! -32002. Policy and rule are in the access log (`policy`, `policy.rule`), and
//! `agentgateway_policy_denials_total` counts.
//!
//! **Where we differ.** As of `authorization`. Answers have status 200, as those of servers have; the reference has 400.

use crate::Scope;
use crate::authorization;
use crate::expr::Site;

/// Who may use what of MCP servers, in expressions.
pub type Config = authorization::Config;

/// As of `authorization`, for what messages of MCP name.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Policy(pub authorization::Policy);

impl Policy {
    pub fn lower(config: Config, scope: &mut Scope<'_>) -> Option<Self> {
        config.lower_at(Site::Mcp, scope).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authorization::decide;
    use crate::expr::Json;
    use crate::testing::{request, try_lower};

    fn judge(rules: serde_json::Value, mcp: serde_json::Value) -> bool {
        let (policy, problems) = try_lower(json!({ "rules": rules }), Policy::lower);
        assert_eq!(problems, Vec::<String>::new());
        let (head, facts) = request("POST", "/mcp");
        let object: Json = mcp.as_object().cloned().unwrap();
        let mut inputs = facts.inputs(&head);
        inputs.objects.mcp = Some(&object);
        decide(policy.iter().map(|it| &it.0), &inputs).enforced.is_none()
    }

    #[test]
    fn rules_see_what_a_message_names_and_what_it_gives() {
        let call =
            json!({"methodName": "tools/call", "tool": {"target": "db", "name": "query", "arguments": {"n": 5}}});
        let item = json!({"methodName": "tools/list", "tool": {"target": "db", "name": "query"}});
        let page = json!({"methodName": "resources/read", "resource": {"target": "db", "name": "file:///a"}});
        for (rules, outcomes) in [
            (json!(["mcp.tool.name == 'query'"]), [true, true, false]),
            (json!(["mcp.tool.target == 'other'"]), [false, false, false]),
            (json!([{"deny": "has(mcp.tool) && mcp.tool.target == 'db'"}]), [false, false, true]),
            (json!([{"deny": "mcp.tool.target == 'other'"}]), [true, true, false]),
            (json!([{"require": "!has(mcp.tool.arguments) || mcp.tool.arguments.n < 3"}]), [false, true, true]),
            (json!(["mcp.resource.name.startsWith('file://')"]), [false, false, true]),
            (json!(["has(jwt.sub)"]), [false, false, false]),
        ] {
            let got = [&call, &item, &page].map(|it| judge(rules.clone(), it.clone()));
            assert_eq!(got, outcomes, "{rules}");
        }
    }

    #[test]
    fn what_is_no_expression_of_its_place_is_refused() {
        let (policy, problems) = try_lower(json!({"rules": ["mcp.tool.name ==", "mpc.tool == 'x'"]}), Policy::lower);
        assert!(policy.is_none() && problems.len() == 2, "{problems:?}");
    }
}
