//! Requests to language models and their answers, as written.

use std::collections::BTreeMap;
use std::time::Duration;

use ir::Text;
use protocols::llm::Pattern as Names;
use protocols::llm::guard::Part;
use regex::RegexBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::{Builtin, Guard, GuardOutcome, Guards, HOLD_BACK_DEFAULT, Pattern, Policy, Rejection, Rule};
use super::prompts::{PromptCachingConfig, PromptsConfig};
use super::webhook::WebhookConfig;
use crate::Scope;
use crate::expr::{Expression, Site, Vocabulary};
use crate::lower::Span;

const ENTRIES_MAX: usize = 64;
const GUARDS_MAX: usize = 16;
const RULES_MAX: usize = 64;
const PATTERN_BYTES_MAX: usize = 1024;
const COMPILED_BYTES_MAX: usize = 1 << 20;
const HOLD_BACK: std::ops::RangeInclusive<usize> = 16..=4096;
const FIRST_TOKEN_MAX: Duration = Duration::from_secs(600);
const DRAIN_MAX: Duration = Duration::from_secs(600);
const REJECTION_STATUS: u16 = 403;

/// What requests to language models and their answers may say, and what they are changed to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Ai")]
pub struct Config {
    /// Models that are asked for under other names, with one `*` at most.
    pub model_aliases: BTreeMap<String, String>,
    /// Members of requests that have none of that name.
    pub defaults: BTreeMap<String, Value>,
    /// Members of every request.
    pub overrides: BTreeMap<String, Value>,
    /// Members of every request by CEL over the request and `llmRequest`, its body: `null` takes a member away, and an
    /// expression that fails leaves it as it was.
    pub transformations: BTreeMap<String, String>,
    /// The same over the body as its provider gets it, in whatever dialect that is.
    pub final_transformations: BTreeMap<String, String>,
    /// Messages that are added to those of requests.
    pub prompts: Option<PromptsConfig>,
    /// Marks for the cache of a provider that has them.
    pub prompt_caching: Option<PromptCachingConfig>,
    /// What must not pass.
    pub prompt_guard: Option<PromptGuardConfig>,
    /// What becomes of an answer whose client has left.
    pub client_gone: Option<ClientGoneConfig>,
    /// How long the first piece of an answer that streams is waited for while another provider is left; at most 10m.
    pub first_token_timeout: Option<Span>,
}

/// What becomes of an answer whose client has left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AiClientGone")]
pub struct ClientGoneConfig {
    /// The rest is read for so long, to account it; at most 10m.
    pub drain: Span,
}

/// What must not pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "AiPromptGuard")]
pub struct PromptGuardConfig {
    /// Whether answers that stream are guarded.
    pub streaming: Streaming,
    /// Bytes of a stream's text in which patterns must find what they look for; 256 unless written.
    pub hold_back: Option<usize>,
    /// Guards of requests, at most 16.
    pub request: Vec<GuardConfig>,
    /// Guards of answers, at most 16.
    pub response: Vec<GuardConfig>,
}

/// Whether answers that stream are guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AiGuardStreaming")]
pub enum Streaming {
    /// They are, as they pass.
    #[default]
    #[serde(alias = "Enabled")]
    Enabled,
    /// They pass as they come.
    #[serde(alias = "Disabled")]
    Disabled,
}

/// A guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AiGuard")]
pub struct GuardConfig {
    /// What it looks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<RegexConfig>,
    /// A server that is asked, in the place of `regex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    /// Which texts of requests it looks at; the system prompt and messages unless written. Answers are looked at whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<GuardScope>,
    /// The answer to what is refused; the dialect's own error with 403 unless written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<RejectionConfig>,
    /// Whether it is put into effect.
    #[serde(default)]
    pub mode: GuardMode,
}

/// Rules, and what becomes of what they find.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AiGuardRegex")]
pub struct RegexConfig {
    /// What becomes of what is found.
    #[serde(default)]
    pub action: GuardAction,
    /// 1 to 64.
    pub rules: Vec<RuleConfig>,
}

/// What becomes of what is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AiGuardAction")]
pub enum GuardAction {
    /// Something else stands in its place.
    #[default]
    Mask,
    /// The request, or the answer, is refused.
    Reject,
}

/// A rule: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "AiGuardRule")]
pub struct RuleConfig {
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builtin: Option<BuiltinConfig>,
    /// A regular expression without look-around, of at most 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

/// What is known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AiGuardBuiltin")]
pub enum BuiltinConfig {
    /// Addresses of mail.
    Email,
    /// Numbers of telephones, with separators or `+`.
    PhoneNumber,
    /// Social security numbers (USA), with separators.
    Ssn,
    /// Numbers of payment cards with a right check digit.
    CreditCard,
    /// Social insurance numbers (Canada) with separators and a right check digit.
    CaSin,
}

/// Texts of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AiGuardScope")]
pub enum GuardScope {
    /// What the system is told.
    SystemPrompt,
    /// What is said to the model, and what it said.
    Messages,
    /// What tools were called with.
    ToolInput,
    /// What tools gave.
    ToolOutput,
}

/// Whether a guard is put into effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AiGuardMode")]
pub enum GuardMode {
    /// It is.
    #[default]
    Enforce,
    /// What it would do is counted and logged.
    Shadow,
    /// What it finds is counted.
    Audit,
}

/// The answer to what is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "AiGuardRejection")]
pub struct RejectionConfig {
    /// 403 unless written.
    pub status: Option<u16>,
    /// The body; the dialect's own error unless written.
    pub body: Option<String>,
    /// Headers of the answer.
    pub headers: BTreeMap<String, String>,
}

impl Config {
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self {
            model_aliases,
            defaults,
            overrides,
            transformations,
            final_transformations,
            prompts,
            prompt_caching,
            prompt_guard,
            client_gone,
            first_token_timeout,
        } = self;
        let before = scope.problems.len();
        let aliases = aliases(model_aliases, scope);
        let (defaults, overrides) = (members(defaults, "defaults", scope), members(overrides, "overrides", scope));
        let transformations = expressions(transformations, "transformations", scope);
        let final_transformations = expressions(final_transformations, "finalTransformations", scope);
        let prompts = scope.at("prompts", |scope| prompts.unwrap_or_default().lower(scope));
        let caching = prompt_caching.map(PromptCachingConfig::lower);
        let guarded = scope.at("promptGuard", |scope| prompt_guard.unwrap_or_default().guards(scope));
        let drain = client_gone.map(|it| it.drain.0);
        if drain.is_some_and(|it| it.is_zero() || it > DRAIN_MAX) {
            scope.at("clientGone", |scope| scope.problem_at("drain", "write more than 0s, and 10m at most"));
        }
        let first_token = first_token_timeout.map(|it| it.0);
        if first_token.is_some_and(|it| it.is_zero() || it > FIRST_TOKEN_MAX) {
            scope.problem_at("firstTokenTimeout", "write more than 0s, and 10m at most");
        }
        let policy = Policy {
            aliases,
            defaults,
            overrides,
            transformations,
            final_transformations,
            prompts,
            caching,
            drain,
            first_token,
            ..guarded
        };
        (scope.problems.len() == before).then_some(policy)
    }
}

impl PromptGuardConfig {
    /// A policy of these guards alone.
    pub fn lower(self, scope: &mut Scope<'_>) -> Option<Policy> {
        let before = scope.problems.len();
        let policy = self.guards(scope);
        (scope.problems.len() == before).then_some(policy)
    }

    fn guards(self, scope: &mut Scope<'_>) -> Policy {
        let Self { streaming, hold_back, request, response } = self;
        let hold_back = hold_back.unwrap_or(HOLD_BACK_DEFAULT);
        if !HOLD_BACK.contains(&hold_back) {
            scope.problem_at("holdBack", "write 16 to 4096");
        }
        Policy {
            request: guards(request, true, hold_back, scope),
            response: guards(response, false, hold_back, scope),
            streaming: streaming == Streaming::Enabled,
            ..Policy::default()
        }
    }
}

fn aliases(written: BTreeMap<String, String>, scope: &mut Scope<'_>) -> Vec<(Text, Text)> {
    scope.at("modelAliases", |scope| {
        if written.len() > ENTRIES_MAX {
            scope.problem(format!("more than {ENTRIES_MAX} entries"));
        }
        for (name, model) in &written {
            scope.check(name, Names::parse(name));
            if model.is_empty() || model.contains('*') {
                scope.problem_at(name, "is not for one model: write its name");
            }
        }
        let mut pairs: Vec<(Text, Text)> = written.into_iter().map(|(a, b)| (a.into(), b.into())).collect();
        // Names before patterns, and the longer patterns first.
        pairs.sort_by_key(|(name, _)| (name.contains('*'), std::cmp::Reverse(name.len())));
        pairs
    })
}

fn members(written: BTreeMap<String, Value>, key: &'static str, scope: &mut Scope<'_>) -> Vec<(Text, Text)> {
    if written.len() > ENTRIES_MAX {
        scope.problem_at(key, format!("more than {ENTRIES_MAX} members"));
    }
    not_ours(&written, key, scope);
    written.into_iter().map(|(name, value)| (name.into(), value.to_string().into())).collect()
}

/// Members that decide where a request goes and how it is answered, and that others have decided.
fn not_ours<T>(written: &BTreeMap<String, T>, key: &'static str, scope: &mut Scope<'_>) {
    for name in ["model", "stream"].into_iter().filter(|it| written.contains_key(*it)) {
        scope.at(key, |scope| {
            scope.problem_at(name, "is not set here: models have `modelAliases`, and streams are the client's")
        });
    }
}

/// Members by CEL, as compiled; what makes no sense is a problem, and left out.
pub fn expressions(
    written: BTreeMap<String, String>,
    key: &'static str,
    scope: &mut Scope<'_>,
) -> Vec<(Text, Expression)> {
    if written.len() > ENTRIES_MAX {
        scope.problem_at(key, format!("more than {ENTRIES_MAX} members"));
    }
    not_ours(&written, key, scope);
    let vocabulary = Vocabulary::of(Site::Llm);
    let compiled = |(name, text): (String, String), scope: &mut Scope<'_>| {
        let it = scope.check(&name, Expression::parse(&text, &vocabulary))?;
        Some((name.into(), it))
    };
    scope.at(key, |scope| written.into_iter().filter_map(|it| compiled(it, scope)).collect())
}

fn guards(written: Vec<GuardConfig>, of_requests: bool, hold_back: usize, scope: &mut Scope<'_>) -> Guards {
    scope.at(if of_requests { "request" } else { "response" }, |scope| {
        if written.len() > GUARDS_MAX {
            scope.problem(format!("more than {GUARDS_MAX} guards"));
        }
        let lower = |(position, it): (usize, GuardConfig)| {
            scope.at(format!("[{position}]"), |scope| it.lower(of_requests, scope))
        };
        Guards { guards: written.into_iter().enumerate().map(lower).collect(), hold_back }
    })
}

impl GuardConfig {
    fn lower(self, of_requests: bool, scope: &mut Scope<'_>) -> Guard {
        let Self { regex, webhook, scope: written, rejection, mode } = self;
        if regex.is_some() == webhook.is_some() {
            scope.problem("write exactly one of `regex` and `webhook`");
        }
        let webhook = scope.at("webhook", |scope| webhook.and_then(|it| it.lower(scope)));
        let asks = regex.is_none();
        let RegexConfig { action, rules } = regex.unwrap_or_default();
        if !of_requests && !written.is_empty() {
            scope.problem_at("scope", "is for requests: answers are looked at whole");
        }
        if rules.is_empty() && !asks || rules.len() > RULES_MAX {
            scope.at("regex", |scope| scope.problem_at("rules", format!("1 to {RULES_MAX} rules")));
        }
        let rules = scope.at("regex", |scope| {
            let rule =
                |(position, it): (usize, RuleConfig)| scope.at(format!("rules[{position}]"), |scope| it.lower(scope));
            rules.into_iter().enumerate().filter_map(rule).collect()
        });
        let parts = match (of_requests, written.is_empty()) {
            (false, _) => vec![Part::System, Part::Message, Part::ToolInput, Part::ToolOutput],
            (true, true) => vec![Part::System, Part::Message],
            (true, false) => written.into_iter().map(GuardScope::lower).collect(),
        };
        Guard {
            rules,
            webhook,
            parts,
            rejects: !asks && action == GuardAction::Reject,
            outcome: match mode {
                GuardMode::Enforce => GuardOutcome::Enforce,
                GuardMode::Shadow => GuardOutcome::Shadow,
                GuardMode::Audit => GuardOutcome::Audit,
            },
            rejection: rejection.map(|it| scope.at("rejection", |scope| it.lower(scope))),
        }
    }
}

impl RuleConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Rule> {
        match (self.builtin, self.pattern) {
            (Some(it), None) => Some(Rule::Builtin(it.lower())),
            (None, Some(text)) => {
                if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
                    scope.problem_at("pattern", format!("1 to {PATTERN_BYTES_MAX} bytes"));
                    return None;
                }
                let compiled = RegexBuilder::new(&text).size_limit(COMPILED_BYTES_MAX).build();
                let compiled =
                    scope.check("pattern", compiled.map_err(|it| format!("is no regular expression: {it}")))?;
                if compiled.is_match("") {
                    scope.problem_at("pattern", "finds something everywhere: it matches the empty text");
                    return None;
                }
                Some(Rule::Pattern(Pattern(compiled)))
            }
            _ => {
                scope.problem("write `builtin` or `pattern`, one of the two");
                None
            }
        }
    }
}

impl BuiltinConfig {
    fn lower(self) -> Builtin {
        match self {
            Self::Email => Builtin::Email,
            Self::PhoneNumber => Builtin::PhoneNumber,
            Self::Ssn => Builtin::Ssn,
            Self::CreditCard => Builtin::CreditCard,
            Self::CaSin => Builtin::CaSin,
        }
    }

    pub fn of(it: Builtin) -> Self {
        match it {
            Builtin::Email => Self::Email,
            Builtin::PhoneNumber => Self::PhoneNumber,
            Builtin::Ssn => Self::Ssn,
            Builtin::CreditCard => Self::CreditCard,
            Builtin::CaSin => Self::CaSin,
        }
    }
}

impl GuardScope {
    fn lower(self) -> Part {
        match self {
            Self::SystemPrompt => Part::System,
            Self::Messages => Part::Message,
            Self::ToolInput => Part::ToolInput,
            Self::ToolOutput => Part::ToolOutput,
        }
    }

    pub fn of(part: Part) -> Self {
        match part {
            Part::System => Self::SystemPrompt,
            Part::Message => Self::Messages,
            Part::ToolInput => Self::ToolInput,
            Part::ToolOutput => Self::ToolOutput,
        }
    }
}

impl RejectionConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Rejection {
        let Self { status, body, headers } = self;
        let status = status.unwrap_or(REJECTION_STATUS);
        if !(400..600).contains(&status) {
            scope.problem_at("status", "write 400 to 599");
        }
        scope.at("headers", |scope| {
            for (name, value) in &headers {
                let named = name.parse::<http::HeaderName>().map(drop).map_err(|_| "is not the name of a header");
                let valued = value.parse::<http::HeaderValue>().map(drop).map_err(|_| "is not a value of a header");
                scope.check(name, named.and(valued).map_err(str::to_owned));
            }
        });
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Rejection { status, body: body.map(Into::into), headers }
    }
}
