//! `ai`.

use std::collections::BTreeMap;

use filters::Scope;
use filters::ai::{
    Builtin, BuiltinConfig, Caching, ClientGoneConfig, Config, Forward, ForwardConfig, ForwardValue, Forwarded, Guard,
    GuardAction, GuardConfig, GuardMode, GuardOutcome, GuardScope, Guards, Policy, PromptCachingConfig, PromptConfig,
    PromptGuardConfig, PromptRole, Prompts, PromptsConfig, RegexConfig, Rejection, RejectionConfig, Rule, RuleConfig,
    Streaming, Webhook, WebhookConfig, WebhookFailureMode, WebhookTarget,
};
use filters::expr::Expression;
use ir::Text;

use super::callout;
use crate::codec::read;
use crate::pb;
use crate::pb::ai as wire;

pub(super) fn encode(it: &Policy) -> pb::Ai {
    let Policy {
        aliases,
        defaults,
        overrides,
        transformations,
        final_transformations,
        prompts: Prompts { before, behind },
        caching,
        request,
        response,
        streaming,
        drain,
        first_token,
    } = it;
    let pairs = |list: &[(Text, Text)]| list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    let expressions =
        |list: &[(Text, Expression)]| list.iter().map(|(a, b)| (a.to_string(), b.text().to_owned())).collect();
    let guards = |Guards { guards, hold_back: _ }: &Guards| guards.iter().map(encode_guard).collect();
    pb::Ai {
        model_aliases: pairs(aliases),
        defaults: pairs(defaults),
        overrides: pairs(overrides),
        transformations: expressions(transformations),
        final_transformations: expressions(final_transformations),
        request_guards: guards(request),
        response_guards: guards(response),
        streams_unguarded: !streaming,
        hold_back: Some(u32::try_from(request.hold_back).unwrap_or(u32::MAX)),
        drain: drain.map(read::duration),
        first_token_timeout: first_token.map(read::duration),
        prepend: before.iter().map(encode_prompt).collect(),
        append: behind.iter().map(encode_prompt).collect(),
        prompt_caching: caching.map(|Caching { tools, system, messages, tokens_min, offset }| wire::PromptCaching {
            system,
            messages,
            tools,
            min_tokens: Some(tokens_min),
            message_offset: offset,
        }),
    }
}

fn encode_prompt((role, content): &(PromptRole, Text)) -> wire::Prompt {
    let role = match role {
        PromptRole::System => wire::Role::System,
        PromptRole::Developer => wire::Role::Developer,
        PromptRole::User => wire::Role::User,
        PromptRole::Assistant => wire::Role::Assistant,
    };
    wire::Prompt { role: role.into(), content: content.to_string() }
}

fn decode_prompt(it: wire::Prompt, scope: &mut Scope<'_>) -> PromptConfig {
    let wire::Prompt { role, content } = it;
    let role = match read::choice(scope, "role", role) {
        wire::Role::Unspecified | wire::Role::System => PromptRole::System,
        wire::Role::Developer => PromptRole::Developer,
        wire::Role::User => PromptRole::User,
        wire::Role::Assistant => PromptRole::Assistant,
    };
    PromptConfig { role, content }
}

fn decode_caching(it: wire::PromptCaching) -> PromptCachingConfig {
    let wire::PromptCaching { system, messages, tools, min_tokens, message_offset } = it;
    PromptCachingConfig {
        cache_system: system,
        cache_messages: messages,
        cache_tools: tools,
        min_tokens: min_tokens.unwrap_or(PromptCachingConfig::default().min_tokens),
        cache_message_offset: message_offset,
    }
}

fn encode_guard(it: &Guard) -> wire::Guard {
    let Guard { rules, webhook, parts, rejects, outcome, rejection } = it;
    let mode = match outcome {
        GuardOutcome::Enforce => wire::Mode::Enforce,
        GuardOutcome::Shadow => wire::Mode::Shadow,
        GuardOutcome::Audit => wire::Mode::Audit,
    };
    let scope = |it: &_| match GuardScope::of(*it) {
        GuardScope::SystemPrompt => wire::Scope::SystemPrompt,
        GuardScope::Messages => wire::Scope::Messages,
        GuardScope::ToolInput => wire::Scope::ToolInput,
        GuardScope::ToolOutput => wire::Scope::ToolOutput,
    };
    wire::Guard {
        rules: rules.iter().map(encode_rule).collect(),
        reject: *rejects,
        webhook: webhook.as_ref().map(encode_webhook),
        scope: parts.iter().map(|it| scope(it).into()).collect(),
        mode: mode.into(),
        rejection: rejection.as_ref().map(|Rejection { status, body, headers }| wire::Rejection {
            status: u32::from(*status),
            body: body.as_ref().map(ToString::to_string),
            headers: headers.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
        }),
    }
}

fn encode_webhook(it: &Webhook) -> wire::Webhook {
    let Webhook { target, headers, forwards, fail_open } = it;
    let forward = |Forward { name, value }: &Forward| wire::Forward {
        name: name.to_string(),
        value: Some(match value {
            Forwarded::Exact(text) => wire::forward::Value::Exact(text.to_string()),
            Forwarded::Regex(pattern) => wire::forward::Value::Regex(pattern.text().to_owned()),
        }),
    };
    wire::Webhook {
        target: Some(callout::encode(target)),
        headers: headers.iter().map(|(name, it)| (name.to_string(), it.text().to_owned())).collect(),
        forwards: forwards.iter().map(forward).collect(),
        fail_open: *fail_open,
    }
}

fn decode_webhook(it: wire::Webhook, scope: &mut Scope<'_>) -> WebhookConfig {
    let wire::Webhook { target, headers, forwards, fail_open } = it;
    let known = scope.at("target", |scope| callout::decode(target, scope));
    let forward = |wire::Forward { name, value }: wire::Forward| ForwardConfig {
        name,
        value: match value {
            Some(wire::forward::Value::Regex(text)) => ForwardValue::Regex(text),
            Some(wire::forward::Value::Exact(text)) => ForwardValue::Exact(text),
            None => ForwardValue::default(),
        },
    };
    WebhookConfig {
        target: WebhookTarget { known, ..WebhookTarget::default() },
        headers: headers.into_iter().collect(),
        forward_header_matches: forwards.into_iter().map(forward).collect(),
        failure_mode: if fail_open { WebhookFailureMode::FailOpen } else { WebhookFailureMode::FailClosed },
    }
}

fn encode_rule(it: &Rule) -> wire::Rule {
    let kind = match it {
        Rule::Builtin(it) => wire::rule::Kind::Builtin(
            match it {
                Builtin::Email => wire::Builtin::Email,
                Builtin::PhoneNumber => wire::Builtin::PhoneNumber,
                Builtin::Ssn => wire::Builtin::Ssn,
                Builtin::CreditCard => wire::Builtin::CreditCard,
                Builtin::CaSin => wire::Builtin::CaSin,
            }
            .into(),
        ),
        Rule::Pattern(it) => wire::rule::Kind::Pattern(it.text().to_owned()),
    };
    wire::Rule { kind: Some(kind) }
}

pub(super) fn decode(it: pb::Ai, scope: &mut Scope<'_>) -> Option<Policy> {
    let pb::Ai {
        model_aliases,
        defaults,
        overrides,
        request_guards,
        response_guards,
        streams_unguarded,
        hold_back,
        drain,
        first_token_timeout,
        prepend,
        append,
        prompt_caching,
        transformations,
        final_transformations,
    } = it;
    let before = scope.problems.len();
    let values = |map: BTreeMap<String, String>, key: &'static str, scope: &mut Scope<'_>| {
        let read = |(name, text): (String, String)| {
            let value = serde_json::from_str(&text).map_err(|_| format!("`{name}` is not JSON"));
            Some((name, scope.check(key, value)?))
        };
        map.into_iter().filter_map(read).collect::<BTreeMap<_, _>>()
    };
    let (defaults, overrides) = (values(defaults, "defaults", scope), values(overrides, "overrides", scope));
    let mut guards = |list: Vec<wire::Guard>, of_requests: bool| {
        list.into_iter().map(|it| decode_guard(it, of_requests, scope)).collect::<Vec<_>>()
    };
    let (request, response) = (guards(request_guards, true), guards(response_guards, false));
    let drain = read::span(scope, "clientGone.drain", drain);
    let first_token_timeout = read::span(scope, "firstTokenTimeout", first_token_timeout);
    let mut prompts = |list: Vec<wire::Prompt>| list.into_iter().map(|it| decode_prompt(it, scope)).collect::<Vec<_>>();
    let prompts = PromptsConfig { prepend: prompts(prepend), append: prompts(append) };
    if scope.problems.len() > before {
        return None;
    }
    let config = Config {
        prompts: Some(prompts),
        prompt_caching: prompt_caching.map(decode_caching),
        model_aliases: model_aliases.into_iter().collect(),
        defaults,
        overrides,
        transformations: transformations.into_iter().collect(),
        final_transformations: final_transformations.into_iter().collect(),
        prompt_guard: Some(PromptGuardConfig {
            streaming: if streams_unguarded { Streaming::Disabled } else { Streaming::Enabled },
            hold_back: hold_back.map(|it| usize::try_from(it).unwrap_or(usize::MAX)),
            request,
            response,
        }),
        client_gone: drain.map(|drain| ClientGoneConfig { drain }),
        first_token_timeout,
    };
    config.lower(scope)
}

fn decode_guard(it: wire::Guard, of_requests: bool, scope: &mut Scope<'_>) -> GuardConfig {
    let wire::Guard { rules, reject, scope: parts, mode, rejection, webhook } = it;
    let asks = webhook.is_some();
    let webhook = webhook.map(|it| scope.at("webhook", |scope| decode_webhook(it, scope)));
    let part = |it: i32, scope: &mut Scope<'_>| match read::choice(scope, "scope", it) {
        wire::Scope::SystemPrompt => GuardScope::SystemPrompt,
        wire::Scope::Unspecified | wire::Scope::Messages => GuardScope::Messages,
        wire::Scope::ToolInput => GuardScope::ToolInput,
        wire::Scope::ToolOutput => GuardScope::ToolOutput,
    };
    let rules = rules.into_iter().map(|it| decode_rule(it, scope)).collect();
    let regex = RegexConfig { action: if reject { GuardAction::Reject } else { GuardAction::Mask }, rules };
    // Those of answers have none: they look at everything.
    let parts = if of_requests { parts } else { Vec::new() };
    GuardConfig {
        regex: (!asks).then_some(regex),
        webhook,
        scope: parts.into_iter().map(|it| part(it, scope)).collect(),
        rejection: rejection.map(|wire::Rejection { status, body, headers }| RejectionConfig {
            status: Some(u16::try_from(status).unwrap_or(u16::MAX)).filter(|it| *it != 0),
            body,
            headers: headers.into_iter().collect(),
        }),
        mode: match read::choice(scope, "mode", mode) {
            wire::Mode::Unspecified | wire::Mode::Enforce => GuardMode::Enforce,
            wire::Mode::Shadow => GuardMode::Shadow,
            wire::Mode::Audit => GuardMode::Audit,
        },
    }
}

fn decode_rule(it: wire::Rule, scope: &mut Scope<'_>) -> RuleConfig {
    match it.kind {
        None => RuleConfig::default(),
        Some(wire::rule::Kind::Pattern(pattern)) => RuleConfig { pattern: Some(pattern), builtin: None },
        Some(wire::rule::Kind::Builtin(it)) => {
            let builtin = match read::choice(scope, "builtin", it) {
                wire::Builtin::Unspecified => return RuleConfig::default(),
                wire::Builtin::Email => Builtin::Email,
                wire::Builtin::PhoneNumber => Builtin::PhoneNumber,
                wire::Builtin::Ssn => Builtin::Ssn,
                wire::Builtin::CreditCard => Builtin::CreditCard,
                wire::Builtin::CaSin => Builtin::CaSin,
            };
            RuleConfig { builtin: Some(BuiltinConfig::of(builtin)), pattern: None }
        }
    }
}
