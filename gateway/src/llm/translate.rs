//! Requests to a provider that speaks another dialect than the client, and their answers.
//!
//! The body is the provider's from the beginning; what it says is translated back: a stream event by event as it comes,
//! everything else once it is there. What the provider has no place for is named in a header of the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderName, HeaderValue};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use protocols::llm::translate::{self, AnswerFault, Dropped, Stream, Terms, Wanted, Wire};
use protocols::llm::{Fault, Framing, Operation, Scanned, error_body};

use super::{Asked, Provider, coded, head};
use crate::proxy::Ctx;
use crate::proxy::names::{self, Fields};
use crate::session::{Finish, RESPONSE_REFUSED};

/// What of a request its provider had no place for.
const DROPPED: HeaderName = HeaderName::from_static("x-agentgateway-llm-dropped");

/// What of a request belongs to the client's dialect, and means nothing in another one.
const OF_DIALECTS: [&str; 6] = ["anthropic-", "openai-", "x-goog-", "x-amz-", "amz-sdk-", "x-stainless-"];

/// What is known of an answer's body that is another now.
static OF_BODIES: [HeaderName; 5] = [
    ETAG,
    LAST_MODIFIED,
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Bytes of a stream that went wrong that are passed over.
const REST_BYTES_MAX: usize = 4 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request as another dialect has it.
pub(crate) struct Translation {
    terms: Arc<Terms>,
    pub(crate) dropped: Dropped,
    /// The answer under way, where it streams.
    stream: Option<Box<Stream>>,
    /// Bytes that came after it went wrong.
    rest: usize,
}

impl Provider {
    /// What is to be spoken to it, where that is not what the client speaks: nothing also where it cannot be asked at all.
    pub(super) fn bridge(&self, operation: Operation) -> Option<Wire> {
        if self.speaks(operation) {
            return None;
        }
        let near = Wire::of(operation)?.neighbours();
        near.iter().copied().find(|it| self.format(it.operation()).is_some())
    }
}

impl Translation {
    /// Translates a request for this provider: the body, and what its answer needs. `scanned`: where that is of this body.
    pub(super) fn new(
        asked: &Asked,
        provider: Wire,
        (body, scanned): (&[u8], Option<&Scanned>),
    ) -> std::result::Result<(Bytes, Self), Fault> {
        let client = Wire::of(asked.operation).ok_or(Fault::NotObject)?;
        let wanted = Wanted {
            client,
            provider,
            model: asked.asked_model().unwrap_or_default(),
            stream: asked.stream,
            now: unix_seconds(),
            random: crate::random::next(),
        };
        let translate::Translated { body, dropped, terms } = match scanned {
            Some(scanned) => translate::scanned(scanned, &wanted)?,
            None => translate::request(body, &wanted)?,
        };
        Ok((body.into(), Self { terms: terms.into(), dropped, stream: None, rest: 0 }))
    }

    /// What is spoken to the provider.
    pub(super) fn spoken(&self) -> Operation {
        self.terms.provider().operation()
    }

    /// Path and query there.
    pub(super) fn target(&self, asked: &Asked, provider: &Provider) -> Option<String> {
        let (action, query) = match (self.terms.provider(), self.terms.streams()) {
            (Wire::Completions | Wire::Responses, _) => ("", ""),
            (Wire::Messages, streams) => (head::prediction(streams), ""),
            (Wire::GenerateContent, false) => ("generateContent", ""),
            (Wire::GenerateContent, true) => ("streamGenerateContent", "?alt=sse"),
            (Wire::Converse, false) => ("converse", ""),
            (Wire::Converse, true) => ("converse-stream", ""),
        };
        let path = provider.format(self.spoken())?;
        let model = asked.asked_model()?;
        if !path.contains('{') {
            return Some([path, query].concat());
        }
        Some(path.replace("{model}", &head::encoded(model)).replace("{action}", action) + query)
    }

    /// Takes out of the head what is of the client's dialect.
    pub(super) fn clean(&self, fields: &mut Fields<'_>) -> Result<()> {
        let foreign = |it: &&HeaderName| {
            let name = it.as_str();
            name.starts_with(['a', 'o', 'x']) && OF_DIALECTS.iter().any(|begin| name.starts_with(begin))
        };
        let gone: Vec<HeaderName> = fields.map().keys().filter(foreign).cloned().collect();
        gone.iter().for_each(|name| fields.remove(name));
        fields.insert(&CONTENT_TYPE, JSON)?;
        fields.insert(&ACCEPT, HeaderValue::from_static(self.terms.provider().media_type(self.terms.streams())))
    }

    fn has_failed(&self) -> bool {
        self.stream.as_ref().is_some_and(|it| it.has_failed())
    }

    /// A piece of the answer, translated where it streams.
    fn push(&mut self, body: &mut Option<Bytes>, end: bool) {
        let Some(stream) = &mut self.stream else { return };
        let piece = body.take().unwrap_or_default();
        let mut out = Vec::with_capacity(piece.len() * 2 + 64);
        stream.push(&piece, &mut out);
        if end {
            stream.finish(&mut out);
        }
        *body = (!out.is_empty()).then(|| out.into());
    }
}

/// `response_body_filter`. Once the client has been told that a stream went wrong, nobody waits for more of it.
pub(crate) fn pass(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    let Some(translation) = ctx.ai.as_mut().and_then(|it| it.translation.as_mut()) else { return Ok(()) };
    if translation.has_failed() {
        // A stream that ends soon ends the answer as it should; one that does not is broken off.
        translation.rest += body.take().map_or(0, |it| it.len());
        return match translation.rest > REST_BYTES_MAX {
            true => Err(Error::explain(RESPONSE_REFUSED, "the provider's stream went wrong, and does not end")),
            false => Ok(()),
        };
    }
    translation.push(body, end);
    if translation.has_failed() {
        ctx.outcome.error.get_or_insert_with(|| "the provider's stream could not be translated".to_owned());
    }
    Ok(())
}

/// Looks at the head of an answer in another dialect. What does not stream is finished by what this returns.
pub(crate) fn begin_answer(head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<Option<Finish>> {
    let Some(translation) = ctx.ai.as_mut().and_then(|it| it.translation.as_mut()) else { return Ok(None) };
    (translation.stream, translation.rest) = (None, 0);
    if head.headers.get(CONTENT_ENCODING).is_some_and(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Error::explain(RESPONSE_REFUSED, "the provider's answer is in a coding that was not asked for"));
    }
    if names::any_of(&head.headers, &OF_BODIES) {
        OF_BODIES.iter().for_each(|name| drop(head.remove_header(name)));
    }
    if !translation.dropped.is_empty() {
        let names: Vec<_> = translation.dropped.names().collect();
        let names = HeaderValue::from_str(&names.join(", "));
        head.insert_header(DROPPED, names.map_err(|_| Error::new(ErrorType::InternalError))?)?;
    }
    let kind = coded::framing(&head.headers);
    let terms = translation.terms.clone();
    if head.status.is_success() && terms.streams() && matches!(kind, Some(Framing::Events | Framing::Frames)) {
        translation.stream = Some(Box::new(Stream::new(Terms::clone(&terms))));
        head.insert_header(CONTENT_TYPE, HeaderValue::from_static(terms.media_type()))?;
        coded::unmeasured(head)?;
        return Ok(None);
    }
    Ok(Some(Box::new(move |head, body| finish(&terms, head, body))))
}

/// An answer that is there as a whole.
fn finish(terms: &Terms, head: &mut ResponseHeader, body: &mut Bytes) -> Result<()> {
    if !head.status.is_success() {
        let (text, header) = translate::error(terms, head.status.as_u16(), body);
        return said(head, body, text.into(), header);
    }
    match translate::answer(terms, body) {
        Ok(text) => {
            *body = text.into();
            coded::length(head, body)?;
            head.insert_header(CONTENT_TYPE, HeaderValue::from_static(terms.media_type()))
        }
        Err(fault) => {
            let message = fault.to_string();
            let (status, code) = match fault {
                AnswerFault::Error { status, code, .. } => (status, code),
                AnswerFault::Json(_) | AnswerFault::Empty => (502, "upstream_error".to_owned()),
            };
            head.set_status(status)?;
            let (text, header) = error_body(terms.client_dialect(), status, &code, &message);
            said(head, body, text.into(), header)
        }
    }
}

/// Puts another body in the place of the provider's.
fn said(
    head: &mut ResponseHeader,
    body: &mut Bytes,
    text: Bytes,
    header: Option<(&'static str, &'static str)>,
) -> Result<()> {
    head.insert_header(CONTENT_TYPE, JSON)?;
    if let Some((name, value)) = header {
        head.insert_header(HeaderName::from_static(name), HeaderValue::from_static(value))?;
    }
    coded::length(head, &text)?;
    *body = text;
    Ok(())
}

fn unix_seconds() -> u64 {
    crate::clock::wall().as_secs()
}
