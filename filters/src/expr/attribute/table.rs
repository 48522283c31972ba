//! The vocabulary: every attribute, where it exists, what reading it needs and what type it has.

use super::Attribute::{self, *};
use crate::expr::site::{Needs, Sites};
use crate::expr::types::Type;

/// One line of the vocabulary.
pub(in crate::expr) struct Entry {
    pub(in crate::expr) path: &'static str,
    pub(in crate::expr) attribute: Attribute,
    pub(in crate::expr) sites: Sites,
    pub(in crate::expr) needs: Needs,
    pub(in crate::expr) of: Type,
}

const fn entry(path: &'static str, attribute: Attribute, sites: Sites, needs: Needs, of: Type) -> Entry {
    Entry { path, attribute, sites, needs, of }
}

const HTTP: Sites = Sites::HTTP;
const ROUTED: Sites = Sites::ROUTED;
const CLIENT: Sites = Sites::CLIENT;
const CHOSEN: Sites = Sites::CHOSEN;
const ANSWERED: Sites = Sites::ANSWERED;
const LOG: Sites = Sites::LOG;
const TALKS: Sites = Sites::MCP.or(Sites::ANSWERED);
const REQ: Needs = Needs::REQUEST;
const RESP: Needs = Needs::RESPONSE;
const SRC: Needs = Needs::SOURCE;
const PEER: Needs = Needs::PEER;
const NAMES: Needs = Needs::NAMES;
const TIMES: Needs = Needs::TIMES;
const ENV: Needs = Needs::ENV;
const BACKEND: Needs = Needs::BACKEND;
const LLM: Needs = Needs::LLM;
const MCP: Needs = Needs::MCP;
const A2A: Needs = Needs::A2A;

/// A parent may stand for itself (`llm` as a map) where it is listed; otherwise it is the sum of what
/// is below it.
pub(in crate::expr) const TABLE: &[Entry] = &[
    entry("request.method", RequestMethod, HTTP, REQ, Type::String),
    entry("request.uri", RequestUri, HTTP, REQ, Type::String),
    entry("request.host", RequestHost, HTTP, REQ, Type::String),
    entry("request.scheme", RequestScheme, HTTP, REQ, Type::String),
    entry("request.path", RequestPath, HTTP, REQ, Type::String),
    entry("request.pathAndQuery", RequestPathAndQuery, HTTP, REQ, Type::String),
    entry("request.version", RequestVersion, HTTP, REQ, Type::String),
    entry("request.headers", RequestHeaders, HTTP, REQ, Type::Map),
    entry("request.cookies", RequestCookies, HTTP, REQ, Type::Map),
    entry("request.query", RequestQuery, HTTP, REQ, Type::Map),
    entry("request.body", RequestBody, HTTP, Needs::REQUEST_BODY, Type::Bytes),
    entry("request.bodyPrefix", RequestBodyPrefix, HTTP, Needs::REQUEST_BODY_PREFIX, Type::Bytes),
    entry("request.startTime", RequestStart, HTTP, TIMES, Type::Timestamp),
    entry("request.endTime", RequestEnd, LOG, TIMES, Type::Timestamp),
    entry("response.code", ResponseCode, ANSWERED, RESP, Type::Int),
    entry("response.grpcStatus", ResponseGrpcStatus, ANSWERED, RESP.or(Needs::RESPONSE_HEADERS), Type::Int),
    entry("response.headers", ResponseHeaders, ANSWERED, RESP.or(Needs::RESPONSE_HEADERS), Type::Map),
    entry("response.body", ResponseBody, ANSWERED, Needs::RESPONSE_BODY, Type::Bytes),
    entry("response.bodyPrefix", ResponseBodyPrefix, ANSWERED, Needs::RESPONSE_BODY_PREFIX, Type::Bytes),
    entry("proxy.bind", ProxyBind, CLIENT, NAMES, Type::String),
    entry("proxy.gateway.namespace", ProxyGatewayNamespace, CLIENT, NAMES, Type::String),
    entry("proxy.gateway.name", ProxyGatewayName, CLIENT, NAMES, Type::String),
    entry("proxy.listener.name", ProxyListenerName, CLIENT, NAMES, Type::String),
    entry("proxy.route.namespace", ProxyRouteNamespace, ROUTED, NAMES, Type::String),
    entry("proxy.route.name", ProxyRouteName, ROUTED, NAMES, Type::String),
    entry("proxy.route.kind", ProxyRouteKind, ROUTED, NAMES, Type::String),
    entry("proxy.route.rule", ProxyRouteRule, ROUTED, NAMES, Type::String),
    entry("proxy.requestProcessingDuration", ProxyRequestProcessing, ANSWERED, TIMES, Type::Duration),
    entry("proxy.upstreamDuration", ProxyUpstream, ANSWERED, TIMES, Type::Duration),
    entry("proxy.responseProcessingDuration", ProxyResponseProcessing, LOG, TIMES, Type::Duration),
    entry("route.name", ProxyRouteName, ROUTED, NAMES, Type::String),
    entry("listener.name", ProxyListenerName, CLIENT, NAMES, Type::String),
    entry("env.podName", EnvPodName, Sites::ALL, ENV, Type::String),
    entry("env.namespace", EnvNamespace, Sites::ALL, ENV, Type::String),
    entry("env.gateway", EnvGateway, Sites::ALL, ENV, Type::String),
    entry("jwt", Jwt, HTTP, Needs::JWT, Type::Map),
    entry("jwt.rawToken", JwtRawToken, HTTP, Needs::JWT, Type::Dyn),
    entry("apiKey", ApiKey, HTTP, Needs::API_KEY, Type::Map),
    entry("apiKey.key", ApiKeyKey, HTTP, Needs::API_KEY, Type::Dyn),
    entry("basicAuth.username", BasicAuthUsername, HTTP, Needs::BASIC_AUTH, Type::String),
    entry("source.address", SourceAddress, CLIENT, SRC, Type::String),
    entry("source.port", SourcePort, CLIENT, SRC, Type::Int),
    entry("source.rawAddress", SourceRawAddress, CLIENT, SRC, Type::String),
    entry("source.rawPort", SourceRawPort, CLIENT, SRC, Type::Int),
    entry("source.identity.trustDomain", SourceTrustDomain, CLIENT, PEER, Type::String),
    entry("source.identity.namespace", SourceNamespace, CLIENT, PEER, Type::String),
    entry("source.identity.serviceAccount", SourceServiceAccount, CLIENT, PEER, Type::String),
    entry("source.spiffeId", SourceSpiffeId, CLIENT, PEER, Type::String),
    entry("source.subjectAltNames", SourceAltNames, CLIENT, PEER, Type::List),
    entry("source.issuer", SourceIssuer, CLIENT, PEER, Type::String),
    entry("source.subject", SourceSubject, CLIENT, PEER, Type::String),
    entry("source.subjectCn", SourceSubjectCn, CLIENT, PEER, Type::String),
    entry("source.certificate", SourceCertificate, CLIENT, PEER, Type::String),
    entry("source.unverifiedWorkload", SourceWorkload, CLIENT, SRC, Type::Map),
    entry("source.connectHeaders", SourceConnectHeaders, CLIENT, SRC, Type::Map),
    entry("destination.address", DestinationAddress, CLIENT, SRC, Type::String),
    entry("destination.port", DestinationPort, CLIENT, SRC, Type::Int),
    entry("destination.hostname", DestinationHostname, CLIENT, SRC, Type::String),
    entry("backend.name", BackendName, CHOSEN, BACKEND, Type::String),
    entry("backend.type", BackendType, CHOSEN, BACKEND, Type::String),
    entry("backend.protocol", BackendProtocol, CHOSEN, BACKEND, Type::String),
    entry("llm.streaming", Llm("streaming"), HTTP, LLM, Type::Bool),
    entry("llm.requestModel", Llm("requestModel"), HTTP, LLM, Type::String),
    entry("llm.provider", Llm("provider"), HTTP, LLM, Type::String),
    entry("llm.params", Llm("params"), HTTP, LLM, Type::Map),
    entry("llm.prompt", Llm("prompt"), HTTP, LLM.or(Needs::LLM_PROMPT), Type::List),
    entry("llm.responseModel", Llm("responseModel"), ANSWERED, LLM, Type::String),
    entry("llm.inputTokens", Llm("inputTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.providerInputTokens", Llm("providerInputTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.inputImageTokens", Llm("inputImageTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.inputTextTokens", Llm("inputTextTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.inputAudioTokens", Llm("inputAudioTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.cachedInputTokens", Llm("cachedInputTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.cacheCreationInputTokens", Llm("cacheCreationInputTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.outputTokens", Llm("outputTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.outputImageTokens", Llm("outputImageTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.outputTextTokens", Llm("outputTextTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.outputAudioTokens", Llm("outputAudioTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.reasoningTokens", Llm("reasoningTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.totalTokens", Llm("totalTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.providerTotalTokens", Llm("providerTotalTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.serviceTier", Llm("serviceTier"), ANSWERED, LLM, Type::String),
    entry("llm.timeToFirstToken", Llm("timeToFirstToken"), ANSWERED, LLM, Type::Dyn),
    entry("llm.timePerOutputToken", Llm("timePerOutputToken"), ANSWERED, LLM, Type::Dyn),
    entry("llm.countTokens", Llm("countTokens"), ANSWERED, LLM, Type::Int),
    entry("llm.completion", Llm("completion"), ANSWERED, LLM.or(Needs::LLM_COMPLETION), Type::List),
    entry("llm.toolCalls", Llm("toolCalls"), ANSWERED, LLM.or(Needs::LLM_COMPLETION), Type::List),
    entry("llm.cost", Llm("cost"), ANSWERED, LLM, Type::Map),
    entry("llm.costRates", Llm("costRates"), ANSWERED, LLM, Type::Map),
    entry("llmRequest", LlmRequest, Sites::LLM, Needs::LLM_REQUEST, Type::Dyn),
    entry("mcp.methodName", Mcp("methodName"), TALKS, MCP, Type::String),
    entry("mcp.sessionId", Mcp("sessionId"), TALKS, MCP, Type::String),
    entry("mcp.tool", Mcp("tool"), TALKS, MCP, Type::Map),
    entry("mcp.prompt", Mcp("prompt"), TALKS, MCP, Type::Map),
    entry("mcp.resource", Mcp("resource"), TALKS, MCP, Type::Map),
    entry("mcp.task", Mcp("task"), TALKS, MCP, Type::Map),
    entry("a2a.method", A2a("method"), ROUTED, A2A, Type::String),
    entry("a2a.version", A2a("version"), ROUTED, A2A, Type::String),
    entry("a2a.binding", A2a("binding"), ROUTED, A2A, Type::String),
    entry("a2a.skill", A2a("skill"), ROUTED, A2A, Type::String),
    entry("a2a.task", A2a("task"), ROUTED, A2A, Type::Map),
    entry("a2a.context", A2a("context"), ROUTED, A2A, Type::Map),
    entry("a2a.message", A2a("message"), ROUTED, A2A, Type::Map),
    entry("a2a.result", A2a("result"), ANSWERED, A2A, Type::Map),
    entry("a2a.response", A2a("response"), ANSWERED, A2A, Type::Map),
    entry("extauthz", ExtAuthz, HTTP, Needs::EXTAUTHZ, Type::Map),
    entry("extproc", ExtProc, HTTP, Needs::EXTPROC, Type::Map),
    entry("mcpGuardrails", McpGuardrails, HTTP, MCP, Type::Map),
    entry("metadata", Metadata, HTTP, Needs::METADATA, Type::Map),
];

/// The line of exactly this path.
pub(in crate::expr) fn find(path: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.path == path)
}

/// Lines at and below a path.
pub(in crate::expr) fn below(path: &str) -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().filter(move |entry| tail(entry.path, path).is_some())
}

/// What follows `prefix` and its dot in a path.
pub(in crate::expr) fn tail<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    if prefix.is_empty() {
        return Some(path);
    }
    path.strip_prefix(prefix)?.strip_prefix('.')
}
