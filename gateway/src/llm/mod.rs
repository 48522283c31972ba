//! Language models: which provider a request goes to, what it is called there, and what the answer used.
//!
//! A request of a route to an `ai` backend is read whole and scanned once ([`ask`]); its model and kind choose the
//! providers that may answer, in order ([`choose`]). For each attempt the head is written for one of them ([`head`]); the
//! body is the client's own bytes, but for a model of another name. The answer passes untouched and is watched
//! ([`account`]). What the gateway itself has to say is said in the client's dialect ([`reply`]). A provider that does not
//! speak that is asked in its own, and its answer translated ([`translate`]).

mod account;
mod ask;
pub(crate) mod choose;
mod coded;
mod cool;
mod examine;
mod guard;
mod head;
pub mod mock;
mod own;
mod price;
mod quota;
mod realtime;
mod reply;
mod settle;
mod shape;
mod translate;
mod webhook;

use std::sync::Arc;

use filters::expr::Expression;
use filters::{Attachment, Effective, Policy};
use ir::{AiKeyPlace, AiPassthrough, Text};
use protocols::llm::{Operation, Pattern};

pub(crate) use account::watch;
pub(crate) use ask::{Asked, prepare};
pub(crate) use cool::heed;
pub(crate) use guard::{guard_answer, looks_at_answers, noted};
pub(crate) use head::{requested, sign};
pub use price::Prices;
pub(crate) use quota::{reserve, settle as settle_limits};
pub(crate) use realtime::{from_client, from_provider};
pub(crate) use reply::{dialect_of, in_dialect};
pub(crate) use translate::{begin_answer, pass};

use crate::plan::Backend;
use choose::Routing;

/// An `ai` backend as compiled.
pub struct Ai {
    pub name: Text,
    pub(crate) providers: Vec<Provider>,
    index: choose::Index,
    /// Some provider takes requests as they come.
    passes: bool,
    /// What each provider is asked in another dialect.
    translated: Vec<Operation>,
    pub(crate) virtual_models: Vec<(Text, Routing)>,
    pub(crate) routes_models: bool,
}

/// What is attached to one provider, without what holds above it.
#[derive(Default)]
pub(crate) struct OwnTerms {
    /// `ai`.
    pub(crate) ai: Option<Arc<Attachment>>,
    /// Policies that decide whether it is asked.
    pub(crate) admission: Option<Arc<Effective>>,
}

/// A provider of it.
pub(crate) struct Provider {
    pub(crate) name: Text,
    /// What its name is among those that clients are spread over.
    place: u64,
    pub(crate) system: Text,
    pub(crate) key: AiKeyPlace,
    base: Text,
    formats: Vec<(Operation, Text)>,
    model: Option<Text>,
    serves: Pattern,
    priority: u32,
    internal: bool,
    /// When it is there at all; always, where there is no condition.
    when: Option<Option<Expression>>,
    /// Requests go on as they came.
    passthrough: Option<AiPassthrough>,
    /// Models that it asked not to be asked for, for a while.
    cooling: cool::Cooling,
    pub(crate) backend: Backend,
    own: OwnTerms,
}

impl Ai {
    pub(crate) fn new<'a>(
        name: Text,
        terms: &ir::AiBackend,
        providers: impl Iterator<Item = (&'a ir::AiProvider, Backend, OwnTerms)>,
    ) -> Self {
        let ir::AiBackend { providers: _, virtual_models, routes_models } = terms;
        let virtual_models = virtual_models.iter().map(|it| (it.name.clone(), Routing::new(&it.routing))).collect();
        let providers: Vec<_> = providers.map(|(terms, backend, own)| Provider::new(terms, backend, own)).collect();
        let index = choose::Index::new(&providers);
        let wires = [Operation::Completions, Operation::Responses, Operation::Messages, Operation::GenerateContent];
        let translates = |it: &Operation| providers.iter().all(|provider| provider.bridge(*it).is_some());
        let translated = wires.into_iter().chain([Operation::Converse]).filter(translates).collect();
        let passes = providers.iter().any(|it| it.passthrough.is_some());
        Self { name, providers, index, passes, translated, virtual_models, routes_models: *routes_models }
    }

    /// Where the provider at this position is.
    pub(crate) fn backend(&self, position: usize) -> Option<&Backend> {
        self.providers.get(position).map(|it| &it.backend)
    }
}

impl Provider {
    fn new(terms: &ir::AiProvider, backend: Backend, own: OwnTerms) -> Self {
        let ir::AiProvider { name, backend: _, system, key, base, formats, .. } = terms;
        let ir::AiProvider { model, serves, priority, internal, when, passthrough, .. } = terms;
        let format = |it: &ir::AiFormat| Some((Operation::parse(&it.kind)?, it.path.clone()));
        Self {
            name: name.clone(),
            place: crate::random::affinity_key(name.as_bytes()),
            system: system.clone(),
            key: *key,
            base: base.clone(),
            formats: formats.iter().filter_map(format).collect(),
            model: model.clone(),
            // Lowering has judged it: what is none serves nothing but its own name.
            serves: Pattern::parse(serves).unwrap_or_else(|_| Pattern::Exact(serves.to_string())),
            priority: *priority,
            internal: *internal,
            // As above: what is no condition never holds.
            when: when.as_ref().map(|it| filters::ai::condition(it).ok()),
            passthrough: *passthrough,
            cooling: cool::Cooling::default(),
            backend,
            own,
        }
    }

    /// What is made of requests to this one, beside what is made of all.
    fn own(&self) -> Option<&filters::ai::Policy> {
        match &self.own.ai.as_ref()?.policy {
            Policy::Ai(policy) => Some(policy),
            _ => None,
        }
    }

    /// What holds of requests to it in all.
    fn policy(&self) -> Option<&filters::ai::Policy> {
        self.backend.effective.ai()
    }

    /// Nothing of its answers is read.
    fn is_opaque(&self) -> bool {
        self.passthrough == Some(AiPassthrough::Opaque)
    }

    /// The path that this provider has for requests of a kind.
    fn format(&self, operation: Operation) -> Option<&Text> {
        self.formats.iter().find(|(kind, _)| *kind == operation).map(|(_, path)| path)
    }

    /// Whether the model of this stands in the path there, though the dialect has it in the body.
    fn predicts(&self, operation: Operation) -> bool {
        operation == Operation::Messages && self.format(operation).is_some_and(|it| it.contains("{model}"))
    }

    /// Whether it can be asked this at all. What has no format of its own goes to the same path below its base.
    fn speaks(&self, operation: Operation) -> bool {
        let known = self.passthrough.is_some() || self.format(operation).is_some();
        known || operation.ending().is_none() && operation != Operation::Invoke
    }
}

/// The `ai` backend a request was drawn to.
pub(crate) fn drawn(ctx: &crate::proxy::Ctx) -> Option<Arc<Ai>> {
    match &ctx.route_backend()?.target {
        crate::plan::BackendTarget::Ai(ai) => Some(ai.clone()),
        _ => None,
    }
}
