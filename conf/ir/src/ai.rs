//! Backends that speak a dialect of language models: providers, which of them serves which model, and in which order.

use serde::Serialize;

use crate::backend::BackendRef;
use crate::name::Text;

/// Providers of one backend.
pub const PROVIDERS_MAX: usize = 1_000;

/// Models that stand for others, of one backend.
pub const VIRTUAL_MODELS_MAX: usize = 1_000;

/// Providers that clients see as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AiBackend {
    pub providers: Vec<AiProvider>,
    pub virtual_models: Vec<AiVirtualModel>,
    /// Requests go by their model, and lists of models are answered here; else the providers are alike.
    pub routes_models: bool,
}

/// One provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AiProvider {
    pub name: Text,
    pub backend: BackendRef,
    /// Its name in telemetry: `openai`, `aws.bedrock`, ….
    pub system: Text,
    pub key: AiKeyPlace,
    /// Before the paths of requests that have no format of their own, in the place of `/v1`.
    pub base: Text,
    /// What it understands.
    pub formats: Vec<AiFormat>,
    /// Asked for in the place of the client's.
    pub model: Option<Text>,
    /// The models it serves: a name, with one `*` at most.
    pub serves: Text,
    /// Smaller ones first; those of one priority are alike.
    pub priority: u32,
    /// Only virtual models lead to it, and no list shows it.
    pub internal: bool,
    /// CEL over the request and `llmRequest`: where it does not hold, this one is not there. Always, if absent.
    pub when: Option<Text>,
    /// Requests go on as they came, in whatever dialect that is.
    pub passthrough: Option<AiPassthrough>,
}

/// What is read of requests that go on as they came, and of their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AiPassthrough {
    /// What was used, where it can be read.
    Detect,
    /// Nothing of the answer.
    Opaque,
}

/// Where a provider looks for its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AiKeyPlace {
    /// `Authorization: Bearer`.
    #[default]
    Authorization,
    /// `x-api-key`.
    XApiKey,
    /// `x-goog-api-key`.
    XGoogApiKey,
    /// `api-key`.
    ApiKey,
}

/// A kind of request, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AiFormat {
    /// `completions`, `messages`, ….
    pub kind: Text,
    /// With its base; `{model}` and `{action}` stand for those of the request.
    pub path: Text,
}

/// A name that stands for other models.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AiVirtualModel {
    pub name: Text,
    pub routing: AiRouting,
}

/// Which of its models a request gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AiRouting {
    /// One drawn by weight.
    Weighted(Vec<AiShare>),
    /// The first that answers, by rising priority.
    Failover(Vec<AiShare>),
    /// That of the first case that holds.
    Conditional(Vec<AiCase>),
}

/// A model for requests of which something is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AiCase {
    /// An expression; nothing for what no other case holds of.
    pub when: Option<Text>,
    pub model: Text,
}

/// A model, and its weight or its priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AiShare {
    pub model: Text,
    pub number: u32,
}

impl AiBackend {
    /// References of all providers.
    pub fn references(&self) -> impl Iterator<Item = &BackendRef> {
        self.providers.iter().map(|it| &it.backend)
    }
}
