//! What is learnt of an exchange with an agent, for rules, log and counters.

use filters::exchange::Metadata;
use protocols::a2a::{Binding, Seen};
use serde_json::{Value, json};

use super::relay;
use super::talk::{Kind, Talk};
use crate::proxy::{Ctx, Proxy};

/// How rules name the request for a card, which is no method.
const CARD: &str = "GetAgentCard";
/// What an agent sends to a client, which is none either.
pub(super) const NEWS: &str = "PushNotification";
/// What counters say of methods that nobody knows.
const UNKNOWN: &str = "unknown";

/// What an answer said.
#[derive(Default)]
pub(super) struct Answered {
    pub(super) seen: Seen,
    pub(super) outcome: Option<Outcome>,
    /// Why the answer could not go on as it was.
    pub(super) fault: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Error,
}

/// What counters say of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub method: &'static str,
    pub version: &'static str,
    pub binding: &'static str,
    pub outcome: &'static str,
    pub state: &'static str,
}

/// The `a2a` of expressions for a request for a card.
pub(super) fn card() -> Metadata {
    let mut object = Metadata::new();
    object.insert("method".to_owned(), Value::from(CARD));
    object
}

/// The `a2a` of expressions for news that are not read yet.
pub(super) fn news() -> Metadata {
    let mut object = Metadata::new();
    object.insert("method".to_owned(), Value::from(NEWS));
    object
}

/// The `a2a` of expressions; `named` is the method as the client wrote it.
pub(super) fn object(talk: &Talk, named: &str, seen: &Seen) -> Metadata {
    let mut object = Metadata::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("method", talk.method.map_or(named, |it| it.as_str()).into());
    put("version", talk.version.as_str().into());
    put("binding", binding(talk.kind).into());
    let ids = [("task", &seen.task), ("context", &seen.context), ("message", &seen.message)];
    for (name, id) in ids.into_iter().filter_map(|(name, id)| Some((name, id.as_ref()?))) {
        put(name, json!({ "id": id }));
    }
    if let Some(skill) = &seen.skill {
        put("skill", skill.as_str().into());
    }
    object
}

fn binding(kind: Kind) -> &'static str {
    match kind {
        Kind::JsonRpc => Binding::JsonRpc.as_str(),
        Kind::Rest(..) => Binding::Rest.as_str(),
        Kind::Grpc(..) => Binding::Grpc.as_str(),
        Kind::Card | Kind::News => "",
    }
}

/// Puts what the answer said beside what was asked. To be called once, when the exchange has ended.
pub fn settle(proxy: &Proxy, ctx: &mut Ctx) -> Option<Told> {
    let talk = ctx.a2a.take()?;
    let Answered { seen, outcome, fault } = std::mem::take(&mut *talk.answered.lock());
    if let Some(fault) = fault {
        ctx.outcome.error.get_or_insert(fault);
    }
    let outcome = match (talk.kind, ctx.outcome.grpc_status) {
        (Kind::Grpc(..), Some(0)) => Some(Outcome::Success),
        (Kind::Grpc(..), Some(_)) => Some(Outcome::Error),
        _ if ctx.outcome.reason != filters::Reason::Upstream => Some(Outcome::Error),
        _ => outcome,
    };
    relay::remember(&proxy.a2a.deleted, &talk, &seen, outcome);
    let outcome = match outcome {
        Some(Outcome::Success) => "success",
        Some(Outcome::Error) => "error",
        None => "unknown",
    };
    let code = match talk.kind {
        Kind::Grpc(..) => ctx.outcome.grpc_status.filter(|it| *it != 0).map(i64::from),
        _ => seen.error_code,
    };
    if let Some(object) = ctx.facts.a2a.read_mut() {
        answered(object, &seen, outcome, code);
    }
    let (method, version) = match talk.kind {
        Kind::Card => (CARD, ""),
        Kind::News => (NEWS, talk.version.as_str()),
        _ => (talk.method.map_or(UNKNOWN, |it| it.as_str()), talk.version.as_str()),
    };
    Some(Told { method, version, binding: binding(talk.kind), outcome, state: seen.state.unwrap_or_default() })
}

fn answered(object: &mut Metadata, seen: &Seen, outcome: &str, code: Option<i64>) {
    let mut put = |name: &str, part: &str, value: Option<Value>| {
        let Some(value) = value else { return };
        let slot = object.entry(name).or_insert_with(|| Value::Object(Metadata::new()));
        if let Value::Object(slot) = slot {
            slot.entry(part).or_insert(value);
        }
    };
    put("response", "outcome", Some(outcome.into()));
    put("response", "errorCode", code.map(Into::into));
    put("result", "kind", seen.kind.map(Into::into));
    put("task", "id", seen.task.as_deref().map(Into::into));
    put("task", "state", seen.state.map(Into::into));
    put("context", "id", seen.context.as_deref().map(Into::into));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_about_stands_and_the_rest_is_added() {
        let mut object = card();
        object.insert("task".to_owned(), json!({"id": "asked"}));
        let seen =
            Seen { task: Some("told".into()), context: Some("c".into()), state: Some("working"), ..Seen::default() };
        answered(&mut object, &seen, "error", Some(-32001));
        assert_eq!(
            Value::Object(object),
            json!({
                "method": "GetAgentCard",
                "task": {"id": "asked", "state": "working"},
                "context": {"id": "c"},
                "response": {"outcome": "error", "errorCode": -32001},
            })
        );
    }
}
