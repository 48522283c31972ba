//! Requests to language models: what log and metrics say of them beside what they say of every request.
//!
//! Names are those of the OpenTelemetry conventions for generative AI. Labels are bounded as all are:
//! models that clients make up become `_other` before they are many.

use std::time::Duration;

use ir::Text;
use protocols::llm::Priced;
use protocols::llm::translate::Dropped;

use super::family::{Cells, Family, Label};
use super::histogram::{Counter, FirstToken, Histogram, OutputToken, Request, Tokens};
use super::metrics::NAMES_MAX;

/// A request to a language model that ended. Empty text means "not known".
#[derive(Clone, Copy, Debug, Default)]
pub struct LlmEvent<'a> {
    /// `chat`, `embeddings`, ….
    pub operation: &'a str,
    /// The provider's name in telemetry.
    pub provider: &'a str,
    /// What the provider was asked for.
    pub request_model: &'a str,
    pub response_model: &'a str,
    pub response_id: &'a str,
    pub finish_reasons: &'a [String],
    pub service_tier: &'a str,
    pub stream: bool,
    /// What was asked for, and the provider's dialect has no place for.
    pub dropped: Option<&'a Dropped>,
    pub max_tokens: Option<u64>,
    /// With what was cached.
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cache_read: Option<u64>,
    pub cache_write: Option<u64>,
    pub reasoning: Option<u64>,
    /// From the whole request to the first bytes of the answer's body.
    pub to_first: Option<Duration>,
    /// Between tokens of a stream, on the average.
    pub per_token: Option<Duration>,
    /// The answer was cut off: what was used is a guess.
    pub estimated: bool,
    /// What guards have found in request and answer.
    pub findings: u64,
    /// What it cost by the catalogue, where there is one.
    pub priced: Option<&'a Priced>,
    /// Providers that were asked before, one after the other.
    pub outlasted: &'a [Outlasted],
}

/// A provider that had the whole request and did not answer in time: another one was asked, but this one has read it,
/// and bills that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlasted {
    /// Its name in telemetry.
    pub provider: Text,
    /// What it was asked for.
    pub model: String,
    /// About how many tokens it was given.
    pub input: u64,
    /// What that costs by the catalogue, where there is one.
    pub priced: Option<Priced>,
}

/// Figures by operation, provider and model.
#[derive(Default)]
pub(super) struct LlmCells {
    pub(super) duration: Histogram<Request>,
    pub(super) to_first: Histogram<FirstToken>,
    pub(super) per_token: Histogram<OutputToken>,
    pub(super) unaccounted: Counter,
    /// Millionths of a millionth of a dollar.
    pub(super) cost: Counter,
    pub(super) unpriced: Counter,
    /// One for each of [`TOKEN_KINDS`]: they are beside the others, so that a request is looked up once.
    pub(super) tokens: [Histogram<Tokens>; TOKEN_KINDS.len()],
}

/// Values of `gen_ai_token_type`.
pub(super) const TOKEN_KINDS: [&str; 5] =
    ["input", "output", "input_cache_read", "input_cache_write", "output_reasoning"];

impl LlmCells {
    /// Counts tokens in the order of [`TOKEN_KINDS`].
    fn used(&self, tokens: [Option<u64>; TOKEN_KINDS.len()]) {
        for (histogram, tokens) in self.tokens.iter().zip(tokens) {
            if let Some(tokens) = tokens {
                histogram.observe(Duration::from_micros(tokens));
            }
        }
    }

    fn bill(&self, priced: Option<&Priced>) {
        match priced {
            Some(Priced::Exact(bill)) => self.cost.add(u64::try_from(bill.total().0).unwrap_or(u64::MAX)),
            Some(Priced::Unpriced | Priced::Missing) => self.unpriced.add(1),
            None => {}
        }
    }
}

impl Cells for LlmCells {
    fn absorb(&self, other: &Self) {
        let Self { duration, to_first, per_token, unaccounted, cost, unpriced, tokens } = self;
        duration.absorb(&other.duration);
        to_first.absorb(&other.to_first);
        per_token.absorb(&other.per_token);
        unaccounted.absorb(&other.unaccounted);
        cost.absorb(&other.cost);
        unpriced.absorb(&other.unpriced);
        tokens.iter().zip(&other.tokens).for_each(|(mine, theirs)| mine.absorb(theirs));
    }
}

/// The families of language models.
pub(super) struct Llm {
    pub(super) requests: Family<LlmCells>,
    pub(super) dropped: Family<Counter>,
}

impl Llm {
    pub(super) fn new(series_max: usize, shards: usize) -> Self {
        let labels = [
            Label::closed("gen_ai_operation_name"),
            Label::bounded("gen_ai_provider_name", NAMES_MAX),
            Label::bounded("gen_ai_request_model", NAMES_MAX),
            Label::bounded("gen_ai_response_model", NAMES_MAX),
        ];
        let requests = Family::new(&labels, series_max, shards);
        let labels = [Label::bounded("gen_ai_provider_name", NAMES_MAX), Label::bounded("field", NAMES_MAX)];
        Self { requests, dropped: Family::new(&labels, series_max, shards) }
    }

    pub(super) fn ended(&self, event: &LlmEvent<'_>, duration: Duration, status: u16) {
        let LlmEvent { operation, provider, request_model, response_model, .. } = *event;
        let labels = [operation, provider, request_model, response_model];
        self.requests.record(&labels, |cells| {
            cells.duration.observe(duration);
            event.to_first.iter().for_each(|it| cells.to_first.observe(*it));
            event.per_token.iter().for_each(|it| cells.per_token.observe(*it));
            cells.bill(event.priced);
            cells.used([event.input, event.output, event.cache_read, event.cache_write, event.reasoning]);
            let counts = matches!(operation, "chat" | "generate_content" | "embeddings");
            if counts && status == 200 && event.input.is_none() && event.output.is_none() {
                cells.unaccounted.add(1);
            }
        });
        for name in event.dropped.into_iter().flat_map(Dropped::names) {
            self.dropped.record(&[provider, name], |cells| cells.add(1));
        }
        for it in event.outlasted {
            let labels = [operation, &it.provider, &it.model, ""];
            self.requests.record(&labels, |cells| {
                cells.bill(it.priced.as_ref());
                cells.used([Some(it.input), None, None, None, None]);
            });
        }
    }
}
