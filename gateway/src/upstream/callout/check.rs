//! `envoy.service.auth.v3.Authorization/Check`: what a policy asks as its message, and the answer
//! read.

use bytes::Bytes;
use filters::Facts;
use filters::callout::{Allowed, Check, Checked, Denied, Fault, HeaderChange, Headers, How};
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, Version};
use pingora_http::RequestHeader;
use prost::Message;
use prost_types::Timestamp;
use serde_json::{Map, Value};

use super::pb::auth::check_response::HttpResponse;
use super::pb::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use super::pb::core::header_value_option::HeaderAppendAction;
use super::pb::core::{self, HeaderValue, HeaderValueOption, Metadata, SocketAddress};
use super::value;
use super::wire::Wire;

pub(super) const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Says whether `body` is all of it, as servers of this protocol expect.
const PARTIAL: &str = "x-envoy-auth-partial-body";
/// `HttpRequest.headers`.
const HEADERS: u32 = 3;

/// The question in its frame; the numbers are those of `envoy.service.auth.v3`.
pub(super) fn encode(check: &Check<'_>) -> Bytes {
    let mut wire = Wire::new();
    wire.within(1, |wire| attributes(wire, check));
    wire.finish()
}

/// `AttributeContext`.
fn attributes(wire: &mut Wire, check: &Check<'_>) {
    let Check { facts, context, metadata, .. } = check;
    wire.within(1, |wire| source(wire, facts));
    // Of the address that was dialled, only the port is known.
    wire.within(2, |wire| wire.within(1, |wire| address(wire, String::new(), facts.port)));
    wire.within(4, |wire| {
        wire.message(1, &now());
        wire.within(2, |wire| request(wire, check));
    });
    for (key, value) in *context {
        wire.pair(10, key, value.as_bytes());
    }
    if !metadata.is_empty() {
        wire.message(11, &namespaces(metadata));
    }
}

/// `AttributeContext.HttpRequest`.
fn request(wire: &mut Wire, check: &Check<'_>) {
    let Check { head, facts, headers, body, .. } = check;
    wire.text(1, head.headers.get("x-request-id").map_or(b"", |it| it.as_bytes()));
    wire.text(2, head.method.as_str().as_bytes());
    pairs(wire, head, facts, headers);
    if let Some(body) = body {
        wire.pair(HEADERS, PARTIAL, if body.partial { b"true" } else { b"false" });
    }
    wire.text(4, path(head).as_bytes());
    wire.text(5, host(head));
    wire.text(6, facts.scheme().as_bytes());
    wire.number(9, length(&head.headers).cast_unsigned());
    wire.text(10, protocol(head.version).as_bytes());
    match body {
        Some(body) if body.packed => wire.bytes(12, body.bytes),
        Some(body) => wire.text(11, body.bytes),
        None => {}
    }
}

/// The client, and who its certificate says it is: a name of the certificate, or its subject.
fn source(wire: &mut Wire, facts: &Facts) {
    let port = facts.whereabouts.client_port.unwrap_or_default();
    wire.within(1, |wire| address(wire, facts.client.to_canonical().to_string(), port));
    if let Some(it) = &facts.identity.peer {
        let id = it.spiffe.as_ref().map(|it| &it.id).or_else(|| it.names.first());
        wire.text(4, id.unwrap_or(&it.subject).as_bytes());
    }
}

/// `Address` of a socket. A port is one of several ways to say where: it stands there even if it is none.
fn address(wire: &mut Wire, address: String, port: u16) {
    let port_specifier = Some(core::socket_address::PortSpecifier::PortValue(port.into()));
    wire.message(1, &SocketAddress { address, port_specifier });
}

/// Headers of one name are one pair, joined as RFC 9110 section 5.3 says; pseudo headers as well.
fn pairs(wire: &mut Wire, head: &RequestHeader, facts: &Facts, wanted: &Headers) {
    let pseudo = |name: &str| {
        Some(match name {
            ":method" => head.method.as_str().as_bytes(),
            ":path" => path(head).as_bytes(),
            ":authority" => host(head),
            ":scheme" => facts.scheme().as_bytes(),
            _ => return None,
        })
    };
    match wanted {
        Headers::All => {
            for name in [":authority", ":method", ":path", ":scheme"] {
                wire.pair(HEADERS, name, pseudo(name).unwrap_or_default());
            }
            for name in head.headers.keys().filter(|name| *name != HOST) {
                joined(wire, &head.headers, name.as_str());
            }
        }
        Headers::These { names } => {
            for name in names {
                match pseudo(name) {
                    Some(value) => wire.pair(HEADERS, name, value),
                    None if name == HOST.as_str() => wire.pair(HEADERS, name, host(head)),
                    None => joined(wire, &head.headers, name),
                }
            }
        }
    }
}

fn joined(wire: &mut Wire, headers: &HeaderMap, name: &str) {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return };
    let Some(second) = values.next() else { return wire.pair(HEADERS, name, first.as_bytes()) };
    let between: &[u8] = if name == COOKIE.as_str() { b"; " } else { b"," };
    let all: Vec<&[u8]> = [first, second].into_iter().chain(values).map(|it| it.as_bytes()).collect();
    wire.pair(HEADERS, name, &all.join(between));
}

fn path(head: &RequestHeader) -> &str {
    head.uri.path_and_query().map_or("/", |it| it.as_str())
}

fn host(head: &RequestHeader) -> &[u8] {
    match head.uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => head.headers.get(HOST).map_or(b"", |it| it.as_bytes()),
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
    let now = crate::clock::wall();
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
