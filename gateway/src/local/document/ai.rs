//! Language models: `ai` backends, and the shorthand `llm`.

use std::collections::BTreeMap;

use filters::ai::{PromptCachingConfig, PromptGuardConfig};
use filters::backend_auth::ValueConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{GatewayRefs, HeaderMatch};
use crate::local::policies::{LlmPolicies, TargetPolicies};

/// Providers of language models that clients see as one: a single one, or `groups` of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AiBackend {
    /// Of a single provider. Default: what it is.
    pub name: Option<String>,
    pub provider: Option<AiProviderKind>,
    /// `http://name:port`, `https://name` or `name:port` (in TLS on port 443). Default: the provider's own.
    pub host_override: Option<String>,
    /// The path of every request, whatever its kind.
    pub path_override: Option<String>,
    /// In the place of `/v1` (openAI, anthropic, custom), or before the provider's own paths.
    pub path_prefix: Option<String>,
    /// Count tokens before they are sent. Not supported by this version yet.
    pub tokenize: bool,
    /// Of connections to a single provider.
    pub policies: Option<TargetPolicies>,
    /// Groups in order: those of a later one are asked when the ones before it failed. Not beside `provider`.
    pub groups: Vec<AiGroup>,
}

/// Providers that are alike: which one is asked first is random.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiGroup {
    pub providers: Vec<AiProvider>,
}

/// One provider of a group.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiProvider {
    /// Unique in its backend.
    pub name: String,
    pub provider: AiProviderKind,
    /// `http://name:port`, `https://name` or `name:port` (in TLS on port 443). Default: the provider's own.
    pub host_override: Option<String>,
    /// The path of every request, whatever its kind.
    pub path_override: Option<String>,
    /// In the place of `/v1` (openAI, anthropic, custom), or before the provider's own paths.
    pub path_prefix: Option<String>,
    /// Count tokens before they are sent. Not supported by this version yet.
    #[serde(default)]
    pub tokenize: bool,
    /// Of connections to it.
    pub policies: Option<TargetPolicies>,
}

/// What a provider is: exactly one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AiProviderKind {
    #[serde(rename = "openAI", alias = "openai")]
    OpenAi(AiModel),
    Anthropic(AiModel),
    Gemini(AiModel),
    /// Any other: what it understands is written down.
    Custom(AiCustom),
    Cohere(AiModel),
    Ollama(AiModel),
    Baseten(AiModel),
    Cerebras(AiModel),
    Deepinfra(AiModel),
    Deepseek(AiModel),
    Groq(AiModel),
    Huggingface(AiModel),
    Mistral(AiModel),
    Openrouter(AiModel),
    Togetherai(AiModel),
    Xai(AiModel),
    Fireworks(AiModel),
    /// Models of Google on Vertex, or of Anthropic where `model` begins with `claude`. The key is a token of Google Cloud.
    Vertex(AiVertex),
    /// Signed with the credentials of the process, unless `backendAuth` says otherwise.
    Bedrock(AiBedrock),
    /// Azure OpenAI, or Foundry.
    Azure(AiAzure),
    /// Not supported by this version yet.
    Copilot(Value),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AiModel {
    /// Asked for in the place of the client's.
    pub model: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiVertex {
    /// Asked for in the place of the client's.
    pub model: Option<String>,
    /// `us-east4`, `eu`, …. Default: global.
    pub region: Option<String>,
    pub project_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiBedrock {
    /// Asked for in the place of the client's.
    pub model: Option<String>,
    /// Such as `us-east-1`.
    pub region: String,
    /// Not supported by this version yet.
    pub guardrail_identifier: Option<String>,
    /// Not supported by this version yet.
    pub guardrail_version: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiAzure {
    /// Asked for in the place of the client's.
    pub model: Option<String>,
    /// The first part of the host's name.
    pub resource_name: String,
    pub resource_type: AiAzureKind,
    /// `v1`, which is the default, or a date, such as `2024-10-21`: then models are names of deployments.
    pub api_version: Option<String>,
    /// A project of Foundry.
    pub project_name: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AiAzureKind {
    #[default]
    #[serde(rename = "openAI", alias = "openai")]
    OpenAi,
    #[serde(alias = "aiServices")]
    Foundry,
}

/// A provider that is known by nothing but this.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiCustom {
    /// Asked for in the place of the client's.
    pub model: Option<String>,
    /// Its name in telemetry. Default: `custom`.
    pub provider_override: Option<String>,
    /// What it understands.
    pub formats: Vec<AiFormat>,
}

/// A kind of request that a provider understands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AiFormat {
    #[serde(rename = "type")]
    pub kind: AiFormatKind,
    /// Default: `/v1` with what the kind ends in. `{model}` and `{action}` stand for those of the request.
    pub path: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AiFormatKind {
    Completions,
    Messages,
    Responses,
    Embeddings,
    AnthropicTokenCount,
    GenerateContent,
    GeminiCountTokens,
    /// Bedrock's.
    Converse,
    Realtime,
    Rerank,
}

/// Models in a few lines: an endpoint that asks, for each model, its provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimpleLlm {
    /// Gateways it hangs on, for all paths. Default: a port of its own, or the gateway named `default`, if there is one.
    #[serde(default)]
    pub gateways: GatewayRefs,
    /// A port of its own. Default: 4000.
    pub port: Option<u16>,
    /// Providers that models refer to.
    #[serde(default)]
    pub providers: Vec<LlmProvider>,
    /// What clients can ask for.
    pub models: Vec<LlmModel>,
    /// Names that stand for models.
    #[serde(default)]
    pub virtual_models: Vec<LlmVirtualModel>,
    pub policies: Option<LlmPolicies>,
}

/// A provider that models refer to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmProvider {
    pub name: String,
    pub provider: LlmProviderKind,
    #[serde(default)]
    pub params: LlmParams,
    /// What models that refer to it have where they do not say otherwise; of maps, member by member.
    #[serde(default)]
    pub defaults: LlmTerms,
}

/// What is made of requests to a model, and how its provider is reached.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LlmTerms {
    /// Members of requests that have none of that name.
    pub defaults: BTreeMap<String, Value>,
    /// Members of every request.
    pub overrides: BTreeMap<String, Value>,
    /// Members of every request by CEL over `llmRequest`, its body.
    pub transformation: BTreeMap<String, String>,
    /// Marks for the cache of a provider that has them.
    pub prompt_caching: Option<PromptCachingConfig>,
    /// Headers of requests to the provider.
    pub request_headers: Option<filters::header_modifier::Config>,
    /// Headers of its answers.
    pub response_headers: Option<filters::header_modifier::Config>,
    /// When it is not asked for a while.
    pub health: Option<filters::health::Config>,
    /// Connections to the provider are in TLS on these terms.
    #[serde(alias = "backendTLS")]
    pub tls: Option<filters::backend_tls::Config>,
    /// The credential for the provider, in the place of `params.apiKey`.
    pub auth: Option<filters::backend_auth::Config>,
}

/// A model, or several by a pattern.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmModel {
    /// What it is known by here, whatever its place in the list. Default: its place and its name.
    pub id: Option<String>,
    /// What clients ask for: a name, with one `*` at most.
    pub name: String,
    /// Requests that it is there for: those that one of these fits. Default: all.
    #[serde(default)]
    pub matches: Vec<LlmMatch>,
    /// `internal`: only virtual models lead to it, and no list shows it.
    #[serde(default)]
    pub visibility: LlmVisibility,
    pub provider: LlmProviderKind,
    /// Requests go on as they came, in the provider's own dialect, and are not translated.
    pub passthrough: Option<LlmPassthrough>,
    #[serde(default)]
    pub params: LlmParams,
    /// Members of requests that have none of that name.
    #[serde(default)]
    pub defaults: BTreeMap<String, Value>,
    /// Members of every request.
    #[serde(default)]
    pub overrides: BTreeMap<String, Value>,
    /// Members of every request by CEL over `llmRequest`, its body.
    #[serde(default)]
    pub transformation: BTreeMap<String, String>,
    /// The same over the body as the provider gets it, in whatever dialect that is.
    #[serde(default)]
    pub final_transformation: BTreeMap<String, String>,
    /// Who may ask for it.
    pub authorization: Option<filters::authorization::Config>,
    /// What requests to it and its answers may say, besides what `llm.policies.guardrails` says.
    pub guardrails: Option<PromptGuardConfig>,
    /// Marks for the cache of a provider that has them.
    pub prompt_caching: Option<PromptCachingConfig>,
    /// Headers of requests to the provider.
    pub request_headers: Option<filters::header_modifier::Config>,
    /// Headers of its answers.
    pub response_headers: Option<filters::header_modifier::Config>,
    /// When the provider is not asked for a while.
    pub health: Option<filters::health::Config>,
    /// Connections to the provider are in TLS on these terms.
    #[serde(alias = "backendTLS")]
    pub tls: Option<filters::backend_tls::Config>,
    /// The credential for the provider, in the place of `params.apiKey`.
    pub auth: Option<filters::backend_auth::Config>,
    /// Of connections to its provider: the rest.
    pub policies: Option<TargetPolicies>,
}

/// Requests that a model is there for. All parts must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LlmMatch {
    pub headers: Vec<HeaderMatch>,
}

/// What is read of requests that go on as they came, and of their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LlmPassthrough {
    /// What was used, where it can be read: it is counted and priced as ever.
    Detect,
    /// Nothing of the answer: no tokens are counted. Limits of tokens take request and answer by their length.
    Opaque,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LlmVisibility {
    #[default]
    Public,
    Internal,
}

/// A provider by name (`openai`, `anthropic`, `gemini`, `groq`, …), one of `llm.providers`, or what it understands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LlmProviderKind {
    Name(String),
    Written(LlmWritten),
}

/// Exactly one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LlmWritten {
    /// Name of an entry of `llm.providers`.
    pub reference: Option<String>,
    pub custom: Option<AiCustom>,
}

/// Terms of a provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LlmParams {
    /// Asked for in the place of the client's.
    pub model: Option<String>,
    /// Sent where the provider looks for it.
    pub api_key: Option<ValueConfig>,
    /// Such as `https://name/v1`. Default: the provider's own.
    pub base_url: Option<String>,
    /// Of `bedrock`.
    pub aws_region: Option<String>,
    /// Of `vertex`. Default: global.
    pub vertex_region: Option<String>,
    /// Of `vertex`.
    pub vertex_project: Option<String>,
    /// Of `azure`.
    pub azure_resource_name: Option<String>,
    /// Of `azure`.
    pub azure_resource_type: Option<AiAzureKind>,
    /// Of `azure`: `v1` or a date.
    pub azure_api_version: Option<String>,
    /// Of `azure`: a project of Foundry.
    pub azure_project_name: Option<String>,
}

/// A name that stands for models.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmVirtualModel {
    pub name: String,
    pub routing: LlmRouting,
}

/// Which model a request gets: exactly one way.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum LlmRouting {
    /// One drawn by weight.
    Weighted(LlmWeighted),
    /// The first that answers.
    Failover(LlmFailover),
    /// That of the first condition that holds.
    Conditional(LlmConditional),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmConditional {
    pub targets: Vec<LlmCase>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmCase {
    /// CEL over the request and `llmRequest`, its body. Only the last target may be without: it is for the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    pub model: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmWeighted {
    pub targets: Vec<LlmWeight>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmWeight {
    pub model: String,
    /// Share among the targets; 0 is never drawn.
    #[serde(default = "super::one")]
    pub weight: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmFailover {
    pub targets: Vec<LlmPriority>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LlmPriority {
    pub model: String,
    /// Smaller ones are asked first, those of one in any order.
    pub priority: u32,
}
