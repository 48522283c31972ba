//! `"%s is %d".format([…])`

use std::fmt::Write as _;

use crate::expr::error::Error;
use crate::expr::eval::Frame;
use crate::expr::number;
use crate::expr::value::{List, Value};

type Returned<'a> = Result<Value<'a>, Error>;

/// Most digits after the point.
const PRECISION_MAX: usize = 100;
/// Digits after the point unless written.
const PRECISION: usize = 6;

pub(super) fn format<'a>(frame: &mut Frame<'a>, args: &[Value<'a>]) -> Returned<'a> {
    let [Value::String(pattern), Value::List(values)] = args else { return Err(Error::no_overload()) };
    let mut out = String::new();
    let mut rest: &str = pattern;
    let mut next = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(rest.get(..at).unwrap_or(""));
        rest = rest.get(at + 1..).unwrap_or("");
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (precision, after) = precision(rest)?;
        let clause = after.chars().next().ok_or_else(|| Error::invalid("unexpected end of format string"))?;
        rest = after.get(clause.len_utf8()..).unwrap_or("");
        let value = argument(values, next)?;
        next += 1;
        let before = out.len();
        write_clause(frame, &mut out, clause, precision, &value)?;
        frame.step()?;
        frame.produces(out.len().saturating_sub(before))?;
    }
    out.push_str(rest);
    frame.text(out)
}

fn argument<'a>(values: &List<'a>, position: usize) -> Result<Value<'a>, Error> {
    values.get(position).ok_or_else(|| Error::invalid(format!("index {position} out of range")))
}

/// `.3`, and what follows.
fn precision(text: &str) -> Result<(Option<usize>, &str), Error> {
    let Some(digits) = text.strip_prefix('.') else { return Ok((None, text)) };
    let end = digits.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let number = digits.get(..end).unwrap_or("").parse::<usize>();
    let number = number.ok().filter(|it| *it <= PRECISION_MAX);
    let number = number.ok_or_else(|| Error::invalid(format!("precision is 0 to {PRECISION_MAX}")))?;
    Ok((Some(number), digits.get(end..).unwrap_or("")))
}

fn write_clause<'a>(
    frame: &mut Frame<'a>,
    out: &mut String,
    clause: char,
    precision: Option<usize>,
    value: &Value<'a>,
) -> Result<(), Error> {
    match clause {
        's' => plain(frame, out, value),
        'd' => decimal(out, value),
        'f' => double(value).map(|value| fixed(out, value, precision.unwrap_or(PRECISION))),
        'e' => double(value).map(|value| scientific(out, value, precision.unwrap_or(PRECISION))),
        'b' => binary(out, value),
        'o' => integer(out, value, |out, sign, it| write!(out, "{sign}{it:o}")),
        'x' => hexadecimal(out, value, false),
        'X' => hexadecimal(out, value, true),
        other => Err(Error::invalid(format!("unrecognized formatting clause \"{}\"", other.escape_debug()))),
    }
}

fn wrong(clause: &str, value: &Value<'_>) -> Error {
    Error::invalid(format!("{clause} cannot show a {}", value.type_name()))
}

/// `%s`: anything, parts included.
fn plain<'a>(frame: &mut Frame<'a>, out: &mut String, value: &Value<'a>) -> Result<(), Error> {
    frame.step()?;
    match value {
        Value::Null => out.push_str("null"),
        Value::Double(value) => out.push_str(&number::format(*value)),
        Value::Bytes(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Value::List(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push_str(", ");
                }
                plain(frame, out, &item)?;
                frame.reads(out.len())?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            let mut parts: Vec<(String, Value<'a>)> = Vec::new();
            for (name, value) in map.entries() {
                let mut key = String::new();
                plain(frame, &mut key, &name)?;
                parts.push((key, value));
            }
            parts.sort_by(|left, right| left.0.cmp(&right.0));
            out.push('{');
            for (position, (name, value)) in parts.iter().enumerate() {
                if position > 0 {
                    out.push_str(", ");
                }
                let _ = write!(out, "{name}: ");
                plain(frame, out, value)?;
                frame.reads(out.len())?;
            }
            out.push('}');
        }
        Value::Optional(_) => return Err(wrong("string clause", value)),
        other => out.push_str(&other.scalar().ok_or_else(|| wrong("string clause", other))?),
    }
    Ok(())
}

fn decimal(out: &mut String, value: &Value<'_>) -> Result<(), Error> {
    let _ = match value {
        Value::Int(value) => write!(out, "{value}"),
        Value::Uint(value) => write!(out, "{value}"),
        Value::Double(value) if !value.is_finite() => {
            out.push_str(special(*value));
            Ok(())
        }
        Value::Double(value) => {
            out.push_str(&number::format(*value));
            Ok(())
        }
        other => return Err(wrong("decimal clause", other)),
    };
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "as CEL converts")]
fn double(value: &Value<'_>) -> Result<f64, Error> {
    match value {
        Value::Double(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Uint(value) => Ok(*value as f64),
        Value::String(text) => match &**text {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(wrong("fixed-point clause", value)),
        },
        other => Err(wrong("fixed-point clause", other)),
    }
}

fn special(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn fixed(out: &mut String, value: f64, precision: usize) {
    let _ = if value.is_finite() { write!(out, "{value:.precision$}") } else { out.write_str(special(value)) };
}

fn scientific(out: &mut String, value: f64, precision: usize) {
    if !value.is_finite() {
        out.push_str(special(value));
        return;
    }
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    let _ = write!(out, "{mantissa}e{sign}{digits:0>2}");
}

fn integer(
    out: &mut String,
    value: &Value<'_>,
    write: fn(&mut String, &str, u64) -> std::fmt::Result,
) -> Result<(), Error> {
    let _ = match value {
        Value::Int(value) => write(out, if *value < 0 { "-" } else { "" }, value.unsigned_abs()),
        Value::Uint(value) => write(out, "", *value),
        other => return Err(wrong("integer clause", other)),
    };
    Ok(())
}

fn binary(out: &mut String, value: &Value<'_>) -> Result<(), Error> {
    match value {
        Value::Bool(value) => {
            out.push(if *value { '1' } else { '0' });
            Ok(())
        }
        value => integer(out, value, |out, sign, it| write!(out, "{sign}{it:b}")),
    }
}

fn hexadecimal(out: &mut String, value: &Value<'_>, is_upper: bool) -> Result<(), Error> {
    let bytes = match value {
        Value::String(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        value => {
            return match is_upper {
                true => integer(out, value, |out, sign, it| write!(out, "{sign}{it:X}")),
                false => integer(out, value, |out, sign, it| write!(out, "{sign}{it:x}")),
            };
        }
    };
    for byte in bytes {
        let _ = if is_upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
    }
    Ok(())
}
