//! Protected MCP endpoints as understood, and what is kept of their authorization servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ir::{Secret, Text};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};

use super::provider::Provider;
use crate::expr::Expression;
use crate::jwt_auth;
use crate::keep::{Keep, Kept, Slot};

/// How long a document is believed.
pub(super) const DOCUMENT_TTL: Duration = Duration::from_secs(300);
/// After a fetch that failed, how long none is tried again.
pub(super) const DOCUMENT_PAUSE: Duration = Duration::from_secs(5);
/// Exchanges with the authorization server under way for one policy.
const EXCHANGES_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// The judgement on tokens.
    pub jwt: jwt_auth::Policy,
    pub issuer: Text,
    pub provider: Provider,
    pub resource_metadata: Map<String, Value>,
    pub required_scopes: Vec<Text>,
    pub step_up: Vec<StepUp>,
    pub client_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    #[serde(skip)]
    pub state: Slot<State>,
}

/// Scopes that messages need for which `when` holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepUp {
    pub when: Expression,
    pub scopes: Vec<Text>,
}

impl Policy {
    /// Whether clients see the gateway in the place of the authorization server.
    pub(super) fn is_in_front(&self) -> bool {
        self.provider != Provider::None || self.client_id.is_some()
    }

    /// The audience that tokens are asked for.
    pub(super) fn audience(&self) -> &str {
        self.jwt.providers.first().and_then(|it| it.audiences.first()).map_or("", |it| it)
    }
}

/// What is known of the authorization server.
pub struct State {
    of: (Text, Provider),
    known: Mutex<Known>,
    under_way: AtomicUsize,
}

#[derive(Default)]
struct Known {
    document: Option<Arc<Map<String, Value>>>,
    /// Since 1970: until when it is believed, or not asked for again.
    until: Duration,
}

/// A place among the exchanges under way.
pub(super) struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Kept for State {
    type Terms = Policy;

    fn renew(terms: &Policy, previous: Option<&Arc<Self>>, _: &Keep) -> Arc<Self> {
        let of = (terms.issuer.clone(), terms.provider);
        match previous.filter(|it| it.of == of) {
            Some(same) => same.clone(),
            None => Arc::new(Self { of, known: Mutex::default(), under_way: AtomicUsize::new(0) }),
        }
    }
}

impl State {
    /// The document, and whether it is still believed.
    pub(super) fn document(&self, now: Duration) -> (Option<Arc<Map<String, Value>>>, bool) {
        let known = self.known.lock();
        (known.document.clone(), now < known.until)
    }

    pub(super) fn accept(&self, document: Map<String, Value>, now: Duration) -> Arc<Map<String, Value>> {
        let document = Arc::new(document);
        *self.known.lock() = Known { document: Some(document.clone()), until: now + DOCUMENT_TTL };
        document
    }

    /// It cannot be had now. What was had before stays.
    pub(super) fn fail(&self, now: Duration) {
        self.known.lock().until = now + DOCUMENT_PAUSE;
    }

    /// `None` where too many exchanges are under way.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let before = self.under_way.fetch_add(1, Ordering::AcqRel);
        let turn = Turn(&self.under_way);
        (before < EXCHANGES_MAX).then_some(turn)
    }
}
