//! `subscriptions/listen`: what clients of the era without sessions want to hear unasked, from servers of either era.
//!
//! Every server is listened to by itself, for as long as the client listens; an elder one in a session that is opened for
//! this and closed with it. The client hears first what it will hear; then nothing that it has not asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filters::Reason;
use pingora_error::Result;
use pingora_proxy::Session;
use protocols::json::{Kind, Raw, quoted};
use protocols::mcp::{Edits, Message, answer, modern};
use protocols::sse::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::events::Events;
use super::super::fault::Fault;
use super::super::reply::{self, Stream};
use super::super::talk::Talk;
use super::super::target::{ask, result_of};
use super::super::{Sessions, Target, fan, relay, serve};
use super::door::about;
use super::watch::RESOURCES_MAX;
use crate::proxy::{Ctx, Proxy};

/// Events that wait for the client.
const WAITING_MAX: usize = 64;
/// How long servers have to say what they will tell.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before a server whose stream broke is asked again: doubled each time up to the second.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// What somebody wants to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    /// Tools, prompts, resources.
    lists: [bool; 3],
    resources: Vec<String>,
}

const LISTS: [(&str, &str, &str); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed", "tools"),
    ("promptsListChanged", "notifications/prompts/list_changed", "prompts"),
    ("resourcesListChanged", "notifications/resources/list_changed", "resources"),
];

impl Filter {
    fn parse(raw: Raw<'_>) -> Option<Self> {
        let mut filter = Self::default();
        for (flag, (key, ..)) in filter.lists.iter_mut().zip(LISTS) {
            *flag = raw.get(key).and_then(Raw::as_bool).unwrap_or_default();
        }
        let resources = raw.get("resourceSubscriptions").map(Raw::elements).into_iter().flatten();
        filter.resources = resources.map(|it| it.as_str().map(|it| it.into_owned())).collect::<Option<_>>()?;
        (raw.kind() == Kind::Object && filter.resources.len() <= RESOURCES_MAX).then_some(filter)
    }

    fn write(&self) -> String {
        let mut members: Vec<_> = self
            .lists
            .iter()
            .zip(LISTS)
            .filter(|(flag, _)| **flag)
            .map(|(_, (key, ..))| format!(r#""{key}":true"#))
            .collect();
        if !self.resources.is_empty() {
            let all: Vec<_> = self.resources.iter().map(|it| quoted(it)).collect();
            members.push(format!(r#""resourceSubscriptions":[{}]"#, all.join(",")));
        }
        format!("{{{}}}", members.join(","))
    }

    fn admits(&self, message: &Message<'_>) -> bool {
        let method = message.method();
        if method == "notifications/resources/updated" {
            let uri = message.param("uri").ok().flatten().and_then(Raw::as_str);
            return uri.is_some_and(|it| self.resources.iter().any(|held| *held == it));
        }
        self.lists.iter().zip(LISTS).any(|(flag, (_, said, _))| *flag && said == method)
    }
}

/// What one server says.
enum Said {
    /// What it will tell.
    Accepts(Filter),
    Fails(Fault),
    Event(Event),
}

pub(super) async fn answer(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    talk: &Talk,
    (message, id): (&Message<'_>, &str),
) -> Result<()> {
    let wanted = message.params.and_then(|it| it.get("notifications")).and_then(Filter::parse);
    let Some(wanted) = wanted else {
        let text = answer::error(id, answer::INVALID_PARAMS, "`notifications` does not say what is wanted");
        return reply::write(session, ctx, reply::message(400, Reason::InvalidRequest, text)).await;
    };
    let talk = Arc::new(own_session(talk));
    let _end = Ending(talk.clone());
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    let mut listeners = JoinSet::new();
    for (target, filter) in shares(&talk, &wanted).await {
        listeners.spawn(listen(talk.clone(), target, filter, sender.clone()));
    }
    drop(sender);
    let count = listeners.len();
    let accepted = match reply::while_there(session, ctx, Box::pin(accepted(&talk, &mut receiver, count))).await? {
        Ok(accepted) => accepted,
        Err((target, fault)) => {
            relay::note(ctx, &target, &fault);
            let status = if matches!(fault, Fault::Unsupported(_)) { 404 } else { 200 };
            let text = match fault {
                Fault::Unsupported(_) => answer::error(id, answer::METHOD_NOT_FOUND, "the server has no such stream"),
                fault => fault.answer(id, &target.name),
            };
            return reply::write(session, ctx, reply::message(status, Reason::UpstreamFailure, text)).await;
        }
    };
    let mut out = Stream::begin(session, ctx, &proxy.carried, Vec::new()).await?;
    let params = format!(r#"{{"_meta":{{"{}":{id}}},"notifications":{}}}"#, modern::SUBSCRIPTION_KEY, accepted.write());
    out.event(&Event::message(answer::notification(ACKNOWLEDGED, &params))).await?;
    loop {
        let Some((target, said)) = out.next(std::pin::pin!(receiver.recv())).await? else {
            // Nobody says anything any more; the client goes when it likes.
            let () = out.next(std::pin::pin!(std::future::pending())).await?;
            return Ok(());
        };
        let Said::Event(event) = said else { continue };
        if let Some(data) = told(&talk, &target, &event, (&wanted, id)) {
            out.event(&Event::message(data)).await?;
        }
    }
}

/// The client as somebody who only listens: elder servers have one stream for each session.
fn own_session(talk: &Talk) -> Talk {
    let mut own = talk.again();
    if let Some((name, _)) = &mut own.session {
        *name = Sessions::name();
    }
    own
}

/// Closes what was opened to listen.
struct Ending(Arc<Talk>);

impl Drop for Ending {
    fn drop(&mut self) {
        serve::forget(&self.0);
    }
}

/// Which server has to tell what.
async fn shares(talk: &Talk, wanted: &Filter) -> Vec<(Arc<Target>, Filter)> {
    let lists = || Filter { lists: wanted.lists, resources: Vec::new() };
    let mut shares: Vec<_> = talk.federation.targets.iter().map(|it| (it.clone(), lists())).collect();
    for uri in &wanted.resources {
        let owner = match talk.federation.owner_of_uri(uri) {
            Some((target, own)) => Some((target.clone(), own)),
            None if talk.federation.naming.uris => None,
            None => fan::find_uri(talk, uri).await.map(|it| (it, uri.clone())),
        };
        let share = owner.and_then(|(target, own)| {
            let share = shares.iter_mut().find(|(it, _)| it.name == target.name)?;
            Some((share, own))
        });
        if let Some(((_, share), own)) = share {
            share.resources.push(own);
        }
    }
    shares
}

/// What all servers together will tell, as clients see it.
async fn accepted(
    talk: &Talk,
    receiver: &mut mpsc::Receiver<(Arc<Target>, Said)>,
    count: usize,
) -> std::result::Result<Filter, (Arc<Target>, Fault)> {
    let mut all = Filter::default();
    let (mut heard, mut fault) = (0, None);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for _ in 0..count {
        let Ok(Some((target, said))) = tokio::time::timeout_at(deadline, receiver.recv()).await else { break };
        match said {
            Said::Accepts(filter) => {
                heard += 1;
                for (flag, accepted) in all.lists.iter_mut().zip(filter.lists) {
                    *flag |= accepted;
                }
                let naming = talk.federation.naming;
                all.resources.extend(filter.resources.iter().map(|it| naming.uri(&target.name, it).into_owned()));
            }
            Said::Fails(it) => fault = Some((target, it)),
            Said::Event(_) => {}
        }
    }
    match fault {
        Some(fault) if heard == 0 => Err(fault),
        _ => Ok(all),
    }
}

/// An event as the client gets it, if it does.
fn told(talk: &Talk, target: &Target, event: &Event, (wanted, id): (&Filter, &str)) -> Option<Bytes> {
    let data = relay::unasked(talk, target, event)?;
    let message = Message::parse(&data).ok()?;
    if !wanted.admits(&message) {
        return None;
    }
    let mut edits = Edits::default();
    match message.meta(modern::SUBSCRIPTION_KEY) {
        Some(theirs) => edits.replace(theirs.range(), id),
        None => modern::add_meta(&message, &format!(r#""{}":{id}"#, modern::SUBSCRIPTION_KEY), &mut edits),
    }
    Some(message.raw.edited(edits).into())
}

/// One server, listened to again and again.
async fn listen(talk: Arc<Talk>, target: Arc<Target>, filter: Filter, out: mpsc::Sender<(Arc<Target>, Said)>) {
    let mut pause = PAUSE;
    let mut told = false;
    loop {
        let begun = Box::pin(begin(&talk, &target, &filter)).await;
        match begun {
            Ok((accepts, events)) => {
                pause = PAUSE;
                if !told && out.send((target.clone(), Said::Accepts(accepts))).await.is_err() {
                    return;
                }
                told = true;
                if pass(&target, events, &out).await.is_err() {
                    return;
                }
            }
            Err(fault) => {
                let ends = matches!(fault, Fault::Unsupported(_));
                if !told && out.send((target.clone(), Said::Fails(fault))).await.is_err() {
                    return;
                }
                told = true;
                if ends {
                    return;
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Begins to listen; what the server will tell.
async fn begin(talk: &Talk, target: &Arc<Target>, filter: &Filter) -> std::result::Result<(Filter, Events), Fault> {
    const NONE: Fault = Fault::Unsupported("a stream of what nobody asked for");
    let opened = target.session(talk).await?;
    if opened.version.is_modern() {
        let endpoint = target.http()?.ok_or(NONE)?;
        let mut events = target.listen_modern(talk, endpoint, &filter.write()).await?.ok_or(NONE)?;
        while let Some(event) = events.next().await? {
            let Ok(message) = Message::parse(&event.data) else { continue };
            if let Some(error) = message.error {
                return Err(Fault::Error(error.text().to_owned()));
            }
            if message.method() == ACKNOWLEDGED {
                let accepts = message.params.and_then(|it| it.get("notifications")).and_then(Filter::parse);
                return Ok((accepts.unwrap_or_default(), events));
            }
        }
        return Err(Fault::Silent);
    }
    let events = target.listen(talk, None).await?.ok_or(NONE)?;
    let mut accepts = Filter::default();
    let (message, id) = about(talk, target).await?;
    let capabilities = result_of(&message, id)?.get("capabilities");
    for ((flag, wanted), (_, _, kind)) in accepts.lists.iter_mut().zip(filter.lists).zip(LISTS) {
        let says = capabilities.and_then(|it| it.get(kind)).and_then(|it| it.get("listChanged")).and_then(Raw::as_bool);
        *flag = wanted && says == Some(true);
    }
    for uri in &filter.resources {
        let id = fan::own_id();
        let params = format!(r#"{{"uri":{}}}"#, quoted(uri));
        let taken = ask(target, talk, &id, answer::request(&id, "resources/subscribe", &params)).await?;
        if result_of(&taken, &id).is_ok() {
            accepts.resources.push(uri.clone());
        }
    }
    Ok((accepts, events))
}

/// The error says that nobody listens any more.
async fn pass(
    target: &Arc<Target>,
    mut events: Events,
    out: &mpsc::Sender<(Arc<Target>, Said)>,
) -> std::result::Result<(), ()> {
    while let Ok(Some(event)) = events.next().await {
        out.send((target.clone(), Said::Event(event))).await.map_err(drop)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use protocols::json;

    use super::*;

    #[test]
    fn a_client_hears_what_it_has_asked_for_and_nothing_else() {
        let text = r#"{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["a:b"]}"#;
        let filter = Filter::parse(json::parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(filter.write(), r#"{"toolsListChanged":true,"resourceSubscriptions":["a:b"]}"#);
        for (method, params, admitted) in [
            ("notifications/tools/list_changed", "{}", true),
            ("notifications/prompts/list_changed", "{}", false),
            ("notifications/resources/updated", r#"{"uri":"a:b"}"#, true),
            ("notifications/resources/updated", r#"{"uri":"a:c"}"#, false),
            ("notifications/message", "{}", false),
        ] {
            let text = answer::notification(method, params);
            assert_eq!(filter.admits(&Message::parse(text.as_bytes()).unwrap()), admitted, "{method} {params}");
        }
        for text in ["[]", r#"{"resourceSubscriptions":[1]}"#, "7"] {
            assert_eq!(Filter::parse(json::parse(text.as_bytes()).unwrap()), None, "{text}");
        }
        assert_eq!(Filter::parse(json::parse(b"{}").unwrap()), Some(Filter::default()));
    }
}
