//! The tasks of several agents as one list: each agent is asked, and the latest of what they say is the page.
//!
//! Where each agent's list stands is in the token that leads on (`protocols::a2a::pages`), so that any replica goes on.
//! An agent that has no lists (it does not know the method), or whose own policies do not let the client in, is left out:
//! it has nothing to show. Any other failure fails the call, for the protocol has no place that would say that tasks are
//! missing, and a client takes a list for all there is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use filters::backend_auth::{Outgoing, Payload};
use filters::{Effective, Exchange, Facts, Reason, Reply, Verdict, chain};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use protocols::a2a::answer::{Kind as Why, Refusal};
use protocols::a2a::id::Pin;
use protocols::a2a::pages::{self, Instant, Page, Place};
use protocols::a2a::shape;
use protocols::a2a::walk::Walk;
use protocols::http::hop;
use protocols::json::{self, Raw};
use protocols::mcp::modern::add_members;
use protocols::mcp::{Edits, Message, answer};

use super::ask::{Answer, To};
use super::names::Names;
use super::refuse;
use super::report::Outcome;
use super::talk::{Kind, Talk};
use crate::plan::{Backend, BackendTarget};
use crate::proxy::request::Stop;
use crate::proxy::{Ctx, Proxy, admission, forwarded};
use crate::random::affinity_key;
use crate::upstream::{Cluster, Template, credentials};

/// Longest wait for one agent, where the route has no shorter.
const DEADLINE: Duration = Duration::from_secs(15);
/// Pages asked of an agent for one of ours: agents may give fewer tasks than were asked for.
const ROUNDS_MAX: usize = 8;

/// Codes of agents that have no lists: method not found, and operation not supported.
const NO_LISTS: [i64; 2] = [answer::METHOD_NOT_FOUND as i64, -32004];

/// Whether the gateway itself asks all agents: policies of the one that was drawn say nothing yet.
pub fn asks_all(ctx: &Ctx) -> bool {
    ctx.a2a.as_ref().is_some_and(|it| it.asks_all)
}

/// The answer to a request for all agents' tasks.
pub async fn list(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<Option<Reply>, Stop> {
    let Some(mut talk) = ctx.a2a.take_if(|it| it.asks_all) else { return Ok(None) };
    // Large, and few requests need it.
    let listed = Box::pin(listed(proxy, session, ctx, &mut talk)).await;
    let listed = listed.map_err(|fault| match fault {
        Fault::Stop(stop) => stop,
        Fault::Refusal(refusal) => {
            talk.answered.lock().outcome = Some(Outcome::Error);
            refuse::stop(&talk, &refusal)
        }
    });
    ctx.a2a = Some(talk);
    listed.map(Some)
}

enum Fault {
    Stop(Stop),
    Refusal(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// One agent, and where its list stands.
struct Agent {
    name: String,
    cluster: Arc<Cluster>,
    template: Arc<Template>,
    effective: Arc<Effective>,
    /// As it leaves, but for the page that is asked for.
    head: RequestHeader,
    facts: Facts,
    list: Standing,
    /// It has no lists.
    left_out: bool,
}

/// What is known of one agent's list.
#[derive(Default)]
struct Standing {
    place: Place,
    /// Tasks that the client does not have, as it gets them.
    tasks: VecDeque<(Option<Instant>, String)>,
    /// The agent's token of the page after these.
    next: String,
}

/// What is asked of each.
struct Asked {
    kind: Kind,
    body: Bytes,
    query: String,
    size: usize,
    bytes_max: usize,
    deadline: Duration,
}

async fn listed(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, talk: &mut Talk) -> Result<Reply, Fault> {
    let asked = asked(session, ctx, talk)?;
    let mut agents = agents(proxy, session, ctx, talk).await?;
    let mut out = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let pending = agents.iter_mut().filter(|it| it.list.is_spent());
        let fetches = pending.map(|agent| fetch(proxy, agent, &asked, &talk.names));
        for fetched in futures::future::join_all(fetches).await {
            fetched.map_err(|trouble| {
                let Trouble { agent, why, kind } = trouble;
                ctx.outcome.error.get_or_insert_with(|| format!("the agent {agent} cannot list its tasks: {why}"));
                let text = if kind == Why::InvalidParams { &*why } else { "an agent cannot list its tasks" };
                Refusal::new(kind, text)
            })?;
        }
        let mut lists: Vec<&mut Standing> = agents.iter_mut().map(|it| &mut it.list).collect();
        take(&mut lists, asked.size, &mut out);
        if out.len() == asked.size || !lists.iter().any(|it| it.is_spent()) {
            break;
        }
    }
    if agents.iter().all(|it| it.left_out) {
        return Err(Refusal::new(Why::Unsupported, "no agent here lists its tasks").into());
    }
    let total = agents.iter().map(|it| it.list.place.total).sum();
    let is_done = agents.iter().all(|it| it.list.place.done);
    let places: Vec<Place> = agents.into_iter().map(|it| it.list.place).collect();
    let next = match is_done {
        true => String::new(),
        false => pages::seal(&places, talk.names.ring(), &talk.names.scope)
            .map_err(|_| Refusal::new(Why::AgentResponse, "the agents' page tokens are too long"))?,
    };
    let page = pages::written(&out, &next, asked.size, total);
    talk.answered.lock().outcome = Some(Outcome::Success);
    let body = if talk.kind == Kind::JsonRpc { answer::result(&talk.id, &page) } else { page };
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok(Reply { status: 200, headers, body: body.into(), reason: Reason::Upstream })
}

fn asked(session: &Session, ctx: &Ctx, talk: &Talk) -> Result<Asked, Refusal> {
    let body = ctx.facts.body.held().map(|it| it.bytes.clone()).unwrap_or_default();
    let query = session.req_header().uri.query().unwrap_or_default().to_owned();
    let size = match talk.kind {
        Kind::JsonRpc => pages::size(Message::parse(&body).ok().and_then(|it| it.params)),
        _ => pages::size_in(&query),
    };
    let size = size.ok_or_else(|| Refusal::new(Why::InvalidParams, "pageSize is a number from 1 to 100"))?;
    let limit = ctx.effective().and_then(|it| it.timeout()).and_then(|it| it.request);
    let deadline = limit.map_or(DEADLINE, |it| it.saturating_sub(ctx.started.elapsed()).min(DEADLINE));
    Ok(Asked { kind: talk.kind, body, query, size, bytes_max: ctx.body_bytes_max, deadline })
}

/// The agents of the route that the client may ask.
async fn agents(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, talk: &Talk) -> Result<Vec<Agent>, Fault> {
    let Some(resolved) = ctx.resolved.clone() else { return Ok(Vec::new()) };
    let (drawn, head, facts) = (ctx.backend, session.req_header().clone(), ctx.facts.clone());
    let (mut agents, mut refused) = (Vec::new(), None);
    for (at, backend) in resolved.backends.iter().enumerate().take(pages::AGENTS_MAX) {
        let Some(place) = place(backend, talk) else { continue };
        ctx.backend = Some(at);
        let admitted = if place.done { Ok(None) } else { admission(proxy, session, ctx).await };
        // What one agent's policies write is for that agent.
        let its_head = std::mem::replace(session.req_header_mut(), head.clone());
        let its_facts = std::mem::replace(&mut ctx.facts, facts.clone());
        match admitted.map_err(Fault::Stop)? {
            Some(reply) if matches!(reply.status, 401 | 403) => refused = Some(reply),
            Some(reply) => return Err(Fault::Stop(Stop::Reply(reply))),
            None => agents.extend(agent(session, ctx, (backend, place), (its_head, its_facts))),
        }
    }
    ctx.backend = drawn;
    match refused.filter(|_| agents.is_empty()) {
        Some(reply) => Err(Fault::Stop(Stop::Reply(reply))),
        None => Ok(agents),
    }
}

/// Where the list stands at a backend, if there is an agent that is a part of it.
fn place(backend: &Backend, talk: &Talk) -> Option<Place> {
    if !matches!(backend.target, BackendTarget::Cluster { .. }) || backend.effective.a2a().is_none() {
        return None;
    }
    let name = affinity_key(backend.target.name().as_bytes());
    match &talk.pages {
        // An agent that has come since is in the next list.
        Some(places) => places.iter().find(|it| it.backend == name).cloned(),
        None => Some(Place { backend: name, ..Place::default() }),
    }
}

fn agent(
    session: &Session,
    ctx: &Ctx,
    (backend, place): (&Backend, Place),
    (mut head, facts): (RequestHeader, Facts),
) -> Option<Agent> {
    let BackendTarget::Cluster { cluster, template } = &backend.target else { return None };
    let mut gone: Vec<HeaderName> = vec![CONTENT_LENGTH, TRANSFER_ENCODING];
    hop::to_remove(&head.headers, false, |name| gone.push(name));
    for name in &gone {
        head.remove_header(name);
    }
    forwarded::for_servers(session, &mut head, ctx).ok()?;
    let named = || HeaderValue::from_str(&cluster.host()?).ok();
    let host = facts.upstream_host.clone().or_else(|| backend.host.clone()).or_else(named);
    let host = host.or_else(|| ctx.original.host.clone()).unwrap_or(HeaderValue::from_static("localhost"));
    head.insert_header(HOST, host).ok()?;
    head.insert_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")).ok()?;
    Some(Agent {
        name: backend.target.name().to_owned(),
        cluster: cluster.clone(),
        template: template.clone(),
        effective: backend.effective.clone(),
        head,
        facts,
        list: Standing { place, ..Standing::default() },
        left_out: false,
    })
}

impl Standing {
    /// Nothing is left of what the agent said, and there is more.
    fn is_spent(&self) -> bool {
        self.tasks.is_empty() && !self.place.done
    }

    /// Goes on to the next page where this one is through.
    fn turn(&mut self) {
        if self.tasks.is_empty() {
            self.place.token = std::mem::take(&mut self.next);
            self.place.skip = 0;
            self.place.done = self.place.token.is_empty();
        }
    }
}

/// Takes the latest tasks, as long as it is known which those are.
fn take(lists: &mut [&mut Standing], size: usize, out: &mut Vec<String>) {
    while out.len() < size && !lists.iter().any(|it| it.is_spent()) {
        // Of equals the first agent's: `max_by_key` would take the last.
        let ready = lists.iter_mut().rev().filter(|it| !it.tasks.is_empty());
        let Some(list) = ready.max_by_key(|it| it.tasks.front().and_then(|(at, _)| *at)) else { return };
        let Some((_, task)) = list.tasks.pop_front() else { return };
        out.push(task);
        list.place.skip += 1;
        list.turn();
    }
}

/// Why an agent gave no list.
struct Trouble {
    agent: String,
    why: String,
    kind: Why,
}

/// Asks an agent for the page where its list stands.
async fn fetch(proxy: &Proxy, agent: &mut Agent, asked: &Asked, names: &Names) -> Result<(), Trouble> {
    let answered = match tokio::time::timeout(asked.deadline, answer_of(proxy, agent, asked)).await {
        Ok(answered) => answered,
        Err(_) => Err("no answer in time".to_owned()),
    };
    let (name, mut kind) = (agent.name.clone(), Why::AgentResponse);
    let read = answered.and_then(|it| read(agent, &it, asked, (names, &mut kind)));
    read.map_err(|why| Trouble { agent: name, why, kind })
}

async fn answer_of(proxy: &Proxy, agent: &Agent, asked: &Asked) -> Result<Answer, String> {
    let body = asked_body(asked, &agent.list.place.token)?;
    let mut head = agent.head.clone();
    let query = match asked.kind {
        Kind::JsonRpc => asked.query.clone(),
        _ => pages::ask_query(&asked.query, &agent.list.place.token, asked.size),
    };
    let mark = if query.is_empty() { "" } else { "?" };
    let target = format!("{}{mark}{query}", head.uri.path());
    head.set_uri(target.parse().map_err(|_| "the query is none".to_owned())?);
    let outside = &**proxy.asking.world();
    let mut facts = agent.facts.clone();
    if !agent.effective.filters().is_empty() {
        let mut exchange = Exchange { request: &mut head, facts: &mut facts, outside };
        if let Verdict::Reply(_) = chain::on_attempt(&agent.effective, &mut exchange) {
            return Err(facts.fault.take().unwrap_or_else(|| "a policy of the backend refuses".to_owned()));
        }
    }
    // Last: nothing that runs for a request sees the credential.
    if let Some(policy) = agent.effective.backend_auth() {
        if policy.may_wait() {
            credentials::ready(policy, &head, &facts).await;
        }
        let outgoing = Outgoing { head: &mut head, body: Payload::Whole(&body), facts: &facts, outside };
        policy.on_attempt(outgoing).map_err(|why| format!("backendAuth: {why}"))?;
    }
    let Agent { cluster, template, effective, list, .. } = agent;
    let to = To { cluster, template, effective, endpoint: list.place.endpoint };
    proxy.a2a.caller.send(&to, &head, &body, asked.bytes_max).await
}

/// The client's message, for another page.
fn asked_body(asked: &Asked, token: &str) -> Result<Bytes, String> {
    if asked.kind != Kind::JsonRpc {
        return Ok(Bytes::new());
    }
    let message = Message::parse(&asked.body).map_err(|fault| fault.to_string())?;
    let mut edits = Edits::default();
    match message.params {
        Some(params) => pages::ask(params, token, asked.size, &mut edits),
        None => {
            let size = asked.size;
            let token = json::quoted(token);
            add_members(message.raw, &format!(r#""params":{{"pageSize":{size},"pageToken":{token}}}"#), &mut edits);
        }
    }
    Ok(message.raw.edited(edits).into())
}

/// Takes in what an agent said. `kind` says whose fault it is, where there is one.
fn read(agent: &mut Agent, answer: &Answer, asked: &Asked, (names, kind): (&Names, &mut Why)) -> Result<(), String> {
    let Answer { status, body, endpoint } = answer;
    let unlisted = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
    if asked.kind != Kind::JsonRpc && unlisted.contains(status) {
        agent.leave_out();
        return Ok(());
    }
    if *status == StatusCode::BAD_REQUEST && asked.kind != Kind::JsonRpc {
        *kind = Why::InvalidParams;
        return Err("an agent takes the parameters for wrong".to_owned());
    }
    if !status.is_success() {
        return Err(format!("it answers with status {status}"));
    }
    let document = json::parse(body).map_err(|fault| fault.to_string())?;
    let result = match asked.kind {
        Kind::JsonRpc => {
            let message = Message::parse(body).map_err(|fault| fault.to_string())?;
            if let Some(error) = message.error {
                let code = error.get("code").and_then(|it| it.text().parse().ok()).unwrap_or_default();
                if NO_LISTS.contains(&code) {
                    agent.leave_out();
                    return Ok(());
                }
                if code == i64::from(answer::INVALID_PARAMS) {
                    *kind = Why::InvalidParams;
                }
                return Err(error.get("message").and_then(Raw::as_str).map_or_else(String::new, Into::into));
            }
            message.result.ok_or("it answers without a result")?
        }
        _ => document,
    };
    let page = Page::of(result).ok_or("it answers with something else than a list")?;
    agent.list.place.endpoint = *endpoint;
    agent.list.place.total = page.total;
    agent.list.next = page.next;
    let mut names = names.clone();
    names.pin = Pin { backend: agent.list.place.backend, endpoint: *endpoint };
    // What the client has of this page may be less by now.
    let skip = usize::try_from(agent.list.place.skip).unwrap_or(usize::MAX);
    for (at, task) in page.tasks.into_iter().skip(skip) {
        let mut place = |place, text: &str| names.show(place, text);
        let mut walk = Walk::new(&mut place);
        walk.value(task, &shape::TASK).map_err(|refusal: Refusal| refusal.text)?;
        agent.list.tasks.push_back((at, task.edited(walk.edits)));
    }
    agent.list.turn();
    Ok(())
}

impl Agent {
    fn leave_out(&mut self) {
        self.left_out = true;
        self.list.place.done = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(times: &[i64], next: &str) -> Standing {
        let tasks = times.iter().map(|at| ((*at != 0).then_some((*at, 0)), at.to_string())).collect();
        let place = Place { token: "here".to_owned(), ..Place::default() };
        Standing { place, tasks, next: next.to_owned() }
    }

    #[test]
    fn the_latest_are_taken_as_long_as_it_is_known_which_those_are() {
        let (mut one, mut two) = (standing(&[9, 5, 4], "more"), standing(&[8, 7, 0], ""));
        let mut out = Vec::new();
        take(&mut [&mut one, &mut two], 3, &mut out);
        assert_eq!(out, ["9", "8", "7"]);
        assert_eq!((one.place.skip, two.place.skip, &*one.place.token), (1, 2, "here"));
        take(&mut [&mut one, &mut two], 9, &mut out);
        assert_eq!(out, ["9", "8", "7", "5", "4"], "what the first has next may be later than what has no time");
        assert_eq!((&*one.place.token, one.place.skip, one.is_spent(), one.place.done), ("more", 0, true, false));
        one.tasks.push_back((Some((3, 0)), "3".to_owned()));
        take(&mut [&mut one, &mut two], 9, &mut out);
        assert_eq!(out[5..], ["3", "0"]);
        assert!(one.place.done && two.place.done);
        // Of equals the first agent's comes first.
        let (mut one, mut two) = (standing(&[1], ""), standing(&[1, 1], ""));
        let mut out = Vec::new();
        take(&mut [&mut one, &mut two], 1, &mut out);
        assert_eq!((one.place.skip + u32::from(one.place.done), two.place.skip), (1, 0));
    }
}
