//! `mcpGuardrails`: servers of the operator's own that look at what MCP clients ask and at what servers answer, and pass,
//! change or refuse it.
//!
//! ```yaml
//! mcpGuardrails:
//!   processors:
//!   - host: guard.internal:4000
//!     methods:
//!       tools/call: full
//!       tools/list: response
//!     metadata:
//!       user: jwt.sub
//!     failureMode: failClosed
//!     policies:
//!       http:
//!         requestTimeout: 500ms
//! ```
//!
//! **Processors** are asked in their order, by gRPC: `agentgateway.dev.ext_mcp.ExtMcp`, `CheckRequest` with the parameters
//! of a message and `CheckResponse` with its result, both as JSON. Each has the names of the servers that are meant, the
//! method, and `metadata`, which are expressions; one that fails is left out. What one changes the next one sees.
//!
//! **Methods** say when: `request`, `response`, `full` (both) or `off`. Of the patterns that fit a method the exact one
//! counts, else the longest `prefix*`, else the longest `*suffix`, else `*`; what none fits is passed by. There are
//! `tools/call`, `prompts/get`, `resources/read` and the lists. A message for one server is seen under the server's own
//! names, a list of several servers once it is put together, and then its response alone.
//!
//! **What it answers.** `pass`; `mutated`, which stands in the place of the parameters or the result, and is not judged by
//! `mcpAuthorization` again; or `error`, which clients get as a JSON-RPC error of status 200: `mcp_error` where it is one,
//! else -32001 (permission), -32002 (exhausted), -32602 (invalid) or -32000 with `reason`.
//!
//! **Failure.** One that cannot be asked refuses (-32000), unless `failureMode: failOpen`.
//!
//! **Where.** At routes, and at backends of kind `mcp`.
//!
//! **Merging.** The most specific policy replaces the others whole; one with `inheritance: override` stands against all
//! below it.
//!
//! **Order.** After `mcpAuthorization` and limits, before the server; results before they are sent.
//!
//! **Limits.** 16 processors, 64 methods and 64 fields of metadata each; 2 s for a call unless `policies.http` says
//! otherwise; results of 1 MiB.
//!
//! **Where we differ.** Headers are neither told nor changed, and answered metadata is not read.

use std::sync::Arc;

use ir::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::Scope;
use crate::callout::{Target, asks_a_server};
use crate::expr::{Expression, Site, Vocabulary};

/// Processors of one policy.
pub const PROCESSORS_MAX: usize = 16;
const METHODS_MAX: usize = 64;
const METADATA_MAX: usize = 64;

/// Servers that look at what MCP clients and servers say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "McpGuardrails")]
pub struct Config {
    /// 1 to 16, asked in their order.
    pub processors: Vec<ProcessorConfig>,
}

asks_a_server! {
    /// One server that is asked.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[schemars(rename = "McpProcessor")]
    pub struct ProcessorConfig {
        /// When it is asked, by method or pattern.
        pub methods: BTreeMap<String, Phase>,
        /// CEL by name, for the server.
        #[serde(default)]
        pub metadata: BTreeMap<String, String>,
        /// What becomes of a message about which it cannot be asked.
        #[serde(default)]
        pub failure_mode: FailureMode,
    }
}

/// When a processor is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "McpPhase")]
pub enum Phase {
    Off,
    Request,
    Response,
    Full,
}

/// What becomes of a message about which a processor cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "McpProcessorFailureMode")]
pub enum FailureMode {
    /// It is refused.
    #[default]
    FailClosed,
    /// It goes on.
    FailOpen,
}

/// Servers that are asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Policy {
    pub processors: Vec<Processor>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Processor {
    pub target: Arc<Target>,
    pub methods: BTreeMap<Text, Phase>,
    pub metadata: BTreeMap<Text, Expression>,
    pub fail_open: bool,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let before = scope.problems.len();
        if self.processors.is_empty() || self.processors.len() > PROCESSORS_MAX {
            scope.problem_at("processors", format!("1 to {PROCESSORS_MAX}"));
        }
        let processors = scope.at("processors", |scope| {
            let all = self.processors.into_iter().enumerate();
            all.filter_map(|(at, it)| scope.at(format!("[{at}]"), |scope| it.lower(scope))).collect()
        });
        (scope.problems.len() == before).then_some(Policy { processors })
    }
}

impl ProcessorConfig {
    fn lower(mut self, scope: &mut Scope<'_>) -> Option<Processor> {
        let target = self.server().lower(scope);
        self.asking(target, scope)
    }

    /// The processor that asks this target, whatever is written of one.
    pub fn asking(self, target: Option<Arc<Target>>, scope: &mut Scope<'_>) -> Option<Processor> {
        let Self { methods, metadata, failure_mode, .. } = self;
        if methods.is_empty() || methods.len() > METHODS_MAX {
            scope.problem_at(
                "methods",
                format!("when is it asked? Write 1 to {METHODS_MAX}, such as `tools/call: full`"),
            );
        }
        for pattern in methods.keys().filter(|it| it.trim_matches('*').contains('*') || it.is_empty()) {
            scope.at("methods", |scope| scope.problem_at(pattern, "a `*` stands at the beginning or at the end"));
        }
        if metadata.len() > METADATA_MAX {
            scope.problem_at("metadata", format!("at most {METADATA_MAX}"));
        }
        let vocabulary = Vocabulary::of(Site::Mcp);
        let metadata = scope.at("metadata", |scope| {
            let all = metadata.into_iter();
            all.filter_map(|(name, text)| {
                Some((name.as_str().into(), scope.check(&name, Expression::parse(&text, &vocabulary))?))
            })
            .collect()
        });
        if let Some(target) = &target {
            target.refuse_bodies(scope);
        }
        Some(Processor {
            target: target?,
            methods: methods.into_iter().map(|(pattern, phase)| (pattern.into(), phase)).collect(),
            metadata,
            fail_open: failure_mode == FailureMode::FailOpen,
        })
    }
}

impl Processor {
    /// When it is asked about messages of a method.
    pub fn phase(&self, method: &str) -> Phase {
        if let Some(phase) = self.methods.get(method) {
            return *phase;
        }
        let fits = |pattern: &str| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
            (Some(""), _) => Some((0, 0)),
            (Some(prefix), _) => method.starts_with(prefix).then_some((2, prefix.len())),
            (None, Some(suffix)) => method.ends_with(suffix).then_some((1, suffix.len())),
            (None, None) => None,
        };
        let best = self.methods.iter().filter_map(|(pattern, phase)| Some((fits(pattern)?, *phase)));
        best.max_by_key(|(rank, _)| *rank).map_or(Phase::Off, |(_, phase)| phase)
    }
}

impl Phase {
    pub fn is_of_requests(self) -> bool {
        matches!(self, Self::Request | Self::Full)
    }

    pub fn is_of_responses(self) -> bool {
        matches!(self, Self::Response | Self::Full)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{lower, refuses};

    #[test]
    fn the_closest_pattern_says_when() {
        let policy = lower(
            json!({"processors": [{"host": "a:1", "methods": {"tools/call": "full", "tools/*": "request", "*/list": "response", "*": "off", "t*": "response"}}]}),
            Config::lower,
        );
        let processor = &policy.processors[0];
        for (method, phase) in [
            ("tools/call", Phase::Full),
            ("tools/list", Phase::Request),
            ("prompts/list", Phase::Response),
            ("tx", Phase::Response),
            ("ping", Phase::Off),
        ] {
            assert_eq!(processor.phase(method), phase, "{method}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let one = |methods: serde_json::Value| json!({"processors": [{"host": "a:1", "methods": methods}]});
        refuses(
            [
                (json!({"processors": []}), "1 to 16"),
                (one(json!({})), "when is it asked"),
                (one(json!({"a*b": "full"})), "at the beginning or at the end"),
                (json!({"processors": [{"methods": {"*": "full"}}]}), "name the server to ask"),
                (
                    json!({"processors": [{"host": "a:1", "methods": {"*": "full"}, "metadata": {"x": "1 +"}}]}),
                    "metadata.x",
                ),
            ],
            Config::lower,
        );
    }
}
