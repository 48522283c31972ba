//! What `mcpGuardrails` say of a message and of its result.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use filters::callout::{Guard, Guarded, Refusal};
use filters::expr::Json;
use filters::{Attachment, Effective, Facts, Kind, Outside as _, Policy, mcp_guardrails};
use pingora_proxy::Session;
use protocols::json::{self, Kind as Shape, quoted};
use protocols::mcp::{Edits, Message, answer};
use serde_json::Value;

use super::about::About;
use super::talk::Talk;
use crate::outside::Asking;
use crate::plan::Plan;
use crate::proxy::{Ctx, Proxy, inputs};

/// Everything that is needed to ask about one message, while the exchange goes on.
pub(super) struct Guards {
    asking: Asking,
    attachment: Arc<Attachment>,
    plan: Arc<Plan>,
    facts: Facts,
    method: String,
    services: Vec<String>,
    /// Of each processor.
    metadata: Vec<Json>,
}

/// What goes on.
enum Passed {
    AsItIs,
    Changed(String),
    /// A JSON-RPC error.
    Refused(String),
}

/// Whether anything is looked at.
pub(super) fn stands(ctx: &Ctx) -> bool {
    effective(ctx).is_some_and(|it| it.part(Kind::McpGuardrails).is_some())
}

fn effective(ctx: &Ctx) -> Option<&Arc<Effective>> {
    ctx.backend().map(|it| &it.effective).or(ctx.effective())
}

impl Guards {
    /// `None`: nobody is asked about such a message.
    pub(super) fn of(
        proxy: &Proxy,
        session: &Session,
        ctx: &Ctx,
        (method, mcp): (&str, Option<&About>),
        services: &[&str],
    ) -> Option<Self> {
        let attachment = effective(ctx)?.part(Kind::McpGuardrails)?.clone();
        let Policy::McpGuardrails(policy) = &attachment.policy else { return None };
        if policy.processors.iter().all(|it| it.phase(method) == mcp_guardrails::Phase::Off) {
            return None;
        }
        let mut seen = inputs::request(session.req_header(), ctx);
        seen.objects.mcp = mcp.map(About::object);
        let metadata = policy.processors.iter().map(|processor| {
            let fields = processor.metadata.iter().filter_map(|(name, expression)| {
                let value = expression.evaluate(&seen).ok()?.to_body().ok()?;
                let text = String::from_utf8_lossy(&value).into_owned();
                Some((name.to_string(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
            });
            fields.collect()
        });
        let metadata = metadata.collect();
        let services = services.iter().map(|it| (*it).to_owned()).collect();
        let (plan, facts) = (ctx.plan.clone(), ctx.facts.clone());
        Some(Self {
            asking: proxy.asking.clone(),
            attachment: attachment.clone(),
            plan,
            facts,
            method: method.to_owned(),
            services,
            metadata,
        })
    }

    /// Of a list of several servers.
    pub(super) fn of_list(proxy: &Proxy, session: &Session, ctx: &Ctx, talk: &Talk, method: &str) -> Option<Self> {
        let names: Vec<&str> = talk.federation.targets.iter().map(|it| &*it.name).collect();
        Self::of(proxy, session, ctx, (method, None), &names)
    }

    /// Has a list of several servers looked at, and changed; or a JSON-RPC error.
    pub(super) async fn list(&self, result: &mut Bytes) -> Result<(), String> {
        let shown = std::str::from_utf8(result).unwrap_or_default();
        match self.ask(shown, true).await {
            Passed::AsItIs => Ok(()),
            Passed::Changed(other) => {
                *result = other.into();
                Ok(())
            }
            Passed::Refused(error) => Err(error),
        }
    }

    /// The body that goes on in the place of this one, if another does; or a JSON-RPC error.
    pub(super) async fn request(&self, body: &Bytes) -> Result<Option<Bytes>, String> {
        let Ok(message) = Message::parse(body) else { return Ok(None) };
        let Some(params) = message.params else { return Ok(None) };
        match self.ask(params.text(), false).await {
            Passed::AsItIs => Ok(None),
            Passed::Changed(text) => Ok(Some(replaced(body, params.range(), text))),
            Passed::Refused(error) => Err(error),
        }
    }

    /// A message of the server's as it goes on: what answers `id` is looked at.
    pub(super) async fn result_of(guards: Option<&Self>, message: Bytes, id: &str) -> Bytes {
        let Some(guards) = guards else { return message };
        let Ok(parsed) = Message::parse(&message) else { return message };
        let Some(result) = parsed.result.filter(|_| parsed.answers(id)) else { return message };
        match guards.ask(result.text(), true).await {
            Passed::AsItIs => message,
            Passed::Changed(text) => replaced(&message, result.range(), text),
            Passed::Refused(error) => answer::error_object(id, &error).into(),
        }
    }

    /// `message`: parameters, or where it is answered the result.
    async fn ask(&self, message: &str, answered: bool) -> Passed {
        let Policy::McpGuardrails(policy) = &self.attachment.policy else { return Passed::AsItIs };
        let around = self.asking.around(&self.plan, None);
        let services: Vec<&str> = self.services.iter().map(String::as_str).collect();
        let mut changed: Option<String> = None;
        for (processor, metadata) in policy.processors.iter().zip(&self.metadata) {
            let phase = processor.phase(&self.method);
            let asked = if answered { phase.is_of_responses() } else { phase.is_of_requests() };
            if !asked {
                continue;
            }
            let message = changed.as_deref().unwrap_or(message);
            let (facts, method) = (&self.facts, self.method.as_str());
            let guard = Guard { answered, services: &services, method, metadata, message, facts };
            match around.callout().guard(&processor.target, guard).await {
                Ok(Guarded::Pass) => {}
                Ok(Guarded::Mutated(text)) if is_object(&text) => changed = Some(text),
                Ok(Guarded::Refused(refusal)) => return Passed::Refused(error(refusal)),
                Ok(Guarded::Mutated(_)) | Err(_) if processor.fail_open => {}
                Ok(Guarded::Mutated(_)) | Err(_) => {
                    let reason = "a guardrail could not be asked".to_owned();
                    return Passed::Refused(error(Refusal { code: answer::SERVER_ERROR, reason, error: None }));
                }
            }
        }
        changed.map_or(Passed::AsItIs, Passed::Changed)
    }
}

fn replaced(body: &Bytes, range: Range<usize>, text: String) -> Bytes {
    let mut edits = Edits::default();
    edits.replace(range, text);
    let document = std::str::from_utf8(body).unwrap_or_default();
    edits.apply(document, 0..document.len()).into()
}

fn is_object(text: &str) -> bool {
    json::parse(text.as_bytes()).is_ok_and(|it| it.kind() == Shape::Object)
}

/// A JSON-RPC error: the processor's own where it is one.
fn error(Refusal { code, reason, error }: Refusal) -> String {
    let own = error.filter(|it| {
        json::parse(it.as_bytes())
            .is_ok_and(|it| it.get("code").is_some_and(|it| it.kind() == Shape::Number) && it.get("message").is_some())
    });
    let reason = if reason.is_empty() { "refused by a guardrail" } else { &reason };
    own.unwrap_or_else(|| format!(r#"{{"code":{code},"message":{}}}"#, quoted(reason)))
}
