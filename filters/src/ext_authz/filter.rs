//! External authorization as run.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::cache::Found;
use super::policy::{Body, Failure, Grpc, Policy, Protocol};
use crate::callout::apply::{self, Changes};
use crate::callout::{self, Allowed, Check, Checked, Denied, Fault, HeaderChange};
use crate::exchange::{Decision, Mode};
use crate::expr::Expression;
use crate::{Exchange, HeldBody, Kind, Reason, Reply, Verdict};

/// Status of a denial that has none.
pub(super) const FORBIDDEN: u16 = 403;
/// Under which a verified token's claims are sent.
const CLAIMS: &str = "envoy.filters.http.jwt_authn";
/// Under which the claims stand there.
const PAYLOAD: &str = "jwt_payload";

/// What an answer comes to.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Allowed(Allowed),
    Denied(Denied),
    /// An answer for the client as it stands.
    Answered(Reply),
}

/// Why there is no outcome.
pub(super) enum Miss {
    Fault(Fault),
    /// An expression that the question is made of failed: the request is refused, whatever the failure
    /// mode. The text is for the log.
    Expression(String),
}

impl From<Fault> for Miss {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Policy {
    pub async fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let verdict = match self.decide(exchange).await {
            Ok(outcome) => self.carry_out(exchange, outcome),
            Err(miss) => self.failed(exchange, &miss),
        };
        let Verdict::Reply(reply) = verdict else { return Verdict::Continue };
        exchange.facts.decisions.push(Decision { kind: Kind::ExtAuthz, rule: None, mode: self.mode, policy: None });
        match self.mode {
            Mode::Enforce => Verdict::Reply(reply),
            Mode::Shadow => Verdict::Continue,
        }
    }

    /// What the server says, now or before.
    async fn decide(&self, exchange: &mut Exchange<'_>) -> Result<Outcome, Miss> {
        if self.body.is_some_and(|body| !body.partial && body.is_cut(exchange.facts.body.held())) {
            let text = "the request body is larger than the gateway may hold\n";
            return Ok(Outcome::Answered(Reply::text(413, Reason::TooLarge, text)));
        }
        let Some((cache, key)) = self.cache.as_ref().and_then(|it| Some((it, it.key_of(&exchange.inputs())?))) else {
            return self.ask(exchange).await;
        };
        let store = cache.store.get(self);
        let stale = match store.find(&key, exchange.outside.now()) {
            Found::Known(outcome) => return Ok(Outcome::clone(&outcome)),
            Found::Due(outcome) => Some(outcome),
            Found::Unknown => None,
        };
        match (self.ask(exchange).await, stale) {
            (Ok(outcome), _) => {
                let now = exchange.outside.now();
                let outcome = Arc::new(outcome);
                if let Some(ttl) = cache.ttl_of(&exchange.inputs(), now) {
                    store.put(key, &outcome, now, ttl);
                }
                Ok(Outcome::clone(&outcome))
            }
            // What is known still holds.
            (Err(miss), Some(outcome)) => {
                exchange.facts.note(|| miss.text());
                Ok(Outcome::clone(&outcome))
            }
            (Err(miss), None) => Err(miss),
        }
    }

    fn carry_out(&self, exchange: &mut Exchange<'_>, outcome: Outcome) -> Verdict {
        match outcome {
            // What is only tried out changes nothing.
            Outcome::Allowed(_) if self.mode == Mode::Shadow => Verdict::Continue,
            Outcome::Allowed(allowed) => match allow(exchange, allowed) {
                Ok(()) => Verdict::Continue,
                Err(fault) => self.failed(exchange, &Miss::Fault(fault)),
            },
            Outcome::Denied(denied) => Verdict::Reply(deny(denied)),
            Outcome::Answered(reply) => Verdict::Reply(reply),
        }
    }

    async fn ask(&self, exchange: &Exchange<'_>) -> Result<Outcome, Miss> {
        let Exchange { request, facts, outside } = exchange;
        let held = facts.body.held().zip(self.body);
        let cut = held.map(|(held, body)| (body.cut(held), body));
        match &self.protocol {
            Protocol::Grpc(grpc) => {
                let body = cut.as_ref().map(|((bytes, partial), body)| callout::Body {
                    bytes,
                    packed: body.packed,
                    partial: *partial,
                });
                let metadata = grpc.told(exchange);
                let (headers, context) = (&self.headers, &grpc.context);
                let check = Check { head: request, facts, headers, body, context, metadata };
                Ok(match outside.callout().check(&self.target, check).await? {
                    Checked::Allowed(allowed) => Outcome::Allowed(allowed),
                    Checked::Denied(denied) => Outcome::Denied(denied),
                })
            }
            Protocol::Http(http) => self.ask_http(http, exchange, cut.map(|(cut, _)| cut)).await,
        }
    }

    fn failed(&self, exchange: &mut Exchange<'_>, miss: &Miss) -> Verdict {
        exchange.facts.note(|| miss.text());
        let status = match (miss, self.failure) {
            (Miss::Expression(_), _) => FORBIDDEN,
            (Miss::Fault(_), Failure::Allow) => return Verdict::Continue,
            (Miss::Fault(_), Failure::Deny(status)) => status,
        };
        Verdict::Reply(Reply::text(status, Reason::ExtAuth, "external authorization failed\n"))
    }
}

impl Miss {
    fn text(&self) -> String {
        match self {
            Self::Fault(fault) => format!("extAuthz: {fault}"),
            Self::Expression(text) => format!("extAuthz: {text}"),
        }
    }
}

impl Outcome {
    /// Bytes that remembering it takes, about.
    pub(super) fn size(&self) -> usize {
        let changes = |list: &[HeaderChange]| list.iter().map(|it| it.name.len() + it.value.len() + 64).sum::<usize>();
        let json = |map: &Map<String, Value>| serde_json::to_vec(map).map_or(usize::MAX / 2, |it| it.len() * 2);
        match self {
            Self::Allowed(it) => {
                let names = it.remove.iter().chain(&it.query_remove).map(|it| it.len() + 24).sum::<usize>();
                let query = it.query_set.iter().map(|(name, value)| name.len() + value.len() + 48).sum::<usize>();
                changes(&it.request) + changes(&it.response) + names + query + json(&it.metadata)
            }
            Self::Denied(it) => changes(&it.headers) + it.body.len() + json(&it.metadata),
            Self::Answered(it) => it.body.len() + it.headers.iter().map(|(_, value)| value.len() + 64).sum::<usize>(),
        }
    }
}

impl Grpc {
    /// Metadata as configured, else the claims of a token that was verified, where servers of this
    /// protocol look for them. What fails is left away.
    fn told(&self, exchange: &Exchange<'_>) -> Map<String, Value> {
        if !self.metadata.is_empty() {
            let inputs = exchange.inputs();
            let value = |it: &Expression| it.evaluate(&inputs).ok()?.into_json().ok();
            return self.metadata.iter().filter_map(|(name, it)| Some((name.to_string(), value(it)?))).collect();
        }
        let Some(jwt) = &exchange.facts.identity.jwt else { return Map::new() };
        let payload = Value::Object(jwt.claims.clone());
        let claims = Value::Object(Map::from_iter([(PAYLOAD.to_owned(), payload)]));
        Map::from_iter([(CLAIMS.to_owned(), claims)])
    }
}

impl Body {
    /// The part that is sent, and whether there is more.
    fn cut(&self, held: &HeldBody) -> (Bytes, bool) {
        let length = held.bytes.len().min(self.bytes_max);
        (held.bytes.slice(..length), self.is_cut(Some(held)))
    }

    fn is_cut(&self, held: Option<&HeldBody>) -> bool {
        held.is_some_and(|it| !it.whole || it.bytes.len() > self.bytes_max)
    }
}

/// All of it or nothing: the first part that cannot be carried out makes it no answer.
fn allow(exchange: &mut Exchange<'_>, allowed: Allowed) -> Result<(), Fault> {
    let Allowed { request, remove, query_set, query_remove, response, metadata } = allowed;
    let changes = Changes::parse(&request, &remove)?;
    let owed = apply::owed(&response)?;
    changes.apply(exchange);
    apply::query(exchange.request, &query_set, &query_remove)?;
    exchange.facts.response_changes.extend(owed);
    if !metadata.is_empty() {
        exchange.facts.extauthz.get_or_insert_default().extend(metadata);
    }
    Ok(())
}

fn deny(denied: Denied) -> Reply {
    let Denied { status, headers, body, .. } = denied;
    let status = status.filter(|it| (200..=599).contains(it)).unwrap_or(FORBIDDEN);
    let headers = apply::owed_or_less(&headers);
    let mut reply = Reply::text(status, Reason::ExtAuth, body);
    if headers.iter().any(|(name, _)| *name == http::header::CONTENT_TYPE) {
        reply.headers.clear();
    }
    reply.headers.extend(headers);
    reply
}
