//! A request for chat completions, written.

use std::borrow::Borrow;

use super::super::super::Dialect;
use super::super::Target;
use super::super::model::*;
use super::super::write::{Text, Writer};

/// Writes the body for this model.
pub(in super::super) fn encode(chat: &Chat<'_>, to: &Target<'_>, out: &mut Vec<u8>, dropped: &mut Dropped) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    json.escaped("model", to.model);
    json.array("messages");
    system(json, &chat.system, to, dropped);
    for it in &chat.messages {
        match it.role {
            Role::User => user(json, it, to, dropped),
            Role::Assistant => assistant(json, it, dropped),
        }
    }
    json.end_array();
    settings(json, chat, to, dropped);
    tools(json, chat, dropped);
    if to.stream {
        json.bool("stream", true);
        json.raw("stream_options", "{\"include_usage\":true}");
    }
    for (key, value) in &chat.rest {
        match to.client == Dialect::OpenAi && shared(key) {
            true => json.raw(key, value.text()),
            false => dropped.add_other("", key),
        }
    }
    json.end();
}

/// What both of OpenAI's dialects say alike.
fn shared(key: &str) -> bool {
    matches!(
        key,
        "metadata"
            | "store"
            | "service_tier"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "prompt_cache_options"
            | "top_logprobs"
            | "verbosity"
            | "moderation"
    )
}

fn settings(json: &mut Writer<'_>, chat: &Chat<'_>, to: &Target<'_>, dropped: &mut Dropped) {
    if let Some(tokens) = chat.max_tokens {
        let own = ["gpt-", "o1", "o3", "o4", "chatgpt-"].iter().any(|it| to.model.starts_with(it));
        json.number(if own { "max_completion_tokens" } else { "max_tokens" }, tokens);
    }
    for (key, value) in [
        ("temperature", chat.temperature),
        ("top_p", chat.top_p),
        ("presence_penalty", chat.presence_penalty),
        ("frequency_penalty", chat.frequency_penalty),
        ("seed", chat.seed),
    ] {
        value.iter().for_each(|it| json.raw(key, it));
    }
    if chat.top_k.is_some() {
        dropped.add("top_k");
    }
    if !chat.stop.is_empty() {
        json.array("stop");
        chat.stop.iter().for_each(|it| json.text_item(it));
        json.end_array();
    }
    chat.user.iter().for_each(|it| json.text("user", it));
    let effort = match chat.thinking {
        None | Some(Thinking::Off) => None,
        Some(Thinking::Budget(tokens)) => Some(Effort::of_budget(tokens)),
        Some(Thinking::Adaptive) => Some(Effort::High),
        Some(Thinking::Effort(effort)) => Some(effort),
    };
    match effort {
        // Models that do not think refuse to be asked to.
        Some(_) if ["gpt-3", "gpt-4", "chatgpt-4"].iter().any(|it| to.model.starts_with(it)) => {
            dropped.add("thinking");
        }
        Some(effort) => json.word("reasoning_effort", effort.name()),
        None => {}
    }
    match &chat.format {
        None => {}
        Some(Format::Json) => json.raw("response_format", "{\"type\":\"json_object\"}"),
        Some(Format::Schema { name, schema, strict }) => {
            json.object("response_format");
            json.word("type", "json_schema");
            json.object("json_schema");
            json.text("name", name.as_ref().unwrap_or(&Text::part("structured_output")));
            json.raw("schema", schema);
            strict.iter().for_each(|it| json.bool("strict", *it));
            json.end();
            json.end();
        }
    }
}

fn tools(json: &mut Writer<'_>, chat: &Chat<'_>, dropped: &mut Dropped) {
    if chat.tools.is_empty() {
        return;
    }
    json.array("tools");
    for it in &chat.tools {
        if it.cache.is_some() {
            dropped.add("cache_control");
        }
        json.item();
        json.word("type", "function");
        json.object("function");
        json.text("name", &it.name);
        it.description.iter().for_each(|it| json.text("description", it));
        it.parameters.iter().for_each(|it| json.raw("parameters", it));
        it.strict.iter().for_each(|it| json.bool("strict", *it));
        json.end();
        json.end();
    }
    json.end_array();
    match &chat.choice {
        None => {}
        Some(Choice::Auto) => json.word("tool_choice", "auto"),
        Some(Choice::Any) => json.word("tool_choice", "required"),
        Some(Choice::None) => json.word("tool_choice", "none"),
        Some(Choice::Named(name)) => {
            json.object("tool_choice");
            json.word("type", "function");
            json.object("function");
            json.text("name", name);
            json.end();
            json.end();
        }
    }
    chat.parallel.iter().for_each(|it| json.bool("parallel_tool_calls", *it));
}

fn system(json: &mut Writer<'_>, parts: &[Part<'_>], to: &Target<'_>, dropped: &mut Dropped) {
    if parts.is_empty() {
        return;
    }
    json.item();
    json.word("role", "system");
    content(json, parts, to, dropped);
    json.end();
}

/// What tools said stands in messages of its own, before what the user says beside it.
fn user(json: &mut Writer<'_>, it: &Message<'_>, to: &Target<'_>, dropped: &mut Dropped) {
    if !it.parts.iter().any(|it| matches!(it.kind, Kind::Outcome(_))) {
        json.item();
        json.word("role", "user");
        content(json, &it.parts, to, dropped);
        return json.end();
    }
    let mut shown: Vec<&Part<'_>> = Vec::with_capacity(it.parts.len());
    for part in &it.parts {
        let Kind::Outcome(outcome) = &part.kind else { continue };
        if outcome.is_error {
            dropped.add("tool_result.is_error");
        }
        json.item();
        json.word("role", "tool");
        json.text("tool_call_id", &outcome.id);
        let (text, other): (Vec<_>, Vec<_>) = outcome.parts.iter().partition(|it| matches!(it.kind, Kind::Text(_)));
        content(json, &text, to, dropped);
        json.end();
        // Pictures have no place in what a tool says: they follow it.
        shown.extend(other);
    }
    let rest = it.parts.iter().filter(|it| !matches!(it.kind, Kind::Outcome(_)));
    shown.extend(rest);
    if shown.is_empty() && !it.parts.is_empty() {
        return;
    }
    json.item();
    json.word("role", "user");
    content(json, &shown, to, dropped);
    json.end();
}

fn assistant(json: &mut Writer<'_>, it: &Message<'_>, dropped: &mut Dropped) {
    json.item();
    json.word("role", "assistant");
    let texts = || {
        it.parts.iter().filter_map(|it| match &it.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        })
    };
    match (texts().next(), texts().nth(1)) {
        (None, _) => json.raw("content", "null"),
        (Some(text), None) => json.text("content", text),
        _ => {
            json.array("content");
            for text in texts() {
                json.item();
                json.word("type", "text");
                json.text("text", text);
                json.end();
            }
            json.end_array();
        }
    }
    let calls = it.parts.iter().filter_map(|it| match &it.kind {
        Kind::Call(call) => Some(call),
        _ => None,
    });
    let mut calls = calls.peekable();
    if calls.peek().is_some() {
        json.array("tool_calls");
        for call in calls {
            json.item();
            json.text("id", &call.id);
            json.word("type", "function");
            json.object("function");
            json.text("name", &call.name);
            match &call.input {
                Input::Json(it) => json.escaped("arguments", it),
                Input::Text(it) => json.text("arguments", it),
            }
            json.end();
            json.end();
        }
        json.end_array();
    }
    for part in &it.parts {
        match &part.kind {
            Kind::Refusal(text) => json.text("refusal", text),
            Kind::Thought { .. } | Kind::Sealed(_) => dropped.add("messages.thinking"),
            Kind::Image(..) => dropped.add("messages.image"),
            Kind::Document(..) => dropped.add("messages.document"),
            Kind::Text(_) | Kind::Audio(_) | Kind::Call(_) | Kind::Outcome(_) => {}
        }
        if part.cache.is_some() {
            dropped.add("cache_control");
        }
    }
    json.end();
}

/// Content as the value of its key: a plain text, or parts.
fn content<'a>(json: &mut Writer<'_>, parts: &[impl Borrow<Part<'a>>], to: &Target<'_>, dropped: &mut Dropped) {
    let marks = marks_caches(to.model);
    let [one] = parts else {
        if parts.is_empty() {
            return json.word("content", "");
        }
        return several(json, parts, marks, dropped);
    };
    match one.borrow() {
        Part { kind: Kind::Text(text), cache } if cache.is_none() || !marks => {
            if cache.is_some() {
                dropped.add("cache_control");
            }
            json.text("content", text);
        }
        _ => several(json, parts, marks, dropped),
    }
}

fn several<'a>(json: &mut Writer<'_>, parts: &[impl Borrow<Part<'a>>], marks: bool, dropped: &mut Dropped) {
    json.array("content");
    parts.iter().for_each(|it| part(json, it.borrow(), marks, dropped));
    json.end_array();
}

fn part(json: &mut Writer<'_>, it: &Part<'_>, marks: bool, dropped: &mut Dropped) {
    match &it.kind {
        Kind::Text(text) => {
            json.item();
            json.word("type", "text");
            json.text("text", text);
        }
        Kind::Image(Media::File(_) | Media::Plain(_), _) => return dropped.add("messages.image.file"),
        Kind::Image(media, detail) => {
            json.item();
            json.word("type", "image_url");
            json.object("image_url");
            url(json, "url", media);
            detail.iter().for_each(|it| json.text("detail", it));
            json.end();
        }
        Kind::Document(Media::Plain(text), _) => {
            json.item();
            json.word("type", "text");
            json.text("text", text);
        }
        Kind::Document(Media::Url(_), _) => return dropped.add("messages.document.url"),
        Kind::Document(media, name) => {
            json.item();
            json.word("type", "file");
            json.object("file");
            match media {
                Media::File(id) => json.text("file_id", id),
                media => url(json, "file_data", media),
            }
            json.text("filename", name.as_ref().unwrap_or(&Text::part("document")));
            json.end();
        }
        Kind::Audio(Media::Inline(mime, data)) => {
            json.item();
            json.word("type", "input_audio");
            json.object("input_audio");
            json.text("data", data);
            json.escaped("format", audio_format(&mime.read()));
            json.end();
        }
        Kind::Audio(_) => return dropped.add("messages.audio"),
        Kind::Refusal(_) | Kind::Call(_) | Kind::Outcome(_) => return,
        Kind::Thought { .. } | Kind::Sealed(_) => return dropped.add("messages.thinking"),
    }
    match it.cache {
        Some(_) if marks && !matches!(it.kind, Kind::Image(..)) => {
            json.raw("prompt_cache_breakpoint", "{\"mode\":\"explicit\"}");
        }
        Some(_) => dropped.add("cache_control"),
        None => {}
    }
    json.end();
}

fn audio_format(mime: &str) -> &str {
    match mime.strip_prefix("audio/").unwrap_or(mime) {
        "mpeg" => "mp3",
        "x-wav" | "wave" => "wav",
        other => other,
    }
}

/// An address, or the bytes in one.
pub(in super::super) fn url(json: &mut Writer<'_>, key: &str, media: &Media<'_>) {
    match media {
        Media::Url(url) | Media::File(url) | Media::Plain(url) => json.text(key, url),
        Media::Inline(mime, data) => {
            json.key(key);
            json.0.extend_from_slice(b"\"data:");
            json.0.extend_from_slice(mime.written().as_bytes());
            json.0.extend_from_slice(b";base64,");
            json.0.extend_from_slice(data.written().as_bytes());
            json.0.push(b'"');
        }
    }
}

/// Whether a model lets clients say where what it keeps of a prompt ends: from 5.6 on.
fn marks_caches(model: &str) -> bool {
    let Some(rest) = model.strip_prefix("gpt-") else { return false };
    let version = rest.split('-').next().unwrap_or_default();
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let number = |it: &str| it.parse::<u32>().unwrap_or(0);
    (number(major), number(minor)) >= (5, 6)
}
