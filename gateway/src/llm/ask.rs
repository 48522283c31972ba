//! A request looked at before it goes out: its kind, its model, the providers that may answer.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use filters::expr::{Expression, Inputs, Needs};
use filters::{Reply, Wanted};
use http::Method;
use http::header::CONTENT_TYPE;
use pingora_proxy::Session;
use protocols::http::coding::Reader;
use protocols::llm::cache::{Marks, mark};
use protocols::llm::translate::{Wire, check};
use protocols::llm::{Edits, Fault, Operation, Path, Request, Scanned, boundary, locate, scan, scan_form};
use serde_json::Value;

use super::account::Account;
use super::choose::{self, Candidate, Draw, Nobody};
use super::coded::Coded;
use super::guard::Watch;
use super::quota::Reserved;
use super::realtime::{self, Live};
use super::translate::Translation;
use super::{Ai, Provider, coded, own, reply, shape};
use crate::proxy::request::Stop;
use crate::proxy::{Ctx, Proxy, affinity, body, inputs};
use crate::telemetry::Outlasted;

/// What paths of lists of models end in.
const MODELS: &str = "/models";

/// The revision of Anthropic's dialect that Google's clouds speak.
const VERTEX_VERSION: &str = r#""anthropic_version":"vertex-2023-10-16""#;

/// What a request to an `ai` backend carries through the phases.
pub(crate) struct Asked {
    pub(crate) ai: Arc<Ai>,
    pub(crate) operation: Operation,
    /// What the client asked for.
    pub(crate) model: Option<String>,
    pub(crate) stream: bool,
    pub(crate) max_tokens: Option<u64>,
    pub(super) candidates: Vec<Candidate>,
    at: usize,
    /// What it says, where it was read.
    pub(super) body: Option<Bytes>,
    /// Where the members of the client's body are.
    scanned: Option<Scanned>,
    /// Body for the candidate in pieces, where it is not the client's: most of them are slices of that.
    changed: Option<Vec<Bytes>>,
    /// That one is sent by who records it.
    recorded: bool,
    /// The attempt that it was handed out for.
    sent: u32,
    pub(crate) account: Account,
    /// Providers asked before that will bill what they have read.
    pub(super) outlasted: Vec<Outlasted>,
    pub(super) reserved: Reserved,
    /// Where the provider asked now speaks another dialect.
    pub(crate) translation: Option<Box<Translation>>,
    /// Undoes the coding of the answer under way, where that is changed as it passes.
    pub(super) plain: Option<Box<Reader>>,
    /// How the answer is looked through.
    pub(crate) watch: Watch,
    /// What guards have found, in request and answer.
    pub(super) findings: u64,
    /// The body is no more the client's.
    pub(super) edited: bool,
    /// Nor is the model that it names the one that is asked for.
    pub(super) changed_model: bool,
    /// The boundary of its parts, where it is a form.
    form: Option<String>,
    /// Marks for the cache of a provider that has them.
    pub(super) marks: Option<Marks>,
    /// A session of realtime, once its provider has agreed to it.
    pub(super) live: Option<Box<Live>>,
}

impl Asked {
    fn new(ai: Arc<Ai>, path: Path<'_>) -> Self {
        let Path { operation, model, stream } = path;
        Self {
            ai,
            operation,
            model: model.map(Cow::into_owned),
            stream,
            max_tokens: None,
            candidates: Vec::new(),
            at: 0,
            body: None,
            scanned: None,
            changed: None,
            recorded: false,
            sent: 0,
            account: Account::default(),
            outlasted: Vec::new(),
            reserved: Reserved::default(),
            translation: None,
            plain: None,
            watch: Watch::default(),
            findings: 0,
            edited: false,
            changed_model: false,
            form: None,
            marks: None,
            live: None,
        }
    }

    /// The provider asked now.
    pub(crate) fn provider(&self) -> Option<&Provider> {
        self.ai.providers.get(self.candidates.get(self.at)?.provider)
    }

    /// Its position.
    pub(crate) fn position(&self) -> Option<usize> {
        self.candidates.get(self.at).map(|it| it.provider)
    }

    /// What is spoken to it.
    pub(super) fn spoken(&self) -> Operation {
        self.translation.as_ref().map_or(self.operation, |it| it.spoken())
    }

    /// The model it is asked for.
    pub(crate) fn asked_model(&self) -> Option<&str> {
        self.candidates.get(self.at)?.model.as_deref().or(self.model.as_deref())
    }

    /// Whether another provider is left.
    pub(crate) fn has_next(&self) -> bool {
        self.at + 1 < self.candidates.len()
    }

    /// Goes on to it.
    pub(crate) fn advance(&mut self) {
        let name = |it: &Self| it.provider().map(|it| it.name.clone()).unwrap_or_default();
        let failed = name(self);
        self.at += 1;
        self.account.next_attempt();
        // What cannot be translated was found out before.
        let _ = self.fit();
        tracing::debug!(%failed, next = %name(self), backend = %self.ai.name, "another provider is asked");
    }

    /// Whether its body was read, and is one JSON text.
    pub(super) fn is_json(&self) -> bool {
        self.body.is_some() && self.form.is_none()
    }

    /// Puts in what expressions make of the body as its provider gets it. To be called whenever another one is asked.
    /// `inputs` are asked for where there are such expressions.
    pub(crate) fn finish<'a>(&mut self, inputs: impl FnOnce() -> Inputs<'a>) {
        let policy = self.provider().and_then(Provider::policy);
        let Some(policy) = policy.filter(|it| !it.final_transformations.is_empty() && self.is_json()) else { return };
        let Some(body) = self.changed_whole().or_else(|| self.body.clone()) else { return };
        let other = shape::expressed(&policy.final_transformations, self.spoken(), &body, inputs());
        self.changed = other.map(|it| vec![it]).or(self.changed.take());
    }

    /// How long the body for the provider asked now is, where it is not what the client sent.
    pub(super) fn changed_bytes(&self) -> Option<usize> {
        Some(self.changed.as_ref()?.iter().map(Bytes::len).sum())
    }

    /// How long the client's body is, as far as it was read.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }

    /// The same in one piece, for who looks at all of it before it leaves.
    pub(crate) fn changed_whole(&self) -> Option<Bytes> {
        match self.changed.as_deref()? {
            [whole] => Some(whole.clone()),
            pieces => Some(pieces.concat().into()),
        }
    }

    /// The body where it is one for whoever is asked: it is sent by who records it as it is, and held once.
    pub(crate) fn record(&mut self) -> Option<Vec<Bytes>> {
        let pieces = self.changed.clone().filter(|_| self.candidates.len() == 1);
        self.recorded = pieces.is_some();
        pieces
    }

    /// Puts the provider's body in the place of the client's, where each provider may have another one.
    pub(crate) fn swap(&mut self, chunk: &mut Option<Bytes>, attempt: u32) {
        if self.recorded || self.changed.is_none() {
            return;
        }
        let Some(held) = chunk.as_mut() else { return };
        let is_sent = std::mem::replace(&mut self.sent, attempt) == attempt;
        *held = self.changed_whole().filter(|_| !is_sent).unwrap_or_default();
    }

    /// Makes the body for the provider asked now: the client's bytes but for the places that differ.
    fn fit(&mut self) -> Result<(), Fault> {
        let scanned = self.scanned.take();
        let made = self.fit_to(scanned.as_ref());
        self.scanned = scanned;
        made
    }

    fn fit_to(&mut self, scanned: Option<&Scanned>) -> Result<(), Fault> {
        (self.changed, self.translation) = (None, None);
        self.watch = Watch::default();
        let wire = self.provider().and_then(|it| it.bridge(self.operation));
        let Some(body) = &self.body else { return wire.map_or(Ok(()), |_| Err(Fault::NotObject)) };
        let own = self.provider().and_then(Provider::own);
        let marks = own.and_then(|it| it.caching).map_or(self.marks, |it| Some(it.marks()));
        let known = self.candidates.get(self.at).and_then(|it| it.body.clone());
        let shaped = known.or_else(|| shape::shaped(own?, self.operation, body, None));
        let edited = self.edited || shaped.is_some();
        let body = shaped.unwrap_or_else(|| body.clone());
        let scanned = scanned.filter(|it| it.is_of(&body));
        if let Some(wire) = wire {
            let (body, translation) = Translation::new(self, wire, (&body, scanned))?;
            let body = self.placed(translation.spoken(), body, marks)?;
            (self.changed, self.translation) = (Some(body), Some(Box::new(translation)));
            return Ok(());
        }
        let wanted = self.candidates.get(self.at).and_then(|it| it.model.as_deref());
        let wanted = wanted.or_else(|| self.model.as_deref().filter(|_| self.changed_model));
        let same = |it: &&str| !self.changed_model && self.model.as_deref() == Some(*it);
        let other = wanted.filter(|it| !self.operation.has_model_in_path() && !same(it));
        if edited {
            self.changed = Some(vec![body.clone()]);
        }
        let passes = self.provider().is_some_and(|it| it.passthrough.is_some());
        let counts = !passes && self.operation == Operation::Completions && self.stream;
        let marks = marks.filter(|_| !passes && matches!(self.operation, Operation::Messages | Operation::Converse));
        let predicts = self.provider().is_some_and(|it| it.predicts(self.operation));
        let (raw, other) = (predicts && !passes, other.filter(|_| !predicts || !passes));
        if other.is_none() && !counts && marks.is_none() && !raw {
            return Ok(());
        }
        let mut edits = Edits::default();
        if let Some(boundary) = &self.form {
            if let Some(model) = other {
                scan_form(boundary, &body)?.set_model(&mut edits, model);
                self.changed = Some(edits.apply(&body));
            }
            return Ok(());
        }
        // It was scanned before, and is the same still.
        let request = scanned.map_or_else(|| scan(self.operation, &body), Scanned::request)?;
        if raw {
            predict(&request, &mut edits);
        } else if let Some(model) = other {
            request.set_model(&mut edits, model);
        }
        if counts && request.include_usage != Some(true) {
            request.ask_for_usage(&mut edits);
            self.account.hides = true;
        }
        if let Some(marks) = &marks {
            mark(self.operation, &body, &request, marks, &mut edits);
        }
        if !edits.is_empty() {
            self.changed = Some(edits.apply(&body));
        }
        Ok(())
    }

    /// A translated body as the provider wants it, whatever the client wrote.
    fn placed(&self, spoken: Operation, body: Bytes, marks: Option<Marks>) -> Result<Vec<Bytes>, Fault> {
        let raw = self.provider().is_some_and(|it| it.predicts(spoken));
        if !raw && marks.is_none() {
            return Ok(vec![body]);
        }
        let mut edits = Edits::default();
        let request = scan(spoken, &body)?;
        if raw {
            predict(&request, &mut edits);
        }
        if let Some(marks) = &marks {
            mark(spoken, &body, &request, marks, &mut edits);
        }
        Ok(edits.apply(&body))
    }

    /// Makes the body for the first provider, and leaves out those that it cannot be translated for.
    fn begin(&mut self) -> Result<(), Fault> {
        let translated = |it: &Self, at: &Candidate| {
            it.ai.providers.get(at.provider).is_some_and(|provider| provider.bridge(it.operation).is_some())
        };
        let first = self.fit();
        let native = self.translation.is_none() && first.is_ok();
        let other = native && self.candidates.iter().any(|it| translated(self, it));
        let whole = match (first, Wire::of(self.operation).filter(|_| other)) {
            (Err(fault), _) => Err(fault),
            (Ok(()), Some(wire)) => check(wire, self.body.as_deref().unwrap_or_default()),
            (Ok(()), None) => return Ok(()),
        };
        let Err(fault) = whole else { return Ok(()) };
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.retain(|it| !translated(self, it));
        self.candidates = candidates;
        if self.candidates.is_empty() { Err(fault) } else { self.fit() }
    }
}

/// What Google's clouds want of a request to a model of Anthropic's: its name is in the path, and a revision in the body.
fn predict(request: &Request<'_>, edits: &mut Edits) {
    let version = Some(VERTEX_VERSION).filter(|_| request.given("anthropic_version").is_none());
    request.take(edits, "model", version);
}

/// Looks at the request. A reply is the gateway's own answer.
pub(crate) async fn prepare(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    ai: Arc<Ai>,
) -> Result<Option<Reply>, Stop> {
    let uri = session.req_header().uri.clone();
    let mut path = locate(uri.path());
    let unknown = path.operation == Operation::Passthrough && ai.routes_models && ai.passes;
    if unknown {
        // Whose it is, its body says.
        path.operation = Operation::Detect;
    }
    if ai.routes_models && path.operation == Operation::Models {
        let one = uri.path().rsplit_once(MODELS).map(|(_, it)| it);
        let may = |model: &str| may_ask(ctx, model);
        return Ok(Some(reply::models(&ai, session.req_header(), one, &may)));
    }
    if path.operation.has_model_in_path() && path.model.is_none() {
        let nobody = Nobody::new(400, "invalid_model", "the path names no model");
        return Ok(Some(reply::refusal(path.operation.dialect(), &nobody)));
    }
    let mut asked = Asked::new(ai, path);
    let mut answered = match asked.operation {
        Operation::Realtime => realtime::admit(ctx, &mut asked, uri.query()),
        _ => read(proxy, session, ctx, &mut asked).await?,
    };
    if answered.is_none() {
        answered = draw(session, ctx, &mut asked);
    }
    if answered.is_none() && (unknown || asked.operation == Operation::Invoke) {
        answered = own::unread(ctx, &mut asked, unknown);
    }
    if answered.is_none() && own::has_more(&asked) {
        answered = Box::pin(own::apply(proxy, session, ctx, &mut asked)).await?;
    }
    if answered.is_none() {
        answered = begin(session, ctx, &mut asked, uri.query());
    }
    ctx.ai = Some(Box::new(asked));
    Ok(answered)
}

/// Reads what the request says, and does to it what policies want.
async fn read(proxy: &Proxy, session: &mut Session, ctx: &mut Ctx, asked: &mut Asked) -> Result<Option<Reply>, Stop> {
    let form = form_boundary(session, ctx, asked);
    if form.is_none() && !is_scanned(session, ctx, asked.operation) {
        return Ok(None);
    }
    ctx.changes_body = asked.ai.translated.contains(&asked.operation);
    if ctx.facts.body.lacks(Wanted::Whole) {
        body::read_ahead(session, ctx, Wanted::Whole).await?;
    }
    asked.account.read = Some(Instant::now());
    let is_form = form.is_some();
    let looked = match form {
        Some(boundary) => look_at_form(ctx, asked, boundary),
        None => look(session, ctx, asked),
    };
    let refusal = |asked: &Asked, nobody: &Nobody| Some(reply::refusal(asked.operation.dialect(), nobody));
    if let Err(nobody) = looked {
        return Ok(refusal(asked, &nobody));
    }
    if let Some(model) = asked.model.as_deref().filter(|it| asked.ai.routes_models && !may_ask(ctx, it)) {
        let nobody = Nobody::new(403, "model_not_allowed", format!("the model `{model}` is not for this key"));
        return Ok(refusal(asked, &nobody));
    }
    if is_form {
        return Ok(None);
    }
    let refused = shape::apply(session.req_header(), ctx, asked);
    if refused.is_none() && shape::asks(ctx) {
        return Ok(Box::pin(shape::ask(proxy, session.req_header(), ctx, asked)).await);
    }
    Ok(refused)
}

/// Chooses who may answer.
fn draw(session: &Session, ctx: &Ctx, asked: &mut Asked) -> Option<Reply> {
    let found = {
        let (gathered, said) = (OnceCell::new(), OnceCell::new());
        let inputs = || gathered.get_or_init(|| inputs::request(session.req_header(), ctx));
        let random = affinity::sticks_to(ctx, inputs).unwrap_or_else(crate::random::next);
        let holds = |it: &Expression| holds(it, *inputs(), asked.body.as_deref(), &said);
        let draw = Draw { random, holds: &holds };
        choose::candidates(&asked.ai, asked.operation, asked.model.as_deref(), &draw)
    };
    match found {
        Ok(candidates) => asked.candidates = candidates,
        // Whoever counts before asking gets a number that is near, where nobody is there to count.
        Err(nobody) if nobody.code == choose::UNSUPPORTED && asked.operation == Operation::CountTokens => {
            return Some(reply::counted(asked.input_about()));
        }
        Err(nobody) => return Some(reply::refusal(asked.operation.dialect(), &nobody)),
    }
    None
}

/// Makes the body for the first of them.
fn begin(session: &Session, ctx: &Ctx, asked: &mut Asked, query: Option<&str>) -> Option<Reply> {
    let refused = asked.begin().err().map(|it| Nobody::new(400, it.code(), it.to_string()));
    let refused = refused.or_else(|| unstreamable(asked, query));
    if refused.is_none() {
        asked.finish(|| inputs::request(session.req_header(), ctx));
    }
    refused.map(|it| reply::refusal(asked.operation.dialect(), &it))
}

/// Whether a condition holds of a request, whose body is parsed for the first that reads it.
fn holds(condition: &Expression, inputs: Inputs<'_>, body: Option<&[u8]>, said: &OnceCell<Option<Value>>) -> bool {
    let mut inputs = inputs;
    if condition.needs().intersects(Needs::LLM_REQUEST) {
        inputs.objects.llm_request = said.get_or_init(|| serde_json::from_slice(body?).ok()).as_ref();
    }
    condition.holds(&inputs).unwrap_or(false)
}

/// Google's clients may ask for a stream that is one array; what is translated is events alone.
fn unstreamable(asked: &Asked, query: Option<&str>) -> Option<Nobody> {
    let streams = asked.operation == Operation::GenerateContent && asked.stream && asked.translation.is_some();
    let events = query.and_then(|it| parameter(it, "alt")).as_deref() == Some("sse");
    (streams && !events)
        .then(|| Nobody::new(400, choose::UNSUPPORTED, "what is translated streams with `?alt=sse` alone"))
}

/// Whether who asks may ask for a model by this name.
pub(super) fn may_ask(ctx: &Ctx, model: &str) -> bool {
    ctx.facts.identity.api_key.as_ref().is_none_or(|it| it.may_ask(model))
}

/// Whether there is a body in JSON to be looked at.
fn is_scanned(session: &Session, ctx: &Ctx, operation: Operation) -> bool {
    let head = session.req_header();
    let json = match operation {
        Operation::Passthrough | Operation::Realtime | Operation::Models => return false,
        // Parts of forms and the like are left alone.
        Operation::Detect => {
            head.headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/json"))
        }
        _ => true,
    };
    json && !ctx.is_upgrade && head.method == Method::POST
}

/// The boundary of a form that must say which model it asks for. Others pass as they come, however long they are.
fn form_boundary(session: &Session, ctx: &Ctx, asked: &Asked) -> Option<String> {
    let head = session.req_header();
    let kind = head.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let reads = asked.operation == Operation::Detect && asked.ai.routes_models && head.method == Method::POST;
    boundary(kind).filter(|_| reads && !ctx.is_upgrade && Coded::of(&head.headers) == Coded::Plain).map(str::to_owned)
}

/// Reads the model out of a form.
fn look_at_form(ctx: &Ctx, asked: &mut Asked, boundary: String) -> Result<(), Nobody> {
    let body = ctx.facts.body.held().filter(|it| it.whole).map(|it| it.bytes.clone()).unwrap_or_default();
    let form = scan_form(&boundary, &body).map_err(|it| Nobody::new(400, it.code(), it.to_string()))?;
    (asked.model, asked.stream) = (form.model, form.stream);
    (asked.form, asked.body) = (Some(boundary), Some(body));
    Ok(())
}

fn look(session: &Session, ctx: &Ctx, asked: &mut Asked) -> Result<(), Nobody> {
    let held = ctx.facts.body.held().filter(|it| it.whole);
    let body = coded::request(&session.req_header().headers, held, ctx.body_bytes_max)?;
    let request = scan(asked.operation, &body).map_err(|it| Nobody::new(400, it.code(), it.to_string()))?;
    let Request { model, stream, max_tokens, .. } = &request;
    if let Some(model) = model {
        asked.model = Some(model.to_string());
    }
    asked.stream |= *stream;
    asked.max_tokens = *max_tokens;
    asked.scanned = Some(Scanned::of(asked.operation, body.clone(), &request));
    asked.body = Some(body);
    Ok(())
}

/// A parameter of a query, where its value needs no decoding.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let found = query.split('&').filter_map(|it| it.split_once('=')).find(|(key, _)| *key == name);
    found.map(|(_, value)| value.to_owned())
}
