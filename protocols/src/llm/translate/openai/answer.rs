//! An answer in one piece.

use super::super::super::Usage;
use super::super::Terms;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{block, sealed, stop, stop_word};
use crate::json::Raw;

/// Reads an answer: the first of its choices.
pub(in super::super) fn decode(body: Raw<'_>) -> Answer<'_> {
    let mut answer = Answer::default();
    for (key, value) in body.members() {
        match &*key {
            "id" => answer.id = Text::of(value),
            "model" => answer.model = Text::of(value),
            "usage" => answer.usage.count(value),
            "choices" => {
                for (key, value) in value.elements().next().into_iter().flat_map(Raw::members) {
                    match &*key {
                        "message" => answer.parts = message(value),
                        "finish_reason" => answer.stop = value.as_str().map(|it| stop(&it)).unwrap_or_default(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    // Some say `stop` of an answer that calls.
    if answer.stop == Stop::End && answer.parts.iter().any(|it| matches!(it.kind, Kind::Call(_))) {
        answer.stop = Stop::Call;
    }
    answer
}

fn message(it: Raw<'_>) -> Vec<Part<'_>> {
    let (mut thoughts, mut said, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in it.members() {
        match &*key {
            "content" => said.extend(text(value).map(|it| Part::new(Kind::Text(it)))),
            "refusal" => said.extend(text(value).map(|it| Part::new(Kind::Refusal(it)))),
            "reasoning_content" | "reasoning" if thoughts.is_empty() => {
                thoughts.extend(text(value).map(|text| Part::new(Kind::Thought { text, signature: None })));
            }
            "tool_calls" => calls.extend(value.elements().filter_map(call)),
            _ => {}
        }
    }
    thoughts.append(&mut said);
    thoughts.append(&mut calls);
    thoughts
}

fn text(value: Raw<'_>) -> Option<Text<'_>> {
    Text::of(value).filter(|it| !it.is_empty())
}

fn call(it: Raw<'_>) -> Option<Part<'_>> {
    let function = it.get("function")?;
    let text = |of: Raw<'_>| Text::of(of).map(Text::into_owned);
    Some(Part::new(Kind::Call(Call {
        id: it.get("id").and_then(text).unwrap_or_default(),
        name: function.get("name").and_then(text)?,
        input: Input::Text(function.get("arguments").and_then(Text::of).unwrap_or_default()),
    })))
}

/// Writes an answer.
pub(in super::super) fn encode(answer: &Answer<'_>, terms: &Terms, out: &mut Vec<u8>) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    json.text("id", &terms.id(answer.id.as_ref(), "chatcmpl-"));
    json.word("object", "chat.completion");
    json.number("created", terms.now);
    json.text("model", &terms.model(answer.model.as_ref()));
    json.array("choices");
    json.item();
    json.number("index", 0);
    json.object("message");
    json.word("role", "assistant");
    written(json, &answer.parts);
    json.end();
    json.raw("logprobs", "null");
    json.word("finish_reason", stop_word(answer.stop));
    json.end();
    json.end_array();
    if answer.usage.total().is_some() {
        tokens(json, &answer.usage);
    }
    json.end();
}

fn written(json: &mut Writer<'_>, parts: &[Part<'_>]) {
    let mut content: Option<Text<'_>> = None;
    let (mut refusal, mut thought): (Option<Text<'_>>, Option<Text<'_>>) = (None, None);
    for it in parts {
        match &it.kind {
            Kind::Text(text) => add(&mut content, text),
            Kind::Refusal(text) => add(&mut refusal, text),
            Kind::Thought { text, .. } => add(&mut thought, text),
            _ => {}
        }
    }
    match content {
        Some(content) => json.text("content", &content),
        None => json.raw("content", "null"),
    }
    match refusal {
        Some(refusal) => json.text("refusal", &refusal),
        None => json.raw("refusal", "null"),
    }
    thought.filter(|it| !it.is_empty()).iter().for_each(|it| json.text("reasoning_content", it));
    let signed = |it: &Part<'_>| matches!(it.kind, Kind::Sealed(_) | Kind::Thought { signature: Some(_), .. });
    if parts.iter().any(signed) {
        json.array("thinking_blocks");
        for it in parts {
            match &it.kind {
                Kind::Thought { text, signature: Some(signature) } => block(json, text, signature),
                Kind::Sealed(data) => sealed(json, data),
                _ => {}
            }
        }
        json.end_array();
    }
    let mut calls = parts
        .iter()
        .filter_map(|it| match &it.kind {
            Kind::Call(call) => Some(call),
            _ => None,
        })
        .peekable();
    if calls.peek().is_none() {
        return;
    }
    json.array("tool_calls");
    for it in calls {
        json.item();
        json.text("id", &it.id);
        json.word("type", "function");
        json.object("function");
        json.text("name", &it.name);
        json.text("arguments", &it.input.text());
        json.end();
        json.end();
    }
    json.end_array();
}

fn add<'a>(all: &mut Option<Text<'a>>, more: &Text<'a>) {
    match all {
        Some(all) => all.push(more),
        None => *all = Some(more.clone()),
    }
}

/// What was used, as the value of `usage`.
pub(in super::super) fn tokens(json: &mut Writer<'_>, usage: &Usage) {
    json.object("usage");
    json.number("prompt_tokens", usage.input().unwrap_or(0));
    json.number("completion_tokens", usage.output.unwrap_or(0));
    json.number("total_tokens", usage.total().unwrap_or(0));
    json.object("prompt_tokens_details");
    json.number("cached_tokens", usage.cache_read.unwrap_or(0));
    usage.cache_write.iter().for_each(|it| json.number("cache_write_tokens", *it));
    usage.input_audio.iter().for_each(|it| json.number("audio_tokens", *it));
    json.end();
    json.object("completion_tokens_details");
    json.number("reasoning_tokens", usage.reasoning.unwrap_or(0));
    json.end();
    json.end();
}
