//! Attributes: what stands under a path of the vocabulary, read from the inputs.

mod read;
pub(super) mod table;

use super::inputs::Inputs;
use super::map::{Map, json_get};
use super::value::{Str, Value};

/// An attribute whose path was known when the expression was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    RequestMethod,
    RequestUri,
    RequestHost,
    RequestScheme,
    RequestPath,
    RequestPathAndQuery,
    RequestVersion,
    RequestHeaders,
    RequestCookies,
    RequestQuery,
    RequestBody,
    RequestBodyPrefix,
    RequestStart,
    RequestEnd,
    ResponseCode,
    ResponseGrpcStatus,
    ResponseHeaders,
    ResponseBody,
    ResponseBodyPrefix,
    ProxyBind,
    ProxyGatewayNamespace,
    ProxyGatewayName,
    ProxyListenerName,
    ProxyRouteNamespace,
    ProxyRouteName,
    ProxyRouteKind,
    ProxyRouteRule,
    ProxyRequestProcessing,
    ProxyUpstream,
    ProxyResponseProcessing,
    EnvPodName,
    EnvNamespace,
    EnvGateway,
    Jwt,
    JwtRawToken,
    ApiKey,
    ApiKeyKey,
    BasicAuthUsername,
    SourceAddress,
    SourcePort,
    SourceRawAddress,
    SourceRawPort,
    SourceTrustDomain,
    SourceNamespace,
    SourceServiceAccount,
    SourceSpiffeId,
    SourceAltNames,
    SourceIssuer,
    SourceSubject,
    SourceSubjectCn,
    SourceCertificate,
    SourceWorkload,
    SourceConnectHeaders,
    DestinationAddress,
    DestinationPort,
    DestinationHostname,
    BackendName,
    BackendType,
    BackendProtocol,
    Llm(&'static str),
    LlmRequest,
    Mcp(&'static str),
    A2a(&'static str),
    ExtAuthz,
    ExtProc,
    McpGuardrails,
    Metadata,
}

pub(super) use read::{at_hand, claims, cookie, guarded, key_metadata, pairs, parameter, read, read_str};

/// A node of the vocabulary as a map: `request`, `source.identity`, or everything.
#[derive(Clone, Copy)]
pub struct Object<'a> {
    /// Empty is the root.
    path: &'static str,
    inputs: &'a Inputs<'a>,
}

impl<'a> Object<'a> {
    pub(super) fn root(inputs: &'a Inputs<'a>) -> Self {
        Self { path: "", inputs }
    }

    pub(super) fn at(path: &'static str, inputs: &'a Inputs<'a>) -> Self {
        Self { path, inputs }
    }

    /// The claims or metadata behind a root that has names of its own beside them.
    fn open(&self) -> Option<&'a serde_json::Map<String, serde_json::Value>> {
        let identity = self.inputs.identity?;
        match self.path {
            "jwt" => Some(&identity.jwt.as_ref()?.claims),
            "apiKey" => Some(identity.api_key.as_ref()?.metadata()),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        let line = table::below(self.path).find_map(|entry| child(entry.path, self.path, name));
        if let Some(path) = line {
            return value(path, self.inputs);
        }
        json_get(self.open()?, name).map(Value::json)
    }

    /// The names below it that have a value.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut names: Vec<&'a str> = Vec::new();
        for entry in table::below(self.path) {
            let Some(tail) = table::tail(entry.path, self.path) else { continue };
            let name = tail.split('.').next().unwrap_or(tail);
            if !names.contains(&name) && self.get(name).is_some() {
                names.push(name);
            }
        }
        if let Some(map) = self.open() {
            names.extend(map.keys().map(String::as_str).filter(|it| !names.contains(it)).collect::<Vec<_>>());
        }
        names.into_iter()
    }
}

/// The path of `name` below `parent`, cut out of a longer one.
fn child(path: &'static str, parent: &str, name: &str) -> Option<&'static str> {
    let after = table::tail(path, parent)?.strip_prefix(name)?;
    let is_whole = after.is_empty() || after.starts_with('.');
    is_whole.then(|| path.get(..path.len() - after.len()))?
}

/// The value at a path: an attribute, or a map of those below it that are there.
pub(super) fn value<'a>(path: &'static str, inputs: &'a Inputs<'a>) -> Option<Value<'a>> {
    let has_below = table::below(path).next().is_some();
    match table::find(path) {
        Some(entry) if !has_below => read(entry.attribute, inputs).ok(),
        Some(entry) => read(entry.attribute, inputs).ok().map(|_| Value::Map(Map::Object(Object::at(path, inputs)))),
        None => {
            let object = Object::at(path, inputs);
            has_below.then_some(())?;
            object.keys().next().is_some().then_some(Value::Map(Map::Object(object)))
        }
    }
}

/// A header value or other text that the request holds.
fn some<'a>(text: &'a str, path: &'static str) -> Result<Str<'a>, super::error::Error> {
    if text.is_empty() { Err(super::error::Error::absent(path)) } else { Ok(Str::Borrowed(text)) }
}
