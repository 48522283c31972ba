//! Providers by name: where they are, what they understand, and where they look for their key. Data, and nothing else:
//! whatever is not here is written in configuration the same way, with `custom`.

use super::Operation;

/// Where a provider looks for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    Authorization,
    XApiKey,
    XGoogApiKey,
}

/// A provider as known beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// As configuration names it.
    pub name: &'static str,
    /// As telemetry names it.
    pub system: &'static str,
    /// Scheme and host.
    pub origin: &'static str,
    /// Before paths that are not absolute below.
    pub base: &'static str,
    pub key: KeyPlace,
    /// Kinds of requests. A path of its own stands for the whole of it, an empty one for base and ending.
    pub formats: &'static [(Operation, &'static str)],
}

use Operation::{
    Completions, CountTokens, Embeddings, GeminiCountTokens, GenerateContent, Messages, Realtime, Rerank, Responses,
};

const GEMINI: &str = "/v1beta/models/{model}:{action}";

const fn plain(
    name: &'static str,
    origin: &'static str,
    base: &'static str,
    formats: &'static [(Operation, &'static str)],
) -> Profile {
    Profile { name, system: name, origin, base, key: KeyPlace::Authorization, formats }
}

const fn known(system: &'static str, key: KeyPlace, profile: Profile) -> Profile {
    Profile { system, key, ..profile }
}

/// All of them.
pub static PROFILES: &[Profile] = &[
    known(
        "openai",
        KeyPlace::Authorization,
        plain(
            "openAI",
            "https://api.openai.com",
            "/v1",
            &[(Completions, ""), (Responses, ""), (Embeddings, ""), (Realtime, ""), (Rerank, "")],
        ),
    ),
    known(
        "anthropic",
        KeyPlace::XApiKey,
        plain("anthropic", "https://api.anthropic.com", "/v1", &[(Messages, ""), (CountTokens, "")]),
    ),
    known(
        "gcp.gemini",
        KeyPlace::XGoogApiKey,
        plain(
            "gemini",
            "https://generativelanguage.googleapis.com",
            "/v1beta",
            &[
                (GenerateContent, GEMINI),
                (GeminiCountTokens, GEMINI),
                (Completions, "/v1beta/openai/chat/completions"),
                (Embeddings, "/v1beta/openai/embeddings"),
            ],
        ),
    ),
    plain(
        "cohere",
        "https://api.cohere.ai",
        "/v2",
        &[
            (Completions, "/compatibility/v1/chat/completions"),
            (Embeddings, "/compatibility/v1/embeddings"),
            (Rerank, "/v2/rerank"),
        ],
    ),
    plain("ollama", "http://localhost:11434", "/v1", &[(Completions, ""), (Responses, ""), (Embeddings, "")]),
    plain("baseten", "https://inference.baseten.co", "/v1", &[(Completions, ""), (Messages, "")]),
    plain("cerebras", "https://api.cerebras.ai", "/v1", &[(Completions, "")]),
    plain(
        "deepinfra",
        "https://api.deepinfra.com",
        "/v1/openai",
        &[(Completions, ""), (Messages, "/anthropic/v1/messages"), (Embeddings, "")],
    ),
    plain(
        "deepseek",
        "https://api.deepseek.com",
        "/v1",
        &[(Completions, ""), (Messages, "/anthropic/v1/messages"), (Responses, "")],
    ),
    plain("groq", "https://api.groq.com", "/openai/v1", &[(Completions, ""), (Responses, "")]),
    plain("huggingface", "https://router.huggingface.co", "/v1", &[(Completions, ""), (Responses, "")]),
    known(
        "mistral_ai",
        KeyPlace::Authorization,
        plain("mistral", "https://api.mistral.ai", "/v1", &[(Completions, ""), (Embeddings, "")]),
    ),
    plain(
        "openrouter",
        "https://openrouter.ai",
        "/api/v1",
        &[(Completions, ""), (Messages, ""), (Responses, ""), (Embeddings, ""), (Rerank, "")],
    ),
    plain("togetherai", "https://api.together.xyz", "/v1", &[(Completions, ""), (Embeddings, ""), (Rerank, "")]),
    known(
        "x_ai",
        KeyPlace::Authorization,
        plain("xai", "https://api.x.ai", "/v1", &[(Completions, ""), (Responses, ""), (Realtime, "")]),
    ),
    plain(
        "fireworks",
        "https://api.fireworks.ai",
        "/inference/v1",
        &[(Completions, ""), (Messages, ""), (Responses, ""), (Embeddings, ""), (Rerank, "")],
    ),
];

/// The profile of this name; `openai` is another way to write `openAI`.
pub fn profile(name: &str) -> Option<&'static Profile> {
    let name = if name == "openai" { "openAI" } else { name };
    PROFILES.iter().find(|it| it.name == name)
}

impl Operation {
    /// What a path ends in by default, below the base of a provider.
    pub fn ending(self) -> Option<&'static str> {
        Some(match self {
            Self::Completions => "/chat/completions",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Realtime => "/realtime",
            Self::Rerank => "/rerank",
            Self::Messages => "/messages",
            Self::CountTokens => "/messages/count_tokens",
            Self::GenerateContent | Self::GeminiCountTokens => "/models/{model}:{action}",
            Self::Converse => "/model/{model}/{action}",
            Self::Detect | Self::Models | Self::EmbedContent | Self::Invoke | Self::Passthrough => {
                return None;
            }
        })
    }

    /// As configuration names it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Detect => "detect",
            Self::Models => "models",
            Self::Realtime => "realtime",
            Self::Rerank => "rerank",
            Self::Messages => "messages",
            Self::CountTokens => "anthropicTokenCount",
            Self::GenerateContent => "generateContent",
            Self::GeminiCountTokens => "geminiCountTokens",
            Self::EmbedContent => "embedContent",
            Self::Converse => "converse",
            Self::Invoke => "invoke",
            Self::Passthrough => "passthrough",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_name_and_say_where_everything_goes() {
        for it in PROFILES {
            assert!(std::ptr::eq(profile(it.name).unwrap(), it), "{} is there twice", it.name);
            assert!(it.origin.starts_with("http") && !it.origin.ends_with('/') && it.base.starts_with('/'));
            for (operation, path) in it.formats {
                assert!(path.starts_with('/') || (path.is_empty() && operation.ending().is_some()), "{}", it.name);
            }
        }
        assert_eq!(profile("openai").map(|it| it.name), Some("openAI"));
        assert!(profile("nobody").is_none());
    }

    #[test]
    fn names_of_operations_are_read_back() {
        for name in [
            "completions",
            "responses",
            "embeddings",
            "detect",
            "models",
            "realtime",
            "rerank",
            "messages",
            "anthropicTokenCount",
            "generateContent",
            "geminiCountTokens",
            "converse",
            "passthrough",
        ] {
            assert_eq!(Operation::parse(name).map(Operation::key), Some(name));
        }
    }
}
