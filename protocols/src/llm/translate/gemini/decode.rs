//! A request for content, read.

use std::borrow::Cow;

use super::super::super::request::Fault;
use super::super::model::*;
use super::super::openai::{number, stop_of};
use super::super::write::Text;
use super::from_base64;
use crate::json::{Kind as Json, Raw};

/// Reads the members of a body.
pub(in super::super) fn decode<'a>(
    members: impl Iterator<Item = (Cow<'a, str>, Raw<'a>)>,
    dropped: &mut Dropped,
) -> Result<Chat<'a>, Fault> {
    let mut chat = Chat { include_usage: true, ..Chat::default() };
    let mut contents = None;
    for (key, value) in members.filter(|(_, it)| !it.is_null()) {
        match &*key {
            "model" => {}
            "contents" => contents = Some(value),
            "systemInstruction" | "system_instruction" => {
                let parts = value.get("parts").into_iter().flat_map(Raw::elements);
                let texts = parts.filter_map(|it| it.get("text").and_then(Text::of));
                chat.system = texts.map(|it| Part::new(Kind::Text(it))).collect();
            }
            "generationConfig" | "generation_config" => settings(value, &mut chat, dropped),
            "tools" => value.elements().for_each(|it| tools(it, &mut chat, dropped)),
            "toolConfig" | "tool_config" => {
                let config = value.get("functionCallingConfig").or_else(|| value.get("function_calling_config"));
                chat.choice = config.and_then(choice);
            }
            _ => chat.rest.push((key, value)),
        }
    }
    let contents = contents.ok_or(Fault::Kind("contents", "an array"))?;
    let mut calls = Calls::default();
    match contents.kind() {
        Json::Array => {
            for it in contents.elements() {
                content(it, &mut chat, &mut calls, dropped)?;
            }
        }
        Json::Object => content(contents, &mut chat, &mut calls, dropped)?,
        _ => return Err(Fault::Kind("contents", "an array")),
    }
    Ok(chat)
}

/// Calls so far: their ids, their names, and whether they were answered.
#[derive(Default)]
struct Calls<'a>(Vec<(Text<'a>, Text<'a>, bool)>);

impl<'a> Calls<'a> {
    fn begin(&mut self, id: Option<Text<'a>>, name: &Text<'a>) -> Text<'a> {
        let id = id.unwrap_or_else(|| Text::plain(&format!("call_{}", self.0.len())));
        self.0.push((id.clone(), name.clone(), false));
        id
    }

    /// The call that this answers: by its id, else the first of its name that is open.
    fn answer(&mut self, id: Option<Text<'a>>, name: &Text<'a>) -> Text<'a> {
        let found = self.0.iter_mut().find(|(own, called, answered)| match &id {
            Some(id) => own == id,
            None => called == name && !*answered,
        });
        match found {
            Some((own, _, answered)) => {
                *answered = true;
                own.clone()
            }
            None => id.unwrap_or_else(|| name.clone()),
        }
    }
}

fn content<'a>(it: Raw<'a>, chat: &mut Chat<'a>, calls: &mut Calls<'a>, dropped: &mut Dropped) -> Result<(), Fault> {
    let (mut role, mut parts) = (Role::User, Vec::new());
    for (key, value) in it.members() {
        match &*key {
            "role" => match value.as_str().as_deref() {
                Some("model") => role = Role::Assistant,
                Some("user" | "function") | None => {}
                Some(_) => return Err(Fault::Kind("contents.role", "`user` or `model`")),
            },
            "parts" if value.kind() == Json::Array => {
                parts = value.elements().filter_map(|it| part(it, calls, dropped)).collect();
            }
            "parts" => parts = part(value, calls, dropped).into_iter().collect(),
            key => dropped.add_other("contents.", key),
        }
    }
    chat.messages.push(Message { role, parts });
    Ok(())
}

fn part<'a>(it: Raw<'a>, calls: &mut Calls<'a>, dropped: &mut Dropped) -> Option<Part<'a>> {
    let (mut kind, mut thought, mut signature) = (None, false, None);
    for (key, value) in it.members().filter(|(_, it)| !it.is_null()) {
        match &*key {
            "text" => kind = Text::of(value).map(Kind::Text),
            "inlineData" | "inline_data" => {
                let mime = mime(value)?;
                kind = Some(of_mime(Media::Inline(mime.clone(), value.get("data").and_then(Text::of)?), &mime));
            }
            "fileData" | "file_data" => {
                let url = value.get("fileUri").or_else(|| value.get("file_uri")).and_then(Text::of)?;
                let mime = mime(value).unwrap_or_else(|| Text::part("image/"));
                kind = Some(of_mime(Media::Url(url), &mime));
            }
            "functionCall" | "function_call" => {
                let name = value.get("name").and_then(Text::of)?;
                let id = calls.begin(value.get("id").and_then(Text::of), &name);
                let input = value.get("args").map_or("{}", Raw::text);
                kind = Some(Kind::Call(Call { id, name, input: Input::Json(Cow::Borrowed(input)) }));
            }
            "functionResponse" | "function_response" => {
                let name = value.get("name").and_then(Text::of)?;
                let id = calls.answer(value.get("id").and_then(Text::of), &name);
                kind = Some(Kind::Outcome(outcome(id, value.get("response"))));
            }
            "thought" => thought = value.as_bool().unwrap_or(false),
            "thoughtSignature" | "thought_signature" => signature = Text::of(value).map(from_base64),
            key => dropped.add_other("contents.parts.", key),
        }
    }
    let kind = match kind? {
        Kind::Text(text) if thought => Kind::Thought { text, signature },
        kind => kind,
    };
    Some(Part::new(kind))
}

fn mime(it: Raw<'_>) -> Option<Text<'_>> {
    it.get("mimeType").or_else(|| it.get("mime_type")).and_then(Text::of)
}

fn of_mime<'a>(media: Media<'a>, mime: &Text<'_>) -> Kind<'a> {
    let mime = mime.read();
    match mime.split('/').next() {
        Some("image") => Kind::Image(media, None),
        Some("audio") => Kind::Audio(media),
        _ => Kind::Document(media, None),
    }
}

/// What a tool said: the text where there is nothing else, and else the whole of it.
fn outcome<'a>(id: Text<'a>, response: Option<Raw<'a>>) -> Outcome<'a> {
    let mut members = response.into_iter().flat_map(Raw::members);
    let (first, second) = (members.next(), members.next());
    let is_error = first.as_ref().is_some_and(|(key, _)| key == "error");
    let alone = first.filter(|(key, _)| second.is_none() && matches!(&**key, "result" | "output" | "error"));
    let text = match (alone.and_then(|(_, it)| Text::of(it)), response) {
        (Some(text), _) => text,
        (None, Some(response)) => Text::plain(response.text()),
        (None, None) => Text::default(),
    };
    Outcome { id, parts: vec![Part::new(Kind::Text(text))], is_error }
}

fn settings<'a>(value: Raw<'a>, chat: &mut Chat<'a>, dropped: &mut Dropped) {
    let (mut json, mut schema) = (false, None);
    for (key, value) in value.members().filter(|(_, it)| !it.is_null()) {
        match &*key {
            "temperature" => chat.temperature = number(value),
            "topP" | "top_p" => chat.top_p = number(value),
            "topK" | "top_k" => chat.top_k = number(value),
            "maxOutputTokens" | "max_output_tokens" => chat.max_tokens = value.text().parse().ok(),
            "stopSequences" | "stop_sequences" => chat.stop = stop_of(value),
            "seed" => chat.seed = number(value),
            "presencePenalty" | "presence_penalty" => chat.presence_penalty = number(value),
            "frequencyPenalty" | "frequency_penalty" => chat.frequency_penalty = number(value),
            "responseMimeType" | "response_mime_type" => json = value.text() == "\"application/json\"",
            "responseSchema" | "response_schema" => schema = Some(Cow::Owned(lower_types(value.text()))),
            "responseJsonSchema" | "response_json_schema" => schema = Some(Cow::Borrowed(value.text())),
            "thinkingConfig" | "thinking_config" => chat.thinking = thinking(value),
            "candidateCount" | "candidate_count" if value.text() == "1" => {}
            key => dropped.add_other("generationConfig.", key),
        }
    }
    chat.format = match schema {
        Some(schema) => Some(Format::Schema { name: None, schema, strict: None }),
        None => json.then_some(Format::Json),
    };
}

fn thinking(it: Raw<'_>) -> Option<Thinking> {
    let (mut budget, mut level) = (None, None);
    for (key, value) in it.members() {
        match &*key {
            "thinkingBudget" | "thinking_budget" => budget = value.text().parse::<i64>().ok(),
            "thinkingLevel" | "thinking_level" => level = value.as_str(),
            _ => {}
        }
    }
    if let Some(effort) = level.and_then(|it| Effort::parse(&it.to_ascii_lowercase())) {
        return Some(Thinking::Effort(effort));
    }
    Some(match budget? {
        0 => Thinking::Off,
        tokens => u64::try_from(tokens).map_or(Thinking::Adaptive, Thinking::Budget),
    })
}

fn tools<'a>(it: Raw<'a>, chat: &mut Chat<'a>, dropped: &mut Dropped) {
    for (key, value) in it.members() {
        match &*key {
            "functionDeclarations" | "function_declarations" => {
                chat.tools.extend(value.elements().filter_map(declared));
            }
            key => dropped.add_other("tools.", key),
        }
    }
}

fn declared(it: Raw<'_>) -> Option<Tool<'_>> {
    let mut tool = Tool { name: Text::default(), description: None, parameters: None, strict: None, cache: None };
    for (key, value) in it.members().filter(|(_, it)| !it.is_null()) {
        match &*key {
            "name" => tool.name = Text::of(value)?,
            "description" => tool.description = Text::of(value),
            "parameters" => tool.parameters = Some(Cow::Owned(lower_types(value.text()))),
            "parametersJsonSchema" | "parameters_json_schema" => tool.parameters = Some(Cow::Borrowed(value.text())),
            _ => {}
        }
    }
    Some(tool).filter(|it| !it.name.is_empty())
}

/// Google's schemas write types in capitals, and nobody else does.
fn lower_types(schema: &str) -> String {
    let mut out = String::with_capacity(schema.len());
    let mut rest = schema;
    while let Some(at) = rest.find("\"type\"") {
        let (before, found) = rest.split_at(at + 6);
        out.push_str(before);
        let gap = found.len() - found.trim_start_matches([' ', '\t', '\n', '\r', ':']).len();
        let (gap, value) = found.split_at(gap);
        out.push_str(gap);
        let length = value.strip_prefix('"').and_then(|it| it.find('"')).map_or(0, |it| it + 2);
        let (value, after) = value.split_at(length);
        let word = value.trim_matches('"');
        let is_type = gap.contains(':')
            && matches!(word, "STRING" | "NUMBER" | "INTEGER" | "BOOLEAN" | "ARRAY" | "OBJECT" | "NULL");
        out.push_str(&if is_type { value.to_ascii_lowercase() } else { value.to_owned() });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn choice(it: Raw<'_>) -> Option<Choice<'_>> {
    let names = it.get("allowedFunctionNames").or_else(|| it.get("allowed_function_names"));
    let mut names = names.into_iter().flat_map(Raw::elements).filter_map(Text::of);
    match it.get("mode").and_then(Raw::as_str).as_deref()? {
        "AUTO" => Some(Choice::Auto),
        "NONE" => Some(Choice::None),
        "ANY" | "VALIDATED" => Some(match (names.next(), names.next()) {
            (Some(name), None) => Choice::Named(name),
            _ => Choice::Any,
        }),
        _ => None,
    }
}
