//! Walks over lists and maps.

use super::{Evaluated, Frame, eval, truth, within};
use crate::expr::error::Error;
use crate::expr::map::{Entries, Map};
use crate::expr::node::{Fold, FoldKind};
use crate::expr::value::{List, Value};

/// What is walked over.
enum Range<'a> {
    List(List<'a>),
    Map(Vec<(Value<'a>, Value<'a>)>),
}

pub(super) fn fold<'a>(fold: &'a Fold, frame: &mut Frame<'a>) -> Evaluated<'a> {
    let range = match eval(&fold.range, frame)? {
        Value::List(items) => Range::List(items),
        Value::Map(map) => {
            frame.produces(map.len().saturating_mul(2 * size_of::<Value<'a>>()))?;
            let entries = map.entries();
            Range::Map(entries)
        }
        _ => return Err(Error::no_overload()),
    };
    match fold.kind {
        FoldKind::All => decided(fold, &range, false, frame),
        FoldKind::Exists => decided(fold, &range, true, frame),
        FoldKind::ExistsOne => {
            let mut count = 0;
            for step in steps(&range) {
                count += usize::from(inside(fold, &range, step, frame, |frame| truth(&fold.body, frame))?);
            }
            Ok(Value::Bool(count == 1))
        }
        FoldKind::List | FoldKind::Filter => listed(fold, &range, frame),
        FoldKind::Map | FoldKind::Entries | FoldKind::Values | FoldKind::Keys => mapped(fold, &range, frame),
    }
}

fn steps(range: &Range<'_>) -> std::ops::Range<usize> {
    match range {
        Range::List(items) => 0..items.len(),
        Range::Map(entries) => 0..entries.len(),
    }
}

/// Key (or index) and value at a step.
fn pair<'a>(range: &Range<'a>, step: usize) -> Option<(Value<'a>, Value<'a>)> {
    match range {
        Range::List(items) => Some((Value::Int(i64::try_from(step).ok()?), items.get(step)?)),
        Range::Map(entries) => entries.get(step).cloned(),
    }
}

/// The one variable of a step: the element of a list, the key of a map.
fn single<'a>(fold: &Fold, range: &Range<'a>, (key, value): (Value<'a>, Value<'a>)) -> Value<'a> {
    match (fold.kind, range) {
        (FoldKind::Values, _) | (_, Range::List(_)) => value,
        (_, Range::Map(_)) => key,
    }
}

/// Runs with the variables of a step.
fn inside<'a, T>(
    fold: &'a Fold,
    range: &Range<'a>,
    step: usize,
    frame: &mut Frame<'a>,
    act: impl FnOnce(&mut Frame<'a>) -> Result<T, Error>,
) -> Result<T, Error> {
    let (key, value) = pair(range, step).ok_or_else(Error::missing)?;
    if fold.is_paired {
        return within(frame, Ok(key), |frame| within(frame, Ok(value), act));
    }
    let one = single(fold, range, (key, value));
    within(frame, Ok(one), act)
}

/// `all` and `exists`: what one element decides stands, whatever error others have.
fn decided<'a>(fold: &'a Fold, range: &Range<'a>, decisive: bool, frame: &mut Frame<'a>) -> Evaluated<'a> {
    let mut failed = None;
    for step in steps(range) {
        match inside(fold, range, step, frame, |frame| truth(&fold.body, frame)) {
            Ok(value) if value == decisive => return Ok(Value::Bool(decisive)),
            Ok(_) => {}
            Err(error) if error.is_limit() => return Err(error),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(Value::Bool(!decisive)), Err)
}

fn admits<'a>(fold: &'a Fold, frame: &mut Frame<'a>) -> Result<bool, Error> {
    fold.filter.as_ref().map_or(Ok(true), |filter| truth(filter, frame))
}

fn listed<'a>(fold: &'a Fold, range: &Range<'a>, frame: &mut Frame<'a>) -> Evaluated<'a> {
    let mut items = Vec::new();
    for step in steps(range) {
        let item = inside(fold, range, step, frame, |frame| {
            if fold.kind == FoldKind::Filter {
                let value = || pair(range, step).map(|pair| single(fold, range, pair));
                return Ok(if truth(&fold.body, frame)? { value() } else { None });
            }
            if admits(fold, frame)? { eval(&fold.body, frame).map(Some) } else { Ok(None) }
        })?;
        items.extend(item);
    }
    frame.list(items)
}

fn mapped<'a>(fold: &'a Fold, range: &Range<'a>, frame: &mut Frame<'a>) -> Evaluated<'a> {
    let mut entries = Entries::default();
    for step in steps(range) {
        let Some((key, value)) = pair(range, step) else { continue };
        frame.produces(2 * size_of::<Value<'a>>())?;
        let result = inside(fold, range, step, frame, |frame| match fold.kind {
            FoldKind::Keys => Ok(truth(&fold.body, frame)?.then_some(value)),
            _ if admits(fold, frame)? => eval(&fold.body, frame).map(Some),
            _ => Ok(None),
        })?;
        match (fold.kind, result) {
            (_, None) => {}
            (FoldKind::Entries, Some(Value::Map(made))) => {
                for (key, value) in made.entries() {
                    frame.step()?;
                    if !entries.insert(key, value) {
                        return Err(Error::invalid("repeated key"));
                    }
                }
            }
            (FoldKind::Entries, Some(_)) => return Err(Error::no_overload()),
            (_, Some(value)) => {
                entries.insert(key, value);
            }
        }
    }
    Ok(Value::Map(Map::of(entries)))
}
