//! Which operation of which dialect a path names, and what else stands in the path.

use std::borrow::Cow;

use super::Dialect;

/// What is asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// OpenAI Chat Completions.
    Completions,
    /// OpenAI Responses.
    Responses,
    Embeddings,
    /// Images, and `responses/compact`: looked at as far as they can be read, never changed but for the model.
    Detect,
    Models,
    Realtime,
    Rerank,
    /// Anthropic Messages.
    Messages,
    /// Anthropic `count_tokens`.
    CountTokens,
    /// Gemini `generateContent` and `streamGenerateContent`.
    GenerateContent,
    /// Gemini `countTokens`.
    GeminiCountTokens,
    /// Gemini `embedContent` and `batchEmbedContents`.
    EmbedContent,
    /// Bedrock `converse` and `converse-stream`.
    Converse,
    /// Bedrock `invoke`, whose body is the model's own.
    Invoke,
    /// Anything else: not looked at.
    Passthrough,
}

impl Operation {
    /// As configuration names it.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "completions" => Self::Completions,
            "responses" => Self::Responses,
            "embeddings" => Self::Embeddings,
            "detect" => Self::Detect,
            "models" => Self::Models,
            "realtime" => Self::Realtime,
            "rerank" => Self::Rerank,
            "messages" => Self::Messages,
            "anthropicTokenCount" => Self::CountTokens,
            "generateContent" => Self::GenerateContent,
            "geminiCountTokens" => Self::GeminiCountTokens,
            "converse" => Self::Converse,
            "passthrough" => Self::Passthrough,
            _ => return None,
        })
    }

    pub fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::GenerateContent | Self::GeminiCountTokens | Self::EmbedContent => Dialect::Gemini,
            Self::Converse | Self::Invoke => Dialect::Bedrock,
            Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Detect
            | Self::Models
            | Self::Realtime
            | Self::Rerank
            | Self::Passthrough => Dialect::OpenAi,
        }
    }

    /// `gen_ai.operation.name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completions | Self::Responses | Self::Messages | Self::Converse => "chat",
            Self::GenerateContent => "generate_content",
            Self::Embeddings | Self::EmbedContent => "embeddings",
            Self::Rerank => "rerank",
            Self::CountTokens | Self::GeminiCountTokens => "count_tokens",
            Self::Models => "models",
            Self::Realtime => "realtime",
            Self::Invoke => "text_completion",
            Self::Detect | Self::Passthrough => "other",
        }
    }

    /// Whether the answer is written by a model, token by token.
    pub fn generates(self) -> bool {
        matches!(self.name(), "chat" | "generate_content" | "text_completion" | "realtime")
    }

    /// Whether tokens are used at all, which somebody pays for.
    pub fn uses_tokens(self) -> bool {
        !matches!(self, Self::Models | Self::CountTokens | Self::GeminiCountTokens | Self::Passthrough)
    }

    /// Whether the model stands in the path, and what is in the body says nothing.
    pub fn has_model_in_path(self) -> bool {
        matches!(self.dialect(), Dialect::Gemini | Dialect::Bedrock)
    }
}

/// What a path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    pub operation: Operation,
    /// Percent-decoded.
    pub model: Option<Cow<'a, str>>,
    /// The answer is to be a stream.
    pub stream: bool,
}

/// Endings of paths that say what is asked for; the first that fits counts.
const SUFFIXES: [(&str, Operation); 14] = [
    ("/chat/completions", Operation::Completions),
    ("/messages/count_tokens", Operation::CountTokens),
    ("/messages", Operation::Messages),
    ("/responses/compact", Operation::Detect),
    ("/responses", Operation::Responses),
    ("/images/generations", Operation::Detect),
    ("/images/edits", Operation::Detect),
    ("/images/variations", Operation::Detect),
    ("/audio/speech", Operation::Detect),
    ("/audio/transcriptions", Operation::Detect),
    ("/audio/translations", Operation::Detect),
    ("/embeddings", Operation::Embeddings),
    ("/rerank", Operation::Rerank),
    ("/realtime", Operation::Realtime),
];

/// Actions on a model, `…/models/<model>:<action>`.
const ACTIONS: [(&str, Operation, bool); 7] = [
    (":generateContent", Operation::GenerateContent, false),
    (":streamGenerateContent", Operation::GenerateContent, true),
    (":countTokens", Operation::GeminiCountTokens, false),
    (":embedContent", Operation::EmbedContent, false),
    (":batchEmbedContents", Operation::EmbedContent, false),
    (":rawPredict", Operation::Messages, false),
    (":streamRawPredict", Operation::Messages, true),
];

/// Bedrock's, `/model/<model>/<action>`.
const BEDROCK: [(&str, Operation, bool); 4] = [
    ("/converse", Operation::Converse, false),
    ("/converse-stream", Operation::Converse, true),
    ("/invoke", Operation::Invoke, false),
    ("/invoke-with-response-stream", Operation::Invoke, true),
];

/// Reads a path, without its query.
pub fn locate(path: &str) -> Path<'_> {
    let path = path.strip_suffix('/').unwrap_or(path);
    for (suffix, operation, stream) in ACTIONS {
        if let Some(before) = path.strip_suffix(suffix)
            && let Some((_, model)) = before.rsplit_once("/models/")
        {
            return Path { operation, model: decoded(model), stream };
        }
    }
    for (suffix, operation, stream) in BEDROCK {
        if let Some(before) = path.strip_suffix(suffix)
            && let Some((_, model)) = before.rsplit_once("/model/")
        {
            return Path { operation, model: decoded(model), stream };
        }
    }
    let plain = |operation| Path { operation, model: None, stream: false };
    if path.ends_with("/models") || path.contains("/models/") {
        return plain(Operation::Models);
    }
    let found = SUFFIXES.iter().find(|(suffix, _)| path.ends_with(suffix));
    plain(found.map_or(Operation::Passthrough, |(_, operation)| *operation))
}

/// The model that a value of a query or a segment of a path names; nothing where it names none.
pub fn named(text: &str) -> Option<Cow<'_, str>> {
    decoded(text)
}

/// A segment with its escapes resolved; nothing where it is not one name in UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text)).filter(|it| is_model(it));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (digits, after) = tail.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(out).ok().filter(|it| is_model(it)).map(Cow::Owned)
}

/// What can be the name of a model: nothing that walks up, no control characters.
pub(super) fn is_model(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= super::request::MODEL_BYTES_MAX
        && !text.chars().any(char::is_control)
        && !text.split('/').any(|it| matches!(it, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_operations_and_models() {
        for (path, operation, model, stream) in [
            ("/v1/chat/completions", Operation::Completions, None, false),
            ("/openai/v1/chat/completions/", Operation::Completions, None, false),
            ("/v1/responses", Operation::Responses, None, false),
            ("/v1/responses/compact", Operation::Detect, None, false),
            ("/v1/embeddings", Operation::Embeddings, None, false),
            ("/v1/messages", Operation::Messages, None, false),
            ("/v1/messages/count_tokens", Operation::CountTokens, None, false),
            ("/v1/images/edits", Operation::Detect, None, false),
            ("/v2/rerank", Operation::Rerank, None, false),
            ("/v1/models", Operation::Models, None, false),
            ("/v1/models/gpt-5", Operation::Models, None, false),
            (
                "/v1beta/models/gemini-2.5-pro:generateContent",
                Operation::GenerateContent,
                Some("gemini-2.5-pro"),
                false,
            ),
            ("/v1beta/models/a%2Fb:streamGenerateContent", Operation::GenerateContent, Some("a/b"), true),
            (
                "/v1/projects/p/locations/l/publishers/google/models/g:countTokens",
                Operation::GeminiCountTokens,
                Some("g"),
                false,
            ),
            ("/v1/p/models/claude@2025:streamRawPredict", Operation::Messages, Some("claude@2025"), true),
            ("/model/anthropic.claude-v2%3A1/converse", Operation::Converse, Some("anthropic.claude-v2:1"), false),
            ("/model/us.amazon.nova/converse-stream", Operation::Converse, Some("us.amazon.nova"), true),
            ("/model/m/invoke", Operation::Invoke, Some("m"), false),
            ("/v1/files", Operation::Passthrough, None, false),
            ("/v1/models/a%2F..%2Fb:generateContent", Operation::GenerateContent, None, false),
            ("/v1/models/%ff:generateContent", Operation::GenerateContent, None, false),
            ("/v1/models/%4:generateContent", Operation::GenerateContent, None, false),
        ] {
            let got = locate(path);
            assert_eq!((got.operation, got.model.as_deref(), got.stream), (operation, model, stream), "{path}");
        }
    }
}
