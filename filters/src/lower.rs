//! From `Config` as written to `Policy` as understood: the scope a unit lowers in.
//!
//! Lowering reports *all* problems, each with its path, and never stops at the first. Files are
//! read through [`Files`], so that whoever watches knows what was read.

use std::time::Duration;

use ir::{BackendRef, Invalid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::expr::Site;

/// The port through which lowering reads files; the gateway implements it and remembers each path.
pub trait Files {
    /// The content of a file, or why it cannot be had (one line, no path in it).
    fn read(&mut self, file: &FileRef) -> Result<Vec<u8>, String>;
}

/// A file: its path, or the name of a credential of the service (systemd's `LoadCredential=`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FileRef {
    Path(String),
    Credential {
        /// Name of the credential.
        credential: String,
    },
}

impl std::fmt::Display for FileRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Credential { credential } => write!(f, "credential {credential}"),
        }
    }
}

/// Turns a reference as written into one the snapshot can hold, declaring inline backends.
pub trait Backends {
    fn refer(&mut self, backend: SimpleBackend) -> Result<BackendRef, String>;
}

/// Where a unit lowers: collects problems under the current path.
pub struct Scope<'a> {
    path: Vec<String>,
    pub problems: Vec<Invalid>,
    pub files: &'a mut dyn Files,
    pub backends: &'a mut dyn Backends,
    /// Where expressions are evaluated.
    pub site: Site,
}

impl<'a> Scope<'a> {
    pub fn new(path: impl Into<String>, files: &'a mut dyn Files, backends: &'a mut dyn Backends) -> Self {
        Self { path: vec![path.into()], problems: Vec::new(), files, backends, site: Site::Request }
    }

    /// Lowers a part under `key`.
    pub fn at<T>(&mut self, key: impl Into<String>, lower: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.into());
        let lowered = lower(self);
        self.path.pop();
        lowered
    }

    /// Records a problem at the current path.
    pub fn problem(&mut self, reason: impl Into<String>) {
        let path = self.path();
        self.problems.push(Invalid::new(path, reason));
    }

    /// Records a problem at a key below the current path.
    pub fn problem_at(&mut self, key: &str, reason: impl Into<String>) {
        self.path.push(key.to_owned());
        self.problem(reason);
        self.path.pop();
    }

    /// Unwraps a result, or records its error at `key`.
    pub fn check<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(reason) => {
                self.problem_at(key, reason);
                None
            }
        }
    }

    /// Parses a list, entry by entry; every bad entry is reported at its position.
    pub fn each<T>(&mut self, key: &str, texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.at(key, |scope| {
            let entry = |(position, text): (usize, &String)| scope.check(&format!("[{position}]"), parse(text));
            texts.iter().enumerate().filter_map(entry).collect()
        })
    }

    /// The content of a file named at `key`.
    pub fn file(&mut self, key: &str, file: &FileRef) -> Option<Vec<u8>> {
        let content = self.files.read(file).map_err(|reason| format!("cannot read `{file}`: {reason}"));
        self.check(key, content)
    }

    /// Current path: parts joined by `.`, list positions (`[0]`) without one.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for part in &self.path {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        path
    }
}

/// A simple backend reference (mirrors, later callouts): exactly one of the three.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SimpleBackend {
    /// `name:port`, `ip:port` or `unix:/path`.
    Host(String),
    /// Name of an entry of `backends`.
    Backend(String),
    /// A service and its port.
    Service(ServicePort),
}

/// A service reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePort {
    /// `namespace/hostname`.
    pub name: String,
    /// Port of the service.
    pub port: u16,
}

/// A URL that the gateway itself fetches.
pub fn fetched_url(url: &str) -> Result<ir::Text, String> {
    let help = || format!("`{}` is not a URL to fetch: write `https://host/path`", url.escape_debug());
    let parsed: http::Uri = url.parse().map_err(|_| help())?;
    let authority = parsed.authority().ok_or_else(help)?;
    match parsed.scheme_str() {
        Some("https" | "http") if !authority.host().is_empty() => {}
        _ => return Err(help()),
    }
    if authority.as_str().contains('@') {
        return Err("a URL here holds no user and password".to_owned());
    }
    Ok(url.into())
}

/// A text that may be a credential: it prints as stars, in whatever form.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sensitive(String);

impl Sensitive {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; callers never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Sensitive {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// A text that may be a credential, written in place or kept in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "TextOrFile")]
pub enum FileOrInline {
    /// The text itself.
    Inline(Sensitive),
    File {
        /// A file that holds the text. It is watched.
        file: FileRef,
    },
}

impl FileOrInline {
    /// The text, or a problem at the current path.
    pub fn read(self, scope: &mut Scope<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Inline(text) => Some(text.expose().as_bytes().to_vec()),
            Self::File { file } => scope.file("file", &file),
        }
    }
}

/// A duration as Go writes it: `250ms`, `1h2m3.5s`, `0`. Not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// The name of the syntax in JSON schemas. Not `duration`: that is ISO 8601's.
    pub const FORMAT: &str = "go-duration";

    /// Reads Go syntax; the error names the cure.
    pub fn parse(text: &str) -> Result<Self, String> {
        let help = || format!("`{text}` is not a duration: write `250ms`, `10s`, `1h30m`");
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(help());
        }
        let mut total = 0f64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(help)?;
            let (number, after) = rest.split_at(digits);
            let number: f64 = number.parse().map_err(|_| help())?;
            let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_end);
            let seconds = match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(help()),
            };
            total += number * seconds;
            rest = after;
        }
        Duration::try_from_secs_f64(total).map(Self).map_err(|_| help())
    }

    /// For keys where `0` means none.
    pub fn nonzero(self) -> Option<Duration> {
        Some(self.0).filter(|it| !it.is_zero())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "format": Self::FORMAT,
            "description": "A duration in Go syntax: `250ms`, `10s`, `1h30m`."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ms) in [("250ms", 250), ("10s", 10_000), ("1h2m3.5s", 3_723_500), ("0", 0), ("1m30s", 90_000)] {
            assert_eq!(Span::parse(text), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
    }

    #[test]
    fn durations_without_unit_or_below_zero_are_refused() {
        for text in ["10", "-1s", "", "abc", "1d", "1.2.3s"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }
}
