//! External authorization as understood.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use ir::{PolicyKey, Text};
use serde::{Serialize, Serializer};

use super::cache::Store;
use crate::Wanted;
use crate::callout::{Headers, Target};
use crate::exchange::Mode;
use crate::expr::{Expression, Needs};
use crate::head;
use crate::keep::{Keep, Slot};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub target: Arc<Target>,
    pub protocol: Protocol,
    pub failure: Failure,
    pub headers: Headers,
    pub body: Option<Body>,
    pub mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    Grpc(Grpc),
    Http(Http),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grpc {
    pub context: BTreeMap<Text, Text>,
    /// In place of the claims, by namespace.
    pub metadata: BTreeMap<Text, Expression>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// Taken from an allowing answer.
    #[serde(serialize_with = "head::names")]
    pub response_headers: Vec<HeaderName>,
    pub path: Option<Expression>,
    pub redirect: Option<Expression>,
    pub body: Option<Expression>,
    #[serde(serialize_with = "by_name")]
    pub request_headers: Vec<(HeaderName, Expression)>,
    /// Of an allowing answer.
    pub metadata: BTreeMap<Text, Expression>,
}

fn by_name<S: Serializer>(list: &[(HeaderName, Expression)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(list.iter().map(|(name, expression)| (name.as_str(), expression)))
}

/// Which answers are remembered, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Requests that agree on all of these share an answer.
    pub key: Vec<Expression>,
    pub ttl: Expression,
    pub entries_max: usize,
    #[serde(skip)]
    pub(super) store: Slot<Store>,
}

impl Cache {
    pub(super) fn new(key: Vec<Expression>, ttl: Expression, entries_max: usize) -> Self {
        Self { key, ttl, entries_max, store: Slot::default() }
    }
}

impl Policy {
    /// How much of the request's body is sent, or read by an expression.
    pub fn wants(&self) -> Wanted {
        let sent = self.body.map_or(Wanted::Nothing, |it| Wanted::Beyond(it.bytes_max));
        sent.max(Wanted::of(self.needs()))
    }

    /// What expressions read.
    pub fn needs(&self) -> Needs {
        let protocol = match &self.protocol {
            Protocol::Grpc(it) => needs(it.metadata.values()),
            Protocol::Http(it) => {
                let headers = it.request_headers.iter().map(|(_, it)| it);
                needs(headers.chain(&it.path).chain(&it.redirect).chain(&it.body).chain(it.metadata.values()))
            }
        };
        let cache = self.cache.as_ref().map_or(Needs::NONE, |it| needs(it.key.iter().chain([&it.ttl])));
        protocol | cache
    }

    /// The policy comes into force: answers that were remembered under its name still hold if nothing
    /// about it changed.
    pub fn bind(&self, key: &PolicyKey, keep: &Keep) {
        if let Some(cache) = &self.cache {
            cache.store.bind(key, self, keep);
        }
    }
}

fn needs<'a>(expressions: impl Iterator<Item = &'a Expression>) -> Needs {
    expressions.fold(Needs::NONE, |needs, it| needs | it.needs())
}

/// What becomes of a request about which the server cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Failure {
    Allow,
    Deny(u16),
}

/// How much of a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    pub bytes_max: usize,
    /// The beginning of a larger one will do.
    pub partial: bool,
    pub packed: bool,
}
