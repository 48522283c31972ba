//! Views of headers, and queries of URIs.

use super::encode::{percent, unpercent};
use super::{Builtin, method};
use crate::expr::attribute;
use crate::expr::error::Error;
use crate::expr::eval::Frame;
use crate::expr::headers::{Headers, Shape};
use crate::expr::map::Map;
use crate::expr::value::Value;

type Returned<'a> = Result<Value<'a>, Error>;

// `join()` and `split()` are also methods of lists and texts: see `strings`.
pub(super) const TABLE: &[Builtin] = &[
    method("redacted", 0, 0, |_, args| view(args, |it| Headers { redacted: true, ..it })),
    method("raw", 0, 0, |_, args| view(args, |it| Headers { shape: Shape::Raw, ..it })),
    method("cookie", 1, 1, cookie),
    method("query", 1, 1, query),
    method("addQuery", 2, 2, |frame, args| change(frame, args, false)),
    method("setQuery", 2, 2, |frame, args| change(frame, args, true)),
];

fn view<'a>(args: &[Value<'a>], change: for<'h> fn(Headers<'h>) -> Headers<'h>) -> Returned<'a> {
    match args {
        [Value::Map(Map::Headers(headers))] => Ok(Value::Map(Map::Headers(change(*headers)))),
        _ => Err(Error::no_overload()),
    }
}

fn cookie<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    match args {
        [Value::Map(Map::Headers(headers)), Value::String(name)] => {
            let cookie = attribute::cookie(headers.map, name).ok_or_else(Error::missing)?;
            Ok(attribute::guarded(cookie, frame.inputs))
        }
        _ => Err(Error::no_overload()),
    }
}

/// All values of a parameter, decoded; none is an error.
fn query<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::String(uri), Value::String(name)] = args else { return Err(Error::no_overload()) };
    frame.produces(uri.len())?;
    let mut values = Vec::new();
    for (key, value) in attribute::pairs(uri) {
        frame.step()?;
        if unpercent(key, true).as_deref() == Some(name) {
            values.push(Value::text(unpercent(value, true).unwrap_or_else(|| value.to_owned())));
        }
    }
    if values.is_empty() { Err(Error::missing()) } else { frame.list(values) }
}

/// The URI with a parameter added, or (`replaces`) in place of those of its name.
fn change<'a>(frame: &mut Frame<'a>, args: &[Value<'a>], replaces: bool) -> Returned<'a> {
    let [Value::String(uri), Value::String(name), value] = args else { return Err(Error::no_overload()) };
    let value = value.scalar().ok_or_else(Error::no_overload)?;
    frame.produces(uri.len() + name.len() + value.len())?;
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let kept = |pair: &&str| {
        let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
        let is_replaced = replaces && unpercent(key, true).as_deref() == Some(name);
        !pair.is_empty() && !is_replaced
    };
    let mut changed = path.to_owned();
    let added = format!("{}={}", percent(name.as_bytes(), "%20"), percent(value.as_bytes(), "%20"));
    for (position, pair) in query.split('&').filter(kept).chain([added.as_str()]).enumerate() {
        changed.push(if position == 0 { '?' } else { '&' });
        changed.push_str(pair);
    }
    frame.text(changed)
}
