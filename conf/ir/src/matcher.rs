//! What a request must look like: host names, paths, headers, query parameters, methods.
//!
//! Plain data; the order in which matches are tried is the router's business
//! (`gateway/src/plan/router`), the meaning follows Gateway API `HTTPRouteMatch`.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::name::Text;

/// Longest regular expression source accepted.
pub const REGEX_SOURCE_BYTES_MAX: usize = 4096;
/// Compiled size limit of one regular expression.
pub const REGEX_COMPILED_BYTES_MAX: usize = 1 << 20;

/// Matches of one rule (Gateway API allows 64).
pub const MATCHES_MAX: usize = 128;
/// Segments of a path prefix.
pub const PREFIX_DEPTH_MAX: usize = 64;

/// A host name, wildcard or not. Always lower case, never with a port or trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hostname {
    /// `*`, or nothing written.
    Any,
    /// `api.example.com`
    Exact(Text),
    /// `*.example.com`, kept as `.example.com`. It matches one or more labels in front.
    Suffix(Text),
}

impl Hostname {
    /// Reads `*`, `*.suffix` or a name. Errors say what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lower = text.trim().trim_end_matches('.').to_ascii_lowercase();
        if lower.is_empty() || lower == "*" {
            return Ok(Self::Any);
        }
        let (name, wildcard) = match lower.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (lower.as_str(), false),
        };
        let valid = name.len() <= 253
            && name.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        let ipv6 = !wildcard && name.starts_with('[') && name.ends_with(']');
        if !valid && !ipv6 {
            return Err(format!("`{text}` is not a host name: write `name.example.com`, `*.example.com` or `*`"));
        }
        Ok(if wildcard { Self::Suffix(format!(".{name}").into()) } else { Self::Exact(name.into()) })
    }

    /// Whether a request host (lower case, no port) is covered.
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => &**name == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl Serialize for Hostname {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A regular expression that must match the whole value. Bounded in source and compiled size;
/// compared by its source.
#[derive(Clone)]
pub struct Regex {
    source: Text,
    compiled: Arc<regex::Regex>,
}

impl Regex {
    /// Compiles `source`, anchored at both ends. Errors name the fault in one line.
    pub fn new(source: &str) -> Result<Self, String> {
        if source.len() > REGEX_SOURCE_BYTES_MAX {
            return Err(format!("regular expression is longer than {REGEX_SOURCE_BYTES_MAX} bytes"));
        }
        let compiled = regex::RegexBuilder::new(&format!("^(?:{source})$"))
            .size_limit(REGEX_COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| {
                let text = error.to_string();
                let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("invalid");
                format!("regular expression `{source}`: {}", last.trim().trim_start_matches("error: "))
            })?;
        Ok(Self { source: source.into(), compiled: Arc::new(compiled) })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
impl Eq for Regex {}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}

impl Serialize for Regex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

/// How a path must look. Paths are compared in normalised form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    Exact(Text),
    /// Element-wise prefix, kept without its trailing slash (`/` is the empty text).
    PathPrefix(Text),
    Regex(Regex),
    /// Never matches (a refused match that must not widen the route).
    Invalid,
}

impl PathMatch {
    /// A prefix as written; `/foo/` and `/foo` are the same.
    pub fn prefix(text: &str) -> Self {
        Self::PathPrefix(text.trim_end_matches('/').into())
    }
}

/// An exact or regular-expression match of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueMatch {
    Exact(Text),
    Regex(Regex),
    Invalid,
}

impl ValueMatch {
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == value,
            Self::Regex(regex) => std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text)),
            Self::Invalid => false,
        }
    }
}

/// What a header match looks at: a header, or one of the request's own parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTerm {
    Header(http::HeaderName),
    Method,
    Path,
    Authority,
    Scheme,
}

impl Serialize for HeaderTerm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Header(name) => name.as_str(),
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Authority => ":authority",
            Self::Scheme => ":scheme",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderMatch {
    pub name: HeaderTerm,
    pub value: ValueMatch,
}

/// A repeated parameter is judged by its first value, as Gateway API asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueryMatch {
    pub name: Text,
    pub value: ValueMatch,
}

/// One alternative of a route: all its parts must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Match {
    pub path: PathMatch,
    #[serde(serialize_with = "method_text")]
    pub method: Option<http::Method>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
}

fn method_text<S: Serializer>(method: &Option<http::Method>, serializer: S) -> Result<S::Ok, S::Error> {
    method.as_ref().map(http::Method::as_str).serialize(serializer)
}

impl Default for Match {
    fn default() -> Self {
        Self { path: PathMatch::PathPrefix("".into()), method: None, headers: Vec::new(), query: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_or_more_labels_but_not_its_own_suffix() {
        let host = Hostname::parse("*.Example.com").unwrap();
        for (name, want) in
            [("a.example.com", true), ("a.b.example.com", true), ("example.com", false), ("xexample.com", false)]
        {
            assert_eq!(host.covers(name), want, "{name}");
        }
    }

    #[test]
    fn names_that_are_not_host_names_are_refused() {
        for text in ["a b", "a..b", "http://x", "a.*.b", "*x.com"] {
            assert!(Hostname::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_regex_matches_the_whole_value_only() {
        let regex = Regex::new("a|bc").unwrap();
        assert!(regex.is_match("bc") && !regex.is_match("abc") && !regex.is_match("ab"));
        assert!(Regex::new("a(").unwrap_err().contains("unclosed group"));
    }
}
