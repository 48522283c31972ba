//! What the terms of single providers make of a request, once it is known who may answer it.
//!
//! Members and messages are put in when a provider's turn comes ([`Asked::fit`](super::ask)); here is what needs the client's
//! request, or others to be asked: expressions and guards. It is done for each that may answer before the first of them is
//! asked, so that one that is asked later is not asked what its guards refuse.

use bytes::Bytes;
use filters::Reply;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use protocols::llm::{Dialect, Operation};

use super::choose::{self, Candidate, Nobody};
use super::{Asked, Provider, reply, shape};
use crate::proxy::request::Stop;
use crate::proxy::{Ctx, Proxy, admission_of, inputs};

/// Whether there is anything to be done here.
pub(super) fn has_more(asked: &Asked) -> bool {
    let changes = |it: &Provider| match asked.operation {
        Operation::Realtime => it.own().is_some(),
        _ => asked.is_json() && it.own().is_some_and(|it| !it.request.is_empty() || !it.transformations.is_empty()),
    };
    let more = |it: &Provider| it.own.admission.is_some() || changes(it);
    asked.candidates.iter().filter_map(|it| asked.ai.providers.get(it.provider)).any(more)
}

/// Leaves out who does not take requests as they come, where the path is none that is known here; and who does, where
/// guards would have to read what is in none of the places that they know. A reply says that nobody is left.
pub(super) fn unread(ctx: &Ctx, asked: &mut Asked, unknown: bool) -> Option<Reply> {
    let guards =
        |policy: Option<&filters::ai::Policy>| policy.is_some_and(|it| !it.request.is_empty() || it.request.asks());
    let guarded = guards(ctx.settings().and_then(|it| it.ai()));
    let ai = asked.ai.clone();
    let may = |it: &Candidate| {
        ai.providers.get(it.provider).is_some_and(|it| match it.passthrough {
            Some(_) => !guarded && !guards(it.policy()),
            None => !unknown,
        })
    };
    asked.candidates.retain(may);
    let text = "the path is none that is known here: models with `passthrough` and without guards are asked at it";
    let nobody = || Nobody::new(400, choose::UNSUPPORTED, text);
    asked.candidates.is_empty().then(|| reply::refusal(asked.operation.dialect(), &nobody()))
}

/// Leaves out who may not be asked this, and makes the bodies for the others. A reply says that nobody is left.
pub(super) async fn apply(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    asked: &mut Asked,
) -> Result<Option<Reply>, Stop> {
    let candidates = std::mem::take(&mut asked.candidates);
    let mut refused = None;
    for candidate in candidates {
        if let Some(reply) = admitted(proxy, session, ctx, asked, &candidate).await? {
            refused = refused.or(Some(reply));
            continue;
        }
        match body_for(proxy, session.req_header(), ctx, asked, &candidate).await {
            Ok(body) => asked.candidates.push(Candidate { body, ..candidate }),
            Err(reply) => refused = refused.or(Some(reply)),
        }
    }
    Ok(refused.filter(|_| asked.candidates.is_empty()))
}

/// Asks the policies that decide whether a provider is asked this. A reply says that it is not.
async fn admitted(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    asked: &Asked,
    candidate: &Candidate,
) -> Result<Option<Reply>, Stop> {
    let Some(provider) = asked.ai.providers.get(candidate.provider) else { return Ok(None) };
    let Some(policies) = &provider.own.admission else { return Ok(None) };
    admission_of(proxy, session, ctx, policies, provider.backend.target.name().into()).await
}

/// The body for one of them, where that is not the one for all.
async fn body_for(
    proxy: &Proxy,
    client: &RequestHeader,
    ctx: &mut Ctx,
    asked: &mut Asked,
    candidate: &Candidate,
) -> Result<Option<Bytes>, Reply> {
    let ai = asked.ai.clone();
    let Some(provider) = ai.providers.get(candidate.provider) else { return Ok(None) };
    if asked.operation == Operation::Realtime {
        let asks = provider.policy().is_some_and(|it| it.request.asks() || it.streaming && it.response.asks());
        let nobody = || Nobody::new(400, "realtime_not_guarded", super::realtime::NOT_GUARDED);
        return if asks { Err(reply::refusal(Dialect::OpenAi, &nobody())) } else { Ok(None) };
    }
    let (Some(policy), Some(body)) = (provider.own(), asked.body.clone()) else { return Ok(None) };
    let shaped = shape::shaped(policy, asked.operation, &body, Some(inputs::request(client, ctx)));
    let mut other = shaped;
    if !policy.request.is_empty() {
        let body = other.as_ref().unwrap_or(&body);
        other = shape::ruled(&policy.request, body, ctx, asked)?.or(other);
    }
    if policy.request.asks() {
        let body = other.clone().unwrap_or(body);
        other = shape::served(proxy, client, ctx, asked, (&policy.request, body)).await?.or(other);
    }
    Ok(other)
}
