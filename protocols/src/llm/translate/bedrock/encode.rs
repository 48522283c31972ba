//! A request for a conversation, written.

use super::super::Target;
use super::super::anthropic::{is_adaptive, sampled};
use super::super::model::*;
use super::super::write::{Text, Writer};
use super::Names;

/// Marks for the cache that a request may have.
const CACHE_POINTS_MAX: usize = 4;

/// A tool that stands in for those that were called before, and are not offered any more: without one, a history of calls is
/// refused.
const PLACEHOLDER: &str = "{\"toolSpec\":{\"name\":\"agentgateway_unavailable\",\"description\":\"Not to be called.\",\"inputSchema\":{\"json\":{\"type\":\"object\",\"properties\":{}}}}}";

/// What is at hand while it is written.
struct Pen<'p, 'o> {
    json: Writer<'o>,
    names: &'p Names,
    dropped: &'p mut Dropped,
    /// Marks for the cache that are left.
    points: usize,
    documents: usize,
}

/// Writes the body; the model stands in the path.
pub(in super::super) fn encode(
    chat: &Chat<'_>,
    (to, names): (&Target<'_>, &Names),
    out: &mut Vec<u8>,
    dropped: &mut Dropped,
) {
    let mut pen = Pen { json: Writer(out), names, dropped, points: CACHE_POINTS_MAX, documents: 0 };
    pen.json.begin();
    if !chat.system.is_empty() {
        pen.json.array("system");
        chat.system.iter().for_each(|it| pen.part(it));
        pen.json.end_array();
    }
    pen.messages(&chat.messages);
    pen.settings(chat, to);
    pen.tools(chat);
    if chat.user.is_some() {
        pen.dropped.add("user");
    }
    chat.rest.iter().for_each(|(key, _)| pen.dropped.add_other("", key));
    pen.json.end();
}

impl Pen<'_, '_> {
    fn messages(&mut self, messages: &[Message<'_>]) {
        self.json.array("messages");
        let mut open = None;
        for it in messages {
            if open != Some(it.role) {
                if open.is_some() {
                    self.json.end_array();
                    self.json.end();
                }
                open = Some(it.role);
                self.json.item();
                self.json.word("role", if it.role == Role::User { "user" } else { "assistant" });
                self.json.array("content");
            }
            let first = |it: &&Part<'_>| matches!(it.kind, Kind::Outcome(_) | Kind::Thought { .. } | Kind::Sealed(_));
            let rest = it.parts.iter().filter(|it| !first(it));
            it.parts.iter().filter(first).chain(rest).for_each(|it| self.part(it));
        }
        if open.is_some() {
            self.json.end_array();
            self.json.end();
        }
        self.json.end_array();
    }

    fn part(&mut self, it: &Part<'_>) {
        match &it.kind {
            Kind::Text(text) | Kind::Refusal(text) if text.is_empty() => return,
            Kind::Text(text) | Kind::Refusal(text) | Kind::Document(Media::Plain(text), _) => {
                self.json.item();
                self.json.text("text", text);
                self.json.end();
            }
            Kind::Image(Media::Inline(mime, data), _) => self.media("image", (mime, data), None),
            Kind::Image(..) => self.dropped.add("messages.image.url"),
            Kind::Document(Media::Inline(mime, data), name) => self.document((mime, data), name.as_ref()),
            Kind::Document(..) => self.dropped.add("messages.document.url"),
            Kind::Audio(_) => self.dropped.add("messages.audio"),
            Kind::Call(call) => {
                self.json.item();
                self.json.object("toolUse");
                self.json.text("toolUseId", &call.id);
                self.json.text("name", &self.names.told(&call.name));
                self.json.raw("input", &call.input.json());
                self.json.end();
                self.json.end();
            }
            Kind::Outcome(outcome) => self.outcome(outcome),
            Kind::Thought { text, signature: Some(signature) } => {
                self.json.item();
                self.json.object("reasoningContent");
                self.json.object("reasoningText");
                self.json.text("text", text);
                self.json.text("signature", signature);
                self.json.end();
                self.json.end();
                self.json.end();
            }
            Kind::Thought { .. } => self.dropped.add("messages.reasoning_content"),
            Kind::Sealed(data) => {
                self.json.item();
                self.json.object("reasoningContent");
                self.json.text("redactedContent", data);
                self.json.end();
                self.json.end();
            }
        }
        self.mark(it.cache);
    }

    fn outcome(&mut self, outcome: &Outcome<'_>) {
        self.json.item();
        self.json.object("toolResult");
        self.json.text("toolUseId", &outcome.id);
        self.json.array("content");
        if outcome.parts.is_empty() {
            // There must be something.
            self.json.item();
            self.json.word("text", " ");
            self.json.end();
        }
        for it in &outcome.parts {
            if !matches!(it.kind, Kind::Outcome(_) | Kind::Call(_) | Kind::Thought { .. } | Kind::Sealed(_)) {
                self.part(&Part { cache: None, kind: it.kind.clone() });
            }
        }
        self.json.end_array();
        self.json.word("status", if outcome.is_error { "error" } else { "success" });
        self.json.end();
        self.json.end();
    }

    fn media(&mut self, key: &str, (mime, data): (&Text<'_>, &Text<'_>), name: Option<&str>) {
        let mime = mime.read();
        self.json.item();
        self.json.object(key);
        self.json.word("format", format_of(&mime));
        name.iter().for_each(|it| self.json.word("name", it));
        self.json.object("source");
        self.json.text("bytes", data);
        self.json.end();
        self.json.end();
        self.json.end();
    }

    /// Names are of few characters there, and each is there once.
    fn document(&mut self, inline: (&Text<'_>, &Text<'_>), name: Option<&Text<'_>>) {
        self.documents += 1;
        let name = name.map(|it| it.read().into_owned()).unwrap_or_else(|| "document".to_owned());
        let safe = name.chars().map(|it| if it.is_ascii_alphanumeric() || it == '-' { it } else { '-' });
        let name: String = safe.take(100).chain(format!("-{}", self.documents).chars()).collect();
        self.media("document", inline, Some(&name));
    }

    fn mark(&mut self, cache: Option<Cache>) {
        let Some(cache) = cache else { return };
        if self.points == 0 {
            return self.dropped.add("cache_control");
        }
        self.points -= 1;
        self.json.item();
        self.json.raw(
            "cachePoint",
            match cache {
                Cache::Short => "{\"type\":\"default\"}",
                Cache::Long => "{\"type\":\"default\",\"ttl\":\"1h\"}",
            },
        );
        self.json.end();
    }

    fn settings(&mut self, chat: &Chat<'_>, to: &Target<'_>) {
        let [temperature, top_p] = self.further(chat, to);
        self.json.object("inferenceConfig");
        chat.max_tokens.iter().for_each(|it| self.json.number("maxTokens", *it));
        temperature.iter().for_each(|it| self.json.raw("temperature", it));
        top_p.iter().for_each(|it| self.json.raw("topP", it));
        if !chat.stop.is_empty() {
            self.json.array("stopSequences");
            chat.stop.iter().for_each(|it| self.json.text_item(it));
            self.json.end_array();
        }
        self.json.end();
        for (name, there) in [
            ("presence_penalty", chat.presence_penalty.is_some()),
            ("frequency_penalty", chat.frequency_penalty.is_some()),
            ("seed", chat.seed.is_some()),
            ("response_format", matches!(chat.format, Some(Format::Json))),
            ("parallel_tool_calls", chat.parallel == Some(false)),
        ] {
            if there {
                self.dropped.add(name);
            }
        }
        if let Some(Format::Schema { name, schema, .. }) = &chat.format {
            self.json.object("outputConfig");
            self.json.object("textFormat");
            self.json.word("type", "json_schema");
            self.json.object("structure");
            self.json.object("jsonSchema");
            self.json.escaped("schema", schema);
            name.iter().for_each(|it| self.json.text("name", it));
            self.json.end();
            self.json.end();
            self.json.end();
            self.json.end();
        }
    }

    /// Writes what models of Anthropic take beside the rest. Returns what of the rest they take: temperature and `top_p`.
    fn further<'a>(&mut self, chat: &Chat<'a>, to: &Target<'_>) -> [Option<&'a str>; 2] {
        let known = to.model.contains("claude");
        let wanted = chat.thinking.filter(|it| *it != Thinking::Off);
        let free = !matches!(chat.choice, Some(Choice::Any | Choice::Named(_)));
        let thinks = wanted.filter(|_| known && free);
        if wanted.is_some() && thinks.is_none() {
            self.dropped.add("reasoning_effort");
        }
        if !known {
            if chat.top_k.is_some() {
                self.dropped.add("top_k");
            }
            return [chat.temperature, chat.top_p];
        }
        let [temperature, top_p, top_k] = sampled(chat, to.model, thinks.is_some(), self.dropped);
        if thinks.is_none() && top_k.is_none() {
            return [temperature, top_p];
        }
        self.json.object("additionalModelRequestFields");
        top_k.iter().for_each(|it| self.json.raw("top_k", it));
        match thinks {
            None | Some(Thinking::Off) => {}
            Some(_) if is_adaptive(to.model) => self.json.raw("thinking", "{\"type\":\"adaptive\"}"),
            Some(wanted) => {
                let budget = match wanted {
                    Thinking::Budget(tokens) => tokens,
                    Thinking::Effort(effort) => effort.budget(),
                    Thinking::Adaptive | Thinking::Off => Effort::High.budget(),
                };
                self.json.object("thinking");
                self.json.word("type", "enabled");
                self.json.number("budget_tokens", budget);
                self.json.end();
            }
        }
        self.json.end();
        [temperature, top_p]
    }

    fn tools(&mut self, chat: &Chat<'_>) {
        let called = chat.called().next().is_some();
        if chat.tools.is_empty() && !called {
            return;
        }
        self.json.object("toolConfig");
        self.json.array("tools");
        if chat.tools.is_empty() {
            self.json.raw_item(PLACEHOLDER);
        }
        for it in &chat.tools {
            self.json.item();
            self.json.object("toolSpec");
            self.json.text("name", &self.names.told(&it.name));
            it.description.iter().for_each(|it| self.json.text("description", it));
            self.json.object("inputSchema");
            self.json.raw("json", it.parameters.as_deref().unwrap_or("{\"type\":\"object\",\"properties\":{}}"));
            self.json.end();
            if it.strict == Some(true) {
                self.json.bool("strict", true);
            }
            self.json.end();
            self.json.end();
            self.mark(it.cache);
        }
        self.json.end_array();
        match &chat.choice {
            None => {}
            Some(Choice::None) => self.dropped.add("tool_choice"),
            Some(Choice::Auto) => self.json.raw("toolChoice", "{\"auto\":{}}"),
            Some(Choice::Any) => self.json.raw("toolChoice", "{\"any\":{}}"),
            Some(Choice::Named(name)) => {
                self.json.object("toolChoice");
                self.json.object("tool");
                self.json.text("name", &self.names.told(name));
                self.json.end();
                self.json.end();
            }
        }
        self.json.end();
    }
}

/// The word for a media type.
fn format_of(mime: &str) -> &str {
    match mime {
        "text/plain" => "txt",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "image/jpg" => "jpeg",
        other => {
            let word = other.split_once('/').map_or(other, |(_, it)| it);
            if word.bytes().all(|it| it.is_ascii_alphanumeric()) { word } else { "txt" }
        }
    }
}
