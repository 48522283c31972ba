//! The key of a request: what an expression makes of it, as a hash.

use super::{Hash, Seed};
use crate::Exchange;
use crate::expr::{Expression, Site, Vocabulary};

/// Compiles the expression of a key.
///
/// # Errors
/// What is wrong with it, with its place in the text.
pub fn parse(text: &str, site: Site) -> Result<Expression, String> {
    Expression::parse(text, &Vocabulary::of(site))
}

/// The hash of a request's key. Without an expression, and where it has no value, all requests are one; a value that
/// has parts counts as its JSON.
pub fn hash(key: Option<&Expression>, seed: &Seed, exchange: &Exchange<'_>) -> Hash {
    let Some(key) = key else { return seed.hash([]) };
    let inputs = exchange.facts.inputs(exchange.request);
    let value = key.evaluate(&inputs).ok();
    let hashed = value.and_then(|value| match value.to_header() {
        Some(text) => Some(seed.hash([&text[..]])),
        None => value.to_body().ok().map(|json| seed.hash([&json[..], b"json"])),
    });
    hashed.unwrap_or_else(|| seed.hash([]))
}
