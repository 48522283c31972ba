//! News of a task, from the agent: opened, judged, and sent on to the client that wants them.
//!
//! The ticket in the query (`protocols::a2a::push`) is what lets the agent in: it was sealed here for this route, and
//! names the client, the task, and where the news go. Policies of the route are for clients and are not asked. The agent
//! waits for what the client says, so that nothing is stored: its own retries go on working, and any replica will do.

use std::time::Duration;

use bytes::Bytes;
use filters::a2a::{Ids, Push};
use filters::exchange::Asked;
use filters::{Outside, Reason, Reply, Wanted};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Uri};
use pingora_proxy::Session;
use protocols::a2a::answer::{Kind as Why, Refusal};
use protocols::a2a::id::Of;
use protocols::a2a::push::{self, TOKEN_HEADERS, Ticket};
use protocols::a2a::walk::Walk;
use protocols::a2a::{Place, Version};
use protocols::json;
use tokio::time::Instant;

use super::names::Names;
use super::report::Outcome;
use super::talk::{Kind, Talk, is_json};
use super::{refuse, relay, report};
use crate::proxy::request::Stop;
use crate::proxy::{Ctx, Proxy, body};
use crate::upstream::Egress;

/// News that are sent on at once.
pub(super) const LETTERS_MAX: usize = 256;
/// Longest that an agent waits, all tries together.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(10);
/// Times that a client is tried.
const TRIES_MAX: u32 = 3;
/// Before the second try; four times as long before the next.
const WAIT: Duration = Duration::from_millis(200);

/// Of the agent's headers these go on.
const PASSED: [HeaderName; 5] = [
    CONTENT_TYPE,
    HeaderName::from_static("a2a-version"),
    HeaderName::from_static("a2a-extensions"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Sends news on, where the request is such. The reply ends the request.
pub async fn news(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<Option<Reply>, Stop> {
    let Some(talk) = ctx.a2a.take_if(|it| it.kind == Kind::News) else { return Ok(None) };
    let mut talk = talk;
    // Large, and few requests need it.
    let passed = Box::pin(received(proxy, session, ctx, &mut talk)).await;
    ctx.a2a = Some(talk);
    passed.map(Some)
}

async fn received(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, talk: &mut Talk) -> Result<Reply, Stop> {
    let ticket = opened(proxy, session, ctx, talk).map_err(|it| refuse::stop(talk, &it))?;
    let Ok(_place) = proxy.a2a.letters.clone().try_acquire_owned() else {
        ctx.outcome.error = Some("too many push notifications are under way".to_owned());
        return Ok(Reply::text(503, Reason::Overflow, "too many push notifications are under way\n"));
    };
    body::read_ahead(session, ctx, Wanted::Message).await?;
    let held = ctx.facts.body.held().map(|it| it.bytes.clone()).unwrap_or_default();
    let headers = &session.req_header().headers;
    let body = shown(proxy, talk, &ticket, (headers, &held)).map_err(|it| refuse::stop(talk, &it))?;
    ctx.facts.a2a = Asked::Read(Box::new(report::object(talk, report::NEWS, &talk.answered.lock().seen)));
    let answered = delivered(&proxy.a2a.egress, &ticket.url, (&said(headers, &ticket), &body)).await;
    Ok(told(ctx, talk, answered))
}

/// The ticket, where it holds.
fn opened(proxy: &Proxy, session: &Session, ctx: &mut Ctx, talk: &mut Talk) -> Result<Ticket, Refusal> {
    let uri = &session.req_header().uri;
    // Queries carry secrets: the log shows none of this one.
    ctx.original.path.0 = Uri::try_from(uri.path()).ok();
    let gone = || Refusal::new(Why::TaskNotFound, "nobody waits for push notifications here");
    if talk.policy().is_none_or(|it| it.push != Push::Relayed) {
        return Err(Refusal::new(Why::PushNotSupported, "push notifications do not come by this gateway"));
    }
    talk.names.place = relay::place(ctx);
    let sealed = uri.query().and_then(push::of_query).unwrap_or_default();
    let ticket = Ticket::open(talk.names.ring(), sealed, &talk.names.place).map_err(|_| gone())?;
    if proxy.asking.world().now().as_secs() > ticket.until {
        return Err(gone());
    }
    Ok(ticket)
}

/// The news as the client is to see them.
fn shown(
    proxy: &Proxy,
    talk: &mut Talk,
    ticket: &Ticket,
    (headers, held): (&HeaderMap, &Bytes),
) -> Result<Bytes, Refusal> {
    let invalid = |text: &str| Refusal::new(Why::InvalidRequest, text);
    if headers.contains_key(CONTENT_ENCODING) || !is_json(headers) {
        return Err(invalid("push notifications are JSON, in no coding"));
    }
    let document = json::parse(held).map_err(|fault| Refusal::new(Why::Parse, fault.to_string()))?;
    let shape = push::shape_of(document).ok_or_else(|| invalid("not a push notification"))?;
    talk.version = if document.get("kind").is_some() { Version::V0_3 } else { Version::V1_0 };
    let is_sealed = talk.policy().is_some_and(|it| it.ids == Ids::Sealed);
    let mut names = Names::new(proxy.a2a.sessions.ring(), is_sealed);
    (names.scope, names.pin) = (ticket.scope, ticket.pin);
    if !ticket.context.is_empty() {
        names.know(Of::Context, &ticket.context, &ticket.context);
    }
    let mut place = |place: Place, text: &str| names.show(place, text);
    let mut walk = Walk::new(&mut place);
    walk.value(document, shape)?;
    let Walk { seen, edits, .. } = walk;
    let task = seen.task.as_deref().unwrap_or_default();
    if !ticket.task.is_empty() && task != ticket.task {
        return Err(Refusal::new(Why::InvalidParams, "news of another task than those that were asked for"));
    }
    let place = relay::name(&ticket.scope, task, &ticket.config);
    talk.answered.lock().seen = seen;
    if proxy.a2a.deleted.contains(&place) {
        return Err(Refusal::new(Why::TaskNotFound, "nobody waits for push notifications here any more"));
    }
    Ok(if edits.is_empty() { held.clone() } else { document.edited(edits).into() })
}

/// Headers of what is sent on: the client's token and credentials, and what the agent says beside them.
fn said(headers: &HeaderMap, ticket: &Ticket) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in PASSED {
        if let Some(value) = headers.get(&name) {
            out.insert(name, value.clone());
        }
    }
    // They were judged when the ticket was made.
    let token = relay::token_value(ticket).ok().flatten();
    for name in TOKEN_HEADERS.map(HeaderName::from_static) {
        if let Some(value) = token.as_ref().or_else(|| headers.get(&name)) {
            out.insert(name, value.clone());
        }
    }
    let credentials = relay::authorization(ticket).ok().flatten();
    if let Some(value) = credentials.as_ref().or_else(|| headers.get(AUTHORIZATION)) {
        out.insert(AUTHORIZATION, value.clone());
    }
    out
}

/// Why news did not reach the client.
enum Undelivered {
    /// It may not be dialled.
    Refused(String),
    Late,
    Failed(String),
}

/// Sends, and tries again what may pass the next time.
async fn delivered(egress: &Egress, url: &str, (headers, body): (&HeaderMap, &Bytes)) -> Result<u16, Undelivered> {
    let deadline = Instant::now() + DELIVERY_DEADLINE;
    let mut wait = WAIT;
    let mut tries = 1;
    loop {
        let sent = tokio::time::timeout_at(deadline, egress.deliver(url, headers, body)).await;
        let Ok(sent) = sent else { return Err(Undelivered::Late) };
        // A client that took it and then broke off may have it: news are not said twice for that.
        let again = match &sent {
            Ok(status) => matches!(status, 429 | 502..=504),
            Err(fault) => fault.is_before(),
        };
        if !again || tries == TRIES_MAX || Instant::now() + wait >= deadline {
            return sent.map_err(|fault| match fault.to_string() {
                why if fault.is_refusal() => Undelivered::Refused(why),
                _ if fault.is_late() => Undelivered::Late,
                why => Undelivered::Failed(why),
            });
        }
        tokio::time::sleep(wait).await;
        (wait, tries) = (wait * 4, tries + 1);
    }
}

/// What the agent hears of it.
fn told(ctx: &mut Ctx, talk: &Talk, answered: Result<u16, Undelivered>) -> Reply {
    let (status, reason, text) = match &answered {
        Ok(status @ 200..=299) => {
            talk.answered.lock().outcome = Some(Outcome::Success);
            let headers = Vec::new();
            return Reply { status: *status, headers, body: Bytes::new(), reason: Reason::Upstream };
        }
        Ok(status @ 400..=499) => (*status, Reason::UpstreamFailure, "the client refuses push notifications\n"),
        Ok(_) => (502, Reason::UpstreamFailure, "the client does not take push notifications\n"),
        Err(Undelivered::Refused(_)) => {
            (403, Reason::UpstreamFailure, "the URL for push notifications is not allowed\n")
        }
        Err(Undelivered::Late) => (504, Reason::Timeout, "the client does not answer in time\n"),
        Err(Undelivered::Failed(_)) => (502, Reason::UpstreamFailure, "the client cannot be reached\n"),
    };
    talk.answered.lock().outcome = Some(Outcome::Error);
    ctx.outcome.error.get_or_insert_with(|| match answered {
        Ok(status) => format!("a push notification was answered with {status}"),
        Err(Undelivered::Late) => "a push notification was not delivered in time".to_owned(),
        Err(Undelivered::Refused(why) | Undelivered::Failed(why)) => {
            format!("a push notification was not delivered: {why}")
        }
    });
    Reply::text(status, reason, text)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn news_carry_what_the_client_asked_for_and_nothing_of_the_agents_connection() {
        let ticket =
            Ticket { token: "t".into(), scheme: "Basic".into(), credentials: "abc".into(), ..Ticket::default() };
        let of = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
        };
        let sent = of(&[
            ("content-type", "application/json"),
            ("cookie", "c"),
            ("host", "gw"),
            ("authorization", "Bearer agent"),
            ("x-a2a-notification-token", "agent"),
            ("a2a-version", "1.0"),
            ("x-forwarded-for", "10.0.0.1"),
        ]);
        let ours = of(&[
            ("content-type", "application/json"),
            ("a2a-version", "1.0"),
            ("authorization", "Basic abc"),
            ("x-a2a-notification-token", "t"),
            ("a2a-notification-token", "t"),
        ]);
        assert_eq!(said(&sent, &ticket), ours);
        // Who asked for none of them may know the agent by its own.
        let agents = of(&[
            ("content-type", "application/json"),
            ("a2a-version", "1.0"),
            ("authorization", "Bearer agent"),
            ("x-a2a-notification-token", "agent"),
        ]);
        assert_eq!(said(&sent, &Ticket::default()), agents);
    }
}
