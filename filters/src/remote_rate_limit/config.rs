//! Remote limits as written.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::{Descriptor, Policy, Unit};
use crate::Scope;
use crate::callout::{Target, asks_a_server};
use crate::expr::{Expression, Site, Vocabulary};
use crate::quota::mode::ModeConfig;

const DESCRIPTORS_MAX: usize = 64;
const ENTRIES_MAX: usize = 16;

asks_a_server! {
    /// Ask a rate limit server whether a request is within its quota.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[schemars(rename = "RemoteRateLimit")]
    pub struct Config {
        /// Which of the server's sets of limits.
        pub domain: String,
        /// What quotas are counted by; at most 64.
        pub descriptors: Vec<DescriptorConfig>,
        /// What becomes of a request about which the server cannot be asked.
        #[serde(default)]
        pub failure_mode: FailureMode,
        /// Whether decisions are put into effect.
        #[serde(default)]
        pub mode: ModeConfig,
    }
}

/// What a quota is counted by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RateLimitDescriptor")]
pub struct DescriptorConfig {
    /// Keys and their values, in the order the server knows; 1 to 16.
    pub entries: Vec<EntryConfig>,
    /// What is counted.
    #[serde(default, rename = "type")]
    pub kind: Type,
    /// How many hits a request is, as CEL; 1 unless written. For tokens it is evaluated when the call has ended, and sees
    /// all of it; the tokens that were used unless written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// A limit in place of the server's own, as CEL: `{"unit": "minute", "requestsPerUnit": 60}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_override: Option<String>,
}

/// A part of a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RateLimitEntry")]
pub struct EntryConfig {
    /// As the server knows it.
    pub key: String,
    /// CEL.
    pub value: String,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RateLimitType")]
pub enum Type {
    /// Requests, by their cost.
    #[default]
    Requests,
    /// Tokens of language models. Only calls of models have any.
    Tokens,
}

/// What becomes of a request about which a server cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RemoteRateLimitFailureMode")]
pub enum FailureMode {
    /// It is answered 503.
    #[default]
    #[serde(alias = "FailClosed")]
    FailClosed,
    /// It goes on.
    #[serde(alias = "FailOpen")]
    FailOpen,
}

impl Config {
    pub fn lower(mut self, scope: &mut Scope<'_>) -> Option<Policy> {
        self.server().asked(scope, |target, scope| self.asking(target, scope))
    }

    /// The policy that asks this target, whatever is written of one.
    pub fn asking(self, target: Option<Arc<Target>>, scope: &mut Scope<'_>) -> Option<Policy> {
        let Self { domain, descriptors, failure_mode, mode, .. } = self;
        let before = scope.problems.len();
        if domain.is_empty() {
            scope.problem_at("domain", "empty: servers know limits by their domain");
        }
        if descriptors.len() > DESCRIPTORS_MAX {
            scope.problem_at("descriptors", format!("at most {DESCRIPTORS_MAX}"));
        }
        let mut lowered = Vec::with_capacity(descriptors.len());
        for (position, it) in descriptors.into_iter().enumerate() {
            let one = scope.at("descriptors", |scope| scope.at(format!("[{position}]"), |scope| it.lower(scope)));
            lowered.extend(one);
        }
        if let Some(target) = &target {
            target.refuse_bodies(scope);
        }
        let target = target.filter(|_| scope.problems.len() == before)?;
        let fail_open = failure_mode == FailureMode::FailOpen;
        Some(Policy { target, domain: domain.into(), descriptors: lowered, fail_open, mode: mode.lower() })
    }
}

impl DescriptorConfig {
    fn lower(self, scope: &mut Scope<'_>) -> Option<Descriptor> {
        let Self { entries, kind, cost, limit_override } = self;
        if entries.is_empty() || entries.len() > ENTRIES_MAX {
            scope.problem_at("entries", format!("1 to {ENTRIES_MAX} entries"));
        }
        let vocabulary = Vocabulary::of(Site::Mcp);
        let mut lowered = Vec::with_capacity(entries.len());
        for (position, EntryConfig { key, value }) in entries.into_iter().enumerate() {
            let entry = scope.at(format!("entries[{position}]"), |scope| {
                if key.is_empty() {
                    scope.problem_at("key", "empty");
                }
                scope.check("value", Expression::parse(&value, &vocabulary)).map(|value| (key.into(), value))
            });
            lowered.extend(entry);
        }
        let (unit, ended) = match kind {
            Type::Requests => (Unit::Requests, Site::Request),
            Type::Tokens => (Unit::Tokens, Site::Log),
        };
        let cost = cost.and_then(|it| scope.check("cost", Expression::parse(&it, &Vocabulary::of(ended))));
        let limit = limit_override.and_then(|it| scope.check("limitOverride", Expression::parse(&it, &vocabulary)));
        Some(Descriptor { entries: lowered, unit, cost, limit })
    }
}
