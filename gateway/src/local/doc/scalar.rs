//! What a plain scalar is: the core schema of YAML 1.2 (section 10.3.2). `yes`, `on` and `1_000`
//! are strings there, unlike in YAML 1.1.

use super::{Node, Place, Value};

/// A plain scalar as a node, with the text kept where the number would not print like it.
pub(super) fn plain(text: &str, at: Place) -> Node {
    let mut node = Node::new(resolve(text), at);
    if !matches!(node.value, Value::Str(_)) && node.number_text().is_some_and(|printed| printed != text) {
        node.raw = Some(text.into());
    }
    node
}

fn resolve(text: &str) -> Value {
    let number = match text.as_bytes().first() {
        None => return Value::Null,
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => number(text),
        Some(b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F') => match text {
            "~" | "null" | "Null" | "NULL" => Some(Value::Null),
            "true" | "True" | "TRUE" => Some(Value::Bool(true)),
            "false" | "False" | "FALSE" => Some(Value::Bool(false)),
            _ => None,
        },
        Some(_) => None,
    };
    number.unwrap_or_else(|| Value::Str(text.to_owned()))
}

/// An integer or a float. An integer that fits neither 64-bit type becomes a float, as in JSON.
pub(super) fn number(text: &str) -> Option<Value> {
    let radix = match text.as_bytes() {
        [b'0', b'x', ..] => Some(16),
        [b'0', b'o', ..] => Some(8),
        _ => None,
    };
    if let Some(radix) = radix {
        let digits = text.get(2..).filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))?;
        return u64::from_str_radix(digits, radix).ok().map(unsigned);
    }
    let unsigned_text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_negative = text.starts_with('-');
    match unsigned_text {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Value::Float(if is_negative { -f64::INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" if unsigned_text == text => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    if !unsigned_text.is_empty() && unsigned_text.bytes().all(|it| it.is_ascii_digit()) {
        let integer = match text.parse::<i64>() {
            Ok(it) => Some(Value::Int(it)),
            Err(_) => text.parse::<u64>().ok().map(Value::UInt),
        };
        return integer.or_else(|| text.parse().ok().map(Value::Float));
    }
    is_float(unsigned_text).then(|| text.parse().ok().map(Value::Float))?
}

fn unsigned(value: u64) -> Value {
    i64::try_from(value).map_or(Value::UInt(value), Value::Int)
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |it: &str| it.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|it| !it.is_empty() && digits(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let text = |it: &str| Value::Str(it.to_owned());
        for (input, expected) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("NULL", Value::Null),
            ("nULL", text("nULL")),
            ("true", Value::Bool(true)),
            ("FALSE", Value::Bool(false)),
            ("yes", text("yes")),
            ("on", text("on")),
            ("0", Value::Int(0)),
            ("-12", Value::Int(-12)),
            ("+12", Value::Int(12)),
            ("007", Value::Int(7)),
            ("0x1F", Value::Int(31)),
            ("0o17", Value::Int(15)),
            ("0o18", text("0o18")),
            ("0x", text("0x")),
            ("0x+1", text("0x+1")),
            ("0b11", text("0b11")),
            ("1_000", text("1_000")),
            ("18446744073709551615", Value::UInt(u64::MAX)),
            ("18446744073709551616", Value::Float(18_446_744_073_709_551_616.0)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("5.", Value::Float(5.0)),
            ("1e3", Value::Float(1000.0)),
            ("-1.5E-3", Value::Float(-0.0015)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            (".", text(".")),
            ("-", text("-")),
            ("e3", text("e3")),
            ("1e", text("1e")),
            ("1.2.3", text("1.2.3")),
            ("10s", text("10s")),
            ("-.nan", text("-.nan")),
            ("infinity", text("infinity")),
            ("+", text("+")),
        ] {
            assert_eq!(resolve(input), expected, "{input:?}");
        }
    }

    #[test]
    fn what_was_written_is_kept_only_where_it_would_be_lost() {
        for (input, raw) in [
            ("007", Some("007")),
            ("7", None),
            ("1.10", Some("1.10")),
            ("1.5", None),
            ("0x10", Some("0x10")),
            ("a", None),
        ] {
            assert_eq!(plain(input, Place::START).raw.as_deref(), raw, "{input}");
        }
    }
}
