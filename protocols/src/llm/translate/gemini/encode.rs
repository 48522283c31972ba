//! A request for content, written.

use super::super::Target;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::without_signature;
use crate::json::{self, Kind as Json};

/// Writes the body; the model stands in the path.
pub(in super::super) fn encode(chat: &Chat<'_>, to: &Target<'_>, out: &mut Vec<u8>, dropped: &mut Dropped) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    if !chat.system.is_empty() {
        json.object("systemInstruction");
        json.array("parts");
        let mut names = Vec::new();
        chat.system.iter().for_each(|it| part(json, it, &mut names, dropped));
        json.end_array();
        json.end();
    }
    contents(json, &chat.messages, dropped);
    settings(json, chat, to, dropped);
    tools(json, chat, dropped);
    if chat.user.is_some() {
        dropped.add("user");
    }
    chat.rest.iter().for_each(|(key, _)| dropped.add_other("", key));
    json.end();
}

/// Names of calls by their ids: what a tool says is told by its name there.
type Names<'c, 'a> = Vec<(&'c Text<'a>, &'c Text<'a>)>;

fn contents<'c, 'a>(json: &mut Writer<'_>, messages: &'c [Message<'a>], dropped: &mut Dropped) {
    json.array("contents");
    let mut open = None;
    let mut names: Names<'c, 'a> = Vec::new();
    for it in messages {
        if open != Some(it.role) {
            if open.is_some() {
                json.end_array();
                json.end();
            }
            open = Some(it.role);
            json.item();
            json.word("role", if it.role == Role::User { "user" } else { "model" });
            json.array("parts");
        }
        it.parts.iter().for_each(|it| part(json, it, &mut names, dropped));
    }
    if open.is_some() {
        json.end_array();
        json.end();
    }
    json.end_array();
}

fn part<'c, 'a>(json: &mut Writer<'_>, it: &'c Part<'a>, names: &mut Names<'c, 'a>, dropped: &mut Dropped) {
    if it.cache.is_some() {
        dropped.add("cache_control");
    }
    match &it.kind {
        Kind::Text(text) | Kind::Refusal(text) if text.is_empty() => {}
        Kind::Text(text) | Kind::Refusal(text) => {
            json.item();
            json.text("text", text);
            json.end();
        }
        Kind::Image(item, _) => media(json, item, "image/jpeg", dropped),
        Kind::Document(item, _) => media(json, item, "application/pdf", dropped),
        Kind::Audio(item) => media(json, item, "audio/wav", dropped),
        Kind::Call(call) => {
            names.push((&call.id, &call.name));
            let (id, signature) = without_signature(&call.id);
            json.item();
            json.object("functionCall");
            json.text("id", &id);
            json.text("name", &call.name);
            json.raw("args", &call.input.json());
            json.end();
            signature.iter().for_each(|it| json.text("thoughtSignature", it));
            json.end();
        }
        Kind::Outcome(outcome) => {
            let name = names.iter().rev().find(|(id, _)| **id == outcome.id).map_or(&outcome.id, |(_, name)| *name);
            json.item();
            json.object("functionResponse");
            json.text("id", &without_signature(&outcome.id).0);
            json.text("name", name);
            response(json, outcome);
            json.end();
            json.end();
            // Pictures stand beside what a tool says.
            for it in &outcome.parts {
                if !matches!(it.kind, Kind::Text(_) | Kind::Outcome(_)) {
                    part(json, it, names, dropped);
                }
            }
        }
        Kind::Thought { text, signature: Some(signature) } => {
            json.item();
            json.text("text", text);
            json.bool("thought", true);
            json.text("thoughtSignature", signature);
            json.end();
        }
        Kind::Thought { .. } | Kind::Sealed(_) => dropped.add("messages.thinking"),
    }
}

/// An object: as it is where it is one.
fn response(json: &mut Writer<'_>, outcome: &Outcome<'_>) {
    let mut texts = outcome.parts.iter().filter_map(|it| match &it.kind {
        Kind::Text(text) => Some(text),
        _ => None,
    });
    let mut text = texts.next().cloned().unwrap_or_default();
    texts.for_each(|it| text.push(it));
    let read = text.read();
    let is_object = json::parse(read.as_bytes()).is_ok_and(|it| it.kind() == Json::Object);
    if is_object && !outcome.is_error {
        return json.raw("response", &read);
    }
    json.object("response");
    json.text(if outcome.is_error { "error" } else { "output" }, &text);
    json.end();
}

fn media(json: &mut Writer<'_>, media: &Media<'_>, usual: &str, dropped: &mut Dropped) {
    match media {
        Media::Inline(mime, data) => {
            json.item();
            json.object("inlineData");
            json.text("mimeType", mime);
            json.text("data", data);
            json.end();
            json.end();
        }
        Media::Url(url) => {
            json.item();
            json.object("fileData");
            json.word("mimeType", mime_of(&url.read()).unwrap_or(usual));
            json.text("fileUri", url);
            json.end();
            json.end();
        }
        Media::Plain(text) => {
            json.item();
            json.text("text", text);
            json.end();
        }
        Media::File(_) => dropped.add("messages.file"),
    }
}

/// By the ending of an address.
fn mime_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    Some(match path.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    })
}

fn settings(json: &mut Writer<'_>, chat: &Chat<'_>, to: &Target<'_>, dropped: &mut Dropped) {
    json.object("generationConfig");
    for (key, value) in [
        ("temperature", chat.temperature),
        ("topP", chat.top_p),
        ("topK", chat.top_k),
        ("presencePenalty", chat.presence_penalty),
        ("frequencyPenalty", chat.frequency_penalty),
        ("seed", chat.seed),
    ] {
        value.iter().for_each(|it| json.raw(key, it));
    }
    chat.max_tokens.iter().for_each(|it| json.number("maxOutputTokens", *it));
    if !chat.stop.is_empty() {
        json.array("stopSequences");
        chat.stop.iter().for_each(|it| json.text_item(it));
        json.end_array();
    }
    match &chat.format {
        None => {}
        Some(Format::Json) => json.word("responseMimeType", "application/json"),
        Some(Format::Schema { schema, .. }) => {
            json.word("responseMimeType", "application/json");
            json.raw("responseJsonSchema", schema);
        }
    }
    if let Some(wanted) = chat.thinking {
        thinking(json, wanted, to.model.contains("gemini-3"));
    }
    if chat.parallel == Some(false) {
        dropped.add("parallel_tool_calls");
    }
    json.end();
}

fn thinking(json: &mut Writer<'_>, wanted: Thinking, by_level: bool) {
    json.object("thinkingConfig");
    if wanted != Thinking::Off {
        json.bool("includeThoughts", true);
    }
    let effort = match wanted {
        Thinking::Effort(effort) => Some(effort),
        Thinking::Budget(tokens) => Some(Effort::of_budget(tokens)),
        Thinking::Off => Some(Effort::Low),
        Thinking::Adaptive => None,
    };
    match wanted {
        _ if by_level => match effort {
            None => {}
            Some(Effort::Minimal) => json.word("thinkingLevel", "MINIMAL"),
            Some(Effort::Low) => json.word("thinkingLevel", "LOW"),
            Some(Effort::Medium) => json.word("thinkingLevel", "MEDIUM"),
            Some(Effort::High | Effort::Xhigh | Effort::Max) => json.word("thinkingLevel", "HIGH"),
        },
        Thinking::Off => json.number("thinkingBudget", 0),
        Thinking::Adaptive => json.raw("thinkingBudget", "-1"),
        Thinking::Budget(tokens) => json.number("thinkingBudget", tokens),
        Thinking::Effort(effort) => json.number("thinkingBudget", effort.budget()),
    }
    json.end();
}

fn tools(json: &mut Writer<'_>, chat: &Chat<'_>, dropped: &mut Dropped) {
    if chat.tools.is_empty() {
        return;
    }
    json.array("tools");
    json.item();
    json.array("functionDeclarations");
    for it in &chat.tools {
        if it.cache.is_some() {
            dropped.add("cache_control");
        }
        json.item();
        json.text("name", &it.name);
        it.description.iter().for_each(|it| json.text("description", it));
        it.parameters.iter().for_each(|it| json.raw("parametersJsonSchema", it));
        json.end();
    }
    json.end_array();
    json.end();
    json.end_array();
    let Some(choice) = &chat.choice else { return };
    json.object("toolConfig");
    json.object("functionCallingConfig");
    json.word(
        "mode",
        match choice {
            Choice::Auto => "AUTO",
            Choice::None => "NONE",
            Choice::Any | Choice::Named(_) => "ANY",
        },
    );
    if let Choice::Named(name) = choice {
        json.array("allowedFunctionNames");
        json.text_item(name);
        json.end_array();
    }
    json.end();
    json.end();
}
