//! A request for a response, read.

use std::borrow::Cow;

use super::super::super::request::Fault;
use super::super::model::*;
use super::super::openai::{media_of_url, number, schema_of, tool_of};
use super::super::write::Text;
use super::SEALED;
use crate::json::{Kind as Json, Raw};

/// Reads the members of a body.
pub(in super::super) fn decode<'a>(
    members: impl Iterator<Item = (Cow<'a, str>, Raw<'a>)>,
    dropped: &mut Dropped,
) -> Result<Chat<'a>, Fault> {
    let mut chat = Chat { include_usage: true, ..Chat::default() };
    let mut input = None;
    for (key, value) in members.filter(|(_, it)| !it.is_null()) {
        match &*key {
            "model" | "stream" | "stream_options" => {}
            "input" => input = Some(value),
            "instructions" => {
                let parts = Text::of(value).into_iter().map(|it| Part::new(Kind::Text(it)));
                chat.system.splice(0..0, parts);
            }
            "max_output_tokens" => chat.max_tokens = value.text().parse().ok(),
            "temperature" => chat.temperature = number(value),
            "top_p" => chat.top_p = number(value),
            "user" => chat.user = Text::of(value),
            "safety_identifier" => chat.user = chat.user.take().or(Text::of(value)),
            "parallel_tool_calls" => chat.parallel = value.as_bool().filter(|it| !it),
            "reasoning" => {
                chat.thinking = value.get("effort").and_then(Raw::as_str).and_then(|it| Thinking::parse(&it));
            }
            "text" => text(value, &mut chat, dropped),
            "tools" => chat.tools = value.elements().filter_map(|it| tool(it, dropped)).collect(),
            "tool_choice" => chat.choice = choice(value, dropped),
            "previous_response_id" | "conversation" => {
                return Err(Fault::Kind("previous_response_id", "known to this provider: send the whole input"));
            }
            "background" if value.as_bool() == Some(true) => {
                return Err(Fault::Kind("background", "false, and this provider answers at once alone"));
            }
            "prompt" => return Err(Fault::Kind("prompt", "known to this provider: send the whole input")),
            // What they say when nothing is said, or ask for what is said anyway.
            "background" | "include" => {}
            "store" if value.as_bool() == Some(false) => {}
            "truncation" if value.text() == "\"disabled\"" => {}
            "service_tier" if value.text() == "\"auto\"" => {}
            _ => chat.rest.push((key, value)),
        }
    }
    let input = input.ok_or(Fault::Kind("input", "a text or an array"))?;
    match (Text::of(input), input.kind()) {
        (Some(text), _) => {
            chat.messages.push(Message { role: Role::User, parts: vec![Part::new(Kind::Text(text))] });
        }
        (None, Json::Array) => {
            for it in input.elements() {
                item(it, &mut chat, dropped)?;
            }
        }
        _ => return Err(Fault::Kind("input", "a text or an array")),
    }
    Ok(chat)
}

fn text<'a>(value: Raw<'a>, chat: &mut Chat<'a>, dropped: &mut Dropped) {
    for (key, value) in value.members().filter(|(_, it)| !it.is_null()) {
        match &*key {
            "format" => match value.get("type").and_then(Raw::as_str).as_deref() {
                Some("json_schema") => chat.format = schema_of(value),
                Some("json_object") => chat.format = Some(Format::Json),
                _ => {}
            },
            "verbosity" => chat.rest.push((key, value)),
            key => dropped.add_other("text.", key),
        }
    }
}

fn item<'a>(it: Raw<'a>, chat: &mut Chat<'a>, dropped: &mut Dropped) -> Result<(), Fault> {
    let text = |name: &str| it.get(name).and_then(Text::of);
    let kind = it.get("type").and_then(Raw::as_str);
    let (role, part) = match kind.as_deref() {
        Some("message") | None => return message(it, chat, dropped),
        Some("function_call") => {
            let id = text("call_id").ok_or(Fault::Kind("input.call_id", "a string"))?;
            let name = text("name").ok_or(Fault::Kind("input.name", "a string"))?;
            let input = Input::Text(text("arguments").unwrap_or_default());
            (Role::Assistant, Kind::Call(Call { id, name, input }))
        }
        Some("function_call_output") => {
            let id = text("call_id").ok_or(Fault::Kind("input.call_id", "a string"))?;
            let parts = it.get("output").map(|it| parts(it, dropped)).unwrap_or_default();
            (Role::User, Kind::Outcome(Outcome { id, parts, is_error: false }))
        }
        Some("reasoning") => {
            let said = ["summary", "content"].iter().filter_map(|name| it.get(name)).flat_map(Raw::elements);
            let mut texts = said.filter_map(|it| it.get("text").and_then(Text::of));
            let mut all = texts.next().unwrap_or_default();
            texts.for_each(|it| {
                all.push(&Text::part("\\n\\n"));
                all.push(&it);
            });
            let signature = text("encrypted_content");
            let sealed = signature.as_ref().and_then(|it| it.written().strip_prefix(SEALED).map(Text::plain));
            let kind = match sealed {
                Some(data) => Kind::Sealed(data),
                None => Kind::Thought { text: all, signature },
            };
            (Role::Assistant, kind)
        }
        Some(other) => {
            dropped.add_other("input.", other);
            return Ok(());
        }
    };
    push(chat, role, vec![Part::new(part)]);
    Ok(())
}

/// Items of one side that follow each other are one message.
fn push<'a>(chat: &mut Chat<'a>, role: Role, mut parts: Vec<Part<'a>>) {
    match chat.messages.last_mut().filter(|it| it.role == role && role == Role::Assistant) {
        Some(last) => last.parts.append(&mut parts),
        None => chat.messages.push(Message { role, parts }),
    }
}

fn message<'a>(it: Raw<'a>, chat: &mut Chat<'a>, dropped: &mut Dropped) -> Result<(), Fault> {
    let content = it.get("content").ok_or(Fault::Kind("input.content", "there"))?;
    let parts = parts(content, dropped);
    match it.get("role").and_then(Raw::as_str).as_deref() {
        Some("user") => push(chat, Role::User, parts),
        Some("assistant") => push(chat, Role::Assistant, parts),
        Some("system" | "developer") => chat.system.extend(parts),
        _ => return Err(Fault::Kind("input.role", "one of the roles that there are")),
    }
    Ok(())
}

fn parts<'a>(content: Raw<'a>, dropped: &mut Dropped) -> Vec<Part<'a>> {
    if let Some(text) = Text::of(content) {
        return Some(text).filter(|it| !it.is_empty()).map(|it| Part::new(Kind::Text(it))).into_iter().collect();
    }
    content.elements().filter_map(|it| part(it, dropped)).map(Part::new).collect()
}

fn part<'a>(it: Raw<'a>, dropped: &mut Dropped) -> Option<Kind<'a>> {
    let text = |name: &str| it.get(name).and_then(Text::of);
    let file = || text("file_id").map(Media::File);
    Some(match it.get("type").and_then(Raw::as_str).as_deref()? {
        "input_text" | "output_text" | "text" => Kind::Text(text("text")?),
        "refusal" => Kind::Refusal(text("refusal")?),
        "input_image" => {
            let media = text("image_url").map(media_of_url).or_else(file)?;
            Kind::Image(media, text("detail").filter(|it| !it.is("auto")))
        }
        "input_file" => {
            let media = text("file_data").or_else(|| text("file_url")).map(media_of_url).or_else(file)?;
            Kind::Document(media, text("filename"))
        }
        other => {
            dropped.add_other("input.content.", other);
            return None;
        }
    })
}

fn tool<'a>(it: Raw<'a>, dropped: &mut Dropped) -> Option<Tool<'a>> {
    match it.get("type").and_then(Raw::as_str).as_deref() {
        Some("function") | None => tool_of(it),
        Some(other) => {
            dropped.add_other("tools.", other);
            None
        }
    }
}

fn choice<'a>(value: Raw<'a>, dropped: &mut Dropped) -> Option<Choice<'a>> {
    match value.as_str().as_deref() {
        Some("auto") => return Some(Choice::Auto),
        Some("required") => return Some(Choice::Any),
        Some("none") => return Some(Choice::None),
        _ => {}
    }
    let name = value.get("name").and_then(Text::of);
    if name.is_none() {
        dropped.add("tool_choice");
    }
    name.map(Choice::Named)
}
