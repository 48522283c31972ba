//! What the policy `ai` makes of a request before a provider is chosen: another model, members, masks, or a refusal.

use bytes::Bytes;
use filters::ai::{Guard, GuardOutcome, Guards, Policy, Prompts};
use filters::exchange::{Decision, Mode};
use filters::{Facts, Kind, Reply};
use pingora_http::RequestHeader;
use protocols::llm::enrich::enrich;
use protocols::llm::guard::{judge, said};
use protocols::llm::{Edits, Operation, Pattern, scan};

use super::choose::Nobody;
use super::examine::judged;
use super::webhook::{Asker, Side};
use super::{Asked, reply};
use crate::proxy::{Ctx, Proxy, inputs};

/// Changes the request in place. A reply refuses it.
pub(super) fn apply(ctx: &mut Ctx, asked: &mut Asked) -> Option<Reply> {
    let settings = ctx.settings().cloned()?;
    let policy = settings.ai()?;
    if let Some(alias) = asked.model.as_deref().and_then(|it| alias(policy, it)) {
        asked.model = Some(alias.to_owned());
        asked.changed_model = true;
    }
    if let Some(body) = asked.body.as_ref().and_then(|it| shaped(policy, asked.operation, it)) {
        (asked.body, asked.edited) = (Some(body), true);
    }
    asked.marks = policy.caching.map(|it| it.marks());
    let body = asked.body.clone().filter(|_| !policy.request.is_empty())?;
    let dialect = asked.operation.dialect();
    let Ok(judged) = judge(&body, true, &policy.request) else {
        return Some(reply::refusal(dialect, &Nobody::new(400, "invalid_request_body", "the body cannot be read")));
    };
    asked.findings += judged.found.len() as u64;
    note(&policy.request, &judged.found, &mut ctx.facts);
    if let Some(guard) = judged.refused.and_then(|it| policy.request.guards.get(it)) {
        return Some(reply::rejection(dialect, guard.rejection.as_ref()));
    }
    asked.edit(judged.edits);
    None
}

/// Whether servers guard this request.
pub(super) fn asks(ctx: &Ctx) -> bool {
    ctx.settings().and_then(|it| it.ai()).is_some_and(|it| it.request.asks())
}

/// Asks the servers that guard requests. A reply refuses it.
pub(super) async fn ask(proxy: &Proxy, client: &RequestHeader, ctx: &mut Ctx, asked: &mut Asked) -> Option<Reply> {
    let settings = ctx.settings().cloned()?;
    let guards = settings.ai().map(|it| &it.request).filter(|it| it.asks())?;
    let body = asked.body.clone()?;
    let dialect = asked.operation.dialect();
    let Ok(all) = said(&body, true) else {
        return Some(reply::refusal(dialect, &Nobody::new(400, "invalid_request_body", "the body cannot be read")));
    };
    let mut texts: Vec<_> = all.iter().map(|it| (it.part, (it.role, it.text.clone()))).collect();
    let asker = Asker::new(proxy, ctx, guards, (Side::Request, client, &inputs::request(client, ctx)));
    let mut found = Vec::new();
    let judged = judged(&asker, guards, Side::Request, &mut texts, &mut found).await;
    asked.findings += found.len() as u64;
    note(guards, &found, &mut ctx.facts);
    if let Err(refusal) = judged {
        let last = found.last().filter(|_| refusal.code == reply::REJECTED);
        ctx.facts.decisions.extend(last.map(|at| Decision::new(Kind::Ai, *at, Mode::Enforce)));
        return Some(reply::refused(dialect, &refusal));
    }
    let mut edits = Edits::default();
    for (said, (_, (_, text))) in all.iter().zip(&texts) {
        said.becomes(text, &mut edits);
    }
    asked.edit(edits);
    None
}

/// What a model is asked for instead.
pub(super) fn alias<'a>(policy: &'a Policy, model: &str) -> Option<&'a str> {
    let fits = |name: &str| Pattern::parse(name).is_ok_and(|it| it.matches(model));
    policy.aliases.iter().find(|(name, _)| fits(name)).map(|(_, model)| &**model)
}

/// A body with the members and messages that a policy adds; nothing where that is the body as it was.
pub(super) fn shaped(policy: &Policy, operation: Operation, body: &Bytes) -> Option<Bytes> {
    let with = |edits: Edits, body: &Bytes| (!edits.is_empty()).then(|| Bytes::from(edits.apply(body).concat()));
    let first = members(policy, operation, body).and_then(|it| with(it, body));
    let body = first.as_ref().unwrap_or(body);
    prompts(policy, operation, body).and_then(|it| with(it, body)).or(first)
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
    /// Puts a changed body in the place of the client's.
    fn edit(&mut self, edits: Edits) {
        if edits.is_empty() {
            return;
        }
        if let Some(body) = self.body.take() {
            self.body = Some(Bytes::from(edits.apply(&body).concat()));
            self.edited = true;
        }
    }
}
