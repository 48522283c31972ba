//! Encodings and digests, and what is different each time.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha1::Digest;

use super::{Builtin, ambient, global, method};
use crate::expr::error::Error;
use crate::expr::eval::Frame;
use crate::expr::map::{Entries, Map};
use crate::expr::value::Value;

type Returned<'a> = Result<Value<'a>, Error>;

pub(super) const TABLE: &[Builtin] = &[
    global("base64.encode", 1, 1, base64_encode),
    global("base64.decode", 1, 1, base64_decode),
    global("base64Encode", 1, 1, base64_encode),
    global("base64Decode", 1, 1, base64_decode),
    method("base64Encode", 0, 0, base64_encode),
    method("base64Decode", 0, 0, base64_decode),
    global("url.encode", 1, 1, url_encode),
    global("url.decode", 1, 1, url_decode),
    global("form.encode", 1, 1, form_encode),
    global("form.decode", 1, 1, form_decode),
    global("sha1.encode", 1, 1, |frame, args| digest(frame, args, |it| hex(&sha1::Sha1::digest(it)))),
    global("sha256.encode", 1, 1, |frame, args| digest(frame, args, |it| hex(&sha2::Sha256::digest(it)))),
    global("md5.encode", 1, 1, |frame, args| digest(frame, args, |it| hex(&md5::Md5::digest(it)))),
    ambient("random", random),
    ambient("uuid", uuid),
];

fn bytes<'v>(args: &'v [Value<'_>]) -> Result<&'v [u8], Error> {
    match args {
        [Value::String(text)] => Ok(text.as_bytes()),
        [Value::Bytes(bytes)] => Ok(bytes),
        _ => Err(Error::no_overload()),
    }
}

fn text<'v>(args: &'v [Value<'_>]) -> Result<&'v str, Error> {
    match args {
        [Value::String(text)] => Ok(text),
        _ => Err(Error::no_overload()),
    }
}

fn base64_encode<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let bytes = bytes(args)?;
    frame.produces(bytes.len())?;
    frame.text(STANDARD.encode(bytes))
}

/// With or without padding.
fn base64_decode<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let text = text(args)?;
    frame.produces(text.len())?;
    let decoded = STANDARD_NO_PAD.decode(text.trim_end_matches('='));
    decoded.map(Value::bytes).map_err(|_| Error::invalid("not valid base64"))
}

fn digest<'a>(frame: &mut Frame<'a>, args: &[Value<'a>], act: fn(&[u8]) -> String) -> Returned<'a> {
    let bytes = bytes(args)?;
    frame.reads(bytes.len())?;
    frame.text(act(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.extend(char::from_digit(u32::from(byte >> 4), 16));
        text.extend(char::from_digit(u32::from(byte & 15), 16));
        text
    })
}

/// Everything but letters, digits and `-_.~` as `%XX`; a space may be `+`.
pub(super) fn percent(bytes: &[u8], space: &str) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(*byte)),
            b' ' => text.push_str(space),
            byte => {
                text.push('%');
                text.extend(char::from_digit(u32::from(byte >> 4), 16).map(|c| c.to_ascii_uppercase()));
                text.extend(char::from_digit(u32::from(byte & 15), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    text
}

/// What [`percent`] wrote; `None` where an escape is broken or the result is not UTF-8.
pub(super) fn unpercent(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn url_encode<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let bytes = bytes(args)?;
    frame.produces(bytes.len())?;
    frame.text(percent(bytes, "%20"))
}

fn url_decode<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let text = text(args)?;
    frame.produces(text.len())?;
    let decoded = unpercent(text, true).ok_or_else(|| Error::invalid("not valid URL encoding"))?;
    frame.text(decoded)
}

/// `a=1&b=2&b=3`: keys in order, a list repeats its key, null is left out.
fn form_encode<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::Map(map)] = args else { return Err(Error::no_overload()) };
    let mut pairs: Vec<(String, Vec<Value<'a>>)> = Vec::new();
    for (name, value) in map.entries() {
        let name = name.scalar().ok_or_else(Error::no_overload)?.into_owned();
        let values = match value {
            Value::Null => continue,
            Value::List(items) => items.iter().filter(|it| !matches!(it, Value::Null)).collect(),
            value => vec![value],
        };
        pairs.push((name, values));
    }
    pairs.sort_by(|left, right| left.0.cmp(&right.0));
    let mut form = String::new();
    for (name, values) in pairs {
        for value in values {
            let value = value.scalar().ok_or_else(Error::no_overload)?;
            frame.produces(name.len() + value.len())?;
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(&percent(name.as_bytes(), "+"));
            form.push('=');
            form.push_str(&percent(value.as_bytes(), "+"));
        }
    }
    frame.text(form)
}

/// A map; a key that is repeated has a list.
fn form_decode<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let text = std::str::from_utf8(bytes(args)?).map_err(|_| Error::invalid("not a form: not UTF-8"))?;
    let mut values: Vec<(String, Vec<Value<'a>>)> = Vec::new();
    let mut places = std::collections::HashMap::<String, usize, foldhash::fast::RandomState>::default();
    for pair in text.split('&').filter(|it| !it.is_empty()) {
        frame.step()?;
        frame.produces(pair.len() + 4 * size_of::<Value<'a>>())?;
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unpercent(name, true), unpercent(value, true));
        let (Some(name), Some(value)) = (name, value) else { return Err(Error::invalid("not valid form encoding")) };
        let place = *places.entry(name.clone()).or_insert(values.len());
        match values.get_mut(place) {
            Some((_, values)) => values.push(Value::text(value)),
            None => values.push((name, vec![Value::text(value)])),
        }
    }
    let mut entries = Entries::default();
    for (name, mut values) in values {
        let value = match values.len() {
            1 => values.pop().unwrap_or(Value::Null),
            _ => Value::list(values),
        };
        entries.insert(Value::text(name), value);
    }
    Ok(Value::Map(Map::of(entries)))
}

fn draw(frame: &Frame<'_>) -> Result<u64, Error> {
    frame.inputs.ambient.map(super::super::inputs::Ambient::random).ok_or_else(|| Error::absent("random"))
}

/// 0 up to, not including, 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn random<'a>(frame: &mut Frame<'a>, _: &[Value<'a>]) -> Returned<'a> {
    Ok(Value::Double((draw(frame)? >> 11) as f64 / (1_u64 << 53) as f64))
}

/// Version 4 (RFC 9562).
fn uuid<'a>(frame: &mut Frame<'a>, _: &[Value<'a>]) -> Returned<'a> {
    let bits = (u128::from(draw(frame)?) << 64) | u128::from(draw(frame)?);
    let bits = bits & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0x3 << 62) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or("");
    frame.text(format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)))
}
