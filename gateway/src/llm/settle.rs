//! The account at the end: what an answer that was cut off has used about, and what it all cost.

use filters::expr::Json;
use protocols::llm::{Bill, Cost, Priced, Rates, Usage};
use serde_json::Value;

use super::Asked;
use super::price::Prices;
use crate::telemetry::Outlasted;

/// Bytes of text that a token is, where nobody has counted.
pub(super) const TOKEN_BYTES: u64 = 4;

impl Asked {
    /// Closes the account. To be called once, when nothing more comes.
    pub(crate) fn settle(&mut self, prices: &Prices) {
        self.account.finish();
        if !self.lived() {
            let input = self.input_about();
            self.account.estimate(input);
        }
        for it in &mut self.outlasted {
            let mut used = Usage::default();
            used.guess(it.input, 0);
            it.priced = prices.price(&it.provider, &[&it.model], &used);
        }
        let Some(provider) = self.provider() else { return };
        let Some(seen) = self.account.seen.as_deref() else { return };
        // A name of the provider's own is surer than the one that was asked for.
        let models: Vec<&str> = seen.model.as_deref().into_iter().chain(self.asked_model()).collect();
        let used = !seen.usage.is_empty();
        let priced = used.then(|| prices.price(&provider.system, &models, &seen.usage)).flatten();
        self.account.priced = priced;
    }

    /// The provider did not answer in time, and is not waited for: what it was given it has read, if it got it whole.
    pub(crate) fn outlast(&mut self, attempt: u32) {
        if !self.operation.uses_tokens() || !self.account.has_all(attempt) {
            return;
        }
        let (Some(provider), Some(model)) = (self.provider(), self.asked_model()) else { return };
        let (provider, model) = (provider.system.clone(), model.to_owned());
        self.outlasted.push(Outlasted { provider, model, input: self.input_about(), priced: None });
    }

    /// About how many tokens the request is.
    pub(super) fn input_about(&self) -> u64 {
        (self.body_bytes() as u64).div_ceil(TOKEN_BYTES)
    }
}

/// The parts of a price under the names that expressions know them by.
macro_rules! parts {
    ($($name:literal $part:ident)*) => {
        fn billed(bill: &Bill) -> impl Iterator<Item = (&'static str, &Cost)> {
            let Bill { rates: _, $($part),* } = bill;
            [$(($name, $part)),*].into_iter()
        }

        fn rated(rates: &Rates) -> impl Iterator<Item = (&'static str, Option<u64>)> {
            let Rates { $($part),* } = *rates;
            [$(($name, $part)),*].into_iter()
        }
    };
}

parts! {
    "input" input
    "output" output
    "cacheRead" cache_read
    "cacheWrite" cache_write
    "reasoning" reasoning
    "inputAudio" input_audio
    "outputAudio" output_audio
}

/// `llm.cost` of expressions: dollars.
pub(super) fn cost(bill: &Bill) -> Json {
    let total = bill.total();
    let all = std::iter::once(("total", &total)).chain(billed(bill));
    all.map(|(name, cost)| (name.to_owned(), Value::from(cost.dollars()))).collect()
}

/// `llm.costRates` of expressions: dollars for a million tokens.
pub(super) fn rates(rates: &Rates) -> Json {
    rated(rates).filter_map(|(name, rate)| Some((name.to_owned(), Value::from(rate? as f64 / 1e6)))).collect()
}

/// The bill, where every rate that it needs is known.
pub(super) fn bill(priced: Option<&Priced>) -> Option<&Bill> {
    match priced? {
        Priced::Exact(bill) => Some(bill),
        Priced::Unpriced | Priced::Missing => None,
    }
}
