//! Revisions without sessions (2026-07-28 and later): each request says by itself who asks, what they can do and which
//! revision is spoken, in `params._meta`; headers repeat what those on the way look at.
//!
//! Here it is decided which kind of request one is, whether head and body agree, and how requests and results of elder
//! revisions become ones of these and the other way round.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::answer::{
    HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CAPABILITY, UNSUPPORTED_VERSION, error, error_with,
};
use super::session::CLIENT_BYTES_MAX;
use super::transport::{METHOD, NAME, PROTOCOL_VERSION};
use super::{Edits, Message, Version};
use crate::json::{self, Kind, Raw, quoted};

/// Members of `_meta`.
pub const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
pub const CLIENT_KEY: &str = "io.modelcontextprotocol/clientInfo";
pub const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
pub const LOG_KEY: &str = "io.modelcontextprotocol/logLevel";
pub const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";
pub const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// Methods of elder revisions that are no more.
const REMOVED: [&str; 5] = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];
/// Levels of log messages, the least first.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// What a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    Legacy,
    Modern(Version),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("Header mismatch: {0}")]
    Mismatch(String),
    #[error("Unsupported protocol version")]
    Version(String),
    #[error("Invalid params: {0}")]
    Meta(&'static str),
    #[error("Method not found: {0}")]
    Removed(String),
}

impl Fault {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Removed(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer to the request of that id (JSON).
    pub fn answer(&self, id: &str) -> String {
        let text = self.to_string();
        match self {
            Self::Mismatch(_) => error(id, HEADER_MISMATCH, &text),
            Self::Version(asked) => unsupported(id, asked),
            Self::Meta(_) => error(id, INVALID_PARAMS, &text),
            Self::Removed(_) => error(id, METHOD_NOT_FOUND, &text),
        }
    }
}

/// The answer to who asks for a version that is not spoken.
pub fn unsupported(id: &str, asked: &str) -> String {
    let data = format!(r#"{{"supported":{},"requested":{}}}"#, spoken(), quoted(asked));
    error_with(id, UNSUPPORTED_VERSION, "Unsupported protocol version", &data)
}

/// All versions that are spoken, the newest first, as JSON.
pub fn spoken() -> String {
    let all: Vec<_> = Version::ALL.iter().rev().map(|it| quoted(it.as_str())).collect();
    format!("[{}]", all.join(","))
}

/// Which era a message belongs to, by its head and its `_meta`.
pub fn era(headers: &HeaderMap, message: &Message<'_>) -> Result<Era, Fault> {
    let said = message.meta(VERSION_KEY).map(|it| it.as_str().unwrap_or_default());
    let head = headers.get(PROTOCOL_VERSION).map(|it| String::from_utf8_lossy(it.as_bytes().trim_ascii()));
    let known = head.as_deref().map(Version::parse);
    let is_modern = |text: &str| Version::parse(text).is_none_or(Version::is_modern);
    match (head, known.flatten()) {
        (None, _) if said.as_deref().is_some_and(is_modern) => {
            Err(Fault::Mismatch("`MCP-Protocol-Version` is missing".to_owned()))
        }
        (None, _) => Ok(Era::Legacy),
        (Some(head), None) if said.as_deref().is_none_or(|said| said == head) => Err(Fault::Version(head.into_owned())),
        (Some(_), Some(version)) if version.is_modern() => Ok(Era::Modern(version)),
        (Some(_), Some(_)) if !said.as_deref().is_some_and(is_modern) => Ok(Era::Legacy),
        (Some(head), _) => Err(differs("MCP-Protocol-Version", &head, &said.unwrap_or_default())),
    }
}

/// Checks a request of a modern revision, head and body.
pub fn check(headers: &HeaderMap, message: &Message<'_>, version: Version) -> Result<(), Fault> {
    let said = message.meta(VERSION_KEY).ok_or(Fault::Meta("`_meta` does not name the protocol version"))?;
    let said = said.as_str().unwrap_or_default();
    if said != version.as_str() {
        return Err(differs("MCP-Protocol-Version", version.as_str(), &said));
    }
    let capabilities = message.meta(CAPABILITIES_KEY);
    if !capabilities.is_some_and(|it| it.kind() == Kind::Object) {
        return Err(Fault::Meta("`_meta` does not name the client's capabilities"));
    }
    let method = headers.get(METHOD).ok_or_else(|| Fault::Mismatch("`Mcp-Method` is missing".to_owned()))?;
    let method = String::from_utf8_lossy(method.as_bytes().trim_ascii());
    if method != message.method() {
        return Err(differs("Mcp-Method", &method, message.method()));
    }
    check_name(headers, message)?;
    match REMOVED.contains(&message.method()) {
        true => Err(Fault::Removed(message.method().to_owned())),
        false => Ok(()),
    }
}

fn check_name(headers: &HeaderMap, message: &Message<'_>) -> Result<(), Fault> {
    let Some(key) = name_key(message.method()) else { return Ok(()) };
    let said = message.param(key).ok().flatten().and_then(Raw::as_str);
    let Some(said) = said else { return Ok(()) };
    let Some(head) = headers.get(NAME) else {
        // Those of tasks are younger than servers and clients that have them.
        return match key {
            "taskId" => Ok(()),
            _ => Err(Fault::Mismatch("`Mcp-Name` is missing".to_owned())),
        };
    };
    let name = decode(head).ok_or_else(|| Fault::Mismatch("`Mcp-Name` is not readable".to_owned()))?;
    if name == said { Ok(()) } else { Err(differs("Mcp-Name", &name, &said)) }
}

fn differs(name: &str, head: &str, body: &str) -> Fault {
    let short = |text: &str| text.chars().take(100).collect::<String>();
    Fault::Mismatch(format!("`{name}` says `{}`, the body says `{}`", short(head), short(body)))
}

/// The parameter that `Mcp-Name` repeats.
pub fn name_key(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// The text in a header that may be written in base64.
pub fn decode(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?.trim_matches([' ', '\t']);
    match text.strip_prefix("=?base64?").and_then(|it| it.strip_suffix("?=")) {
        Some(inside) => String::from_utf8(STANDARD.decode(inside).ok()?).ok().map(Cow::Owned),
        None => Some(Cow::Borrowed(text)),
    }
}

/// A text as a header, in base64 where it would not survive otherwise.
pub fn encode(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|it| matches!(it, 0x20..=0x7e)) && text.trim() == text;
    let looks_encoded = text.starts_with("=?base64?") && text.ends_with("?=");
    let written = match plain && !looks_encoded {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(text))),
    };
    HeaderValue::from_str(&written).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The headers that repeat a request's method and name.
pub fn headers(message: &Message<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut out = vec![(METHOD, encode(message.method()))];
    let name = name_key(message.method()).and_then(|key| message.param(key).ok().flatten()).and_then(Raw::as_str);
    out.extend(name.map(|it| (NAME, encode(&it))));
    out
}

/// What a client says of itself, as parameters of `initialize` for servers of elder revisions.
pub fn client(message: &Message<'_>) -> String {
    let capabilities = message.meta(CAPABILITIES_KEY).map_or("{}", Raw::text);
    let info = message.meta(CLIENT_KEY).filter(|it| it.kind() == Kind::Object && it.get("name").is_some());
    let info = info.map_or(r#"{"name":"unknown","version":"0"}"#, Raw::text);
    let write = |capabilities: &str, info: &str| {
        let version = Version::LEGACY;
        format!(r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{info}}}"#)
    };
    let whole = write(capabilities, info);
    match whole.len() <= CLIENT_BYTES_MAX {
        true => whole,
        false => write("{}", r#"{"name":"unknown","version":"0"}"#),
    }
}

/// Members of `_meta` for a server of this era, from the parameters of a client's `initialize`.
pub fn meta_of(client: &str, log: Option<&str>) -> String {
    let parsed = json::parse(client.as_bytes()).ok();
    let part = |name: &str| parsed.and_then(|it| it.get(name)).filter(|it| it.kind() == Kind::Object);
    // Tasks of 2025-11-25 are others than those of the extension.
    let capabilities: Vec<_> = part("capabilities")
        .map(Raw::members)
        .into_iter()
        .flatten()
        .filter(|(key, _)| key != "tasks")
        .map(|(key, value)| format!("{}:{}", quoted(&key), value.text()))
        .collect();
    let info = part("clientInfo").map_or(r#"{"name":"agentgateway","version":"0"}"#, Raw::text);
    let mut out = format!(
        r#""{VERSION_KEY}":"{}","{CLIENT_KEY}":{info},"{CAPABILITIES_KEY}":{{{}}}"#,
        Version::V2026_07_28,
        capabilities.join(",")
    );
    if let Some(log) = log {
        out.push_str(&format!(r#","{LOG_KEY}":{}"#, quoted(log)));
    }
    out
}

/// Notes that `_meta` of a request gets these members.
pub fn add_meta(message: &Message<'_>, members: &str, edits: &mut Edits) {
    match (message.params, message.params.and_then(|it| it.get("_meta"))) {
        (_, Some(meta)) if meta.kind() == Kind::Object => add_members(meta, members, edits),
        (Some(params), None) => add_members(params, &format!(r#""_meta":{{{members}}}"#), edits),
        (None, None) => add_members(message.raw, &format!(r#""params":{{"_meta":{{{members}}}}}"#), edits),
        // Something else is in its place, which the server will not like either way.
        (_, Some(_)) => {}
    }
}

/// Notes that an object gets these members, before those that it has.
pub fn add_members(object: Raw<'_>, members: &str, edits: &mut Edits) {
    let comma = if object.members().next().is_some() { "," } else { "" };
    edits.insert(object.range().start + 1, format!("{members}{comma}"));
}

/// Notes what a result of an elder server lacks: its type, and for how long and whom it may be kept.
pub fn complete(result: Raw<'_>, method: &str, edits: &mut Edits) {
    let mut members = Vec::new();
    if result.get("resultType").is_none() {
        members.push(r#""resultType":"complete""#);
    }
    if is_cacheable(method) {
        if result.get("ttlMs").is_none() {
            members.push(r#""ttlMs":0"#);
        }
        if result.get("cacheScope").is_none() {
            members.push(r#""cacheScope":"private""#);
        }
    }
    if !members.is_empty() && result.kind() == Kind::Object {
        add_members(result, &members.join(","), edits);
    }
}

/// Whether results say for how long they may be kept.
fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    )
}

/// Whether a result asks for something first.
pub fn is_input_required(result: Raw<'_>) -> bool {
    result.get("resultType").and_then(Raw::as_str).as_deref() == Some("input_required")
}

/// Whether an error is one that only servers of this era have.
pub fn is_modern_error(error: Raw<'_>) -> bool {
    let code = error.get("code").map_or("", Raw::text).parse::<i32>();
    code.is_ok_and(|it| matches!(it, HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION))
}

/// The status that goes with an error, where the method and not its work was refused.
pub fn status_of(code: i32) -> Option<u16> {
    match code {
        METHOD_NOT_FOUND => Some(404),
        HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION => Some(400),
        _ => None,
    }
}

/// Whether a log message of this level is wanted by who asked for that one. Nobody gets any who has not asked.
pub fn wants_log(asked: Option<&str>, level: &str) -> bool {
    let rank = |it: &str| LEVELS.iter().position(|level| *level == it);
    match (asked.map(rank), rank(level)) {
        (Some(Some(asked)), Some(level)) => level >= asked,
        _ => false,
    }
}

#[cfg(test)]
#[path = "modern_tests.rs"]
mod tests;
