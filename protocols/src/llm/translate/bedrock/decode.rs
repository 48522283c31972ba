//! A request for a conversation, read.

use std::borrow::Cow;

use super::super::super::request::Fault;
use super::super::model::*;
use super::super::openai::{number, stop_of};
use super::super::write::Text;
use crate::json::{Kind as Json, Raw};

/// Reads the members of a body.
pub(in super::super) fn decode<'a>(
    members: impl Iterator<Item = (Cow<'a, str>, Raw<'a>)>,
    dropped: &mut Dropped,
) -> Result<Chat<'a>, Fault> {
    let mut chat = Chat { include_usage: true, ..Chat::default() };
    let mut messages = None;
    for (key, value) in members.filter(|(_, it)| !it.is_null()) {
        match &*key {
            "messages" => messages = Some(value),
            "system" => chat.system = parts(value, dropped),
            "inferenceConfig" => {
                for (key, value) in value.members() {
                    match &*key {
                        "maxTokens" => chat.max_tokens = value.text().parse().ok(),
                        "temperature" => chat.temperature = number(value),
                        "topP" => chat.top_p = number(value),
                        "stopSequences" => chat.stop = stop_of(value),
                        key => dropped.add_other("inferenceConfig.", key),
                    }
                }
            }
            "toolConfig" => tools(value, &mut chat, dropped),
            "additionalModelRequestFields" => further(value, &mut chat, dropped),
            "outputConfig" => {
                if let Some(effort) = value.get("effort").and_then(Raw::as_str).and_then(|it| Effort::parse(&it)) {
                    chat.thinking = Some(Thinking::Effort(effort));
                }
                let structure = value.get("textFormat").and_then(|it| it.get("structure"));
                chat.format = structure.and_then(|it| it.get("jsonSchema")).and_then(schema);
            }
            _ => chat.rest.push((key, value)),
        }
    }
    let messages = messages.filter(|it| it.kind() == Json::Array).ok_or(Fault::Kind("messages", "an array"))?;
    for it in messages.elements() {
        let role = match it.get("role").and_then(Raw::as_str).as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => return Err(Fault::Kind("messages.role", "`user` or `assistant`")),
        };
        let content = it.get("content").filter(|it| it.kind() == Json::Array);
        let content = content.ok_or(Fault::Kind("messages.content", "an array"))?;
        chat.messages.push(Message { role, parts: parts(content, dropped) });
    }
    Ok(chat)
}

fn schema(it: Raw<'_>) -> Option<Format<'_>> {
    // It is JSON in a string there.
    let schema = it.get("schema").and_then(Raw::as_str).filter(|it| crate::json::parse(it.as_bytes()).is_ok())?;
    Some(Format::Schema { name: it.get("name").and_then(Text::of), schema, strict: None })
}

/// What models of Anthropic take beside the rest.
fn further<'a>(it: Raw<'a>, chat: &mut Chat<'a>, dropped: &mut Dropped) {
    for (key, value) in it.members().filter(|(_, it)| !it.is_null()) {
        match &*key {
            "top_k" => chat.top_k = number(value),
            "thinking" | "reasoning_config" => {
                let budget = value.get("budget_tokens").and_then(|it| it.text().parse().ok());
                chat.thinking = match (value.get("type").and_then(Raw::as_str).as_deref(), budget) {
                    (Some("enabled"), Some(budget)) => Some(Thinking::Budget(budget)),
                    (Some("adaptive"), _) => Some(Thinking::Adaptive),
                    (Some("disabled"), _) => Some(Thinking::Off),
                    _ => None,
                };
            }
            key => dropped.add_other("additionalModelRequestFields.", key),
        }
    }
}

/// Blocks; a mark for the cache belongs to what is before it.
fn parts<'a>(blocks: Raw<'a>, dropped: &mut Dropped) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    for block in blocks.elements() {
        for (key, value) in block.members().filter(|(_, it)| !it.is_null()) {
            if key == "cachePoint" {
                let long = value.get("ttl").and_then(Raw::as_str).as_deref() == Some("1h");
                let cache = Some(if long { Cache::Long } else { Cache::Short });
                parts.last_mut().into_iter().for_each(|it| it.cache = cache);
                continue;
            }
            match part(&key, value, dropped) {
                Some(kind) => parts.push(Part::new(kind)),
                None => dropped.add_other("messages.content.", &key),
            }
        }
    }
    parts
}

fn part<'a>(key: &str, it: Raw<'a>, dropped: &mut Dropped) -> Option<Kind<'a>> {
    let text = |name: &str| it.get(name).and_then(Text::of);
    Some(match key {
        "text" => Kind::Text(Text::of(it)?),
        "json" => Kind::Text(Text::plain(it.text())),
        "image" => Kind::Image(media(it, "image")?, None),
        "document" => Kind::Document(media(it, "application")?, text("name")),
        "audio" => Kind::Audio(media(it, "audio")?),
        "toolUse" => {
            let input = Input::Json(Cow::Borrowed(it.get("input").map_or("{}", Raw::text)));
            Kind::Call(Call { id: text("toolUseId")?, name: text("name")?, input })
        }
        "toolResult" => {
            let parts = it.get("content").map(|it| parts(it, dropped)).unwrap_or_default();
            let is_error = it.get("status").is_some_and(|it| it.text() == "\"error\"");
            Kind::Outcome(Outcome { id: text("toolUseId")?, parts, is_error })
        }
        "reasoningContent" => match it.get("reasoningText") {
            Some(said) => Kind::Thought {
                text: said.get("text").and_then(Text::of).unwrap_or_default(),
                signature: said.get("signature").and_then(Text::of),
            },
            None => Kind::Sealed(text("redactedContent")?),
        },
        _ => return None,
    })
}

fn media<'a>(it: Raw<'a>, family: &str) -> Option<Media<'a>> {
    let source = it.get("source")?;
    let format = it.get("format").and_then(Raw::as_str)?;
    let mime = match (family, &*format) {
        ("application", "txt" | "md" | "csv" | "html") => {
            format!("text/{}", if format == "txt" { "plain" } else { &format })
        }
        (family, format) => format!("{family}/{format}"),
    };
    if let Some(data) = source.get("bytes").and_then(Text::of) {
        return Some(Media::Inline(Text::plain(&mime), data));
    }
    source.get("text").and_then(Text::of).map(Media::Plain)
}

fn tools<'a>(value: Raw<'a>, chat: &mut Chat<'a>, dropped: &mut Dropped) {
    for it in value.get("tools").into_iter().flat_map(Raw::elements) {
        for (key, value) in it.members() {
            match &*key {
                "toolSpec" => chat.tools.extend(tool(value)),
                "cachePoint" => chat.tools.last_mut().into_iter().for_each(|it| it.cache = Some(Cache::Short)),
                key => dropped.add_other("toolConfig.tools.", key),
            }
        }
    }
    let choice = value.get("toolChoice").and_then(|it| it.members().next());
    chat.choice = choice.and_then(|(key, value)| match &*key {
        "auto" => Some(Choice::Auto),
        "any" => Some(Choice::Any),
        "tool" => value.get("name").and_then(Text::of).map(Choice::Named),
        _ => None,
    });
}

fn tool(it: Raw<'_>) -> Option<Tool<'_>> {
    let schema = it.get("inputSchema").and_then(|it| it.get("json"));
    Some(Tool {
        name: it.get("name").and_then(Text::of)?,
        description: it.get("description").and_then(Text::of),
        parameters: schema.map(|it| Cow::Borrowed(it.text())),
        strict: it.get("strict").and_then(Raw::as_bool),
        cache: None,
    })
}
