//! Texts. Positions count characters.

use std::fmt::Write as _;

use regex::Regex;

use super::{Builtin, format, global, method};
use crate::expr::error::{Cause, Error};
use crate::expr::eval::Frame;
use crate::expr::headers::{Headers, Shape};
use crate::expr::map::Map;
use crate::expr::value::{List, Str, Value};

type Returned<'a> = Result<Value<'a>, Error>;

pub(super) const TABLE: &[Builtin] = &[
    method("contains", 1, 1, |frame, args| test(frame, args, |of, what| of.contains(what))),
    method("startsWith", 1, 1, |frame, args| test(frame, args, |of, what| of.starts_with(what))),
    method("endsWith", 1, 1, |frame, args| test(frame, args, |of, what| of.ends_with(what))),
    method("matches", 1, 1, matches),
    global("matches", 2, 2, matches),
    method("charAt", 1, 1, char_at),
    method("indexOf", 1, 2, index_of),
    method("lastIndexOf", 1, 2, last_index_of),
    method("join", 0, 1, join),
    method("lowerAscii", 0, 0, |frame, args| made(frame, args, str::to_ascii_lowercase)),
    method("upperAscii", 0, 0, |frame, args| made(frame, args, str::to_ascii_uppercase)),
    method("reverse", 0, 0, |frame, args| made(frame, args, |it| it.chars().rev().collect())),
    method("trim", 0, 0, trim),
    method("replace", 2, 3, replace),
    method("split", 0, 2, split),
    method("substring", 1, 2, substring),
    method("stripPrefix", 1, 1, |_, args| strip(args, |of, what| of.strip_prefix(what))),
    method("stripSuffix", 1, 1, |_, args| strip(args, |of, what| of.strip_suffix(what))),
    method("regexReplace", 2, 2, regex_replace),
    method("format", 1, 1, format::format),
    global("strings.quote", 1, 1, quote),
];

fn test<'a>(frame: &mut Frame<'a>, args: &[Value<'a>], act: fn(&str, &str) -> bool) -> Returned<'a> {
    let [Value::String(of), Value::String(what)] = args else { return Err(Error::no_overload()) };
    frame.reads(of.len())?;
    Ok(Value::Bool(act(of, what)))
}

fn matches<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::String(of), Value::String(pattern)] = args else { return Err(Error::no_overload()) };
    let regex = frame.regex(pattern)?;
    frame.reads(of.len())?;
    Ok(Value::Bool(regex.is_match(of)))
}

fn made<'a>(frame: &mut Frame<'a>, args: &[Value<'a>], act: fn(&str) -> String) -> Returned<'a> {
    let [Value::String(of)] = args else { return Err(Error::no_overload()) };
    frame.reads(of.len())?;
    frame.text(act(of))
}

fn trim<'a>(_: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::String(of)] = args else { return Err(Error::no_overload()) };
    // U+180E was white space once, and is none in the rules CEL names.
    let inner = of.trim();
    Ok(slice(of, inner))
}

/// The part of `of` that `inner` is.
fn slice<'a>(of: &Str<'a>, inner: &str) -> Value<'a> {
    let from = inner.as_ptr() as usize - of.as_ptr() as usize;
    Value::String(of.part(from, from + inner.len()))
}

fn strip<'a>(args: &[Value<'a>], act: for<'t> fn(&'t str, &str) -> Option<&'t str>) -> Returned<'a> {
    let [Value::String(of), Value::String(what)] = args else { return Err(Error::no_overload()) };
    Ok(act(of, what).map_or_else(|| Value::String(of.clone()), |inner| slice(of, inner)))
}

/// The byte position of a character position; the end counts.
fn offset(text: &str, position: i64) -> Result<usize, Error> {
    let wanted = usize::try_from(position).map_err(|_| Error::new(Cause::OutOfRange))?;
    let mut offsets = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    offsets.nth(wanted).ok_or_else(|| Error::new(Cause::OutOfRange))
}

fn count(text: &str) -> Result<i64, Error> {
    i64::try_from(text.chars().count()).map_err(|_| Error::overflow())
}

fn char_at<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::String(of), Value::Int(position)] = args else { return Err(Error::no_overload()) };
    frame.reads(of.len())?;
    let from = offset(of, *position)?;
    let length = of.get(from..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    Ok(Value::String(of.part(from, from + length)))
}

fn index_of<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let (of, what, from) = match args {
        [Value::String(of), Value::String(what)] => (of, what, 0),
        [Value::String(of), Value::String(what), Value::Int(from)] => (of, what, *from),
        _ => return Err(Error::no_overload()),
    };
    frame.reads(of.len())?;
    if what.is_empty() && from == 0 {
        return Ok(Value::Int(0));
    }
    let start = offset(of, from)?;
    let found = of.get(start..).and_then(|rest| rest.find(&**what)).map(|at| at + start);
    found.map_or(Ok(Value::Int(-1)), |at| Ok(Value::Int(count(of.get(..at).unwrap_or(""))?)))
}

fn last_index_of<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let (of, what, last) = match args {
        [Value::String(of), Value::String(what)] => (of, what, None),
        [Value::String(of), Value::String(what), Value::Int(last)] => (of, what, Some(*last)),
        _ => return Err(Error::no_overload()),
    };
    frame.reads(of.len())?;
    let last = last.map_or(Ok(of.len()), |last| offset(of, last))?;
    // The occurrence begins at `last` or before.
    let end = (last + what.len()).min(of.len());
    // Inside a character no occurrence can end.
    let end = (0..=end).rev().find(|end| of.is_char_boundary(*end)).unwrap_or(0);
    let found = of.get(..end).and_then(|head| head.rfind(&**what));
    found.map_or(Ok(Value::Int(-1)), |at| Ok(Value::Int(count(of.get(..at).unwrap_or(""))?)))
}

fn substring<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let (of, from, to) = match args {
        [Value::String(of), Value::Int(from)] => (of, *from, None),
        [Value::String(of), Value::Int(from), Value::Int(to)] => (of, *from, Some(*to)),
        _ => return Err(Error::no_overload()),
    };
    frame.reads(of.len())?;
    let start = offset(of, from)?;
    let end = to.map_or(Ok(of.len()), |to| offset(of, to))?;
    if start > end {
        return Err(Error::new(Cause::OutOfRange));
    }
    Ok(Value::String(of.part(start, end)))
}

fn join<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let (items, separator) = match args {
        [Value::Map(Map::Headers(headers))] => {
            return Ok(Value::Map(Map::Headers(Headers { shape: Shape::Joined, ..*headers })));
        }
        [Value::List(items)] => (items, ""),
        [Value::List(items), Value::String(separator)] => (items, &**separator),
        _ => return Err(Error::no_overload()),
    };
    let mut joined = String::new();
    for (position, item) in items.iter().enumerate() {
        let Value::String(text) = item else { return Err(Error::no_overload()) };
        frame.step()?;
        frame.produces(text.len() + separator.len())?;
        if position > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&text);
    }
    Ok(Value::text(joined))
}

fn replace<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let (of, what, with, most) = match args {
        [Value::String(of), Value::String(what), Value::String(with)] => (of, what, with, -1),
        [Value::String(of), Value::String(what), Value::String(with), Value::Int(most)] => (of, what, with, *most),
        _ => return Err(Error::no_overload()),
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    frame.reads(of.len())?;
    // Charged before it is built: a text of many matches may grow a great deal.
    let found = if what.is_empty() { of.chars().count() + 1 } else { of.matches(&**what).take(most).count() };
    frame.produces(of.len() + found.min(most).saturating_mul(with.len()))?;
    Ok(Value::text(of.replacen(&**what, with, most)))
}

fn split<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let (of, by, most) = match args {
        [Value::Map(Map::Headers(headers))] => {
            return Ok(Value::Map(Map::Headers(Headers { shape: Shape::Split, ..*headers })));
        }
        [Value::String(of), Value::String(by)] => (of, by, -1),
        [Value::String(of), Value::String(by), Value::Int(most)] => (of, by, *most),
        _ => return Err(Error::no_overload()),
    };
    frame.reads(of.len())?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if most == 0 {
        return frame.list(Vec::new());
    }
    let most_parts = if by.is_empty() { of.chars().count() } else { of.matches(&**by).count() + 1 };
    frame.produces(most_parts.min(most).saturating_mul(size_of::<Value<'a>>()))?;
    let parts: Vec<Value<'a>> = match by.is_empty() {
        true => characters(of).take(most).collect(),
        false => of.splitn(most, &**by).map(|part| slice(of, part)).collect(),
    };
    Ok(Value::List(List::Shared(parts.into())))
}

fn characters<'t, 'a>(of: &'t Str<'a>) -> impl Iterator<Item = Value<'a>> + use<'t, 'a> {
    of.char_indices().map(|(at, c)| Value::String(of.part(at, at + c.len_utf8())))
}

fn regex_replace<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::String(of), Value::String(pattern), Value::String(with)] = args else {
        return Err(Error::no_overload());
    };
    let regex = frame.regex(pattern)?;
    replace_regex(frame, of, &regex, with)
}

/// Every match replaced; `$1` and `${name}` stand for groups. Grows only as far as the budget lets it.
pub(in crate::expr) fn replace_regex<'a>(
    frame: &mut Frame<'a>,
    of: &Str<'a>,
    regex: &Regex,
    with: &str,
) -> Returned<'a> {
    frame.reads(of.len())?;
    let mut made = String::new();
    let mut done = 0;
    for captures in regex.captures_iter(of) {
        let Some(whole) = captures.get(0) else { continue };
        let before = made.len();
        made.push_str(of.get(done..whole.start()).unwrap_or(""));
        captures.expand(with, &mut made);
        done = whole.end();
        frame.step()?;
        frame.produces(made.len() - before)?;
    }
    if done == 0 && made.is_empty() {
        return Ok(Value::String(of.clone()));
    }
    made.push_str(of.get(done..).unwrap_or(""));
    frame.produces(of.len() - done)?;
    Ok(Value::text(made))
}

/// In double quotes, with escapes.
fn quote<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::String(of)] = args else { return Err(Error::no_overload()) };
    frame.produces(of.len())?;
    let mut quoted = String::with_capacity(of.len() + 2);
    quoted.push('"');
    for c in of.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' | '"' => {
                let _ = write!(quoted, "\\{c}");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    frame.text(quoted)
}
