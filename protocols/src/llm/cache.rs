//! Marks that tell a provider up to where to keep a prompt: Anthropic's `cache_control`, Bedrock's `cachePoint`.
//!
//! They stand behind what does not change from request to request: the tools, the system's prompt, the messages so far. A
//! request in which the client has set marks itself gets none, and neither does what is shorter than is worth keeping.

use super::edit::Edits;
use super::request::Request;
use super::route::Operation;
use crate::json::{Kind, Raw};

/// Where marks are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub tools: bool,
    pub system: bool,
    pub messages: bool,
    /// Tokens, about, from the beginning up to a mark: with fewer there is none.
    pub tokens_min: u64,
    /// The message behind which the mark of messages stands, counted from the last one.
    pub offset: usize,
}

/// Bytes of text that a token is, about.
const TOKEN_BYTES: usize = 4;

const CONTROL: &str = r#""cache_control":{"type":"ephemeral"}"#;
const POINT: &str = r#"{"cachePoint":{"type":"default"}}"#;

/// Blocks that Anthropic takes no mark on.
const UNMARKED: [&str; 2] = ["thinking", "redacted_thinking"];

/// Sets marks in a request to a provider that has them.
pub fn mark(operation: Operation, body: &[u8], request: &Request<'_>, marks: &Marks, edits: &mut Edits) {
    let (tools, own) = match operation {
        Operation::Messages => (request.given("tools"), &b"\"cache_control\""[..]),
        Operation::Converse => (request.given("toolConfig").and_then(|it| it.get("tools")), &b"\"cachePoint\""[..]),
        _ => return,
    };
    if memchr::memmem::find(body, own).is_some() {
        return;
    }
    let bedrock = operation == Operation::Converse;
    let length = |it: Option<Raw<'_>>| it.map_or(0, |it| it.range().len());
    let worth = |bytes: usize| (bytes / TOKEN_BYTES) as u64 >= marks.tokens_min;
    let mut bytes = length(tools);
    if let Some(tools) = tools.filter(|_| marks.tools && worth(bytes)) {
        behind(edits, tools, bedrock);
    }
    let system = request.given("system");
    bytes += length(system);
    if let Some(system) = system.filter(|_| marks.system && worth(bytes)) {
        behind(edits, system, bedrock);
    }
    let Some(messages) = request.given("messages").filter(|it| marks.messages && it.kind() == Kind::Array) else {
        return;
    };
    let messages: Vec<Raw<'_>> = messages.elements().collect();
    let Some(kept) = messages.len().checked_sub(1 + marks.offset).and_then(|last| messages.get(..=last)) else {
        return;
    };
    bytes += kept.iter().map(|it| it.range().len()).sum::<usize>();
    if let Some(content) = kept.last().and_then(|it| it.get("content")).filter(|_| worth(bytes)) {
        behind(edits, content, bedrock);
    }
}

/// A mark behind all of a list of blocks, or behind a text, which becomes one.
fn behind(edits: &mut Edits, blocks: Raw<'_>, bedrock: bool) {
    let range = blocks.range();
    match blocks.kind() {
        Kind::Array if bedrock && blocks.elements().next().is_some() => {
            edits.insert(range.end - 1, format!(",{POINT}"));
        }
        Kind::Array => {
            let takes = |it: &Raw<'_>| {
                let is = |name: &str| it.get(name).and_then(Raw::as_str);
                let empty = is("text").is_some_and(|text| text.is_empty());
                it.kind() == Kind::Object && !empty && !is("type").is_some_and(|kind| UNMARKED.contains(&&*kind))
            };
            if let Some(last) = blocks.elements().filter(takes).last() {
                let comma = if last.members().next().is_some() { "," } else { "" };
                edits.insert(last.range().end - 1, format!("{comma}{CONTROL}"));
            }
        }
        Kind::String if !bedrock && range.len() > 2 => {
            edits.insert(range.start, r#"[{"type":"text","text":"#);
            edits.insert(range.end, format!(",{CONTROL}}}]"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::llm::scan;

    const ALL: Marks = Marks { tools: true, system: true, messages: true, tokens_min: 0, offset: 0 };

    #[track_caller]
    fn check(operation: Operation, body: &str, marks: Marks, want: &str) {
        let mut edits = Edits::default();
        mark(operation, body.as_bytes(), &scan(operation, body.as_bytes()).unwrap(), &marks, &mut edits);
        let got = edits.apply(&Bytes::copy_from_slice(body.as_bytes())).concat();
        let want = want.replace("CONTROL", CONTROL).replace("POINT", POINT);
        assert_eq!(String::from_utf8(got).unwrap(), want);
        serde_json::from_str::<serde_json::Value>(&want).unwrap();
    }

    #[test]
    fn marks_stand_behind_what_stays_the_same() {
        check(
            Operation::Messages,
            r#"{"tools":[{"name":"a"}, {"name":"b" } ],"system":"s","messages":[{"content":"x"},{"content":[{"type":"text","text":"y"},{"type":"thinking"}]}]}"#,
            ALL,
            r#"{"tools":[{"name":"a"}, {"name":"b" ,CONTROL} ],"system":[{"type":"text","text":"s",CONTROL}],"messages":[{"content":"x"},{"content":[{"type":"text","text":"y",CONTROL},{"type":"thinking"}]}]}"#,
        );
        check(
            Operation::Messages,
            r#"{"system":[{"text":"s"}],"messages":[{"content":"x"},{"content":"y"}]}"#,
            Marks { system: false, offset: 1, ..ALL },
            r#"{"system":[{"text":"s"}],"messages":[{"content":[{"type":"text","text":"x",CONTROL}]},{"content":"y"}]}"#,
        );
        check(
            Operation::Converse,
            r#"{"toolConfig":{"tools":[{}]},"system":[{"text":"s"}],"messages":[{"content":[{"text":"x"}]}]}"#,
            ALL,
            r#"{"toolConfig":{"tools":[{},POINT]},"system":[{"text":"s"},POINT],"messages":[{"content":[{"text":"x"},POINT]}]}"#,
        );
    }

    #[test]
    fn what_is_short_is_marked_by_the_client_or_has_no_marks_stays_as_it_is() {
        let text = "x".repeat(400);
        let body = format!(r#"{{"system":"{text}","messages":[{{"content":"y"}}]}}"#);
        let long =
            format!(r#"{{"system":[{{"type":"text","text":"{text}",CONTROL}}],"messages":[{{"content":"y"}}]}}"#);
        check(Operation::Messages, &body, Marks { tokens_min: 100, messages: false, ..ALL }, &long);
        for (operation, body, marks) in [
            (Operation::Messages, body.as_str(), Marks { tokens_min: 200, ..ALL }),
            (Operation::Messages, r#"{"system":"s","messages":[],"cache_control":{}}"#, ALL),
            (Operation::Messages, r#"{"messages":[{"content":""}],"tools":[],"system":[{"text":""}]}"#, ALL),
            (Operation::Messages, r#"{"messages":[{"content":"x"}]}"#, Marks { offset: 1, ..ALL }),
            (Operation::Converse, r#"{"system":[{"cachePoint":{}}],"messages":[{"content":[1]}]}"#, ALL),
            (Operation::Completions, r#"{"messages":[{"content":"x"}]}"#, ALL),
        ] {
            check(operation, body, marks, body);
        }
    }
}
