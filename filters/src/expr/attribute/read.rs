//! Reading one attribute.

use std::net::IpAddr;

use http::Version;

use super::{Attribute, some};
use crate::expr::error::{Cause, Error};
use crate::expr::headers::Headers;
use crate::expr::inputs::{Backend, Body, Destination, Env, Inputs, Json, Request, Response, Source};
use crate::expr::map::{Entries, Map, json_get};
use crate::expr::time::{Duration, Timestamp};
use crate::expr::value::{Blob, Str, Value};
use crate::identity::{Peer, Spiffe};

type Read<T> = Result<T, Error>;

/// The value of an attribute; an error where it is not there.
#[expect(clippy::too_many_lines, reason = "one flat table")]
pub(in crate::expr) fn read<'a>(attribute: Attribute, inputs: &'a Inputs<'a>) -> Read<Value<'a>> {
    use Attribute as A;
    Ok(match attribute {
        A::RequestMethod
        | A::RequestUri
        | A::RequestHost
        | A::RequestScheme
        | A::RequestPath
        | A::RequestPathAndQuery
        | A::RequestVersion
        | A::ProxyBind
        | A::ProxyGatewayNamespace
        | A::ProxyGatewayName
        | A::ProxyListenerName
        | A::ProxyRouteNamespace
        | A::ProxyRouteName
        | A::ProxyRouteKind
        | A::ProxyRouteRule
        | A::EnvPodName
        | A::EnvNamespace
        | A::EnvGateway
        | A::BasicAuthUsername
        | A::SourceAddress
        | A::SourceRawAddress
        | A::SourceTrustDomain
        | A::SourceNamespace
        | A::SourceServiceAccount
        | A::SourceSpiffeId
        | A::SourceIssuer
        | A::SourceSubject
        | A::SourceSubjectCn
        | A::SourceCertificate
        | A::DestinationAddress
        | A::DestinationHostname
        | A::BackendName
        | A::BackendType
        | A::BackendProtocol => Value::String(read_str(attribute, inputs)?),
        A::RequestHeaders => Value::Map(Map::Headers(Headers::plain(request(inputs)?.headers, inputs))),
        A::RequestCookies => cookies(request(inputs)?, inputs),
        A::RequestQuery => query(request(inputs)?),
        A::RequestBody => whole(inputs.request_body, "request.body")?,
        A::RequestBodyPrefix => prefix(inputs.request_body, "request.bodyPrefix")?,
        A::RequestStart => moment(inputs.times.start, "request.startTime")?,
        A::RequestEnd => moment(inputs.times.end, "request.endTime")?,
        A::ResponseCode => Value::Int(i64::from(response(inputs)?.code)),
        A::ResponseGrpcStatus => {
            Value::Int(i64::from(response(inputs)?.grpc_status.ok_or_else(|| Error::absent("response.grpcStatus"))?))
        }
        A::ResponseHeaders => Value::Map(Map::Headers(Headers::plain(
            response(inputs)?.headers.ok_or_else(|| Error::absent("response.headers"))?,
            inputs,
        ))),
        A::ResponseBody => whole(inputs.response_body, "response.body")?,
        A::ResponseBodyPrefix => prefix(inputs.response_body, "response.bodyPrefix")?,
        A::ProxyRequestProcessing => span(inputs.times.request_processing, "proxy.requestProcessingDuration")?,
        A::ProxyUpstream => span(inputs.times.upstream, "proxy.upstreamDuration")?,
        A::ProxyResponseProcessing => span(inputs.times.response_processing, "proxy.responseProcessingDuration")?,
        A::Jwt => Value::Map(Map::Json(claims(inputs).ok_or_else(|| Error::absent("jwt"))?)),
        A::JwtRawToken => {
            let jwt = inputs.identity.and_then(|it| it.jwt.as_ref()).ok_or_else(|| Error::absent("jwt"))?;
            secret(jwt.token.expose())
        }
        A::ApiKey => Value::Map(Map::Json(key_metadata(inputs).ok_or_else(|| Error::absent("apiKey"))?)),
        A::ApiKeyKey => {
            let key = inputs.identity.and_then(|it| it.api_key.as_ref()).ok_or_else(|| Error::absent("apiKey"))?;
            secret(key.key.expose())
        }
        A::SourcePort => port(source(inputs)?.port, "source.port")?,
        A::SourceRawPort => port(source(inputs)?.raw_port, "source.rawPort")?,
        A::SourceAltNames => Value::list(peer(inputs)?.names.iter().map(|name| Value::str(name)).collect()),
        A::SourceWorkload => object(source(inputs)?.workload, "source.unverifiedWorkload")?,
        A::SourceConnectHeaders => {
            let headers = source(inputs)?.connect_headers.ok_or_else(|| Error::absent("source.connectHeaders"))?;
            Value::Map(Map::Headers(Headers::plain(headers, inputs)))
        }
        A::DestinationPort => Value::Int(i64::from(destination(inputs)?.port)),
        A::Llm(name) => member(inputs.objects.llm, name, "llm")?,
        A::LlmRequest => Value::json(inputs.objects.llm_request.ok_or_else(|| Error::absent("llmRequest"))?),
        A::Mcp(name) => member(inputs.objects.mcp, name, "mcp")?,
        A::A2a(name) => member(inputs.objects.a2a, name, "a2a")?,
        A::ExtAuthz => object(inputs.objects.extauthz, "extauthz")?,
        A::ExtProc => object(inputs.objects.extproc, "extproc")?,
        A::McpGuardrails => object(inputs.objects.guardrails, "mcpGuardrails")?,
        A::Metadata => object(inputs.objects.metadata, "metadata")?,
    })
}

/// The text of an attribute that is one.
#[inline]
pub(in crate::expr) fn read_str<'a>(attribute: Attribute, inputs: &'a Inputs<'a>) -> Read<Str<'a>> {
    use Attribute as A;
    let names = &inputs.names;
    Ok(match attribute {
        A::RequestMethod => Str::Borrowed(request(inputs)?.method),
        A::RequestPath => Str::Borrowed(path(request(inputs)?)),
        A::RequestPathAndQuery => Str::Borrowed(target(request(inputs)?)),
        A::RequestUri => uri(request(inputs)?),
        A::RequestHost => host(request(inputs)?)?,
        A::RequestScheme => Str::Borrowed(request(inputs)?.scheme),
        A::RequestVersion => Str::Borrowed(version(request(inputs)?.version)),
        A::ProxyBind => some(names.bind, "proxy.bind")?,
        A::ProxyGatewayNamespace => some(names.gateway_namespace, "proxy.gateway.namespace")?,
        A::ProxyGatewayName => some(names.gateway, "proxy.gateway.name")?,
        A::ProxyListenerName => some(names.listener, "proxy.listener.name")?,
        A::ProxyRouteNamespace => some(names.route_namespace, "proxy.route.namespace")?,
        A::ProxyRouteName => some(names.route, "proxy.route.name")?,
        A::ProxyRouteKind => some(names.route_kind, "proxy.route.kind")?,
        A::ProxyRouteRule => some(names.route_rule, "proxy.route.rule")?,
        A::EnvPodName => some(&env(inputs)?.pod_name, "env.podName")?,
        A::EnvNamespace => some(&env(inputs)?.namespace, "env.namespace")?,
        A::EnvGateway => some(&env(inputs)?.gateway, "env.gateway")?,
        A::BasicAuthUsername => {
            let user = inputs.identity.and_then(|it| it.basic.as_ref());
            Str::Borrowed(user.ok_or_else(|| Error::absent("basicAuth.username"))?)
        }
        A::SourceAddress => address(source(inputs)?.address),
        A::SourceRawAddress => address(source(inputs)?.raw_address),
        A::SourceTrustDomain => Str::Borrowed(&spiffe(inputs)?.trust_domain),
        A::SourceNamespace => optional(spiffe(inputs)?.namespace.as_deref(), "source.identity.namespace")?,
        A::SourceServiceAccount => {
            optional(spiffe(inputs)?.service_account.as_deref(), "source.identity.serviceAccount")?
        }
        A::SourceSpiffeId => Str::Borrowed(&spiffe(inputs)?.id),
        A::SourceIssuer => some(&peer(inputs)?.issuer, "source.issuer")?,
        A::SourceSubject => some(&peer(inputs)?.subject, "source.subject")?,
        A::SourceSubjectCn => optional(peer(inputs)?.common_name.as_deref(), "source.subjectCn")?,
        A::SourceCertificate => Str::Borrowed(peer(inputs)?.pem()),
        A::DestinationAddress => {
            address(destination(inputs)?.address.ok_or_else(|| Error::absent("destination.address"))?)
        }
        A::DestinationHostname => optional(destination(inputs)?.hostname, "destination.hostname")?,
        A::BackendName => some(backend(inputs)?.name, "backend.name")?,
        A::BackendType => some(backend(inputs)?.kind, "backend.type")?,
        A::BackendProtocol => some(backend(inputs)?.protocol, "backend.protocol")?,
        other => match read(other, inputs)? {
            Value::String(text) => text,
            _ => return Err(Error::no_overload()),
        },
    })
}

/// As [`read_str`], for those that stand in the inputs as they are; `None` says nothing.
#[inline]
pub(in crate::expr) fn at_hand<'a>(attribute: Attribute, inputs: &'a Inputs<'a>) -> Option<&'a str> {
    use Attribute as A;
    let request = inputs.request.as_ref()?;
    match attribute {
        A::RequestMethod => Some(request.method),
        A::RequestPath => Some(path(request)),
        A::RequestPathAndQuery => Some(target(request)),
        A::RequestHost => Some(request.host).filter(|it| !it.is_empty()),
        A::RequestScheme => Some(request.scheme),
        _ => None,
    }
}

#[inline]
fn request<'a>(inputs: &'a Inputs<'a>) -> Read<&'a Request<'a>> {
    inputs.request.as_ref().ok_or_else(|| Error::absent("request"))
}

fn response<'a>(inputs: &'a Inputs<'a>) -> Read<&'a Response<'a>> {
    inputs.response.as_ref().ok_or_else(|| Error::absent("response"))
}

fn source<'a>(inputs: &'a Inputs<'a>) -> Read<&'a Source<'a>> {
    inputs.source.as_ref().ok_or_else(|| Error::absent("source"))
}

fn destination<'a>(inputs: &'a Inputs<'a>) -> Read<&'a Destination<'a>> {
    inputs.destination.as_ref().ok_or_else(|| Error::absent("destination"))
}

fn backend<'a>(inputs: &'a Inputs<'a>) -> Read<&'a Backend<'a>> {
    inputs.backend.as_ref().ok_or_else(|| Error::absent("backend"))
}

fn env<'a>(inputs: &'a Inputs<'a>) -> Read<&'a Env> {
    inputs.env.ok_or_else(|| Error::absent("env"))
}

fn peer<'a>(inputs: &'a Inputs<'a>) -> Read<&'a Peer> {
    inputs.identity.and_then(|it| it.peer.as_deref()).ok_or_else(|| Error::absent("source.certificate"))
}

fn spiffe<'a>(inputs: &'a Inputs<'a>) -> Read<&'a Spiffe> {
    peer(inputs)?.spiffe.as_ref().ok_or_else(|| Error::absent("source.spiffeId"))
}

/// The claims of a verified token.
#[inline]
pub(in crate::expr) fn claims<'a>(inputs: &'a Inputs<'a>) -> Option<&'a Json> {
    Some(&inputs.identity?.jwt.as_ref()?.claims)
}

/// The metadata of a recognised key.
pub(in crate::expr) fn key_metadata<'a>(inputs: &'a Inputs<'a>) -> Option<&'a Json> {
    Some(inputs.identity?.api_key.as_ref()?.metadata())
}

fn optional<'a>(text: Option<&'a str>, path: &'static str) -> Read<Str<'a>> {
    text.map(Str::Borrowed).ok_or_else(|| Error::absent(path))
}

fn secret(bytes: &[u8]) -> Value<'_> {
    Value::Secret(match std::str::from_utf8(bytes) {
        Ok(text) => Str::Borrowed(text),
        Err(_) => Str::Shared(String::from_utf8_lossy(bytes).into()),
    })
}

fn port<'a>(port: Option<u16>, path: &'static str) -> Read<Value<'a>> {
    port.map(|port| Value::Int(i64::from(port))).ok_or_else(|| Error::absent(path))
}

fn address<'a>(address: IpAddr) -> Str<'a> {
    Str::Shared(address.to_canonical().to_string().into())
}

fn moment<'a>(moment: Option<Timestamp>, path: &'static str) -> Read<Value<'a>> {
    moment.map(Value::Timestamp).ok_or_else(|| Error::absent(path))
}

fn span<'a>(span: Option<Duration>, path: &'static str) -> Read<Value<'a>> {
    span.map(Value::Duration).ok_or_else(|| Error::absent(path))
}

fn object<'a>(object: Option<&'a Json>, path: &'static str) -> Read<Value<'a>> {
    object.map(|it| Value::Map(Map::Json(it))).ok_or_else(|| Error::absent(path))
}

fn member<'a>(object: Option<&'a Json>, name: &'static str, root: &'static str) -> Read<Value<'a>> {
    let object = object.ok_or_else(|| Error::absent(root))?;
    json_get(object, name).map(Value::json).ok_or_else(|| Error::absent(name))
}

fn whole<'a>(body: Option<Body<'a>>, path: &'static str) -> Read<Value<'a>> {
    let body = body.ok_or_else(|| Error::absent(path))?;
    if body.truncated {
        return Err(Error::new(Cause::Incomplete(path)));
    }
    Ok(Value::Bytes(Blob::Borrowed(body.bytes)))
}

fn prefix<'a>(body: Option<Body<'a>>, path: &'static str) -> Read<Value<'a>> {
    body.map(|it| Value::Bytes(Blob::Borrowed(it.bytes))).ok_or_else(|| Error::absent(path))
}

fn target<'a>(request: &Request<'a>) -> &'a str {
    match request.target {
        Some(target) => target,
        None => request.uri.path_and_query().map_or("", |it| it.as_str()),
    }
}

fn path<'a>(request: &Request<'a>) -> &'a str {
    match request.target {
        Some(target) => target.bytes().position(|it| matches!(it, b'?' | b'#')).map_or(target, |end| &target[..end]),
        None => request.uri.path(),
    }
}

/// The whole URI, whether the client wrote it so or not.
fn uri<'a>(request: &Request<'a>) -> Str<'a> {
    let authority = request.uri.authority().map(http::uri::Authority::as_str);
    let named = || request.headers.get(http::header::HOST).and_then(|it| it.to_str().ok());
    match authority.or_else(named).or(Some(request.host).filter(|it| !it.is_empty())) {
        Some(authority) => Str::Shared(format!("{}://{authority}{}", request.scheme, target(request)).into()),
        None => Str::Borrowed(target(request)),
    }
}

fn host<'a>(request: &Request<'a>) -> Read<Str<'a>> {
    if !request.host.is_empty() {
        return Ok(Str::Borrowed(request.host));
    }
    let named = || request.headers.get(http::header::HOST).and_then(|it| it.to_str().ok());
    let authority = request.uri.authority().map(http::uri::Authority::as_str).or_else(named);
    optional(authority, "request.host")
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "unknown",
    }
}

/// One cookie, undecoded.
pub(in crate::expr) fn cookie<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(http::header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    protocols::http::cookie::find(lines, name)
}

fn cookies<'a>(request: &Request<'a>, inputs: &Inputs<'a>) -> Value<'a> {
    let mut entries = Entries::default();
    let lines = request.headers.get_all(http::header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    for pair in lines.flat_map(|line| line.split(';')) {
        if let Some((name, _)) = pair.trim().split_once('=')
            && let Some(value) = cookie(request.headers, name)
        {
            entries.insert(Value::str(name), guarded(value, inputs));
        }
    }
    Value::Map(Map::of(entries))
}

/// A cookie, which is a secret where its header is one.
pub(in crate::expr) fn guarded<'a>(cookie: &'a str, inputs: &Inputs<'a>) -> Value<'a> {
    let is_secret = inputs.sensitive.is_some_and(|names| names.contains("cookie"));
    if is_secret { Value::Secret(Str::Borrowed(cookie)) } else { Value::str(cookie) }
}

/// The first value of each parameter, undecoded.
fn query<'a>(request: &Request<'a>) -> Value<'a> {
    let mut entries = Entries::default();
    for (name, value) in pairs(target(request)) {
        if entries.insert(Value::str(name), Value::str(value)) {
            continue;
        }
        if let Some((_, first)) = pairs(target(request)).find(|(other, _)| *other == name) {
            entries.insert(Value::str(name), Value::str(first));
        }
    }
    Value::Map(Map::of(entries))
}

/// Parameters of a URI or path, undecoded.
pub(in crate::expr) fn pairs(target: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or(query);
    query.split('&').filter(|it| !it.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// One parameter of a request, undecoded.
pub(in crate::expr) fn parameter<'a>(inputs: &'a Inputs<'a>, name: &str) -> Option<&'a str> {
    let request = inputs.request.as_ref()?;
    pairs(target(request)).find(|(key, _)| *key == name).map(|(_, value)| value)
}
