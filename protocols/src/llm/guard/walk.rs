//! The strings of a document that somebody may have written text in.

use super::Part;
use crate::json::{Kind, Raw};

/// A string, and where it belongs.
pub(super) struct Leaf<'a> {
    pub(super) value: Raw<'a>,
    pub(super) part: Part,
    /// Who said it.
    pub(super) role: &'static str,
    /// A piece of a text that goes on in other events: which text.
    pub(super) channel: Option<u64>,
    /// Not a text but a list of its tokens, in which no rule would find anything.
    pub(super) is_tokens: bool,
}

/// Members of a request that hold what is said; the rest are terms.
const SAID: [&str; 12] = [
    "messages",
    "system",
    "instructions",
    "input",
    "prompt",
    "contents",
    "systemInstruction",
    "system_instruction",
    "query",
    "documents",
    "toolResults",
    "suffix",
];

/// Members that hold no text of anybody: names, marks and pictures.
const MARKS: [&str; 34] = [
    "role",
    "type",
    "id",
    "object",
    "model",
    "modelVersion",
    "index",
    "name",
    "tool_call_id",
    "tool_use_id",
    "toolUseId",
    "call_id",
    "item_id",
    "response_id",
    "responseId",
    "previous_response_id",
    "finish_reason",
    "finishReason",
    "stop_reason",
    "stopReason",
    "status",
    "data",
    "b64_json",
    "bytes",
    "media_type",
    "mimeType",
    "mime_type",
    "signature",
    "thoughtSignature",
    "encrypted_content",
    "system_fingerprint",
    "service_tier",
    "usage",
    "usageMetadata",
];

/// Members of a stream's event that tell its texts apart.
const TELLING: [&str; 6] = ["index", "output_index", "content_index", "summary_index", "item_id", "contentBlockIndex"];

#[derive(Clone, Copy)]
struct At {
    part: Part,
    role: &'static str,
    /// Anybody's JSON: no member is a mark.
    free: bool,
    /// In a piece of a text.
    delta: bool,
    channel: u64,
}

/// Strings of a request.
pub(super) fn request<'a>(document: Raw<'a>, leaf: &mut dyn FnMut(Leaf<'a>)) {
    let at = At { part: Part::Message, role: "user", free: false, delta: false, channel: 0 };
    for (key, value) in document.members().filter(|(key, _)| SAID.contains(&&**key)) {
        let (part, role) = match &*key {
            "system" | "instructions" | "systemInstruction" | "system_instruction" => (Part::System, "system"),
            _ => (Part::Message, "user"),
        };
        walk(value, At { part, role, ..at }, leaf);
    }
}

/// Strings of what a client says in a session: an item of the conversation, or terms of session and answers.
pub(super) fn client_event<'a>(document: Raw<'a>, leaf: &mut dyn FnMut(Leaf<'a>)) {
    let at = At { part: Part::Message, role: "user", free: false, delta: false, channel: 0 };
    for (key, value) in document.members() {
        match &*key {
            "item" => walk(value, at, leaf),
            "session" | "response" => request(value, leaf),
            _ => {}
        }
    }
}

/// Strings of an answer, or of an event of one.
pub(super) fn answer<'a>(document: Raw<'a>, leaf: &mut dyn FnMut(Leaf<'a>)) {
    let kind = document.get("type").and_then(Raw::as_str).unwrap_or_default();
    if kind.ends_with("audio.delta") {
        // Sound, in base64.
        return;
    }
    let tool = kind.contains("arguments") || kind.contains("_call");
    let part = if tool { Part::ToolInput } else { Part::Message };
    let at = At { part, role: "assistant", free: false, delta: false, channel: mixed(0, kind.as_bytes()) };
    walk(document, at, leaf);
}

/// Strings of JSON that is in a string.
pub(super) fn free<'a>(document: Raw<'a>, part: Part, leaf: &mut dyn FnMut(Leaf<'a>)) {
    walk(document, At { part, role: "assistant", free: true, delta: false, channel: 0 }, leaf);
}

fn walk<'a>(value: Raw<'a>, at: At, leaf: &mut dyn FnMut(Leaf<'a>)) {
    match value.kind() {
        Kind::String => {
            let channel = at.delta.then_some(at.channel);
            leaf(Leaf { value, part: at.part, role: at.role, channel, is_tokens: false });
        }
        Kind::Array => value.elements().for_each(|it| walk(it, at, leaf)),
        Kind::Object => object(value, at, leaf),
        Kind::Number | Kind::Bool | Kind::Null => {}
    }
}

fn object<'a>(value: Raw<'a>, mut at: At, leaf: &mut dyn FnMut(Leaf<'a>)) {
    if !at.free {
        at.part = part(value, at.part);
        at.role = role(value, at.part, at.role);
        for name in TELLING {
            if let Some(it) = value.get(name) {
                at.channel = mixed(at.channel, it.text().as_bytes());
            }
        }
        if value.get("thought").and_then(Raw::as_bool) == Some(true) {
            at.channel = mixed(at.channel, b"thought");
        }
    }
    for (key, inner) in value.members() {
        // A transcript stands beside its sound.
        let is_sound = &*key == "audio" && inner.kind() == Kind::String;
        if !at.free && (is_sound || MARKS.contains(&&*key)) {
            continue;
        }
        if !at.free && matches!(&*key, "logprobs" | "logprobsResult") {
            if !inner.is_null() {
                leaf(Leaf { value: inner, part: at.part, role: at.role, channel: None, is_tokens: true });
            }
            continue;
        }
        let mut below = At { channel: mixed(at.channel, key.as_bytes()), ..at };
        if !at.free {
            below.delta |= matches!(&*key, "delta" | "candidates");
            match &*key {
                "arguments" | "input" | "args" | "partial_json" if at.part == Part::ToolInput || key != "input" => {
                    below.part = Part::ToolInput;
                    below.free = inner.kind() == Kind::Object;
                    // Whole, wherever it stands.
                    below.delta &= inner.kind() == Kind::String;
                }
                "tool_calls" | "functionCall" | "toolUse" => below.part = Part::ToolInput,
                "functionResponse" | "toolResult" => below.part = Part::ToolOutput,
                "response" if at.part == Part::ToolOutput => below.free = true,
                _ => {}
            }
        }
        walk(inner, below, leaf);
    }
}

/// By what an object says of itself.
fn part(value: Raw<'_>, outer: Part) -> Part {
    let says = |name: &str| value.get(name).and_then(Raw::as_str);
    match says("type").as_deref() {
        Some("tool_use" | "server_tool_use" | "function_call" | "mcp_call" | "custom_tool_call") => {
            return Part::ToolInput;
        }
        Some(kind) if kind.ends_with("tool_result") || kind.ends_with("_call_output") => return Part::ToolOutput,
        _ => {}
    }
    match says("role").as_deref() {
        Some("system" | "developer") => Part::System,
        Some("tool" | "function") => Part::ToolOutput,
        Some("user" | "assistant" | "model") => Part::Message,
        _ => outer,
    }
}

/// By what an object says of itself, or by what it is.
fn role(value: Raw<'_>, part: Part, outer: &'static str) -> &'static str {
    match (part, value.get("role").and_then(Raw::as_str).as_deref()) {
        (Part::ToolOutput, _) => "tool",
        (_, Some("assistant" | "model")) => "assistant",
        (_, Some("system" | "developer")) => "system",
        (_, Some("user")) => "user",
        _ => outer,
    }
}

/// FNV-1a, over what tells texts of one stream apart.
fn mixed(hash: u64, bytes: &[u8]) -> u64 {
    let seed = if hash == 0 { 0xcbf2_9ce4_8422_2325 } else { hash };
    bytes.iter().chain(&[0]).fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
