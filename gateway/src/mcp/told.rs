//! What is told of a message when its exchange has ended: fields of the access log, labels of metrics, and the `mcp` of
//! expressions.

use std::borrow::Cow;

use ir::Text;
use protocols::json::Raw;
use protocols::mcp::Message;
use protocols::mcp::session::Name;
use serde_json::{Value, json};

use super::Target;
use super::about::About;
use super::rules::Subject;
use super::talk::Talk;
use crate::proxy::Ctx;

/// What most messages are.
const METHODS: [&str; 8] = [
    "tools/call",
    "tools/list",
    "ping",
    "initialize",
    "notifications/initialized",
    "resources/read",
    "prompts/get",
    "notifications/cancelled",
];

/// Of names and texts that clients and servers write.
const TEXT_CHARS_MAX: usize = 200;

/// One message.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub method: Cow<'static, str>,
    /// Whose it was, where it was one server's.
    pub target: Option<Text>,
    /// `tool`, `prompt` or `resource`, and its name or URI at the server.
    pub noun: Option<&'static str>,
    pub name: String,
    /// The public part of the session's id; nobody can show it in the place of the whole.
    pub session: Option<Name>,
    pub ended: Ended,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// A JSON-RPC error: code and message.
    pub error: Option<(i64, String)>,
    /// The tool says of itself that it failed.
    pub failed: bool,
}

impl Ended {
    /// What an answer says.
    pub(super) fn of(message: &Message<'_>) -> Self {
        if let Some(error) = message.error {
            let code = error.get("code").and_then(|it| it.text().parse().ok()).unwrap_or_default();
            let text = error.get("message").and_then(Raw::as_str).unwrap_or_default();
            return Self { error: Some((code, cut(&text))), failed: false };
        }
        let failed = message.result.and_then(|it| it.get("isError")).and_then(Raw::as_bool);
        Self { error: None, failed: failed == Some(true) }
    }

    /// What one that was made here says.
    pub(super) fn of_bytes(message: &[u8]) -> Self {
        Message::parse(message).map(|it| Self::of(&it)).unwrap_or_default()
    }
}

impl Told {
    /// The label of metrics: a name is one only where the server knew it, so that clients cannot make any.
    pub fn label(&self) -> &str {
        match (self.noun, &self.ended.error) {
            (Some("tool" | "prompt"), None) => &self.name,
            _ => "",
        }
    }

    /// `ok`, `failed` (the tool says so) or `error`.
    pub fn outcome(&self) -> &'static str {
        match &self.ended {
            Ended { error: Some(_), .. } => "error",
            Ended { failed: true, .. } => "failed",
            Ended { .. } => "ok",
        }
    }
}

/// A message has come.
pub(super) fn begun(ctx: &mut Ctx, talk: &Talk, method: &str) {
    let session = talk.session.as_ref().map(|(name, _)| *name);
    let method = named(method);
    ctx.mcp = Some(Box::new(About::of(method.clone(), session)));
    ctx.told = Some(Box::new(Told { method, session, ..Told::default() }));
}

/// It is for this server.
pub(super) fn whose(ctx: &mut Ctx, target: &Target, subject: Option<&Subject>) {
    let Some(told) = &mut ctx.told else { return };
    told.target = Some(target.name.clone());
    if let Some(subject) = subject {
        told.noun = Some(subject.noun.as_str());
        told.name = cut(&subject.name);
    }
}

/// It has been answered.
pub(super) fn ended(ctx: &mut Ctx, ended: Ended) {
    if let Some((code, message)) = &ended.error
        && let Some(object) = ctx.mcp.as_mut().and_then(|it| it.object_mut())
    {
        let error = json!({"code": code, "message": message});
        if let Some(Value::Object(tool)) = object.get_mut("tool") {
            // That the tool itself has failed is in its result (`isError`).
            tool.insert("error".to_owned(), error.clone());
        }
        object.insert("error".to_owned(), error);
    }
    if let Some(told) = &mut ctx.told {
        told.ended = ended;
    }
}

/// A method, without a copy where it is one of the usual ones.
pub(super) fn named(method: &str) -> Cow<'static, str> {
    match METHODS.iter().find(|it| **it == method) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(cut(method)),
    }
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_label_only_where_the_server_knew_it() {
        let mut told = Told { noun: Some("tool"), name: "echo".into(), ..Told::default() };
        assert_eq!((told.label(), told.outcome()), ("echo", "ok"));
        told.ended = Ended::of_bytes(br#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#);
        assert_eq!((told.label(), told.outcome()), ("echo", "failed"));
        told.ended = Ended::of_bytes(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool"}}"#);
        assert_eq!((told.label(), told.outcome()), ("", "error"));
        assert_eq!(told.ended.error, Some((-32602, "Unknown tool".to_owned())));
        let uri = Told { noun: Some("resource"), name: "a:b".into(), ..Told::default() };
        assert_eq!(uri.label(), "", "there are too many");
    }
}
