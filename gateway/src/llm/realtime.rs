//! Sessions of realtime: a WebSocket to one provider, accounted answer by answer, and looked through where guards are.
//!
//! The handshake is routed like any request, by the model that its query names, and goes to the next provider where it is
//! refused. From then on bytes pass as they come; see [`protocols::llm::realtime`] for what is done with them.
//! Tokens are reserved for each answer when it begins, and settled when it is over: a session whose limits have nothing
//! left when an answer begins gets an error event and is closed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use filters::ai::Guards;
use filters::{Effective, Reply};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use protocols::llm::named;
use protocols::llm::realtime::{Moment, Refusal, Rules, Talk};
use protocols::websocket::Side;

use super::choose::Nobody;
use super::head::encoded;
use super::{Asked, quota, reply, shape};
use crate::proxy::{Ctx, Proxy};
use crate::session::RESPONSE_REFUSED;

const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");
const PROTOCOLS: HeaderName = HeaderName::from_static("sec-websocket-protocol");

/// What a browser, which can send no header, has before its key.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";

/// How long both sides of a session that was ended have to go.
const PARTING: Duration = Duration::from_secs(5);

/// Why a session is refused that a server would have to look at.
pub(super) const NOT_GUARDED: &str =
    "a guard of this route or model asks a server, which is not done for sessions of realtime";

/// A session under way.
pub(crate) struct Live {
    talk: Talk,
    guards: Option<Arc<Effective>>,
    over: Option<Instant>,
}

/// Which model is asked for, and whether this may be a session at all. A reply refuses it.
pub(super) fn admit(ctx: &Ctx, asked: &mut Asked, query: Option<&str>) -> Option<Reply> {
    let refuse = |status, code, text: String| {
        Some(reply::refusal(protocols::llm::Dialect::OpenAi, &Nobody::new(status, code, text)))
    };
    if !ctx.is_upgrade {
        return refuse(426, "upgrade_required", "a session of realtime is a WebSocket over HTTP/1.1".to_owned());
    }
    let named = match query.and_then(|it| super::ask::parameter(it, "model")) {
        Some(text) => match named(&text) {
            Some(model) => Some(model.into_owned()),
            None => return refuse(400, "invalid_model", "the query names no model".to_owned()),
        },
        None => None,
    };
    asked.model = named;
    let settings = ctx.settings();
    let policy = settings.as_ref().and_then(|it| it.ai());
    if let Some(alias) = policy.zip(asked.model.as_deref()).and_then(|(policy, it)| shape::alias(policy, it)) {
        asked.model = Some(alias.to_owned());
    }
    if let Some(model) = asked.model.as_deref().filter(|it| asked.ai.routes_models && !super::ask::may_ask(ctx, it)) {
        return refuse(403, "model_not_allowed", format!("the model `{model}` is not for this key"));
    }
    if policy.is_some_and(|it| it.request.asks() || it.streaming && it.response.asks()) {
        return refuse(400, "realtime_not_guarded", NOT_GUARDED.to_owned());
    }
    None
}

/// The head as a provider gets it: its name of the model, frames without extensions, no key of the client's.
pub(super) fn requested(head: &mut RequestHeader, asked: &Asked) -> Result<()> {
    head.remove_header(&EXTENSIONS);
    without_keys(head)?;
    let Some(model) = asked.asked_model() else { return Ok(()) };
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let names = |it: &&str| it.split('=').next() == Some("model");
    // Azure has had the model under another name.
    let elsewhere = query.split('&').any(|it| it.starts_with("deployment="));
    let own = format!("model={}", encoded(model));
    if !elsewhere && query.split('&').filter(names).eq([own.as_str()]) {
        return Ok(());
    }
    let others = query.split('&').filter(|it| !it.is_empty() && !names(it));
    let all: Vec<&str> = others.chain((!elsewhere).then_some(own.as_str())).collect();
    let target = format!("{path}?{}", all.join("&"));
    head.set_uri(target.parse().map_err(|_| Error::explain(ErrorType::InternalError, "a query is none"))?);
    Ok(())
}

/// Takes the client's key out of the protocols that it offers.
fn without_keys(head: &mut RequestHeader) -> Result<()> {
    let offered: Vec<String> =
        head.headers.get_all(&PROTOCOLS).iter().filter_map(|it| it.to_str().ok()).map(str::to_owned).collect();
    if !offered.iter().any(|it| it.contains(KEY_PROTOCOL)) {
        return Ok(());
    }
    let kept: Vec<&str> = offered
        .iter()
        .flat_map(|it| it.split(','))
        .map(str::trim)
        .filter(|it| !it.is_empty() && !it.starts_with(KEY_PROTOCOL))
        .collect();
    head.remove_header(&PROTOCOLS);
    if kept.is_empty() {
        return Ok(());
    }
    let kept = HeaderValue::from_str(&kept.join(", ")).map_err(|_| Error::new(ErrorType::InternalError))?;
    head.insert_header(PROTOCOLS, kept)
}

/// The provider has answered: from here on it is a session, if it is one.
pub(super) fn open(head: &ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    if head.headers.contains_key(&EXTENSIONS) {
        return Err(Error::explain(RESPONSE_REFUSED, "the provider agrees to an extension that nobody asked for"));
    }
    let settings = ctx.settings().cloned();
    let looks = |it: &filters::ai::Policy| it.request.finds() || it.streaming && it.response.finds();
    let guards = settings.filter(|it| it.ai().is_some_and(looks));
    let Some(asked) = &mut ctx.ai else { return Ok(()) };
    asked.live = Some(Box::new(Live { talk: Talk::new(guards.is_some()), guards, over: None }));
    Ok(())
}

/// `request_body_filter` of a session.
pub(crate) fn from_client(body: &mut Option<Bytes>, ctx: &mut Ctx) -> Result<()> {
    let Some(mut live) = ctx.ai.as_mut().and_then(|it| it.live.take()) else { return Ok(()) };
    if let Some(piece) = body.take_if(|it| !it.is_empty()) {
        *body = Some(live.with_rules(|talk, rules| talk.from_client(&piece, rules)));
    }
    settle_in(live, ctx)
}

/// `response_body_filter` of a session.
pub(crate) fn from_provider(
    proxy: &Proxy,
    session: &mut Session,
    body: &mut Option<Bytes>,
    ctx: &mut Ctx,
) -> Result<()> {
    let Some(mut live) = ctx.ai.as_mut().and_then(|it| it.live.take()) else { return Ok(()) };
    let piece = body.take().unwrap_or_default();
    let passed = live.with_rules(|talk, rules| {
        talk.from_provider(&piece, rules, &mut |moment| match moment {
            Moment::Begun { output_max } => quota::begin(proxy, session, ctx, output_max),
            Moment::Ended { used } => {
                quota::end(ctx, used);
                None
            }
        })
    });
    *body = Some(passed).filter(|it| !it.is_empty());
    settle_in(live, ctx)
}

/// Puts the session back, with what was found in it; one that was ended has a little time to go.
fn settle_in(mut live: Box<Live>, ctx: &mut Ctx) -> Result<()> {
    let (asked, said) = live.talk.found();
    if let Some(policy) = live.guards.as_ref().and_then(|it| it.ai()).filter(|_| !asked.is_empty() || !said.is_empty())
    {
        shape::note(&policy.request, &asked, &mut ctx.facts);
        shape::note(&policy.response, &said, &mut ctx.facts);
    }
    let over = live.talk.is_over().then(|| *live.over.get_or_insert_with(Instant::now));
    if let Some(it) = &mut ctx.ai {
        it.findings += (asked.len() + said.len()) as u64;
        it.live = Some(live);
    }
    match over.is_some_and(|it| it.elapsed() > PARTING) {
        true => Err(Error::explain(ErrorType::ConnectionClosed, "the session was ended")),
        false => Ok(()),
    }
}

impl Live {
    fn with_rules<T>(&mut self, then: impl FnOnce(&mut Talk, &Rules<'_>) -> T) -> T {
        let nothing = Guards::default();
        let guards = self.guards.clone();
        let policy = guards.as_ref().and_then(|it| it.ai());
        let request = policy.map_or(&nothing, |it| &it.request);
        let response = policy.filter(|it| it.streaming).map_or(&nothing, |it| &it.response);
        let told = |side: Side, rule: usize| {
            let guards = if side == Side::Client { request } else { response };
            let written = guards.guards.get(rule).and_then(|it| it.rejection.as_ref()?.body.as_deref());
            written.unwrap_or(reply::REJECTED_TEXT).to_owned()
        };
        then(&mut self.talk, &Rules { request, response, told: &told })
    }
}

impl Asked {
    /// What a session has used goes into the account.
    pub(super) fn lived(&mut self) -> bool {
        let Some(live) = &self.live else { return false };
        let (seen, cut_off) = live.talk.seen();
        self.account.lived(seen.clone(), cut_off);
        true
    }
}

/// Why an answer may not begin.
pub(super) fn used_up(reply: &Reply) -> Refusal {
    let text = String::from_utf8_lossy(&reply.body);
    let text = match text.trim_end() {
        "" => Cow::Borrowed("no tokens are left"),
        said => Cow::Owned(format!("no tokens are left: {said}")),
    };
    Refusal { code: "rate_limit_exceeded", text: text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_browsers_do_not_go_on() {
        for (offered, kept) in [
            (
                "realtime, openai-insecure-api-key.sk-x, openai-beta.realtime-v1",
                Some("realtime, openai-beta.realtime-v1"),
            ),
            ("openai-insecure-api-key.sk-x", None),
            ("realtime,  other", Some("realtime,  other")),
        ] {
            let mut head = RequestHeader::build("GET", b"/v1/realtime?model=m", None).unwrap();
            head.insert_header(PROTOCOLS, offered).unwrap();
            without_keys(&mut head).unwrap();
            assert_eq!(head.headers.get(&PROTOCOLS).and_then(|it| it.to_str().ok()), kept);
        }
    }
}
