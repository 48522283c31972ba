//! What the policy `ai` makes of a request before a provider is chosen: another model, members, masks, or a refusal.

use bytes::Bytes;
use filters::ai::{Guard, GuardOutcome, Guards, Policy, Prompts};
use filters::exchange::{Decision, Mode};
use filters::expr::{Expression, Inputs, Needs};
use filters::{Facts, Kind, Reply};
use ir::Text;
use pingora_http::RequestHeader;
use protocols::llm::enrich::enrich;
use protocols::llm::guard::{judge, said};
use protocols::llm::{Dialect, Edits, Operation, Pattern, scan};
use serde_json::Value;

use super::choose::Nobody;
use super::examine::judged;
use super::webhook::{Asker, Side};
use super::{Asked, reply};
use crate::proxy::{Ctx, Proxy, inputs};

/// Changes the request in place. A reply refuses it.
pub(super) fn apply(client: &RequestHeader, ctx: &mut Ctx, asked: &mut Asked) -> Option<Reply> {
    let settings = ctx.settings().cloned()?;
    let policy = settings.ai()?;
    if let Some(alias) = asked.model.as_deref().and_then(|it| alias(policy, it)) {
        asked.model = Some(alias.to_owned());
        asked.changed_model = true;
    }
    let body = asked.body.as_ref();
    let inputs = (!policy.transformations.is_empty()).then(|| inputs::request(client, ctx));
    if let Some(body) = body.and_then(|it| shaped(policy, asked.operation, it, inputs)) {
        // What may be used is reserved by what the provider will read.
        asked.max_tokens = scan(asked.operation, &body).map_or(asked.max_tokens, |it| it.max_tokens);
        asked.become_other(body);
    }
    asked.marks = policy.caching.map(|it| it.marks());
    let body = asked.body.clone().filter(|_| !policy.request.is_empty())?;
    let judged = ruled(&policy.request, &body, ctx, asked);
    asked.settle_body(judged)
}

/// What the rules of guards make of a body; nothing where it stays as it is. A reply refuses it.
pub(super) fn ruled(guards: &Guards, body: &Bytes, ctx: &mut Ctx, asked: &mut Asked) -> Result<Option<Bytes>, Reply> {
    let dialect = asked.operation.dialect();
    let Ok(judged) = judge(body, true, guards) else { return Err(unreadable(dialect)) };
    asked.findings += judged.found.len() as u64;
    note(guards, &judged.found, &mut ctx.facts);
    match judged.refused.and_then(|it| guards.guards.get(it)) {
        Some(guard) => Err(reply::rejection(dialect, guard.rejection.as_ref())),
        None => Ok(with(judged.edits, body)),
    }
}

fn unreadable(dialect: Dialect) -> Reply {
    reply::refusal(dialect, &Nobody::new(400, "invalid_request_body", "the body cannot be read"))
}

/// A body with these edits; nothing where there are none.
fn with(edits: Edits, body: &Bytes) -> Option<Bytes> {
    (!edits.is_empty()).then(|| Bytes::from(edits.apply(body).concat()))
}

/// Asks the servers that guard requests, where there are any. A reply refuses it.
pub(super) async fn ask(proxy: &Proxy, client: &RequestHeader, ctx: &mut Ctx, asked: &mut Asked) -> Option<Reply> {
    let settings = ctx.settings().cloned()?;
    let guards = settings.ai().map(|it| &it.request).filter(|it| it.asks())?;
    let body = asked.body.clone()?;
    let judged = served(proxy, client, ctx, asked, (guards, body)).await;
    asked.settle_body(judged)
}

/// Whether servers guard this request.
pub(super) fn asks(ctx: &Ctx) -> bool {
    ctx.settings().and_then(|it| it.ai()).is_some_and(|it| it.request.asks())
}

/// What the servers of guards make of a body; nothing where it stays as it is. A reply refuses it.
pub(super) async fn served(
    proxy: &Proxy,
    client: &RequestHeader,
    ctx: &mut Ctx,
    asked: &mut Asked,
    (guards, body): (&Guards, Bytes),
) -> Result<Option<Bytes>, Reply> {
    let dialect = asked.operation.dialect();
    let Ok(all) = said(&body, true) else { return Err(unreadable(dialect)) };
    let mut texts: Vec<_> = all.iter().map(|it| (it.part, (it.role, it.text.clone()))).collect();
    let asker = Asker::new(proxy, ctx, guards, (Side::Request, client, &inputs::request(client, ctx)));
    let mut found = Vec::new();
    let judged = judged(&asker, guards, Side::Request, &mut texts, &mut found).await;
    asked.findings += found.len() as u64;
    note(guards, &found, &mut ctx.facts);
    if let Err(refusal) = judged {
        let last = found.last().filter(|_| refusal.code == reply::REJECTED);
        ctx.facts.decisions.extend(last.map(|at| Decision::new(Kind::Ai, *at, Mode::Enforce)));
        return Err(reply::refused(dialect, &refusal));
    }
    let mut edits = Edits::default();
    for (said, (_, (_, text))) in all.iter().zip(&texts) {
        said.becomes(text, &mut edits);
    }
    Ok(with(edits, &body))
}

/// What a model is asked for instead.
pub(super) fn alias<'a>(policy: &'a Policy, model: &str) -> Option<&'a str> {
    let fits = |name: &str| Pattern::parse(name).is_ok_and(|it| it.matches(model));
    policy.aliases.iter().find(|(name, _)| fits(name)).map(|(_, model)| &**model)
}

/// A body with the members and messages that a policy adds; nothing where that is the body as it was. Without inputs
/// there are no expressions.
pub(super) fn shaped(policy: &Policy, operation: Operation, body: &Bytes, inputs: Option<Inputs<'_>>) -> Option<Bytes> {
    let mut other = members(policy, operation, body).and_then(|it| with(it, body));
    if let Some(inputs) = inputs {
        let body = other.as_ref().unwrap_or(body);
        other = expressed(&policy.transformations, operation, body, inputs).or(other);
    }
    let body = other.as_ref().unwrap_or(body);
    prompts(policy, operation, body).and_then(|it| with(it, body)).or(other)
}

/// A body with the members that expressions give; nothing where that is the body as it was.
pub(super) fn expressed(
    written: &[(Text, Expression)],
    operation: Operation,
    body: &Bytes,
    inputs: Inputs<'_>,
) -> Option<Bytes> {
    if written.is_empty() {
        return None;
    }
    let mut inputs = inputs;
    let reads = |(_, it): &(Text, Expression)| it.needs().intersects(Needs::LLM_REQUEST);
    let said: Option<Value> = written.iter().any(reads).then(|| serde_json::from_slice(body).ok()).flatten();
    inputs.objects.llm_request = said.as_ref();
    // It was scanned before, and is the same still.
    let request = scan(operation, body).ok()?;
    let (mut edits, mut gone) = (Edits::default(), Vec::new());
    for (name, it) in written {
        match it.evaluate(&inputs).and_then(|it| it.into_json()) {
            Ok(Value::Null) => gone.push(name),
            Ok(value) => request.set(&mut edits, name, value.to_string()),
            Err(error) => tracing::debug!(member = %name, error = %it.explain(&error), "a member stays as it was"),
        }
    }
    let mut other = with(edits, body);
    // One after the other: what is taken out reaches to its neighbours.
    for name in gone {
        let body = other.as_ref().unwrap_or(body);
        let mut edits = Edits::default();
        scan(operation, body).ok()?.take(&mut edits, name, None);
        other = with(edits, body).or(other);
    }
    other
}

fn members(policy: &Policy, operation: Operation, body: &Bytes) -> Option<Edits> {
    let Policy { defaults, overrides, .. } = policy;
    if defaults.is_empty() && overrides.is_empty() {
        return None;
    }
    // It was scanned before, and is the same still.
    let request = scan(operation, body).ok()?;
    let mut edits = Edits::default();
    let overridden = |name: &str| overrides.iter().any(|(it, _)| &**it == name);
    let missing = defaults.iter().filter(|(name, _)| request.given(name).is_none() && !overridden(name));
    for (name, value) in missing.chain(overrides) {
        request.set(&mut edits, name, value.to_string());
    }
    Some(edits)
}

fn prompts(policy: &Policy, operation: Operation, body: &Bytes) -> Option<Edits> {
    if policy.prompts.is_empty() {
        return None;
    }
    // It was scanned before, and is the same still but for its members.
    let request = scan(operation, body).ok()?;
    let (before, behind) = (Prompts::messages(&policy.prompts.before), Prompts::messages(&policy.prompts.behind));
    let mut edits = Edits::default();
    enrich(operation, &request, &before, &behind, &mut edits);
    Some(edits)
}

/// Decisions of guards that found something: for counters and the access log.
pub(super) fn note(guards: &Guards, found: &[usize], facts: &mut Facts) {
    for (position, Guard { outcome, .. }) in guards.guards.iter().enumerate() {
        let mode = match outcome {
            GuardOutcome::Shadow => Mode::Shadow,
            // What is refused is; what is masked passes, and what is only counted as well.
            GuardOutcome::Enforce if guards.guards.get(position).is_some_and(|it| it.rejects) => Mode::Enforce,
            GuardOutcome::Enforce | GuardOutcome::Audit => continue,
        };
        if found.contains(&position) {
            facts.decisions.push(Decision::new(Kind::Ai, position, mode));
        }
    }
}

impl Asked {
    /// What guards make of the body. A reply refuses it.
    fn settle_body(&mut self, judged: Result<Option<Bytes>, Reply>) -> Option<Reply> {
        match judged {
            Ok(None) => None,
            Ok(Some(body)) => {
                self.become_other(body);
                None
            }
            Err(reply) => Some(reply),
        }
    }

    /// Puts a changed body in the place of the client's.
    fn become_other(&mut self, body: Bytes) {
        (self.body, self.edited) = (Some(body), true);
    }
}
