//! A request for messages, written.

use super::super::Target;
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::{cache, sealed, tool_use};

/// What an answer may take where the client sets no limit, which this dialect must have.
const ANSWER_TOKENS: u64 = 4_096;

/// Least that a budget for thinking may be.
const BUDGET_MIN: u64 = 1_024;

const ANY_OBJECT: &str = "{\"type\":\"object\",\"properties\":{}}";

/// Writes the body for this model.
pub(in super::super) fn encode(chat: &Chat<'_>, to: &Target<'_>, out: &mut Vec<u8>, dropped: &mut Dropped) {
    let mut json = Writer(out);
    let json = &mut json;
    json.begin();
    json.escaped("model", to.model);
    let thinks = thinking(json, chat, to, dropped);
    system(json, &chat.system, dropped);
    messages(json, &chat.messages, dropped);
    sampling(json, chat, (to, thinks), dropped);
    tools(json, chat);
    if to.stream {
        json.bool("stream", true);
    }
    chat.rest.iter().for_each(|(key, _)| dropped.add_other("", key));
    json.end();
}

/// Writes how much may be thought and said. Returns whether anything is thought.
fn thinking(json: &mut Writer<'_>, chat: &Chat<'_>, to: &Target<'_>, dropped: &mut Dropped) -> bool {
    let adaptive = is_adaptive(to.model);
    let wanted = chat.thinking.filter(|it| {
        *it != Thinking::Off && {
            // A model that thinks calls as it likes, and goes on only from thoughts that are its own.
            let may = !matches!(chat.choice, Some(Choice::Any | Choice::Named(_))) && !lacks_thought(&chat.messages);
            if !may {
                dropped.add("reasoning_effort");
            }
            may
        }
    });
    let mut effort = None;
    let mut limit = chat.max_tokens.unwrap_or(ANSWER_TOKENS);
    match wanted {
        None => {}
        Some(Thinking::Off) => {}
        Some(it) if adaptive => {
            json.raw("thinking", "{\"type\":\"adaptive\"}");
            effort = match it {
                Thinking::Effort(Effort::Minimal) => Some(Effort::Low),
                Thinking::Effort(effort) => Some(effort),
                Thinking::Budget(tokens) => Some(Effort::of_budget(tokens)),
                Thinking::Adaptive | Thinking::Off => None,
            };
        }
        Some(it) => {
            let budget = match it {
                Thinking::Budget(tokens) => tokens,
                Thinking::Effort(effort) => effort.budget(),
                Thinking::Adaptive | Thinking::Off => Effort::High.budget(),
            };
            if chat.max_tokens.is_none() {
                limit += budget;
            }
            let budget = budget.min(limit.saturating_sub(1));
            if budget >= BUDGET_MIN {
                json.object("thinking");
                json.word("type", "enabled");
                json.number("budget_tokens", budget);
                json.end();
            } else {
                dropped.add("reasoning_effort");
            }
        }
    }
    json.number("max_tokens", limit);
    let schema = match &chat.format {
        Some(Format::Schema { schema, .. }) => Some(schema),
        // There is no mode for just any object, and a schema of none allows none.
        Some(Format::Json) => {
            dropped.add("response_format");
            None
        }
        None => None,
    };
    if effort.is_some() || schema.is_some() {
        json.object("output_config");
        effort.iter().for_each(|it| json.word("effort", it.name()));
        if let Some(schema) = schema {
            json.object("format");
            json.word("type", "json_schema");
            json.raw("schema", schema);
            json.end();
        }
        json.end();
    }
    wanted.is_some()
}

/// The revision in a model's name, wherever it stands there.
pub(in super::super) fn revision(model: &str) -> Option<(u32, u32)> {
    let (_, rest) = model.split_once("claude-")?;
    let mut numbers = rest.split(['-', '.', '@', ':']).skip_while(|it| it.parse::<u32>().is_err());
    let major = numbers.next()?.parse().ok()?;
    // A date is no revision.
    let minor = numbers.next().and_then(|it| it.parse().ok()).filter(|it| *it < 100);
    Some((major, minor.unwrap_or(0)))
}

/// Models from 4.6 on say themselves how much they think; elder ones are told in tokens.
pub(in super::super) fn is_adaptive(model: &str) -> bool {
    revision(model).is_some_and(|it| it >= (4, 6))
}

/// What of temperature, `top_p` and `top_k` a model takes: those from 4.7 on nothing, those from 4.1 on one of the first two.
pub(in super::super) fn sampled<'a>(
    chat: &Chat<'a>,
    model: &str,
    thinks: bool,
    dropped: &mut Dropped,
) -> [Option<&'a str>; 3] {
    let given = [chat.temperature, chat.top_p, chat.top_k];
    let revision = revision(model).unwrap_or_default();
    let none = thinks || revision >= (4, 7);
    let refused = [none, none || (revision >= (4, 1) && chat.temperature.is_some()), none];
    let mut kept = given;
    for ((slot, refused), name) in kept.iter_mut().zip(refused).zip(["temperature", "top_p", "top_k"]) {
        if refused && slot.take().is_some() {
            dropped.add(name);
        }
    }
    if kept.first().copied().flatten().is_some_and(|it| it.parse::<f64>().is_ok_and(|it| it > 1.0)) {
        dropped.add("temperature");
        let [_, top_p, top_k] = kept;
        return [Some("1"), top_p, top_k];
    }
    kept
}

/// The last turn called tools, and the thoughts before that are lost.
fn lacks_thought(messages: &[Message<'_>]) -> bool {
    let last = messages.iter().rev().find(|it| it.role == Role::Assistant);
    let signed = |it: &Part<'_>| matches!(it.kind, Kind::Sealed(_) | Kind::Thought { signature: Some(_), .. });
    last.is_some_and(|it| it.parts.iter().any(|it| matches!(it.kind, Kind::Call(_))) && !it.parts.iter().any(signed))
}

fn sampling(json: &mut Writer<'_>, chat: &Chat<'_>, (to, thinks): (&Target<'_>, bool), dropped: &mut Dropped) {
    let [temperature, top_p, top_k] = sampled(chat, to.model, thinks, dropped);
    for (key, value) in [("temperature", temperature), ("top_p", top_p), ("top_k", top_k)] {
        value.iter().for_each(|it| json.raw(key, it));
    }
    for (key, value) in [
        ("presence_penalty", chat.presence_penalty),
        ("frequency_penalty", chat.frequency_penalty),
        ("seed", chat.seed),
    ] {
        if value.is_some() {
            dropped.add(key);
        }
    }
    if !chat.stop.is_empty() {
        json.array("stop_sequences");
        chat.stop.iter().for_each(|it| json.text_item(it));
        json.end_array();
    }
    if let Some(user) = &chat.user {
        json.object("metadata");
        json.text("user_id", user);
        json.end();
    }
}

fn tools(json: &mut Writer<'_>, chat: &Chat<'_>) {
    if chat.tools.is_empty() {
        return;
    }
    json.array("tools");
    for it in &chat.tools {
        json.item();
        json.text("name", &it.name);
        it.description.iter().for_each(|it| json.text("description", it));
        json.raw("input_schema", it.parameters.as_deref().unwrap_or(ANY_OBJECT));
        // It is what this dialect does not do unless it is asked to.
        if it.strict == Some(true) {
            json.bool("strict", true);
        }
        cache(json, it.cache);
        json.end();
    }
    json.end_array();
    let one = chat.parallel == Some(false);
    if chat.choice.is_none() && !one {
        return;
    }
    json.object("tool_choice");
    match &chat.choice {
        None | Some(Choice::Auto) => json.word("type", "auto"),
        Some(Choice::Any) => json.word("type", "any"),
        Some(Choice::None) => json.word("type", "none"),
        Some(Choice::Named(name)) => {
            json.word("type", "tool");
            json.text("name", name);
        }
    }
    if one && !matches!(chat.choice, Some(Choice::None)) {
        json.bool("disable_parallel_tool_use", true);
    }
    json.end();
}

fn system(json: &mut Writer<'_>, parts: &[Part<'_>], dropped: &mut Dropped) {
    match parts {
        [] => {}
        [Part { kind: Kind::Text(text), cache: None }] => json.text("system", text),
        parts => {
            json.array("system");
            parts.iter().for_each(|it| part(json, it, dropped));
            json.end_array();
        }
    }
}

/// Messages of one role that follow each other are one: the result of every call must stand in the message after it.
fn messages(json: &mut Writer<'_>, messages: &[Message<'_>], dropped: &mut Dropped) {
    json.array("messages");
    let mut open = None;
    for it in messages {
        if open != Some(it.role) {
            if open.is_some() {
                json.end_array();
                json.end();
            }
            open = Some(it.role);
            json.item();
            json.word("role", if it.role == Role::User { "user" } else { "assistant" });
            json.array("content");
        }
        let first = |it: &&Part<'_>| matches!(it.kind, Kind::Outcome(_) | Kind::Thought { .. } | Kind::Sealed(_));
        let rest = it.parts.iter().filter(|it| !first(it));
        it.parts.iter().filter(first).chain(rest).for_each(|it| part(json, it, dropped));
    }
    if open.is_some() {
        json.end_array();
        json.end();
    }
    json.end_array();
}

fn part(json: &mut Writer<'_>, it: &Part<'_>, dropped: &mut Dropped) {
    match &it.kind {
        // Empty ones are refused there.
        Kind::Text(text) | Kind::Refusal(text) if text.is_empty() => return,
        Kind::Text(text) | Kind::Refusal(text) => {
            json.item();
            json.word("type", "text");
            json.text("text", text);
        }
        Kind::Image(media, _) => {
            json.item();
            json.word("type", "image");
            source(json, media);
        }
        Kind::Document(media, name) => {
            json.item();
            json.word("type", "document");
            source(json, media);
            name.iter().for_each(|it| json.text("title", it));
        }
        Kind::Audio(_) => return dropped.add("messages.audio"),
        Kind::Thought { text, signature: Some(signature) } => {
            json.item();
            json.word("type", "thinking");
            json.text("thinking", text);
            json.text("signature", signature);
        }
        Kind::Thought { signature: None, .. } => return dropped.add("messages.reasoning_content"),
        Kind::Sealed(data) => sealed(json, data),
        Kind::Call(call) => tool_use(json, call),
        Kind::Outcome(outcome) => {
            json.item();
            json.word("type", "tool_result");
            json.text("tool_use_id", &outcome.id);
            result(json, &outcome.parts, dropped);
            if outcome.is_error {
                json.bool("is_error", true);
            }
        }
    }
    cache(json, it.cache);
    json.end();
}

/// What a tool said: a plain text where it is one.
fn result(json: &mut Writer<'_>, parts: &[Part<'_>], dropped: &mut Dropped) {
    match parts {
        [] => {}
        [Part { kind: Kind::Text(text), cache: None }] => json.text("content", text),
        parts => {
            json.array("content");
            for it in parts {
                match it.kind {
                    Kind::Outcome(_) => {}
                    _ => part(json, it, dropped),
                }
            }
            json.end_array();
        }
    }
}

fn source(json: &mut Writer<'_>, media: &Media<'_>) {
    let mut of = |kind: &str, members: &[(&str, &Text<'_>)]| {
        json.object("source");
        json.word("type", kind);
        members.iter().for_each(|(key, value)| json.text(key, value));
        json.end();
    };
    match media {
        Media::Url(url) => of("url", &[("url", url)]),
        Media::Inline(mime, data) => of("base64", &[("media_type", mime), ("data", data)]),
        Media::File(id) => of("file", &[("file_id", id)]),
        Media::Plain(text) => of("text", &[("media_type", &Text::part("text/plain")), ("data", text)]),
    }
}

#[cfg(test)]
mod tests {
    use super::is_adaptive;

    #[test]
    fn models_are_told_how_to_think_in_the_way_of_their_revision() {
        for (model, want) in [
            ("claude-opus-4-6", true),
            ("claude-sonnet-5", true),
            ("claude-haiku-5-5", true),
            ("us.anthropic.claude-opus-4-8", true),
            ("claude-opus-4-5-20251101", false),
            ("claude-sonnet-4-20250514", false),
            ("claude-3-7-sonnet-20250219", false),
            ("claude-3-7-sonnet@20250219", false),
            ("mock", false),
        ] {
            assert_eq!(is_adaptive(model), want, "{model}");
        }
    }
}
