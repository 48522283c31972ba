//! Arguments of tools that headers repeat (`x-mcp-header` in their schemas, 2026-07-28).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::modern::{Fault, decode, encode};
use crate::json::{Kind, Raw};

/// Nesting of objects in which annotations are looked for.
const DEPTH_MAX: usize = 8;
/// Annotations of one tool.
const HEADERS_MAX: usize = 64;

const PREFIX: &str = "mcp-param-";

/// The headers for these arguments of a tool. A definition that is not valid has none.
pub fn headers(tool: Raw<'_>, arguments: Option<Raw<'_>>) -> Vec<(HeaderName, HeaderValue)> {
    let values = repeated(tool, arguments);
    values.into_iter().filter_map(|(name, value)| Some((name, encode(&text(value?)?)))).collect()
}

/// Checks the headers that a client has sent.
pub fn check(tool: Raw<'_>, arguments: Option<Raw<'_>>, headers: &HeaderMap) -> Result<(), Fault> {
    for (name, value) in repeated(tool, arguments) {
        let wrong = |what: &str| Err(Fault::Mismatch(format!("`{name}` {what}")));
        let said = match headers.get(&name).map(decode) {
            Some(Some(said)) => Some(said),
            Some(None) => return wrong("is not readable"),
            None => None,
        };
        let Some(value) = value.and_then(text) else { continue };
        let Some(said) = said else { return wrong("is missing") };
        let numbers = || said.parse::<f64>().ok().zip(value.parse::<f64>().ok());
        if said != value && numbers().is_none_or(|(a, b)| a.to_bits() != b.to_bits()) {
            return wrong("does not say what the arguments say");
        }
    }
    Ok(())
}

/// A value as headers have it.
fn text(value: Raw<'_>) -> Option<String> {
    match value.kind() {
        Kind::String => value.as_str().map(|it| it.into_owned()),
        Kind::Number | Kind::Bool => Some(value.text().to_owned()),
        Kind::Null | Kind::Object | Kind::Array => None,
    }
}

/// Names of headers with the arguments that they repeat.
fn repeated<'a>(tool: Raw<'_>, arguments: Option<Raw<'a>>) -> Vec<(HeaderName, Option<Raw<'a>>)> {
    let mut out = Vec::new();
    if let Some(schema) = tool.get("inputSchema")
        && !collect(schema, arguments, 0, &mut out)
    {
        out.clear();
    }
    out
}

/// The flag: the definition is valid.
fn collect<'a>(
    schema: Raw<'_>,
    value: Option<Raw<'a>>,
    depth: usize,
    out: &mut Vec<(HeaderName, Option<Raw<'a>>)>,
) -> bool {
    let Some(properties) = schema.get("properties") else { return true };
    for (name, property) in properties.members() {
        let inner = value.and_then(|it| it.get(&name));
        if let Some(annotation) = property.get("x-mcp-header") {
            let Some(header) = header_of(annotation) else { return false };
            if out.len() >= HEADERS_MAX || out.iter().any(|(held, _)| *held == header) {
                return false;
            }
            out.push((header, inner));
        } else if depth < DEPTH_MAX && !collect(property, inner, depth + 1, out) {
            return false;
        }
    }
    true
}

fn header_of(annotation: Raw<'_>) -> Option<HeaderName> {
    let name = annotation.as_str().filter(|it| !it.is_empty())?;
    HeaderName::from_bytes(format!("{PREFIX}{name}").to_ascii_lowercase().as_bytes()).ok()
}

/// Whether a header is one of these.
pub fn is_param(name: &HeaderName) -> bool {
    name.as_str().starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    const TOOL: &str = r#"{"name":"t","inputSchema":{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "deep":{"type":"object","properties":{"count":{"type":"integer","x-mcp-header":"Count"}}},
        "list":{"type":"array","items":{"type":"string","x-mcp-header":"No"}}}}}"#;

    #[test]
    fn headers_repeat_what_the_arguments_say() {
        let tool = parse(TOOL.as_bytes()).unwrap();
        let arguments = parse(r#"{"region":"düsseldorf","deep":{"count":42},"list":["x"]}"#.as_bytes()).unwrap();
        let sent = headers(tool, Some(arguments));
        let said: Vec<_> =
            sent.iter().map(|(name, value)| (name.as_str(), decode(value).unwrap().into_owned())).collect();
        assert_eq!(said, [("mcp-param-region", "düsseldorf".to_owned()), ("mcp-param-count", "42".to_owned())]);
        let map: HeaderMap = sent.into_iter().collect();
        assert_eq!(check(tool, Some(arguments), &map), Ok(()));
        let mut other = map.clone();
        other.insert("mcp-param-count", HeaderValue::from_static("42.0"));
        assert_eq!(check(tool, Some(arguments), &other), Ok(()));
        for (name, value) in [("mcp-param-count", "41"), ("mcp-param-region", "=?base64?!?="), ("mcp-param-region", "")]
        {
            let mut other = map.clone();
            other.insert(name, HeaderValue::from_static(value));
            assert!(check(tool, Some(arguments), &other).is_err(), "{name} {value}");
        }
        assert!(check(tool, Some(arguments), &HeaderMap::new()).is_err());
        let none = parse(br#"{"region":null}"#).unwrap();
        assert_eq!(check(tool, Some(none), &HeaderMap::new()), Ok(()));
        assert!(headers(tool, None).is_empty());
    }

    #[test]
    fn a_definition_that_is_not_valid_has_no_headers() {
        for annotation in ["\"\"", "\"a b\"", "7", "\"a\\r\\nb\"", "\"Region\""] {
            let text = format!(
                r#"{{"inputSchema":{{"properties":{{"a":{{"x-mcp-header":"region"}},"b":{{"x-mcp-header":{annotation}}}}}}}}}"#
            );
            let arguments = parse(br#"{"a":"1","b":"2"}"#).unwrap();
            assert!(headers(parse(text.as_bytes()).unwrap(), Some(arguments)).is_empty(), "{annotation}");
        }
    }
}
