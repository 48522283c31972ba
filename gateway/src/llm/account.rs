//! What an answer used: watched as it passes, and said at the end to log, metrics and expressions.

use std::time::{Duration, Instant};

use bytes::Bytes;
use filters::expr::Json;
use http::header::CONTENT_LENGTH;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use protocols::llm::{Framing, Hide, Operation, Priced, Seen, Tap, Usage};
use serde_json::Value;

use super::coded::{self, Coded, Watched};
use super::{Asked, Provider, realtime, settle};
use crate::proxy::Ctx;
use crate::telemetry::LlmEvent;

/// The answer of the attempt under way.
#[derive(Default)]
pub(crate) struct Account {
    /// When the request was there as a whole.
    pub(crate) read: Option<Instant>,
    tap: Option<Box<Tap>>,
    /// What the tap is shown comes in a coding.
    coded: Option<Box<Watched>>,
    first: Option<Instant>,
    last: Option<Instant>,
    pub(super) seen: Option<Box<Seen>>,
    /// Bytes of the answer's body, where it does not come in events.
    bytes: u64,
    events: bool,
    /// The answer came to its end.
    ended: bool,
    /// It did not, and what was used is not known but guessed.
    estimated: bool,
    /// The attempt in which the provider got the last of the request.
    handed: Option<u32>,
    /// It has the request, and what it would have answered nobody will know.
    lost: bool,
    pub(super) priced: Option<Priced>,
    /// The provider says what it used because the gateway asked: the client does not hear of it.
    pub(super) hides: bool,
    hide: Option<Box<Hide>>,
    /// Tokens of answers of a session that were cut off, about.
    cut_off: u64,
}

/// Looks at the head of an answer: from here on it is watched, where there is something to be seen.
pub(crate) fn watch(head: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    coded::begin(head, ctx)?;
    let Some(asked) = &mut ctx.ai else { return Ok(()) };
    if asked.operation == Operation::Realtime {
        return realtime::open(head, ctx);
    }
    let coded = Coded::of(&head.headers);
    let kind = coded::framing(&head.headers);
    let opaque = asked.provider().is_some_and(Provider::is_opaque);
    let kind = kind.filter(|_| coded != Coded::Unknown && !opaque);
    // A length that was said must be kept to.
    let hides = asked.account.hides && kind == Some(Framing::Events) && !head.headers.contains_key(CONTENT_LENGTH);
    asked.account.hide = hides.then(Box::default);
    asked.account.events = kind.is_some_and(|it| it != Framing::Json);
    asked.account.tap = kind.map(|it| Box::new(Tap::new(it)));
    asked.account.coded = match coded {
        Coded::In(coding) => Some(Box::new(Watched::new(coding))),
        Coded::Plain | Coded::Unknown => None,
    };
    Ok(())
}

impl Account {
    pub(super) fn next_attempt(&mut self) {
        *self = Self { read: self.read, ..Self::default() };
    }

    /// Notes a piece of the answer, and takes out of it what is not for the client.
    pub(crate) fn push(&mut self, body: &mut Option<Bytes>, end: bool) {
        if let Some(chunk) = body.as_ref().filter(|it| !it.is_empty()) {
            let now = Instant::now();
            self.first.get_or_insert(now);
            self.last = Some(now);
            let bytes = self.tap(chunk);
            self.bytes += if self.events { 0 } else { bytes };
        }
        self.ended |= end;
        let Some(hide) = &mut self.hide else { return };
        let passed = body.take().and_then(|it| hide.push(&it));
        *body = match (passed, end.then(|| hide.finish()).flatten()) {
            (Some(passed), Some(rest)) => Some([passed, rest].concat().into()),
            (passed, rest) => passed.or(rest),
        };
    }

    /// Shows a piece to the tap, and says how many bytes it is without its coding.
    fn tap(&mut self, chunk: &[u8]) -> u64 {
        let bytes = chunk.len() as u64;
        let Some(tap) = &mut self.tap else { return bytes };
        let Some(coded) = &mut self.coded else {
            tap.push(chunk);
            return bytes;
        };
        let read = coded.push(chunk, tap);
        if read.is_none() {
            // What was seen before stands.
            self.finish();
        }
        read.unwrap_or(bytes)
    }

    /// The last of the request goes to the provider.
    pub(crate) fn handed(&mut self, attempt: u32) {
        self.handed = Some(attempt);
    }

    /// Whether the provider got all of the request in this attempt.
    pub(super) fn has_all(&self, attempt: u32) -> bool {
        self.handed == Some(attempt)
    }

    /// Nobody waits any more for an answer that has not begun. A provider that has the whole request works on it, and
    /// bills what it has read.
    pub(crate) fn give_up(&mut self, attempt: u32) {
        self.lost = self.has_all(attempt) && self.tap.is_none() && self.seen.is_none();
        if self.lost {
            self.seen = Some(Box::default());
        }
    }

    /// The answer is over, or nobody waits for the rest.
    pub(crate) fn finish(&mut self) {
        if let Some(tap) = self.tap.take() {
            self.seen = Some(Box::new(tap.finish()));
        }
    }

    /// A session is over, of which this was seen; of answers that were cut off so many tokens came.
    pub(super) fn lived(&mut self, mut seen: Seen, cut_off: Option<u64>) {
        if let Some(output) = cut_off {
            let mut about = Usage::default();
            about.guess(0, output);
            seen.usage.add(about);
            (self.estimated, self.cut_off) = (true, output);
        }
        // Between answers nobody waits for tokens.
        (self.first, self.last, self.lost) = (None, None, false);
        self.seen = Some(Box::new(seen));
    }

    /// An answer that was cut off before it said what it used: a token is an event of a stream, or so many bytes.
    pub(super) fn estimate(&mut self, input: u64) {
        if let Some(seen) = self.seen.as_mut().filter(|_| self.lost) {
            seen.usage.guess(input, 0);
            self.estimated = true;
            return;
        }
        let Some(seen) = self.seen.as_mut().filter(|_| !self.ended && self.first.is_some()) else { return };
        if seen.is_error || !seen.finish_reasons.is_empty() && seen.usage.total().is_some() {
            return;
        }
        let output = about(seen.events, self.bytes);
        if output == 0 {
            return;
        }
        seen.usage.guess(input, output);
        self.estimated = true;
    }

    /// About how many tokens came of answers of a session that are not over.
    pub(super) fn output_cut_off(&self) -> u64 {
        self.cut_off
    }

    /// About how many tokens came.
    pub(super) fn output_about(&self) -> u64 {
        about(self.seen.as_ref().map_or(0, |it| it.events), self.bytes)
    }

    fn to_first(&self) -> Option<Duration> {
        Some(self.first?.saturating_duration_since(self.read?))
    }

    /// Between tokens, on the average: only streams tell.
    fn per_token(&self, output: Option<u64>) -> Option<Duration> {
        let (first, last) = (self.first?, self.last?);
        let events = self.seen.as_ref().map_or(0, |it| it.events);
        let gaps = u32::try_from(output?.checked_sub(1)?).ok().filter(|it| *it > 0 && events > 1)?;
        Some(last.saturating_duration_since(first) / gaps)
    }
}

fn about(events: u64, bytes: u64) -> u64 {
    if events > 0 { events } else { bytes.div_ceil(settle::TOKEN_BYTES) }
}

impl Asked {
    /// For log and metrics, once the account is finished.
    pub(crate) fn event(&self) -> LlmEvent<'_> {
        let seen = self.account.seen.as_deref();
        let usage = seen.map(|it| &it.usage);
        let output = usage.and_then(|it| it.output);
        LlmEvent {
            operation: self.operation.name(),
            provider: self.provider().map_or("", |it| &it.system),
            request_model: self.asked_model().unwrap_or_default(),
            response_model: seen.and_then(|it| it.model.as_deref()).unwrap_or_default(),
            response_id: seen.and_then(|it| it.id.as_deref()).unwrap_or_default(),
            finish_reasons: seen.map_or(&[], |it| &it.finish_reasons),
            service_tier: seen
                .and_then(|it| it.service_tier.as_deref().or(it.usage.service_tier.as_deref()))
                .unwrap_or_default(),
            stream: self.stream,
            dropped: self.translation.as_ref().map(|it| &it.dropped).filter(|it| !it.is_empty()),
            max_tokens: self.max_tokens,
            input: usage.and_then(|it| it.input()),
            output,
            cache_read: usage.and_then(|it| it.cache_read),
            cache_write: usage.and_then(|it| it.cache_write),
            reasoning: usage.and_then(|it| it.reasoning),
            to_first: self.account.to_first(),
            per_token: self.account.per_token(output),
            estimated: self.account.estimated,
            findings: self.findings,
            priced: self.account.priced.as_ref(),
            outlasted: &self.outlasted,
        }
    }

    /// `llm` of expressions.
    pub(crate) fn object(&self) -> Json {
        let mut object = Json::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        let text = |text: &str| (!text.is_empty()).then(|| Value::from(text));
        let event = self.event();
        put("streaming", Some(event.stream.into()));
        put("requestModel", text(self.model.as_deref().unwrap_or(event.request_model)));
        put("provider", text(event.provider));
        let params = self.max_tokens.map(|it| serde_json::json!({ "max_tokens": it }));
        put("params", Some(params.unwrap_or_else(|| Json::new().into())));
        let Some(seen) = self.account.seen.as_deref() else { return object };
        let bill = settle::bill(self.account.priced.as_ref());
        put("cost", bill.map(|it| settle::cost(it).into()));
        put("costRates", bill.map(|it| settle::rates(&it.rates).into()));
        put("responseModel", text(event.response_model));
        put("serviceTier", text(event.service_tier));
        put("countTokens", seen.counted.map(Value::from));
        let usage = &seen.usage;
        for (name, tokens) in [
            ("inputTokens", usage.input()),
            ("outputTokens", usage.output),
            ("totalTokens", usage.total()),
            ("cachedInputTokens", usage.cache_read),
            ("cacheCreationInputTokens", usage.cache_write),
            ("reasoningTokens", usage.reasoning),
            ("inputImageTokens", usage.input_image),
            ("inputAudioTokens", usage.input_audio),
            ("outputImageTokens", usage.output_image),
            ("outputAudioTokens", usage.output_audio),
        ] {
            put(name, tokens.map(Value::from));
        }
        put("timeToFirstToken", event.to_first.map(|it| it.as_secs_f64().into()));
        put("timePerOutputToken", event.per_token.map(|it| it.as_secs_f64().into()));
        object
    }
}
