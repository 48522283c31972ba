//! A request for a response, written.

use super::super::super::Dialect;
use super::super::Target;
use super::super::model::*;
use super::super::openai::url;
use super::super::write::{Text, Writer};
use super::{JOINT, thought};

/// Writes the body for this model.
pub(in super::super) fn encode(chat: &Chat<'_>, to: &Target<'_>, out: &mut Vec<u8>, dropped: &mut Dropped) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    json.escaped("model", to.model);
    instructions(json, &chat.system, dropped);
    json.array("input");
    chat.messages.iter().for_each(|it| message(json, it, dropped));
    json.end_array();
    settings(json, chat, dropped);
    format(json, chat, to);
    tools(json, chat, dropped);
    if to.stream {
        json.bool("stream", true);
    }
    let mut kept = false;
    for (key, value) in &chat.rest {
        let shared = matches!(
            &**key,
            "metadata"
                | "store"
                | "service_tier"
                | "prompt_cache_key"
                | "prompt_cache_retention"
                | "prompt_cache_options"
                | "top_logprobs"
                | "moderation"
        );
        match (&**key, to.client == Dialect::OpenAi) {
            ("verbosity", true) => {}
            (_, true) if shared => {
                kept |= key == "store";
                json.raw(key, value.text());
            }
            _ => dropped.add_other("", key),
        }
    }
    if !kept {
        // Clients of other dialects send everything again, and nobody asks for what would be kept.
        json.bool("store", false);
    }
    json.end();
}

fn instructions(json: &mut Writer<'_>, system: &[Part<'_>], dropped: &mut Dropped) {
    let mut all: Option<Text<'_>> = None;
    for it in system {
        if it.cache.is_some() {
            dropped.add("cache_control");
        }
        let Kind::Text(text) = &it.kind else { continue };
        match &mut all {
            None => all = Some(text.clone()),
            Some(all) => {
                all.push(&Text::part("\\n"));
                all.push(text);
            }
        }
    }
    all.iter().for_each(|it| json.text("instructions", it));
}

/// What is said, and each call, result and thought, as items of their own.
fn message(json: &mut Writer<'_>, it: &Message<'_>, dropped: &mut Dropped) {
    let mut open = false;
    for part in &it.parts {
        if part.cache.is_some() {
            dropped.add("cache_control");
        }
        let said = !matches!(part.kind, Kind::Call(_) | Kind::Outcome(_) | Kind::Thought { .. } | Kind::Sealed(_));
        if open != said {
            match said {
                true => {
                    json.item();
                    json.word("role", if it.role == Role::User { "user" } else { "assistant" });
                    json.array("content");
                }
                false => {
                    json.end_array();
                    json.end();
                }
            }
            open = said;
        }
        match said {
            true => content(json, part, it.role, dropped),
            false => item(json, part, dropped),
        }
    }
    if open {
        json.end_array();
        json.end();
    }
}

fn item(json: &mut Writer<'_>, part: &Part<'_>, dropped: &mut Dropped) {
    match &part.kind {
        Kind::Call(call) => {
            json.item();
            json.word("type", "function_call");
            json.text("call_id", &call.id);
            json.text("name", &call.name);
            json.text("arguments", &call.input.text());
            json.end();
        }
        Kind::Outcome(outcome) => {
            if outcome.is_error {
                dropped.add("tool_result.is_error");
            }
            json.item();
            json.word("type", "function_call_output");
            json.text("call_id", &outcome.id);
            match outcome.parts.as_slice() {
                [] => json.word("output", ""),
                [Part { kind: Kind::Text(text), .. }] => json.text("output", text),
                parts => {
                    json.array("output");
                    parts.iter().for_each(|it| content(json, it, Role::User, dropped));
                    json.end_array();
                }
            }
            json.end();
        }
        Kind::Thought { text, signature: Some(signature) } if signature.written().contains(JOINT) => {
            let (id, sealed) = signature.written().split_once(JOINT).unwrap_or_default();
            json.item();
            thought(json, id, Some(text).filter(|it| !it.is_empty()), Some(&Text::part(sealed)));
            json.end();
        }
        _ => dropped.add("messages.thinking"),
    }
}

fn content(json: &mut Writer<'_>, part: &Part<'_>, role: Role, dropped: &mut Dropped) {
    match &part.kind {
        Kind::Text(text) | Kind::Document(Media::Plain(text), _) => {
            json.item();
            json.word("type", if role == Role::User { "input_text" } else { "output_text" });
            json.text("text", text);
            json.end();
        }
        Kind::Refusal(text) => {
            json.item();
            json.word("type", "refusal");
            json.text("refusal", text);
            json.end();
        }
        Kind::Image(Media::File(id), _) => {
            json.item();
            json.word("type", "input_image");
            json.text("file_id", id);
            json.end();
        }
        Kind::Image(media, detail) => {
            json.item();
            json.word("type", "input_image");
            url(json, "image_url", media);
            detail.iter().for_each(|it| json.text("detail", it));
            json.end();
        }
        Kind::Document(media, name) => {
            json.item();
            json.word("type", "input_file");
            match media {
                Media::File(id) => json.text("file_id", id),
                Media::Url(address) => json.text("file_url", address),
                media => {
                    url(json, "file_data", media);
                    json.text("filename", name.as_ref().unwrap_or(&Text::part("document")));
                }
            }
            json.end();
        }
        Kind::Audio(_) => dropped.add("messages.audio"),
        Kind::Call(_) | Kind::Outcome(_) | Kind::Thought { .. } | Kind::Sealed(_) => {}
    }
}

fn settings(json: &mut Writer<'_>, chat: &Chat<'_>, dropped: &mut Dropped) {
    chat.max_tokens.iter().for_each(|it| json.number("max_output_tokens", *it));
    for (key, value) in [("temperature", chat.temperature), ("top_p", chat.top_p)] {
        value.iter().for_each(|it| json.raw(key, it));
    }
    for (key, there) in [
        ("top_k", chat.top_k.is_some()),
        ("presence_penalty", chat.presence_penalty.is_some()),
        ("frequency_penalty", chat.frequency_penalty.is_some()),
        ("seed", chat.seed.is_some()),
        ("stop", !chat.stop.is_empty()),
    ] {
        if there {
            dropped.add(key);
        }
    }
    chat.user.iter().for_each(|it| json.text("user", it));
    let effort = match chat.thinking {
        None | Some(Thinking::Off) => return,
        Some(Thinking::Budget(tokens)) => Effort::of_budget(tokens),
        Some(Thinking::Adaptive) => Effort::High,
        Some(Thinking::Effort(effort)) => effort,
    };
    json.object("reasoning");
    json.word("effort", effort.name());
    json.word("summary", "auto");
    json.end();
    json.raw("include", "[\"reasoning.encrypted_content\"]");
}

fn format(json: &mut Writer<'_>, chat: &Chat<'_>, to: &Target<'_>) {
    let verbosity = chat.rest.iter().find(|(key, _)| key == "verbosity" && to.client == Dialect::OpenAi);
    if chat.format.is_none() && verbosity.is_none() {
        return;
    }
    json.object("text");
    match &chat.format {
        None => {}
        Some(Format::Json) => json.raw("format", "{\"type\":\"json_object\"}"),
        Some(Format::Schema { name, schema, strict }) => {
            json.object("format");
            json.word("type", "json_schema");
            json.text("name", name.as_ref().unwrap_or(&Text::part("structured_output")));
            json.raw("schema", schema);
            strict.iter().for_each(|it| json.bool("strict", *it));
            json.end();
        }
    }
    verbosity.iter().for_each(|(_, it)| json.raw("verbosity", it.text()));
    json.end();
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
        json.text("name", &it.name);
        it.description.iter().for_each(|it| json.text("description", it));
        json.raw("parameters", it.parameters.as_deref().unwrap_or("{\"type\":\"object\",\"properties\":{}}"));
        // Strict is what this dialect is where nothing is said, and others are not.
        json.bool("strict", it.strict.unwrap_or(false));
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
            json.text("name", name);
            json.end();
        }
    }
    chat.parallel.iter().for_each(|it| json.bool("parallel_tool_calls", *it));
}
