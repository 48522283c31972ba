//! `envoy.service.auth.v3.Authorization/Check`: what a policy asks as its message, and the answer
//! read.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use filters::Facts;
use filters::callout::{Allowed, Check, Checked, Denied, Fault, HeaderChange, Headers, How};
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, Version};
use pingora_http::RequestHeader;
use prost::Message;
use prost_types::Timestamp;
use serde_json::{Map, Value};

use super::pb::auth::attribute_context::{HttpRequest, Pair, Peer, Request};
use super::pb::auth::check_response::HttpResponse;
use super::pb::auth::{AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use super::pb::core::header_value_option::HeaderAppendAction;
use super::pb::core::{self, HeaderValue, HeaderValueOption, Metadata, SocketAddress};
use super::value;

pub(super) const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Says whether `body` is all of it, as servers of this protocol expect.
const PARTIAL: &str = "x-envoy-auth-partial-body";

pub(super) fn encode(check: &Check<'_>) -> CheckRequest {
    let Check { head, facts, headers, body, context, metadata } = check;
    let mut pairs = pairs(head, facts, headers);
    let (mut text, mut raw) = (String::new(), Bytes::new());
    if let Some(body) = body {
        pairs.push(pair(PARTIAL, if body.partial { "true" } else { "false" }));
        if body.packed {
            raw = body.bytes.clone();
        } else {
            text = String::from_utf8_lossy(body.bytes).into_owned();
        }
    }
    let request = HttpRequest {
        id: head.headers.get("x-request-id").map(|it| lossy(it.as_bytes())).unwrap_or_default(),
        method: head.method.to_string(),
        headers: pairs,
        path: path(head).to_owned(),
        host: host(head),
        scheme: facts.scheme().to_owned(),
        size: length(&head.headers),
        protocol: protocol(head.version).to_owned(),
        body: text,
        raw_body: raw,
    };
    let attributes = AttributeContext {
        source: Some(source(facts)),
        // Of the address that was dialled, only the port is known.
        destination: Some(Peer { address: Some(address(String::new(), facts.port)), ..Peer::default() }),
        request: Some(Request { time: Some(now()), http: Some(request) }),
        context_extensions: context.iter().map(|(key, value)| pair(key, value)).collect(),
        metadata_context: (!metadata.is_empty()).then(|| namespaces(metadata)),
        tls_session: None,
    };
    CheckRequest { attributes: Some(attributes) }
}

/// The client, and who its certificate says it is: a name of the certificate, or its subject.
fn source(facts: &Facts) -> Peer {
    let principal = facts.identity.peer.as_ref().map(|it| {
        let id = it.spiffe.as_ref().map(|it| &it.id).or_else(|| it.names.first());
        id.unwrap_or(&it.subject).to_string()
    });
    let principal = principal.unwrap_or_default();
    let port = facts.whereabouts.client_port.unwrap_or_default();
    let address = address(facts.client.to_canonical().to_string(), port);
    Peer { address: Some(address), principal, certificate: String::new() }
}

fn address(address: String, port: u16) -> core::Address {
    let port_specifier = Some(core::socket_address::PortSpecifier::PortValue(port.into()));
    let socket = SocketAddress { address, port_specifier };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// Headers of one name are one pair, joined as RFC 9110 section 5.3 says; pseudo headers as well.
fn pairs(head: &RequestHeader, facts: &Facts, wanted: &Headers) -> Vec<Pair> {
    let pseudo = |name: &str| {
        Some(match name {
            ":method" => head.method.to_string(),
            ":path" => path(head).to_owned(),
            ":authority" => host(head),
            ":scheme" => facts.scheme().to_owned(),
            _ => return None,
        })
    };
    match wanted {
        Headers::All => {
            let mut pairs = Vec::with_capacity(head.headers.len() + 5);
            for name in [":authority", ":method", ":path", ":scheme"] {
                pairs.extend(pseudo(name).map(|value| Pair { key: name.to_owned(), value }));
            }
            let joined = head.headers.keys().filter(|name| *name != HOST);
            pairs.extend(joined.filter_map(|name| joined_pair(&head.headers, name.as_str())));
            pairs
        }
        Headers::These { names } => {
            let one = |name: &String| match pseudo(name) {
                Some(value) => Some(Pair { key: name.clone(), value }),
                None if name == HOST.as_str() => Some(Pair { key: name.clone(), value: host(head) }),
                None => joined_pair(&head.headers, name),
            };
            names.iter().filter_map(one).collect()
        }
    }
}

fn joined_pair(headers: &HeaderMap, name: &str) -> Option<Pair> {
    let mut values = headers.get_all(name).iter();
    let mut value = lossy(values.next()?.as_bytes());
    for next in values {
        value.push_str(if name == COOKIE.as_str() { "; " } else { "," });
        value.push_str(&String::from_utf8_lossy(next.as_bytes()));
    }
    Some(Pair { key: name.to_owned(), value })
}

fn pair(key: &str, value: &str) -> Pair {
    Pair { key: key.to_owned(), value: value.to_owned() }
}

/// The message holds text only.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(head: &RequestHeader) -> &str {
    head.uri.path_and_query().map_or("/", |it| it.as_str())
}

fn host(head: &RequestHeader) -> String {
    match head.uri.authority() {
        Some(authority) => authority.to_string(),
        None => head.headers.get(HOST).map(|it| lossy(it.as_bytes())).unwrap_or_default(),
    }
}

/// -1 where it is not said.
fn length(headers: &HeaderMap) -> i64 {
    headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok()).unwrap_or(-1)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: i64::try_from(now.as_secs()).unwrap_or(0), nanos: now.subsec_nanos().cast_signed() }
}

/// Only objects can stand in a namespace.
fn namespaces(metadata: &Map<String, Value>) -> Metadata {
    let object = |(name, value): (&String, &Value)| Some((name.clone(), value::encode(value.as_object()?)));
    Metadata { filter_metadata: metadata.iter().filter_map(object).collect() }
}

/// Allowed is what says so: a status of 0, and nothing that denies beside it. A message without a
/// status says nothing, unless it holds what is to be done with an allowed request.
pub(super) fn decode(answer: Bytes) -> Result<Checked, Fault> {
    let answer = CheckResponse::decode(answer).map_err(|error| Fault::Garbage(error.to_string()))?;
    let CheckResponse { status, http_response, dynamic_metadata } = answer;
    let metadata = dynamic_metadata.map(value::decode).unwrap_or_default();
    let code = status.map(|it| it.code);
    match (code, http_response) {
        (Some(0), None) => Ok(Checked::Allowed(Allowed { metadata, ..Allowed::default() })),
        (None | Some(0), Some(HttpResponse::OkResponse(ok))) => Ok(Checked::Allowed(allowed(ok, metadata))),
        (_, Some(HttpResponse::DeniedResponse(denied))) => Ok(Checked::Denied(refused(denied, metadata))),
        (Some(_), _) => Ok(Checked::Denied(Denied { metadata, ..Denied::default() })),
        (None, None) => Err(Fault::Garbage("it has no status".to_owned())),
    }
}

fn allowed(ok: OkHttpResponse, metadata: Map<String, Value>) -> Allowed {
    Allowed {
        request: changes(ok.headers),
        remove: ok.headers_to_remove,
        query_set: ok.query_parameters_to_set.into_iter().map(|it| (it.key, it.value)).collect(),
        query_remove: ok.query_parameters_to_remove,
        response: changes(ok.response_headers_to_add),
        metadata: ok.dynamic_metadata.map_or(metadata, value::decode),
    }
}

fn refused(denied: DeniedHttpResponse, metadata: Map<String, Value>) -> Denied {
    Denied {
        status: denied.status.and_then(|it| u16::try_from(it.code).ok()),
        headers: changes(denied.headers),
        body: denied.body.into(),
        metadata,
    }
}

fn changes(options: Vec<HeaderValueOption>) -> Vec<HeaderChange> {
    options.into_iter().filter_map(change).collect()
}

/// Replaces, unless it says otherwise.
fn change(option: HeaderValueOption) -> Option<HeaderChange> {
    let HeaderValueOption { header, append, append_action } = option;
    let how = match (append, HeaderAppendAction::try_from(append_action)) {
        (Some(true), _) => How::Append,
        (_, Ok(HeaderAppendAction::AddIfAbsent)) => How::AddIfAbsent,
        (_, Ok(HeaderAppendAction::OverwriteIfExists)) => How::OverwriteIfExists,
        _ => How::Overwrite,
    };
    Some(HeaderChange { how, ..plain(header?) })
}

/// A header as it stands, to be replaced.
pub(super) fn plain(header: HeaderValue) -> HeaderChange {
    let HeaderValue { key, value, raw_value } = header;
    let value = if raw_value.is_empty() { value.into() } else { raw_value };
    HeaderChange { name: key, value, how: How::Overwrite }
}
