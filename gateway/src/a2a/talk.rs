//! What is asked of an agent, from the request's head to the end of the answer.

use std::sync::Arc;

use filters::exchange::Asked;
use filters::{Effective, a2a::Policy};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method as Verb};
use parking_lot::Mutex;
use pingora_proxy::Session;
use protocols::a2a::card::is_card;
use protocols::a2a::id::Pin;
use protocols::a2a::pages::Place;
use protocols::a2a::{Method, VERSION_HEADER, Version, push, rest};

use super::names::Names;
use super::relay::Relay;
use super::report::Answered;
use super::stream::Stream;
use crate::plan::BackendTarget;
use crate::proxy::{Ctx, Proxy};

/// What a request is, as far as its head tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Card,
    JsonRpc,
    Rest(Method, Version),
    Grpc(Method, Version),
    /// What an agent has to tell.
    News,
}

/// See the file.
pub struct Talk {
    /// Where the policy holds.
    terms: Arc<Effective>,
    pub(super) kind: Kind,
    /// Absent where the message is still to be read, or says nothing that is known.
    pub(super) method: Option<Method>,
    pub(super) version: Version,
    /// Of a JSON-RPC request, as written.
    pub(super) id: String,
    pub(super) names: Names,
    /// Where what it is about is.
    pub(super) pin: Option<Pin>,
    /// Where the page of a list is that is asked for.
    pub(super) page: Option<Pin>,
    /// Tasks of all agents are listed, one agent after the other (gRPC).
    pub(super) lists_all: bool,
    /// Tasks of all agents are listed together: the gateway itself asks them.
    pub(super) asks_all: bool,
    /// Where such a list stands.
    pub(super) pages: Option<Vec<Place>>,
    /// Path and query as the client sent them, and as the agent gets them.
    pub(super) public_path: String,
    pub(super) own_path: String,
    pub(super) stream: Option<Stream>,
    /// The message says where news are to go, and they come by here.
    pub(super) relay: Option<Box<Relay>>,
    /// The task and the configuration that is to be deleted.
    pub(super) deletes: Option<(String, String)>,
    pub(super) answered: Arc<Mutex<Answered>>,
}

impl Talk {
    pub(super) fn policy(&self) -> Option<&Policy> {
        self.terms.a2a()
    }

    pub(super) fn terms(&self) -> &Arc<Effective> {
        &self.terms
    }

    /// The endpoint that what is asked about lives at.
    pub fn endpoint(&self) -> Option<u64> {
        // 0: whichever.
        self.pin.map(|it| it.endpoint).filter(|it| *it != 0)
    }

    pub fn is_card(&self) -> bool {
        self.kind == Kind::Card
    }

    /// The path that the agent gets, for this attempt.
    pub fn sent(&mut self, path: &str) {
        path.clone_into(&mut self.own_path);
    }
}

/// Sees by its head what a request is, where the policy holds for it.
pub fn begin(proxy: &Proxy, session: &Session, ctx: &mut Ctx) {
    let Some(terms) = ctx.settings().filter(|it| it.a2a().is_some()).cloned() else { return };
    // Servers that the gateway itself talks to are none.
    let is_agent = matches!(ctx.backend().map(|it| &it.target), Some(BackendTarget::Cluster { .. }));
    if ctx.is_upgrade || !is_agent {
        return;
    }
    let head = session.req_header();
    let is_news = head.method == Verb::POST && head.uri.query().and_then(push::of_query).is_some();
    let kind = match is_news {
        true => Some(Kind::News),
        false => kind(&head.method, head.uri.path(), &head.headers, ctx.is_grpc),
    };
    let Some(kind) = kind else { return };
    let (method, version) = match kind {
        Kind::Rest(method, version) | Kind::Grpc(method, version) => (Some(method), version),
        Kind::Card | Kind::JsonRpc | Kind::News => (None, Version::V1_0),
    };
    ctx.facts.a2a = match kind {
        Kind::Card => Asked::Read(Box::new(super::report::card())),
        Kind::News => Asked::Read(Box::new(super::report::news())),
        _ => Asked::Unread,
    };
    let sealed = terms.a2a().is_some_and(|it| it.ids == filters::a2a::Ids::Sealed);
    ctx.a2a = Some(Box::new(Talk {
        terms,
        kind,
        method,
        version,
        id: String::new(),
        names: Names::new(proxy.a2a.sessions.ring(), sealed),
        pin: None,
        page: None,
        lists_all: false,
        asks_all: false,
        pages: None,
        public_path: ctx.original.path.as_str().to_owned(),
        own_path: head.uri.path().to_owned(),
        stream: None,
        relay: None,
        deletes: None,
        answered: Arc::default(),
    }));
}

fn kind(verb: &Verb, path: &str, headers: &HeaderMap, is_grpc: bool) -> Option<Kind> {
    if is_grpc {
        return Method::of_grpc(path).map(|(method, version)| Kind::Grpc(method, version));
    }
    if *verb == Verb::GET && is_card(path) {
        return Some(Kind::Card);
    }
    if let Some(asked) = rest::read(verb.as_str(), path) {
        // The header is of 1.0; where it says so, `v1` is a part of the agent's own path.
        let said = headers.get(VERSION_HEADER).and_then(|it| Version::of_header(it.to_str().ok()?));
        return Some(Kind::Rest(asked.method, said.unwrap_or(asked.version)));
    }
    (*verb == Verb::POST && is_json(headers)).then_some(Kind::JsonRpc)
}

/// Whether a message says of itself that it is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = protocols::http::media::essence(kind).to_ascii_lowercase();
    essence == b"application/json" || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_by_path_and_content() {
        let send = Method::SendMessage;
        for (verb, path, content, version, expected) in [
            ("GET", "/x/.well-known/agent-card.json", "", "", Some(Kind::Card)),
            ("POST", "/x/.well-known/agent-card.json", "text/plain", "", None),
            ("POST", "/", "application/json; charset=utf-8", "", Some(Kind::JsonRpc)),
            ("POST", "/", "text/plain", "", None),
            ("POST", "/v1/message:send", "application/json", "", Some(Kind::Rest(send, Version::V0_3))),
            ("POST", "/v1/message:send", "application/a2a+json", "1.0", Some(Kind::Rest(send, Version::V1_0))),
            ("POST", "/message:send", "application/json", "", Some(Kind::Rest(send, Version::V1_0))),
            ("GET", "/", "", "", None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [("content-type", content), (VERSION_HEADER, version)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let verb: Verb = verb.parse().unwrap();
            assert_eq!(kind(&verb, path, &headers, false), expected, "{verb} {path}");
        }
        let none = HeaderMap::new();
        let grpc = kind(&Verb::POST, "/lf.a2a.v1.A2AService/SendMessage", &none, true);
        assert_eq!(grpc, Some(Kind::Grpc(send, Version::V1_0)));
        assert_eq!(kind(&Verb::POST, "/grpc.health.v1.Health/Check", &none, true), None);
    }
}
