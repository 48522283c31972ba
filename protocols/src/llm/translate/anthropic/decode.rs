//! A request for messages, read.

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
            "model" | "stream" => {}
            "messages" => messages = Some(value),
            "max_tokens" => chat.max_tokens = value.text().parse().ok(),
            "system" => chat.system = blocks(value, "system", dropped),
            "temperature" => chat.temperature = number(value),
            "top_p" => chat.top_p = number(value),
            "top_k" => chat.top_k = number(value),
            "stop_sequences" => chat.stop = stop_of(value),
            "metadata" => chat.user = value.get("user_id").and_then(Text::of),
            "thinking" => chat.thinking = chat.thinking.or(thinking(value)),
            "output_config" => {
                let effort = value.get("effort").and_then(Raw::as_str).and_then(|it| Effort::parse(&it));
                chat.thinking = effort.map(Thinking::Effort).or(chat.thinking);
                chat.format = value.get("format").and_then(format).or(chat.format);
            }
            "output_format" => chat.format = format(value).or(chat.format),
            "tools" => chat.tools = value.elements().filter_map(|it| tool(it, dropped)).collect(),
            "tool_choice" => {
                chat.choice = choice(value);
                chat.parallel = value.get("disable_parallel_tool_use").and_then(Raw::as_bool).map(|it| !it);
            }
            "service_tier" if value.text() == "\"auto\"" => {}
            _ => chat.rest.push((key, value)),
        }
    }
    let messages = messages.filter(|it| it.kind() == Json::Array).ok_or(Fault::Kind("messages", "an array"))?;
    messages.records(|it| {
        let (mut role, mut content) = (None, None);
        for (key, value) in it {
            match &*key {
                "role" => role = value.as_str(),
                "content" => content = Some(value),
                key => dropped.add_other("messages.", key),
            }
        }
        let content = content.ok_or(Fault::Kind("messages.content", "there"))?;
        let parts = blocks(content, "messages.content", dropped);
        match role.as_deref() {
            Some("user") => chat.messages.push(Message { role: Role::User, parts }),
            Some("assistant") => chat.messages.push(Message { role: Role::Assistant, parts }),
            Some("system") => chat.system.extend(parts),
            _ => return Err(Fault::Kind("messages.role", "one of the roles that there are")),
        }
        Ok(())
    })?;
    Ok(chat)
}

fn thinking(it: Raw<'_>) -> Option<Thinking> {
    match it.get("type").and_then(Raw::as_str).as_deref() {
        Some("enabled") => Some(Thinking::Budget(it.get("budget_tokens")?.text().parse().ok()?)),
        Some("adaptive" | "between_tools") => Some(Thinking::Adaptive),
        Some("disabled") => Some(Thinking::Off),
        _ => None,
    }
}

fn format(it: Raw<'_>) -> Option<Format<'_>> {
    let schema = Cow::Borrowed(it.get("schema")?.text());
    Some(Format::Schema { name: None, schema, strict: None })
}

fn tool<'a>(it: Raw<'a>, dropped: &mut Dropped) -> Option<Tool<'a>> {
    let mut tool = Tool { name: Text::default(), description: None, parameters: None, strict: None, cache: None };
    for (key, value) in it.members().filter(|(_, it)| !it.is_null()) {
        match &*key {
            "name" => tool.name = Text::of(value)?,
            "description" => tool.description = Text::of(value),
            "input_schema" => tool.parameters = Some(Cow::Borrowed(value.text())),
            "strict" => tool.strict = value.as_bool(),
            "cache_control" => tool.cache = Some(cache_of(value)),
            // Tools that run at the provider.
            "type" if value.text() != "\"custom\"" => {
                dropped.add_other("tools.", &value.as_str().unwrap_or_default());
                return None;
            }
            "type" => {}
            key => dropped.add_other("tools.", key),
        }
    }
    Some(tool).filter(|it| !it.name.is_empty())
}

fn choice(it: Raw<'_>) -> Option<Choice<'_>> {
    match it.get("type").and_then(Raw::as_str).as_deref()? {
        "auto" => Some(Choice::Auto),
        "any" => Some(Choice::Any),
        "none" => Some(Choice::None),
        "tool" => it.get("name").and_then(Text::of).map(Choice::Named),
        _ => None,
    }
}

fn cache_of(it: Raw<'_>) -> Cache {
    match it.get("ttl").and_then(Raw::as_str).as_deref() {
        Some("1h") => Cache::Long,
        _ => Cache::Short,
    }
}

/// Content: a text, or blocks.
fn blocks<'a>(content: Raw<'a>, place: &'static str, dropped: &mut Dropped) -> Vec<Part<'a>> {
    if let Some(text) = Text::of(content) {
        return Some(text).filter(|it| !it.is_empty()).map(|it| Part::new(Kind::Text(it))).into_iter().collect();
    }
    content.elements().filter_map(|it| block(it, place, dropped)).collect()
}

/// Members of a block, whatever it is.
#[derive(Default)]
struct Members<'a> {
    text: Option<Text<'a>>,
    source: Option<Raw<'a>>,
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    input: Option<Raw<'a>>,
    content: Option<Raw<'a>>,
    is_error: bool,
    signature: Option<Text<'a>>,
    cache: Option<Cache>,
}

fn block<'a>(it: Raw<'a>, place: &'static str, dropped: &mut Dropped) -> Option<Part<'a>> {
    let mut kind = None;
    let mut of = Members::default();
    for (key, value) in it.members().filter(|(_, it)| !it.is_null()) {
        match &*key {
            "type" => kind = value.as_str(),
            "text" | "thinking" | "data" => of.text = Text::of(value),
            "source" => of.source = Some(value),
            "id" | "tool_use_id" => of.id = Text::of(value),
            "name" | "title" => of.name = Text::of(value),
            "input" => of.input = Some(value),
            "content" => of.content = Some(value),
            "is_error" => of.is_error = value.as_bool().unwrap_or(false),
            "signature" => of.signature = Text::of(value).filter(|it| !it.is_empty()),
            "cache_control" => of.cache = Some(cache_of(value)),
            "citations" if value.elements().next().is_none() && value.kind() == Json::Array => {}
            key => dropped.add_other(place, &format!(".{key}")),
        }
    }
    let kind = match kind.as_deref()? {
        "text" => Kind::Text(of.text?),
        "image" => Kind::Image(media(of.source?)?, None),
        "document" => Kind::Document(media(of.source?)?, of.name),
        "thinking" => Kind::Thought { text: of.text?, signature: of.signature },
        "redacted_thinking" => Kind::Sealed(of.text?),
        "tool_use" => {
            let input = of.input.map_or(Cow::Borrowed("{}"), |it| Cow::Borrowed(it.text()));
            Kind::Call(Call { id: of.id?, name: of.name?, input: Input::Json(input) })
        }
        "tool_result" => {
            let parts = of.content.map(|it| blocks(it, place, dropped)).unwrap_or_default();
            Kind::Outcome(Outcome { id: of.id?, parts, is_error: of.is_error })
        }
        other => {
            dropped.add_other(place, &format!(".{other}"));
            return None;
        }
    };
    Some(Part { kind, cache: of.cache })
}

fn media(source: Raw<'_>) -> Option<Media<'_>> {
    let (mut kind, mut mime, mut value) = (None, None, None);
    for (key, inner) in source.members() {
        match &*key {
            "type" => kind = inner.as_str(),
            "media_type" => mime = Text::of(inner),
            "data" | "url" | "file_id" => value = Text::of(inner),
            _ => {}
        }
    }
    match kind.as_deref()? {
        "base64" => Some(Media::Inline(mime?, value?)),
        "url" => value.map(Media::Url),
        "file" => value.map(Media::File),
        "text" => value.map(Media::Plain),
        _ => None,
    }
}
