//! Guards that are servers of one's own: requests before they go out, answers before they are passed on.
//!
//! A server is told texts and who said them, and says whether they pass, become others, or are refused. What goes out is
//! the client's or the provider's own, but for the texts that become others.

use std::sync::Arc;

use bytes::Bytes;
use filters::ai::{Guard, GuardOutcome, Guards, Webhook};
use filters::callout::{Callout, HttpAnswer, HttpRequest, Kind};
use filters::expr::Inputs;
use filters::{Facts, Outside};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use pingora_http::RequestHeader;
use serde_json::{Value, json};

use crate::outside::Asking;
use crate::plan::Plan;
use crate::proxy::{Ctx, Proxy};

/// What a server says of texts.
pub(super) enum Verdict {
    Pass,
    /// These stand in their places.
    Become(Vec<String>),
    Refused {
        status: u16,
        body: Option<String>,
    },
    /// It could not be asked, or its answer makes no sense.
    Failed(String),
}

/// A text, and who said it.
pub(super) type Message = (&'static str, String);

/// What is needed to ask on behalf of a request that may be gone.
pub(super) struct Asker {
    pub(super) asking: Asking,
    pub(super) plan: Arc<Plan>,
    pub(super) facts: Facts,
    /// Headers for each guard, by its position.
    pub(super) heads: Vec<Option<Box<RequestHeader>>>,
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Answer,
}

/// The head of calls of a guard, made of the client's request.
pub(super) fn head(webhook: &Webhook, side: Side, client: &RequestHeader, inputs: &Inputs<'_>) -> Box<RequestHeader> {
    let text = |name: &str| {
        let (_, it) = webhook.headers.iter().find(|(it, _)| **it == *name)?;
        it.evaluate(inputs).ok()?.scalar().map(|it| it.into_owned())
    };
    let before = text(":path").filter(|it| it.starts_with('/')).unwrap_or_default();
    let ending = match side {
        Side::Request => "/request",
        Side::Answer => "/response",
    };
    let path = format!("{}{ending}", before.trim_end_matches('/'));
    let built = RequestHeader::build(Method::POST, path.as_bytes(), None);
    let mut head = built.unwrap_or_else(|_| {
        RequestHeader::build(Method::POST, ending.as_bytes(), None).expect("a path of ours is one")
    });
    for forward in &webhook.forwards {
        let Ok(name) = forward.name.parse::<HeaderName>() else { continue };
        for value in client.headers.get_all(&name) {
            if value.to_str().is_ok_and(|it| forward.takes(it)) {
                let _ = head.append_header(name.clone(), value.clone());
            }
        }
    }
    for (name, it) in webhook.headers.iter().filter(|(name, _)| !name.starts_with(':')) {
        let value = it.evaluate(inputs).ok().and_then(|it| HeaderValue::from_str(&it.scalar()?).ok());
        if let (Ok(name), Some(value)) = (name.parse::<HeaderName>(), value) {
            let _ = head.insert_header(name, value);
        }
    }
    let _ = head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Box::new(head)
}

impl Asker {
    pub(super) fn new(
        proxy: &Proxy,
        ctx: &Ctx,
        guards: &Guards,
        (side, client, inputs): (Side, &RequestHeader, &Inputs<'_>),
    ) -> Self {
        let head = |it: &Guard| Some(head(it.webhook.as_ref()?, side, client, inputs));
        Self {
            asking: proxy.asking.clone(),
            plan: ctx.plan.clone(),
            facts: ctx.facts.clone(),
            heads: guards.guards.iter().map(head).collect(),
        }
    }

    /// Asks the server of the guard at this position.
    pub(super) async fn ask(&self, at: usize, guard: &Guard, side: Side, messages: &[Message]) -> Verdict {
        let Some((webhook, head)) = guard.webhook.as_ref().zip(self.heads.get(at).cloned().flatten()) else {
            return Verdict::Pass;
        };
        let around = self.asking.around(&self.plan, None);
        let verdict = ask(around.callout(), &self.facts, webhook, head, (side, messages)).await;
        match verdict {
            Verdict::Failed(why) if webhook.fail_open || guard.outcome != GuardOutcome::Enforce => {
                tracing::debug!(%why, "a guard could not be asked, and what it guards passes");
                Verdict::Pass
            }
            verdict => verdict,
        }
    }
}

async fn ask(
    callout: &dyn Callout,
    facts: &Facts,
    webhook: &Webhook,
    head: Box<RequestHeader>,
    (side, messages): (Side, &[Message]),
) -> Verdict {
    let message = |(role, content): &Message| json!({"role": role, "content": content});
    let said = match side {
        Side::Request => json!({"body": {"messages": messages.iter().map(message).collect::<Vec<_>>()}}),
        Side::Answer => {
            let choice = |it: &Message| json!({"message": message(it)});
            json!({"body": {"choices": messages.iter().map(choice).collect::<Vec<_>>()}})
        }
    };
    let body = Bytes::from(said.to_string());
    let request = HttpRequest { head, body, facts };
    match callout.http(&webhook.target, Kind::AiGuard, request).await {
        Ok(answer) => verdict(&answer, side, messages.len()),
        Err(fault) => Verdict::Failed(fault.to_string()),
    }
}

/// What an answer says: it has an `action`, of which the members tell what it is.
fn verdict(answer: &HttpAnswer, side: Side, count: usize) -> Verdict {
    let failed = |why: &str| Verdict::Failed(why.to_owned());
    if !(200..300).contains(&answer.status) {
        return Verdict::Failed(format!("answered with {}", answer.status));
    }
    let Ok(said) = serde_json::from_slice::<Value>(&answer.body) else { return failed("the answer is no JSON") };
    let Some(action) = said.get("action").and_then(Value::as_object) else {
        return failed("the answer has no `action`");
    };
    if let Some(status) = action.get("status_code") {
        let status = status.as_u64().and_then(|it| u16::try_from(it).ok()).filter(|it| (400..600).contains(it));
        let Some(status) = status else { return failed("`status_code` is no status of an error") };
        let body = action.get("body").and_then(Value::as_str).map(str::to_owned);
        return Verdict::Refused { status, body };
    }
    let Some(body) = action.get("body") else { return Verdict::Pass };
    let (list, inner) = match side {
        Side::Request => (body.get("messages"), None),
        Side::Answer => (body.get("choices"), Some("message")),
    };
    let content = |it: &Value| {
        let message = inner.map_or(Some(it), |inner| it.get(inner))?;
        message.get("content")?.as_str().map(str::to_owned)
    };
    let texts: Option<Vec<String>> = list.and_then(Value::as_array).and_then(|it| it.iter().map(content).collect());
    match texts.filter(|it| it.len() == count) {
        Some(texts) => Verdict::Become(texts),
        None => failed("the answer has not as many texts as were asked about"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, want: &str) {
        let answer = HttpAnswer { status, body: Bytes::copy_from_slice(body.as_bytes()), ..HttpAnswer::default() };
        let got = match verdict(&answer, Side::Request, 1) {
            Verdict::Pass => "pass".to_owned(),
            Verdict::Become(texts) => texts.concat(),
            Verdict::Refused { status, body } => format!("{status} {}", body.unwrap_or_default()),
            Verdict::Failed(why) => why,
        };
        assert_eq!(got, want, "{body}");
    }

    #[test]
    fn answers_are_told_apart_by_their_members() {
        check(200, r#"{"action":{"reason":"fine"}}"#, "pass");
        check(200, r#"{"action":{"body":{"messages":[{"role":"user","content":"x"}]},"reason":"r"}}"#, "x");
        check(200, r#"{"action":{"body":"no","status_code":451,"reason":"r"}}"#, "451 no");
        check(200, r#"{"action":{"body":"no","status_code":200}}"#, "`status_code` is no status of an error");
        check(200, r#"{"action":{"body":{"messages":[]}}}"#, "the answer has not as many texts as were asked about");
        check(200, r#"{"action":"pass"}"#, "the answer has no `action`");
        check(200, "<html>", "the answer is no JSON");
        check(500, r#"{"action":{}}"#, "answered with 500");
    }
}
