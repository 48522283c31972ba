//! What tokens cost, by a catalogue: exact decimal arithmetic, no floating point.
//!
//! Rates are dollars for a million tokens, as decimal strings of up to six fractional digits: a rate is so many
//! millionths of a dollar for a million tokens, a cost so many millionths of a millionth of a dollar. A tier lies over
//! the base rates where more went in than its `contextOver`; the highest that does counts. What was read from or written
//! to a cache, thought, heard or said is billed at its own rate where the catalogue has one, and else as the rest.

use std::collections::HashMap;
use std::fmt;

use super::Usage;
use crate::json::{self, Kind, Raw};

/// Fractional digits of a rate.
const RATE_DIGITS: u32 = 6;

/// Models of all providers together.
pub const MODELS_MAX: usize = 100_000;

/// Why a catalogue is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogFault {
    #[error(transparent)]
    Json(#[from] json::Fault),
    #[error("`{0}`: {1}")]
    Member(String, &'static str),
}

/// Millionths of a dollar for a million tokens; nothing where the catalogue does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cache_read: Option<u64>,
    pub cache_write: Option<u64>,
    pub reasoning: Option<u64>,
    pub input_audio: Option<u64>,
    pub output_audio: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    rates: Rates,
    /// By what must be exceeded, rising.
    tiers: Vec<(u64, Rates)>,
}

/// Rates by provider and model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    providers: HashMap<String, HashMap<String, Model>>,
    /// Of which day it is: `2026-11-26`.
    date: Option<String>,
}

/// Millionths of a millionth of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(pub u128);

/// What an answer cost, part by part: together they are the whole. A part without a rate of its own is in `input` or
/// `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    pub rates: Rates,
    pub input: Cost,
    pub cache_read: Cost,
    pub cache_write: Cost,
    pub input_audio: Cost,
    pub output: Cost,
    pub reasoning: Cost,
    pub output_audio: Cost,
}

impl Bill {
    pub fn total(&self) -> Cost {
        let Self { rates: _, input, cache_read, cache_write, input_audio, output, reasoning, output_audio } = self;
        let parts = [input, cache_read, cache_write, input_audio, output, reasoning, output_audio];
        Cost(parts.into_iter().map(|it| it.0).sum())
    }
}

/// What the catalogue says of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Priced {
    Exact(Box<Bill>),
    /// The model is there, and what was used has no rate.
    Unpriced,
    /// The model is not there.
    Missing,
}

impl Priced {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::Unpriced => "unpriced",
            Self::Missing => "missing",
        }
    }
}

impl Cost {
    /// Dollars, for where a digit more or less does no harm.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e12
    }
}

impl fmt::Display for Cost {
    /// Dollars, without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DOLLAR: u128 = 1_000_000_000_000;
        let fraction = format!("{:012}", self.0 % DOLLAR);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / DOLLAR),
            fraction => write!(f, "{}.{fraction}", self.0 / DOLLAR),
        }
    }
}

impl Catalog {
    /// Reads `{"date":"…","providers":{<id>:{"models":{<id>:{"rates":{…},"tiers":[{"contextOver":n,"rates":{…}}]}}}}}`.
    pub fn parse(text: &[u8]) -> Result<Self, CatalogFault> {
        let document = json::parse(text)?;
        let mut out = Self { date: date(document.get("date"))?, ..Self::default() };
        let mut count = 0;
        for (provider, it) in object(document.get("providers"), "providers")? {
            let at = format!("providers.{provider}.models");
            let models = out.providers.entry(provider.into_owned()).or_default();
            for (model, it) in object(it.get("models"), &at)? {
                count += 1;
                if count > MODELS_MAX {
                    return Err(CatalogFault::Member(at, "there are too many models"));
                }
                let read = Model::read(it, &format!("{at}.{model}"))?;
                models.insert(model.into_owned(), read);
            }
        }
        Ok(out)
    }

    /// Lays another over this one: its rates count where it has them, tier by tier.
    pub fn merge(&mut self, later: Self) {
        // Days are written so that the later one is the greater text.
        self.date = self.date.take().max(later.date);
        for (provider, models) in later.providers {
            let held = self.providers.entry(provider).or_default();
            for (name, model) in models {
                let own = held.entry(name).or_default();
                own.rates = own.rates.under(&model.rates);
                if !model.tiers.is_empty() {
                    own.tiers = model.tiers;
                }
            }
        }
    }

    /// The last day of those that it is made of.
    pub fn date(&self) -> Option<&str> {
        self.date.as_deref()
    }

    pub fn models(&self) -> usize {
        self.providers.values().map(HashMap::len).sum()
    }

    /// The first of these names that is known there.
    pub fn price(&self, provider: &str, models: &[&str], usage: &Usage) -> Priced {
        let Some(known) = self.providers.get(provider) else { return Priced::Missing };
        let found = models.iter().find_map(|name| known.get(*name));
        let Some(model) = found else { return Priced::Missing };
        match model.rates_for(usage.input().unwrap_or(0)).bill(usage) {
            Some(bill) => Priced::Exact(Box::new(bill)),
            None => Priced::Unpriced,
        }
    }
}

impl Model {
    fn read(it: Raw<'_>, at: &str) -> Result<Self, CatalogFault> {
        let rates = Rates::read(it.get("rates"), &format!("{at}.rates"))?;
        let mut tiers: Vec<(u64, Rates)> = Vec::new();
        for (position, tier) in it.get("tiers").into_iter().flat_map(Raw::elements).enumerate() {
            let at = format!("{at}.tiers[{position}]");
            let over = tier.get("contextOver").and_then(|it| it.text().parse().ok());
            let Some(over) = over else { return Err(CatalogFault::Member(at, "`contextOver` is a number of tokens")) };
            if tiers.last().is_some_and(|(before, _)| *before >= over) {
                return Err(CatalogFault::Member(at, "`contextOver` does not rise"));
            }
            tiers.push((over, Rates::read(tier.get("rates"), &format!("{at}.rates"))?));
        }
        Ok(Self { rates, tiers })
    }

    fn rates_for(&self, input: u64) -> Rates {
        let exceeded = self.tiers.iter().rev().find(|(over, _)| input > *over);
        exceeded.map_or(self.rates, |(_, rates)| self.rates.under(rates))
    }
}

impl Rates {
    fn read(it: Option<Raw<'_>>, at: &str) -> Result<Self, CatalogFault> {
        let Some(it) = it else { return Ok(Self::default()) };
        let mut rates = Self::default();
        for (name, value) in object(Some(it), at)? {
            let slot = match &*name {
                "input" => &mut rates.input,
                "output" => &mut rates.output,
                "cacheRead" => &mut rates.cache_read,
                "cacheWrite" => &mut rates.cache_write,
                "reasoning" => &mut rates.reasoning,
                "inputAudio" => &mut rates.input_audio,
                "outputAudio" => &mut rates.output_audio,
                _ => continue,
            };
            let read = value.as_str().and_then(|it| rate(&it));
            let fault = || {
                CatalogFault::Member(format!("{at}.{name}"), "is not a decimal string of up to six fractional digits")
            };
            *slot = Some(read.ok_or_else(fault)?);
        }
        Ok(rates)
    }

    /// With these over them.
    fn under(&self, over: &Self) -> Self {
        let Self { input, output, cache_read, cache_write, reasoning, input_audio, output_audio } = *over;
        Self {
            input: input.or(self.input),
            output: output.or(self.output),
            cache_read: cache_read.or(self.cache_read),
            cache_write: cache_write.or(self.cache_write),
            reasoning: reasoning.or(self.reasoning),
            input_audio: input_audio.or(self.input_audio),
            output_audio: output_audio.or(self.output_audio),
        }
    }

    /// Nothing where something was used that has no rate, or where nothing is known to have been used.
    fn bill(&self, usage: &Usage) -> Option<Bill> {
        usage.total()?;
        let mut bill = Bill { rates: *self, ..Bill::default() };
        let mut input = Side::of(usage.input());
        input.take(usage.cache_read, self.cache_read, &mut bill.cache_read);
        input.take(usage.cache_write, self.cache_write, &mut bill.cache_write);
        input.take(usage.input_audio, self.input_audio, &mut bill.input_audio);
        bill.input = input.rest(self.input)?;
        let mut output = Side::of(usage.output);
        output.take(usage.reasoning, self.reasoning, &mut bill.reasoning);
        output.take(usage.output_audio, self.output_audio, &mut bill.output_audio);
        bill.output = output.rest(self.output)?;
        Some(bill)
    }
}

/// Tokens that went in or came out and are not billed yet.
struct Side(u64);

impl Side {
    fn of(all: Option<u64>) -> Self {
        Self(all.unwrap_or(0))
    }

    /// Bills a part at its own rate, where there is one. A report whose parts are more than the whole is billed for the
    /// whole at most.
    fn take(&mut self, part: Option<u64>, rate: Option<u64>, cost: &mut Cost) {
        let (Some(part), Some(rate)) = (part, rate) else { return };
        let tokens = self.0.min(part);
        self.0 -= tokens;
        *cost = Cost(u128::from(tokens) * u128::from(rate));
    }

    /// Bills what is left at the common one.
    fn rest(self, common: Option<u64>) -> Option<Cost> {
        match (self.0, common) {
            (0, _) => Some(Cost(0)),
            (rest, Some(rate)) => Some(Cost(u128::from(rest) * u128::from(rate))),
            (_, None) => None,
        }
    }
}

/// A day, as `2026-11-26`.
fn date(it: Option<Raw<'_>>) -> Result<Option<String>, CatalogFault> {
    let Some(it) = it else { return Ok(None) };
    let is_day = |text: &str| {
        let mut bytes = text.bytes().enumerate();
        text.len() == 10 && bytes.all(|(at, it)| if matches!(at, 4 | 7) { it == b'-' } else { it.is_ascii_digit() })
    };
    let day = it.as_str().filter(|it| is_day(it));
    let fault = || CatalogFault::Member("date".to_owned(), "is not a day such as `2026-11-26`");
    day.map(|it| Some(it.into_owned())).ok_or_else(fault)
}

fn object<'a>(
    it: Option<Raw<'a>>,
    at: &str,
) -> Result<impl Iterator<Item = (std::borrow::Cow<'a, str>, Raw<'a>)> + use<'a>, CatalogFault> {
    match it {
        Some(it) if it.kind() == Kind::Object => Ok(it.members()),
        _ => Err(CatalogFault::Member(at.to_owned(), "is not an object")),
    }
}

/// Dollars as millionths.
fn rate(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    let length = u32::try_from(fraction.len()).ok().filter(|it| *it <= RATE_DIGITS)?;
    if whole.is_empty() || !digits(whole) || !digits(fraction) || text.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(10_u64.pow(RATE_DIGITS))?;
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    whole.checked_add(fraction * 10_u64.pow(RATE_DIGITS - length))
}

#[cfg(test)]
mod tests;
