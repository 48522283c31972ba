//! Messages that are added to requests, and marks for caches of prompts.

use ir::Text;
use protocols::llm::cache::Marks;
use protocols::llm::enrich::{Message, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Scope;

const MESSAGES_MAX: usize = 64;
const CONTENT_BYTES_MAX: usize = 64 << 10;
const TOKENS_MIN: u64 = 1_024;

/// Messages that are added to those of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "AiPrompts")]
pub struct PromptsConfig {
    /// Before the client's, at most 64.
    pub prepend: Vec<PromptConfig>,
    /// Behind the client's, at most 64.
    pub append: Vec<PromptConfig>,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AiPrompt")]
pub struct PromptConfig {
    /// Who says it: what is for the system goes where the dialect has it.
    pub role: PromptRole,
    /// Its text, of 64 KiB at most.
    pub content: String,
}

/// Who says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AiPromptRole")]
pub enum PromptRole {
    /// The system.
    #[default]
    System,
    /// The developer, which is the system where a dialect does not know it.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// Marks for the cache of a provider that has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "AiPromptCaching")]
pub struct PromptCachingConfig {
    /// Behind what the system is told. Default: true.
    pub cache_system: bool,
    /// Behind the messages. Default: true.
    pub cache_messages: bool,
    /// Behind the tools. Default: false.
    pub cache_tools: bool,
    /// With fewer tokens, about, up to a mark there is none. Default: 1024.
    pub min_tokens: u64,
    /// How many messages from the end the mark of messages stands. Default: 0, behind the last one.
    pub cache_message_offset: u32,
}

impl Default for PromptCachingConfig {
    fn default() -> Self {
        Self {
            cache_system: true,
            cache_messages: true,
            cache_tools: false,
            min_tokens: TOKENS_MIN,
            cache_message_offset: 0,
        }
    }
}

/// Messages that are added, as understood.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prompts {
    pub before: Vec<(PromptRole, Text)>,
    pub behind: Vec<(PromptRole, Text)>,
}

/// Marks, as understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Caching {
    pub tools: bool,
    pub system: bool,
    pub messages: bool,
    pub tokens_min: u64,
    pub offset: u32,
}

impl PromptsConfig {
    pub(super) fn lower(self, scope: &mut Scope<'_>) -> Prompts {
        let Self { prepend, append } = self;
        let mut messages = |key: &'static str, written: Vec<PromptConfig>| {
            if written.len() > MESSAGES_MAX {
                scope.problem_at(key, format!("more than {MESSAGES_MAX} messages"));
            }
            if written.iter().any(|it| it.content.is_empty() || it.content.len() > CONTENT_BYTES_MAX) {
                scope.problem_at(key, format!("`content` is a text of {CONTENT_BYTES_MAX} bytes at most"));
            }
            written.into_iter().map(|it| (it.role, it.content.into())).collect()
        };
        Prompts { before: messages("prepend", prepend), behind: messages("append", append) }
    }
}

impl PromptCachingConfig {
    pub(super) fn lower(self) -> Caching {
        let Self { cache_system, cache_messages, cache_tools, min_tokens, cache_message_offset } = self;
        Caching {
            tools: cache_tools,
            system: cache_system,
            messages: cache_messages,
            tokens_min: min_tokens,
            offset: cache_message_offset,
        }
    }
}

impl PromptRole {
    fn role(self) -> Role {
        match self {
            Self::System => Role::System,
            Self::Developer => Role::Developer,
            Self::User => Role::User,
            Self::Assistant => Role::Assistant,
        }
    }
}

impl Prompts {
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.behind.is_empty()
    }

    /// Those of one side.
    pub fn messages(side: &[(PromptRole, Text)]) -> Vec<Message<'_>> {
        side.iter().map(|(role, text)| Message { role: role.role(), text }).collect()
    }
}

impl Caching {
    pub fn marks(&self) -> Marks {
        let Self { tools, system, messages, tokens_min, offset } = *self;
        Marks { tools, system, messages, tokens_min, offset: usize::try_from(offset).unwrap_or(usize::MAX) }
    }
}
