//! A request for chat completions, read.

use std::borrow::Cow;

use super::super::super::request::Fault;
use super::super::model::*;
use super::super::write::Text;
use crate::json::{Kind as Json, Members, Raw};

/// Reads the members of a body.
pub(in super::super) fn decode<'a>(
    members: impl Iterator<Item = (Cow<'a, str>, Raw<'a>)>,
    dropped: &mut Dropped,
) -> Result<Chat<'a>, Fault> {
    let mut chat = Chat::default();
    let mut messages = None;
    for (key, value) in members.filter(|(_, it)| !it.is_null()) {
        match &*key {
            "model" | "stream" => {}
            "messages" => messages = Some(value),
            "max_completion_tokens" => chat.max_tokens = whole(value),
            "max_tokens" => chat.max_tokens = chat.max_tokens.or(whole(value)),
            "temperature" => chat.temperature = number(value),
            "top_p" => chat.top_p = number(value),
            "top_k" => chat.top_k = number(value),
            "presence_penalty" => chat.presence_penalty = number(value).filter(|it| !is_zero(it)),
            "frequency_penalty" => chat.frequency_penalty = number(value).filter(|it| !is_zero(it)),
            "seed" => chat.seed = number(value),
            "stop" => chat.stop = stop_of(value),
            "user" => chat.user = Text::of(value),
            "safety_identifier" => chat.user = chat.user.take().or(Text::of(value)),
            "parallel_tool_calls" => chat.parallel = value.as_bool(),
            "reasoning_effort" => chat.thinking = value.as_str().and_then(|it| Thinking::parse(&it)),
            "response_format" => chat.format = format(value, dropped),
            "tools" => chat.tools.extend(value.elements().filter_map(|it| tool(it, dropped))),
            "functions" => chat.tools.extend(value.elements().filter_map(tool_of)),
            "tool_choice" | "function_call" => chat.choice = choice(value, dropped),
            "stream_options" => {
                chat.include_usage = value.get("include_usage").and_then(Raw::as_bool).unwrap_or(false);
            }
            // What they say when nothing is said.
            "n" if value.text() == "1" => {}
            "logprobs" | "store" if value.text() == "false" => {}
            "service_tier" if value.text() == "\"auto\"" => {}
            "modalities" if value.elements().all(|it| it.text() == "\"text\"") => {}
            _ => chat.rest.push((key, value)),
        }
    }
    let messages = messages.filter(|it| it.kind() == Json::Array).ok_or(Fault::Kind("messages", "an array"))?;
    messages.records(|it| message(it, &mut chat, dropped))?;
    Ok(chat)
}

pub(in super::super) fn number(value: Raw<'_>) -> Option<&str> {
    (value.kind() == Json::Number).then(|| value.text())
}

fn whole(value: Raw<'_>) -> Option<u64> {
    value.text().parse().ok()
}

fn is_zero(number: &str) -> bool {
    number.parse::<f64>().is_ok_and(|it| it.abs() < f64::EPSILON)
}

/// One, or a list of them.
pub(in super::super) fn stop_of(value: Raw<'_>) -> Vec<Text<'_>> {
    match value.kind() {
        Json::Array => value.elements().filter_map(Text::of).collect(),
        _ => Text::of(value).into_iter().collect(),
    }
}

fn message<'a>(it: &mut Members<'a>, chat: &mut Chat<'a>, dropped: &mut Dropped) -> Result<(), Fault> {
    let (mut role, mut content, mut calls, mut id) = (None, None, None, None);
    let (mut refusal, mut reasoning, mut blocks) = (None, None, None);
    for (key, value) in it.filter(|(_, it)| !it.is_null()) {
        match &*key {
            "role" => role = value.as_str(),
            "content" => content = Some(value),
            "tool_calls" => calls = Some(value),
            "tool_call_id" => id = Text::of(value),
            "refusal" => refusal = Text::of(value),
            "reasoning_content" | "reasoning" => reasoning = Text::of(value),
            "thinking_blocks" => blocks = Some(value),
            // What SDKs write of an answer that they send back.
            "annotations" | "audio" if value.elements().next().is_none() => {}
            key => dropped.add_other("messages.", key),
        }
    }
    let mut parts = Vec::new();
    match role.as_deref() {
        Some("system" | "developer") => {
            let text = parts_of(content, "messages.content", dropped).into_iter();
            chat.system.extend(text.filter(|it| matches!(it.kind, Kind::Text(_))));
            return Ok(());
        }
        Some("tool" | "function") => {
            let id = id.ok_or(Fault::Kind("messages.tool_call_id", "a string"))?;
            let said = parts_of(content, "messages.content", dropped);
            parts.push(Part::new(Kind::Outcome(Outcome { id, parts: said, is_error: false })));
            chat.messages.push(Message { role: Role::User, parts });
            return Ok(());
        }
        Some("user") => {
            let parts = parts_of(content, "messages.content", dropped);
            chat.messages.push(Message { role: Role::User, parts });
            return Ok(());
        }
        Some("assistant") => {}
        _ => return Err(Fault::Kind("messages.role", "one of the roles that there are")),
    }
    match blocks {
        Some(blocks) => parts.extend(blocks.elements().filter_map(thought)),
        None => parts.extend(reasoning.map(|text| Part::new(Kind::Thought { text, signature: None }))),
    }
    parts.extend(parts_of(content, "messages.content", dropped));
    parts.extend(refusal.map(|it| Part::new(Kind::Refusal(it))));
    for call in calls.into_iter().flat_map(Raw::elements) {
        match call.get("function").zip(call.get("id").and_then(Text::of)) {
            Some((function, id)) => {
                let name = function.get("name").and_then(Text::of).unwrap_or_default();
                let input = Input::Text(function.get("arguments").and_then(Text::of).unwrap_or_default());
                parts.push(Part::new(Kind::Call(Call { id, name, input })));
            }
            None => dropped.add("messages.tool_calls"),
        }
    }
    chat.messages.push(Message { role: Role::Assistant, parts });
    Ok(())
}

/// A thought as it was said to the client.
fn thought(it: Raw<'_>) -> Option<Part<'_>> {
    let text = |name: &str| it.get(name).and_then(Text::of);
    Some(Part::new(match text("data") {
        Some(data) => Kind::Sealed(data),
        None => Kind::Thought { text: text("thinking")?, signature: text("signature") },
    }))
}

/// Content: a text, or parts.
fn parts_of<'a>(content: Option<Raw<'a>>, place: &'static str, dropped: &mut Dropped) -> Vec<Part<'a>> {
    let Some(content) = content else { return Vec::new() };
    if let Some(text) = Text::of(content) {
        return Some(Part::new(Kind::Text(text))).filter(|_| content.text().len() > 2).into_iter().collect();
    }
    content.elements().filter_map(|it| part(it, place, dropped)).collect()
}

fn part<'a>(it: Raw<'a>, place: &'static str, dropped: &mut Dropped) -> Option<Part<'a>> {
    let (mut name, mut value, mut cache) = (None, None, None);
    for (key, inner) in it.members() {
        match &*key {
            "type" => name = inner.as_str(),
            "cache_control" | "prompt_cache_breakpoint" if !inner.is_null() => cache = Some(cache_of(inner)),
            "text" | "image_url" | "file" | "input_audio" | "refusal" => value = Some(inner),
            _ => {}
        }
    }
    let text = |name: &str| value.and_then(|it| it.get(name)).and_then(Text::of);
    let kind = match name.as_deref()? {
        "text" => Kind::Text(Text::of(value?)?),
        "refusal" => Kind::Refusal(Text::of(value?)?),
        "image_url" => {
            let url = text("url").or_else(|| Text::of(value?))?;
            Kind::Image(media_of_url(url), text("detail").filter(|it| !it.is("auto")))
        }
        "file" => {
            let media = match (text("file_data"), text("file_id")) {
                (Some(data), _) => media_of_url(data),
                (None, Some(id)) => Media::File(id),
                (None, None) => return None,
            };
            Kind::Document(media, text("filename"))
        }
        "input_audio" => {
            let mime = Text::plain(&format!("audio/{}", text("format")?.read()));
            Kind::Audio(Media::Inline(mime, text("data")?))
        }
        other => {
            dropped.add_other(place, &format!(".{other}"));
            return None;
        }
    };
    Some(Part { kind, cache })
}

/// How long what is marked is to be kept.
fn cache_of(it: Raw<'_>) -> Cache {
    match it.get("ttl").and_then(Raw::as_str).as_deref() {
        Some("1h" | "12h") => Cache::Long,
        _ => Cache::Short,
    }
}

/// `data:<media type>;base64,<bytes>`, or an address.
pub(in super::super) fn media_of_url(url: Text<'_>) -> Media<'_> {
    let inline = |url: &str| {
        let rest = url.strip_prefix("data:")?;
        let (head, data) = rest.split_once(',')?;
        Some((head.strip_suffix(";base64")?.len(), url.len() - data.len()))
    };
    if let Some(text) = url.unescaped()
        && let Some((mime, data)) = inline(text)
    {
        let part = |range| Text::part(text.get(range).unwrap_or_default());
        return Media::Inline(part(5..5 + mime), part(data..text.len()));
    }
    let read = url.read().into_owned();
    match inline(&read) {
        Some((mime, data)) => Media::Inline(
            Text::plain(read.get(5..5 + mime).unwrap_or_default()),
            Text::plain(read.get(data..).unwrap_or_default()),
        ),
        None => Media::Url(url),
    }
}

fn tool<'a>(it: Raw<'a>, dropped: &mut Dropped) -> Option<Tool<'a>> {
    match (it.get("type").and_then(Raw::as_str).as_deref(), it.get("function")) {
        (Some("function") | None, Some(function)) => {
            let mut tool = tool_of(function)?;
            tool.cache = it.get("cache_control").filter(|it| !it.is_null()).map(cache_of);
            Some(tool)
        }
        (kind, _) => {
            dropped.add_other("tools.", kind.unwrap_or("untyped"));
            None
        }
    }
}

/// Name, description and parameters as members of one object.
pub(in super::super) fn tool_of(it: Raw<'_>) -> Option<Tool<'_>> {
    let mut tool = Tool { name: Text::default(), description: None, parameters: None, strict: None, cache: None };
    for (key, value) in it.members().filter(|(_, it)| !it.is_null()) {
        match &*key {
            "name" => tool.name = Text::of(value)?,
            "description" => tool.description = Text::of(value),
            "parameters" => tool.parameters = Some(Cow::Borrowed(value.text())),
            "strict" => tool.strict = value.as_bool(),
            _ => {}
        }
    }
    Some(tool).filter(|it| !it.name.is_empty())
}

fn choice<'a>(value: Raw<'a>, dropped: &mut Dropped) -> Option<Choice<'a>> {
    match value.as_str().as_deref() {
        Some("auto") => return Some(Choice::Auto),
        Some("required") => return Some(Choice::Any),
        Some("none") => return Some(Choice::None),
        _ => {}
    }
    let name = value.get("function").unwrap_or(value).get("name").and_then(Text::of);
    if name.is_none() {
        dropped.add("tool_choice");
    }
    name.map(Choice::Named)
}

fn format<'a>(value: Raw<'a>, dropped: &mut Dropped) -> Option<Format<'a>> {
    match value.get("type").and_then(Raw::as_str).as_deref() {
        Some("text") | None => None,
        Some("json_object") => Some(Format::Json),
        Some("json_schema") => value.get("json_schema").and_then(schema_of),
        Some(_) => {
            dropped.add("response_format");
            None
        }
    }
}

/// A schema with its name.
pub(in super::super) fn schema_of(it: Raw<'_>) -> Option<Format<'_>> {
    Some(Format::Schema {
        name: it.get("name").and_then(Text::of),
        schema: Cow::Borrowed(it.get("schema")?.text()),
        strict: it.get("strict").and_then(Raw::as_bool),
    })
}
