//! Whose a request is: one server's by a name or a URI, or all servers'.

use std::sync::Arc;

use bytes::Bytes;
use protocols::json::{Raw, quoted};
use protocols::mcp::{Edits, List, Message, answer, name, task};

use super::rules::{Noun, Subject};
use super::talk::Talk;
use super::{Target, fan, shape};

/// One server and the message as it is meant for it.
pub(super) struct Bound {
    pub(super) target: Arc<Target>,
    pub(super) body: Bytes,
    /// What it is about, where rules have a say.
    pub(super) subject: Option<Subject>,
}

/// Why a request goes nowhere: a JSON-RPC error.
#[derive(Debug)]
pub(super) struct Nowhere {
    pub(super) code: i32,
    pub(super) text: String,
}

impl Nowhere {
    pub(super) fn params(text: impl Into<String>) -> Self {
        Self { code: answer::INVALID_PARAMS, text: text.into() }
    }

    /// What is not there, or must not be known to be.
    pub(super) fn unknown(noun: Noun, name: &str) -> Self {
        match noun {
            Noun::Tool | Noun::Prompt | Noun::Task => Self::params(format!("Unknown {}: {name}", noun.as_str())),
            Noun::Resource => Self { code: answer::RESOURCE_NOT_FOUND, text: format!("Resource not found: {name}") },
        }
    }
}

/// The server of a request that is for one.
pub(super) async fn bind(talk: &Talk, message: &Message<'_>, body: &Bytes) -> Result<Bound, Nowhere> {
    match message.method() {
        "tools/call" => by_name(talk, message, body, List::Tools).await,
        "prompts/get" => by_name(talk, message, body, List::Prompts).await,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            let uri = member(message.param("uri"), "uri")?;
            by_uri(talk, uri, body).await
        }
        method if task::names_one(method) && talk.federation.naming.ids => {
            let raw = member(message.param(task::KEY), task::KEY)?;
            let id = raw.as_str().unwrap_or_default();
            let owner = task::split(&id).and_then(|(target, own)| Some((talk.federation.target(target)?.clone(), own)));
            let (target, own) = owner.ok_or_else(|| Nowhere::unknown(Noun::Task, &id))?;
            let subject = Some(Subject { noun: Noun::Task, name: own.to_owned() });
            Ok(Bound { body: changed(body, raw, (&id, own)), target, subject })
        }
        "completion/complete" => by_reference(talk, message, body).await,
        method => match talk.federation.single() {
            Some(target) => Ok(Bound { target: target.clone(), body: body.clone(), subject: None }),
            None => Err(Nowhere { code: answer::METHOD_NOT_FOUND, text: format!("method not found: {method}") }),
        },
    }
}

async fn by_name(talk: &Talk, message: &Message<'_>, body: &Bytes, list: List) -> Result<Bound, Nowhere> {
    let raw = member(message.param("name"), "name")?;
    named(talk, raw, body, list).await
}

async fn named(talk: &Talk, raw: Raw<'_>, body: &Bytes, list: List) -> Result<Bound, Nowhere> {
    let name = raw.as_str().unwrap_or_default();
    let unknown = || Nowhere::unknown(Noun::of(list), &name);
    let federation = &talk.federation;
    if let Some((target, name_there)) = federation.owner(&name) {
        let target = target.clone();
        let own = own(talk, &target, list, name_there).await.ok_or_else(unknown)?;
        let subject = Some(Subject { noun: Noun::of(list), name: own.clone() });
        return Ok(Bound { body: changed(body, raw, (&name, &own)), target, subject });
    }
    if federation.naming.names || federation.targets.len() < 2 {
        return Err(unknown());
    }
    let target = fan::find(talk, list, &name).await.ok_or_else(unknown)?;
    let own = own(talk, &target, list, &name).await.ok_or_else(unknown)?;
    let subject = Some(Subject { noun: Noun::of(list), name: own.clone() });
    Ok(Bound { body: changed(body, raw, (&name, &own)), target, subject })
}

/// What the server calls it, where clients may know of it.
async fn own(talk: &Talk, target: &Arc<Target>, list: List, name: &str) -> Option<String> {
    let Some(shaping) = talk.shaping.as_ref().filter(|it| it.shapes(list)) else { return Some(name.to_owned()) };
    let own = if list == List::Tools { shaping.own(target, name)? } else { name }.to_owned();
    Box::pin(shape::admits(talk, target, (list, &own))).await.then_some(own)
}

async fn by_uri(talk: &Talk, raw: Raw<'_>, body: &Bytes) -> Result<Bound, Nowhere> {
    let uri = raw.as_str().unwrap_or_default();
    let owner = talk.federation.owner_of_uri(&uri).map(|(target, own)| (target.clone(), own));
    let owner = match owner {
        None if !talk.federation.naming.uris => fan::find_uri(talk, &uri).await.map(|it| (it, uri.to_string())),
        owner => owner,
    };
    let Some((target, own)) = owner else {
        return Err(Nowhere::unknown(Noun::Resource, &uri));
    };
    let body = changed(body, raw, (&uri, &own));
    Ok(Bound { body, target, subject: Some(Subject { noun: Noun::Resource, name: own }) })
}

async fn by_reference(talk: &Talk, message: &Message<'_>, body: &Bytes) -> Result<Bound, Nowhere> {
    let reference = message.params.and_then(|it| it.member("ref").ok()?);
    let reference = reference.ok_or_else(|| Nowhere::params("`ref` is missing"))?;
    match reference.get("type").and_then(Raw::as_str).as_deref() {
        Some("ref/prompt") => named(talk, member(reference.member("name"), "ref.name")?, body, List::Prompts).await,
        Some("ref/resource") => by_uri(talk, member(reference.member("uri"), "ref.uri")?, body).await,
        _ => Err(Nowhere::params("`ref.type` is neither ref/prompt nor ref/resource")),
    }
}

/// An answer of the client's to a server's request: whose, and with the id that the server gave.
pub(super) fn bind_answer(talk: &Talk, message: &Message<'_>, body: &Bytes) -> Option<Bound> {
    if !talk.federation.naming.ids {
        let target = talk.federation.single()?.clone();
        return Some(Bound { target, body: body.clone(), subject: None });
    }
    let raw = message.id?;
    let id = raw.as_str()?;
    let (target, id) = name::split_id(&id)?;
    let target = talk.federation.target(target)?.clone();
    let mut edits = Edits::default();
    edits.replace(raw.range(), id);
    Some(Bound { target, body: applied(edits, body), subject: None })
}

fn member<'a>(found: Result<Option<Raw<'a>>, protocols::json::Twice>, what: &str) -> Result<Raw<'a>, Nowhere> {
    match found {
        Ok(Some(raw)) if raw.as_str().is_some() => Ok(raw),
        Ok(_) => Err(Nowhere::params(format!("`{what}` is missing or not a string"))),
        Err(_) => Err(Nowhere::params(format!("`{what}` is there twice"))),
    }
}

/// The body with the server's own name in the place of ours.
fn changed(body: &Bytes, raw: Raw<'_>, (ours, own): (&str, &str)) -> Bytes {
    if ours == own {
        return body.clone();
    }
    let mut edits = Edits::default();
    edits.replace(raw.range(), quoted(own));
    applied(edits, body)
}

fn applied(edits: Edits, body: &Bytes) -> Bytes {
    let document = std::str::from_utf8(body).unwrap_or_default();
    edits.apply(document, 0..document.len()).into()
}
